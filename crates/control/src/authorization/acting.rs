//! Who calls with credentials that policies bound: a role's session.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A session of a role, as far as its rights go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acting {
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
    pub arn: String,
    /// `<role id>:<session>`: a role that is made again under its name is another one.
    pub user_id: String,
    /// Name of the role.
    pub role: String,
    pub issued_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionPolicies>,
    /// Session tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What a session was bounded to when the role was assumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPolicies {
    /// A document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
    /// ARNs of managed policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed: Vec<String>,
}

impl Acting {
    pub fn role_id(&self) -> &str {
        self.user_id.split_once(':').map_or(&self.user_id, |(role_id, _)| role_id)
    }
}
