//! Lifecycle hooks of Auto Scaling groups.

use super::call::call;
use super::change::Change;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::op;
use serde_json::{Map, Value, json};

/// `AWS::AutoScaling::LifecycleHook`.
pub struct LifecycleHook;

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

/// Auto Scaling says by a validation error that a group or what belongs to it is not there.
fn gone<T>(result: Result<T>) -> Result<Progress> {
    match result {
        Err(error) if error.code == "ValidationError" => Ok(Progress::Done),
        other => deleted(other),
    }
}
