//! Evaluates alarms, and carries their actions out.

use super::query::{self, Range, compressed};
use super::records::{Alarm, note};
use crate::api::{Ctx, Operations, Result, internally};
use crate::applicationautoscaling as scaling;
use crate::autoscaling::policy;
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use quarry_domain::metric::alarm::{BEYOND, State, evaluate};
use quarry_wire::Timestamp;
use serde_json::json;

/// An alarm's newest datapoints, newest first, each with the start of its period in seconds.
type Datapoints = Vec<(i64, Option<f64>)>;

/// Looks at all alarms; those whose state changes, and those whose scaling policies are to be told
/// again, are dealt with in a transaction each. AWS tells scaling policies once a minute for as long as
/// an alarm stays in its state.
pub fn pass(platform: &Platform, operations: &Operations) -> Result<(), StoreError> {
    let minute_ms = platform.config.minute_ms();
    let now = platform.now_ms();
    for alarm in platform.store.read(|tx| tx.all::<Alarm>())? {
        let (state, reason, data) = match judge(platform, &alarm) {
            Ok(judged) => judged,
            Err(error) => {
                tracing::warn!(alarm = alarm.name, %error, "an alarm cannot be evaluated");
                continue;
            }
        };
        let changed = state != alarm.state;
        let due = alarm.actions_enabled
            && alarm.actions().iter().any(|action| scaling::is_policy(action) || policy::is_policy(action))
            && alarm.acted_ms.is_none_or(|at| now - at >= minute_ms);
        if !changed && !due {
            continue;
        }
        let done = internally(platform, operations, |ctx| {
            // It may be another by now.
            let Some(current) = ctx.tx.get::<Alarm>(&alarm.name)?.filter(|current| *current == alarm) else {
                return Ok(());
            };
            match changed {
                true => transition(ctx, current, state, reason, Some(data)),
                false => act(ctx, current, false),
            }
        });
        if let Err(error) = done {
            tracing::warn!(alarm = alarm.name, %error, "an alarm's change was not carried out; it is tried again");
        }
    }
    Ok(())
}

/// The state as it should be, with its reason and the reason's data.
fn judge(platform: &Platform, alarm: &Alarm) -> Result<(State, String, String), query::QueryError> {
    let rule = alarm.rule();
    let range = datapoints(platform, alarm)?;
    let values: Vec<Option<f64>> = range.iter().map(|(_, value)| *value).collect();
    let state = evaluate(&rule, &values, alarm.state);
    let recent: Vec<(i64, f64)> = range.iter().filter_map(|(at, v)| v.map(|v| (*at, v))).collect();
    let recent = &recent[..recent.len().min(rule.evaluation_periods)];
    let told: Vec<String> = recent.iter().map(|(at, v)| format!("{} ({})", float(*v), short_time(*at))).collect();
    let n = alarm.evaluation_periods;
    let m = rule.datapoints_to_alarm;
    let plural = |n: usize| if n == 1 { "datapoint" } else { "datapoints" };
    let reason = match state {
        State::InsufficientData => format!(
            "Insufficient Data: {n} {} unknown.",
            match n {
                1 => "datapoint was",
                _ => "datapoints were",
            }
        ),
        State::Ok | State::Alarm => {
            let in_alarm = state == State::Alarm;
            let counted = recent.iter().filter(|(_, v)| rule.breaches(*v) == in_alarm).count().max(1);
            let (verb, from_to) = match in_alarm {
                true if counted == 1 => ("was", "OK -> ALARM"),
                true => ("were", "OK -> ALARM"),
                false if counted == 1 => ("was not", "ALARM -> OK"),
                false => ("were not", "ALARM -> OK"),
            };
            let least = if in_alarm { m } else { rule.evaluation_periods + 1 - m };
            format!(
                "Threshold Crossed: {counted} out of the last {} {} [{}] {verb} {} the threshold ({}) (minimum {least} {} for {from_to} transition).",
                recent.len().max(1),
                plural(recent.len().max(1)),
                told.join(", "),
                rule.comparison.words(),
                float(alarm.threshold),
                plural(least),
            )
        }
    };
    let data = json!({
        "version": "1.0",
        "queryDate": Timestamp::from_millis(platform.now_ms()).to_string(),
        "period": alarm.period(),
        "recentDatapoints": recent.iter().map(|(_, v)| v).collect::<Vec<_>>(),
        "threshold": alarm.threshold,
    });
    Ok((state, reason, data.to_string()))
}

/// The value that an alarm's actions go by: the newest there is.
pub fn newest(platform: &Platform, alarm: &Alarm) -> Option<f64> {
    datapoints(platform, alarm).ok()?.into_iter().find_map(|(_, value)| value)
}

