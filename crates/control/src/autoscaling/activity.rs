//! Scaling activities: what was done to a group, and why.

use super::error::{page, validation};
use super::records::{ActivityRecord, GroupRecord, MemberRecord, SubnetRef};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::autoscaling::{ActivitiesType, Activity, DescribeScalingActivitiesType};
use quarry_wire::Timestamp;

/// Activities that are kept of each group.
const KEPT: usize = 100;

/// A change of a group's number of instances by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: usize,
    pub to: usize,
}

/// The time as activities' causes tell it.
pub fn now(ctx: &Ctx<'_>) -> Timestamp {
    Timestamp::from_millis(ctx.platform.now_ms())
}

/// Why an instance was launched.
pub fn cause_of_launch(ctx: &Ctx<'_>, change: Change) -> String {
    let Change { from, to } = change;
    let at = now(ctx);
    format!(
        "At {at} an instance was started in response to a difference between desired and actual capacity, increasing the capacity from {from} to {to}."
    )
}

/// Why an instance was terminated.
pub fn cause_of_termination(ctx: &Ctx<'_>, id: &str, change: Change) -> String {
    let Change { from, to } = change;
    let at = now(ctx);
    format!(
        "At {at} an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from {from} to {to}.  At {at} instance {id} was selected for termination."
    )
}

pub fn launched(ctx: &mut Ctx<'_>, group: &GroupRecord, id: &str, subnet: &SubnetRef, change: Change) -> Result<()> {
    let activity = Activity {
        description: Some(format!("Launching a new EC2 instance: {id}")),
        cause: Some(cause_of_launch(ctx, change)),
        details: Some(details(&subnet.id, &subnet.zone)),
        ..successful(ctx, group)
    };
    keep(ctx, activity)
}

pub fn launch_failed(
    ctx: &mut Ctx<'_>,
    group: &GroupRecord,
    subnet: &SubnetRef,
    change: Change,
    message: String,
) -> Result<()> {
    let activity = Activity {
        description: Some("Launching a new EC2 instance.".into()),
        cause: Some(cause_of_launch(ctx, change)),
        details: Some(details(&subnet.id, &subnet.zone)),
        status_code: Some("Failed".into()),
        status_message: Some(format!("{}. Launching EC2 instance failed.", message.trim_end_matches('.'))),
        ..successful(ctx, group)
    };
    keep(ctx, activity)
}

/// A termination that a hook holds, as its requester sees it.
pub fn terminating(ctx: &Ctx<'_>, group: &GroupRecord, member: &MemberRecord, cause: String) -> Activity {
    let zone = member.instance.availability_zone.as_deref().unwrap_or_default();
    Activity {
        description: Some(format!("Terminating EC2 instance: {}", member.key())),
        cause: Some(cause),
        details: Some(details(&member.subnet, zone)),
        status_code: Some("MidTerminatingLifecycleAction".into()),
        progress: Some(60),
        end_time: None,
        ..successful(ctx, group)
    }
}

/// Records that an instance left its group alive.
pub fn detached(ctx: &mut Ctx<'_>, group: &GroupRecord, member: &MemberRecord, cause: String) -> Result<Activity> {
    let zone = member.instance.availability_zone.as_deref().unwrap_or_default();
    let activity = Activity {
        description: Some(format!("Detaching EC2 instance: {}", member.key())),
        cause: Some(cause),
        details: Some(details(&member.subnet, zone)),
        ..successful(ctx, group)
    };
    keep(ctx, activity.clone())?;
    Ok(activity)
}

/// Records a termination; returns it as its requester sees it, still under way.
pub fn terminated(ctx: &mut Ctx<'_>, group: &GroupRecord, member: &MemberRecord, cause: String) -> Result<Activity> {
    let zone = member.instance.availability_zone.as_deref().unwrap_or_default();
    let activity = Activity {
        description: Some(format!("Terminating EC2 instance: {}", member.key())),
        cause: Some(cause),
        details: Some(details(&member.subnet, zone)),
        ..successful(ctx, group)
    };
    keep(ctx, activity.clone())?;
    Ok(Activity { status_code: Some("InProgress".into()), progress: Some(0), end_time: None, ..activity })
}

/// The newest first.
pub fn describe(ctx: &mut Ctx<'_>, input: DescribeScalingActivitiesType) -> Result<ActivitiesType> {
    if let Some(filter) = input.filters.iter().flatten().next() {
        let name = filter.name.as_deref().unwrap_or_default();
        return Err(validation(format!("The filter {name} is not supported.")));
    }
    let mut found = match &input.auto_scaling_group_name {
        Some(name) => ctx.tx.children::<ActivityRecord>(name)?,
        None => ctx.tx.all::<ActivityRecord>()?,
    };
    if let Some(ids) = input.activity_ids.filter(|ids| !ids.is_empty()) {
        found.retain(|record| ids.contains(&record.key()));
    }
    found.reverse();
    let (found, next_token) = page(found, input.max_records.or(Some(100)), input.next_token)?;
    Ok(ActivitiesType { activities: Some(found.into_iter().map(|record| record.activity).collect()), next_token })
}

fn successful(ctx: &Ctx<'_>, group: &GroupRecord) -> Activity {
    Activity {
        activity_id: Some(ctx.platform.door.uuid()),
        auto_scaling_group_arn: group.group.auto_scaling_group_arn.clone(),
        auto_scaling_group_name: Some(group.key()),
        start_time: Some(now(ctx)),
        end_time: Some(now(ctx)),
        status_code: Some("Successful".into()),
        progress: Some(100),
        ..Default::default()
    }
}

fn details(subnet: &str, zone: &str) -> String {
    serde_json::json!({ "Subnet ID": subnet, "Availability Zone": zone }).to_string()
}

fn keep(ctx: &mut Ctx<'_>, activity: Activity) -> Result<()> {
    let record = ActivityRecord { activity };
    ctx.tx.put(&record)?;
    let all = ctx.tx.children::<ActivityRecord>(&record.parent())?;
    for old in all.iter().take(all.len().saturating_sub(KEPT)) {
        ctx.tx.delete::<ActivityRecord>(&old.key())?;
    }
    Ok(())
}
