//! Metric alarms: making, showing and deleting them, and setting their state by hand. Composite
//! alarms, anomaly detection and PromQL are refused.

use super::evaluate::transition;
use super::query::{Query, Source, check_queries};
use super::records::{Alarm, HistoryItem, Watched, note};
use super::store::Metric;
use super::{dimensions_of, dimensions_shown};
use crate::api::{Ctx, Result};
use crate::page;
use crate::platform::Platform;
use crate::store::{Item, StoreError};
use quarry_aws::cloudwatch::{
    AlarmHistoryItem, DeleteAlarmsInput, DescribeAlarmHistoryInput, DescribeAlarmHistoryOutput,
    DescribeAlarmsForMetricInput, DescribeAlarmsForMetricOutput, DescribeAlarmsInput, DescribeAlarmsOutput,
    DisableAlarmActionsInput, EnableAlarmActionsInput, MetricAlarm, MetricDataQuery, MetricStat, PutMetricAlarmInput,
    SetAlarmStateInput, error,
};
use quarry_domain::metric::Statistic;
use quarry_domain::metric::alarm::{Comparison, Missing, State};
use quarry_wire::{Empty, ServiceError, Timestamp};
use serde_json::json;

/// Seconds that evaluation periods of less than an hour may span together; longer ones, a week.
const SPAN: u64 = 86_400;
const LONG_SPAN: u64 = 7 * 86_400;
/// Actions that an alarm may have for each state.
const ACTIONS: usize = 5;

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_value_exception(message)
}

fn combination(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_combination_exception(message)
}

fn missing(member: &str) -> ServiceError {
    error::missing_required_parameter_exception(format!("The parameter {member} is required."))
}

pub fn alarm_arn(platform: &Platform, name: &str) -> String {
    platform.place().arn("cloudwatch", format_args!("alarm:{name}"))
}

/// Stores an alarm as it is to be; one that is there keeps its state and its tags.
pub fn configure_alarm(ctx: &mut Ctx<'_>, mut alarm: Alarm) -> Result<()> {
    let now = ctx.platform.now_ms();
    let known: Option<Alarm> = ctx.tx.get(&alarm.name)?;
    let summary = match &known {
        Some(_) => format!("Alarm \"{}\" updated", alarm.name),
        None => format!("Alarm \"{}\" created", alarm.name),
    };
    alarm.configured_ms = now;
    match known {
        Some(known) => {
            (alarm.state, alarm.reason, alarm.reason_data) = (known.state, known.reason, known.reason_data);
            alarm.state_updated_ms = known.state_updated_ms;
            alarm.state_transitioned_ms = known.state_transitioned_ms;
            alarm.tags = known.tags;
        }
        None => {
            alarm.state = State::InsufficientData;
            alarm.reason = "Unchecked: Initial alarm creation".into();
            (alarm.state_updated_ms, alarm.state_transitioned_ms) = (now, now);
        }
    }
    let data = json!({ "version": "1.0", "type": summary.rsplit(' ').next(), "alarmArn": alarm.arn });
    note(ctx.tx, &alarm.name, now, "ConfigurationUpdate", summary, data.to_string())?;
    ctx.tx.put(&alarm)?;
    Ok(())
}

/// Deletes an alarm, if it is there. Its history stays for a while, as on AWS.
pub fn remove_alarm(ctx: &mut Ctx<'_>, name: &str) -> Result<(), StoreError> {
    if ctx.tx.delete::<Alarm>(name)? {
        let data = json!({ "version": "1.0", "type": "Delete" }).to_string();
        let now = ctx.platform.now_ms();
        note(ctx.tx, name, now, "ConfigurationUpdate", format!("Alarm \"{name}\" deleted"), data)?;
    }
    Ok(())
}

