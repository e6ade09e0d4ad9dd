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

pub mod collect;
pub mod evaluate;
pub mod prometheus;
pub mod query;
pub mod records;
pub mod store;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use crate::applicationautoscaling;
use crate::platform::Platform;
use crate::wake::Woken;
use std::sync::Arc;
use std::time::Duration;

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
