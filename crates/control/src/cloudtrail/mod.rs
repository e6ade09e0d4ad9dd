//! AWS CloudTrail: the event history, which is the [audit log](crate::audit). There are no trails.

mod lookup_events;
mod resources;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use quarry_aws::cloudtrail::op;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::LookupEvents>(lookup_events::handle);
}
