//! Metric filters: what is written to log groups becomes datapoints of CloudWatch's metrics (AWS's documentation,
//! "Creating metrics from log events using filters").
//!
//! Events are looked at once a second, each once: the last one is written down with what was made of it, so that a crash
//! between the two counts that second again.

use super::events::{self, Event};
use super::records::{Filtered, MetricFilter, stream_key};
use crate::api::{Operations, Result, internally};
use crate::cloudwatch::store::{Datapoint, Metric, UNITS};
use crate::platform::Platform;
use crate::store::Item;
use crate::wake::Woken;
use quarry_domain::log_pattern::{Pattern, Reference};
use quarry_domain::metric::Statistics;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often events are looked at while there are filters.
const EVERY: Duration = Duration::from_secs(1);
/// How long nothing is looked at while there are none.
const IDLE: Duration = Duration::from_secs(600);
/// Events of one pass over the store.
const BATCH: usize = 2000;

/// What a filter has seen in a minute, for its default value.
type Minutes = BTreeMap<(String, i64), bool>;

/// A filter, ready to be asked.
struct Ready {
    filter: MetricFilter,
    pattern: Pattern,
    value: Amount,
    dimensions: Vec<(String, Reference)>,
    unit: &'static str,
    prefix: String,
}

enum Amount {
    Is(f64),
    At(Reference),
}

/// Looks at events until the store's wake is stopped. Blocks.
pub fn run(platform: Arc<Platform>, operations: Arc<Operations>) {
    let mut level = platform.store.changed.level();
    let mut minutes = Minutes::new();
    loop {
        let filters = platform.store.read(|tx| tx.shared::<MetricFilter>()).unwrap_or_else(|error| {
            tracing::error!(%error, "the metric filters cannot be read");
            Arc::default()
        });
        if filters.is_empty() {
            if platform.store.changed.wait(&mut level, IDLE) == Woken::Stop {
                return;
            }
            continue;
        }
        if let Err(error) = pass(&platform, &operations, &filters, &mut minutes) {
            tracing::warn!(%error, "log events were not made into metrics; it is tried again");
        }
        // Own writes raise the level too, so it is the timer that paces.
        let mut reached = u64::MAX;
        if platform.store.changed.wait(&mut reached, EVERY) == Woken::Stop {
            return;
        }
    }
}

/// Looks at all that has come.
fn pass(
    platform: &Platform,
    operations: &Operations,
    filters: &[Arc<MetricFilter>],
    minutes: &mut Minutes,
) -> Result<()> {
    let ready: Vec<Ready> = filters.iter().filter_map(|filter| Ready::of(filter)).collect();
    let first = ready.iter().map(|one| one.filter.after).min().unwrap_or_default();
    let seen = platform.store.read(|tx| tx.get::<Filtered>(""))?.map_or(0, |filtered| filtered.seq);
    let mut seen = seen.max(first);
    loop {
        let batch = platform.store.read(|tx| events::since(tx, seen, BATCH))?;
        let over = batch.len() < BATCH;
        let Some(last) = batch.last() else { break };
        seen = last.seq;
        let mut points = Vec::new();
        for event in &batch {
            for one in ready.iter().filter(|one| event.seq > one.filter.after && event.stream.starts_with(&one.prefix))
            {
                let matches = one.pattern.matches(&event.message);
                if one.filter.default_value.is_some() {
                    let minute = event.ingested_ms / platform.config.minute_ms();
                    *minutes.entry((one.filter.key(), minute)).or_default() |= matches;
                }
                points.extend(one.point(platform, event).filter(|_| matches));
            }
        }
        record(platform, &points)?;
        internally(platform, operations, |ctx| Ok(ctx.tx.put(&Filtered { seq: seen })?))?;
        if over {
            break;
        }
    }
    defaults(platform, &ready, minutes)
}

/// The default values of the minutes that are over and had events, none of which matched.
fn defaults(platform: &Platform, ready: &[Ready], minutes: &mut Minutes) -> Result<()> {
    let length = platform.config.minute_ms();
    let running = platform.now_ms() / length;
    let mut points = Vec::new();
    minutes.retain(|(key, minute), matched| {
        let one = ready.iter().find(|one| one.filter.key() == *key);
        if *minute < running
            && !*matched
            && let Some(one) = one
            && let Some(value) = one.filter.default_value
        {
            points.push(one.datapoint(platform, minute * length, value, BTreeMap::new()));
        }
        *minute >= running && one.is_some()
    });
    record(platform, &points)
}

fn record(platform: &Platform, points: &[Datapoint]) -> Result<()> {
    if !platform.metrics.record(points)? {
        tracing::warn!("the metric store is full: metrics of log events are not kept");
    }
    Ok(())
}

