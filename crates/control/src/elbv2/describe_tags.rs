//! `DescribeTags`: of up to 20 resources.

use super::{errors, tags};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeTagsInput, DescribeTagsOutput, Tag, TagDescription};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeTagsInput) -> Result<DescribeTagsOutput> {
    let arns = input.resource_arns.unwrap_or_default();
    if arns.is_empty() || arns.len() > 20 {
        return Err(errors::validation("From 1 to 20 resource ARNs must be specified"));
    }
    let mut descriptions = Vec::new();
    for arn in arns {
        tags::check_resource(ctx.tx, &arn)?;
        let tags = tags::get(ctx.tx, &arn)?;
        let tags = tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect();
        descriptions.push(TagDescription { resource_arn: Some(arn), tags: Some(tags) });
    }
    Ok(DescribeTagsOutput { tag_descriptions: Some(descriptions) })
}
