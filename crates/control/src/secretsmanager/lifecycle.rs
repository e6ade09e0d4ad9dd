//! A secret from its creation to its deletion, and back within its recovery window.

use super::find::{self, CURRENT, add_tags, invalid, show_tags};
use super::records::{Deletion, Secret, Version};
use super::versions::{self, Value, optional_value, request_token};
use crate::api::{Ctx, Result};
use quarry_aws::secretsmanager::{
    CreateSecretRequest, CreateSecretResponse, DeleteSecretRequest, DeleteSecretResponse, DescribeSecretRequest,
    DescribeSecretResponse, RestoreSecretRequest, RestoreSecretResponse, UpdateSecretRequest, UpdateSecretResponse,
    error,
};
use quarry_wire::{ServiceError, Timestamp};
use std::collections::BTreeMap;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const RECOVERY_DAYS: i64 = 30;
const SECRETS: usize = 500_000;

/// `CreateSecret`. The same token with the same value again is the same secret.
pub fn create(ctx: &mut Ctx<'_>, input: CreateSecretRequest) -> Result<CreateSecretResponse> {
    let name = input.name.unwrap_or_default();
    check_name(&name)?;
    if input.add_replica_regions.is_some_and(|regions| !regions.is_empty()) {
        return Err(invalid("Replicas in other regions are not supported here."));
    }
    if input.r#type.is_some_and(|kind| !kind.is_empty()) {
        return Err(invalid("Secrets of external partners are not supported here."));
    }
    check_key(input.kms_key_id.as_deref())?;
    let value = optional_value(input.secret_string, input.secret_binary)?;
    let token = request_token(ctx, input.client_request_token)?;
    let mut tags = BTreeMap::new();
    add_tags(&mut tags, input.tags)?;
    if let Some(existing) = ctx.tx.get::<Secret>(&name)? {
        match find::lookup(ctx.platform, ctx.tx, &name)? {
            // Its recovery window has passed: only the purge was not there yet.
            None => find::erase(ctx.tx, &existing)?,
            Some(existing) => return created_before(ctx, existing, &token, value),
        }
    }
    if ctx.tx.all::<Secret>()?.len() >= SECRETS {
        return Err(error::limit_exceeded_exception(format!("You can't have more than {SECRETS} secrets.")));
    }
    let now = ctx.platform.now_ms();
    let arn = ctx.platform.place().arn("secretsmanager", format_args!("secret:{name}-{}", suffix(ctx)));
    let secret = Secret {
        arn: arn.clone(),
        name: name.clone(),
        description: input.description.filter(|text| !text.is_empty()),
        kms_key_id: input.kms_key_id.filter(|key| !key.is_empty()),
        created_ms: now,
        changed_ms: now,
        accessed_ms: None,
        deletion: None,
        tags,
        policy: None,
    };
    ctx.tx.put(&secret)?;
    let version_id = match value {
        Some(value) => {
            versions::add(ctx, &secret, &token, &value, &[CURRENT.to_owned()])?;
            Some(token)
        }
        None => None,
    };
    Ok(CreateSecretResponse { arn: Some(arn), name: Some(name), version_id, replication_status: None })
}

/// `UpdateSecret`: what is not named stays; a value makes a new current version.
pub fn update(ctx: &mut Ctx<'_>, input: UpdateSecretRequest) -> Result<UpdateSecretResponse> {
    let mut secret = find::live(ctx, input.secret_id.as_deref())?;
    check_key(input.kms_key_id.as_deref())?;
    if input.r#type.is_some_and(|kind| !kind.is_empty()) {
        return Err(invalid("Secrets of external partners are not supported here."));
    }
    let value = optional_value(input.secret_string, input.secret_binary)?;
    if let Some(description) = input.description {
        secret.description = Some(description).filter(|text| !text.is_empty());
    }
    if let Some(key) = input.kms_key_id {
        secret.kms_key_id = Some(key).filter(|key| !key.is_empty());
    }
    secret.changed_ms = ctx.platform.now_ms();
    ctx.tx.put(&secret)?;
    let version_id = match value {
        Some(value) => {
            let token = request_token(ctx, input.client_request_token)?;
            versions::add(ctx, &secret, &token, &value, &[CURRENT.to_owned()])?;
            Some(token)
        }
        None => None,
    };
    Ok(UpdateSecretResponse { arn: Some(secret.arn), name: Some(secret.name), version_id })
}

