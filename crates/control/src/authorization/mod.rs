//! Whether a call may be done: IAM's policies, evaluated on every API call of a role's or user's credentials.
//!
//! What an operation asks for is a row of `models/actions.toml`; the decision is `domain::policy`'s. The account's root
//! user, whose key the installation made, may do everything, and so may the platform's own work.

mod acting;
mod ask;
pub mod names;
mod permissions;
mod resource;
mod table;

#[cfg(test)]
mod tests;

pub use acting::{Acting, SessionPolicies, Who};
pub use ask::{Asked, Call};
pub use permissions::{Cache, Permissions, of as permissions};
pub use table::Actions;

use crate::api::Result;
use crate::platform::Platform;
use crate::store::Tx;
use quarry_domain::policy::{Context, Decision, Denial, PolicySet, Principal, Request, evaluate};
use quarry_wire::{Protocol, ServiceError, ServiceModel};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is known of a call beside its input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    pub source: Option<IpAddr>,
    pub user_agent: Option<&'a str>,
    /// The service that calls on behalf of the principal, such as `cloudformation.amazonaws.com`.
    pub via: Option<&'a str>,
}

/// Actions on a user that are on the caller where no user is named.
const OF_THE_CALLER: [&str; 5] =
    ["iam:CreateAccessKey", "iam:DeleteAccessKey", "iam:GetUser", "iam:ListAccessKeys", "iam:UpdateAccessKey"];

/// Refuses a call that the principal's policies do not allow, with the service's own error.
pub fn check(
    platform: &Platform,
    tx: &Tx<'_>,
    acting: &Acting,
    call: &Call<'_>,
    circumstances: Circumstances<'_>,
) -> Result<()> {
    let Some(asked) = ask::asked(platform, tx, call)? else { return Ok(()) };
    let permissions = permissions::of(platform, tx, acting)?;
    for mut one in asked {
        if one.resource == "*" && acting.user().is_some() && OF_THE_CALLER.contains(&&*one.action) {
            one.resource.clone_from(&acting.arn);
        }
        let decided = decide(platform, tx, acting, &permissions, &one, circumstances)?;
        if let Decision::Denied(denial) = decided {
            return Err(refusal(call.service, call.protocol, acting, &one, denial));
        }
    }
    Ok(())
}

/// Whether the principal may do this on a resource, for what is no operation of its own: the message of the refusal.
pub fn may(
    platform: &Platform,
    tx: &Tx<'_>,
    acting: &Acting,
    action: &str,
    resource: &str,
) -> Result<(), ServiceError> {
    let permissions = permissions::of(platform, tx, acting)?;
    let one = Asked::new(action, resource);
    match decide(platform, tx, acting, &permissions, &one, Circumstances::default())? {
        Decision::Allowed => Ok(()),
        Decision::Denied(denial) => {
            Err(ServiceError::new("AccessDeniedException", message(&acting.arn, &one, denial), 400))
        }
    }
}

/// A role that is to be assumed.
#[derive(Clone, Copy, Debug)]
pub struct Assumed<'a> {
    /// `sts:AssumeRole` or `sts:TagSession`.
    pub action: &'a str,
    pub role_arn: &'a str,
    /// Its trust policy.
    pub trust: &'a str,
    /// Condition keys of STS.
    pub keys: &'a [(&'a str, String)],
    /// Session tags.
    pub tags: &'a BTreeMap<String, String>,
}

