//! Tags of any EC2 resource, found by its identifier's prefix.

use super::address::AddressRecord;
use super::instance::InstanceRecord;
use super::internet_gateway::GatewayRecord;
use super::launch_template::TemplateRecord;
use super::nat_gateway::NatGatewayRecord;
use super::network_interface::InterfaceRecord;
use super::resource::{Resource, error, find, page, required};
use super::route_table::RouteTableRecord;
use super::security_group::SecurityGroupRecord;
use super::security_group_rule;
use super::subnet::SubnetRecord;
use super::vpc::VpcRecord;
use super::vpc_endpoint::EndpointRecord;
use crate::api::{Ctx, Result};
use quarry_aws::ec2::{
    CreateTagsRequest, DeleteTagsRequest, DescribeTagsRequest, DescribeTagsResult, Tag, TagDescription,
};
use quarry_domain::rule::Pattern;
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

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeTagsRequest) -> Result<DescribeTagsResult> {
    let mut tags = Vec::new();
    collect::<VpcRecord>(ctx, &mut tags)?;
    collect::<SubnetRecord>(ctx, &mut tags)?;
    collect::<GatewayRecord>(ctx, &mut tags)?;
    collect::<RouteTableRecord>(ctx, &mut tags)?;
    collect::<SecurityGroupRecord>(ctx, &mut tags)?;
    collect::<InstanceRecord>(ctx, &mut tags)?;
    collect::<InterfaceRecord>(ctx, &mut tags)?;
    collect::<AddressRecord>(ctx, &mut tags)?;
    collect::<NatGatewayRecord>(ctx, &mut tags)?;
    collect::<EndpointRecord>(ctx, &mut tags)?;
    collect::<TemplateRecord>(ctx, &mut tags)?;
    tags.extend(security_group_rule::all(ctx)?.iter().flat_map(descriptions));
    for filter in input.filters.iter().flatten() {
        let name = filter.name.as_deref().unwrap_or_default();
        let field: fn(&TagDescription) -> &Option<String> = match name {
            "key" => |tag| &tag.key,
            "value" => |tag| &tag.value,
            "resource-id" => |tag| &tag.resource_id,
            "resource-type" => |tag| &tag.resource_type,
            _ => return Err(error("InvalidParameterValue", format!("The filter '{name}' is invalid"))),
        };
        let wanted: Vec<_> = filter.values.iter().flatten().map(|v| Pattern::case_sensitive(v)).collect();
        tags.retain(|tag| field(tag).as_ref().is_some_and(|v| wanted.iter().any(|w| w.matches(v.as_bytes()))));
    }
    let (tags, next_token) = page(tags, input.max_results, input.next_token)?;
    Ok(DescribeTagsResult { tags: Some(tags), next_token })
}

fn collect<T: Resource>(ctx: &Ctx<'_>, into: &mut Vec<TagDescription>) -> Result<()> {
    for resource in ctx.tx.all::<T>()? {
        into.extend(descriptions(&resource));
    }
    Ok(())
}

fn descriptions<T: Resource>(resource: &T) -> Vec<TagDescription> {
    let described = resource.seen_tags().iter().flatten().map(|tag| TagDescription {
        key: tag.key.clone(),
        value: tag.value.clone(),
        resource_id: Some(resource.key()),
        resource_type: Some(T::TYPE.into()),
    });
    described.collect()
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
        Some("eni") => of::<InterfaceRecord>(ctx, id, f),
        Some("eipalloc") => of::<AddressRecord>(ctx, id, f),
        Some("nat") => of::<NatGatewayRecord>(ctx, id, f),
        Some("vpce") => of::<EndpointRecord>(ctx, id, f),
        Some("lt") => of::<TemplateRecord>(ctx, id, f),
        Some("sgr") => security_group_rule::change_tags(ctx, id, f),
        _ => Err(error("InvalidID", format!("The ID '{id}' is not valid"))),
    }
}
