//! Tags of any EC2 resource, found by its identifier's prefix.

use super::instance::InstanceRecord;
use super::internet_gateway::GatewayRecord;
use super::resource::{Resource, error, find, required};
use super::route_table::RouteTableRecord;
use super::security_group::SecurityGroupRecord;
use super::subnet::SubnetRecord;
use super::vpc::VpcRecord;
use crate::api::{Ctx, Result};
use quarry_aws::ec2::{CreateTagsRequest, DeleteTagsRequest, Tag};
use quarry_wire::Empty;

pub fn create(ctx: &mut Ctx<'_>, input: CreateTagsRequest) -> Result<Empty> {
    let tags = required(input.tags, "Tags")?;
    for id in required(input.resources, "ResourceIdSet")? {
        change(ctx, &id, &|present| {
            for tag in &tags {
                present.retain(|t| t.key != tag.key);
                present.push(Tag { key: tag.key.clone(), value: Some(tag.value.clone().unwrap_or_default()) });
            }
        })?;
    }
    Ok(Empty {})
}

/// A tag with a value goes only if the value is the same; without tags all of them go.
pub fn delete(ctx: &mut Ctx<'_>, input: DeleteTagsRequest) -> Result<Empty> {
    for id in required(input.resources, "ResourceIdSet")? {
        change(ctx, &id, &|present| match &input.tags {
            None => present.clear(),
            Some(tags) => present.retain(|t| {
                !tags.iter().any(|gone| gone.key == t.key && (gone.value.is_none() || gone.value == t.value))
            }),
        })?;
    }
    Ok(Empty {})
}

fn change(ctx: &mut Ctx<'_>, id: &str, f: &dyn Fn(&mut Vec<Tag>)) -> Result<()> {
    fn of<T: Resource>(ctx: &mut Ctx<'_>, id: &str, f: &dyn Fn(&mut Vec<Tag>)) -> Result<()> {
        let mut resource = find::<T>(ctx, id)?;
        f(resource.tags().get_or_insert_default());
        ctx.tx.put(&resource)?;
        Ok(())
    }
    match id.split_once('-').map(|(prefix, _)| prefix) {
        Some("vpc") => of::<VpcRecord>(ctx, id, f),
        Some("subnet") => of::<SubnetRecord>(ctx, id, f),
        Some("igw") => of::<GatewayRecord>(ctx, id, f),
        Some("rtb") => of::<RouteTableRecord>(ctx, id, f),
        Some("sg") => of::<SecurityGroupRecord>(ctx, id, f),
        Some("i") => of::<InstanceRecord>(ctx, id, f),
        _ => Err(error("InvalidID", format!("The ID '{id}' is not valid"))),
    }
}
