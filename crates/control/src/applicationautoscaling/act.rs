//! Scaling: a policy was told by an alarm, or bounds have changed.

use super::activity::{self, Outcome};
use super::alarms::{self, StepBreach};
use super::error::{NAMESPACE, split};
use super::records::{Kind, Policy, Target, step, tracking};
use crate::api::{Ctx, Result};
use quarry_aws::application_autoscaling::{NotScaledReason, error};
use quarry_aws::ecs;
use quarry_domain::scaling::{Decision, Held, Signal, Situation, plan};

/// Whether an alarm's action is a scaling policy of this service.
pub fn is_policy(action: &str) -> bool {
    action.contains(":scalingPolicy:") && action.contains(":resource/")
}

/// A policy is told that one of its alarms is in the state that it acts on. All policies of the
/// target are looked at, since the largest wins and scaling in takes all.
pub fn triggered(ctx: &mut Ctx<'_>, policy_arn: &str) -> Result<()> {
    let unknown = || error::object_not_found_exception(format!("No scaling policy found with the ARN {policy_arn}"));
    let id = resource_of(policy_arn).ok_or_else(unknown)?;
    let policies: Vec<Policy> = ctx.tx.children(&id)?;
    if !policies.iter().any(|policy| policy.arn == policy_arn) {
        return Err(unknown());
    }
    let Some(mut target) = ctx.tx.get::<Target>(&id)? else { return Err(unknown()) };
    let Some(service) = service(ctx, &id)? else { return Ok(()) };
    let speed = ctx.platform.config.scaling_speed;
    // The alarm that each policy would act on, for the activity's cause.
    let mut causes = Vec::new();
    let mut signals = Vec::new();
    for policy in &policies {
        let (signal, cause) = match &policy.kind {
            Kind::Tracking { configuration, high, low } => {
                let too_high = alarms::in_alarm(ctx, high)?;
                let low_enough = match low {
                    Some(low) => alarms::in_alarm(ctx, low)?,
                    None => None,
                };
                let cause = if too_high.is_some() { Some(high) } else { low.as_ref() };
                let policy = tracking(configuration, speed);
                (Signal::Tracking { policy, high: too_high, low: low_enough }, cause.cloned())
            }
            Kind::Step(configuration) => {
                let told: Vec<StepBreach> = alarms::breaches(ctx, &policy.arn)?;
                let cause = told.first().map(|breach| breach.alarm.clone());
                let breaches = told.into_iter().map(|breach| breach.by).collect();
                (Signal::Step { policy: step(configuration, speed), breaches }, cause)
            }
        };
        signals.push(signal);
        causes.push(cause.unwrap_or_default());
    }
    let now_ms = ctx.platform.now_ms();
    let decision = plan(&Situation {
        now_ms,
        capacity: service.desired,
        min: target.min,
        max: target.max,
        suspended: target.suspended,
        history: &target.history,
        signals: &signals,
    });
    let cause = |policy: usize| {
        let (alarm, name) = (&causes[policy], &policies[policy].name);
        format!("monitor alarm {alarm} in state ALARM triggered policy {name}")
    };
    match decision {
        Decision::Nothing => Ok(()),
        Decision::Scale { to, policy, cooldown_ms } => {
            if set_capacity(ctx, &id, to, &cause(policy))? {
                target.history.note(now_ms, service.desired, to, cooldown_ms);
                ctx.tx.put(&target)?;
            }
            Ok(())
        }
        Decision::Held { policy, reason } => {
            let current = service.desired as i32;
            let reason = match reason {
                Held::AlreadyAtMaxCapacity => NotScaledReason {
                    code: Some("AlreadyAtMaxCapacity".into()),
                    max_capacity: Some(target.max as i32),
                    current_capacity: Some(current),
                    min_capacity: None,
                },
                Held::AlreadyAtMinCapacity => NotScaledReason {
                    code: Some("AlreadyAtMinCapacity".into()),
                    min_capacity: Some(target.min as i32),
                    current_capacity: Some(current),
                    max_capacity: None,
                },
            };
            activity::keep(ctx, &id, &cause(policy), Outcome::NotScaled(reason))
        }
    }
}

/// Brings the capacity within the target's bounds.
pub fn enforce_bounds(ctx: &mut Ctx<'_>, target: &mut Target) -> Result<()> {
    let Some(service) = service(ctx, &target.resource_id)? else { return Ok(()) };
    let (to, cause) = match service.desired {
        n if n < target.min => (target.min, format!("minimum capacity was set to {}", target.min)),
        n if n > target.max => (target.max, format!("maximum capacity was set to {}", target.max)),
        _ => return Ok(()),
    };
    let id = target.resource_id.clone();
    set_capacity(ctx, &id, to, &cause).map(drop)
}

/// Sets a service's desired count and takes the activity down. `false` where ECS refused.
fn set_capacity(ctx: &mut Ctx<'_>, id: &str, to: u32, cause: &str) -> Result<bool> {
    let Some((cluster, service)) = split(id) else { return Ok(false) };
    let input = ecs::UpdateServiceRequest {
        cluster: Some(cluster.into()),
        service: Some(service.into()),
        desired_count: Some(to as i32),
        ..Default::default()
    };
    let done = ctx.invoke::<ecs::op::UpdateService>(input);
    let outcome = match &done {
        Ok(_) => Outcome::Set(to),
        Err(error) => Outcome::Failed(to, format!("{} (Service: {NAMESPACE})", error.message)),
    };
    activity::keep(ctx, id, cause, outcome)?;
    Ok(done.is_ok())
}

/// A service's counts.
pub struct Counts {
    pub desired: u32,
    pub running: u32,
}

/// `None` if there is no such service, or it is not ACTIVE.
pub fn service(ctx: &mut Ctx<'_>, id: &str) -> Result<Option<Counts>> {
    let Some((cluster, service)) = split(id) else { return Ok(None) };
    let input = ecs::DescribeServicesRequest {
        cluster: Some(cluster.into()),
        services: Some(vec![service.into()]),
        ..Default::default()
    };
    let found = match ctx.invoke::<ecs::op::DescribeServices>(input) {
        Ok(found) => found.services.unwrap_or_default(),
        Err(error) if error.status < 500 => return Ok(None),
        Err(error) => return Err(error),
    };
    let active = found.into_iter().find(|service| service.status.as_deref() == Some("ACTIVE"));
    let count = |n: Option<i32>| n.unwrap_or(0).max(0) as u32;
    Ok(active.map(|s| Counts { desired: count(s.desired_count), running: count(s.running_count) }))
}

/// The resource id in a policy's ARN: `…:resource/ecs/<resource id>:policyName/<name>`.
fn resource_of(policy_arn: &str) -> Option<String> {
    let (_, rest) = policy_arn.split_once(":resource/ecs/")?;
    let (id, _) = rest.split_once(":policyName/")?;
    Some(id.to_owned())
}
