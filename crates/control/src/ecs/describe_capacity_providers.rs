//! DescribeCapacityProviders: the two of Fargate, which every account has, and those of groups.

use super::records::{CapacityProvider, Cluster};
use super::{capacity, find, providers, view};
use crate::api::{Ctx, Result};
use crate::page;
use quarry_aws::ecs::{self as aws, DescribeCapacityProvidersRequest, DescribeCapacityProvidersResponse, error};
use quarry_domain::arn::short_name;

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeCapacityProvidersRequest) -> Result<DescribeCapacityProvidersResponse> {
    let asked = input.capacity_providers.unwrap_or_default();
    let cluster: Option<Cluster> = match input.cluster.as_deref() {
        Some(name) => Some(find::cluster(ctx, Some(name))?),
        None => None,
    };
    let with_tags = input.include.iter().flatten().any(|include| include == "TAGS");
    let fargate = |name: &str| aws::CapacityProvider {
        capacity_provider_arn: Some(providers::arn(ctx, name)),
        name: Some(name.to_owned()),
        status: Some("ACTIVE".into()),
        tags: Some(Vec::new()),
        ..Default::default()
    };
    let mut all: Vec<_> = capacity::FARGATE.into_iter().map(fargate).collect();
    all.extend(ctx.tx.all::<CapacityProvider>()?.iter().map(|provider| providers::show(provider, with_tags)));
    let wanted = |name: &str| {
        let of_cluster = cluster.as_ref().is_none_or(|cluster| cluster.capacity_providers.iter().any(|p| p == name));
        of_cluster && (asked.is_empty() || asked.iter().any(|asked| short_name(asked) == name))
    };
    all.retain(|provider| wanted(provider.name.as_deref().unwrap_or_default()));
    let there = |name: &str| all.iter().any(|provider| provider.name.as_deref() == Some(name));
    let missing = asked.iter().map(|name| short_name(name)).filter(|name| !there(name));
    let failures = missing.map(|name| view::failure(&providers::arn(ctx, name), "MISSING")).collect();
    let size = input.max_results.map_or(usize::MAX, |n| n.clamp(1, 10) as usize);
    let (found, next_token) = page::from(all, input.next_token.as_deref(), size)
        .ok_or_else(|| error::invalid_parameter_exception("Invalid token"))?;
    Ok(DescribeCapacityProvidersResponse { capacity_providers: Some(found), failures: Some(failures), next_token })
}