/// Whether a caller may assume a role by its trust policy and his own; `None` stands for the root user.
pub fn may_assume(
    platform: &Platform,
    tx: &Tx<'_>,
    caller: Option<&Acting>,
    assumed: &Assumed<'_>,
) -> Result<Decision> {
    let mut one = Asked::new(assumed.action, assumed.role_arn);
    one.keys.extend(assumed.keys.iter().map(|(key, value)| ((*key).to_owned(), vec![value.clone()])));
    one.keys.extend(assumed.tags.iter().map(|(key, value)| (format!("aws:requesttag/{key}"), vec![value.clone()])));
    if !assumed.tags.is_empty() {
        one.keys.push(("aws:tagkeys".to_owned(), assumed.tags.keys().cloned().collect()));
    }
    let trust = permissions::compiled(assumed.trust);
    let account = &platform.place().account;
    let (principal, mut policies, mut context) = match caller {
        Some(acting) => {
            let permissions = permissions::of(platform, tx, acting)?;
            let principal = permissions.principal(platform, acting);
            (principal, permissions.policies.clone(), permissions.context(platform, acting, Circumstances::default()))
        }
        None => {
            let arn = platform.place().global_arn("iam", "root");
            let principal = Principal { account: account.clone(), arn: arn.clone(), ..Default::default() };
            let mut context = Context::default();
            context.set("aws:principalarn", arn);
            context.set("aws:principalaccount", account.clone());
            context.set("aws:principaltype", "Account");
            context.set("aws:securetransport", "false");
            (principal, PolicySet { identity: vec![permissions::everything()], ..Default::default() }, context)
        }
    };
    policies.resource = Some(trust);
    policies.is_trust = true;
    one.add_to(&mut context);
    let request = Request { principal: &principal, action: &one.action, resource: &one.resource, context: &context };
    Ok(evaluate(&request, &policies))
}

/// Whether an AWS service may assume a role for a resource of the account.
pub fn service_may_assume(platform: &Platform, service: &str, role_arn: &str, trust: &str, source_arn: &str) -> bool {
    let principal = Principal { service: Some(service.to_owned()), ..Default::default() };
    let mut context = Context::default();
    context.set("aws:sourceaccount", platform.place().account.clone());
    context.set("aws:sourcearn", source_arn);
    context.set("aws:principalisawsservice", "true");
    context.set("aws:principalservicename", service);
    context.set("aws:currenttime", quarry_wire::Timestamp::from_millis(platform.now_ms()).to_string());
    let policies = PolicySet { resource: Some(permissions::compiled(trust)), is_trust: true, ..Default::default() };
    let request = Request { principal: &principal, action: "sts:AssumeRole", resource: role_arn, context: &context };
    evaluate(&request, &policies) == Decision::Allowed
}

fn decide(
    platform: &Platform,
    tx: &Tx<'_>,
    acting: &Acting,
    permissions: &Permissions,
    one: &Asked,
    circumstances: Circumstances<'_>,
) -> Result<Decision> {
    let mut context = permissions.context(platform, acting, circumstances);
    one.add_to(&mut context);
    let mut policies = permissions.policies.clone();
    policies.resource = resource::policy(tx, &one.resource)?;
    let asks = |prefix: &str| {
        let all = policies.identity.iter().chain(&policies.boundary).chain(policies.session.iter().flatten());
        all.chain(&policies.resource).any(|policy| policy.asks_for(prefix))
    };
    let service = one.action.split(':').next().unwrap_or_default();
    if asks("aws:resourcetag/") || asks(&format!("{service}:resourcetag/")) {
        for (key, value) in resource::tags(tx, &one.resource)? {
            context.set(&format!("aws:resourcetag/{key}"), value.clone());
            context.set(&format!("{service}:resourcetag/{key}"), value);
        }
    }
    let principal = permissions.principal(platform, acting);
    let request = Request { principal: &principal, action: &one.action, resource: &one.resource, context: &context };
    Ok(evaluate(&request, &policies))
}

/// AWS's words ("Troubleshoot access denied error messages").
pub fn message(principal_arn: &str, one: &Asked, denial: Denial) -> String {
    let Asked { action, resource, .. } = one;
    format!(
        "User: {principal_arn} is not authorized to perform: {action} on resource: {resource} {}",
        denial.reason(action)
    )
}

/// In the way of the service: EC2 has a code of its own, services of the Query protocol say `AccessDenied` with
/// status 403, those of JSON `AccessDeniedException` with status 400, of restJson1 with 403.
fn refusal(service: &ServiceModel, protocol: Protocol, acting: &Acting, one: &Asked, denial: Denial) -> ServiceError {
    let message = message(&acting.arn, one, denial);
    let speaks = |wanted| service.protocols.contains(&wanted);
    match () {
        () if speaks(Protocol::Ec2) => {
            let message = format!("You are not authorized to perform this operation. {message}");
            ServiceError::new("UnauthorizedOperation", message, 403)
        }
        () if protocol == Protocol::Query || speaks(Protocol::Query) => ServiceError::new("AccessDenied", message, 403),
        () if protocol == Protocol::RestJson => ServiceError::new("AccessDeniedException", message, 403),
        () => ServiceError::new("AccessDeniedException", message, 400),
    }
}
