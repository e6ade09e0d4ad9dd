//! The versions of a secret: their values and staging labels.
//!
//! One version at most has a label. The label `AWSCURRENT` is never without a version once there is
//! one, and the version that loses it gets `AWSPREVIOUS`.

use super::find::{self, CURRENT, PREVIOUS, day, invalid};
use super::records::{Secret, Version, version_key};
use crate::api::{Ctx, Result};
use crate::page;
use crate::store::{StoreError, Tx};
use crate::vault::Clear;
use quarry_aws::secretsmanager::{
    GetSecretValueRequest, GetSecretValueResponse, ListSecretVersionIdsRequest, ListSecretVersionIdsResponse,
    PutSecretValueRequest, PutSecretValueResponse, SecretVersionsListEntry, UpdateSecretVersionStageRequest,
    UpdateSecretVersionStageResponse, error,
};
use quarry_wire::{Blob, ServiceError, Timestamp};

/// A value as it came, never printed.
pub struct Value {
    binary: bool,
    bytes: Vec<u8>,
}

/// Labels of one version, as AWS limits them.
const LABELS: usize = 20;
/// Versions without labels that are kept; older ones go once they are a day old.
const DEPRECATED: usize = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const LARGEST: usize = 65_536;

/// `PutSecretValue`: a new version, current unless other labels are named. The same token with the
/// same value again changes nothing.
pub fn put(ctx: &mut Ctx<'_>, input: PutSecretValueRequest) -> Result<PutSecretValueResponse> {
    let mut secret = find::live(ctx, input.secret_id.as_deref())?;
    if input.rotation_token.is_some() {
        return Err(invalid("Rotation is not supported here."));
    }
    let value = optional_value(input.secret_string, input.secret_binary)?
        .ok_or_else(|| error::invalid_request_exception("You must provide either SecretString or SecretBinary."))?;
    let token = request_token(ctx, input.client_request_token)?;
    let stages = input.version_stages.unwrap_or_else(|| vec![CURRENT.to_owned()]);
    if stages.is_empty() {
        return Err(invalid("You must provide at least one staging label."));
    }
    let stages = add(ctx, &secret, &token, &value, &stages)?;
    secret.changed_ms = ctx.platform.now_ms();
    ctx.tx.put(&secret)?;
    Ok(PutSecretValueResponse {
        arn: Some(secret.arn),
        name: Some(secret.name),
        version_id: Some(token),
        version_stages: Some(stages),
    })
}

/// `GetSecretValue`: by version, by label, or the current one.
pub fn get(ctx: &mut Ctx<'_>, input: GetSecretValueRequest) -> Result<GetSecretValueResponse> {
    let secret = find::live(ctx, input.secret_id.as_deref())?;
    let version = select(ctx.tx, &secret, input.version_id.as_deref(), input.version_stage.as_deref())?;
    read(ctx, secret, version)
}

/// `ListSecretVersionIds`: those with labels, or all.
pub fn list(ctx: &mut Ctx<'_>, input: ListSecretVersionIdsRequest) -> Result<ListSecretVersionIdsResponse> {
    let secret = find::any(ctx, input.secret_id.as_deref())?;
    let mut versions = ctx.tx.children::<Version>(&secret.arn)?;
    if !input.include_deprecated.unwrap_or(false) {
        versions.retain(|version| !version.stages.is_empty());
    }
    let size = input.max_results.unwrap_or(100).clamp(1, 100) as usize;
    let (versions, next_token) = page::after(versions, |version| version.id.clone(), input.next_token.as_deref(), size)
        .ok_or_else(|| error::invalid_next_token_exception("The NextToken value is invalid."))?;
    let show = |version: Version| SecretVersionsListEntry {
        version_id: Some(version.id),
        version_stages: Some(version.stages).filter(|stages| !stages.is_empty()),
        created_date: Some(Timestamp::from_millis(version.created_ms)),
        last_accessed_date: version.accessed_ms.map(Timestamp::from_millis),
        kms_key_ids: Some(vec!["DefaultEncryptionKey".into()]),
    };
    Ok(ListSecretVersionIdsResponse {
        arn: Some(secret.arn),
        name: Some(secret.name),
        versions: Some(versions.into_iter().map(show).collect()),
        next_token,
    })
}

