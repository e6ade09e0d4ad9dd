//! Who calls with credentials that policies bound: a role's session, or a user.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A principal, as far as its rights go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acting {
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`, or the user's.
    pub arn: String,
    /// `<role id>:<session>` or the user's id: who is made again under his name is another one.
    pub user_id: String,
    #[serde(flatten)]
    pub who: Who,
    /// Of a session's credentials.
    pub issued_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionPolicies>,
    /// Session tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Whose policies count, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// A session of this role.
    Role(String),
    /// A user by a key of his own.
    User(String),
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
    pub fn of_user(arn: String, user_id: String, name: String) -> Self {
        Self { arn, user_id, who: Who::User(name), issued_ms: 0, session: None, tags: BTreeMap::new() }
    }

    /// Id of the role or user.
    pub fn id(&self) -> &str {
        self.user_id.split_once(':').map_or(&self.user_id, |(role_id, _)| role_id)
    }

    /// Name of the role that a session is of.
    pub fn role(&self) -> Option<&str> {
        match &self.who {
            Who::Role(name) => Some(name),
            Who::User(_) => None,
        }
    }

    /// Name of the user.
    pub fn user(&self) -> Option<&str> {
        match &self.who {
            Who::User(name) => Some(name),
            Who::Role(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_it_is_is_written_by_name() {
        let user = Acting::of_user("arn:aws:iam::000000000000:user/ada".into(), "AIDAX".into(), "ada".into());
        let text = serde_json::to_string(&user).unwrap();
        assert!(text.contains(r#""user":"ada""#), "{text}");
        assert_eq!(serde_json::from_str::<Acting>(&text).unwrap(), user);
        let session = r#"{"arn":"a","user_id":"AROAX:s","role":"web","issued_ms":1}"#;
        let session: Acting = serde_json::from_str(session).unwrap();
        assert_eq!((session.role(), session.user(), session.id()), (Some("web"), None, "AROAX"));
    }
}
