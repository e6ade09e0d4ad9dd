//! `DescribeTargetHealth`: all targets of a group, draining ones too, or those named.

use super::records::Target;
use super::targets::{Health, health};
use super::{errors, find, uses};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2 as aws;
use quarry_domain::link::{TargetReason, TargetState};

pub fn handle(ctx: &mut Ctx<'_>, input: aws::DescribeTargetHealthInput) -> Result<aws::DescribeTargetHealthOutput> {
    let group = find::target_group(ctx.tx, input.target_group_arn.as_deref())?;
    let used = !uses::users(ctx.tx, &group.arn)?.is_empty();
    let registered: Vec<Target> = ctx.tx.children(&group.arn)?;
    let check_port = |port: u16| group.health_check.port.unwrap_or(port).to_string();
    let describe = |target: &Target| aws::TargetHealthDescription {
        target: Some(aws::TargetDescription {
            id: Some(target.id.clone()),
            port: Some(i32::from(target.port)),
            availability_zone: target.availability_zone.clone(),
            ..Default::default()
        }),
        health_check_port: Some(check_port(target.port)),
        target_health: Some(shape(health(ctx.platform, target, used))),
        ..Default::default()
    };
    let wanted = input.targets.unwrap_or_default();
    let mut descriptions = Vec::new();
    if wanted.is_empty() {
        descriptions.extend(registered.iter().map(describe));
    }
    for target in wanted {
        let id = target.id.unwrap_or_default();
        let port = match target.port {
            Some(port) => errors::in_range(port, "targets.1.member.port", 1, 65_535)? as u16,
            None => group.port,
        };
        let mut known = registered.iter().filter(|r| r.id == id && r.port == port).collect::<Vec<_>>();
        known.sort_by_key(|target| target.draining);
        descriptions.push(match known.first() {
            Some(target) => describe(target),
            None => aws::TargetHealthDescription {
                target: Some(aws::TargetDescription {
                    id: Some(id),
                    port: Some(i32::from(port)),
                    ..Default::default()
                }),
                target_health: Some(shape(Health {
                    state: TargetState::Unused,
                    reason: Some(TargetReason::NotRegistered),
                    description: Some("Target is not registered to the target group".into()),
                    in_flight: 0,
                })),
                ..Default::default()
            },
        });
    }
    Ok(aws::DescribeTargetHealthOutput { target_health_descriptions: Some(descriptions) })
}

fn shape(health: Health) -> aws::TargetHealth {
    aws::TargetHealth {
        state: Some(state_name(health.state).into()),
        reason: health.reason.map(|reason| reason_name(reason).into()),
        description: health.description,
    }
}

pub fn state_name(state: TargetState) -> &'static str {
    match state {
        TargetState::Initial => "initial",
        TargetState::Healthy => "healthy",
        TargetState::Unhealthy => "unhealthy",
        TargetState::Unused => "unused",
        TargetState::Draining => "draining",
        TargetState::Unavailable => "unavailable",
    }
}

fn reason_name(reason: TargetReason) -> &'static str {
    match reason {
        TargetReason::RegistrationInProgress => "Elb.RegistrationInProgress",
        TargetReason::InitialHealthChecking => "Elb.InitialHealthChecking",
        TargetReason::ResponseCodeMismatch => "Target.ResponseCodeMismatch",
        TargetReason::Timeout => "Target.Timeout",
        TargetReason::FailedHealthChecks => "Target.FailedHealthChecks",
        TargetReason::NotRegistered => "Target.NotRegistered",
        TargetReason::NotInUse => "Target.NotInUse",
        TargetReason::DeregistrationInProgress => "Target.DeregistrationInProgress",
        TargetReason::InvalidState => "Target.InvalidState",
        TargetReason::HealthCheckDisabled => "Target.HealthCheckDisabled",
    }
}