/// `UpdateSecretVersionStage`: moves a label, gives it, or takes it.
pub fn update_stage(
    ctx: &mut Ctx<'_>,
    input: UpdateSecretVersionStageRequest,
) -> Result<UpdateSecretVersionStageResponse> {
    let mut secret = find::live(ctx, input.secret_id.as_deref())?;
    let label = input.version_stage.unwrap_or_default();
    let (to, from) = (input.move_to_version_id, input.remove_from_version_id);
    if to.is_none() && from.is_none() {
        return Err(invalid("You must provide MoveToVersionId, RemoveFromVersionId, or both."));
    }
    for id in to.iter().chain(&from) {
        find(ctx.tx, &secret.arn, id)?.ok_or_else(|| no_version(id))?;
    }
    let holder = labelled(ctx.tx, &secret.arn, &label)?.map(|version| version.id);
    if holder.is_some() && from.is_none() && holder != to {
        return Err(invalid(format!(
            "The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently attached to version {}, so you must explicitly reference that version in RemoveFromVersionId.",
            holder.unwrap_or_default()
        )));
    }
    if from.is_some() && holder != from {
        return Err(invalid(format!(
            "Staging label {label} is not currently attached to version {}, so it can't be removed from it.",
            from.unwrap_or_default()
        )));
    }
    match &to {
        Some(to) => attach(ctx.tx, &secret.arn, to, &label)?,
        None if label == CURRENT => {
            return Err(invalid(format!(
                "You can only move staging label {CURRENT} to a different secret version. It can't be completely removed."
            )));
        }
        None => detach(ctx.tx, &secret.arn, &label)?,
    }
    secret.changed_ms = ctx.platform.now_ms();
    ctx.tx.put(&secret)?;
    Ok(UpdateSecretVersionStageResponse { arn: Some(secret.arn), name: Some(secret.name) })
}

/// Adds a version with labels, or finds that it is there already with the same value. Returns the
/// labels that it has.
pub fn add(ctx: &Ctx<'_>, secret: &Secret, id: &str, value: &Value, stages: &[String]) -> Result<Vec<String>> {
    if let Some(existing) = find(ctx.tx, &secret.arn, id)? {
        if !holds(ctx, &existing, value)? {
            return Err(error::resource_exists_exception(format!(
                "You can't use ClientRequestToken {id} because that value is already in use for a version of secret {}.",
                secret.arn
            )));
        }
        return Ok(existing.stages);
    }
    let first = ctx.tx.children::<Version>(&secret.arn)?.is_empty();
    ctx.tx.put(&Version {
        secret_arn: secret.arn.clone(),
        id: id.to_owned(),
        created_ms: ctx.platform.now_ms(),
        accessed_ms: None,
        stages: Vec::new(),
        binary: value.binary,
        value: ctx.platform.vault.seal(&context(&secret.arn, id), &value.bytes),
    })?;
    for stage in stages {
        attach(ctx.tx, &secret.arn, id, stage)?;
    }
    if first {
        attach(ctx.tx, &secret.arn, id, CURRENT)?;
    }
    forget_deprecated(ctx, &secret.arn)?;
    Ok(find(ctx.tx, &secret.arn, id)?.map(|version| version.stages).unwrap_or_default())
}

/// Whether the version has exactly this value.
pub fn holds(ctx: &Ctx<'_>, version: &Version, value: &Value) -> Result<bool> {
    Ok(version.binary == value.binary && open(ctx, version)?.bytes() == value.bytes)
}

pub fn find(tx: &Tx<'_>, secret_arn: &str, id: &str) -> Result<Option<Version>, StoreError> {
    tx.get(&version_key(secret_arn, id))
}

/// The value of a version, and the day of its access written down.
pub fn read(ctx: &Ctx<'_>, mut secret: Secret, mut version: Version) -> Result<GetSecretValueResponse> {
    let value = open(ctx, &version)?;
    let today = Some(day(ctx.platform.now_ms()));
    if secret.accessed_ms != today || version.accessed_ms != today {
        secret.accessed_ms = today;
        version.accessed_ms = today;
        ctx.tx.put(&secret)?;
        ctx.tx.put(&version)?;
    }
    let (secret_string, secret_binary) = if version.binary {
        (None, Some(Blob(value.into_bytes())))
    } else {
        (Some(value.into_text().map_err(|_| undecipherable())?), None)
    };
    Ok(GetSecretValueResponse {
        arn: Some(secret.arn),
        name: Some(secret.name),
        created_date: Some(Timestamp::from_millis(version.created_ms)),
        version_id: Some(version.id),
        version_stages: Some(version.stages).filter(|stages| !stages.is_empty()),
        secret_string,
        secret_binary,
    })
}

/// The text of a secret for a task's environment, read as a caller of `GetSecretValue` would.
pub fn read_for_task(ctx: &mut Ctx<'_>, id: &str, stage: Option<&str>, version: Option<&str>) -> Result<String> {
    let own = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let input =
        GetSecretValueRequest { secret_id: Some(id.to_owned()), version_id: own(version), version_stage: own(stage) };
    let output = get(ctx, input)?;
    output.secret_string.ok_or_else(|| invalid(format!("the secret {id} is binary: it has no SecretString")))
}

