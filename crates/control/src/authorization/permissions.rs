//! The policies of a role's session or a user, compiled once for each version of IAM's records.

use super::{Acting, Circumstances, Who};
use crate::api::Result;
use crate::iam::{self, Policies};
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use quarry_domain::policy::{Context, Policy, PolicySet, Principal};
use quarry_wire::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// What a role's session or a user may do.
#[derive(Clone, Debug)]
pub struct Permissions {
    pub policies: PolicySet,
    /// ARN of the role; none of a user, or if it is gone.
    role_arn: Option<String>,
    /// Of the role or user, and of the session over them.
    tags: Vec<(String, String)>,
}

/// Permissions by session, for one version of IAM's records.
#[derive(Debug, Default)]
pub struct Cache(Mutex<HashMap<String, (u64, Arc<Permissions>)>>);

/// Sessions that are remembered.
const SESSIONS: usize = 2000;

impl Permissions {
    pub fn role_arn(&self) -> Option<&str> {
        self.role_arn.as_deref()
    }

    pub fn principal(&self, platform: &Platform, acting: &Acting) -> Principal {
        Principal {
            account: platform.place().account.clone(),
            arn: acting.arn.clone(),
            role: self.role_arn.clone(),
            service: None,
        }
    }

    /// The global condition keys of a request (AWS's "AWS global condition context keys"), as far as they are known.
    pub fn context(&self, platform: &Platform, acting: &Acting, circumstances: Circumstances<'_>) -> Context {
        let mut context = Context::default();
        let place = platform.place();
        let now = platform.now_ms();
        context.set("aws:principalarn", self.role_arn.clone().unwrap_or_else(|| acting.arn.clone()));
        context.set("aws:principalaccount", place.account.clone());
        context.set("aws:resourceaccount", place.account.clone());
        context.set("aws:principalisawsservice", "false");
        context.set("aws:userid", acting.user_id.clone());
        context.set("aws:currenttime", Timestamp::from_millis(now).to_string());
        context.set("aws:epochtime", now.div_euclid(1000).to_string());
        match &acting.who {
            Who::Role(_) => {
                context.set("aws:principaltype", "AssumedRole");
                context.set("aws:tokenissuetime", Timestamp::from_millis(acting.issued_ms).to_string());
                context.set("aws:multifactorauthpresent", "false");
            }
            // Of long-term keys the others are not there.
            Who::User(name) => {
                context.set("aws:principaltype", "User");
                context.set("aws:username", name.clone());
            }
        }
        context.set("aws:requestedregion", place.region.clone());
        // The endpoint is on loopback, without TLS.
        context.set("aws:securetransport", "false");
        context.set("aws:viaawsservice", circumstances.via.is_some().to_string());
        if let Some(via) = circumstances.via {
            context.add("aws:calledvia", via);
            context.set("aws:calledviafirst", via);
            context.set("aws:calledvialast", via);
        } else if let Some(source) = circumstances.source {
            context.set("aws:sourceip", source.to_string());
        }
        if let Some(agent) = circumstances.user_agent {
            context.set("aws:useragent", agent);
        }
        for (key, value) in &self.tags {
            context.set(&format!("aws:principaltag/{key}"), value.clone());
        }
        context
    }
}

impl Cache {
    fn get(&self, session: &str, version: u64) -> Option<Arc<Permissions>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(session).filter(|(at, _)| *at == version).map(|(_, permissions)| permissions.clone())
    }

    fn put(&self, session: String, version: u64, permissions: Arc<Permissions>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SESSIONS {
            known.retain(|_, (at, _)| *at == version);
        }
        if known.len() >= SESSIONS {
            known.clear();
        }
        known.insert(session, (version, permissions));
    }
}

/// The permissions of a session or user. Who is gone, or was made again, has none.
pub fn of(platform: &Platform, tx: &Tx<'_>, acting: &Acting) -> Result<Arc<Permissions>, StoreError> {
    // Looked at before the records: what is read then is of this version or a later one.
    let version = platform.store.policies_version();
    // A transaction that changed them itself sees what it wrote, and others do not yet.
    let shared = !tx.wrote_policies();
    let key = format!("{} {} {}", acting.arn, acting.user_id, acting.issued_ms);
    if shared && let Some(known) = platform.permissions.get(&key, version) {
        return Ok(known);
    }
    let permissions = Arc::new(load(tx, acting)?);
    if shared {
        platform.permissions.put(key, version, permissions.clone());
    }
    Ok(permissions)
}

fn load(tx: &Tx<'_>, acting: &Acting) -> Result<Permissions, StoreError> {
    let held = match &acting.who {
        Who::Role(name) => iam::policies_of_role(tx, name)?,
        Who::User(name) => iam::policies_of_user(tx, name)?,
    };
    let Some(Policies { arn, attached, boundary, mut tags, .. }) = held.filter(|held| held.id == acting.id()) else {
        return Ok(Permissions { policies: PolicySet::default(), role_arn: None, tags: Vec::new() });
    };
    tags.retain(|(key, _)| !acting.tags.contains_key(key));
    tags.extend(acting.tags.iter().map(|(key, value)| (key.clone(), value.clone())));
    let session = match &acting.session {
        None => None,
        Some(given) => {
            let mut documents: Vec<String> = given.inline.iter().cloned().collect();
            for arn in &given.managed {
                documents.extend(iam::document_of_policy(tx, arn)?);
            }
            Some(documents.iter().map(|document| compiled(document)).collect())
        }
    };
    let policies = PolicySet {
        identity: attached.iter().map(|one| compiled(&one.document)).collect(),
        boundary: boundary.map(|document| compiled(&document)),
        session,
        resource: None,
        is_trust: false,
    };
    Ok(Permissions { policies, role_arn: acting.role().map(|_| arn), tags })
}

/// A stored document. One that cannot be read denies everything.
pub fn compiled(document: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(document).unwrap_or_else(|error| {
        tracing::error!(%error, "a stored policy cannot be read; it denies everything");
        Policy::deny_all()
    }))
}

/// What the root user may do.
pub fn everything() -> Arc<Policy> {
    static EVERYTHING: LazyLock<Arc<Policy>> =
        LazyLock::new(|| compiled(r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#));
    EVERYTHING.clone()
}
