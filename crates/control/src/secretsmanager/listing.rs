//! Many secrets at once: `ListSecrets` and `BatchGetSecretValue`, with AWS's filters.

use super::find::{self, invalid, show_tags};
use super::records::{Secret, Version};
use super::versions;
use crate::api::{Ctx, Result};
use crate::authorization;
use crate::page;
use quarry_aws::secretsmanager::{
    APIErrorType, BatchGetSecretValueRequest, BatchGetSecretValueResponse, Filter, ListSecretsRequest,
    ListSecretsResponse, SecretListEntry, SecretValueEntry, error,
};
use quarry_wire::{ServiceError, Timestamp};
use std::collections::BTreeMap;

/// `ListSecrets`: oldest first unless asked otherwise.
pub fn list(ctx: &mut Ctx<'_>, input: ListSecretsRequest) -> Result<ListSecretsResponse> {
    let mut found = filtered(ctx, input.filters.as_deref())?;
    if !input.include_planned_deletion.unwrap_or(false) {
        found.retain(|secret| secret.deletion.is_none());
    }
    match input.sort_by.as_deref() {
        None | Some("created-date") => found.sort_by_key(|secret| secret.created_ms),
        Some("last-changed-date") => found.sort_by_key(|secret| secret.changed_ms),
        Some("last-accessed-date") => found.sort_by_key(|secret| secret.accessed_ms),
        Some("name") => found.sort_by(|a, b| a.name.cmp(&b.name)),
        Some(other) => return Err(invalid(format!("Invalid value for SortBy: {other}"))),
    }
    if input.sort_order.as_deref() == Some("desc") {
        found.reverse();
    }
    let size = input.max_results.unwrap_or(100).clamp(1, 100) as usize;
    let (found, next_token) =
        page::after(found, |secret| secret.arn.clone(), input.next_token.as_deref(), size).ok_or_else(bad_token)?;
    let secret_list = found.into_iter().map(|secret| entry(ctx, secret)).collect::<Result<_>>()?;
    Ok(ListSecretsResponse { secret_list: Some(secret_list), next_token })
}

/// Each of a batch is evaluated as `GetSecretValue` would be.
fn readable(ctx: &Ctx<'_>, secret: Secret) -> Result<Secret> {
    if let Some(acting) = &ctx.caller.acting {
        let action = "secretsmanager:GetSecretValue";
        authorization::may(ctx.platform, ctx.tx, acting, action, &secret.arn)?;
    }
    Ok(secret)
}

