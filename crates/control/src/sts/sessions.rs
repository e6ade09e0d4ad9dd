//! Sessions: a role's temporary credentials, stored until they expire.

use crate::api::{Ctx, Result};
use crate::authorization::{Acting, SessionPolicies, Who};
use crate::store::Item;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use quarry_aws::iam;
use quarry_domain::arn::{resource_part, short_name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One session. Its secrets are not printable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
    pub arn: String,
    /// `<role id>:<session>`.
    pub user_id: String,
    pub expires_at_ms: i64,
    #[serde(default)]
    pub issued_ms: i64,
    #[serde(default)]
    pub bounds: Bounds,
}

/// What an AssumeRole gave a session beside its role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    pub policies: Option<SessionPolicies>,
    pub tags: BTreeMap<String, String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("access_key_id", &self.access_key_id)
            .field("arn", &self.arn)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// As which its rights are evaluated.
    pub fn acting(&self) -> Acting {
        Acting {
            arn: self.arn.clone(),
            user_id: self.user_id.clone(),
            who: Who::Role(resource_part(&self.arn).split('/').nth(1).unwrap_or_default().to_owned()),
            issued_ms: self.issued_ms,
            session: self.bounds.policies.clone(),
            tags: self.bounds.tags.clone(),
        }
    }
}

impl Item for Session {
    const KIND: &'static str = "sts.session";
    fn key(&self) -> String {
        self.access_key_id.clone()
    }
}

/// Makes and stores credentials of a role for `seconds`, and forgets those that have expired.
pub fn issue(ctx: &Ctx<'_>, role: &iam::Role, session_name: &str, seconds: i64, bounds: Bounds) -> Result<Session> {
    let now = ctx.platform.now_ms();
    for old in ctx.tx.all::<Session>()?.iter().filter(|old| old.expires_at_ms <= now) {
        ctx.tx.delete::<Session>(&old.access_key_id)?;
    }
    let role_name = role.role_name.clone().unwrap_or_else(|| short_name(role.arn.as_deref().unwrap_or("")).to_owned());
    let random = |n: usize| {
        let mut bytes = vec![0u8; n];
        ctx.platform.door.entropy.fill(&mut bytes);
        bytes
    };
    let letters: String =
        random(16).iter().map(|byte| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(byte % 32)])).collect();
    let session = Session {
        access_key_id: format!("ASIA{letters}"),
        secret_access_key: STANDARD_NO_PAD.encode(random(30)),
        session_token: STANDARD.encode(random(96)),
        arn: ctx.platform.place().global_arn("sts", format_args!("assumed-role/{role_name}/{session_name}")),
        user_id: format!("{}:{session_name}", role.role_id.as_deref().unwrap_or_default()),
        expires_at_ms: now + seconds * 1000,
        issued_ms: now,
        bounds,
    };
    ctx.tx.put(&session)?;
    Ok(session)
}
