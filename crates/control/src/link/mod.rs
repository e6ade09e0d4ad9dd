//! The link to the proxies: snapshots go down, what they see comes up, drained targets go away.
//!
//! - [`snapshot`]: the stored records as parts of a routing snapshot; [`endpoints`]: where tasks are.
//! - [`builder`]: which parts differ by what was written; [`content`]: the parts as text.
//! - [`publish`]: its version, which rises only with its content and never goes back.
//! - [`server`]: the socket, any number of proxies.
//! - [`hits`]: how often rules were taken.
//! - [`drain`]: when a draining target is gone.
//! - [`proxies`]: which proxies there are, connected or not.

pub mod builder;
pub mod content;
pub mod drain;
pub mod endpoints;
pub mod hits;
pub mod proxies;
pub mod publish;
pub mod server;
pub mod snapshot;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use crate::platform::Platform;
use crate::wake::Woken;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use server::Link;

/// Starts the link on threads of its own; the one returned ends when the platform stops. Fails at
/// once where the socket cannot be made.
pub fn start(platform: Arc<Platform>, operations: Arc<Operations>) -> std::io::Result<JoinHandle<()>> {
    let link = server::start(platform, operations)?;
    std::thread::Builder::new().name("link".into()).spawn(move || link.join())
}

/// Whether every connected proxy has this version or a newer one in force; false where none is
/// connected.
pub fn is_applied(platform: &Platform, version: u64) -> bool {
    let live = platform.live();
    !live.applied.is_empty() && live.applied.values().all(|applied| *applied >= version)
}

/// Waits until [`is_applied`] holds; false if it does not within `timeout` or the platform stops.
pub fn wait_applied(platform: &Platform, version: u64, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    let mut level = platform.seen.level();
    loop {
        if is_applied(platform, version) {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || platform.seen.wait(&mut level, left) == Woken::Stop {
            return is_applied(platform, version);
        }
    }
}
