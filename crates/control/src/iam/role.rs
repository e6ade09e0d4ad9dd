//! Roles: who may assume them, and what becomes of them.

use super::document::{self, Use};
use super::entity::{self, name, page, path, required, unique_id, validation};
use super::instance_profile::ProfileRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::iam::AttachedPermissionsBoundary;
use quarry_aws::iam::{
    CreateRoleRequest, CreateRoleResponse, CreateServiceLinkedRoleRequest, CreateServiceLinkedRoleResponse,
    DeleteRoleRequest, GetRoleRequest, GetRoleResponse, ListRoleTagsRequest, ListRoleTagsResponse, ListRolesRequest,
    ListRolesResponse, Role, RoleLastUsed, TagRoleRequest, UntagRoleRequest, UpdateAssumeRolePolicyRequest, error,
};
use quarry_wire::{Empty, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A role with its policies.
#[derive(Serialize, Deserialize)]
pub struct RoleRecord {
    /// The trust policy in it is as given, not encoded.
    pub role: Role,
    /// Documents of the inline policies by name.
    pub inline: BTreeMap<String, String>,
    /// ARNs of the managed policies, in the order of attaching.
    pub attached: Vec<String>,
}

impl Item for RoleRecord {
    const KIND: &'static str = "iam.role";
    /// Names are unique whatever their case.
    fn key(&self) -> String {
        self.name().to_ascii_lowercase()
    }
}

impl RoleRecord {
    pub fn name(&self) -> &str {
        self.role.role_name.as_deref().unwrap_or_default()
    }

    fn is_service_linked(&self) -> bool {
        self.role.path.as_deref().is_some_and(|path| path.starts_with("/aws-service-role/"))
    }

    /// Refuses to change a role that belongs to a service.
    pub fn modifiable(self) -> Result<Self> {
        if self.is_service_linked() {
            let name = self.name();
            return Err(error::unmodifiable_entity_exception(format!(
                "Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
            )));
        }
        Ok(self)
    }

    /// As answers show it: the trust policy percent-encoded.
    pub fn shown(&self) -> Role {
        let mut role = self.role.clone();
        role.assume_role_policy_document = role.assume_role_policy_document.as_deref().map(document::encoded);
        role
    }
}

pub fn find(ctx: &Ctx<'_>, name: &str) -> Result<RoleRecord> {
    let found = ctx.tx.get::<RoleRecord>(&name.to_ascii_lowercase())?.filter(|record| record.name() == name);
    found.ok_or_else(|| error::no_such_entity_exception(format!("The role with name {name} cannot be found.")))
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateRoleRequest) -> Result<CreateRoleResponse> {
    let name = name(input.role_name, "roleName", 64)?;
    let trust = required(input.assume_role_policy_document, "assumeRolePolicyDocument")?;
    document::check(&trust, Use::Trust)?;
    let path = path(input.path)?;
    if path.starts_with("/aws-service-role/") {
        return Err(validation("Paths that start with /aws-service-role/ are for service-linked roles."));
    }
    let duration = input.max_session_duration.unwrap_or(3600);
    if !(3600..=43200).contains(&duration) {
        return Err(validation(format!(
            "1 validation error detected: Value '{duration}' at 'maxSessionDuration' failed to satisfy constraint: Member must be between 3600 and 43200"
        )));
    }
    let mut tags = None;
    entity::tag(&mut tags, input.tags.unwrap_or_default())?;
    let mut role = new_role(ctx, name, path, trust, input.description);
    role.max_session_duration = Some(duration);
    role.tags = tags;
    role.permissions_boundary = input.permissions_boundary.map(|arn| AttachedPermissionsBoundary {
        permissions_boundary_arn: Some(arn),
        permissions_boundary_type: Some("Policy".into()),
    });
    Ok(CreateRoleResponse { role: Some(store_new(ctx, role)?) })
}

/// The role that a service acts as. The names are AWS's.
pub fn create_service_linked(
    ctx: &mut Ctx<'_>,
    input: CreateServiceLinkedRoleRequest,
) -> Result<CreateServiceLinkedRoleResponse> {
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

pub fn get(ctx: &mut Ctx<'_>, input: GetRoleRequest) -> Result<GetRoleResponse> {
    let mut role = find(ctx, &required(input.role_name, "roleName")?)?.shown();
    role.role_last_used = Some(RoleLastUsed::default());
    Ok(GetRoleResponse { role: Some(role) })
}

pub fn list(ctx: &mut Ctx<'_>, input: ListRolesRequest) -> Result<ListRolesResponse> {
    let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
    let mut roles: Vec<Role> = ctx.tx.all::<RoleRecord>()?.iter().map(RoleRecord::shown).collect();
    roles.retain(|role| role.path.as_deref().is_some_and(|path| path.starts_with(&prefix)));
    for role in &mut roles {
        // A listing shows neither.
        role.tags = None;
        role.permissions_boundary = None;
    }
    let page = page(roles, |role| role.role_name.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListRolesResponse { roles: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteRoleRequest) -> Result<Empty> {
    let record = find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    let profiles = ctx.tx.all::<ProfileRecord>()?;
    let obstacle = if profiles.iter().any(|profile| profile.role.as_deref() == Some(record.name())) {
        Some("Cannot delete entity, must remove roles from instance profile first.")
    } else if !record.attached.is_empty() {
        Some("Cannot delete entity, must detach all policies first.")
    } else if !record.inline.is_empty() {
        Some("Cannot delete entity, must delete policies first.")
    } else {
        None
    };
    if let Some(message) = obstacle {
        return Err(error::delete_conflict_exception(message));
    }
    ctx.tx.delete::<RoleRecord>(&record.key())?;
    Ok(Empty {})
}

pub fn update_trust(ctx: &mut Ctx<'_>, input: UpdateAssumeRolePolicyRequest) -> Result<Empty> {
    let trust = required(input.policy_document, "policyDocument")?;
    let mut record = find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    document::check(&trust, Use::Trust)?;
    record.role.assume_role_policy_document = Some(trust);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn tag(ctx: &mut Ctx<'_>, input: TagRoleRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    entity::tag(&mut record.role.tags, required(input.tags, "tags")?)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn untag(ctx: &mut Ctx<'_>, input: UntagRoleRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    let gone = required(input.tag_keys, "tagKeys")?;
    let is_gone = |key: &str| gone.iter().any(|g| g.eq_ignore_ascii_case(key));
    record.role.tags.get_or_insert_default().retain(|tag| !is_gone(tag.key.as_deref().unwrap_or_default()));
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list_tags(ctx: &mut Ctx<'_>, input: ListRoleTagsRequest) -> Result<ListRoleTagsResponse> {
    let record = find(ctx, &required(input.role_name, "roleName")?)?;
    let tags = record.role.tags.unwrap_or_default();
    let page = page(tags, |tag| tag.key.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListRoleTagsResponse { tags: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

fn new_role(ctx: &Ctx<'_>, name: String, path: String, trust: String, description: Option<String>) -> Role {
    Role {
        arn: Some(ctx.platform.place().global_arn("iam", format_args!("role{path}{name}"))),
        role_id: Some(unique_id(ctx, "AROA")),
        create_date: Some(Timestamp::from_secs(ctx.platform.now_ms().div_euclid(1000))),
        role_name: Some(name),
        path: Some(path),
        assume_role_policy_document: Some(trust),
        description,
        max_session_duration: Some(3600),
        ..Default::default()
    }
}

fn store_new(ctx: &mut Ctx<'_>, role: Role) -> Result<Role> {
    let record = RoleRecord { role, inline: BTreeMap::new(), attached: Vec::new() };
    if ctx.tx.get::<RoleRecord>(&record.key())?.is_some() {
        let name = record.name();
        return Err(error::entity_already_exists_exception(format!("Role with name {name} already exists.")));
    }
    ctx.tx.put(&record)?;
    Ok(record.shown())
}
