//! What a group launches its instances from: a launch configuration, a launch template, or the launch
//! template of a mixed instances policy.

use super::error::validation;
use super::launch_configuration::{self, profile_arn};
use super::records::GroupRecord;
use crate::api::{Ctx, Result};
use crate::ec2::launch_template;
use crate::store::Tx;
use quarry_aws::autoscaling::{
    CreateAutoScalingGroupType, InstancesDistribution, LaunchTemplateSpecification, MixedInstancesPolicy,
    UpdateAutoScalingGroupType,
};
use quarry_aws::ec2::{ResponseLaunchTemplateData, Tag};

/// What a group names, or `None` for what a request leaves out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    pub configuration: Option<String>,
    pub template: Option<LaunchTemplateSpecification>,
    pub policy: Option<MixedInstancesPolicy>,
}

/// What an instance is launched from, complete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    pub image_id: String,
    pub instance_type: String,
    /// ARN of the instance profile.
    pub profile: Option<String>,
    pub key_name: Option<String>,
    pub security_groups: Vec<String>,
    /// In base64.
    pub user_data: Option<String>,
    /// Tags that a launch template gives its instances.
    pub tags: Vec<Tag>,
    pub version: Version,
}

/// Which configuration or which version of a template it is, as instances show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Version {
    pub configuration: Option<String>,
    pub template: Option<LaunchTemplateSpecification>,
}

impl Named {
    pub fn of_new(input: &mut CreateAutoScalingGroupType) -> Self {
        Self {
            configuration: input.launch_configuration_name.take().filter(|name| !name.is_empty()),
            template: input.launch_template.take(),
            policy: input.mixed_instances_policy.take(),
        }
    }