impl Ready {
    fn of(filter: &MetricFilter) -> Option<Self> {
        let value = match filter.value.parse() {
            Ok(number) => Amount::Is(number),
            Err(_) => Amount::At(Reference::parse(&filter.value).ok()?),
        };
        let dimension = |(name, value): (&String, &String)| Some((name.clone(), Reference::parse(value).ok()?));
        let unit = filter.unit.as_deref().unwrap_or("None");
        Some(Self {
            pattern: Pattern::parse(&filter.pattern).ok()?,
            value,
            dimensions: filter.dimensions.iter().map(dimension).collect::<Option<_>>()?,
            unit: UNITS.iter().find(|known| **known == unit)?,
            prefix: stream_key(&filter.group, ""),
            filter: filter.clone(),
        })
    }

    /// What an event that matches gives: nothing where it has no number or lacks a dimension.
    fn point(&self, platform: &Platform, event: &Event) -> Option<Datapoint> {
        let value = match &self.value {
            Amount::Is(value) => *value,
            Amount::At(reference) => {
                let text = self.pattern.value(reference, &event.message)?;
                text.parse().ok().filter(|value: &f64| value.is_finite())?
            }
        };
        let dimension = |(name, reference): &(String, Reference)| {
            let value = self.pattern.value(reference, &event.message).filter(|value| !value.is_empty())?;
            Some((name.clone(), value))
        };
        let dimensions = self.dimensions.iter().map(dimension).collect::<Option<_>>()?;
        Some(self.datapoint(platform, event.at_ms, value, dimensions))
    }

