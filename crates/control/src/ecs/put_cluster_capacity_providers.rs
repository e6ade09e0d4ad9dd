//! PutClusterCapacityProviders. No capacity provider is offered, so only the empty list is accepted.

use super::{find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{
    CapacityProviderStrategyItem, PutClusterCapacityProvidersRequest, PutClusterCapacityProvidersResponse, error,
};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: PutClusterCapacityProvidersRequest,
) -> Result<PutClusterCapacityProvidersResponse> {
    let mut cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let providers = input.capacity_providers.unwrap_or_default();
    let strategy = input.default_capacity_provider_strategy.unwrap_or_default();
    check(&providers, &strategy)?;
    cluster.capacity_providers = providers;
    cluster.default_strategy = strategy;
    ctx.tx.put(&cluster)?;
    Ok(PutClusterCapacityProvidersResponse { cluster: Some(view::cluster(ctx.tx, &cluster, &[])?) })
}

/// Refuses capacity providers, which do not exist here.
pub fn check(providers: &[String], strategy: &[CapacityProviderStrategyItem]) -> Result<()> {
    let named = providers.iter().chain(strategy.iter().filter_map(|item| item.capacity_provider.as_ref())).next();
    match named {
        None => Ok(()),
        Some(name) => Err(error::invalid_parameter_exception(format!(
            "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
        ))),
    }
}
