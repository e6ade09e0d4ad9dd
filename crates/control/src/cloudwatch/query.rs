//! Values over time: of a metric by a statistic, and of expressions over other queries. Alarms and
//! GetMetricData ask the same way.

use super::store::{Metric, MetricStore};
use crate::store::StoreError;
use quarry_domain::metric::Statistic;
use quarry_domain::metric::math::{Expression, MathError, Scope, Series, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Query {
    pub id: String,
    pub label: Option<String>,
    pub returned: bool,
    pub source: Source,
    /// Seconds; of an expression the period its answer is in, if it was given.
    pub period: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    Metric { metric: Metric, statistic: String, unit: Option<String> },
    Expression(String),
}

/// A range of time, with the pace at which a minute of CloudWatch's passes.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub start_s: i64,
    pub end_s: i64,
    pub now_s: i64,
    /// How many times faster than AWS alarms are evaluated; sums are scaled up by it.
    pub speed: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Math(#[from] MathError),
    #[error("{0}")]
    Refused(String),
}

/// Refuses ids that are no ids or there twice, expressions that cannot be parsed or refer to nothing.
pub fn check_queries(queries: &[Query]) -> Result<(), String> {
    let mut ids = BTreeSet::new();
    for query in queries {
        let plain = query.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain || !query.id.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(format!(
                "The id '{}' must begin with a lower case letter and have letters, digits and _ only.",
                query.id
            ));
        }
        if !ids.insert(query.id.as_str()) {
            return Err(format!("The id '{}' is there twice.", query.id));
        }
    }
    for query in queries {
        if let Source::Expression(text) = &query.source {
            let failed = |why: String| Err(format!("Error in expression '{}': {why}.", query.id));
            let expression = match Expression::parse(text) {
                Ok(expression) => expression,
                Err(error) => return failed(error.to_string()),
            };
            if let Some(unknown) = expression.ids().into_iter().find(|id| !ids.contains(id)) {
                return failed(format!("{unknown} is not the id of a query"));
            }
        }
    }
    Ok(())
}

/// A period as long as it really lasts.
pub fn compressed(period: u32, speed: u32) -> i64 {
    i64::from(period.div_ceil(speed.max(1))).max(1)
}

/// The values of all queries by their ids, each after those it refers to.
pub fn evaluate(store: &MetricStore, queries: &[Query], range: Range) -> Result<BTreeMap<String, Series>, QueryError> {
    let mut values = BTreeMap::new();
    let (mut periods, mut metrics) = (BTreeMap::new(), Vec::new());
    let mut times = BTreeSet::new();
    for query in queries {
        let Source::Metric { metric, statistic, unit } = &query.source else { continue };
        let asked = query.period.unwrap_or(60);
        let period = compressed(asked, range.speed);
        let series = metric_values(store, metric, statistic, unit.as_deref(), period, range)?;
        times.extend((range.start_s..range.end_s).step_by(period as usize));
        periods.insert(query.id.clone(), i64::from(asked));
        metrics.push(query.id.clone());
        values.insert(query.id.clone(), Value::Series(series));
    }
    let mut waiting: Vec<(&Query, Expression)> = Vec::new();
    for query in queries {
        if let Source::Expression(text) = &query.source {
            waiting.push((query, Expression::parse(text)?));
        }
    }
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|(_, e)| e.ids().iter().all(|id| values.contains_key(*id)));
        let Some(at) = ready else {
            let ids: BTreeSet<&str> = waiting.iter().flat_map(|(_, e)| e.ids()).collect();
            let unknown = ids.iter().find(|id| !queries.iter().any(|q| q.id == **id));
            return Err(QueryError::Refused(match unknown {
                Some(id) => format!("Error in expression '{}': {id} is not the id of a query", waiting[0].0.id),
                None => format!("Error in expression '{}': it refers to itself", waiting[0].0.id),
            }));
        };
        let (query, expression) = waiting.remove(at);
        let scope = Scope { values: &values, metrics: &metrics, periods: &periods, times: &times };
        let value = expression.evaluate(&scope)?;
        values.insert(query.id.clone(), value);
    }
    let series = |value| match value {
        Value::Series(series) => series,
        Value::Scalar(n) => times.iter().map(|t| (*t, n)).collect(),
    };
    Ok(values.into_iter().map(|(id, value)| (id, series(value))).collect())
}

/// A metric's values by `period` real seconds.
fn metric_values(
    store: &MetricStore,
    metric: &Metric,
    statistic: &str,
    unit: Option<&str>,
    period: i64,
    range: Range,
) -> Result<Series, QueryError> {
    let parsed = Statistic::parse(statistic)
        .ok_or_else(|| QueryError::Refused(format!("The statistic {statistic} is not supported")))?;
    let found = store.read(metric, unit, period, (range.start_s, range.end_s), range.now_s)?;
    let scale = match parsed {
        // What would have come in the whole of the period.
        Statistic::Sum | Statistic::SampleCount => f64::from(range.speed.max(1)),
        _ => 1.0,
    };
    Ok(found.into_iter().filter_map(|(at, s)| Some((at, s.get(parsed)? * scale))).collect())
}
