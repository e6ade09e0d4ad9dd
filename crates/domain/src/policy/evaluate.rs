//! The decision on one action on one resource.

use super::context::Context;
use super::document::{Effect, OneOrNot, Policy, Principals, Statement};
use super::glob::Glob;
use std::sync::Arc;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Twelve digits.
    pub account: String,
    /// Of the user, or of the role's session.
    pub arn: String,
    /// ARN of the role whose session it is.
    pub role: Option<String>,
    /// An AWS service, such as `ecs-tasks.amazonaws.com`, in place of all these.
    pub service: Option<String>,
}

/// What is to be decided on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub principal: &'a Principal,
    /// For example `ecs:RunTask`.
    pub action: &'a str,
    /// An ARN, or `*`.
    pub resource: &'a str,
    pub context: &'a Context,
}

/// The policies that count for a request.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// Of the user or role, inline and managed.
    pub identity: Vec<Arc<Policy>>,
    /// What the identity's policies can allow at most.
    pub boundary: Option<Arc<Policy>>,
    /// What the session can be allowed at most: one of these must allow.
    pub session: Option<Vec<Arc<Policy>>>,
    /// Of the resource, in the principal's own account.
    pub resource: Option<Arc<Policy>>,
    /// The resource is a role that is to be assumed: without its policy nobody is let in.
    pub is_trust: bool,
}

/// Kinds of policies, as refusals name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    Identity,
    Boundary,
    Session,
    Resource,
    Trust,
}

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A statement denies it.
    Explicit(PolicyKind),
    /// No policy of this kind allows it.
    Implicit(PolicyKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    Denied(Denial),
}

/// A statement that applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub effect: Effect,
    /// Its place in the document, from 0.
    pub statement: usize,
    pub sid: Option<String>,
}

/// How exactly a resource's policy names who asks; the order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    /// By the account: its policies decide.
    Account,
    /// By the role, or as everyone: what bounds the session still counts.
    Role,
    /// By user, session or service: no more is needed.
    Exact,
}

impl Denial {
    /// The end of AWS's message ("Troubleshoot access denied error messages"), from `because` or `with` on.
    pub fn reason(self, action: &str) -> String {
        match self {
            Self::Implicit(PolicyKind::Identity) => {
                format!("because no identity-based policy allows the {action} action")
            }
            Self::Implicit(PolicyKind::Boundary) => {
                format!("because no permissions boundary allows the {action} action")
            }
            Self::Implicit(PolicyKind::Session) => format!("because no session policy allows the {action} action"),
            Self::Implicit(PolicyKind::Resource) => {
                format!("because no resource-based policy allows the {action} action")
            }
            Self::Implicit(PolicyKind::Trust) => format!("because no role trust policy allows the {action} action"),
            Self::Explicit(PolicyKind::Identity) => "with an explicit deny in an identity-based policy".to_owned(),
            Self::Explicit(PolicyKind::Boundary) => "with an explicit deny in a permissions boundary".to_owned(),
            Self::Explicit(PolicyKind::Session) => "with an explicit deny in a session policy".to_owned(),
            Self::Explicit(PolicyKind::Resource) => "with an explicit deny in a resource-based policy".to_owned(),
            Self::Explicit(PolicyKind::Trust) => "with an explicit deny in the role trust policy".to_owned(),
        }
    }
}