    pub fn of_update(input: &mut UpdateAutoScalingGroupType) -> Self {
        Self {
            configuration: input.launch_configuration_name.take().filter(|name| !name.is_empty()),
            template: input.launch_template.take(),
            policy: input.mixed_instances_policy.take(),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts it on a group, in place of what the group had. It exists and can be launched from.
    pub fn apply(self, ctx: &mut Ctx<'_>, record: &mut GroupRecord) -> Result<()> {
        let Self { configuration, template, policy } = self;
        let group = &mut record.group;
        (group.launch_configuration_name, group.launch_template, group.mixed_instances_policy) = (None, None, None);
        match (configuration, template, policy) {
            (Some(configuration), None, None) => group.launch_configuration_name = Some(configuration),
            (None, Some(template), None) => group.launch_template = Some(complete(ctx.tx, template)?),
            (None, None, Some(policy)) => group.mixed_instances_policy = Some(checked(ctx.tx, policy)?),
            _ => {
                return Err(validation(
                    "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.",
                ));
            }
        }
        let source = source(ctx, record)?;
        if source.image_id.is_empty() {
            return Err(validation(
                "You must use a valid fully-formed launch template. The request must contain the parameter ImageId",
            ));
        }
        if source.instance_type.is_empty() {
            return Err(validation(
                "You must use a valid fully-formed launch template. The request must contain the parameter InstanceType",
            ));
        }
        Ok(())
    }
}

/// What the group's next instance is launched from.
pub fn source(ctx: &mut Ctx<'_>, group: &GroupRecord) -> Result<Source> {
    let version = version(ctx.tx, group)?;
    if let Some(name) = &version.configuration {
        let configuration = launch_configuration::find(ctx, name)?.configuration;
        let profile = configuration.iam_instance_profile.as_deref();
        return Ok(Source {
            profile: profile.map(|name| profile_arn(ctx, name)).transpose()?,
            image_id: configuration.image_id.unwrap_or_default(),
            instance_type: configuration.instance_type.unwrap_or_default(),
            key_name: configuration.key_name.filter(|key| !key.is_empty()),
            security_groups: configuration.security_groups.unwrap_or_default(),
            user_data: configuration.user_data.filter(|data| !data.is_empty()),
            tags: Vec::new(),
            version,
        });
    }
    let template = version.template.clone().unwrap_or_default();
    let data = data(ctx.tx, &template)?;
    let profile = data.iam_instance_profile.and_then(|profile| profile.arn.or(profile.name));
    let of_interface = data.network_interfaces.into_iter().flatten().next().and_then(|interface| interface.groups);
    let tags = data.tag_specifications.into_iter().flatten();
    let overridden = group.group.mixed_instances_policy.as_ref().and_then(first_override);
    Ok(Source {
        profile: profile.map(|name| profile_arn(ctx, &name)).transpose()?,
        image_id: data.image_id.unwrap_or_default(),
        instance_type: overridden.or(data.instance_type).unwrap_or_default(),
        key_name: data.key_name,
        security_groups: of_interface.or(data.security_group_ids).unwrap_or_default(),
        user_data: data.user_data,
        tags: tags
            .filter(|t| t.resource_type.as_deref() == Some("instance"))
            .flat_map(|t| t.tags.unwrap_or_default())
            .collect(),
        version,
    })
}

/// What an instance shows if it is launched now: `$Latest` and `$Default` as numbers.
pub fn version(tx: &Tx<'_>, group: &GroupRecord) -> Result<Version> {
    if let Some(name) = &group.group.launch_configuration_name {
        return Ok(Version { configuration: Some(name.clone()), template: None });
    }
    let of_policy = group.group.mixed_instances_policy.as_ref();
    let of_policy =
        of_policy.and_then(|policy| policy.launch_template.as_ref()?.launch_template_specification.as_ref());
    let named = group.group.launch_template.as_ref().or(of_policy).cloned().unwrap_or_default();
    let found = resolve(tx, &named)?;
    let template = LaunchTemplateSpecification {
        launch_template_id: found.launch_template_id,
        launch_template_name: found.launch_template_name,
        version: found.version_number.map(|n| n.to_string()),
    };
    Ok(Version { configuration: None, template: Some(template) })
}

fn data(tx: &Tx<'_>, template: &LaunchTemplateSpecification) -> Result<ResponseLaunchTemplateData> {
    Ok(resolve(tx, template)?.launch_template_data.unwrap_or_default())
}

fn resolve(tx: &Tx<'_>, named: &LaunchTemplateSpecification) -> Result<quarry_aws::ec2::LaunchTemplateVersion> {
    // With both, the id counts: a group keeps both.
    let name = named.launch_template_name.as_deref().filter(|_| named.launch_template_id.is_none());
    launch_template::resolve(tx, named.launch_template_id.as_deref(), name, named.version.as_deref())
        .map_err(|error| validation(format!("You must use a valid fully-formed launch template. {}", error.message)))
}

/// A reference as groups show it: with id and name, the version as it was given.
fn complete(tx: &Tx<'_>, given: LaunchTemplateSpecification) -> Result<LaunchTemplateSpecification> {
    if given.launch_template_id.is_some() == given.launch_template_name.is_some() {
        return Err(validation("Valid requests must contain either launchTemplateId or LaunchTemplateName"));
    }
    let found = resolve(tx, &given)?;
    Ok(LaunchTemplateSpecification {
        launch_template_id: found.launch_template_id,
        launch_template_name: found.launch_template_name,
        version: given.version,
    })
}

/// On-demand instances of the first type that is named: the strategy `prioritized`.
fn checked(tx: &Tx<'_>, policy: MixedInstancesPolicy) -> Result<MixedInstancesPolicy> {
    let template = policy
        .launch_template
        .ok_or_else(|| validation("Valid requests must contain a LaunchTemplate in the MixedInstancesPolicy."))?;
    let specification = template.launch_template_specification.clone().ok_or_else(|| {
        validation("Valid requests must contain a LaunchTemplateSpecification in the MixedInstancesPolicy.")
    })?;
    for given in template.overrides.iter().flatten() {
        let weight = given.weighted_capacity.as_deref().is_some_and(|weight| weight != "1");
        if weight || given.instance_requirements.is_some() || given.launch_template_specification.is_some() {
            return Err(validation(
                "WeightedCapacity, InstanceRequirements and LaunchTemplateSpecification are not supported in overrides.",
            ));
        }
        if given.image_id.is_some() {
            return Err(validation("ImageId is not supported in overrides."));
        }
        if let Some(kind) = &given.instance_type {
            crate::ec2::instance::size(kind)
                .map_err(|_| validation(format!("Invalid or unsupported instance type: {kind}")))?;
        }
    }
    let given = policy.instances_distribution.unwrap_or_default();
    if given.on_demand_percentage_above_base_capacity.is_some_and(|percent| percent != 100) {
        return Err(validation("Spot Instances are not supported: OnDemandPercentageAboveBaseCapacity must be 100."));
    }
    if given.on_demand_allocation_strategy.as_deref().is_some_and(|strategy| strategy != "prioritized") {
        return Err(validation("The on-demand allocation strategy must be prioritized."));
    }
    let distribution = InstancesDistribution {
        on_demand_allocation_strategy: Some("prioritized".into()),
        on_demand_base_capacity: Some(given.on_demand_base_capacity.unwrap_or(0)),
        on_demand_percentage_above_base_capacity: Some(100),
        spot_allocation_strategy: Some(given.spot_allocation_strategy.unwrap_or_else(|| "lowest-price".into())),
        ..given
    };
    let template = quarry_aws::autoscaling::LaunchTemplate {
        launch_template_specification: Some(complete(tx, specification)?),
        overrides: template.overrides,
    };
    Ok(MixedInstancesPolicy { instances_distribution: Some(distribution), launch_template: Some(template) })
}

fn first_override(policy: &MixedInstancesPolicy) -> Option<String> {
    policy.launch_template.as_ref()?.overrides.as_ref()?.first()?.instance_type.clone()
}
