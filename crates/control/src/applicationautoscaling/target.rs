//! Scalable targets.

use super::act::{self, enforce_bounds};
use super::error::{listed, named, page, resource, validation};
use super::records::{ActivityRecord, Policy, Scheduled, Target};
use super::{alarms, tags};
use crate::api::{Ctx, Result};
use crate::store::{Item, StoreError};
use quarry_aws::application_autoscaling::{
    DeregisterScalableTargetRequest, DeregisterScalableTargetResponse, DescribeScalableTargetsRequest,
    DescribeScalableTargetsResponse, RegisterScalableTargetRequest, RegisterScalableTargetResponse, ScalableTarget,
    SuspendedState, error,
};
use quarry_aws::iam;
use quarry_domain::scaling::{History, Suspended};
use quarry_wire::Timestamp;

const ROLE: &str = "AWSServiceRoleForApplicationAutoScaling_ECSService";
const PRINCIPAL: &str = "ecs.application-autoscaling.amazonaws.com";

/// Registers a service, or changes what is registered. A role that is given is not used, as on AWS
/// for services with a service-linked role.
pub fn register(ctx: &mut Ctx<'_>, input: RegisterScalableTargetRequest) -> Result<RegisterScalableTargetResponse> {
    let id = resource(
        input.service_namespace.as_deref(),
        input.resource_id.as_deref(),
        input.scalable_dimension.as_deref(),
    )?;
    let known: Option<Target> = ctx.tx.get(&id)?;
    let is_new = known.is_none();
    let bound = |given: Option<i32>, before: Option<u32>, what: &str| match given {
        Some(n) => u32::try_from(n).map_err(|_| validation(format!("{what} capacity cannot be less than 0"))),
        None => {
            before.ok_or_else(|| validation("Minimum and maximum capacity must be given for a new scalable target"))
        }
    };
    let min = bound(input.min_capacity, known.as_ref().map(|t| t.min), "Minimum")?;
    let max = bound(input.max_capacity, known.as_ref().map(|t| t.max), "Maximum")?;
    if max < min {
        return Err(validation("Maximum capacity cannot be less than minimum capacity"));
    }
    if act::service(ctx, &id)?.is_none() {
        return Err(validation(format!("ECS service doesn't exist: {id}")));
    }
    let mut target = known.unwrap_or_else(|| Target {
        arn: ctx
            .platform
            .place()
            .arn("application-autoscaling", format_args!("scalable-target/0ec5{}", ctx.platform.door.hex(32))),
        resource_id: id.clone(),
        min,
        max,
        suspended: Suspended::default(),
        created_ms: ctx.platform.now_ms(),
        history: History::default(),
        tags: Default::default(),
    });
    if let Some(given) = input.tags {
        if !is_new && !given.is_empty() {
            return Err(validation("Tags can be given only for a new scalable target: use TagResource"));
        }
        tags::put(&mut target.tags, given)?;
    }
    let raised = target.min != min || is_new;
    let lowered = target.max != max || is_new;
    (target.min, target.max) = (min, max);
    if let Some(state) = input.suspended_state {
        let suspended = &mut target.suspended;
        suspended.scale_in = state.dynamic_scaling_in_suspended.unwrap_or(suspended.scale_in);
        suspended.scale_out = state.dynamic_scaling_out_suspended.unwrap_or(suspended.scale_out);
        suspended.scheduled = state.scheduled_scaling_suspended.unwrap_or(suspended.scheduled);
    }
    ctx.tx.put(&target)?;
    make_role(ctx)?;
    let arn = target.arn.clone();
    if raised || lowered {
        enforce_bounds(ctx, &mut target)?;
    }
    Ok(RegisterScalableTargetResponse { scalable_target_arn: Some(arn) })
}

pub fn deregister(
    ctx: &mut Ctx<'_>,
    input: DeregisterScalableTargetRequest,
) -> Result<DeregisterScalableTargetResponse> {
    let id = resource(
        input.service_namespace.as_deref(),
        input.resource_id.as_deref(),
        input.scalable_dimension.as_deref(),
    )?;
    if ctx.tx.get::<Target>(&id)?.is_none() {
        return Err(error::object_not_found_exception(format!("No scalable target found for {}", named(&id))));
    }
    remove(ctx, &id)?;
    Ok(DeregisterScalableTargetResponse {})
}

/// Takes a target away with its policies, their alarms and its scheduled actions. Activities stay.
pub fn remove(ctx: &mut Ctx<'_>, id: &str) -> Result<(), StoreError> {
    for policy in ctx.tx.children::<Policy>(id)? {
        alarms::delete(ctx, &policy)?;
        ctx.tx.delete::<Policy>(&policy.key())?;
    }
    for scheduled in ctx.tx.children::<Scheduled>(id)? {
        ctx.tx.delete::<Scheduled>(&scheduled.key())?;
    }
    for mut record in ctx.tx.children::<ActivityRecord>(id)?.into_iter().filter(|r| r.waits_for.is_some()) {
        record.waits_for = None;
        record.activity.status_code = Some("Unfulfilled".into());
        ctx.tx.put(&record)?;
    }
    ctx.tx.delete::<Target>(id)?;
    Ok(())
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeScalableTargetsRequest) -> Result<DescribeScalableTargetsResponse> {
    let mut targets = Vec::new();
    if listed(input.service_namespace.as_deref(), input.scalable_dimension.as_deref()) {
        targets = ctx.tx.all::<Target>()?;
    }
    if let Some(ids) = input.resource_ids.filter(|ids| !ids.is_empty()) {
        targets.retain(|target| ids.contains(&target.resource_id));
    }
    let (targets, next_token) = page(targets, input.max_results, input.next_token)?;
    let shown = targets.into_iter().map(|target| show(ctx, target)).collect();
    Ok(DescribeScalableTargetsResponse { scalable_targets: Some(shown), next_token })
}

fn show(ctx: &Ctx<'_>, target: Target) -> ScalableTarget {
    ScalableTarget {
        service_namespace: Some(super::error::NAMESPACE.into()),
        scalable_dimension: Some(super::error::DIMENSION.into()),
        resource_id: Some(target.resource_id),
        scalable_target_arn: Some(target.arn),
        min_capacity: Some(target.min as i32),
        max_capacity: Some(target.max as i32),
        role_arn: Some(
            ctx.platform.place().global_arn("iam", format_args!("role/aws-service-role/{PRINCIPAL}/{ROLE}")),
        ),
        creation_time: Some(Timestamp::from_millis(target.created_ms)),
        suspended_state: Some(SuspendedState {
            dynamic_scaling_in_suspended: Some(target.suspended.scale_in),
            dynamic_scaling_out_suspended: Some(target.suspended.scale_out),
            scheduled_scaling_suspended: Some(target.suspended.scheduled),
        }),
        predicted_capacity: None,
    }
}

/// The service-linked role, made with the first target as on AWS.
fn make_role(ctx: &mut Ctx<'_>) -> Result<()> {
    let there = ctx.invoke::<iam::op::GetRole>(iam::GetRoleRequest { role_name: Some(ROLE.into()) });
    if there.is_ok() {
        return Ok(());
    }
    let input = iam::CreateServiceLinkedRoleRequest { aws_service_name: Some(PRINCIPAL.into()), ..Default::default() };
    ctx.invoke::<iam::op::CreateServiceLinkedRole>(input).map(drop)
}