pub fn put(ctx: &mut Ctx<'_>, input: PutMetricAlarmInput) -> Result<Empty> {
    if input.evaluation_criteria.is_some() || input.evaluation_interval.is_some() {
        return Err(invalid("PromQL alarms are not supported here."));
    }
    if input.threshold_metric_id.is_some() {
        return Err(invalid("Anomaly detection is not supported here."));
    }
    let comparison = input.comparison_operator.clone().ok_or_else(|| missing("ComparisonOperator"))?;
    if Comparison::parse(&comparison).is_none() {
        return Err(invalid(format!(
            "The comparison operator {comparison} needs anomaly detection, which is not supported here."
        )));
    }
    match input.evaluate_low_sample_count_percentile.as_deref() {
        None | Some("evaluate") => {}
        Some(other) => {
            return Err(invalid(format!(
                "EvaluateLowSampleCountPercentile {other} is not supported here; evaluate is."
            )));
        }
    }
    if input.treat_missing_data.as_deref().is_some_and(|text| Missing::parse(text).is_none()) {
        return Err(invalid(
            "TreatMissingData must be one of the following values: [breaching, notBreaching, ignore, missing]",
        ));
    }
    let name = input.alarm_name.clone().unwrap_or_default();
    let watched = watched(&input)?;
    let periods = input.evaluation_periods.ok_or_else(|| missing("EvaluationPeriods"))?.max(0) as u32;
    let datapoints = input.datapoints_to_alarm.map(|n| n.max(0) as u32);
    if datapoints.is_some_and(|m| m > periods) {
        return Err(invalid("The value of DatapointsToAlarm must not be larger than EvaluationPeriods."));
    }
    let actions = |list: Option<Vec<String>>| -> Result<Vec<String>> {
        let list = list.unwrap_or_default();
        if list.len() > ACTIONS {
            return Err(error::limit_exceeded_fault(format!("An alarm has at most {ACTIONS} actions for a state.")));
        }
        match list.iter().find(|action| !action.starts_with("arn:")) {
            Some(action) => Err(invalid(format!("Invalid arn syntax: {action}"))),
            None => Ok(list),
        }
    };
    let tags = super::tags::checked(input.tags)?;
    let alarm = Alarm {
        arn: alarm_arn(ctx.platform, &name),
        name,
        description: input.alarm_description,
        actions_enabled: input.actions_enabled.unwrap_or(true),
        ok_actions: actions(input.ok_actions)?,
        alarm_actions: actions(input.alarm_actions)?,
        insufficient_data_actions: actions(input.insufficient_data_actions)?,
        watched,
        evaluation_periods: periods,
        datapoints_to_alarm: datapoints,
        threshold: input.threshold.filter(|t| t.is_finite()).ok_or_else(|| missing("Threshold"))?,
        comparison,
        treat_missing_data: input.treat_missing_data,
        state: State::InsufficientData,
        reason: String::new(),
        reason_data: None,
        state_updated_ms: 0,
        state_transitioned_ms: 0,
        configured_ms: 0,
        acted_ms: None,
        tags,
    };
    let period = u64::from(alarm.period());
    let most = if period >= 3600 { LONG_SPAN } else { SPAN };
    if period * u64::from(periods) > most {
        return Err(combination(
            "Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= 86400), or a week where the period is an hour or more.",
        ));
    }
    configure_alarm(ctx, alarm)?;
    Ok(Empty {})
}

fn watched(input: &PutMetricAlarmInput) -> Result<Watched> {
    let single = input.metric_name.is_some() || input.namespace.is_some() || input.dimensions.is_some();
    let single = single || input.period.is_some() || input.statistic.is_some() || input.extended_statistic.is_some();
    if let Some(queries) = input.metrics.as_ref().filter(|queries| !queries.is_empty()) {
        if single || input.unit.is_some() {
            return Err(combination(
                "Metrics list and the parameters of a single metric cannot be specified together.",
            ));
        }
        let queries = queries.iter().map(to_query).collect::<Result<Vec<_>>>()?;
        check_queries(&queries).map_err(invalid)?;
        if queries.iter().filter(|query| query.returned).count() != 1 {
            return Err(invalid("Exactly one element of the metrics list should return data."));
        }
        let mut periods = queries.iter().filter(|q| matches!(q.source, Source::Metric { .. })).map(|q| q.period);
        let first =
            periods.next().ok_or_else(|| invalid("At least one element of the metrics list must be a metric."))?;
        if periods.any(|period| period != first) {
            return Err(invalid("All metrics of an alarm must have the same period."));
        }
        return Ok(Watched::Queries(queries));
    }
    let statistic = match (&input.statistic, &input.extended_statistic) {
        (Some(statistic), None) | (None, Some(statistic)) => statistic.clone(),
        (Some(_), Some(_)) => {
            return Err(combination("Statistic and ExtendedStatistic cannot be specified together."));
        }
        (None, None) => return Err(missing("Statistic")),
    };
    if Statistic::parse(&statistic).is_none() {
        return Err(invalid(format!("The statistic {statistic} is not supported here.")));
    }
    let metric = Metric {
        namespace: input.namespace.clone().ok_or_else(|| missing("Namespace"))?,
        name: input.metric_name.clone().ok_or_else(|| missing("MetricName"))?,
        dimensions: dimensions_of(input.dimensions.as_deref())?,
    };
    let period = period(input.period.ok_or_else(|| missing("Period"))?)?;
    Ok(Watched::Metric { metric, statistic, unit: input.unit.clone(), period })
}

