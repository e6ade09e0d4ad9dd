//! The target groups of a group: its instances in service are registered there by their ids.

use super::error::{page, required, validation};
use super::process::is_suspended;
use super::records::{GroupRecord, MemberRecord, find_active, find_group};
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::{
    AttachLoadBalancerTargetGroupsResultType, AttachLoadBalancerTargetGroupsType,
    DescribeLoadBalancerTargetGroupsRequest, DescribeLoadBalancerTargetGroupsResponse, DescribeLoadBalancersRequest,
    DescribeLoadBalancersResponse, DescribeTrafficSourcesRequest, DescribeTrafficSourcesResponse,
    DetachLoadBalancerTargetGroupsResultType, DetachLoadBalancerTargetGroupsType, LoadBalancerTargetGroupState,
    TrafficSourceIdentifier, TrafficSourceState,
};
use quarry_aws::elbv2::op::{DeregisterTargets, DescribeTargetGroups, RegisterTargets};
use quarry_aws::elbv2::{DeregisterTargetsInput, DescribeTargetGroupsInput, RegisterTargetsInput, TargetDescription};

/// Sets the target groups that a group has, as both kinds of members show them.
pub fn set(group: &mut GroupRecord, arns: Vec<String>) {
    let source = |arn: &String| TrafficSourceIdentifier { identifier: Some(arn.clone()), r#type: Some("elbv2".into()) };
    group.group.traffic_sources = Some(arns.iter().map(source).collect());
    group.group.target_group_arns = Some(arns);
}

/// Both forms in which a new group names them; they exist and take instances.
pub fn named(
    ctx: &mut Ctx<'_>,
    arns: Option<Vec<String>>,
    sources: Option<Vec<TrafficSourceIdentifier>>,
) -> Result<Vec<String>> {
    let mut all = arns.unwrap_or_default();
    for source in sources.unwrap_or_default() {
        if source.r#type.as_deref().is_some_and(|kind| kind != "elbv2") {
            return Err(validation("Traffic sources other than elbv2 are not supported."));
        }
        all.push(required(source.identifier, "identifier")?);
    }
    all.dedup();
    check(ctx, &all)?;
    Ok(all)
}

/// What a member of the group is not registered with, and what it no longer belongs to.
pub fn difference(group: &GroupRecord, member: &MemberRecord) -> (Vec<String>, Vec<String>) {
    let wanted = group.group.target_group_arns.clone().unwrap_or_default();
    let missing = wanted.iter().filter(|arn| !member.targets.contains(arn)).cloned().collect();
    let missing = if is_suspended(group, "AddToLoadBalancer") { Vec::new() } else { missing };
    (missing, member.targets.iter().filter(|arn| !wanted.contains(arn)).cloned().collect())
}

/// Registers an instance; a target group that is gone is passed over.
pub fn register(ctx: &mut Ctx<'_>, member: &mut MemberRecord, arns: Vec<String>) -> Result<()> {
    for arn in arns {
        let input = RegisterTargetsInput { target_group_arn: Some(arn.clone()), targets: Some(vec![target(member)]) };
        unless_gone(ctx.invoke::<RegisterTargets>(input))?;
        member.targets.push(arn);
    }
    Ok(())
}

pub fn deregister(ctx: &mut Ctx<'_>, member: &mut MemberRecord, arns: Vec<String>) -> Result<()> {
    for arn in arns {
        let input = DeregisterTargetsInput { target_group_arn: Some(arn.clone()), targets: Some(vec![target(member)]) };
        unless_gone(ctx.invoke::<DeregisterTargets>(input))?;
        member.targets.retain(|held| *held != arn);
    }
    Ok(())
}

