//! Auto Scaling groups.

use super::call::call;
use super::{Made, Progress, ResourceType, Wanted};
use crate::api::{Ctx, Result};
use crate::cloudformation::template::text_of;
use quarry_aws::autoscaling::op;
use serde_json::{Map, Value, json};

/// `AWS::AutoScaling::AutoScalingGroup`.
pub struct AutoScalingGroup;

impl ResourceType for AutoScalingGroup {
    fn name(&self) -> &'static str {
        "AWS::AutoScaling::AutoScalingGroup"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "AutoScalingGroupName",
            "AvailabilityZones",
            "CapacityRebalance",
            "Cooldown",
            "DefaultInstanceWarmup",
            "DesiredCapacity",
            "HealthCheckGracePeriod",
            "HealthCheckType",
            "LaunchConfigurationName",
            "LaunchTemplate",
            "MaxInstanceLifetime",
            "MaxSize",
            "MinSize",
            "NewInstancesProtectedFromScaleIn",
            "TargetGroupARNs",
            "Tags",
            "TerminationPolicies",
            "VPCZoneIdentifier",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["MinSize", "MaxSize"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["AutoScalingGroupARN"]
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        let group = describe(ctx, &made.physical_id)?.unwrap_or_default();
        let ready = group["Instances"]
            .as_array()
            .map_or(0, |all| all.iter().filter(|instance| instance["LifecycleState"] == "InService").count());
        let desired = group["DesiredCapacity"].as_u64().unwrap_or(0);
        Ok(if ready as u64 >= desired { Progress::Done } else { Progress::Waiting })
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let renamed = ["AutoScalingGroupName", "Cooldown", "Tags", "VPCZoneIdentifier"];
        let mut input = wanted.without(&renamed);
        if let Some(cooldown) = wanted.properties.get("Cooldown") {
            input.insert("DefaultCooldown".into(), cooldown.clone());
        }
        if let Some(subnets) = wanted.properties.get("VPCZoneIdentifier") {
            let subnets = match subnets {
                Value::Array(list) => list.iter().filter_map(text_of).collect::<Vec<_>>().join(","),
                one => text_of(one).unwrap_or_default(),
            };
            input.insert("VPCZoneIdentifier".into(), subnets.into());
        }
        let name = wanted.name("AutoScalingGroupName", 255);
        // Tags say themselves whether instances get them; those of the stack go on to instances.
        let tags = wanted.tags().into_iter().map(|mut tag| {
            if tag.get("PropagateAtLaunch").is_none() {
                tag["PropagateAtLaunch"] = true.into();
            }
            tag
        });
        input.insert("Tags".into(), tags.collect());
        input.insert("AutoScalingGroupName".into(), name.clone().into());
        call::<op::CreateAutoScalingGroup>(ctx, input.into())?;
        let described = describe(ctx, &name)?.unwrap_or_default();
        Ok(Made::new(name).with("AutoScalingGroupARN", described["AutoScalingGroupARN"].clone()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        match describe(ctx, &made.physical_id)? {
            None => Ok(Progress::Done),
            Some(group) if group["Status"].is_string() => Ok(Progress::Waiting),
            Some(_) => {
                let input = json!({"AutoScalingGroupName": made.physical_id, "ForceDelete": true});
                call::<op::DeleteAutoScalingGroup>(ctx, input)?;
                Ok(if describe(ctx, &made.physical_id)?.is_none() { Progress::Done } else { Progress::Waiting })
            }
        }
    }
}

/// The group as the service sees it; `None` when it is gone.
fn describe(ctx: &mut Ctx<'_>, name: &str) -> Result<Option<Value>> {
    let output = call::<op::DescribeAutoScalingGroups>(ctx, json!({"AutoScalingGroupNames": [name]}))?;
    Ok(output.pointer("/AutoScalingGroups/0").cloned())
}
