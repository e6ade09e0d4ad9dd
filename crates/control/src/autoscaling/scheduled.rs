//! Scheduled actions: sizes that a group gets at a time, once or again and again.

use super::error::{page, required, validation};
use super::records::{GroupRecord, find_active, find_group};
use crate::api::{Ctx, Result};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::autoscaling::error::already_exists_fault;
use quarry_aws::autoscaling::{
    DeleteScheduledActionType, DescribeScheduledActionsType, PutScheduledUpdateGroupActionType, ScheduledActionsType,
    ScheduledUpdateGroupAction,
};
use quarry_domain::scaling::schedule::{Schedule, time_zone};
use quarry_wire::{Empty, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct ScheduledRecord {
    pub action: ScheduledUpdateGroupAction,
    pub next_ms: i64,
}

impl Item for ScheduledRecord {
    const KIND: &'static str = "autoscaling.scheduled-action";
    fn key(&self) -> String {
        format!("{}/{}", self.parent(), self.name())
    }
    fn parent(&self) -> String {
        self.action.auto_scaling_group_name.clone().unwrap_or_default()
    }
}

impl ScheduledRecord {
    fn name(&self) -> String {
        self.action.scheduled_action_name.clone().unwrap_or_default()
    }
}

/// The first action of a group whose time has come.
pub fn due(tx: &Tx<'_>, group: &str, now_ms: i64) -> Result<Option<ScheduledRecord>, StoreError> {
    let all = tx.children::<ScheduledRecord>(group)?;
    Ok(all.into_iter().filter(|record| record.next_ms <= now_ms).min_by_key(|record| record.next_ms))
}

/// Gives the group its sizes; an action that comes again is put forward, another goes. While the
/// process is suspended nothing happens in its stead, also not later.
pub fn run(ctx: &mut Ctx<'_>, group: &mut GroupRecord, mut record: ScheduledRecord) -> Result<()> {
    let now = ctx.platform.now_ms();
    if !super::process::is_suspended(group, "ScheduledActions") {
        let action = &record.action;
        let held = &mut group.group;
        held.min_size = action.min_size.or(held.min_size);
        held.max_size = action.max_size.or(held.max_size);
        let (min, max) = (held.min_size.unwrap_or(0), held.max_size.unwrap_or(0));
        let max = max.max(min);
        held.max_size = Some(max);
        let desired = action.desired_capacity.or(held.desired_capacity).unwrap_or(min);
        held.desired_capacity = Some(desired.clamp(min, max));
        ctx.tx.put(group)?;
    }
    let end = record.action.end_time.map_or(i64::MAX, |end| end.millis());
    match following(&record.action, now)? {
        Some(next) if next <= end => {
            record.next_ms = next;
            record.action.start_time = Some(Timestamp::from_millis(next));
            record.action.time = record.action.start_time;
            ctx.tx.put(&record)?;
        }
        _ => {
            ctx.tx.delete::<ScheduledRecord>(&record.key())?;
        }
    }
    Ok(())
}

/// The actions of a group that goes.
pub fn remove_all(tx: &Tx<'_>, group: &str) -> Result<(), StoreError> {
    for record in tx.children::<ScheduledRecord>(group)? {
        tx.delete::<ScheduledRecord>(&record.key())?;
    }
    Ok(())
}

pub fn put(ctx: &mut Ctx<'_>, input: PutScheduledUpdateGroupActionType) -> Result<Empty> {
    let group = find_active(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let name = required(input.scheduled_action_name, "scheduledActionName")?;
    let (min, max, desired) = (input.min_size, input.max_size, input.desired_capacity);
    if min.is_none() && max.is_none() && desired.is_none() {
        return Err(validation("At least one of MinSize, MaxSize and DesiredCapacity must be specified."));
    }
    if [min, max, desired].into_iter().flatten().any(|size| size < 0) {
        return Err(validation("Sizes must not be negative."));
    }
    if matches!((min, max), (Some(min), Some(max)) if min > max) {
        return Err(validation("Min value cannot be greater than max value."));
    }
    let now = ctx.platform.now_ms();
    let start = input.start_time.or(input.time);
    if start.is_none() && input.recurrence.is_none() {
        return Err(validation("Either StartTime or Recurrence must be specified."));
    }
    if start.is_some_and(|start| start.millis() < now) {
        return Err(validation("Given start time is in the past"));
    }
    if matches!((start, input.end_time), (Some(start), Some(end)) if end.millis() < start.millis()) {
        return Err(validation("Given end time is before the start time"));
    }
    let place = ctx.platform.place();
    let known = ctx.tx.get::<ScheduledRecord>(&format!("{}/{name}", group.key()))?;
    let arn = known.and_then(|record| record.action.scheduled_action_arn).unwrap_or_else(|| {
        let id = ctx.platform.door.uuid();
        let of = format_args!(
            "scheduledUpdateGroupAction:{id}:autoScalingGroupName/{}:scheduledActionName/{name}",
            group.key()
        );
        place.arn("autoscaling", of)
    });
    let mut action = ScheduledUpdateGroupAction {
        auto_scaling_group_name: Some(group.key()),
        scheduled_action_name: Some(name),
        scheduled_action_arn: Some(arn),
        desired_capacity: desired,
        min_size: min,
        max_size: max,
        end_time: input.end_time,
        recurrence: input.recurrence,
        time_zone: input.time_zone,
        start_time: start,
        time: start,
    };
    // Also checks the recurrence where a start is given.
    let recurring = following(&action, start.map_or(now, |start| start.millis() - 1))?;
    let next_ms = start.map(|start| start.millis()).or(recurring);
    let next_ms = next_ms.ok_or_else(|| validation("The recurrence has no time to come."))?;
    action.start_time = Some(Timestamp::from_millis(next_ms));
    action.time = action.start_time;
    let taken = ctx.tx.children::<ScheduledRecord>(&group.key())?.into_iter();
    let taken = taken.filter(|other| other.action.scheduled_action_name != action.scheduled_action_name);
    if let Some(other) = taken.into_iter().find(|other| other.next_ms == next_ms) {
        return Err(already_exists_fault(format!(
            "There is already a scheduled action {} at this time.",
            other.name()
        )));
    }
    ctx.tx.put(&ScheduledRecord { action, next_ms })?;
    Ok(Empty {})
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeScheduledActionsType) -> Result<ScheduledActionsType> {
    let mut found = match &input.auto_scaling_group_name {
        Some(name) => ctx.tx.children::<ScheduledRecord>(&find_group(ctx, name)?.key())?,
        None => ctx.tx.all::<ScheduledRecord>()?,
    };
    if let Some(names) = input.scheduled_action_names.filter(|names| !names.is_empty()) {
        found.retain(|record| names.contains(&record.name()));
    }
    found.retain(|record| input.start_time.is_none_or(|start| record.next_ms >= start.millis()));
    found.retain(|record| input.end_time.is_none_or(|end| record.next_ms <= end.millis()));
    let (found, next_token) = page(found, input.max_records, input.next_token)?;
    let actions = found.into_iter().map(|record| record.action).collect();
    Ok(ScheduledActionsType { scheduled_update_group_actions: Some(actions), next_token })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteScheduledActionType) -> Result<Empty> {
    let group = find_group(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let name = required(input.scheduled_action_name, "scheduledActionName")?;
    if !ctx.tx.delete::<ScheduledRecord>(&format!("{}/{name}", group.key()))? {
        return Err(validation("Scheduled action name not found"));
    }
    Ok(Empty {})
}

/// The next time of a recurring action after an instant; `None` for one that does not recur.
fn following(action: &ScheduledUpdateGroupAction, after_ms: i64) -> Result<Option<i64>> {
    let Some(recurrence) = &action.recurrence else { return Ok(None) };
    let zone = action.time_zone.as_deref().unwrap_or("Etc/UTC");
    let zone = time_zone(zone).ok_or_else(|| validation(format!("Time zone {zone} is not valid")))?;
    let schedule = expression(recurrence).and_then(|text| Schedule::parse(&text).ok());
    let schedule = schedule.ok_or_else(|| validation(format!("Given recurrence string:{recurrence} is invalid")))?;
    Ok(schedule.next(after_ms, after_ms, &zone))
}

/// A recurrence in Unix cron syntax (five fields, Sunday is 0 or 7) as a schedule's expression.
fn expression(unix: &str) -> Option<String> {
    let fields: Vec<&str> = unix.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else { return None };
    let days = match (day, weekday) {
        (day, "*") => format!("{day} {month} ?"),
        ("*", weekday) => format!("? {month} {}", weekdays(weekday)?),
        // Unix runs on either; the expression has no such form.
        _ => return None,
    };
    Some(format!("cron({minute} {hour} {days} *)"))
}

/// Weekdays counted from 0 or 7 for Sunday, as a list counted from 1 for Sunday.
fn weekdays(field: &str) -> Option<String> {
    let shifted = |text: &str| match text.parse::<u8>() {
        Ok(day) if day <= 7 => Some((day % 7 + 1).to_string()),
        Ok(_) => None,
        Err(_) => Some(text.to_owned()),
    };
    let item = |item: &str| {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let range = match range.split_once('-') {
            // Up to Sunday: the list wraps around.
            Some((from, "7")) => format!("1,{}-7", shifted(from)?),
            Some((from, to)) => format!("{}-{}", shifted(from)?, shifted(to)?),
            None => shifted(range)?,
        };
        Some(step.map_or(range.clone(), |step| format!("{range}/{step}")))
    };
    field.split(',').map(item).collect::<Option<Vec<_>>>().map(|items| items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_recurrences_are_understood() {
        for (unix, expected) in [
            ("0 9 * * *", Some("cron(0 9 * * ? *)")),
            ("30 6 * * 1-5", Some("cron(30 6 ? * 2-6 *)")),
            ("0 0 * * 0,6", Some("cron(0 0 ? * 1,7 *)")),
            ("0 0 * * 5-7", Some("cron(0 0 ? * 1,6-7 *)")),
            ("0 0 1 1 *", Some("cron(0 0 1 1 ? *)")),
            ("0 0 1 1 1", None),
            ("0 0 * * 8", None),
            ("* * * *", None),
        ] {
            assert_eq!(expression(unix).as_deref(), expected, "{unix}");
            if let Some(expected) = expected {
                Schedule::parse(expected).unwrap();
            }
        }
    }
}
