//! Managed policies: the customer's own, which are kept, and AWS's, which are known by the form of
//! their ARN and can be attached, but whose documents are not here.

use super::document::{self, Use};
use super::entity::{self, name, page, path, required, unique_id};
use super::role::RoleRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::iam::{
    CreatePolicyRequest, CreatePolicyResponse, DeletePolicyRequest, GetPolicyRequest, GetPolicyResponse,
    GetPolicyVersionRequest, GetPolicyVersionResponse, ListPoliciesRequest, ListPoliciesResponse,
    ListPolicyVersionsRequest, ListPolicyVersionsResponse, Policy, PolicyVersion, error,
};
use quarry_wire::{Empty, Timestamp};
use serde::{Deserialize, Serialize};

const AWS_MANAGED: &str = "arn:aws:iam::aws:policy";

/// A customer managed policy. It has one version, `v1`.
#[derive(Serialize, Deserialize)]
pub struct PolicyRecord {
    pub policy: Policy,
    pub document: String,
}

impl Item for PolicyRecord {
    const KIND: &'static str = "iam.policy";
    fn key(&self) -> String {
        self.policy.arn.clone().unwrap_or_default()
    }
}

/// The path in a policy's ARN, `/` at least.
pub fn path_of(arn: &str) -> &str {
    let resource = quarry_domain::arn::resource_part(arn);
    let rest = resource.strip_prefix("policy").unwrap_or(resource);
    rest.rfind('/').map_or("/", |end| &rest[..=end])
}

/// Refuses an ARN of a policy that cannot be attached.
pub fn attachable(ctx: &Ctx<'_>, arn: &str) -> Result<()> {
    if is_aws_managed(arn) || ctx.tx.get::<PolicyRecord>(arn)?.is_some() {
        return Ok(());
    }
    Err(error::no_such_entity_exception(format!("Policy {arn} does not exist or is not attachable.")))
}

pub fn create(ctx: &mut Ctx<'_>, input: CreatePolicyRequest) -> Result<CreatePolicyResponse> {
    let name = name(input.policy_name, "policyName", 128)?;
    let path = path(input.path)?;
    let text = required(input.policy_document, "policyDocument")?;
    document::check(&text, Use::Identity)?;
    let same = |p: &PolicyRecord| p.policy.policy_name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(&name));
    if ctx.tx.all::<PolicyRecord>()?.iter().any(same) {
        return Err(error::entity_already_exists_exception(format!(
            "A policy called {name} already exists. Duplicate names are not allowed."
        )));
    }
    let mut tags = None;
    entity::tag(&mut tags, input.tags.unwrap_or_default())?;
    let now = Timestamp::from_secs(ctx.platform.now_ms().div_euclid(1000));
    let policy = Policy {
        arn: Some(ctx.platform.place().global_arn("iam", format_args!("policy{path}{name}"))),
        policy_id: Some(unique_id(ctx, "ANPA")),
        policy_name: Some(name),
        path: Some(path),
        description: input.description,
        create_date: Some(now),
        update_date: Some(now),
        default_version_id: Some("v1".into()),
        is_attachable: Some(true),
        attachment_count: Some(0),
        permissions_boundary_usage_count: Some(0),
        tags,
    };
    ctx.tx.put(&PolicyRecord { policy: policy.clone(), document: text })?;
    // The answer to a creation has no description, as IAM's.
    Ok(CreatePolicyResponse { policy: Some(Policy { description: None, ..policy }) })
}

pub fn get(ctx: &mut Ctx<'_>, input: GetPolicyRequest) -> Result<GetPolicyResponse> {
    let arn = required(input.policy_arn, "policyArn")?;
    let mut policy = match ctx.tx.get::<PolicyRecord>(&arn)? {
        Some(record) => record.policy,
        None if is_aws_managed(&arn) => Policy {
            policy_name: Some(quarry_domain::arn::short_name(&arn).to_owned()),
            path: Some(path_of(&arn).to_owned()),
            arn: Some(arn.clone()),
            is_attachable: Some(true),
            default_version_id: Some("v1".into()),
            ..Default::default()
        },
        None => return Err(missing(&arn)),
    };
    policy.attachment_count = Some(attachments(ctx, &arn)?);
    Ok(GetPolicyResponse { policy: Some(policy) })
}

pub fn get_version(ctx: &mut Ctx<'_>, input: GetPolicyVersionRequest) -> Result<GetPolicyVersionResponse> {
    let arn = required(input.policy_arn, "policyArn")?;
    let id = required(input.version_id, "versionId")?;
    let record = find(ctx, &arn)?;
    if id != "v1" {
        return Err(error::no_such_entity_exception(format!(
            "Policy {arn} version {id} does not exist or is not attachable."
        )));
    }
    let mut version = version(&record);
    version.document = Some(document::encoded(&record.document));
    Ok(GetPolicyVersionResponse { policy_version: Some(version) })
}

