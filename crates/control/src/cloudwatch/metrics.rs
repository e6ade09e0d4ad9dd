//! Metrics: given by PutMetricData, read by GetMetricData and GetMetricStatistics, listed.

use super::alarms::{period, to_query};
use super::query::{self, QueryError, Range, Source};
use super::store::{Datapoint as Kept, MAX_SERIES, Metric, UNITS};
use super::{dimensions_of, metric_shown};
use crate::api::{Ctx, Result};
use crate::page;
use quarry_aws::cloudwatch::{
    Datapoint, GetMetricDataInput, GetMetricDataOutput, GetMetricStatisticsInput, GetMetricStatisticsOutput,
    ListMetricsInput, ListMetricsOutput, MetricDataResult, MetricDatum, PutMetricDataInput, error,
};
use quarry_domain::metric::{Statistic, Statistics};
use quarry_wire::{Empty, ServiceError, Timestamp};
use std::collections::BTreeMap;

/// Datums of a request, values of a datum, queries and values of an answer: CloudWatch's limits.
const DATUMS: usize = 1000;
const VALUES: usize = 150;
const QUERIES: usize = 500;
const DATAPOINTS: usize = 100_800;
const STATISTICS_DATAPOINTS: i64 = 1440;
const LISTED: usize = 500;
/// How far back and forth a datapoint may lie, in ms.
const PAST: i64 = 14 * 86_400_000;
const FUTURE: i64 = 2 * 3_600_000;

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_value_exception(message)
}

fn combination(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_combination_exception(message)
}

pub fn put(ctx: &mut Ctx<'_>, input: PutMetricDataInput) -> Result<Empty> {
    if input.entity_metric_data.is_some() || input.strict_entity_validation == Some(true) {
        return Err(invalid("Entities of metrics are not supported here."));
    }
    let namespace = input.namespace.unwrap_or_default();
    if namespace.starts_with("AWS/") {
        return Err(invalid("The value AWS/ for parameter Namespace is invalid."));
    }
    let datums = input.metric_data.unwrap_or_default();
    if datums.is_empty() {
        return Err(error::missing_required_parameter_exception("The parameter MetricData is required."));
    }
    if datums.len() > DATUMS {
        return Err(invalid(format!("The collection MetricData must not have a size greater than {DATUMS}.")));
    }
    let points: Vec<Kept> = datums.into_iter().map(|datum| kept(ctx, &namespace, datum)).collect::<Result<_>>()?;
    if !ctx.platform.metrics.record(&points)? {
        return Err(error::limit_exceeded_fault(format!("At most {MAX_SERIES} metrics are kept here.")));
    }
    Ok(Empty {})
}

fn kept(ctx: &Ctx<'_>, namespace: &str, datum: MetricDatum) -> Result<Kept> {
    let now = ctx.platform.now_ms();
    let at_ms = datum.timestamp.map_or(now, Timestamp::millis);
    if at_ms < now - PAST || at_ms > now + FUTURE {
        return Err(invalid(
            "The parameter MetricData.member.Timestamp must be within the past two weeks or the next two hours.",
        ));
    }
    let fine = match datum.storage_resolution {
        None | Some(60) => false,
        Some(1) => true,
        Some(_) => return Err(invalid("The parameter StorageResolution must be 1 or 60.")),
    };
    // Where minutes are shorter, alarms need all metrics by the second.
    let fine = fine || ctx.platform.config.scaling_speed > 1;
    let unit = datum.unit.as_deref().unwrap_or("None");
    let unit =
        UNITS.iter().find(|known| **known == unit).ok_or_else(|| invalid(format!("The unit {unit} is unknown.")))?;
    let finite = |v: f64| match v.is_finite() && v.abs() <= 2f64.powi(360) {
        true => Ok(v),
        false => Err(invalid("The value must be finite and between -2^360 and 2^360.")),
    };
    let statistics = match (datum.value, datum.values, datum.statistic_values) {
        (Some(value), None, None) => Statistics::of(finite(value)?, 1.0),
        (None, Some(values), None) => {
            let counts = datum.counts.unwrap_or_else(|| vec![1.0; values.len()]);
            if values.is_empty() || values.len() > VALUES || counts.len() != values.len() {
                return Err(invalid(format!(
                    "The parameters Values and Counts must have the same number of members, 1 to {VALUES}."
                )));
            }
            let mut all = Statistics::default();
            for (value, count) in values.into_iter().zip(counts) {
                if !(count > 0.0 && count.is_finite()) {
                    return Err(invalid("Each of the Counts must be greater than 0."));
                }
                all.add(&Statistics::of(finite(value)?, count));
            }
            all
        }
        (None, None, Some(set)) => {
            let (sum, count) = (set.sum.unwrap_or_default(), set.sample_count.unwrap_or_default());
            let (min, max) = (set.minimum.unwrap_or_default(), set.maximum.unwrap_or_default());
            if finite(count)? <= 0.0 || finite(min)? > finite(max)? {
                return Err(combination(
                    "A statistic set has a SampleCount greater than 0 and a Minimum no greater than its Maximum.",
                ));
            }
            Statistics::set(finite(sum)?, count, min, max)
        }
        _ => return Err(combination("Exactly one of Value, Values and StatisticValues must be specified.")),
    };
    let metric = Metric {
        namespace: namespace.to_owned(),
        name: datum.metric_name.unwrap_or_default(),
        dimensions: dimensions_of(datum.dimensions.as_deref())?,
    };
    Ok(Kept { metric, unit, at_ms, fine, statistics })
}

