//! Scaling policies.

use super::alarms;
use super::error::{DIMENSION, NAMESPACE, listed, named, page, resource, validation};
use super::records::{Kind, Policy, Target, adjustment, key};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::application_autoscaling::{
    DeleteScalingPolicyRequest, DeleteScalingPolicyResponse, DescribeScalingPoliciesRequest,
    DescribeScalingPoliciesResponse, PutScalingPolicyRequest, PutScalingPolicyResponse, ScalingPolicy,
    StepScalingPolicyConfiguration, TargetTrackingScalingPolicyConfiguration, error,
};
use quarry_domain::metric::Statistic;
use quarry_domain::scaling::Adjustment;
use quarry_wire::Timestamp;

/// Policies that a target may have.
const POLICIES: usize = 50;
/// Steps that a policy may have.
const STEPS: usize = 20;

pub fn put(ctx: &mut Ctx<'_>, input: PutScalingPolicyRequest) -> Result<PutScalingPolicyResponse> {
    let id = resource(
        input.service_namespace.as_deref(),
        input.resource_id.as_deref(),
        input.scalable_dimension.as_deref(),
    )?;
    if ctx.tx.get::<Target>(&id)?.is_none() {
        return Err(error::object_not_found_exception(format!("No scalable target registered for {}", named(&id))));
    }
    let name = input.policy_name.unwrap_or_default();
    let known: Option<Policy> = ctx.tx.get(&key(&id, &name))?;
    if input.predictive_scaling_policy_configuration.is_some() {
        return Err(validation("Predictive scaling is not supported here"));
    }
    let before = known.as_ref().map(|policy| match policy.kind {
        Kind::Tracking { .. } => "TargetTrackingScaling",
        Kind::Step(_) => "StepScaling",
    });
    let kind = input.policy_type.as_deref().or(before).unwrap_or("StepScaling");
    if before.is_some_and(|before| before != kind) {
        return Err(validation("The policy type of a scaling policy cannot be changed"));
    }
    let wrong = |member: &str| validation(format!("{member} cannot be specified for the policy type {kind}"));
    let kind = match kind {
        "TargetTrackingScaling" => {
            if input.step_scaling_policy_configuration.is_some() {
                return Err(wrong("StepScalingPolicyConfiguration"));
            }
            let configuration = input
                .target_tracking_scaling_policy_configuration
                .ok_or_else(|| validation("TargetTrackingScalingPolicyConfiguration must be specified"))?;
            check_tracking(&id, &configuration)?;
            let name = |part: &str| format!("TargetTracking-{id}-Alarm{part}-{}", ctx.platform.door.uuid());
            let (mut high, mut low) = (name("High"), name("Low"));
            if let Some(Policy { kind: Kind::Tracking { high: old_high, low: old_low, .. }, .. }) = &known {
                high.clone_from(old_high);
                low = old_low.clone().unwrap_or(low);
            }
            let low = (configuration.disable_scale_in != Some(true)).then_some(low);
            Kind::Tracking { configuration, high, low }
        }
        "StepScaling" => {
            if input.target_tracking_scaling_policy_configuration.is_some() {
                return Err(wrong("TargetTrackingScalingPolicyConfiguration"));
            }
            let configuration = input
                .step_scaling_policy_configuration
                .ok_or_else(|| validation("StepScalingPolicyConfiguration must be specified"))?;
            check_step(&configuration)?;
            Kind::Step(configuration)
        }
        other => return Err(validation(format!("The policy type {other} is not supported here"))),
    };
    let policy = match known {
        Some(before) => {
            if let (Kind::Tracking { low: Some(old), .. }, Kind::Tracking { low: None, .. }) = (&before.kind, &kind) {
                crate::cloudwatch::remove_alarm(ctx, old)?;
            }
            Policy { kind, ..before }
        }
        None => {
            if ctx.tx.children::<Policy>(&id)?.len() >= POLICIES {
                return Err(error::limit_exceeded_exception(format!(
                    "A scalable target has at most {POLICIES} policies"
                )));
            }
            let uuid = ctx.platform.door.uuid();
            let arn = ctx
                .platform
                .place()
                .arn("autoscaling", format_args!("scalingPolicy:{uuid}:resource/{NAMESPACE}/{id}:policyName/{name}"));
            Policy { resource_id: id, name, arn, kind, created_ms: ctx.platform.now_ms() }
        }
    };
    ctx.tx.put(&policy)?;
    alarms::make(ctx, &policy)?;
    let made = match policy.kind {
        Kind::Tracking { .. } => alarms::shown(ctx, &policy)?,
        Kind::Step(_) => Vec::new(),
    };
    Ok(PutScalingPolicyResponse { policy_arn: Some(policy.arn), alarms: Some(made) })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteScalingPolicyRequest) -> Result<DeleteScalingPolicyResponse> {
    let id = resource(
        input.service_namespace.as_deref(),
        input.resource_id.as_deref(),
        input.scalable_dimension.as_deref(),
    )?;
    let name = input.policy_name.unwrap_or_default();
    let policy: Policy = ctx.tx.get(&key(&id, &name))?.ok_or_else(|| {
        error::object_not_found_exception(format!("No scaling policy found for {}, policy name: {name}", named(&id)))
    })?;
    alarms::delete(ctx, &policy)?;
    ctx.tx.delete::<Policy>(&policy.key())?;
    Ok(DeleteScalingPolicyResponse {})
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeScalingPoliciesRequest) -> Result<DescribeScalingPoliciesResponse> {
    let mut policies: Vec<Policy> = match &input.resource_id {
        _ if !listed(input.service_namespace.as_deref(), input.scalable_dimension.as_deref()) => Vec::new(),
        Some(id) => ctx.tx.children(id)?,
        None => ctx.tx.all()?,
    };
    if let Some(names) = input.policy_names.filter(|names| !names.is_empty()) {
        policies.retain(|policy| names.contains(&policy.name));
    }
    let (policies, next_token) = page(policies, input.max_results, input.next_token)?;
    let shown = policies.into_iter().map(|policy| show(ctx, policy)).collect::<Result<_>>()?;
    Ok(DescribeScalingPoliciesResponse { scaling_policies: Some(shown), next_token })
}

