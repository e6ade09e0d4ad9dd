//! Suspending the processes of a group.

use super::error::{required, validation};
use super::records::{GroupRecord, find_active};
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::{ScalingProcessQuery, SuspendedProcess};
use quarry_wire::Empty;

/// AWS's processes. Of them `AZRebalance` and `InstanceRefresh` never run here, suspended or not.
const ALL: [&str; 9] = [
    "AZRebalance",
    "AddToLoadBalancer",
    "AlarmNotification",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

/// Whether the group's process stands still.
pub fn is_suspended(group: &GroupRecord, process: &str) -> bool {
    group.group.suspended_processes.iter().flatten().any(|p| p.process_name.as_deref() == Some(process))
}

/// Without names, all of them.
pub fn suspend(ctx: &mut Ctx<'_>, input: ScalingProcessQuery) -> Result<Empty> {
    let mut group = find_active(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let at = super::activity::now(ctx);
    for name in named(input.scaling_processes)? {
        if !is_suspended(&group, &name) {
            group.group.suspended_processes.get_or_insert_default().push(SuspendedProcess {
                process_name: Some(name),
                suspension_reason: Some(format!("User suspended at {at}")),
            });
        }
    }
    ctx.tx.put(&group)?;
    Ok(Empty {})
}

pub fn resume(ctx: &mut Ctx<'_>, input: ScalingProcessQuery) -> Result<Empty> {
    let mut group = find_active(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let names = named(input.scaling_processes)?;
    let resumed = |p: &SuspendedProcess| p.process_name.as_ref().is_some_and(|name| names.contains(name));
    group.group.suspended_processes.get_or_insert_default().retain(|p| !resumed(p));
    ctx.tx.put(&group)?;
    Ok(Empty {})
}

fn named(given: Option<Vec<String>>) -> Result<Vec<String>> {
    let given = given.unwrap_or_default();
    match given.iter().find(|name| !ALL.contains(&name.as_str())) {
        Some(unknown) => {
            Err(validation(format!("Invalid process name {unknown}. Valid processes are: {}", ALL.join(", "))))
        }
        None if given.is_empty() => Ok(ALL.map(str::to_owned).into()),
        None => Ok(given),
    }
}