/// A denial wins over all else; then everything that bounds must allow, and an identity's or the resource's
/// policy must.
pub fn evaluate(request: &Request<'_>, policies: &PolicySet) -> Decision {
    let of_resource = if policies.is_trust { PolicyKind::Trust } else { PolicyKind::Resource };
    let denies = |policy: &Arc<Policy>| says(policy, request, Effect::Deny);
    let explicit = [
        (PolicyKind::Identity, policies.identity.iter().any(denies)),
        (of_resource, policies.resource.as_ref().is_some_and(|policy| denied_by_resource(policy, request))),
        (PolicyKind::Boundary, policies.boundary.as_ref().is_some_and(denies)),
        (PolicyKind::Session, policies.session.iter().flatten().any(denies)),
    ];
    if let Some((kind, _)) = explicit.into_iter().find(|(_, denied)| *denied) {
        return Decision::Denied(Denial::Explicit(kind));
    }
    let granted = policies.resource.as_ref().and_then(|policy| granted_by_resource(policy, request));
    if policies.is_trust && granted.is_none() {
        return Decision::Denied(Denial::Implicit(PolicyKind::Trust));
    }
    if granted == Some(Grade::Exact) {
        return Decision::Allowed;
    }
    if request.principal.service.is_some() {
        return Decision::Denied(Denial::Implicit(of_resource));
    }
    let allows = |policy: &Arc<Policy>| says(policy, request, Effect::Allow);
    if granted != Some(Grade::Role) && !policies.identity.iter().any(allows) {
        return Decision::Denied(Denial::Implicit(PolicyKind::Identity));
    }
    if policies.boundary.as_ref().is_some_and(|policy| !allows(policy)) {
        return Decision::Denied(Denial::Implicit(PolicyKind::Boundary));
    }
    if policies.session.as_ref().is_some_and(|policies| !policies.iter().any(allows)) {
        return Decision::Denied(Denial::Implicit(PolicyKind::Session));
    }
    Decision::Allowed
}

/// The statements of an identity's policy that apply to the request.
pub fn matching(policy: &Policy, request: &Request<'_>) -> Vec<Match> {
    let applying = policy.statements.iter().enumerate().filter(|(_, statement)| applies(statement, request));
    applying
        .map(|(at, statement)| Match { effect: statement.effect, statement: at, sid: statement.sid.clone() })
        .collect()
}

fn says(policy: &Policy, request: &Request<'_>, effect: Effect) -> bool {
    policy.statements.iter().any(|statement| statement.effect == effect && applies(statement, request))
}

/// But for principals.
fn applies(statement: &Statement, request: &Request<'_>) -> bool {
    let action = match &statement.actions {
        OneOrNot::These(globs) => globs.iter().any(|glob| is_action(glob, request)),
        OneOrNot::AllBut(globs) => !globs.iter().any(|glob| is_action(glob, request)),
    };
    let matches = |glob: &Glob| glob.is_everything() || glob.matches_arn(request.resource, request.context);
    action
        && match &statement.resources {
            None => true,
            Some(OneOrNot::These(globs)) => globs.iter().any(matches),
            Some(OneOrNot::AllBut(globs)) => !globs.iter().any(matches),
        }
        && statement.conditions.iter().all(|condition| condition.holds(request.context))
}

fn is_action(glob: &Glob, request: &Request<'_>) -> bool {
    glob.is_everything() || glob.matches_action(request.action)
}

fn denied_by_resource(policy: &Policy, request: &Request<'_>) -> bool {
    policy.statements.iter().any(|statement| {
        statement.effect == Effect::Deny
            && applies(statement, request)
            && match &statement.principals {
                // A statement that names nobody is about everybody.
                None => true,
                // To be left out, it takes the role or session itself, not its account alone.
                Some(named) if named.not => grade(named, request.principal) < Some(Grade::Role),
                Some(named) => grade(named, request.principal).is_some(),
            }
    })
}

fn granted_by_resource(policy: &Policy, request: &Request<'_>) -> Option<Grade> {
    let granting = policy.statements.iter().filter(|statement| statement.effect == Effect::Allow);
    let grades = granting.filter(|statement| applies(statement, request)).filter_map(|statement| {
        let named = statement.principals.as_ref()?;
        match (named.not, grade(named, request.principal)) {
            (false, grade) => grade,
            // Everyone but these: no more than the role is meant.
            (true, None) => Some(Grade::Role),
            (true, Some(_)) => None,
        }
    });
    grades.max()
}

/// How exactly the principal is among these.
fn grade(named: &Principals, principal: &Principal) -> Option<Grade> {
    if let Some(service) = &principal.service {
        return (named.everyone || named.services.contains(service)).then_some(Grade::Exact);
    }
    let account = |name: &String| {
        *name == principal.account
            || name.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"))
                == Some(&principal.account)
    };
    let one = |name: &String| match name {
        name if *name == principal.arn => Some(Grade::Exact),
        name if Some(name) == principal.role.as_ref() => Some(Grade::Role),
        name if account(name) => Some(Grade::Account),
        _ => None,
    };
    let everyone = named.everyone.then_some(Grade::Role);
    named.aws.iter().filter_map(one).chain(everyone).max()
}