fn show(ctx: &Ctx<'_>, policy: Policy) -> Result<ScalingPolicy> {
    let alarms = alarms::shown(ctx, &policy)?;
    let (kind, tracking, step) = match policy.kind {
        Kind::Tracking { configuration, .. } => ("TargetTrackingScaling", Some(configuration), None),
        Kind::Step(configuration) => ("StepScaling", None, Some(configuration)),
    };
    Ok(ScalingPolicy {
        policy_arn: Some(policy.arn),
        policy_name: Some(policy.name),
        policy_type: Some(kind.into()),
        service_namespace: Some(NAMESPACE.into()),
        scalable_dimension: Some(DIMENSION.into()),
        resource_id: Some(policy.resource_id),
        creation_time: Some(Timestamp::from_millis(policy.created_ms)),
        alarms: Some(alarms),
        target_tracking_scaling_policy_configuration: tracking,
        step_scaling_policy_configuration: step,
        predictive_scaling_policy_configuration: None,
    })
}

fn check_tracking(id: &str, configuration: &TargetTrackingScalingPolicyConfiguration) -> Result<()> {
    let target = configuration.target_value.unwrap_or_default();
    if !target.is_finite() || target <= 0.0 {
        return Err(validation("TargetValue must be greater than 0"));
    }
    for (name, cooldown) in
        [("ScaleOutCooldown", configuration.scale_out_cooldown), ("ScaleInCooldown", configuration.scale_in_cooldown)]
    {
        check_cooldown(name, cooldown)?;
    }
    if let Some(statistic) =
        configuration.customized_metric_specification.as_ref().and_then(|metric| metric.statistic.as_deref())
        && Statistic::parse(statistic).is_none()
    {
        return Err(validation(format!("Invalid statistic {statistic}")));
    }
    alarms::watched(id, configuration).map(drop)
}

fn check_step(configuration: &StepScalingPolicyConfiguration) -> Result<()> {
    let adjustment = configuration.adjustment_type.as_deref().and_then(adjustment);
    let adjustment = adjustment.ok_or_else(|| validation("AdjustmentType must be specified"))?;
    check_cooldown("Cooldown", configuration.cooldown)?;
    if let Some(least) = configuration.min_adjustment_magnitude {
        if adjustment != Adjustment::PercentChange {
            return Err(validation(
                "MinAdjustmentMagnitude can be specified only for the adjustment type PercentChangeInCapacity",
            ));
        }
        if least < 1 {
            return Err(validation("MinAdjustmentMagnitude must be greater than 0"));
        }
    }
    let steps = configuration.step_adjustments.as_deref().unwrap_or_default();
    if steps.is_empty() || steps.len() > STEPS {
        return Err(validation(format!("A step scaling policy has 1 to {STEPS} StepAdjustments")));
    }
    if adjustment == Adjustment::Exact && steps.iter().any(|step| step.scaling_adjustment.is_some_and(|n| n < 0)) {
        return Err(validation("An exact capacity cannot be negative"));
    }
    let mut ranges: Vec<(f64, f64)> = steps
        .iter()
        .map(|step| {
            let lower = step.metric_interval_lower_bound.unwrap_or(f64::NEG_INFINITY);
            (lower, step.metric_interval_upper_bound.unwrap_or(f64::INFINITY))
        })
        .collect();
    if ranges.iter().any(|(lower, upper)| lower >= upper) {
        return Err(validation("The upper bound of a step adjustment must be greater than its lower bound"));
    }
    ranges.sort_by(|a, b| a.0.total_cmp(&b.0));
    for pair in ranges.windows(2) {
        if pair[0].1 > pair[1].0 {
            return Err(validation("StepAdjustment intervals can't overlap"));
        }
        if pair[0].1 < pair[1].0 {
            return Err(validation("StepAdjustment intervals can't have gaps between them"));
        }
    }
    Ok(())
}

fn check_cooldown(name: &str, seconds: Option<i32>) -> Result<()> {
    match seconds {
        Some(seconds) if seconds < 0 => Err(validation(format!("{name} must be greater than or equal to 0"))),
        _ => Ok(()),
    }
}