/// The version that a request names: its id and label must agree.
pub fn select(tx: &Tx<'_>, secret: &Secret, id: Option<&str>, stage: Option<&str>) -> Result<Version> {
    let no_label = |label: &str| {
        error::resource_not_found_exception(format!(
            "Secrets Manager can't find the specified secret value for staging label: {label}"
        ))
    };
    match (id, stage) {
        (None, stage) => {
            let stage = stage.unwrap_or(CURRENT);
            labelled(tx, &secret.arn, stage)?.ok_or_else(|| no_label(stage))
        }
        (Some(id), stage) => {
            let version = find(tx, &secret.arn, id)?.ok_or_else(|| {
                error::resource_not_found_exception(format!(
                    "Secrets Manager can't find the specified secret value for VersionId: {id}"
                ))
            })?;
            match stage.is_none_or(|stage| version.stages.iter().any(|label| label == stage)) {
                true => Ok(version),
                false => Err(error::invalid_request_exception(
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                )),
            }
        }
    }
}

/// At most one of the two kinds of value.
pub fn optional_value(string: Option<String>, binary: Option<Blob>) -> Result<Option<Value>> {
    let value = match (string, binary) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                "You can't specify both a binary secret value and a string secret value in the same secret.",
            ));
        }
        (None, None) => return Ok(None),
        (Some(text), None) => Value { binary: false, bytes: text.into_bytes() },
        (None, Some(bytes)) => Value { binary: true, bytes: bytes.0 },
    };
    if value.bytes.is_empty() || value.bytes.len() > LARGEST {
        return Err(invalid(format!("The secret value must have from 1 to {LARGEST} bytes.")));
    }
    Ok(Some(value))
}

/// The client's token, or one made for a client that sends none.
pub fn request_token(ctx: &Ctx<'_>, token: Option<String>) -> Result<String> {
    let token = token.unwrap_or_else(|| ctx.platform.door.uuid());
    if !(32..=64).contains(&token.len()) {
        return Err(invalid("ClientRequestToken must be 32-64 characters long."));
    }
    Ok(token)
}

fn open(ctx: &Ctx<'_>, version: &Version) -> Result<Clear> {
    let context = context(&version.secret_arn, &version.id);
    ctx.platform.vault.open_sealed(&context, &version.value).map_err(|_| undecipherable())
}

fn context(secret_arn: &str, id: &str) -> String {
    format!("secretsmanager {secret_arn} {id}")
}

fn labelled(tx: &Tx<'_>, secret_arn: &str, label: &str) -> Result<Option<Version>, StoreError> {
    let versions = tx.children::<Version>(secret_arn)?;
    Ok(versions.into_iter().find(|version| version.stages.iter().any(|stage| stage == label)))
}

/// Gives the label to this version and to no other.
fn attach(tx: &Tx<'_>, secret_arn: &str, id: &str, label: &str) -> Result<()> {
    if let Some(holder) = labelled(tx, secret_arn, label)? {
        if holder.id == id {
            return Ok(());
        }
        detach(tx, secret_arn, label)?;
        if label == CURRENT {
            attach(tx, secret_arn, &holder.id, PREVIOUS)?;
        }
    }
    let mut version = find(tx, secret_arn, id)?.ok_or_else(|| no_version(id))?;
    if label == CURRENT {
        // What is current is not what was before.
        version.stages.retain(|stage| stage != PREVIOUS);
    }
    if version.stages.len() >= LABELS {
        return Err(error::limit_exceeded_exception(format!(
            "You can't attach more than {LABELS} staging labels to a version of a secret."
        )));
    }
    version.stages.push(label.to_owned());
    tx.put(&version)?;
    Ok(())
}

fn detach(tx: &Tx<'_>, secret_arn: &str, label: &str) -> Result<()> {
    if let Some(mut version) = labelled(tx, secret_arn, label)? {
        version.stages.retain(|stage| stage != label);
        tx.put(&version)?;
    }
    Ok(())
}

fn forget_deprecated(ctx: &Ctx<'_>, secret_arn: &str) -> Result<()> {
    let deprecated: Vec<Version> =
        ctx.tx.children::<Version>(secret_arn)?.into_iter().filter(|version| version.stages.is_empty()).collect();
    let young = ctx.platform.now_ms() - DAY_MS;
    let surplus = deprecated.len().saturating_sub(DEPRECATED);
    for version in deprecated.iter().take(surplus).filter(|version| version.created_ms < young) {
        ctx.tx.delete::<Version>(&version_key(secret_arn, &version.id))?;
    }
    Ok(())
}

fn no_version(id: &str) -> ServiceError {
    error::resource_not_found_exception(format!("Secrets Manager can't find the specified secret version: {id}"))
}

fn undecipherable() -> ServiceError {
    error::decryption_failure(
        "Secrets Manager can't decrypt the protected secret text with the key of this installation.",
    )
}
