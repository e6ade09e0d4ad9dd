//! The versions of managed policies. One of them is in force, the default one.

use super::aws_managed::Managed;
use super::document;
use super::entity::{page, required};
use super::policy::{self, PolicyRecord, Version};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::iam::{
    CreatePolicyVersionRequest, CreatePolicyVersionResponse, DeletePolicyVersionRequest, GetPolicyVersionRequest,
    GetPolicyVersionResponse, ListPolicyVersionsRequest, ListPolicyVersionsResponse, PolicyVersion,
    SetDefaultPolicyVersionRequest, error,
};
use quarry_wire::{Empty, ServiceError, Timestamp};

/// Versions that a policy may have.
const VERSIONS: usize = 5;

pub fn create(ctx: &mut Ctx<'_>, input: CreatePolicyVersionRequest) -> Result<CreatePolicyVersionResponse> {
    let text = required(input.policy_document, "policyDocument")?;
    let mut record = policy::own(ctx, &required(input.policy_arn, "policyArn")?, "CreatePolicyVersion")?;
    policy::check_document(&text)?;
    if record.versions.len() >= VERSIONS {
        return Err(error::limit_exceeded_exception(format!(
            "A managed policy can have up to {VERSIONS} versions. Before you create a new version, you must delete an existing version."
        )));
    }
    let created = ctx.platform.now_ms().div_euclid(1000);
    record.newest += 1;
    let version = Version { number: record.newest, document: text, created };
    record.policy.update_date = Some(Timestamp::from_secs(created));
    if input.set_as_default == Some(true) {
        record.policy.default_version_id = Some(version.id());
    }
    let shown = shown(&record, &version);
    record.versions.push(version);
    ctx.tx.put(&record)?;
    Ok(CreatePolicyVersionResponse { policy_version: Some(shown) })
}

pub fn get(ctx: &mut Ctx<'_>, input: GetPolicyVersionRequest) -> Result<GetPolicyVersionResponse> {
    let arn = required(input.policy_arn, "policyArn")?;
    let id = required(input.version_id, "versionId")?;
    let found = versions(ctx, &arn)?.into_iter().find(|(version, _)| version.version_id.as_ref() == Some(&id));
    let (version, text) = found.ok_or_else(|| missing(&arn, &id))?;
    Ok(GetPolicyVersionResponse {
        policy_version: Some(PolicyVersion { document: Some(document::encoded(&text)), ..version }),
    })
}

/// The newest first. A listing shows no documents.
pub fn list(ctx: &mut Ctx<'_>, input: ListPolicyVersionsRequest) -> Result<ListPolicyVersionsResponse> {
    let versions = versions(ctx, &required(input.policy_arn, "policyArn")?)?;
    let versions = versions.into_iter().map(|(version, _)| version).collect();
    let number = |v: &PolicyVersion| v.version_id.as_deref().and_then(|id| id[1..].parse().ok()).unwrap_or(0u32);
    let newest_first = |v: &PolicyVersion| format!("{:010}", u32::MAX - number(v));
    let page = page(versions, newest_first, input.marker, input.max_items)?;
    Ok(ListPolicyVersionsResponse { versions: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeletePolicyVersionRequest) -> Result<Empty> {
    let id = required(input.version_id, "versionId")?;
    let mut record = policy::own(ctx, &required(input.policy_arn, "policyArn")?, "DeletePolicyVersion")?;
    let at = position(&record, &id)?;
    if record.policy.default_version_id.as_ref() == Some(&id) {
        return Err(error::delete_conflict_exception("Cannot delete the default version of a policy."));
    }
    record.versions.remove(at);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn set_default(ctx: &mut Ctx<'_>, input: SetDefaultPolicyVersionRequest) -> Result<Empty> {
    let id = required(input.version_id, "versionId")?;
    let mut record = policy::own(ctx, &required(input.policy_arn, "policyArn")?, "SetDefaultPolicyVersion")?;
    position(&record, &id)?;
    record.policy.default_version_id = Some(id);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

/// The versions of a policy, the customer's or AWS's, each with its document.
fn versions(ctx: &Ctx<'_>, arn: &str) -> Result<Vec<(PolicyVersion, String)>> {
    if let Some(managed) = Managed::find(arn) {
        let version = PolicyVersion {
            version_id: Some(managed.version_id()),
            is_default_version: Some(true),
            create_date: Some(managed.updated_at()),
            document: None,
        };
        return Ok(vec![(version, managed.document())]);
    }
    let record = policy::find(ctx, arn)?;
    Ok(record.versions.iter().map(|version| (shown(&record, version), version.document.clone())).collect())
}

fn shown(record: &PolicyRecord, version: &Version) -> PolicyVersion {
    let id = version.id();
    PolicyVersion {
        is_default_version: Some(record.policy.default_version_id.as_ref() == Some(&id)),
        version_id: Some(id),
        create_date: Some(Timestamp::from_secs(version.created)),
        document: None,
    }
}

fn position(record: &PolicyRecord, id: &str) -> Result<usize> {
    record.versions.iter().position(|version| version.id() == id).ok_or_else(|| missing(&record.key(), id))
}

fn missing(arn: &str, id: &str) -> ServiceError {
    error::no_such_entity_exception(format!("Policy {arn} version {id} does not exist or is not attachable."))
}
