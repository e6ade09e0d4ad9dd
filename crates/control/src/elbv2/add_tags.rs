//! `AddTags`.

use super::tags;
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{AddTagsInput, AddTagsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: AddTagsInput) -> Result<AddTagsOutput> {
    let added = tags::read(input.tags)?;
    for arn in input.resource_arns.unwrap_or_default() {
        tags::check_resource(ctx.tx, &arn)?;
        let mut all = tags::get(ctx.tx, &arn)?;
        all.extend(added.clone());
        tags::put(ctx.tx, &arn, all)?;
    }
    Ok(AddTagsOutput::default())
}