/// 1, 5, 10, 20, 30 or a multiple of 60 seconds.
pub fn period(seconds: i32) -> Result<u32> {
    match seconds {
        1 | 5 | 10 | 20 | 30 => Ok(seconds as u32),
        _ if seconds > 0 && seconds % 60 == 0 => Ok(seconds as u32),
        _ => Err(invalid("Valid values for the period are 1, 5, 10, 20, 30 and any multiple of 60.")),
    }
}

/// As it is asked.
pub fn to_query(query: &MetricDataQuery) -> Result<Query> {
    let id = query.id.clone().unwrap_or_default();
    if query.account_id.is_some() {
        return Err(invalid("AccountId is not supported here."));
    }
    let (source, seconds) = match (&query.expression, &query.metric_stat) {
        (Some(expression), None) => (Source::Expression(expression.clone()), query.period),
        (None, Some(MetricStat { metric, period, stat, unit })) => {
            let metric = metric.clone().unwrap_or_default();
            let metric = Metric {
                namespace: metric.namespace.ok_or_else(|| missing("Namespace"))?,
                name: metric.metric_name.ok_or_else(|| missing("MetricName"))?,
                dimensions: dimensions_of(metric.dimensions.as_deref())?,
            };
            let statistic = stat.clone().unwrap_or_default();
            if Statistic::parse(&statistic).is_none() {
                return Err(invalid(format!("The statistic {statistic} of '{id}' is not supported here.")));
            }
            (Source::Metric { metric, statistic, unit: unit.clone() }, *period)
        }
        _ => {
            return Err(combination(format!("Exactly one of Expression and MetricStat must be specified for '{id}'.")));
        }
    };
    let period = seconds.map(period).transpose()?;
    if matches!(source, Source::Metric { .. }) && period.is_none() {
        return Err(missing("Period"));
    }
    Ok(Query { id, label: query.label.clone(), returned: query.return_data.unwrap_or(true), source, period })
}

fn show_query(query: &Query) -> MetricDataQuery {
    let seconds = query.period.map(|period| period as i32);
    let mut shown = MetricDataQuery {
        id: Some(query.id.clone()),
        label: query.label.clone(),
        return_data: Some(query.returned),
        ..Default::default()
    };
    match &query.source {
        Source::Expression(expression) => {
            shown.expression = Some(expression.clone());
            shown.period = seconds;
        }
        Source::Metric { metric, statistic, unit } => {
            shown.metric_stat = Some(MetricStat {
                metric: Some(super::metric_shown(metric)),
                period: seconds,
                stat: Some(statistic.clone()),
                unit: unit.clone(),
            });
        }
    }
    shown
}