fn datapoints(platform: &Platform, alarm: &Alarm) -> Result<Datapoints, query::QueryError> {
    let speed = platform.config.scaling_speed;
    let period = compressed(alarm.period(), speed);
    let step = period.min(compressed(60, speed));
    let now_s = platform.now_ms().div_euclid(1000);
    let end_s = now_s.div_euclid(step) * step;
    let count = alarm.evaluation_periods as usize + BEYOND;
    let start_s = end_s - period * count as i64;
    let (queries, returned) = alarm.queries();
    let mut values = query::evaluate(&platform.metrics, &queries, Range { start_s, end_s, now_s, speed })?;
    let values = values.remove(&returned).unwrap_or_default();
    let starts = (1..=count as i64).map(|n| end_s - n * period);
    Ok(starts.map(|at| (at, values.get(&at).copied())).collect())
}

/// Puts an alarm into another state and carries out the actions of it.
pub fn transition(
    ctx: &mut Ctx<'_>,
    mut alarm: Alarm,
    state: State,
    reason: String,
    reason_data: Option<String>,
) -> Result<()> {
    let now = ctx.platform.now_ms();
    let parsed = |text: &Option<String>| text.as_deref().and_then(|t| serde_json::from_str(t).ok());
    let side = |state: State, reason: &str, data: Option<serde_json::Value>| json!({ "stateValue": state.as_str(), "stateReason": reason, "stateReasonData": data });
    let data = json!({
        "version": "1.0",
        "oldState": side(alarm.state, &alarm.reason, parsed(&alarm.reason_data)),
        "newState": side(state, &reason, parsed(&reason_data)),
    });
    let summary = format!("Alarm updated from {} to {}", alarm.state.as_str(), state.as_str());
    note(ctx.tx, &alarm.name, now, "StateUpdate", summary, data.to_string())?;
    if alarm.state != state {
        alarm.state_transitioned_ms = now;
    }
    (alarm.state, alarm.reason, alarm.reason_data, alarm.state_updated_ms) = (state, reason, reason_data, now);
    alarm.acted_ms = None;
    ctx.tx.put(&alarm)?;
    act(ctx, alarm, true)
}

/// Carries out the actions of an alarm's state; `all`, or only those that are repeated.
fn act(ctx: &mut Ctx<'_>, mut alarm: Alarm, all: bool) -> Result<()> {
    let now = ctx.platform.now_ms();
    alarm.acted_ms = Some(now);
    ctx.tx.put(&alarm)?;
    if !alarm.actions_enabled {
        return Ok(());
    }
    for action in alarm.actions().to_vec() {
        let told = match () {
            () if scaling::is_policy(&action) => Some(scaling::triggered(ctx, &action)),
            () if policy::is_policy(&action) => Some(policy::triggered(ctx, &action)),
            () => None,
        };
        let (done, summary, error) = if let Some(told) = told {
            match told {
                Ok(()) => (true, format!("Successfully executed action {action}"), None),
                Err(error) => {
                    let message = error.message.clone();
                    (false, format!("Failed to execute action {action}. Received error: \"{message}\""), Some(message))
                }
            }
        } else if all {
            let message = "Actions other than scaling policies are not carried out here".to_owned();
            (false, format!("Failed to execute action {action}. Received error: \"{message}\""), Some(message))
        } else {
            continue;
        };
        if all || !done {
            let state = if done { "Succeeded" } else { "Failed" };
            let data = json!({
                "actionState": state, "stateUpdateTimestamp": alarm.state_updated_ms, "notificationResource": action,
                "error": error,
            });
            note(ctx.tx, &alarm.name, now, "Action", summary, data.to_string())?;
        }
    }
    Ok(())
}

/// All alarms one of whose actions is this one.
pub fn with_action(tx: &Tx<'_>, action: &str) -> Result<Vec<Alarm>, StoreError> {
    let mut alarms = tx.all::<Alarm>()?;
    alarms.retain(|alarm| {
        let lists = [&alarm.alarm_actions, &alarm.ok_actions, &alarm.insufficient_data_actions];
        lists.iter().any(|list| list.iter().any(|one| one == action))
    });
    Ok(alarms)
}

/// With a point, as Java prints it.
fn float(value: f64) -> String {
    format!("{value:?}")
}

/// `20/11/26 07:00:00`.
fn short_time(at_s: i64) -> String {
    let Ok(t) = time::OffsetDateTime::from_unix_timestamp(at_s) else { return at_s.to_string() };
    let (year, month, day) = (t.year() % 100, u8::from(t.month()), t.day());
    format!("{day:02}/{month:02}/{year:02} {:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())
}