/// `DescribeSecret`: everything but the value.
pub fn describe(ctx: &mut Ctx<'_>, input: DescribeSecretRequest) -> Result<DescribeSecretResponse> {
    let secret = find::any(ctx, input.secret_id.as_deref())?;
    let labelled = ctx.tx.children::<Version>(&secret.arn)?.into_iter().filter(|version| !version.stages.is_empty());
    let stages: BTreeMap<_, _> = labelled.map(|version| (version.id, version.stages)).collect();
    Ok(DescribeSecretResponse {
        arn: Some(secret.arn),
        name: Some(secret.name),
        description: secret.description,
        kms_key_id: secret.kms_key_id,
        created_date: Some(Timestamp::from_millis(secret.created_ms)),
        last_changed_date: Some(Timestamp::from_millis(secret.changed_ms)),
        last_accessed_date: secret.accessed_ms.map(Timestamp::from_millis),
        deleted_date: secret.deletion.map(|deletion| Timestamp::from_millis(deletion.asked_ms)),
        tags: Some(show_tags(&secret.tags)),
        version_ids_to_stages: Some(stages).filter(|stages| !stages.is_empty()),
        ..Default::default()
    })
}

/// `DeleteSecret`: after a recovery window of 7 to 30 days, or at once.
pub fn delete(ctx: &mut Ctx<'_>, input: DeleteSecretRequest) -> Result<DeleteSecretResponse> {
    let force = input.force_delete_without_recovery.unwrap_or(false);
    if force && input.recovery_window_in_days.is_some() {
        return Err(invalid("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."));
    }
    let days = input.recovery_window_in_days.unwrap_or(RECOVERY_DAYS);
    if !(7..=30).contains(&days) {
        return Err(invalid("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."));
    }
    let id = input.secret_id.unwrap_or_default();
    let now = ctx.platform.now_ms();
    let Some(mut secret) = find::lookup(ctx.platform, ctx.tx, &id)? else {
        if !force {
            return Err(find::not_found());
        }
        // A repeated delete of what is gone is no error, so that it can be retried.
        let (arn, name) = if id.starts_with("arn:") {
            (Some(id), None)
        } else {
            let arn = ctx.platform.place().arn("secretsmanager", format_args!("secret:{id}-{}", suffix(ctx)));
            (Some(arn), Some(id))
        };
        return Ok(DeleteSecretResponse { arn, name, deletion_date: Some(Timestamp::from_millis(now)) });
    };
    let due_ms = if force {
        find::erase(ctx.tx, &secret)?;
        now
    } else {
        if secret.deletion.is_some() {
            return Err(error::invalid_request_exception(
                "You can't perform this operation on the secret because it was already scheduled for deletion.",
            ));
        }
        let due_ms = now + days * DAY_MS;
        secret.deletion = Some(Deletion { asked_ms: now, due_ms });
        ctx.tx.put(&secret)?;
        due_ms
    };
    let deletion_date = Some(Timestamp::from_millis(due_ms));
    Ok(DeleteSecretResponse { arn: Some(secret.arn), name: Some(secret.name), deletion_date })
}

/// `RestoreSecret`: no longer scheduled for deletion; no error where it was not.
pub fn restore(ctx: &mut Ctx<'_>, input: RestoreSecretRequest) -> Result<RestoreSecretResponse> {
    let mut secret = find::any(ctx, input.secret_id.as_deref())?;
    secret.deletion = None;
    ctx.tx.put(&secret)?;
    Ok(RestoreSecretResponse { arn: Some(secret.arn), name: Some(secret.name) })
}

/// The name is taken: fine only where this is the request that took it, sent again.
fn created_before(
    ctx: &mut Ctx<'_>,
    existing: Secret,
    token: &str,
    value: Option<Value>,
) -> Result<CreateSecretResponse> {
    if existing.deletion.is_some() {
        return Err(error::invalid_request_exception(
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
        ));
    }
    let same = match (&value, versions::find(ctx.tx, &existing.arn, token)?) {
        (Some(value), Some(version)) => versions::holds(ctx, &version, value)?,
        _ => false,
    };
    if !same {
        return Err(error::resource_exists_exception(format!(
            "The operation failed because the secret {} already exists.",
            existing.name
        )));
    }
    let version_id = Some(token.to_owned());
    Ok(CreateSecretResponse {
        arn: Some(existing.arn),
        name: Some(existing.name),
        version_id,
        replication_status: None,
    })
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@!-".contains(&b)) {
        return Err(ServiceError::new(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
            400,
        ));
    }
    Ok(())
}

/// There is one key here: the service's own, under AWS's name for it.
fn check_key(key: Option<&str>) -> Result<()> {
    match key {
        None | Some("" | "alias/aws/secretsmanager") => Ok(()),
        Some(key) => Err(error::encryption_failure(format!(
            "Secrets Manager can't encrypt the protected secret text using the KMS key {key}: only alias/aws/secretsmanager is available here."
        ))),
    }
}

/// Six random letters and digits.
fn suffix(ctx: &Ctx<'_>) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    super::password::draw(&ctx.platform.door, ALPHABET, 6)
}
