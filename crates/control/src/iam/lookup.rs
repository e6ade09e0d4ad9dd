//! What the evaluation of policies reads of IAM's records.

use super::aws_managed::Managed;
use super::group::{self, GroupRecord};
use super::instance_profile::ProfileRecord;
use super::policy::PolicyRecord;
use super::role::RoleRecord;
use super::user;
use crate::store::{Item, StoreError, Tx};
use quarry_aws::iam::Tag;
use quarry_domain::arn::{resource_part, short_name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a role, a user or a group may do, as documents.
#[derive(Debug)]
pub struct Policies {
    pub arn: String,
    /// `AROA…`, `AIDA…` or `AGPA…`.
    pub id: String,
    /// Inline and managed, a user's with those of his groups. A managed policy of AWS whose document is not here allows nothing.
    pub attached: Vec<Attached>,
    pub boundary: Option<String>,
    pub tags: Vec<(String, String)>,
}

/// A policy of a role, user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// As the simulator names it: `role_<role>_<policy>`, `user_<user>_<policy>`, `group_<group>_<policy>`, or the name of a managed policy.
    pub id: String,
    pub document: String,
}

/// When a role was last used. No record of the roles themselves: what is evaluated does not change with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoleUse {
    pub role_id: String,
    pub at_ms: i64,
}

impl Item for RoleUse {
    const KIND: &'static str = "role-use";
    fn key(&self) -> String {
        self.role_id.clone()
    }
}

/// Denies everything: in place of a boundary whose document is not here.
const NOTHING: &str = r#"{"Statement":[]}"#;

pub fn policies_of_role(tx: &Tx<'_>, name: &str) -> Result<Option<Policies>, StoreError> {
    let Some(record) = find(tx, name)? else { return Ok(None) };
    Ok(Some(Policies {
        attached: attached(tx, &format!("role_{}", record.name()), &record.inline, &record.attached)?,
        boundary: bounding(tx, record.boundary())?,
        arn: record.role.arn.unwrap_or_default(),
        id: record.role.role_id.unwrap_or_default(),
        tags: pairs(record.role.tags),
    }))
}

/// A user's own policies, and those of the groups he is in.
pub fn policies_of_user(tx: &Tx<'_>, name: &str) -> Result<Option<Policies>, StoreError> {
    let Some(record) = user::look(tx, name)? else { return Ok(None) };
    let mut held = attached(tx, &format!("user_{}", record.name()), &record.inline, &record.attached)?;
    for group in group::of(tx, &record)? {
        for policy in of_group(tx, &group)? {
            // A managed policy that came before is the same one.
            if !held.contains(&policy) {
                held.push(policy);
            }
        }
    }
    Ok(Some(Policies {
        attached: held,
        boundary: bounding(tx, record.boundary())?,
        arn: record.user.arn.unwrap_or_default(),
        id: record.user.user_id.unwrap_or_default(),
        tags: pairs(record.user.tags),
    }))
}

pub fn policies_of_group(tx: &Tx<'_>, name: &str) -> Result<Option<Policies>, StoreError> {
    let Some(record) = group::look(tx, name)? else { return Ok(None) };
    Ok(Some(Policies {
        attached: of_group(tx, &record)?,
        boundary: None,
        arn: record.group.arn.unwrap_or_default(),
        id: record.group.group_id.unwrap_or_default(),
        tags: Vec::new(),
    }))
}

fn of_group(tx: &Tx<'_>, record: &GroupRecord) -> Result<Vec<Attached>, StoreError> {
    attached(tx, &format!("group_{}", record.name()), &record.inline, &record.attached)
}

/// Inline and managed policies. `whose`: how ids of inline ones begin.
fn attached(
    tx: &Tx<'_>,
    whose: &str,
    inline: &BTreeMap<String, String>,
    arns: &[String],
) -> Result<Vec<Attached>, StoreError> {
    let inline = inline
        .iter()
        .map(|(policy, document)| Attached { id: format!("{whose}_{policy}"), document: document.clone() });
    let mut attached: Vec<Attached> = inline.collect();
    for arn in arns {
        let document = document_of_policy(tx, arn)?;
        attached.extend(document.map(|document| Attached { id: short_name(arn).to_owned(), document }));
    }
    Ok(attached)
}

fn bounding(tx: &Tx<'_>, boundary: Option<&String>) -> Result<Option<String>, StoreError> {
    let Some(arn) = boundary else { return Ok(None) };
    Ok(Some(document_of_policy(tx, arn)?.unwrap_or_else(|| NOTHING.to_owned())))
}

fn pairs(tags: Option<Vec<Tag>>) -> Vec<(String, String)> {
    let tags = tags.unwrap_or_default();
    tags.into_iter().filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

/// The document of a managed policy's default version.
pub fn document_of_policy(tx: &Tx<'_>, arn: &str) -> Result<Option<String>, StoreError> {
    if let Some(managed) = Managed::find(arn) {
        return Ok(Some(managed.document()));
    }
    let Some(record) = tx.get::<PolicyRecord>(arn)? else { return Ok(None) };
    let default = record.policy.default_version_id;
    Ok(record.versions.into_iter().find(|version| Some(version.id()) == default).map(|version| version.document))
}

/// `/team/api` of a role with this name.
pub fn role_path(tx: &Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    Ok(find(tx, name)?.and_then(|record| path(&record.role.arn?, "role")))
}

/// `/team/ada` of a user with this name.
pub fn user_path(tx: &Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    Ok(user::look(tx, name)?.and_then(|record| path(&record.user.arn?, "user")))
}

/// `/team/admins` of a group with this name.
pub fn group_path(tx: &Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    Ok(group::look(tx, name)?.and_then(|record| path(&record.group.arn?, "group")))
}

/// `/team/web` of an instance profile with this name.
pub fn profile_path(tx: &Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    let record: Option<ProfileRecord> = tx.get(&name.to_ascii_lowercase())?;
    Ok(record.and_then(|record| path(&record.profile.arn?, "instance-profile")))
}

/// ARN of the role in an instance profile.
pub fn profile_role(tx: &Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    let record: Option<ProfileRecord> = tx.get(&name.to_ascii_lowercase())?;
    let Some(role) = record.and_then(|record| record.role) else { return Ok(None) };
    Ok(find(tx, &role)?.and_then(|record| record.role.arn))
}

/// ARN of a role's permissions boundary.
pub fn boundary(tx: &Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    Ok(find(tx, name)?.and_then(|record| record.boundary().cloned()))
}

/// ARN of a user's permissions boundary.
pub fn user_boundary(tx: &Tx<'_>, name: &str) -> Result<Option<String>, StoreError> {
    Ok(user::look(tx, name)?.and_then(|record| record.boundary().cloned()))
}

fn find(tx: &Tx<'_>, name: &str) -> Result<Option<RoleRecord>, StoreError> {
    Ok(tx.get::<RoleRecord>(&name.to_ascii_lowercase())?.filter(|record| record.name() == name))
}

fn path(arn: &str, kind: &str) -> Option<String> {
    resource_part(arn).strip_prefix(kind).map(str::to_owned)
}
