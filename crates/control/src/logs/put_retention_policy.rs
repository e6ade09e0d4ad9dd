//! PutRetentionPolicy.

use super::find;
use crate::api::{Ctx, Result};
use quarry_aws::logs::PutRetentionPolicyRequest;
use quarry_wire::Empty;

/// The numbers of days that CloudWatch Logs allows.
const DAYS: [i32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub fn handle(ctx: &mut Ctx<'_>, input: PutRetentionPolicyRequest) -> Result<Empty> {
    let mut group = find::group(ctx.tx, find::group_name(input.log_group_name.as_deref())?)?;
    let days = input.retention_in_days.unwrap_or_default();
    if !DAYS.contains(&days) {
        let allowed = DAYS.map(|days| days.to_string()).join(", ");
        let rule = format!("Member must satisfy enum value set: [{allowed}]");
        return Err(find::constraint(days, "retentionInDays", &rule));
    }
    group.retention_days = Some(days);
    ctx.tx.put(&group)?;
    Ok(Empty {})
}
