//! Access keys of users. A key's secret is sealed; its answer to CreateAccessKey is the only one that tells it.

use super::entity::{page, required, validation};
use super::user;
use crate::api::{Ctx, Result};
use crate::authorization::Acting;
use crate::platform::Platform;
use crate::store::{Item, StoreError, Tx};
use crate::vault::Sealed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use quarry_aws::iam::{
    AccessKey as Made, AccessKeyLastUsed, AccessKeyMetadata, CreateAccessKeyRequest, CreateAccessKeyResponse,
    DeleteAccessKeyRequest, GetAccessKeyLastUsedRequest, GetAccessKeyLastUsedResponse, ListAccessKeysRequest,
    ListAccessKeysResponse, UpdateAccessKeyRequest, error,
};
use quarry_wire::{Empty, ServiceError, Timestamp};
use serde::{Deserialize, Serialize};

/// Keys that a user may have.
const KEYS: usize = 2;

/// A key of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessKey {
    pub id: String,
    /// His name.
    pub user: String,
    pub active: bool,
    pub created_ms: i64,
    secret: Sealed,
}

impl Item for AccessKey {
    const KIND: &'static str = "iam.access-key";
    fn key(&self) -> String {
        self.id.clone()
    }
}

/// When a key was last used and for what. No record of the keys themselves: what is evaluated does not change with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyUse {
    pub id: String,
    pub at_ms: i64,
    /// As signatures name it.
    pub service: String,
    pub region: String,
}

impl Item for KeyUse {
    const KIND: &'static str = "access-key-use";
    fn key(&self) -> String {
        self.id.clone()
    }
}

/// An active key as requests are checked with it.
pub struct Usable {
    pub secret_access_key: String,
    pub acting: Acting,
}

/// The secret of an active key and whose it is; `None` for one that is unknown, inactive or nobody's any more.
pub fn usable(platform: &Platform, tx: &Tx<'_>, id: &str) -> Result<Option<Usable>, ServiceError> {
    let Some(key) = tx.get::<AccessKey>(id)?.filter(|key| key.active) else { return Ok(None) };
    let Some(user) = user::look(tx, &key.user)? else { return Ok(None) };
    let secret = platform.vault.open_sealed(&context(id), &key.secret);
    let secret = secret.map_err(|error| ServiceError::new("InternalFailure", error.to_string(), 500))?;
    let acting = Acting::of_user(
        user.user.arn.clone().unwrap_or_default(),
        user.user.user_id.clone().unwrap_or_default(),
        key.user,
    );
    let secret_access_key = secret.into_text().unwrap_or_default();
    Ok(Some(Usable { secret_access_key, acting }))
}

/// The keys of a user.
pub fn of(tx: &Tx<'_>, user: &str) -> Result<Vec<AccessKey>, StoreError> {
    let mut keys = tx.all::<AccessKey>()?;
    keys.retain(|key| key.user == user);
    Ok(keys)
}

/// Under which a secret is sealed.
fn context(id: &str) -> String {
    format!("iam access key {id}")
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateAccessKeyRequest) -> Result<CreateAccessKeyResponse> {
    let owner = user::named(ctx, input.user_name)?;
    if of(ctx.tx, owner.name())?.len() >= KEYS {
        return Err(error::limit_exceeded_exception(format!("Cannot exceed quota for AccessKeysPerUser: {KEYS}")));
    }
    let random = |n: usize| {
        let mut bytes = vec![0u8; n];
        ctx.platform.door.entropy.fill(&mut bytes);
        bytes
    };
    let letters: String =
        random(16).iter().map(|byte| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(byte % 32)])).collect();
    let (id, secret) = (format!("AKIA{letters}"), STANDARD_NO_PAD.encode(random(30)));
    let key = AccessKey {
        secret: ctx.platform.vault.seal(&context(&id), secret.as_bytes()),
        id,
        user: owner.name().to_owned(),
        active: true,
        created_ms: ctx.platform.now_ms(),
    };
    ctx.tx.put(&key)?;
    Ok(CreateAccessKeyResponse {
        access_key: Some(Made {
            user_name: Some(key.user.clone()),
            status: Some(status(&key)),
            create_date: Some(created(&key)),
            access_key_id: Some(key.id),
            secret_access_key: Some(secret),
        }),
    })
}

fn status(key: &AccessKey) -> String {
    if key.active { "Active" } else { "Inactive" }.to_owned()
}

fn created(key: &AccessKey) -> Timestamp {
    Timestamp::from_secs(key.created_ms.div_euclid(1000))
}

pub fn list(ctx: &mut Ctx<'_>, input: ListAccessKeysRequest) -> Result<ListAccessKeysResponse> {
    let owner = user::named(ctx, input.user_name)?;
    let shown = of(ctx.tx, owner.name())?.into_iter().map(|key| AccessKeyMetadata {
        user_name: Some(key.user.clone()),
        status: Some(status(&key)),
        create_date: Some(created(&key)),
        access_key_id: Some(key.id),
    });
    let page = page(shown.collect(), |k| k.access_key_id.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListAccessKeysResponse {
        access_key_metadata: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub fn update(ctx: &mut Ctx<'_>, input: UpdateAccessKeyRequest) -> Result<Empty> {
    let owner = user::named(ctx, input.user_name)?;
    let mut key = find(ctx, owner.name(), &required(input.access_key_id, "accessKeyId")?)?;
    key.active = match required(input.status, "status")?.as_str() {
        "Active" => true,
        "Inactive" => false,
        other => return Err(validation(format!("The status {other} cannot be set: it is Active or Inactive."))),
    };
    ctx.tx.put(&key)?;
    Ok(Empty {})
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteAccessKeyRequest) -> Result<Empty> {
    let owner = user::named(ctx, input.user_name)?;
    let key = find(ctx, owner.name(), &required(input.access_key_id, "accessKeyId")?)?;
    ctx.tx.delete::<KeyUse>(&key.id)?;
    ctx.tx.delete::<AccessKey>(&key.id)?;
    Ok(Empty {})
}

/// A key that was never used has `N/A` for service and region, as AWS says it.
pub fn last_used(ctx: &mut Ctx<'_>, input: GetAccessKeyLastUsedRequest) -> Result<GetAccessKeyLastUsedResponse> {
    let id = required(input.access_key_id, "accessKeyId")?;
    let key = ctx.tx.get::<AccessKey>(&id)?.ok_or_else(|| missing(&id))?;
    let used = ctx.tx.get::<KeyUse>(&id)?;
    let (service, region) = used.as_ref().map_or(("N/A", "N/A"), |used| (used.service.as_str(), used.region.as_str()));
    Ok(GetAccessKeyLastUsedResponse {
        user_name: Some(key.user),
        access_key_last_used: Some(AccessKeyLastUsed {
            service_name: Some(service.to_owned()),
            region: Some(region.to_owned()),
            last_used_date: used.as_ref().map(|used| Timestamp::from_secs(used.at_ms.div_euclid(1000))),
        }),
    })
}

fn find(ctx: &Ctx<'_>, user: &str, id: &str) -> Result<AccessKey> {
    ctx.tx.get::<AccessKey>(id)?.filter(|key| key.user == user).ok_or_else(|| missing(id))
}

fn missing(id: &str) -> ServiceError {
    error::no_such_entity_exception(format!("The Access Key with id {id} cannot be found."))
}
