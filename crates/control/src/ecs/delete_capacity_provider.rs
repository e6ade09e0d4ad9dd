//! DeleteCapacityProvider: once no cluster has it.

use super::records::{CapacityProvider, Cluster};
use super::update_capacity_provider::remove_hook;
use super::{capacity, providers};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DeleteCapacityProviderRequest, DeleteCapacityProviderResponse, error};
use quarry_domain::arn::short_name;

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteCapacityProviderRequest) -> Result<DeleteCapacityProviderResponse> {
    let name = short_name(input.capacity_provider.as_deref().unwrap_or_default()).to_owned();
    if capacity::is_fargate(&name) {
        return Err(error::invalid_parameter_exception(
            "The FARGATE and FARGATE_SPOT capacity providers cannot be deleted.",
        ));
    }
    let provider = providers::find(ctx, &name)?.ok_or_else(providers::unknown)?;
    let clusters = ctx.tx.all::<Cluster>()?;
    if clusters.iter().any(|cluster| cluster.active && cluster.capacity_providers.contains(&name)) {
        return Err(providers::in_use());
    }
    remove_hook(ctx, &provider)?;
    ctx.tx.delete::<CapacityProvider>(&provider.arn)?;
    let mut shown = providers::show(&provider, true);
    shown.status = Some("INACTIVE".into());
    shown.update_status = Some("DELETE_COMPLETE".into());
    Ok(DeleteCapacityProviderResponse { capacity_provider: Some(shown) })
}
