//! Scheduled actions of Auto Scaling groups.

use super::call::call;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::op;
use serde_json::{Map, Value, json};

/// `AWS::AutoScaling::ScheduledAction`.
pub struct ScheduledAction;

impl ResourceType for ScheduledAction {
    fn name(&self) -> &'static str {
        "AWS::AutoScaling::ScheduledAction"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "AutoScalingGroupName",
            "DesiredCapacity",
            "EndTime",
            "MaxSize",
            "MinSize",
            "Recurrence",
            "StartTime",
            "TimeZone",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["AutoScalingGroupName"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["ScheduledActionName"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["DesiredCapacity", "EndTime", "MaxSize", "MinSize", "Recurrence", "StartTime", "TimeZone"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let name = wanted.generated(255);
        put(ctx, wanted, &name)?;
        Ok(Made::new(&name).with("ScheduledActionName", name))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        put(ctx, new, &made.physical_id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({
            "AutoScalingGroupName": properties["AutoScalingGroupName"],
            "ScheduledActionNames": [made.physical_id],
        });
        let output = call::<op::DescribeScheduledActions>(ctx, input)?;
        let action =
            output.pointer("/ScheduledUpdateGroupActions/0").ok_or_else(|| absent("The action is not there"))?;
        // The start of a recurring action moves on by itself.
        let mut seen = members(action, self.properties());
        seen.remove("StartTime");
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let group = properties.get("AutoScalingGroupName").cloned().unwrap_or_default();
        let input = json!({"AutoScalingGroupName": group, "ScheduledActionName": made.physical_id});
        match call::<op::DeleteScheduledAction>(ctx, input) {
            // Auto Scaling says so where the action, which goes when its time has passed, or the group is not there.
            Err(error) if error.code == "ValidationError" => Ok(Progress::Done),
            other => deleted(other),
        }
    }
}

fn put(ctx: &mut Ctx<'_>, wanted: &Wanted, name: &str) -> Result<()> {
    let mut input = wanted.properties.clone();
    input.insert("ScheduledActionName".into(), name.into());
    call::<op::PutScheduledUpdateGroupAction>(ctx, input.into())?;
    Ok(())
}
