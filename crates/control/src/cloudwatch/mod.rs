//! Amazon CloudWatch: metrics of the platform and of its users, and alarms.
//!
//! - [`store`]: the metric store, bounded, a file of its own.
//! - [`collect`]: what tasks use and what proxies count becomes metrics.
//! - [`query`]: values over time, and metric math.
//! - [`evaluate`]: alarms change their states; scaling policies are told.
//! - [`prometheus`]: the same counters as text for Prometheus.
//!
//! A minute of CloudWatch's is a minute, unless `PlatformConfig::scaling_speed` says that alarms and
//! autoscaling go faster, for tests and demonstrations.

mod alarms;
pub mod collect;
pub mod evaluate;
mod metrics;
pub mod prometheus;
pub mod query;
pub mod records;
pub mod store;
mod tags;

#[cfg(test)]
mod tests;

pub use alarms::{alarm_arn, configure_alarm, remove_alarm};
pub use query::check_queries;

use crate::api::{Operations, Result};
use crate::applicationautoscaling;
use crate::platform::Platform;
use crate::wake::Woken;
use quarry_aws::cloudwatch::{self as aws, error, op};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::DeleteAlarms>(alarms::delete);
    operations.serve::<op::DescribeAlarmHistory>(alarms::history);
    operations.serve::<op::DescribeAlarms>(alarms::describe);
    operations.serve::<op::DescribeAlarmsForMetric>(alarms::describe_for_metric);
    operations.serve::<op::DisableAlarmActions>(alarms::disable);
    operations.serve::<op::EnableAlarmActions>(alarms::enable);
    operations.serve::<op::GetMetricData>(metrics::get_data);
    operations.serve::<op::GetMetricStatistics>(metrics::get_statistics);
    operations.serve::<op::ListMetrics>(metrics::list);
    operations.serve::<op::ListTagsForResource>(tags::list);
    operations.serve::<op::PutMetricAlarm>(alarms::put);
    operations.serve::<op::PutMetricData>(metrics::put);
    operations.serve::<op::SetAlarmState>(alarms::set_state);
    operations.serve::<op::TagResource>(tags::tag);
    operations.serve::<op::UntagResource>(tags::untag);
}

/// A metric as the API shows it.
fn metric_shown(metric: &store::Metric) -> aws::Metric {
    aws::Metric {
        namespace: Some(metric.namespace.clone()),
        metric_name: Some(metric.name.clone()),
        dimensions: Some(dimensions_shown(&metric.dimensions)),
    }
}

fn dimensions_shown(dimensions: &BTreeMap<String, String>) -> Vec<aws::Dimension> {
    let one =
        |(name, value): (&String, &String)| aws::Dimension { name: Some(name.clone()), value: Some(value.clone()) };
    dimensions.iter().map(one).collect()
}

/// By their names, each once.
fn dimensions_of(given: Option<&[aws::Dimension]>) -> Result<BTreeMap<String, String>> {
    let mut dimensions = BTreeMap::new();
    for dimension in given.unwrap_or_default() {
        let name = dimension.name.clone().unwrap_or_default();
        if dimensions.insert(name.clone(), dimension.value.clone().unwrap_or_default()).is_some() {
            return Err(error::invalid_parameter_value_exception(format!("The dimension {name} is there twice.")));
        }
    }
    Ok(dimensions)
}

/// How often expired datapoints are deleted, in ms.
const EXPIRE_EVERY: i64 = 1_800_000;

/// Collects metrics, evaluates alarms and carries scheduled scaling out, until the platform stops. In
/// one thread, so that an alarm sees the minute that was completed just now.
pub fn run(platform: Arc<Platform>, operations: Arc<Operations>) {
    let minute_ms = platform.config.minute_ms();
    // At whole multiples of it, so that a minute is completed soon after its end.
    let tick_ms = (minute_ms / 6).max(1_000);
    let mut collector = collect::Collector::default();
    let mut expired_ms = platform.now_ms();
    loop {
        if let Err(error) = collector.tick(&platform, minute_ms) {
            tracing::error!(%error, "metrics were not recorded");
        }
        if let Err(error) = evaluate::pass(&platform, &operations) {
            tracing::error!(%error, "alarms were not evaluated");
        }
        if let Err(error) = applicationautoscaling::reconcile::pass(&platform, &operations) {
            tracing::error!(%error, "scaling was not looked after");
        }
        let now = platform.now_ms();
        if now - expired_ms >= EXPIRE_EVERY {
            expired_ms = now;
            if let Err(error) = platform.metrics.expire(now / 1000) {
                tracing::warn!(%error, "expired metrics could not be deleted");
            }
        }
        let wait = tick_ms - platform.now_ms().rem_euclid(tick_ms);
        // It is the timer that paces, no signal.
        let mut reached = u64::MAX;
        if platform.seen.wait(&mut reached, Duration::from_millis(wait as u64)) == Woken::Stop {
            return;
        }
    }
}