pub fn attach(
    ctx: &mut Ctx<'_>,
    input: AttachLoadBalancerTargetGroupsType,
) -> Result<AttachLoadBalancerTargetGroupsResultType> {
    let mut group = find_active(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let given = input.target_group_arns.unwrap_or_default();
    check(ctx, &given)?;
    let mut arns = group.group.target_group_arns.clone().unwrap_or_default();
    arns.extend(given.into_iter().filter(|arn| !arns.contains(arn)).collect::<Vec<_>>());
    set(&mut group, arns);
    ctx.tx.put(&group)?;
    Ok(AttachLoadBalancerTargetGroupsResultType {})
}

pub fn detach(
    ctx: &mut Ctx<'_>,
    input: DetachLoadBalancerTargetGroupsType,
) -> Result<DetachLoadBalancerTargetGroupsResultType> {
    let mut group = find_active(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let given = input.target_group_arns.unwrap_or_default();
    let mut arns = group.group.target_group_arns.clone().unwrap_or_default();
    if let Some(unknown) = given.iter().find(|arn| !arns.contains(arn)) {
        return Err(validation(format!("Trying to remove Target Groups that are not part of the group: {unknown}")));
    }
    arns.retain(|arn| !given.contains(arn));
    set(&mut group, arns);
    ctx.tx.put(&group)?;
    Ok(DetachLoadBalancerTargetGroupsResultType {})
}

pub fn describe(
    ctx: &mut Ctx<'_>,
    input: DescribeLoadBalancerTargetGroupsRequest,
) -> Result<DescribeLoadBalancerTargetGroupsResponse> {
    let group = find_group(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let states = states(ctx, &group)?.into_iter();
    let states = states.map(|(arn, state)| LoadBalancerTargetGroupState {
        load_balancer_target_group_arn: Some(arn),
        state: Some(state.into()),
    });
    let (states, next_token) = page(states.collect(), input.max_records.or(Some(100)), input.next_token)?;
    Ok(DescribeLoadBalancerTargetGroupsResponse { load_balancer_target_groups: Some(states), next_token })
}

pub fn describe_traffic_sources(
    ctx: &mut Ctx<'_>,
    input: DescribeTrafficSourcesRequest,
) -> Result<DescribeTrafficSourcesResponse> {
    let group = find_group(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let wanted = input.traffic_source_type.is_none_or(|kind| kind == "elbv2");
    let states = if wanted { states(ctx, &group)? } else { Vec::new() };
    let states = states.into_iter().map(|(arn, state)| TrafficSourceState {
        identifier: Some(arn),
        state: Some(state.into()),
        r#type: Some("elbv2".into()),
        ..Default::default()
    });
    let (traffic_sources, next_token) = page(states.collect(), input.max_records, input.next_token)?;
    Ok(DescribeTrafficSourcesResponse { traffic_sources: Some(traffic_sources), next_token })
}

/// Classic load balancers: there are none.
pub fn describe_classic(
    ctx: &mut Ctx<'_>,
    input: DescribeLoadBalancersRequest,
) -> Result<DescribeLoadBalancersResponse> {
    find_group(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    Ok(DescribeLoadBalancersResponse { load_balancers: Some(Vec::new()), next_token: None })
}

/// `Added` once every instance in service is registered.
fn states(ctx: &Ctx<'_>, group: &GroupRecord) -> Result<Vec<(String, &'static str)>> {
    let members = super::records::members(ctx.tx, &group.group.auto_scaling_group_name.clone().unwrap_or_default())?;
    let all_in = |arn: &String| members.iter().filter(|m| m.is_in_service()).all(|member| member.targets.contains(arn));
    let arns = group.group.target_group_arns.clone().unwrap_or_default();
    Ok(arns.into_iter().map(|arn| (arn.clone(), if all_in(&arn) { "Added" } else { "Adding" })).collect())
}

fn check(ctx: &mut Ctx<'_>, arns: &[String]) -> Result<()> {
    if arns.is_empty() {
        return Ok(());
    }
    let input = DescribeTargetGroupsInput { target_group_arns: Some(arns.to_vec()), ..Default::default() };
    let found = ctx.invoke::<DescribeTargetGroups>(input).map_err(|e| validation(e.message))?;
    let other = found.target_groups.iter().flatten().find(|group| group.target_type.as_deref() != Some("instance"));
    match other {
        Some(group) => Err(validation(format!(
            "Provided Target Group {} has invalid target type. Please ensure all provided Target Groups have target type of instance.",
            group.target_group_arn.as_deref().unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

fn target(member: &MemberRecord) -> TargetDescription {
    TargetDescription { id: member.instance.instance_id.clone(), ..Default::default() }
}

fn unless_gone<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(error) if error.code != "TargetGroupNotFound" && error.code != "InvalidTarget" => Err(error),
        _ => Ok(()),
    }
}