/// The newest first, unless asked otherwise. All of it is one page.
pub fn get_data(ctx: &mut Ctx<'_>, input: GetMetricDataInput) -> Result<GetMetricDataOutput> {
    if input.label_options.is_some() {
        return Err(invalid("LabelOptions are not supported here."));
    }
    if input.next_token.is_some() {
        return Err(error::invalid_next_token("The NextToken is not valid."));
    }
    let asked = input.metric_data_queries.unwrap_or_default();
    if asked.is_empty() || asked.len() > QUERIES {
        return Err(invalid(format!("The collection MetricDataQueries must have 1 to {QUERIES} members.")));
    }
    let queries = asked.iter().map(to_query).collect::<Result<Vec<_>>>()?;
    query::check_queries(&queries).map_err(invalid)?;
    let (start, end) = times(input.start_time, input.end_time)?;
    // Periods begin at whole multiples of the longest, so that metrics of different periods meet.
    let longest = queries.iter().filter_map(|q| q.period).max().unwrap_or(60);
    let start_s = start.div_euclid(i64::from(longest)) * i64::from(longest);
    let range = Range { start_s, end_s: end, now_s: ctx.platform.now_ms().div_euclid(1000), speed: 1 };
    let mut values = query::evaluate(&ctx.platform.metrics, &queries, range).map_err(refused)?;
    let ascending = input.scan_by.as_deref() == Some("TimestampAscending");
    let most = input.max_datapoints.map_or(DATAPOINTS, |n| n.max(1) as usize);
    let mut total = 0;
    let mut results = Vec::new();
    for query in queries.iter().filter(|query| query.returned) {
        let mut points: Vec<(i64, f64)> = values.remove(&query.id).unwrap_or_default().into_iter().collect();
        if !ascending {
            points.reverse();
        }
        total += points.len();
        if total > most.min(DATAPOINTS) {
            return Err(invalid(format!(
                "The answer would have more than {} datapoints: ask for less.",
                most.min(DATAPOINTS)
            )));
        }
        let label = query.label.clone().unwrap_or_else(|| match &query.source {
            Source::Metric { metric, .. } => metric.name.clone(),
            Source::Expression(_) => query.id.clone(),
        });
        results.push(MetricDataResult {
            id: Some(query.id.clone()),
            label: Some(label),
            timestamps: Some(points.iter().map(|(at, _)| Timestamp::from_secs(*at)).collect()),
            values: Some(points.into_iter().map(|(_, value)| value).collect()),
            status_code: Some("Complete".into()),
            messages: None,
        });
    }
    Ok(GetMetricDataOutput { metric_data_results: Some(results), messages: Some(Vec::new()), next_token: None })
}

/// In seconds.
fn times(start: Option<Timestamp>, end: Option<Timestamp>) -> Result<(i64, i64)> {
    let (start, end) = (start.map_or(0, Timestamp::secs), end.map_or(0, Timestamp::secs));
    if start >= end {
        return Err(invalid("The parameter StartTime must be less than the parameter EndTime."));
    }
    Ok((start, end))
}