fn show(alarm: Alarm) -> MetricAlarm {
    let mut shown = MetricAlarm {
        alarm_name: Some(alarm.name),
        alarm_arn: Some(alarm.arn),
        alarm_description: alarm.description,
        alarm_configuration_updated_timestamp: Some(Timestamp::from_millis(alarm.configured_ms)),
        actions_enabled: Some(alarm.actions_enabled),
        ok_actions: Some(alarm.ok_actions),
        alarm_actions: Some(alarm.alarm_actions),
        insufficient_data_actions: Some(alarm.insufficient_data_actions),
        state_value: Some(alarm.state.as_str().into()),
        state_reason: Some(alarm.reason),
        state_reason_data: alarm.reason_data,
        state_updated_timestamp: Some(Timestamp::from_millis(alarm.state_updated_ms)),
        state_transitioned_timestamp: Some(Timestamp::from_millis(alarm.state_transitioned_ms)),
        evaluation_periods: Some(alarm.evaluation_periods as i32),
        datapoints_to_alarm: alarm.datapoints_to_alarm.map(|m| m as i32),
        threshold: Some(alarm.threshold),
        comparison_operator: Some(alarm.comparison),
        treat_missing_data: alarm.treat_missing_data,
        ..Default::default()
    };
    match alarm.watched {
        Watched::Queries(queries) => shown.metrics = Some(queries.iter().map(show_query).collect()),
        Watched::Metric { metric, statistic, unit, period } => {
            shown.dimensions = Some(dimensions_shown(&metric.dimensions));
            (shown.namespace, shown.metric_name) = (Some(metric.namespace), Some(metric.name));
            match Statistic::parse(&statistic) {
                Some(Statistic::Percentile(_)) => shown.extended_statistic = Some(statistic),
                _ => shown.statistic = Some(statistic),
            }
            (shown.unit, shown.period) = (unit, Some(period as i32));
        }
    }
    shown
}

/// In the order of their names.
pub fn describe(ctx: &mut Ctx<'_>, input: DescribeAlarmsInput) -> Result<DescribeAlarmsOutput> {
    if input.children_of_alarm_name.is_some() || input.parents_of_alarm_name.is_some() {
        return Err(invalid("Composite alarms are not supported here."));
    }
    if input.alarm_names.is_some() && input.alarm_name_prefix.is_some() {
        return Err(combination("AlarmNamePrefix and AlarmNames cannot be specified together."));
    }
    let mut alarms: Vec<Alarm> = ctx.tx.all()?;
    if input.alarm_types.as_ref().is_some_and(|types| !types.is_empty() && !types.iter().any(|t| t == "MetricAlarm")) {
        alarms.clear();
    }
    alarms.retain(|alarm| {
        input.alarm_names.as_ref().is_none_or(|names| names.contains(&alarm.name))
            && input.alarm_name_prefix.as_ref().is_none_or(|prefix| alarm.name.starts_with(prefix.as_str()))
            && input.state_value.as_ref().is_none_or(|state| alarm.state.as_str() == state)
            && input.action_prefix.as_ref().is_none_or(|prefix| {
                let lists = [&alarm.alarm_actions, &alarm.ok_actions, &alarm.insufficient_data_actions];
                lists.iter().any(|list| list.iter().any(|action| action.starts_with(prefix.as_str())))
            })
    });
    alarms.sort_by(|a, b| a.name.cmp(&b.name));
    let size = records(input.max_records, 100, 50)?;
    let (alarms, next_token) = page::after(alarms, Alarm::key, input.next_token.as_deref(), size)
        .ok_or_else(|| error::invalid_next_token("The NextToken is not valid."))?;
    Ok(DescribeAlarmsOutput {
        metric_alarms: Some(alarms.into_iter().map(show).collect()),
        composite_alarms: Some(Vec::new()),
        next_token,
    })
}

pub fn describe_for_metric(
    ctx: &mut Ctx<'_>,
    input: DescribeAlarmsForMetricInput,
) -> Result<DescribeAlarmsForMetricOutput> {
    let wanted = Metric {
        namespace: input.namespace.unwrap_or_default(),
        name: input.metric_name.unwrap_or_default(),
        dimensions: dimensions_of(input.dimensions.as_deref())?,
    };
    let statistic_wanted = input.statistic.or(input.extended_statistic);
    let mut alarms: Vec<Alarm> = ctx.tx.all()?;
    alarms.retain(|alarm| match &alarm.watched {
        Watched::Metric { metric, statistic, unit, period } => {
            *metric == wanted
                && statistic_wanted.as_ref().is_none_or(|wanted| wanted == statistic)
                && input.period.is_none_or(|wanted| wanted as u32 == *period)
                && input.unit.as_ref().is_none_or(|wanted| unit.as_ref() == Some(wanted))
        }
        Watched::Queries(queries) => {
            queries.iter().any(|q| matches!(&q.source, Source::Metric { metric, .. } if *metric == wanted))
        }
    });
    Ok(DescribeAlarmsForMetricOutput { metric_alarms: Some(alarms.into_iter().map(show).collect()) })
}

