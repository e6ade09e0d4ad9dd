//! UpdateCapacityProvider.

use super::providers;
use super::records::CapacityProvider;
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::op::{DeleteLifecycleHook, DescribeLifecycleHooks, PutLifecycleHook};
use quarry_aws::autoscaling::{DeleteLifecycleHookType, DescribeLifecycleHooksType, PutLifecycleHookType};
use quarry_aws::ecs::{UpdateCapacityProviderRequest, UpdateCapacityProviderResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: UpdateCapacityProviderRequest) -> Result<UpdateCapacityProviderResponse> {
    let known = providers::find(ctx, input.name.as_deref().unwrap_or_default())?;
    let mut provider = known.ok_or_else(providers::unknown)?;
    if input.managed_instances_provider.is_some() || input.cluster.is_some() {
        return Err(error::unsupported_feature_exception("Amazon ECS Managed Instances are not supported here."));
    }
    let given = input.auto_scaling_group_provider.unwrap_or_default();
    provider.scaling = providers::scaling(given.managed_scaling, &provider.scaling)?;
    let (protection, draining) = (given.managed_termination_protection, given.managed_draining);
    provider.termination_protection =
        providers::switch(protection.as_deref(), provider.termination_protection, "managedTerminationProtection")?;
    provider.draining = providers::switch(draining.as_deref(), provider.draining, "managedDraining")?;
    let group = providers::group(ctx, &provider.group_arn)?;
    providers::check_protection(&provider, &group)?;
    set_hook(ctx, &provider)?;
    provider.updated = true;
    ctx.tx.put(&provider)?;
    Ok(UpdateCapacityProviderResponse { capacity_provider: Some(providers::show(&provider, true)) })
}

/// Gives the group the hook by which its instances are drained, or takes it away.
pub fn set_hook(ctx: &mut Ctx<'_>, provider: &CapacityProvider) -> Result<()> {
    if !provider.draining {
        return remove_hook(ctx, provider);
    }
    ctx.invoke::<PutLifecycleHook>(PutLifecycleHookType {
        auto_scaling_group_name: Some(provider.group.clone()),
        lifecycle_hook_name: Some(providers::DRAINING_HOOK.into()),
        lifecycle_transition: Some("autoscaling:EC2_INSTANCE_TERMINATING".into()),
        default_result: Some("CONTINUE".into()),
        heartbeat_timeout: Some(7200),
        ..Default::default()
    })?;
    Ok(())
}

pub fn remove_hook(ctx: &mut Ctx<'_>, provider: &CapacityProvider) -> Result<()> {
    let group = Some(provider.group.clone());
    let input = DescribeLifecycleHooksType {
        auto_scaling_group_name: group.clone(),
        lifecycle_hook_names: Some(vec![providers::DRAINING_HOOK.into()]),
    };
    // The group may be gone.
    let found = ctx.invoke::<DescribeLifecycleHooks>(input).ok().and_then(|output| output.lifecycle_hooks);
    if found.is_some_and(|hooks| !hooks.is_empty()) {
        ctx.invoke::<DeleteLifecycleHook>(DeleteLifecycleHookType {
            auto_scaling_group_name: group,
            lifecycle_hook_name: Some(providers::DRAINING_HOOK.into()),
        })?;
    }
    Ok(())
}