    fn datapoint(
        &self,
        platform: &Platform,
        at_ms: i64,
        value: f64,
        dimensions: BTreeMap<String, String>,
    ) -> Datapoint {
        let (namespace, name) = (self.filter.namespace.clone(), self.filter.metric.clone());
        Datapoint {
            metric: Metric { namespace, name, dimensions },
            unit: self.unit,
            at_ms,
            // Where minutes are shorter, alarms need all metrics by the second.
            fine: platform.config.scaling_speed > 1,
            statistics: Statistics::of(value, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudwatch;
    use crate::testing::World;
    use quarry_aws::cloudwatch::{Datapoint as Shown, GetMetricStatisticsInput, op::GetMetricStatistics};
    use quarry_aws::logs::{self as aws, op};
    use serde_json::{Value, json};

    fn call<O: quarry_wire::Operation>(world: &World, input: Value) -> Result<O::Output> {
        world.call::<O>(quarry_wire::json::from_value(&input).unwrap())
    }

    fn world() -> World {
        let world = World::new(|operations| {
            crate::logs::register(operations);
            cloudwatch::register(operations);
        });
        call::<op::CreateLogGroup>(&world, json!({"logGroupName": "g"})).unwrap();
        call::<op::CreateLogStream>(&world, json!({"logGroupName": "g", "logStreamName": "s"})).unwrap();
        world
    }

    fn write(world: &World, messages: &[&str]) {
        let now = world.platform.now_ms();
        let events: Vec<Value> = messages.iter().map(|text| json!({"timestamp": now, "message": text})).collect();
        let input = json!({"logGroupName": "g", "logStreamName": "s", "logEvents": events});
        call::<op::PutLogEvents>(world, input).unwrap();
    }

    fn filter(world: &World, name: &str, pattern: &str, transformation: Value) -> Result<()> {
        let mut whole = json!({"metricName": name, "metricNamespace": "Own", "metricValue": "1"});
        whole.as_object_mut().unwrap().extend(transformation.as_object().unwrap().clone());
        let input = json!({"logGroupName": "g", "filterName": name, "filterPattern": pattern,
            "metricTransformations": [whole]});
        call::<op::PutMetricFilter>(world, input).map(drop)
    }

    fn look(world: &World, minutes: &mut Minutes) {
        let filters = world.platform.store.read(|tx| tx.shared::<MetricFilter>()).unwrap();
        pass(&world.platform, &world.operations, &filters, minutes).unwrap();
    }

    /// How many there were, and their sum, by the minute.
    fn seen(world: &World, metric: &str, dimensions: Value) -> Vec<(f64, f64)> {
        let now = world.platform.now_ms() / 1000;
        let input = json!({"Namespace": "Own", "MetricName": metric, "Dimensions": dimensions, "Period": 60,
            "StartTime": now - 600, "EndTime": now + 60, "Statistics": ["SampleCount", "Sum"]});
        let input: GetMetricStatisticsInput = quarry_wire::json::from_value(&input).unwrap();
        let points = world.call::<GetMetricStatistics>(input).unwrap().datapoints.unwrap();
        points.iter().map(|point: &Shown| (point.sample_count.unwrap(), point.sum.unwrap())).collect()
    }

    #[test]
    fn events_become_datapoints() {
        let world = world();
        let mut minutes = Minutes::new();
        write(&world, &["ERROR of before"]);
        filter(&world, "errors", "ERROR", json!({"unit": "Count"})).unwrap();
        let taken = json!({"metricValue": "$.ms", "dimensions": {"Path": "$.path"}});
        filter(&world, "latency", "{ $.path = * }", taken).unwrap();
        filter(&world, "bytes", "[method, path, size > 0]", json!({"metricValue": "$size"})).unwrap();
        write(
            &world,
            &["ERROR one", "fine", "ERROR two", r#"{"path": "/a", "ms": 1.5}"#, r#"{"path": "/a", "ms": 2}"#],
        );
        // Neither has a number there.
        write(&world, &[r#"{"path": "/b", "ms": "long"}"#, r#"{"path": "/b"}"#, "GET /a 100", "GET /b -"]);
        look(&world, &mut minutes);
        look(&world, &mut minutes);
        assert_eq!(seen(&world, "errors", json!([])), [(2.0, 2.0)], "each event counts once, those of before do not");
        let of = |path: &str| json!([{"Name": "Path", "Value": path}]);
        assert_eq!(seen(&world, "latency", of("/a")), [(2.0, 3.5)]);
        assert_eq!(seen(&world, "latency", of("/b")), []);
        assert_eq!(seen(&world, "bytes", json!([])), [(1.0, 100.0)]);
        // Replaced, it begins anew.
        filter(&world, "errors", "fine", json!({})).unwrap();
        look(&world, &mut minutes);
        assert_eq!(seen(&world, "errors", json!([])), [(2.0, 2.0)]);
    }

    #[test]
    fn a_minute_without_a_match_has_the_default_value() {
        let world = world();
        let mut minutes = Minutes::new();
        filter(&world, "errors", "ERROR", json!({"defaultValue": 0.0})).unwrap();
        for messages in [&["ERROR", "fine"][..], &["fine", "fine"], &[], &["ERROR"]] {
            if !messages.is_empty() {
                write(&world, messages);
            }
            look(&world, &mut minutes);
            world.door.advance(Duration::from_secs(60));
        }
        look(&world, &mut minutes);
        assert_eq!(seen(&world, "errors", json!([])), [(1.0, 1.0), (1.0, 0.0), (1.0, 1.0)]);
        assert!(minutes.is_empty(), "{minutes:?}");
    }

    #[test]
    fn filters_are_checked_listed_and_deleted() {
        let world = world();
        let refused =
            |pattern: &str, transformation: Value| filter(&world, "x", pattern, transformation).unwrap_err().code;
        for (pattern, transformation) in [
            ("{ $.a = }", json!({})),
            ("ERROR", json!({"metricValue": "$.ms"})),
            ("[a, b]", json!({"metricValue": "$c"})),
            ("ERROR", json!({"metricValue": "many"})),
            ("ERROR", json!({"metricNamespace": "AWS/ECS"})),
            ("[a, b]", json!({"dimensions": {"A": "$a"}, "defaultValue": 0.0})),
            ("[a, b]", json!({"dimensions": {"A": "a"}})),
            ("[a, b]", json!({"dimensions": {"A": "$a", "B": "$b", "C": "$a", "D": "$b"}})),
        ] {
            assert_eq!(
                refused(pattern, transformation.clone()),
                "InvalidParameterException",
                "{pattern} {transformation}"
            );
        }
        for n in 0..5 {
            filter(&world, &format!("r{n}"), "%a+%", json!({})).unwrap();
        }
        assert_eq!(refused("%a+%", json!({})), "LimitExceededException");
        filter(&world, "r0", "%b%", json!({"metricName": "other"})).unwrap();
        let listed = |asked: Value| -> (Vec<String>, Option<String>) {
            let found = call::<op::DescribeMetricFilters>(&world, asked).unwrap();
            let names = found.metric_filters.unwrap().into_iter().filter_map(|one: aws::MetricFilter| one.filter_name);
            (names.collect(), found.next_token)
        };
        let (page, token) = listed(json!({"logGroupName": "g", "filterNamePrefix": "r", "limit": 3}));
        assert_eq!((page.as_slice(), token.is_some()), (&["r0", "r1", "r2"].map(str::to_owned)[..], true));
        assert_eq!(listed(json!({"nextToken": token.unwrap()})).0, ["r3", "r4"]);
        assert_eq!(listed(json!({"metricName": "other", "metricNamespace": "Own"})).0, ["r0"]);
        let groups = world.call::<op::DescribeLogGroups>(Default::default()).unwrap().log_groups.unwrap();
        assert_eq!(groups[0].metric_filter_count, Some(5));
        let gone = || call::<op::DeleteMetricFilter>(&world, json!({"logGroupName": "g", "filterName": "r0"}));
        gone().unwrap();
        assert_eq!(gone().unwrap_err().code, "ResourceNotFoundException");
        call::<op::DeleteLogGroup>(&world, json!({"logGroupName": "g"})).unwrap();
        assert_eq!(listed(json!({})).0, Vec::<String>::new());
    }

    #[test]
    fn a_pattern_is_tried() {
        let world = world();
        let input = json!({"filterPattern": "[ip, ..., status=4*, size]",
            "logEventMessages": ["127.0.0.1 - \"GET /\" 404 12", "127.0.0.1 - \"GET /\" 200 7"]});
        let found = call::<op::TestMetricFilter>(&world, input).unwrap().matches.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].event_number, Some(1));
        let values = json!({"$ip": "127.0.0.1", "$2": "-", "$3": "GET /", "$status": "404", "$size": "12"});
        assert_eq!(json!(found[0].extracted_values), values);
    }
}
