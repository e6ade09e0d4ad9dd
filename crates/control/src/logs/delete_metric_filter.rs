//! DeleteMetricFilter.

use super::find;
use super::records::{MetricFilter, stream_key};
use crate::api::{Ctx, Result};
use quarry_aws::logs::{DeleteMetricFilterRequest, error};
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteMetricFilterRequest) -> Result<Empty> {
    let group = find::group(ctx.tx, find::group_name(input.log_group_name.as_deref())?)?;
    let key = stream_key(&group.name, input.filter_name.as_deref().unwrap_or_default());
    if ctx.tx.get::<MetricFilter>(&key)?.is_none() {
        return Err(error::resource_not_found_exception("The specified metric filter does not exist."));
    }
    ctx.tx.delete::<MetricFilter>(&key)?;
    Ok(Empty {})
}