/// `BatchGetSecretValue`: the current values of up to 20; those that cannot be had are listed beside.
pub fn batch_get(ctx: &mut Ctx<'_>, input: BatchGetSecretValueRequest) -> Result<BatchGetSecretValueResponse> {
    let ids = input.secret_id_list.unwrap_or_default();
    let filters = input.filters.unwrap_or_default();
    if ids.is_empty() == filters.is_empty() {
        return Err(invalid("Either 'SecretIdList' or 'Filters' must be provided, but not both."));
    }
    if input.max_results.is_some() && filters.is_empty() {
        return Err(invalid(
            "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.",
        ));
    }
    let (ids, next_token) = if filters.is_empty() {
        (ids, None)
    } else {
        let mut found = filtered(ctx, Some(&filters))?;
        found.retain(|secret| secret.deletion.is_none());
        let size = input.max_results.unwrap_or(20).clamp(1, 20) as usize;
        let arns: Vec<String> = found.into_iter().map(|secret| secret.arn).collect();
        page::after(arns, String::clone, input.next_token.as_deref(), size).ok_or_else(bad_token)?
    };
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for id in ids {
        let one = find::live(ctx, Some(&id))
            .and_then(|secret| readable(ctx, secret))
            .and_then(|secret| Ok((versions::select(ctx.tx, &secret, None, None)?, secret)))
            .and_then(|(version, secret)| versions::read(ctx, secret, version));
        match one {
            Ok(value) => values.push(SecretValueEntry {
                arn: value.arn,
                name: value.name,
                created_date: value.created_date,
                secret_binary: value.secret_binary,
                secret_string: value.secret_string,
                version_id: value.version_id,
                version_stages: value.version_stages,
            }),
            Err(error) if error.status < 500 => errors.push(APIErrorType {
                error_code: Some(error.code.to_string()),
                message: Some(error.message),
                secret_id: Some(id),
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(BatchGetSecretValueResponse { secret_values: Some(values), errors: Some(errors), next_token })
}

fn entry(ctx: &Ctx<'_>, secret: Secret) -> Result<SecretListEntry> {
    let labelled = ctx.tx.children::<Version>(&secret.arn)?.into_iter().filter(|version| !version.stages.is_empty());
    let stages: BTreeMap<_, _> = labelled.map(|version| (version.id, version.stages)).collect();
    Ok(SecretListEntry {
        arn: Some(secret.arn),
        name: Some(secret.name),
        description: secret.description,
        kms_key_id: secret.kms_key_id,
        created_date: Some(Timestamp::from_millis(secret.created_ms)),
        last_changed_date: Some(Timestamp::from_millis(secret.changed_ms)),
        last_accessed_date: secret.accessed_ms.map(Timestamp::from_millis),
        deleted_date: secret.deletion.map(|deletion| Timestamp::from_millis(deletion.asked_ms)),
        tags: Some(show_tags(&secret.tags)),
        secret_versions_to_stages: Some(stages).filter(|stages| !stages.is_empty()),
        ..Default::default()
    })
}

/// Those that match every filter, oldest first.
fn filtered(ctx: &Ctx<'_>, filters: Option<&[Filter]>) -> Result<Vec<Secret>> {
    let mut found = find::all(ctx.platform, ctx.tx)?;
    for filter in filters.unwrap_or_default() {
        let key = filter.key.as_deref().ok_or_else(|| invalid("Invalid filter key"))?;
        let values = filter.values.as_deref().filter(|values| !values.is_empty());
        let values = values.ok_or_else(|| invalid(format!("Invalid filter values for key: {key}")))?;
        found.retain(|secret| matches(secret, key, values));
    }
    Ok(found)
}

/// One value must match, and none that is negated by `!`.
fn matches(secret: &Secret, key: &str, values: &[String]) -> bool {
    let (refused, wanted): (Vec<_>, Vec<_>) = values.iter().partition(|value| value.starts_with('!'));
    let hit = |value: &str| has(secret, key, value);
    refused.iter().all(|value| !hit(&value[1..])) && (wanted.is_empty() || wanted.iter().any(|value| hit(value)))
}

/// Names and tags match by their beginning, case by case; texts by the beginning of a word, in any case.
fn has(secret: &Secret, key: &str, value: &str) -> bool {
    let description = secret.description.as_deref().unwrap_or_default();
    match key {
        "name" => secret.name.starts_with(value),
        "description" => words(description, value),
        "tag-key" => secret.tags.keys().any(|tag| tag.starts_with(value)),
        "tag-value" => secret.tags.values().any(|tag| tag.starts_with(value)),
        // Each word of the value is looked for in everything.
        "all" => value.split_whitespace().any(|word| {
            words(&secret.name, word)
                || words(description, word)
                || secret.tags.iter().any(|(key, value)| words(key, word) || words(value, word))
        }),
        // No secret here belongs to another service or region.
        _ => false,
    }
}

fn words(text: &str, beginning: &str) -> bool {
    let (text, beginning) = (text.to_lowercase(), beginning.to_lowercase());
    let starts = text.char_indices().map(|(at, _)| at);
    starts
        .filter(|&at| at == 0 || !text[..at].ends_with(char::is_alphanumeric))
        .any(|at| text[at..].starts_with(&beginning))
}

fn bad_token() -> ServiceError {
    error::invalid_next_token_exception("The NextToken value is invalid.")
}
