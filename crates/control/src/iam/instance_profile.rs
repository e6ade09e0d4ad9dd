//! Instance profiles: what hands a role to an instance.

use super::entity::{self, name, page, path, required, unique_id};
use super::role;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::iam::{
    AddRoleToInstanceProfileRequest, CreateInstanceProfileRequest, CreateInstanceProfileResponse,
    DeleteInstanceProfileRequest, GetInstanceProfileRequest, GetInstanceProfileResponse, InstanceProfile,
    ListInstanceProfileTagsRequest, ListInstanceProfileTagsResponse, ListInstanceProfilesForRoleRequest,
    ListInstanceProfilesForRoleResponse, ListInstanceProfilesRequest, ListInstanceProfilesResponse,
    RemoveRoleFromInstanceProfileRequest, TagInstanceProfileRequest, UntagInstanceProfileRequest, error,
};
use quarry_wire::{Empty, Timestamp};
use serde::{Deserialize, Serialize};

/// Instance profiles of an account.
const PROFILES: usize = 1000;

#[derive(Clone, Serialize, Deserialize)]
pub struct ProfileRecord {
    pub profile: InstanceProfile,
    /// Name of the one role that it may hold.
    pub role: Option<String>,
}

impl Item for ProfileRecord {
    const KIND: &'static str = "iam.instance-profile";
    /// Names are unique whatever their case.
    fn key(&self) -> String {
        self.name().to_ascii_lowercase()
    }
}

impl ProfileRecord {
    fn name(&self) -> &str {
        self.profile.instance_profile_name.as_deref().unwrap_or_default()
    }

    fn shown(&self, ctx: &Ctx<'_>) -> Result<InstanceProfile> {
        let roles = match &self.role {
            Some(name) => vec![role::find(ctx, name)?.shown()],
            None => Vec::new(),
        };
        Ok(InstanceProfile { roles: Some(roles), ..self.profile.clone() })
    }
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateInstanceProfileRequest) -> Result<CreateInstanceProfileResponse> {
    let name = name(input.instance_profile_name, "instanceProfileName", 128)?;
    let path = path(input.path)?;
    let mut tags = None;
    entity::tag(&mut tags, input.tags.unwrap_or_default())?;
    let profile = InstanceProfile {
        arn: Some(ctx.platform.place().global_arn("iam", format_args!("instance-profile{path}{name}"))),
        instance_profile_id: Some(unique_id(ctx, "AIPA")),
        create_date: Some(Timestamp::from_secs(ctx.platform.now_ms().div_euclid(1000))),
        instance_profile_name: Some(name),
        path: Some(path),
        roles: Some(Vec::new()),
        tags,
    };
    let record = ProfileRecord { profile, role: None };
    if ctx.tx.get::<ProfileRecord>(&record.key())?.is_some() {
        let name = record.name();
        return Err(error::entity_already_exists_exception(format!("Instance Profile {name} already exists.")));
    }
    entity::room(ctx.tx.all::<ProfileRecord>()?.len(), PROFILES, "InstanceProfilesPerAccount")?;
    ctx.tx.put(&record)?;
    Ok(CreateInstanceProfileResponse { instance_profile: Some(record.profile) })
}

pub fn get(ctx: &mut Ctx<'_>, input: GetInstanceProfileRequest) -> Result<GetInstanceProfileResponse> {
    let record = find(ctx, input.instance_profile_name)?;
    Ok(GetInstanceProfileResponse { instance_profile: Some(record.shown(ctx)?) })
}

pub fn list(ctx: &mut Ctx<'_>, input: ListInstanceProfilesRequest) -> Result<ListInstanceProfilesResponse> {
    let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
    let under = |p: &ProfileRecord| p.profile.path.as_deref().is_some_and(|path| path.starts_with(&prefix));
    let page = page(shown(ctx, under)?, sort_key, input.marker, input.max_items)?;
    Ok(ListInstanceProfilesResponse {
        instance_profiles: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub fn list_for_role(
    ctx: &mut Ctx<'_>,
    input: ListInstanceProfilesForRoleRequest,
) -> Result<ListInstanceProfilesForRoleResponse> {
    let role = role::find(ctx, &required(input.role_name, "roleName")?)?;
    let holding = shown(ctx, |record| record.role.as_deref() == Some(role.name()))?;
    let page = page(holding, sort_key, input.marker, input.max_items)?;
    Ok(ListInstanceProfilesForRoleResponse {
        instance_profiles: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub fn add_role(ctx: &mut Ctx<'_>, input: AddRoleToInstanceProfileRequest) -> Result<Empty> {
    let mut record = find(ctx, input.instance_profile_name)?;
    let role = role::find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    if record.role.is_some() {
        return Err(error::limit_exceeded_exception("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"));
    }
    record.role = role.role.role_name;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn remove_role(ctx: &mut Ctx<'_>, input: RemoveRoleFromInstanceProfileRequest) -> Result<Empty> {
    let mut record = find(ctx, input.instance_profile_name)?;
    let role = required(input.role_name, "roleName")?;
    if record.role.as_deref() != Some(&role) {
        return Err(error::no_such_entity_exception(format!(
            "Role {role} in Instance Profile {} cannot be found.",
            record.name()
        )));
    }
    record.role = None;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteInstanceProfileRequest) -> Result<Empty> {
    let record = find(ctx, input.instance_profile_name)?;
    if record.role.is_some() {
        return Err(error::delete_conflict_exception(
            "Cannot delete entity, must remove roles from instance profile first.",
        ));
    }
    ctx.tx.delete::<ProfileRecord>(&record.key())?;
    Ok(Empty {})
}

pub fn tag(ctx: &mut Ctx<'_>, input: TagInstanceProfileRequest) -> Result<Empty> {
    let mut record = find(ctx, input.instance_profile_name)?;
    entity::tag(&mut record.profile.tags, required(input.tags, "tags")?)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn untag(ctx: &mut Ctx<'_>, input: UntagInstanceProfileRequest) -> Result<Empty> {
    let mut record = find(ctx, input.instance_profile_name)?;
    entity::untag(&mut record.profile.tags, &required(input.tag_keys, "tagKeys")?);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list_tags(ctx: &mut Ctx<'_>, input: ListInstanceProfileTagsRequest) -> Result<ListInstanceProfileTagsResponse> {
    let tags = find(ctx, input.instance_profile_name)?.profile.tags.unwrap_or_default();
    let page = page(tags, |tag| tag.key.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListInstanceProfileTagsResponse { tags: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

fn find(ctx: &Ctx<'_>, name: Option<String>) -> Result<ProfileRecord> {
    let name = required(name, "instanceProfileName")?;
    let found = ctx.tx.get::<ProfileRecord>(&name.to_ascii_lowercase())?.filter(|record| record.name() == name);
    found.ok_or_else(|| error::no_such_entity_exception(format!("Instance Profile {name} cannot be found.")))
}

fn shown(ctx: &Ctx<'_>, which: impl Fn(&ProfileRecord) -> bool) -> Result<Vec<InstanceProfile>> {
    ctx.tx.all::<ProfileRecord>()?.iter().filter(|record| which(record)).map(|record| record.shown(ctx)).collect()
}

fn sort_key(profile: &InstanceProfile) -> String {
    profile.instance_profile_name.clone().unwrap_or_default()
}
