//! Scaling activities: what was done to a service's desired count, and why.

use super::error::{DIMENSION, NAMESPACE, listed, page};
use super::records::ActivityRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::application_autoscaling::{
    DescribeScalingActivitiesRequest, DescribeScalingActivitiesResponse, NotScaledReason, ScalingActivity,
};
use quarry_wire::Timestamp;

/// What an activity came to.
pub enum Outcome {
    /// The desired count was set; its tasks are to come.
    Set(u32),
    /// It was to be set, and ECS refused with these words.
    Failed(u32, String),
    /// A scheduled action has changed minimum and maximum.
    Bounds(Option<u32>, Option<u32>),
    NotScaled(NotScaledReason),
}

/// Activities that are kept of each resource.
const KEPT: usize = 200;
/// And for how long: six weeks.
const KEPT_MS: i64 = 42 * 86_400_000;

pub fn keep(ctx: &mut Ctx<'_>, resource_id: &str, cause: &str, outcome: Outcome) -> Result<()> {
    let now = Timestamp::from_millis(ctx.platform.now_ms());
    let mut all: Vec<ActivityRecord> = ctx.tx.children(resource_id)?;
    let mut activity = ScalingActivity {
        activity_id: Some(ctx.platform.door.uuid()),
        service_namespace: Some(NAMESPACE.into()),
        resource_id: Some(resource_id.into()),
        scalable_dimension: Some(DIMENSION.into()),
        cause: Some(cause.into()),
        start_time: Some(now),
        status_code: Some("Successful".into()),
        ..Default::default()
    };
    let (mut waits_for, mut not_scaled) = (None, false);
    match outcome {
        Outcome::Set(to) => {
            // What an earlier one waits for will not come any more.
            for before in all.iter_mut().filter(|before| before.waits_for.is_some()) {
                before.waits_for = None;
                before.activity.status_code = Some("Overridden".into());
                before.activity.end_time = Some(now);
                ctx.tx.put(before)?;
            }
            waits_for = Some(to);
            activity.description = Some(format!("Setting desired count to {to}."));
            activity.status_code = Some("InProgress".into());
            activity.status_message =
                Some(format!("Successfully set desired count to {to}. Waiting for change to be fulfilled by ecs."));
        }
        Outcome::Failed(to, why) => {
            activity.description = Some(format!("Setting desired count to {to}."));
            activity.status_code = Some("Failed".into());
            activity.status_message = Some(format!("Failed to set desired count to {to}. Reason: {why}"));
            activity.end_time = Some(now);
        }
        Outcome::Bounds(min, max) => {
            let bounds: Vec<String> = [("min", min), ("max", max)]
                .into_iter()
                .filter_map(|(name, n)| Some(format!("{name} capacity to {}", n?)))
                .collect();
            let bounds = bounds.join(" and ");
            activity.description = Some(format!("Setting {bounds}"));
            activity.status_message = Some(format!("Successfully set {bounds}"));
            activity.end_time = Some(now);
        }
        Outcome::NotScaled(reason) => {
            // Told again with every minute of the alarm: one is enough.
            let told = all.iter().rev().find(|r| r.activity.not_scaled_reasons.is_some() || r.waits_for.is_some());
            let same = |r: &ActivityRecord| {
                r.activity.not_scaled_reasons.as_deref() == Some(std::slice::from_ref(&reason))
                    && r.activity.cause.as_deref() == Some(cause)
            };
            if told.is_some_and(same) {
                return Ok(());
            }
            not_scaled = true;
            activity.description = Some("Attempting to scale due to alarm triggered".into());
            activity.status_code = Some("Failed".into());
            activity.end_time = Some(now);
            activity.not_scaled_reasons = Some(vec![reason]);
        }
    }
    ctx.tx.put(&ActivityRecord { activity, waits_for, not_scaled })?;
    let oldest = ctx.platform.now_ms() - KEPT_MS;
    let too_many = (all.len() + 1).saturating_sub(KEPT);
    for (index, old) in all.iter().enumerate() {
        let expired = old.activity.start_time.is_some_and(|t| t.millis() < oldest);
        if index < too_many || expired {
            ctx.tx.delete::<ActivityRecord>(&old.key())?;
        }
    }
    Ok(())
}

/// The service has as many tasks as were wanted.
pub fn fulfilled(ctx: &mut Ctx<'_>, mut record: ActivityRecord, to: u32) -> Result<()> {
    record.waits_for = None;
    record.activity.status_code = Some("Successful".into());
    record.activity.status_message =
        Some(format!("Successfully set desired count to {to}. Change successfully fulfilled by ecs."));
    record.activity.end_time = Some(Timestamp::from_millis(ctx.platform.now_ms()));
    ctx.tx.put(&record)?;
    Ok(())
}

/// The newest first.
pub fn describe(
    ctx: &mut Ctx<'_>,
    input: DescribeScalingActivitiesRequest,
) -> Result<DescribeScalingActivitiesResponse> {
    let mut records: Vec<ActivityRecord> = match &input.resource_id {
        _ if !listed(input.service_namespace.as_deref(), input.scalable_dimension.as_deref()) => Vec::new(),
        Some(id) => ctx.tx.children(id)?,
        None => ctx.tx.all()?,
    };
    records.retain(|record| !record.not_scaled || input.include_not_scaled_activities == Some(true));
    records.reverse();
    let (records, next_token) = page(records, input.max_results, input.next_token)?;
    let activities = records.into_iter().map(|record| record.activity).collect();
    Ok(DescribeScalingActivitiesResponse { scaling_activities: Some(activities), next_token })
}