fn refused(refusal: QueryError) -> ServiceError {
    match refusal {
        QueryError::Store(error) => error.into(),
        other => invalid(format!("{other}.")),
    }
}

pub fn get_statistics(ctx: &mut Ctx<'_>, input: GetMetricStatisticsInput) -> Result<GetMetricStatisticsOutput> {
    let names = input.statistics.unwrap_or_default();
    let extended = input.extended_statistics.unwrap_or_default();
    if names.is_empty() && extended.is_empty() {
        return Err(error::missing_required_parameter_exception(
            "The parameter Statistics or the parameter ExtendedStatistics is required.",
        ));
    }
    let parse = |name: &String| {
        let parsed = Statistic::parse(name).map(|statistic| (name.clone(), statistic));
        parsed.ok_or_else(|| invalid(format!("The statistic {name} is not supported here.")))
    };
    let wanted = names.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let extended = extended.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let period = i64::from(period(input.period.unwrap_or_default())?);
    let (start, end) = times(input.start_time, input.end_time)?;
    let start = start.div_euclid(period) * period;
    if (end - start) / period > STATISTICS_DATAPOINTS {
        return Err(combination(format!(
            "You have requested up to {} datapoints, which exceeds the limit of {STATISTICS_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
            (end - start) / period
        )));
    }
    let metric = Metric {
        namespace: input.namespace.unwrap_or_default(),
        name: input.metric_name.unwrap_or_default(),
        dimensions: dimensions_of(input.dimensions.as_deref())?,
    };
    let store = &ctx.platform.metrics;
    let now = ctx.platform.now_ms().div_euclid(1000);
    let found = store.read(&metric, input.unit.as_deref(), period, (start, end), now)?;
    let unit = match input.unit {
        Some(unit) => Some(unit),
        None => store.unit(&metric)?,
    };
    let datapoints = found.into_iter().map(|(at, statistics)| {
        let mut point =
            Datapoint { timestamp: Some(Timestamp::from_secs(at)), unit: unit.clone(), ..Default::default() };
        for (_, statistic) in &wanted {
            let value = statistics.get(*statistic);
            match statistic {
                Statistic::SampleCount => point.sample_count = value,
                Statistic::Average => point.average = value,
                Statistic::Sum => point.sum = value,
                Statistic::Minimum => point.minimum = value,
                Statistic::Maximum => point.maximum = value,
                Statistic::Percentile(_) => {}
            }
        }
        let percentiles = extended.iter().filter_map(|(name, p)| Some((name.clone(), statistics.get(*p)?)));
        let percentiles: BTreeMap<String, f64> = percentiles.collect();
        point.extended_statistics = (!extended.is_empty()).then_some(percentiles);
        point
    });
    Ok(GetMetricStatisticsOutput { label: Some(metric.name.clone()), datapoints: Some(datapoints.collect()) })
}

/// Metrics with a datapoint in the last two weeks.
pub fn list(ctx: &mut Ctx<'_>, input: ListMetricsInput) -> Result<ListMetricsOutput> {
    if input.include_linked_accounts == Some(true) || input.owning_account.is_some() {
        return Err(invalid("Linked accounts are not supported here."));
    }
    let now = ctx.platform.now_ms().div_euclid(1000);
    let since = match input.recently_active.as_deref() {
        None => now - PAST / 1000,
        Some("PT3H") => now - 3 * 3600,
        Some(other) => return Err(invalid(format!("RecentlyActive {other} is unknown: it must be PT3H."))),
    };
    let mut metrics = ctx.platform.metrics.list(since)?;
    metrics.retain(|metric| {
        input.namespace.as_ref().is_none_or(|namespace| metric.namespace == *namespace)
            && input.metric_name.as_ref().is_none_or(|name| metric.name == *name)
            && input.dimensions.iter().flatten().all(|filter| {
                let found = metric.dimensions.get(filter.name.as_deref().unwrap_or_default());
                found.is_some_and(|value| filter.value.as_ref().is_none_or(|wanted| wanted == value))
            })
    });
    let (metrics, next_token) = page::from(metrics, input.next_token.as_deref(), LISTED)
        .ok_or_else(|| error::invalid_next_token("The NextToken is not valid."))?;
    Ok(ListMetricsOutput {
        metrics: Some(metrics.iter().map(metric_shown).collect()),
        next_token,
        owning_accounts: None,
    })
}
