//! Scheduled actions: minimum and maximum of a target change at given times.

use super::act::enforce_bounds;
use super::activity::{self, Outcome};
use super::error::{DIMENSION, NAMESPACE, listed, named, page, resource, validation};
use super::records::{Scheduled, Target, key};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::application_autoscaling::{
    DeleteScheduledActionRequest, DeleteScheduledActionResponse, DescribeScheduledActionsRequest,
    DescribeScheduledActionsResponse, PutScheduledActionRequest, PutScheduledActionResponse, ScalableTargetAction,
    ScheduledAction, error,
};
use quarry_domain::scaling::schedule::{Schedule, time_zone};
use quarry_wire::Timestamp;

/// Scheduled actions that a target may have.
const ACTIONS: usize = 200;

pub fn put(ctx: &mut Ctx<'_>, input: PutScheduledActionRequest) -> Result<PutScheduledActionResponse> {
    let id = resource(
        input.service_namespace.as_deref(),
        input.resource_id.as_deref(),
        input.scalable_dimension.as_deref(),
    )?;
    let Some(target) = ctx.tx.get::<Target>(&id)? else {
        return Err(error::object_not_found_exception(format!("No scalable target registered for {}", named(&id))));
    };
    let name = input.scheduled_action_name.unwrap_or_default();
    let now = ctx.platform.now_ms();
    let known: Option<Scheduled> = ctx.tx.get(&key(&id, &name))?;
    let mut action = match known {
        Some(known) => known,
        None => {
            if ctx.tx.children::<Scheduled>(&id)?.len() >= ACTIONS {
                return Err(error::limit_exceeded_exception(format!(
                    "A scalable target has at most {ACTIONS} scheduled actions"
                )));
            }
            let uuid = ctx.platform.door.uuid();
            let resource =
                format_args!("scheduledAction:{uuid}:resource/{NAMESPACE}/{id}:scheduledActionName/{name}").to_string();
            Scheduled {
                arn: ctx.platform.place().arn("autoscaling", resource),
                resource_id: id,
                name,
                schedule: String::new(),
                timezone: None,
                start_ms: None,
                end_ms: None,
                min: None,
                max: None,
                created_ms: now,
                next_ms: None,
            }
        }
    };
    // What is not given stays, but for the times, which go.
    action.start_ms = input.start_time.map(Timestamp::millis);
    action.end_ms = input.end_time.map(Timestamp::millis);
    if let Some(schedule) = input.schedule {
        action.schedule = schedule;
    }
    if input.timezone.is_some() {
        action.timezone = input.timezone;
    }
    if action.schedule.is_empty() {
        return Err(validation("Schedule must be specified for a new scheduled action"));
    }
    if let Some(bounds) = input.scalable_target_action {
        let bound = |n: Option<i32>| match n {
            Some(n) => u32::try_from(n).map(Some).map_err(|_| validation("A capacity cannot be less than 0")),
            None => Ok(None),
        };
        (action.min, action.max) = (bound(bounds.min_capacity)?, bound(bounds.max_capacity)?);
    }
    match (action.min, action.max) {
        (None, None) => return Err(validation("ScalableTargetAction must have a minimum or a maximum capacity")),
        (Some(min), Some(max)) if max < min => {
            return Err(validation("Maximum capacity cannot be less than minimum capacity"));
        }
        (Some(_), _) | (_, Some(_)) => {}
    }
    if action.start_ms.zip(action.end_ms).is_some_and(|(start, end)| end <= start) {
        return Err(validation("End time must be after start time"));
    }
    action.next_ms = next(&action, now)?;
    debug_assert_eq!(target.resource_id, action.resource_id);
    ctx.tx.put(&action)?;
    Ok(PutScheduledActionResponse {})
}

/// When it runs next after a time.
fn next(action: &Scheduled, after_ms: i64) -> Result<Option<i64>> {
    let schedule = Schedule::parse(&action.schedule).map_err(|error| validation(error.to_string()))?;
    let name = action.timezone.as_deref().unwrap_or("UTC");
    let zone = time_zone(name).ok_or_else(|| validation(format!("Unsupported time zone: {name}")))?;
    let from = action.start_ms.unwrap_or(action.created_ms);
    let next = schedule.next(after_ms.max(action.start_ms.map_or(i64::MIN, |start| start - 1)), from, &zone);
    Ok(next.filter(|at| action.end_ms.is_none_or(|end| *at <= end)))
}

/// Runs what is due. What ran for the last time goes, as on AWS.
pub fn run(ctx: &mut Ctx<'_>, mut action: Scheduled) -> Result<()> {
    let now = ctx.platform.now_ms();
    if let Some(mut target) = ctx.tx.get::<Target>(&action.resource_id)?
        && !target.suspended.scheduled
    {
        // One bound that is changed takes the other along.
        target.min = action.min.unwrap_or(target.min.min(action.max.unwrap_or(target.min)));
        target.max = action.max.unwrap_or(target.max).max(target.min);
        ctx.tx.put(&target)?;
        let cause = format!("scheduled action name {} was triggered", action.name);
        activity::keep(ctx, &action.resource_id, &cause, Outcome::Bounds(action.min, action.max))?;
        enforce_bounds(ctx, &mut target)?;
    }
    action.next_ms = next(&action, now)?;
    match action.next_ms {
        Some(_) => ctx.tx.put(&action)?,
        None => {
            ctx.tx.delete::<Scheduled>(&action.key())?;
        }
    }
    Ok(())
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteScheduledActionRequest) -> Result<DeleteScheduledActionResponse> {
    let id = resource(
        input.service_namespace.as_deref(),
        input.resource_id.as_deref(),
        input.scalable_dimension.as_deref(),
    )?;
    let name = input.scheduled_action_name.unwrap_or_default();
    if !ctx.tx.delete::<Scheduled>(&key(&id, &name))? {
        return Err(error::object_not_found_exception(format!(
            "No scheduled action found for {}, scheduled action name: {name}",
            named(&id)
        )));
    }
    Ok(DeleteScheduledActionResponse {})
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeScheduledActionsRequest) -> Result<DescribeScheduledActionsResponse> {
    let mut actions: Vec<Scheduled> = match &input.resource_id {
        _ if !listed(input.service_namespace.as_deref(), input.scalable_dimension.as_deref()) => Vec::new(),
        Some(id) => ctx.tx.children(id)?,
        None => ctx.tx.all()?,
    };
    if let Some(names) = input.scheduled_action_names.filter(|names| !names.is_empty()) {
        actions.retain(|action| names.contains(&action.name));
    }
    let (actions, next_token) = page(actions, input.max_results, input.next_token)?;
    Ok(DescribeScheduledActionsResponse {
        scheduled_actions: Some(actions.into_iter().map(show).collect()),
        next_token,
    })
}

fn show(action: Scheduled) -> ScheduledAction {
    ScheduledAction {
        scheduled_action_name: Some(action.name),
        scheduled_action_arn: Some(action.arn),
        service_namespace: Some(NAMESPACE.into()),
        scalable_dimension: Some(DIMENSION.into()),
        resource_id: Some(action.resource_id),
        schedule: Some(action.schedule),
        timezone: action.timezone,
        start_time: action.start_ms.map(Timestamp::from_millis),
        end_time: action.end_ms.map(Timestamp::from_millis),
        creation_time: Some(Timestamp::from_millis(action.created_ms)),
        scalable_target_action: Some(ScalableTargetAction {
            min_capacity: action.min.map(|n| n as i32),
            max_capacity: action.max.map(|n| n as i32),
        }),
    }
}