pub fn history(ctx: &mut Ctx<'_>, input: DescribeAlarmHistoryInput) -> Result<DescribeAlarmHistoryOutput> {
    if input.alarm_contributor_id.is_some() {
        return Err(invalid("AlarmContributorId is not supported here."));
    }
    let mut items: Vec<HistoryItem> = match &input.alarm_name {
        Some(name) => ctx.tx.children(name)?,
        None => ctx.tx.all()?,
    };
    if input.alarm_types.as_ref().is_some_and(|types| !types.is_empty() && !types.iter().any(|t| t == "MetricAlarm")) {
        items.clear();
    }
    items.retain(|item| {
        input.history_item_type.as_ref().is_none_or(|kind| item.kind == *kind)
            && input.start_date.is_none_or(|start| item.at_ms >= start.millis())
            && input.end_date.is_none_or(|end| item.at_ms <= end.millis())
    });
    if input.scan_by.as_deref() != Some("TimestampAscending") {
        items.reverse();
    }
    let size = records(input.max_records, 100, 100)?;
    let (items, next_token) = page::after(items, HistoryItem::key, input.next_token.as_deref(), size)
        .ok_or_else(|| error::invalid_next_token("The NextToken is not valid."))?;
    let shown = items.into_iter().map(|item| AlarmHistoryItem {
        alarm_name: Some(item.alarm),
        alarm_type: Some("MetricAlarm".into()),
        timestamp: Some(Timestamp::from_millis(item.at_ms)),
        history_item_type: Some(item.kind),
        history_summary: Some(item.summary),
        history_data: Some(item.data),
        ..Default::default()
    });
    Ok(DescribeAlarmHistoryOutput { alarm_history_items: Some(shown.collect()), next_token })
}

fn records(given: Option<i32>, most: i32, usual: i32) -> Result<usize> {
    let size = given.unwrap_or(usual);
    if (1..=most).contains(&size) {
        Ok(size as usize)
    } else {
        Err(invalid(format!("MaxRecords must be between 1 and {most}.")))
    }
}

/// All of them, or none.
pub fn delete(ctx: &mut Ctx<'_>, input: DeleteAlarmsInput) -> Result<Empty> {
    let names = input.alarm_names.unwrap_or_default();
    // A single name that is unknown is an error; among several, as on AWS, nothing is deleted either.
    for name in &names {
        find(ctx, name)?;
    }
    for name in &names {
        remove_alarm(ctx, name)?;
    }
    Ok(Empty {})
}

pub fn find(ctx: &Ctx<'_>, name: &str) -> Result<Alarm> {
    ctx.tx.get(name)?.ok_or_else(|| error::resource_not_found(format!("Unknown alarm: {name}")))
}

/// Holds until the alarm is evaluated next, within seconds.
pub fn set_state(ctx: &mut Ctx<'_>, input: SetAlarmStateInput) -> Result<Empty> {
    let alarm = find(ctx, input.alarm_name.as_deref().unwrap_or_default())?;
    let state = input.state_value.as_deref().and_then(State::parse).ok_or_else(|| missing("StateValue"))?;
    let data = input.state_reason_data;
    if data.as_deref().is_some_and(|data| serde_json::from_str::<serde_json::Value>(data).is_err()) {
        return Err(error::invalid_format_fault("StateReasonData was not syntactically valid JSON"));
    }
    transition(ctx, alarm, state, input.state_reason.unwrap_or_default(), data)?;
    Ok(Empty {})
}

pub fn enable(ctx: &mut Ctx<'_>, input: EnableAlarmActionsInput) -> Result<Empty> {
    switch(ctx, input.alarm_names, true)
}

pub fn disable(ctx: &mut Ctx<'_>, input: DisableAlarmActionsInput) -> Result<Empty> {
    switch(ctx, input.alarm_names, false)
}

/// Names that are unknown are passed over, as on AWS.
fn switch(ctx: &mut Ctx<'_>, names: Option<Vec<String>>, enabled: bool) -> Result<Empty> {
    for name in names.unwrap_or_default() {
        if let Some(mut alarm) = ctx.tx.get::<Alarm>(&name)? {
            alarm.actions_enabled = enabled;
            alarm.configured_ms = ctx.platform.now_ms();
            ctx.tx.put(&alarm)?;
        }
    }
    Ok(Empty {})
}
