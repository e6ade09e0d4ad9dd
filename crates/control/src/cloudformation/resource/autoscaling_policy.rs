//! Scaling policies of Auto Scaling groups.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::op;
use serde_json::{Map, Value, json};

/// `AWS::AutoScaling::ScalingPolicy`.
pub struct ScalingPolicy;

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
        let name = wanted.generated(255);
        let arn = put(ctx, wanted, &name)?;
        Ok(Made::new(&arn).with("Arn", arn).with("PolicyName", name))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        put(ctx, new, name_of(&made.physical_id))?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({
            "AutoScalingGroupName": properties["AutoScalingGroupName"],
            "PolicyNames": [made.physical_id],
        });
        let output = call::<op::DescribePolicies>(ctx, input)?;
        let policy = output.pointer("/ScalingPolicies/0").ok_or_else(|| absent("The policy is not there"))?;
        Ok(members(policy, self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _: &Map<String, Value>) -> Result<Progress> {
        match call::<op::DeletePolicy>(ctx, json!({"PolicyName": made.physical_id})) {
            // It went with its group.
            Err(error) if error.code == "ValidationError" => Ok(Progress::Done),
            other => deleted(other),
        }
    }
}

/// The policy's name in its ARN.
fn name_of(arn: &str) -> &str {
    arn.rsplit_once(":policyName/").map_or(arn, |(_, name)| name)
}

fn put(ctx: &mut Ctx<'_>, wanted: &Wanted, name: &str) -> Result<String> {
    let mut input = wanted.properties.clone();
    input.insert("PolicyName".into(), name.into());
    let output = call::<op::PutScalingPolicy>(ctx, input.into())?;
    text(&output, "/PolicyARN")
}
