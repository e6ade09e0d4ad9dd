//! Managed policies: the customer's own, which are kept, and those of AWS.

use super::aws_managed::{self, Managed};
use super::document::{self, Use};
use super::entity::{self, name, page, path, required, room, unique_id};
use super::group::GroupRecord;
use super::role::RoleRecord;
use super::user::UserRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::iam::{
    CreatePolicyRequest, CreatePolicyResponse, DeletePolicyRequest, GetPolicyRequest, GetPolicyResponse,
    ListEntitiesForPolicyRequest, ListEntitiesForPolicyResponse, ListPoliciesRequest, ListPoliciesResponse,
    ListPolicyTagsRequest, ListPolicyTagsResponse, Policy, PolicyGroup, PolicyRole, PolicyUser, TagPolicyRequest,
    UntagPolicyRequest, error,
};
use quarry_wire::{Empty, ServiceError, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Customer managed policies of an account.
const POLICIES: usize = 1500;

/// Characters of a document, white space aside.
const CHARACTERS: usize = 6144;

/// A customer managed policy.
#[derive(Clone, Serialize, Deserialize)]
pub struct PolicyRecord {
    pub policy: Policy,
    /// The oldest first; five at most.
    pub versions: Vec<Version>,
    /// Number of the newest version there ever was: numbers are not used again.
    pub newest: u32,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Version {
    pub number: u32,
    pub document: String,
    /// Seconds since 1970.
    pub created: i64,
}

/// How many a policy is attached to, and bounds.
#[derive(Clone, Copy, Default)]
struct Usage {
    permissions: i32,
    boundary: i32,
}

impl Item for PolicyRecord {
    const KIND: &'static str = "iam.policy";
    fn key(&self) -> String {
        self.policy.arn.clone().unwrap_or_default()
    }
}

impl Version {
    pub fn id(&self) -> String {
        format!("v{}", self.number)
    }
}

/// The path in a policy's ARN, `/` at least.
pub fn path_of(arn: &str) -> &str {
    let resource = quarry_domain::arn::resource_part(arn);
    let rest = resource.strip_prefix("policy").unwrap_or(resource);
    rest.rfind('/').map_or("/", |end| &rest[..=end])
}

/// Refuses an ARN of a policy that cannot be attached. `what` is the error's name for the policy.
pub fn attachable(ctx: &Ctx<'_>, arn: &str, what: &str) -> Result<()> {
    if !is_policy_arn(arn) {
        return Err(error::invalid_input_exception(format!("ARN {arn} is not valid.")));
    }
    if exists(ctx, arn)? {
        return Ok(());
    }
    Err(error::no_such_entity_exception(format!("{what} {arn} does not exist or is not attachable.")))
}

pub fn create(ctx: &mut Ctx<'_>, input: CreatePolicyRequest) -> Result<CreatePolicyResponse> {
    let name = name(input.policy_name, "policyName", 128)?;
    let path = path(input.path)?;
    let text = required(input.policy_document, "policyDocument")?;
    check_document(&text)?;
    let same = |p: &PolicyRecord| p.policy.policy_name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(&name));
    let present = ctx.tx.all::<PolicyRecord>()?;
    if present.iter().any(same) {
        return Err(error::entity_already_exists_exception(format!(
            "A policy called {name} already exists. Duplicate names are not allowed."
        )));
    }
    room(present.len(), POLICIES, "PoliciesPerAccount")?;
    let mut tags = None;
    entity::tag(&mut tags, input.tags.unwrap_or_default())?;
    let version = Version { number: 1, document: text, created: ctx.platform.now_ms().div_euclid(1000) };
    let now = Timestamp::from_secs(version.created);
    let policy = Policy {
        arn: Some(ctx.platform.place().global_arn("iam", format_args!("policy{path}{name}"))),
        policy_id: Some(unique_id(ctx, "ANPA")),
        policy_name: Some(name),
        path: Some(path),
        description: input.description,
        create_date: Some(now),
        update_date: Some(now),
        default_version_id: Some(version.id()),
        is_attachable: Some(true),
        attachment_count: Some(0),
        permissions_boundary_usage_count: Some(0),
        tags,
    };
    ctx.tx.put(&PolicyRecord { policy: policy.clone(), newest: version.number, versions: vec![version] })?;
    // The answer to a creation has no description, as IAM's.
    Ok(CreatePolicyResponse { policy: Some(Policy { description: None, ..policy }) })
}

pub fn get(ctx: &mut Ctx<'_>, input: GetPolicyRequest) -> Result<GetPolicyResponse> {
    let arn = required(input.policy_arn, "policyArn")?;
    let policy = match ctx.tx.get::<PolicyRecord>(&arn)? {
        Some(record) => record.policy,
        None => of_aws(&arn).ok_or_else(|| missing(&arn))?,
    };
    let usage = usages(ctx)?.remove(&arn).unwrap_or_default();
    Ok(GetPolicyResponse { policy: Some(counted(policy, usage)) })
}

/// The customer's policies; of AWS's own those whose documents are known and those in use.
pub fn list(ctx: &mut Ctx<'_>, input: ListPoliciesRequest) -> Result<ListPoliciesResponse> {
    let scope = input.scope.as_deref().unwrap_or("All");
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let usages = usages(ctx)?;
    let mut policies = Vec::new();
    if scope != "AWS" {
        policies.extend(ctx.tx.all::<PolicyRecord>()?.into_iter().map(|record| record.policy));
    }
    if scope != "Local" {
        policies.extend(Managed::all().map(Managed::policy));
        let others = usages.keys().filter(|arn| aws_managed::has_form(arn) && Managed::find(arn).is_none());
        policies.extend(others.map(|arn| aws_managed::by_form(arn)));
    }
    let mut shown = Vec::new();
    for policy in policies {
        let usage = usages.get(policy.arn.as_deref().unwrap_or_default()).copied().unwrap_or_default();
        let (wanted, attached) = match input.policy_usage_filter.as_deref() {
            Some("PermissionsBoundary") => (usage.boundary > 0, usage.boundary),
            Some(_) => (usage.boundary == 0 || usage.permissions > 0, usage.permissions),
            None => (true, usage.permissions),
        };
        let under = policy.path.as_deref().is_some_and(|path| path.starts_with(prefix));
        if wanted && under && (input.only_attached != Some(true) || attached > 0) {
            // A listing shows neither.
            shown.push(Policy { description: None, tags: None, ..counted(policy, usage) });
        }
    }
    let page = page(shown, |p| p.arn.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListPoliciesResponse { policies: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

/// The roles, users and groups that hold a policy, and the roles and users that are bounded by it.
pub fn list_entities(ctx: &mut Ctx<'_>, input: ListEntitiesForPolicyRequest) -> Result<ListEntitiesForPolicyResponse> {
    let arn = required(input.policy_arn, "policyArn")?;
    if !exists(ctx, &arn)? {
        return Err(missing(&arn));
    }
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let asked = |kind: &str| input.entity_filter.as_deref().is_none_or(|wanted| wanted == kind);
    let uses = |attached: &[String], boundary: Option<&String>| match input.policy_usage_filter.as_deref() {
        Some("PermissionsBoundary") => boundary == Some(&arn),
        Some(_) => attached.contains(&arn),
        None => attached.contains(&arn) || boundary == Some(&arn),
    };
    let below = |path: &Option<String>| path.as_deref().is_some_and(|path| path.starts_with(prefix));
    let mut entities = Vec::new();
    for record in ctx.tx.all::<RoleRecord>()?.into_iter().filter(|_| asked("Role")) {
        if uses(&record.attached, record.boundary()) && below(&record.role.path) {
            entities.push(Entity::Role(PolicyRole { role_id: record.role.role_id, role_name: record.role.role_name }));
        }
    }
    for record in ctx.tx.all::<UserRecord>()?.into_iter().filter(|_| asked("User")) {
        if uses(&record.attached, record.boundary()) && below(&record.user.path) {
            entities.push(Entity::User(PolicyUser { user_id: record.user.user_id, user_name: record.user.user_name }));
        }
    }
    for record in ctx.tx.all::<GroupRecord>()?.into_iter().filter(|_| asked("Group")) {
        if uses(&record.attached, None) && below(&record.group.path) {
            let GroupRecord { group, .. } = record;
            entities.push(Entity::Group(PolicyGroup { group_id: group.group_id, group_name: group.group_name }));
        }
    }
    let page = page(entities, Entity::key, input.marker, input.max_items)?;
    let (mut roles, mut users, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for entity in page.items {
        match entity {
            Entity::Role(role) => roles.push(role),
            Entity::User(user) => users.push(user),
            Entity::Group(group) => groups.push(group),
        }
    }
    Ok(ListEntitiesForPolicyResponse {
        policy_groups: Some(groups),
        policy_users: Some(users),
        policy_roles: Some(roles),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeletePolicyRequest) -> Result<Empty> {
    let arn = required(input.policy_arn, "policyArn")?;
    let record = own(ctx, &arn, "DeletePolicy")?;
    let usage = usages(ctx)?.remove(&arn).unwrap_or_default();
    if usage.permissions + usage.boundary > 0 {
        return Err(error::delete_conflict_exception("Cannot delete a policy attached to entities."));
    }
    if record.versions.len() > 1 {
        return Err(error::delete_conflict_exception(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
        ));
    }
    ctx.tx.delete::<PolicyRecord>(&arn)?;
    Ok(Empty {})
}

pub fn tag(ctx: &mut Ctx<'_>, input: TagPolicyRequest) -> Result<Empty> {
    let mut record = own(ctx, &required(input.policy_arn, "policyArn")?, "TagPolicy")?;
    entity::tag(&mut record.policy.tags, required(input.tags, "tags")?)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn untag(ctx: &mut Ctx<'_>, input: UntagPolicyRequest) -> Result<Empty> {
    let mut record = own(ctx, &required(input.policy_arn, "policyArn")?, "UntagPolicy")?;
    entity::untag(&mut record.policy.tags, &required(input.tag_keys, "tagKeys")?);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

/// AWS's policies have none.
pub fn list_tags(ctx: &mut Ctx<'_>, input: ListPolicyTagsRequest) -> Result<ListPolicyTagsResponse> {
    let arn = required(input.policy_arn, "policyArn")?;
    let tags = match ctx.tx.get::<PolicyRecord>(&arn)? {
        Some(record) => record.policy.tags.unwrap_or_default(),
        None => of_aws(&arn).ok_or_else(|| missing(&arn))?.tags.unwrap_or_default(),
    };
    let page = page(tags, |tag| tag.key.clone().unwrap_or_default(), input.marker, input.max_items)?;
    Ok(ListPolicyTagsResponse { tags: Some(page.items), is_truncated: page.is_truncated, marker: page.marker })
}

/// A customer managed policy.
pub fn find(ctx: &Ctx<'_>, arn: &str) -> Result<PolicyRecord> {
    if let Some(record) = ctx.tx.get::<PolicyRecord>(arn)? {
        return Ok(record);
    }
    if aws_managed::has_form(arn) {
        return Err(error::no_such_entity_exception(format!("The document of {arn} is AWS's and not kept here.")));
    }
    Err(missing(arn))
}

/// A policy that `action` is to change: AWS's may not be changed by anybody else.
pub fn own(ctx: &Ctx<'_>, arn: &str, action: &str) -> Result<PolicyRecord> {
    if aws_managed::has_form(arn) {
        let message =
            format!("User: {} is not authorized to perform: iam:{action} on resource: policy {arn}", ctx.caller.arn);
        return Err(ServiceError::new("AccessDenied", message, 403));
    }
    find(ctx, arn)
}

/// Refuses a document that is none of a managed policy, or too long a one.
pub fn check_document(text: &str) -> Result<()> {
    document::check(text, Use::Managed)?;
    document::check_size(text, CHARACTERS, "PolicySize")
}

fn of_aws(arn: &str) -> Option<Policy> {
    match Managed::find(arn) {
        Some(managed) => Some(managed.policy()),
        None => aws_managed::has_form(arn).then(|| aws_managed::by_form(arn)),
    }
}

fn exists(ctx: &Ctx<'_>, arn: &str) -> Result<bool> {
    Ok(aws_managed::has_form(arn) || ctx.tx.get::<PolicyRecord>(arn)?.is_some())
}

fn is_policy_arn(arn: &str) -> bool {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    matches!(fields[..], ["arn", _, "iam", "", account, resource] if !account.is_empty() && resource.starts_with("policy/"))
}

fn missing(arn: &str) -> ServiceError {
    error::no_such_entity_exception(format!("Policy {arn} was not found."))
}

fn counted(policy: Policy, usage: Usage) -> Policy {
    Policy {
        attachment_count: Some(usage.permissions),
        permissions_boundary_usage_count: Some(usage.boundary),
        ..policy
    }
}

/// Who holds a policy.
enum Entity {
    Role(PolicyRole),
    User(PolicyUser),
    Group(PolicyGroup),
}

impl Entity {
    fn key(&self) -> String {
        match self {
            Self::Role(role) => format!("role/{}", role.role_name.as_deref().unwrap_or_default()),
            Self::User(user) => format!("user/{}", user.user_name.as_deref().unwrap_or_default()),
            Self::Group(group) => format!("group/{}", group.group_name.as_deref().unwrap_or_default()),
        }
    }
}

/// Of every policy that is in use, by its ARN.
fn usages(ctx: &Ctx<'_>) -> Result<BTreeMap<String, Usage>> {
    let mut usages = BTreeMap::<String, Usage>::new();
    let roles = ctx.tx.all::<RoleRecord>()?.into_iter().map(|role| (role.boundary().cloned(), role.attached));
    let users = ctx.tx.all::<UserRecord>()?.into_iter().map(|user| (user.boundary().cloned(), user.attached));
    let groups = ctx.tx.all::<GroupRecord>()?.into_iter().map(|group| (None, group.attached));
    for (boundary, attached) in roles.chain(users).chain(groups) {
        if let Some(arn) = boundary {
            usages.entry(arn).or_default().boundary += 1;
        }
        for arn in attached {
            usages.entry(arn).or_default().permissions += 1;
        }
    }
    Ok(usages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_and_the_form_of_arns() {
        assert_eq!(path_of("arn:aws:iam::aws:policy/service-role/X"), "/service-role/");
        assert_eq!(path_of("arn:aws:iam::000000000000:policy/X"), "/");
        assert!(is_policy_arn("arn:aws:iam::000000000000:policy/team/X"));
        for bad in ["policy/X", "arn:aws:iam::000000000000:role/X", "arn:aws:s3:::policy/X", "arn:aws:iam:::policy/X"] {
            assert!(!is_policy_arn(bad), "{bad}");
        }
    }
}
