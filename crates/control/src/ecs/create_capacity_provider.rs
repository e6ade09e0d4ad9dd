//! CreateCapacityProvider: of an Auto Scaling group.

use super::records::CapacityProvider;
use super::update_capacity_provider::set_hook;
use super::{providers, tags};
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::op::CreateOrUpdateTags;
use quarry_aws::autoscaling::{CreateOrUpdateTagsType, Tag};
use quarry_aws::ecs::{CreateCapacityProviderRequest, CreateCapacityProviderResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: CreateCapacityProviderRequest) -> Result<CreateCapacityProviderResponse> {
    let name = input.name.unwrap_or_default();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let reserved = ["aws", "ecs", "fargate"].iter().any(|prefix| name.to_ascii_lowercase().starts_with(prefix));
    if name.is_empty() || name.len() > 255 || !name.chars().all(legal) || reserved {
        return Err(error::invalid_parameter_exception(
            "The specified capacity provider name is invalid. Up to 255 characters are allowed, including letters (upper and lowercase), numbers, underscores (_), and hyphens (-). The name can't be prefixed with \"aws\", \"ecs\", or \"fargate\".",
        ));
    }
    if input.managed_instances_provider.is_some() || input.cluster.is_some() {
        return Err(error::unsupported_feature_exception("Amazon ECS Managed Instances are not supported here."));
    }
    let given = input
        .auto_scaling_group_provider
        .ok_or_else(|| error::invalid_parameter_exception("An Auto Scaling group provider must be specified."))?;
    if providers::find(ctx, &name)?.is_some() {
        return Err(error::invalid_parameter_exception(
            "The specified capacity provider already exists. To change the configuration of an existing capacity provider, update the capacity provider.",
        ));
    }
    let group = providers::group(ctx, given.auto_scaling_group_arn.as_deref().unwrap_or_default())?;
    let group_arn = group.auto_scaling_group_arn.clone().unwrap_or_default();
    let taken = ctx.tx.all::<CapacityProvider>()?.into_iter().find(|other| other.group_arn == group_arn);
    if let Some(other) = taken {
        return Err(error::client_exception(format!(
            "The specified Auto Scaling group is already in use by capacity provider {}.",
            other.name
        )));
    }
    let protection = given.managed_termination_protection.as_deref();
    let provider = CapacityProvider {
        arn: providers::arn(ctx, &name),
        group: group.auto_scaling_group_name.clone().unwrap_or_default(),
        group_arn,
        scaling: providers::scaling(given.managed_scaling, &Default::default())?,
        termination_protection: providers::switch(protection, false, "managedTerminationProtection")?,
        draining: providers::switch(given.managed_draining.as_deref(), true, "managedDraining")?,
        updated: false,
        tags: tags::read(input.tags)?,
        name,
    };
    providers::check_protection(&provider, &group)?;
    // By this tag the group shows who manages it, as on AWS.
    let tag = Tag {
        key: Some("AmazonECSManaged".into()),
        value: Some(String::new()),
        propagate_at_launch: Some(true),
        resource_id: Some(provider.group.clone()),
        resource_type: Some("auto-scaling-group".into()),
    };
    ctx.invoke::<CreateOrUpdateTags>(CreateOrUpdateTagsType { tags: Some(vec![tag]) })?;
    set_hook(ctx, &provider)?;
    ctx.tx.put(&provider)?;
    Ok(CreateCapacityProviderResponse { capacity_provider: Some(providers::show(&provider, true)) })
}