pub fn list_versions(ctx: &mut Ctx<'_>, input: ListPolicyVersionsRequest) -> Result<ListPolicyVersionsResponse> {
    let record = find(ctx, &required(input.policy_arn, "policyArn")?)?;
    let versions = vec![version(&record)];
    let page = page(versions, |v| v.version_id.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListPolicyVersionsResponse { versions: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

/// The customer's policies; of AWS's own those that are attached.
pub fn list(ctx: &mut Ctx<'_>, input: ListPoliciesRequest) -> Result<ListPoliciesResponse> {
    let scope = input.scope.unwrap_or_else(|| "All".into());
    let mut arns = Vec::new();
    if scope != "AWS" {
        arns.extend(ctx.tx.all::<PolicyRecord>()?.iter().map(Item::key));
    }
    if scope != "Local" {
        let attached = ctx.tx.all::<RoleRecord>()?.into_iter().flat_map(|role| role.attached);
        arns.extend(attached.filter(|arn| is_aws_managed(arn)));
    }
    arns.sort();
    arns.dedup();
    let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
    let boundaries_only = input.policy_usage_filter.as_deref() == Some("PermissionsBoundary");
    let mut policies = Vec::new();
    for arn in arns.into_iter().filter(|arn| path_of(arn).starts_with(&prefix) && !boundaries_only) {
        let shown = get(ctx, GetPolicyRequest { policy_arn: Some(arn) })?.policy.unwrap_or_default();
        if input.only_attached != Some(true) || shown.attachment_count != Some(0) {
            // A listing shows neither.
            policies.push(Policy { description: None, tags: None, ..shown });
        }
    }
    let page = page(policies, |p| p.arn.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListPoliciesResponse { policies: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeletePolicyRequest) -> Result<Empty> {
    let arn = required(input.policy_arn, "policyArn")?;
    find(ctx, &arn)?;
    if attachments(ctx, &arn)? > 0 {
        return Err(error::delete_conflict_exception("Cannot delete a policy attached to entities."));
    }
    ctx.tx.delete::<PolicyRecord>(&arn)?;
    Ok(Empty {})
}

fn find(ctx: &Ctx<'_>, arn: &str) -> Result<PolicyRecord> {
    if let Some(record) = ctx.tx.get::<PolicyRecord>(arn)? {
        return Ok(record);
    }
    if is_aws_managed(arn) {
        return Err(error::no_such_entity_exception(format!("The document of {arn} is AWS's and not kept here.")));
    }
    Err(missing(arn))
}

fn missing(arn: &str) -> quarry_wire::ServiceError {
    error::no_such_entity_exception(format!("Policy {arn} was not found."))
}

fn attachments(ctx: &Ctx<'_>, arn: &str) -> Result<i32> {
    let roles = ctx.tx.all::<RoleRecord>()?;
    Ok(roles.iter().filter(|role| role.attached.iter().any(|a| a == arn)).count() as i32)
}

fn version(record: &PolicyRecord) -> PolicyVersion {
    PolicyVersion {
        version_id: Some("v1".into()),
        is_default_version: Some(true),
        create_date: record.policy.create_date,
        document: None,
    }
}

/// Whether an ARN has the form of an AWS managed policy: the paths are those that AWS uses.
fn is_aws_managed(arn: &str) -> bool {
    let Some(rest) = arn.strip_prefix(AWS_MANAGED) else { return false };
    let paths = ["/", "/service-role/", "/job-function/", "/aws-service-role/"];
    let name = paths.iter().filter_map(|path| rest.strip_prefix(path)).find(|name| !name.contains('/'));
    name.is_some_and(|name| {
        (1..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_managed_policies_are_known_by_their_form() {
        for good in ["/AmazonECS_FullAccess", "/service-role/AmazonECSTaskExecutionRolePolicy", "/job-function/Billing"]
        {
            assert!(is_aws_managed(&format!("{AWS_MANAGED}{good}")), "{good}");
        }
        for bad in ["", "/", "/service-role/", "/other/Name", "/a b", "X/y"] {
            assert!(!is_aws_managed(&format!("{AWS_MANAGED}{bad}")), "{bad}");
        }
        assert_eq!(path_of("arn:aws:iam::aws:policy/service-role/X"), "/service-role/");
        assert_eq!(path_of("arn:aws:iam::000000000000:policy/X"), "/");
    }
}
