//! Service-linked roles: those that a service acts as. They go only while their service has nothing
//! that needs them; a deletion is a task whose outcome is asked for afterwards.

use super::entity::{name, required};
use super::role::{self, RoleRecord, new_role, store_new};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::application_autoscaling::{self, op::DescribeScalableTargets};
use quarry_aws::autoscaling::op::DescribeAutoScalingGroups;
use quarry_aws::ecs::op::ListClusters;
use quarry_aws::elbv2::op::DescribeLoadBalancers;
use quarry_aws::iam::{
    CreateServiceLinkedRoleRequest, CreateServiceLinkedRoleResponse, DeleteServiceLinkedRoleRequest,
    DeleteServiceLinkedRoleResponse, DeletionTaskFailureReasonType, GetServiceLinkedRoleDeletionStatusRequest,
    GetServiceLinkedRoleDeletionStatusResponse, RoleUsageType, error,
};
use serde::{Deserialize, Serialize};

/// A deletion that was asked for. It is decided at once.
#[derive(Clone, Serialize, Deserialize)]
struct DeletionRecord {
    id: String,
    /// ARNs of what needed the role: if there are any, it was not deleted.
    needed_by: Vec<String>,
}

impl Item for DeletionRecord {
    const KIND: &'static str = "iam.role-deletion";
    fn key(&self) -> String {
        self.id.clone()
    }
}

/// The role that a service acts as. The names are AWS's.
pub fn create(ctx: &mut Ctx<'_>, input: CreateServiceLinkedRoleRequest) -> Result<CreateServiceLinkedRoleResponse> {
    let service = required(input.aws_service_name, "aWSServiceName")?;
    let (base, suffixed) = match service.as_str() {
        "ecs.amazonaws.com" => ("AWSServiceRoleForECS", false),
        "elasticloadbalancing.amazonaws.com" => ("AWSServiceRoleForElasticLoadBalancing", false),
        "autoscaling.amazonaws.com" => ("AWSServiceRoleForAutoScaling", true),
        "ecs.application-autoscaling.amazonaws.com" => ("AWSServiceRoleForApplicationAutoScaling_ECSService", false),
        _ => {
            return Err(error::invalid_input_exception(format!(
                "Service role cannot be created for service principal {service}."
            )));
        }
    };
    let role_name = match input.custom_suffix {
        None => base.to_owned(),
        Some(suffix) if suffixed => name(Some(format!("{base}_{suffix}")), "customSuffix", 64)?,
        Some(_) => {
            return Err(error::invalid_input_exception(format!("Custom suffix is not allowed for {service}")));
        }
    };
    if ctx.tx.get::<RoleRecord>(&role_name.to_ascii_lowercase())?.is_some() {
        return Err(error::invalid_input_exception(format!(
            "Service role name {role_name} has been taken in this account, please try a different suffix."
        )));
    }
    let trust = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" }],
    });
    let path = format!("/aws-service-role/{service}/");
    let role = new_role(ctx, role_name, path, trust.to_string(), input.description);
    Ok(CreateServiceLinkedRoleResponse { role: Some(store_new(ctx, role)?) })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteServiceLinkedRoleRequest) -> Result<DeleteServiceLinkedRoleResponse> {
    let role_name = required(input.role_name, "roleName")?;
    let record = role::find(ctx, &role_name)?;
    if !record.is_service_linked() {
        return Err(error::no_such_entity_exception(format!(
            "The service-linked role with name {role_name} cannot be found."
        )));
    }
    // The path is `/aws-service-role/<service>/`.
    let path = record.role.path.clone().unwrap_or_default();
    let service = path.trim_matches('/').rsplit('/').next().unwrap_or_default();
    let needed_by = needed_by(ctx, service, record.role.arn.as_deref().unwrap_or_default())?;
    if needed_by.is_empty() {
        ctx.tx.delete::<RoleRecord>(&record.key())?;
    }
    let task = DeletionRecord { id: format!("task{path}{role_name}/{}", ctx.platform.door.uuid()), needed_by };
    ctx.tx.put(&task)?;
    Ok(DeleteServiceLinkedRoleResponse { deletion_task_id: Some(task.id) })
}

pub fn deletion_status(
    ctx: &mut Ctx<'_>,
    input: GetServiceLinkedRoleDeletionStatusRequest,
) -> Result<GetServiceLinkedRoleDeletionStatusResponse> {
    let id = required(input.deletion_task_id, "deletionTaskId")?;
    let task = ctx.tx.get::<DeletionRecord>(&id)?;
    let task = task.ok_or_else(|| error::no_such_entity_exception(format!("Task {id} was not found.")))?;
    if task.needed_by.is_empty() {
        return Ok(GetServiceLinkedRoleDeletionStatusResponse { status: Some("SUCCEEDED".into()), reason: None });
    }
    let region = ctx.platform.place().region.clone();
    let reason = DeletionTaskFailureReasonType {
        reason: Some("The role is in use by resources of its service.".into()),
        role_usage_list: Some(vec![RoleUsageType { region: Some(region), resources: Some(task.needed_by) }]),
    };
    Ok(GetServiceLinkedRoleDeletionStatusResponse { status: Some("FAILED".into()), reason: Some(reason) })
}

/// ARNs of a service's resources that need its role; of many, some.
fn needed_by(ctx: &mut Ctx<'_>, service: &str, role: &str) -> Result<Vec<String>> {
    Ok(match service {
        "ecs.amazonaws.com" => ctx.invoke::<ListClusters>(Default::default())?.cluster_arns.unwrap_or_default(),
        "elasticloadbalancing.amazonaws.com" => {
            let found = ctx.invoke::<DescribeLoadBalancers>(Default::default())?.load_balancers.unwrap_or_default();
            found.into_iter().filter_map(|balancer| balancer.load_balancer_arn).collect()
        }
        "autoscaling.amazonaws.com" => groups_of(ctx, role)?,
        _ => {
            let input = application_autoscaling::DescribeScalableTargetsRequest {
                service_namespace: Some("ecs".into()),
                ..Default::default()
            };
            let found = ctx.invoke::<DescribeScalableTargets>(input)?.scalable_targets.unwrap_or_default();
            found.into_iter().filter_map(|target| target.scalable_target_arn).collect()
        }
    })
}

/// Auto Scaling groups whose service-linked role is this one.
fn groups_of(ctx: &mut Ctx<'_>, role: &str) -> Result<Vec<String>> {
    let mut arns = Vec::new();
    let mut input = quarry_aws::autoscaling::AutoScalingGroupNamesType::default();
    loop {
        let page = ctx.invoke::<DescribeAutoScalingGroups>(input.clone())?;
        let groups = page.auto_scaling_groups.unwrap_or_default().into_iter();
        arns.extend(
            groups
                .filter(|group| group.service_linked_role_arn.as_deref() == Some(role))
                .filter_map(|group| group.auto_scaling_group_arn),
        );
        input.next_token = page.next_token;
        if input.next_token.is_none() {
            return Ok(arns);
        }
    }
}
