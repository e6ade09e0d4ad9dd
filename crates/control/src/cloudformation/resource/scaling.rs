//! Application Auto Scaling: scalable targets and their policies.

use super::call::{call, refused, text};
use super::change::Change;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::application_autoscaling::op;
use serde_json::{Map, Value, json};

/// `AWS::ApplicationAutoScaling::ScalableTarget`.
pub struct ScalableTarget;

/// `AWS::ApplicationAutoScaling::ScalingPolicy`.
pub struct ScalingPolicy;

/// What makes up a target's identity.
const IDENTITY: [&str; 3] = ["ResourceId", "ScalableDimension", "ServiceNamespace"];

impl ResourceType for ScalableTarget {
    fn name(&self) -> &'static str {
        "AWS::ApplicationAutoScaling::ScalableTarget"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "MaxCapacity",
            "MinCapacity",
            "ResourceId",
            "RoleARN",
            "ScalableDimension",
            "ScheduledActions",
            "ServiceNamespace",
            "SuspendedState",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["MaxCapacity", "MinCapacity", "ResourceId", "ScalableDimension", "ServiceNamespace"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Id"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["MaxCapacity", "MinCapacity", "RoleARN", "ScheduledActions", "SuspendedState"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        call::<op::RegisterScalableTarget>(ctx, wanted.without(&["ScheduledActions"]).into())?;
        for action in actions(&wanted.properties) {
            schedule(ctx, &wanted.properties, action)?;
        }
        let id = IDENTITY.iter().map(|name| wanted.needed(name)).collect::<Result<Vec<_>>>()?.join("|");
        Ok(Made::new(&id).with("Id", id))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        if change.any(&["MaxCapacity", "MinCapacity", "RoleARN", "SuspendedState"]) {
            let mut input = new.without(&["ScheduledActions"]);
            let running = json!({
                "DynamicScalingInSuspended": false,
                "DynamicScalingOutSuspended": false,
                "ScheduledScalingSuspended": false,
            });
            if let Some(state) = change.value("SuspendedState", running) {
                input.insert("SuspendedState".into(), state);
            }
            call::<op::RegisterScalableTarget>(ctx, input.into())?;
        }
        let (came, went) = change.list("ScheduledActions");
        for action in &went {
            if came.iter().all(|other| other["ScheduledActionName"] != action["ScheduledActionName"]) {
                let mut input = new.pick(&IDENTITY);
                input.insert("ScheduledActionName".into(), action["ScheduledActionName"].clone());
                deleted(call::<op::DeleteScheduledAction>(ctx, input.into()))?;
            }
        }
        for action in came {
            schedule(ctx, &new.properties, action)?;
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({
            "ServiceNamespace": properties["ServiceNamespace"],
            "ResourceIds": [properties["ResourceId"]],
            "ScalableDimension": properties["ScalableDimension"],
        });
        let output = call::<op::DescribeScalableTargets>(ctx, input)?;
        let target = output.pointer("/ScalableTargets/0").ok_or_else(|| absent("The target is not registered"))?;
        Ok(members(
            target,
            &["MaxCapacity", "MinCapacity", "ResourceId", "ScalableDimension", "ServiceNamespace", "SuspendedState"],
        ))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let identity = members(&Value::Object(properties.clone()), &IDENTITY);
        deleted(call::<op::DeregisterScalableTarget>(ctx, identity.into()))
    }
}

impl ResourceType for ScalingPolicy {
    fn name(&self) -> &'static str {
        "AWS::ApplicationAutoScaling::ScalingPolicy"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "PolicyName",
            "PolicyType",
            "ResourceId",
            "ScalableDimension",
            "ScalingTargetId",
            "ServiceNamespace",
            "StepScalingPolicyConfiguration",
            "TargetTrackingScalingPolicyConfiguration",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["PolicyName", "PolicyType"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["PolicyType", "StepScalingPolicyConfiguration", "TargetTrackingScalingPolicyConfiguration"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["ScalingTargetId"]);
        input.extend(target(&wanted.properties)?);
        let output = call::<op::PutScalingPolicy>(ctx, input.into())?;
        let arn = text(&output, "/PolicyARN")?;
        Ok(Made::new(&arn).with("Arn", arn))
    }

    fn update(&self, ctx: &mut Ctx<'_>, _made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        self.create(ctx, new)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut input = target(properties)?;
        input.insert("PolicyNames".into(), json!([properties["PolicyName"]]));
        let output = call::<op::DescribeScalingPolicies>(ctx, input.into())?;
        let mut policies = output["ScalingPolicies"].as_array().into_iter().flatten();
        let policy = policies.find(|policy| policy["PolicyARN"] == made.physical_id.as_str());
        Ok(members(policy.ok_or_else(|| absent("The policy is not there"))?, self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let mut input = target(properties)?;
        input.insert("PolicyName".into(), properties["PolicyName"].clone());
        deleted(call::<op::DeleteScalingPolicy>(ctx, input.into()))
    }
}

/// What a policy scales: named by its parts, or by what Ref gives of a scalable target.
fn target(properties: &Map<String, Value>) -> Result<Map<String, Value>> {
    let Some(id) = properties.get("ScalingTargetId").and_then(Value::as_str) else {
        let parts = members(&Value::Object(properties.clone()), &IDENTITY);
        return if parts.len() == IDENTITY.len() {
            Ok(parts)
        } else {
            Err(refused("Either ScalingTargetId or ResourceId, ScalableDimension and ServiceNamespace must be given"))
        };
    };
    let parts: Vec<&str> = id.split('|').collect();
    if parts.len() != IDENTITY.len() {
        return Err(refused(format!("Value of property ScalingTargetId is not a scalable target: {id}")));
    }
    Ok(IDENTITY.iter().zip(parts).map(|(name, part)| ((*name).to_owned(), part.into())).collect())
}

fn actions(properties: &Map<String, Value>) -> Vec<Value> {
    properties.get("ScheduledActions").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn schedule(ctx: &mut Ctx<'_>, properties: &Map<String, Value>, action: Value) -> Result<()> {
    let mut input = members(&Value::Object(properties.clone()), &IDENTITY);
    input.extend(action.as_object().cloned().unwrap_or_default());
    call::<op::PutScheduledAction>(ctx, input.into())?;
    Ok(())
}
