//! Groups: users whom the same policies allow the same. Who is in a group is kept with the users.

use super::attached;
use super::entity::{self, name, page, path, required, unique_id};
use super::user::{self, UserRecord};
use crate::api::{Ctx, Result};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::iam::{
    AddUserToGroupRequest, CreateGroupRequest, CreateGroupResponse, DeleteGroupRequest, GetGroupRequest,
    GetGroupResponse, Group, ListGroupsForUserRequest, ListGroupsForUserResponse, ListGroupsRequest,
    ListGroupsResponse, RemoveUserFromGroupRequest, UpdateGroupRequest, User, error,
};
use quarry_wire::{Empty, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Groups of an account.
const GROUPS: usize = 300;
/// Groups that a user may be in.
const GROUPS_OF_USER: usize = 10;

/// A group with its policies.
#[derive(Clone, Serialize, Deserialize)]
pub struct GroupRecord {
    pub group: Group,
    /// Documents of the inline policies by name.
    pub inline: BTreeMap<String, String>,
    /// ARNs of the managed policies, in the order of attaching.
    pub attached: Vec<String>,
}

impl Item for GroupRecord {
    const KIND: &'static str = "iam.group";
    /// Names are unique whatever their case.
    fn key(&self) -> String {
        self.name().to_ascii_lowercase()
    }
}

impl GroupRecord {
    pub fn name(&self) -> &str {
        self.group.group_name.as_deref().unwrap_or_default()
    }
}

pub fn find(ctx: &Ctx<'_>, name: &str) -> Result<GroupRecord> {
    let found = look(ctx.tx, name)?;
    found.ok_or_else(|| error::no_such_entity_exception(format!("The group with name {name} cannot be found.")))
}

pub fn look(tx: &Tx<'_>, name: &str) -> Result<Option<GroupRecord>, StoreError> {
    Ok(tx.get::<GroupRecord>(&name.to_ascii_lowercase())?.filter(|record| record.name() == name))
}

/// The groups that a user is in, by their names.
pub fn of(tx: &Tx<'_>, user: &UserRecord) -> Result<Vec<GroupRecord>, StoreError> {
    let mut groups = Vec::new();
    for key in &user.groups {
        groups.extend(tx.get::<GroupRecord>(key)?);
    }
    Ok(groups)
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateGroupRequest) -> Result<CreateGroupResponse> {
    let name = name(input.group_name, "groupName", 128)?;
    let path = path(input.path)?;
    entity::room(ctx.tx.all::<GroupRecord>()?.len(), GROUPS, "GroupsPerAccount")?;
    free(ctx, &name)?;
    let group = Group {
        arn: Some(arn(ctx, &path, &name)),
        group_id: Some(unique_id(ctx, "AGPA")),
        create_date: Some(Timestamp::from_secs(ctx.platform.now_ms().div_euclid(1000))),
        group_name: Some(name),
        path: Some(path),
    };
    ctx.tx.put(&GroupRecord { group: group.clone(), inline: BTreeMap::new(), attached: Vec::new() })?;
    Ok(CreateGroupResponse { group: Some(group) })
}

fn arn(ctx: &Ctx<'_>, path: &str, name: &str) -> String {
    ctx.platform.place().global_arn("iam", format_args!("group{path}{name}"))
}

fn free(ctx: &Ctx<'_>, name: &str) -> Result<()> {
    match ctx.tx.get::<GroupRecord>(&name.to_ascii_lowercase())? {
        Some(_) => Err(error::entity_already_exists_exception(format!("Group with name {name} already exists."))),
        None => Ok(()),
    }
}

/// The group and one page of its users.
pub fn get(ctx: &mut Ctx<'_>, input: GetGroupRequest) -> Result<GetGroupResponse> {
    let record = find(ctx, &required(input.group_name, "groupName")?)?;
    // As a listing of users, this one shows neither.
    let shown = |member: UserRecord| User { tags: None, permissions_boundary: None, ..member.user };
    let users = members(ctx.tx, &record.key())?.into_iter().map(shown).collect();
    let page = page(users, |user: &User| user.user_name.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(GetGroupResponse {
        group: Some(record.group),
        users: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

fn members(tx: &Tx<'_>, key: &str) -> Result<Vec<UserRecord>, StoreError> {
    let mut users = tx.all::<UserRecord>()?;
    users.retain(|user| user.groups.contains(key));
    Ok(users)
}

pub fn list(ctx: &mut Ctx<'_>, input: ListGroupsRequest) -> Result<ListGroupsResponse> {
    let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
    let mut groups: Vec<Group> = ctx.tx.all::<GroupRecord>()?.into_iter().map(|record| record.group).collect();
    groups.retain(|group| group.path.as_deref().is_some_and(|path| path.starts_with(&prefix)));
    let page = page(groups, name_of, input.marker, input.max_items)?;
    Ok(ListGroupsResponse { groups: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

pub fn list_for_user(ctx: &mut Ctx<'_>, input: ListGroupsForUserRequest) -> Result<ListGroupsForUserResponse> {
    let user = user::find(ctx, &required(input.user_name, "userName")?)?;
    let groups = of(ctx.tx, &user)?.into_iter().map(|record| record.group).collect();
    let page = page(groups, name_of, input.marker, input.max_items)?;
    Ok(ListGroupsForUserResponse { groups: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

fn name_of(group: &Group) -> String {
    group.group_name.clone().unwrap_or_default()
}

/// A new name or path: its users and policies stay in it.
pub fn update(ctx: &mut Ctx<'_>, input: UpdateGroupRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.group_name, "groupName")?)?;
    let old_key = record.key();
    let new_name = match input.new_group_name {
        Some(new) => name(Some(new), "newGroupName", 128)?,
        None => record.name().to_owned(),
    };
    let new_path = match input.new_path {
        Some(new) => path(Some(new))?,
        None => record.group.path.clone().unwrap_or_else(|| "/".into()),
    };
    let new_key = new_name.to_ascii_lowercase();
    if new_key != old_key {
        free(ctx, &new_name)?;
        for mut member in members(ctx.tx, &old_key)? {
            member.groups.remove(&old_key);
            member.groups.insert(new_key.clone());
            ctx.tx.put(&member)?;
        }
    }
    record.group.arn = Some(arn(ctx, &new_path, &new_name));
    record.group.group_name = Some(new_name);
    record.group.path = Some(new_path);
    ctx.tx.delete::<GroupRecord>(&old_key)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteGroupRequest) -> Result<Empty> {
    let record = find(ctx, &required(input.group_name, "groupName")?)?;
    let members = members(ctx.tx, &record.key())?;
    let in_use = (!members.is_empty()).then_some("must remove users from group first.");
    attached::deletable(in_use, &record.attached, &record.inline)?;
    ctx.tx.delete::<GroupRecord>(&record.key())?;
    Ok(Empty {})
}

/// A user who is in it already stays in it.
pub fn add_user(ctx: &mut Ctx<'_>, input: AddUserToGroupRequest) -> Result<Empty> {
    let group = find(ctx, &required(input.group_name, "groupName")?)?;
    let mut user = user::find(ctx, &required(input.user_name, "userName")?)?;
    if user.groups.contains(&group.key()) {
        return Ok(Empty {});
    }
    entity::room(user.groups.len(), GROUPS_OF_USER, "GroupsPerUser")?;
    user.groups.insert(group.key());
    ctx.tx.put(&user)?;
    Ok(Empty {})
}

/// A user who is not in it is no error, as with AWS.
pub fn remove_user(ctx: &mut Ctx<'_>, input: RemoveUserFromGroupRequest) -> Result<Empty> {
    let group = find(ctx, &required(input.group_name, "groupName")?)?;
    let mut user = user::find(ctx, &required(input.user_name, "userName")?)?;
    if user.groups.remove(&group.key()) {
        ctx.tx.put(&user)?;
    }
    Ok(Empty {})
}
