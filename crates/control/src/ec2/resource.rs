//! What all EC2 resources have in common: identifiers, tags, filters, pages, error texts.

use crate::api::{Ctx, Result};
use crate::page::{self, Page};
use crate::store::Item;
use quarry_aws::ec2::{Filter, Tag, TagSpecification};
use quarry_aws::elbv2::op::DescribeLoadBalancers;
use quarry_aws::elbv2::{DescribeLoadBalancersInput, LoadBalancer};
use quarry_domain::rule::Pattern;
use quarry_wire::ServiceError;

/// A resource of EC2 as it is stored.
pub trait Resource: Item {
    /// As in `TagSpecification.ResourceType`, for example `subnet`.
    const TYPE: &'static str;
    /// As in `The <noun> 'x' does not exist`, for example `subnet ID`.
    const NOUN: &'static str;
    /// Code of the error for an unknown id, for example `InvalidSubnetID.NotFound`.
    const NOT_FOUND: &'static str;

    fn tags(&mut self) -> &mut Option<Vec<Tag>>;
    fn seen_tags(&self) -> &Option<Vec<Tag>>;
    /// The values of a filter's field; `None` if there is no such filter.
    fn field(&self, name: &str) -> Option<Vec<String>>;
}

/// An error of EC2, which models none.
pub fn error(code: &str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(code, message, 400)
}

/// A member that must be there.
pub fn required<T>(value: Option<T>, name: &str) -> Result<T> {
    value.ok_or_else(|| error("MissingParameter", format!("The request must contain the parameter {name}")))
}

/// A new identifier such as `vpc-0123456789abcdef0`.
pub fn new_id(ctx: &Ctx<'_>, prefix: &str) -> String {
    format!("{prefix}-{}", ctx.platform.door.hex(17))
}

pub fn find<T: Resource>(ctx: &Ctx<'_>, id: &str) -> Result<T> {
    ctx.tx.get::<T>(id)?.ok_or_else(|| error(T::NOT_FOUND, format!("The {} '{id}' does not exist", T::NOUN)))
}

/// The load balancers: they use subnets and security groups.
pub fn load_balancers(ctx: &mut Ctx<'_>) -> Result<Vec<LoadBalancer>> {
    let mut all = Vec::new();
    let mut marker = None;
    loop {
        let input = DescribeLoadBalancersInput { marker, ..Default::default() };
        let output = ctx.invoke::<DescribeLoadBalancers>(input)?;
        all.extend(output.load_balancers.unwrap_or_default());
        marker = output.next_marker;
        if marker.is_none() {
            return Ok(all);
        }
    }
}

/// The resources with these ids, or all that pass the filters.
pub fn select<T: Resource>(ctx: &Ctx<'_>, ids: Option<Vec<String>>, filters: Option<Vec<Filter>>) -> Result<Vec<T>> {
    let candidates = match ids.filter(|ids| !ids.is_empty()) {
        Some(ids) => ids.iter().map(|id| find::<T>(ctx, id)).collect::<Result<Vec<_>>>()?,
        None => ctx.tx.all::<T>()?,
    };
    filtered(candidates, filters)
}

/// The same of resources that are not kept as records of their own.
pub fn choose<T: Resource>(all: Vec<T>, ids: Option<Vec<String>>, filters: Option<Vec<Filter>>) -> Result<Vec<T>> {
    let ids = ids.unwrap_or_default();
    if let Some(missing) = ids.iter().find(|id| !all.iter().any(|resource| resource.key() == **id)) {
        return Err(error(T::NOT_FOUND, format!("The {} '{missing}' does not exist", T::NOUN)));
    }
    filtered(all.into_iter().filter(|resource| ids.is_empty() || ids.contains(&resource.key())).collect(), filters)
}

fn filtered<T: Resource>(candidates: Vec<T>, filters: Option<Vec<Filter>>) -> Result<Vec<T>> {
    let filters = filters.unwrap_or_default();
    let mut selected = Vec::new();
    for resource in candidates {
        if passes(&resource, &filters)? {
            selected.push(resource);
        }
    }
    Ok(selected)
}

/// One page of `items`: `MaxResults` of them from where `NextToken` says, and the next token.
pub fn page<T>(items: Vec<T>, max_results: Option<i32>, token: Option<String>) -> Result<Page<T>> {
    let size = max_results.map_or(usize::MAX, |n| n.max(1) as usize);
    page::from(items, token.as_deref(), size).ok_or_else(|| error("InvalidNextToken", "The token is not valid"))
}

/// The tags of a request's `TagSpecifications` for a new resource of type `T`.
pub fn tags_for<T: Resource>(specifications: Option<Vec<TagSpecification>>) -> Result<Option<Vec<Tag>>> {
    let mut tags = Vec::new();
    for specification in specifications.unwrap_or_default() {
        let kind = specification.resource_type.unwrap_or_default();
        if kind != T::TYPE {
            return Err(error(
                "InvalidParameterValue",
                format!("'{kind}' is not a valid taggable resource type for this operation."),
            ));
        }
        tags.extend(specification.tags.unwrap_or_default());
    }
    Ok(Some(tags))
}

fn passes<T: Resource>(resource: &T, filters: &[Filter]) -> Result<bool> {
    for filter in filters {
        let name = filter.name.as_deref().unwrap_or_default();
        let values = tag_field(resource, name)
            .or_else(|| resource.field(name))
            .ok_or_else(|| error("InvalidParameterValue", format!("The filter '{name}' is invalid")))?;
        let wanted = filter.values.as_deref().unwrap_or_default();
        if !wanted.iter().any(|pattern| values.iter().any(|value| matches(pattern, value))) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn tag_field<T: Resource>(resource: &T, name: &str) -> Option<Vec<String>> {
    let tags = resource.seen_tags().as_deref().unwrap_or_default();
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    if name == "tag-key" {
        return Some(tags.iter().map(|t| text(&t.key)).collect());
    }
    let key = name.strip_prefix("tag:")?;
    Some(tags.iter().filter(|t| t.key.as_deref() == Some(key)).map(|t| text(&t.value)).collect())
}

/// Filter values: `*` is any run of characters, `?` exactly one.
fn matches(pattern: &str, value: &str) -> bool {
    Pattern::case_sensitive(pattern).matches(value.as_bytes())
}
