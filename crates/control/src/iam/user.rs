//! Users: who works with the account by keys of his own. The account itself, whose key the installation made, is none.

use super::access_key::{self, AccessKey};
use super::attached;
use super::entity::{self, name, page, path, required, unique_id, validation};
use super::role::boundary;
use crate::api::{Ctx, Result};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::iam::{
    CreateUserRequest, CreateUserResponse, DeleteUserPermissionsBoundaryRequest, DeleteUserRequest, GetUserRequest,
    GetUserResponse, ListUserTagsRequest, ListUserTagsResponse, ListUsersRequest, ListUsersResponse,
    PutUserPermissionsBoundaryRequest, TagUserRequest, UntagUserRequest, UpdateUserRequest, User, error,
};
use quarry_wire::{Empty, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

/// Users of an account.
const USERS: usize = 5000;

/// A user with his policies.
#[derive(Clone, Serialize, Deserialize)]
pub struct UserRecord {
    pub user: User,
    /// Documents of the inline policies by name.
    pub inline: BTreeMap<String, String>,
    /// ARNs of the managed policies, in the order of attaching.
    pub attached: Vec<String>,
    /// Keys of the groups he is in.
    #[serde(default)]
    pub groups: BTreeSet<String>,
}

impl Item for UserRecord {
    const KIND: &'static str = "iam.user";
    /// Names are unique whatever their case.
    fn key(&self) -> String {
        self.name().to_ascii_lowercase()
    }
}

impl UserRecord {
    pub fn name(&self) -> &str {
        self.user.user_name.as_deref().unwrap_or_default()
    }

    /// ARN of the policy that bounds what the others allow.
    pub fn boundary(&self) -> Option<&String> {
        self.user.permissions_boundary.as_ref()?.permissions_boundary_arn.as_ref()
    }
}

pub fn find(ctx: &Ctx<'_>, name: &str) -> Result<UserRecord> {
    let found = look(ctx.tx, name)?;
    found.ok_or_else(|| error::no_such_entity_exception(format!("The user with name {name} cannot be found.")))
}

pub fn look(tx: &Tx<'_>, name: &str) -> Result<Option<UserRecord>, StoreError> {
    Ok(tx.get::<UserRecord>(&name.to_ascii_lowercase())?.filter(|record| record.name() == name))
}

/// The user that a request names, or else the one who asks.
pub fn named(ctx: &Ctx<'_>, name: Option<String>) -> Result<UserRecord> {
    let own = || ctx.caller.acting.as_ref().and_then(|acting| acting.user().map(str::to_owned));
    match name.or_else(own) {
        Some(name) => find(ctx, &name),
        None => Err(validation("Must specify userName when calling with non-User credentials")),
    }
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateUserRequest) -> Result<CreateUserResponse> {
    let name = name(input.user_name, "userName", 64)?;
    let path = path(input.path)?;
    let mut tags = None;
    entity::tag(&mut tags, input.tags.unwrap_or_default())?;
    let permissions_boundary = input.permissions_boundary.map(|arn| boundary(ctx, arn)).transpose()?;
    entity::room(ctx.tx.all::<UserRecord>()?.len(), USERS, "UsersPerAccount")?;
    free(ctx, &name)?;
    let user = User {
        arn: Some(arn(ctx, &path, &name)),
        user_id: Some(unique_id(ctx, "AIDA")),
        create_date: Some(Timestamp::from_secs(ctx.platform.now_ms().div_euclid(1000))),
        user_name: Some(name),
        path: Some(path),
        permissions_boundary,
        tags: tags.filter(|tags| !tags.is_empty()),
        ..Default::default()
    };
    let record = UserRecord { user, inline: BTreeMap::new(), attached: Vec::new(), groups: BTreeSet::new() };
    ctx.tx.put(&record)?;
    Ok(CreateUserResponse { user: Some(record.user) })
}

fn arn(ctx: &Ctx<'_>, path: &str, name: &str) -> String {
    ctx.platform.place().global_arn("iam", format_args!("user{path}{name}"))
}

fn free(ctx: &Ctx<'_>, name: &str) -> Result<()> {
    match ctx.tx.get::<UserRecord>(&name.to_ascii_lowercase())? {
        Some(_) => Err(error::entity_already_exists_exception(format!("User with name {name} already exists."))),
        None => Ok(()),
    }
}

/// Without a name, the caller: a user, or the account itself.
pub fn get(ctx: &mut Ctx<'_>, input: GetUserRequest) -> Result<GetUserResponse> {
    if input.user_name.is_some() || ctx.caller.acting.is_some() {
        return Ok(GetUserResponse { user: Some(named(ctx, input.user_name)?.user) });
    }
    let place = ctx.platform.place();
    Ok(GetUserResponse {
        user: Some(User {
            arn: Some(place.global_arn("iam", "root")),
            user_id: Some(place.account.clone()),
            user_name: Some("root".into()),
            path: Some("/".into()),
            create_date: installed_at(ctx),
            ..Default::default()
        }),
    })
}

/// When the data directory was made, as far as the file system knows.
fn installed_at(ctx: &Ctx<'_>) -> Option<Timestamp> {
    let metadata = std::fs::metadata(&ctx.platform.config.data_dir).ok()?;
    let at = metadata.created().or_else(|_| metadata.modified()).ok()?;
    Some(Timestamp::from_secs(at.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64))
}

pub fn list(ctx: &mut Ctx<'_>, input: ListUsersRequest) -> Result<ListUsersResponse> {
    let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
    let mut users: Vec<User> = ctx.tx.all::<UserRecord>()?.into_iter().map(|record| record.user).collect();
    users.retain(|user| user.path.as_deref().is_some_and(|path| path.starts_with(&prefix)));
    for user in &mut users {
        // A listing shows neither.
        user.tags = None;
        user.permissions_boundary = None;
    }
    let page = page(users, |user| user.user_name.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListUsersResponse { users: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

/// A new name or path: his keys and policies go with him.
pub fn update(ctx: &mut Ctx<'_>, input: UpdateUserRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.user_name, "userName")?)?;
    let (old_key, old_name) = (record.key(), record.name().to_owned());
    let new_name = match input.new_user_name {
        Some(new) => name(Some(new), "newUserName", 64)?,
        None => old_name.clone(),
    };
    let new_path = match input.new_path {
        Some(new) => path(Some(new))?,
        None => record.user.path.clone().unwrap_or_else(|| "/".into()),
    };
    if new_name.to_ascii_lowercase() != old_key {
        free(ctx, &new_name)?;
    }
    for mut key in access_key::of(ctx.tx, &old_name)? {
        key.user.clone_from(&new_name);
        ctx.tx.put(&key)?;
    }
    record.user.arn = Some(arn(ctx, &new_path, &new_name));
    record.user.user_name = Some(new_name);
    record.user.path = Some(new_path);
    ctx.tx.delete::<UserRecord>(&old_key)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteUserRequest) -> Result<Empty> {
    let record = find(ctx, &required(input.user_name, "userName")?)?;
    let keys: Vec<AccessKey> = access_key::of(ctx.tx, record.name())?;
    let in_use = match (record.groups.is_empty(), keys.is_empty()) {
        (false, _) => Some("must remove users from group first."),
        (true, false) => Some("must delete access keys first."),
        (true, true) => None,
    };
    attached::deletable(in_use, &record.attached, &record.inline)?;
    ctx.tx.delete::<UserRecord>(&record.key())?;
    Ok(Empty {})
}

pub fn put_boundary(ctx: &mut Ctx<'_>, input: PutUserPermissionsBoundaryRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.user_name, "userName")?)?;
    record.user.permissions_boundary =
        Some(boundary(ctx, required(input.permissions_boundary, "permissionsBoundary")?)?);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

/// A user without a boundary stays so.
pub fn delete_boundary(ctx: &mut Ctx<'_>, input: DeleteUserPermissionsBoundaryRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.user_name, "userName")?)?;
    record.user.permissions_boundary = None;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn tag(ctx: &mut Ctx<'_>, input: TagUserRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.user_name, "userName")?)?;
    entity::tag(&mut record.user.tags, required(input.tags, "tags")?)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn untag(ctx: &mut Ctx<'_>, input: UntagUserRequest) -> Result<Empty> {
    let mut record = find(ctx, &required(input.user_name, "userName")?)?;
    entity::untag(&mut record.user.tags, &required(input.tag_keys, "tagKeys")?);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list_tags(ctx: &mut Ctx<'_>, input: ListUserTagsRequest) -> Result<ListUserTagsResponse> {
    let record = find(ctx, &required(input.user_name, "userName")?)?;
    let tags = record.user.tags.unwrap_or_default();
    let page = page(tags, |tag| tag.key.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListUserTagsResponse { tags: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}
