//! PutClusterCapacityProviders: the providers that a cluster has, and its default strategy.

use super::{capacity, find, providers, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{PutClusterCapacityProvidersRequest, PutClusterCapacityProvidersResponse};
use quarry_domain::arn::short_name;

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: PutClusterCapacityProvidersRequest,
) -> Result<PutClusterCapacityProvidersResponse> {
    let mut cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let providers = input.capacity_providers.unwrap_or_default();
    let strategy = input.default_capacity_provider_strategy.unwrap_or_default();
    capacity::check_providers(ctx, &providers, &strategy)?;
    let names: Vec<&str> = providers.iter().map(|name| short_name(name)).collect();
    providers::check_unused(ctx.tx, &cluster.arn, |name| !names.contains(&name))?;
    let providers = names.into_iter().map(str::to_owned).collect();
    cluster.capacity_providers = providers;
    cluster.default_strategy = strategy;
    ctx.tx.put(&cluster)?;
    for name in &cluster.capacity_providers {
        providers::adopt(ctx, &cluster.arn, name)?;
    }
    Ok(PutClusterCapacityProvidersResponse { cluster: Some(view::cluster(ctx.tx, &cluster, &[])?) })
}
