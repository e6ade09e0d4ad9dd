//! `RemoveTags`.

use super::tags;
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{RemoveTagsInput, RemoveTagsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: RemoveTagsInput) -> Result<RemoveTagsOutput> {
    let keys = input.tag_keys.unwrap_or_default();
    for arn in input.resource_arns.unwrap_or_default() {
        tags::check_resource(ctx.tx, &arn)?;
        let mut all = tags::get(ctx.tx, &arn)?;
        all.retain(|key, _| !keys.contains(key));
        tags::put(ctx.tx, &arn, all)?;
    }
    Ok(RemoveTagsOutput::default())
}
