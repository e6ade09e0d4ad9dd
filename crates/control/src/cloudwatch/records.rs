//! What is stored of alarms and of their history.

use super::query::{Query, Source};
use super::store::Metric;
use crate::store::{Item, StoreError, Tx};
use quarry_domain::metric::alarm::{Comparison, Missing, Rule, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub name: String,
    pub arn: String,
    pub description: Option<String>,
    pub actions_enabled: bool,
    pub ok_actions: Vec<String>,
    pub alarm_actions: Vec<String>,
    pub insufficient_data_actions: Vec<String>,
    pub watched: Watched,
    pub evaluation_periods: u32,
    pub datapoints_to_alarm: Option<u32>,
    pub threshold: f64,
    /// `ComparisonOperator`, one of those that [`Comparison::parse`] knows.
    pub comparison: String,
    pub treat_missing_data: Option<String>,
    pub state: State,
    pub reason: String,
    pub reason_data: Option<String>,
    pub state_updated_ms: i64,
    pub state_transitioned_ms: i64,
    pub configured_ms: i64,
    /// When its scaling policies were told last.
    pub acted_ms: Option<i64>,
    pub tags: BTreeMap<String, String>,
}

/// What an alarm watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Watched {
    Metric {
        metric: Metric,
        statistic: String,
        unit: Option<String>,
        period: u32,
    },
    /// Exactly one of the queries is returned.
    Queries(Vec<Query>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryItem {
    pub id: u64,
    pub alarm: String,
    pub at_ms: i64,
    /// `ConfigurationUpdate`, `StateUpdate` or `Action`.
    pub kind: String,
    pub summary: String,
    /// JSON.
    pub data: String,
}

/// Items of history that are kept of each alarm.
const KEPT: usize = 100;

impl Item for Alarm {
    const KIND: &'static str = "cloudwatch.alarm";
    fn key(&self) -> String {
        self.name.clone()
    }
}

impl Item for HistoryItem {
    const KIND: &'static str = "cloudwatch.history";
    fn key(&self) -> String {
        format!("{:020}", self.id)
    }
    fn parent(&self) -> String {
        self.alarm.clone()
    }
}

impl Alarm {
    pub fn rule(&self) -> Rule {
        let missing = self.treat_missing_data.as_deref().and_then(Missing::parse);
        Rule {
            comparison: Comparison::parse(&self.comparison).unwrap_or(Comparison::Greater),
            threshold: self.threshold,
            evaluation_periods: self.evaluation_periods as usize,
            datapoints_to_alarm: self.datapoints_to_alarm.unwrap_or(self.evaluation_periods) as usize,
            missing: missing.unwrap_or(Missing::Missing),
        }
    }

    /// Seconds of one datapoint.
    pub fn period(&self) -> u32 {
        match &self.watched {
            Watched::Metric { period, .. } => *period,
            Watched::Queries(queries) => {
                let metrics = queries.iter().filter(|q| matches!(q.source, Source::Metric { .. }));
                metrics.filter_map(|q| q.period).max().unwrap_or(60)
            }
        }
    }

    /// As queries, and the id of the one whose values count.
    pub fn queries(&self) -> (Vec<Query>, String) {
        match &self.watched {
            Watched::Queries(queries) => {
                let returned = queries.iter().find(|q| q.returned).map(|q| q.id.clone());
                (queries.clone(), returned.unwrap_or_default())
            }
            Watched::Metric { metric, statistic, unit, period } => {
                let source =
                    Source::Metric { metric: metric.clone(), statistic: statistic.clone(), unit: unit.clone() };
                let query = Query { id: "m1".into(), label: None, returned: true, source, period: Some(*period) };
                (vec![query], "m1".into())
            }
        }
    }

    /// The actions of its present state.
    pub fn actions(&self) -> &[String] {
        match self.state {
            State::Ok => &self.ok_actions,
            State::Alarm => &self.alarm_actions,
            State::InsufficientData => &self.insufficient_data_actions,
        }
    }
}

/// Adds to an alarm's history.
pub fn note(tx: &Tx<'_>, alarm: &str, at_ms: i64, kind: &str, summary: String, data: String) -> Result<(), StoreError> {
    let id = tx.next("cloudwatch.history")?;
    tx.put(&HistoryItem { id, alarm: alarm.to_owned(), at_ms, kind: kind.to_owned(), summary, data })?;
    let all: Vec<HistoryItem> = tx.children(alarm)?;
    for old in all.iter().take(all.len().saturating_sub(KEPT)) {
        tx.delete::<HistoryItem>(&old.key())?;
    }
    Ok(())
}
