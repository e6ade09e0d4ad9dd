//! Lifecycle hooks and scaling policies of Auto Scaling groups.

use super::call::{call, text};
use super::change::Change;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::op;
use serde_json::{Map, Value, json};

/// `AWS::AutoScaling::LifecycleHook`.
pub struct LifecycleHook;

/// `AWS::AutoScaling::ScalingPolicy`.
pub struct ScalingPolicy;

impl ResourceType for LifecycleHook {
    fn name(&self) -> &'static str {
        "AWS::AutoScaling::LifecycleHook"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "AutoScalingGroupName",
            "DefaultResult",
            "HeartbeatTimeout",
            "LifecycleHookName",
            "LifecycleTransition",
            "NotificationMetadata",
            "NotificationTargetARN",
            "RoleARN",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["AutoScalingGroupName", "LifecycleTransition"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "DefaultResult",
            "HeartbeatTimeout",
            "LifecycleTransition",
            "NotificationMetadata",
            "NotificationTargetARN",
            "RoleARN",
        ]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("LifecycleHookName")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let name = wanted.name("LifecycleHookName", 255);
        let mut input = wanted.without(&["LifecycleHookName"]);
        input.insert("LifecycleHookName".into(), name.clone().into());
        call::<op::PutLifecycleHook>(ctx, input.into())?;
        Ok(Made::new(name))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let mut input = new.without(&["LifecycleHookName"]);
        input.extend(change.values(&[("DefaultResult", "ABANDON".into()), ("HeartbeatTimeout", 3600.into())]));
        input.insert("LifecycleHookName".into(), made.physical_id.clone().into());
        call::<op::PutLifecycleHook>(ctx, input.into())?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({
            "AutoScalingGroupName": properties["AutoScalingGroupName"],
            "LifecycleHookNames": [made.physical_id],
        });
        let output = call::<op::DescribeLifecycleHooks>(ctx, input)?;
        let hook = output.pointer("/LifecycleHooks/0").ok_or_else(|| absent("The hook is not there"))?;
        Ok(members(hook, self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let group = properties.get("AutoScalingGroupName").cloned().unwrap_or_default();
        gone(call::<op::DeleteLifecycleHook>(
            ctx,
            json!({"AutoScalingGroupName": group, "LifecycleHookName": made.physical_id}),
        ))
    }
}

impl ResourceType for ScalingPolicy {
    fn name(&self) -> &'static str {
        "AWS::AutoScaling::ScalingPolicy"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "AdjustmentType",
            "AutoScalingGroupName",
            "Cooldown",
            "EstimatedInstanceWarmup",
            "MetricAggregationType",
            "MinAdjustmentMagnitude",
            "PolicyType",
            "ScalingAdjustment",
            "StepAdjustments",
            "TargetTrackingConfiguration",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["AutoScalingGroupName"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn", "PolicyName"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "AdjustmentType",
            "Cooldown",
            "EstimatedInstanceWarmup",
            "MetricAggregationType",
            "MinAdjustmentMagnitude",
            "PolicyType",
            "ScalingAdjustment",
            "StepAdjustments",
            "TargetTrackingConfiguration",
        ]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        put(ctx, wanted, &wanted.generated(255))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        let name = made.attributes["PolicyName"].as_str().unwrap_or_default().to_owned();
        put(ctx, new, &name)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({
            "AutoScalingGroupName": properties["AutoScalingGroupName"],
            "PolicyNames": [made.attributes["PolicyName"]],
        });
        let output = call::<op::DescribePolicies>(ctx, input)?;
        let policy = output.pointer("/ScalingPolicies/0").ok_or_else(|| absent("The policy is not there"))?;
        Ok(members(policy, self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let group = properties.get("AutoScalingGroupName").cloned().unwrap_or_default();
        gone(call::<op::DeletePolicy>(ctx, json!({"AutoScalingGroupName": group, "PolicyName": made.physical_id})))
    }
}

fn put(ctx: &mut Ctx<'_>, wanted: &Wanted, name: &str) -> Result<Made> {
    let mut input = wanted.properties.clone();
    input.insert("PolicyName".into(), name.into());
    let output = call::<op::PutScalingPolicy>(ctx, input.into())?;
    let arn = text(&output, "/PolicyARN")?;
    Ok(Made::new(&arn).with("Arn", arn).with("PolicyName", name))
}

/// Auto Scaling says by a validation error that a group or what belongs to it is not there.
fn gone<T>(result: Result<T>) -> Result<Progress> {
    match result {
        Err(error) if error.code == "ValidationError" => Ok(Progress::Done),
        other => deleted(other),
    }
}
