//! Roles: who may assume them, and what becomes of them.

use super::attached;
use super::document::{self, Use};
use super::entity::{self, name, page, path, required, unique_id, validation};
use super::instance_profile::ProfileRecord;
use super::lookup::RoleUse;
use super::policy;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::iam::{
    AttachedPermissionsBoundary, CreateRoleRequest, CreateRoleResponse, DeleteRolePermissionsBoundaryRequest,
    DeleteRoleRequest, GetRoleRequest, GetRoleResponse, ListRoleTagsRequest, ListRoleTagsResponse, ListRolesRequest,
    ListRolesResponse, PutRolePermissionsBoundaryRequest, Role, RoleLastUsed, TagRoleRequest, UntagRoleRequest,
    UpdateAssumeRolePolicyRequest, UpdateRoleDescriptionRequest, UpdateRoleDescriptionResponse, UpdateRoleRequest,
    UpdateRoleResponse, error,
};
use quarry_wire::{Empty, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Characters of a trust policy, white space aside.
const TRUST_CHARACTERS: usize = 2048;
/// Roles of an account.
const ROLES: usize = 1000;

/// A role with its policies.
#[derive(Clone, Serialize, Deserialize)]
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

    /// ARN of the policy that bounds what the others allow.
    pub fn boundary(&self) -> Option<&String> {
        self.role.permissions_boundary.as_ref()?.permissions_boundary_arn.as_ref()
    }

    pub fn is_service_linked(&self) -> bool {
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
    check_trust(&trust)?;
    let path = path(input.path)?;
    if path.starts_with("/aws-service-role/") {
        return Err(validation("Paths that start with /aws-service-role/ are for service-linked roles."));
    }
    let duration = session_duration(input.max_session_duration)?;
    let mut tags = None;
    entity::tag(&mut tags, input.tags.unwrap_or_default())?;
    let mut role = new_role(ctx, name, path, trust, input.description);
    role.max_session_duration = Some(duration);
    role.tags = tags;
    role.permissions_boundary = match input.permissions_boundary {
        Some(arn) => Some(boundary(ctx, arn)?),
        None => None,
    };
    Ok(CreateRoleResponse { role: Some(store_new(ctx, role)?) })
}

pub fn get(ctx: &mut Ctx<'_>, input: GetRoleRequest) -> Result<GetRoleResponse> {
    let mut role = find(ctx, &required(input.role_name, "roleName")?)?.shown();
    let used = ctx.tx.get::<RoleUse>(role.role_id.as_deref().unwrap_or_default())?;
    role.role_last_used = Some(used.map_or_else(RoleLastUsed::default, |used| RoleLastUsed {
        last_used_date: Some(Timestamp::from_secs(used.at_ms.div_euclid(1000))),
        region: Some(ctx.platform.place().region.clone()),
    }));
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
    let in_profile = profiles.iter().any(|profile| profile.role.as_deref() == Some(record.name()));
    let in_use = in_profile.then_some("must remove roles from instance profile first.");
    attached::deletable(in_use, &record.attached, &record.inline)?;
    ctx.tx.delete::<RoleUse>(record.role.role_id.as_deref().unwrap_or_default())?;
    ctx.tx.delete::<RoleRecord>(&record.key())?;
    Ok(Empty {})
}

pub fn update_trust(ctx: &mut Ctx<'_>, input: UpdateAssumeRolePolicyRequest) -> Result<Empty> {
    let trust = required(input.policy_document, "policyDocument")?;
    let mut record = find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    check_trust(&trust)?;
    record.role.assume_role_policy_document = Some(trust);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

/// A description that is not given stays as it is; a duration that is not given becomes one hour.
pub fn update(ctx: &mut Ctx<'_>, input: UpdateRoleRequest) -> Result<UpdateRoleResponse> {
    let mut record = find(ctx, &required(input.role_name, "roleName")?)?;
    // Of a service-linked role the description alone may be changed.
    if record.is_service_linked() && input.max_session_duration.is_some() {
        record = record.modifiable()?;
    }
    record.role.max_session_duration = Some(session_duration(input.max_session_duration)?);
    if let Some(description) = input.description {
        record.role.description = Some(description);
    }
    ctx.tx.put(&record)?;
    Ok(UpdateRoleResponse {})
}

pub fn update_description(
    ctx: &mut Ctx<'_>,
    input: UpdateRoleDescriptionRequest,
) -> Result<UpdateRoleDescriptionResponse> {
    let mut record = find(ctx, &required(input.role_name, "roleName")?)?;
    record.role.description = Some(required(input.description, "description")?);
    ctx.tx.put(&record)?;
    Ok(UpdateRoleDescriptionResponse { role: Some(record.shown()) })
}

pub fn put_boundary(ctx: &mut Ctx<'_>, input: PutRolePermissionsBoundaryRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    record.role.permissions_boundary =
        Some(boundary(ctx, required(input.permissions_boundary, "permissionsBoundary")?)?);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

/// A role without a boundary stays so.
pub fn delete_boundary(ctx: &mut Ctx<'_>, input: DeleteRolePermissionsBoundaryRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    record.role.permissions_boundary = None;
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
    entity::untag(&mut record.role.tags, &required(input.tag_keys, "tagKeys")?);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list_tags(ctx: &mut Ctx<'_>, input: ListRoleTagsRequest) -> Result<ListRoleTagsResponse> {
    let record = find(ctx, &required(input.role_name, "roleName")?)?;
    let tags = record.role.tags.unwrap_or_default();
    let page = page(tags, |tag| tag.key.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListRoleTagsResponse { tags: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

pub fn boundary(ctx: &Ctx<'_>, arn: String) -> Result<AttachedPermissionsBoundary> {
    policy::attachable(ctx, &arn, "Scope ARN:")?;
    Ok(AttachedPermissionsBoundary {
        permissions_boundary_arn: Some(arn),
        permissions_boundary_type: Some("Policy".into()),
    })
}

fn check_trust(text: &str) -> Result<()> {
    document::check(text, Use::Trust)?;
    document::check_size(text, TRUST_CHARACTERS, "ACLSizePerRole")
}

fn session_duration(given: Option<i32>) -> Result<i32> {
    let seconds = given.unwrap_or(3600);
    if !(3600..=43200).contains(&seconds) {
        return Err(validation(format!(
            "1 validation error detected: Value '{seconds}' at 'maxSessionDuration' failed to satisfy constraint: Member must be between 3600 and 43200"
        )));
    }
    Ok(seconds)
}

pub fn new_role(ctx: &Ctx<'_>, name: String, path: String, trust: String, description: Option<String>) -> Role {
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

pub fn store_new(ctx: &mut Ctx<'_>, role: Role) -> Result<Role> {
    let record = RoleRecord { role, inline: BTreeMap::new(), attached: Vec::new() };
    entity::room(ctx.tx.all::<RoleRecord>()?.len(), ROLES, "RolesPerAccount")?;
    if ctx.tx.get::<RoleRecord>(&record.key())?.is_some() {
        let name = record.name();
        return Err(error::entity_already_exists_exception(format!("Role with name {name} already exists.")));
    }
    ctx.tx.put(&record)?;
    Ok(record.shown())
}
