//! What is stored of secrets and their versions.

use crate::store::Item;
use crate::vault::Sealed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Ends with a hyphen and six random characters.
    pub arn: String,
    pub name: String,
    pub description: Option<String>,
    /// As given; only the service's own key is known.
    pub kms_key_id: Option<String>,
    pub created_ms: i64,
    pub changed_ms: i64,
    /// The start of the day of the last access.
    pub accessed_ms: Option<i64>,
    /// When a delete was asked for, and when it takes place.
    pub deletion: Option<Deletion>,
    pub tags: BTreeMap<String, String>,
    pub policy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    pub asked_ms: i64,
    pub due_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub secret_arn: String,
    /// The client's request token.
    pub id: String,
    pub created_ms: i64,
    /// The start of the day of the last access.
    pub accessed_ms: Option<i64>,
    /// Staging labels; without any the version is deprecated.
    pub stages: Vec<String>,
    /// The value is `SecretBinary`, else `SecretString`.
    pub binary: bool,
    pub value: Sealed,
}

impl Item for Secret {
    const KIND: &'static str = "secretsmanager.secret";
    fn key(&self) -> String {
        self.name.clone()
    }
}

impl Item for Version {
    const KIND: &'static str = "secretsmanager.version";
    fn key(&self) -> String {
        version_key(&self.secret_arn, &self.id)
    }
    fn parent(&self) -> String {
        self.secret_arn.clone()
    }
}

pub fn version_key(secret_arn: &str, id: &str) -> String {
    format!("{secret_arn}#{id}")
}
