//! The policy simulator: what policies would decide, without a call.

use super::entity::{page, required, validation};
use super::lookup::{self, Attached};
use crate::api::{Ctx, Result};
use quarry_aws::iam::{
    ContextEntry, EvaluationResult, GetContextKeysForCustomPolicyRequest, GetContextKeysForPolicyResponse,
    GetContextKeysForPrincipalPolicyRequest, PermissionsBoundaryDecisionDetail, SimulateCustomPolicyRequest,
    SimulatePolicyResponse, SimulatePrincipalPolicyRequest, Statement, error,
};
use quarry_domain::arn::{resource_part, short_name};
use quarry_domain::policy::{
    Context, Decision, Denial, Effect, Policy, PolicyKind, PolicySet, Principal, Request, evaluate, matching,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is simulated.
#[derive(Default)]
struct Simulation {
    identity: Vec<Attached>,
    boundary: Vec<String>,
    resource_policy: Option<String>,
    actions: Vec<String>,
    resources: Vec<String>,
    context: Context,
    principal: Principal,
}

/// The policies of a role, user or group, and those of the request over them.
pub fn principal(ctx: &mut Ctx<'_>, input: SimulatePrincipalPolicyRequest) -> Result<SimulatePolicyResponse> {
    let arn = required(input.policy_source_arn, "policySourceArn")?;
    let mut held = policies(ctx, &arn)?;
    held.attached.extend(given("PolicyInputList", input.policy_input_list));
    let boundary = match input.permissions_boundary_policy_input_list {
        Some(boundary) if !boundary.is_empty() => boundary,
        _ => held.boundary.into_iter().collect(),
    };
    let mut context = context(input.context_entries);
    for (key, value) in held.tags {
        let key = format!("aws:principaltag/{key}").to_ascii_lowercase();
        if context.get(&key).is_none() {
            context.set(&key, value);
        }
    }
    let simulation = Simulation {
        identity: held.attached,
        boundary,
        resource_policy: input.resource_policy,
        actions: required(input.action_names, "actionNames")?,
        resources: input.resource_arns.unwrap_or_default(),
        context,
        principal: principal_of(ctx, input.caller_arn.unwrap_or(arn)),
    };
    respond(simulation, input.marker, input.max_items)
}

/// The policies of the request alone.
pub fn custom(ctx: &mut Ctx<'_>, input: SimulateCustomPolicyRequest) -> Result<SimulatePolicyResponse> {
    let caller = input.caller_arn.unwrap_or_else(|| ctx.platform.place().global_arn("iam", "user/simulated"));
    let simulation = Simulation {
        identity: given("PolicyInputList", Some(required(input.policy_input_list, "policyInputList")?)),
        boundary: input.permissions_boundary_policy_input_list.unwrap_or_default(),
        resource_policy: input.resource_policy,
        actions: required(input.action_names, "actionNames")?,
        resources: input.resource_arns.unwrap_or_default(),
        context: context(input.context_entries),
        principal: principal_of(ctx, caller),
    };
    respond(simulation, input.marker, input.max_items)
}

pub fn keys_of_custom(
    _: &mut Ctx<'_>,
    input: GetContextKeysForCustomPolicyRequest,
) -> Result<GetContextKeysForPolicyResponse> {
    keys(given("PolicyInputList", Some(required(input.policy_input_list, "policyInputList")?)))
}

pub fn keys_of_principal(
    ctx: &mut Ctx<'_>,
    input: GetContextKeysForPrincipalPolicyRequest,
) -> Result<GetContextKeysForPolicyResponse> {
    let mut attached = policies(ctx, &required(input.policy_source_arn, "policySourceArn")?)?.attached;
    attached.extend(given("PolicyInputList", input.policy_input_list));
    keys(attached)
}

fn keys(attached: Vec<Attached>) -> Result<GetContextKeysForPolicyResponse> {
    let mut names = BTreeSet::new();
    for one in attached {
        names.extend(parsed(&one.document)?.keys().map(str::to_owned));
    }
    Ok(GetContextKeysForPolicyResponse { context_key_names: Some(names.into_iter().collect()) })
}

/// Roles, users and groups have policies.
fn policies(ctx: &Ctx<'_>, arn: &str) -> Result<lookup::Policies> {
    let found = match resource_part(arn).split('/').next() {
        Some("role") => lookup::policies_of_role(ctx.tx, short_name(arn))?,
        Some("user") => lookup::policies_of_user(ctx.tx, short_name(arn))?,
        Some("group") => lookup::policies_of_group(ctx.tx, short_name(arn))?,
        _ => None,
    };
    found
        .filter(|found| found.arn == arn)
        .ok_or_else(|| error::no_such_entity_exception(format!("{arn} does not exist.")))
}

fn given(list: &str, documents: Option<Vec<String>>) -> Vec<Attached> {
    let numbered = documents.unwrap_or_default().into_iter().enumerate();
    numbered.map(|(at, document)| Attached { id: format!("{list}.{}", at + 1), document }).collect()
}

fn context(entries: Option<Vec<ContextEntry>>) -> Context {
    let mut context = Context::default();
    for entry in entries.unwrap_or_default() {
        context.set_all(&entry.context_key_name.unwrap_or_default(), entry.context_key_values.unwrap_or_default());
    }
    context
}

fn principal_of(ctx: &Ctx<'_>, arn: String) -> Principal {
    let role = resource_part(&arn).starts_with("role/").then(|| arn.clone());
    Principal { account: ctx.platform.place().account.clone(), arn, role, service: None }
}

fn respond(simulation: Simulation, marker: Option<String>, max_items: Option<i32>) -> Result<SimulatePolicyResponse> {
    let results = simulation.run()?;
    let numbered: Vec<(usize, EvaluationResult)> = results.into_iter().enumerate().collect();
    let page = page(numbered, |(at, _)| format!("{at:08}"), marker, max_items)?;
    Ok(SimulatePolicyResponse {
        evaluation_results: Some(page.items.into_iter().map(|(_, result)| result).collect()),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

impl Simulation {
    fn run(self) -> Result<Vec<EvaluationResult>> {
        let identity: Vec<(String, Arc<Policy>)> =
            self.identity.iter().map(|one| Ok((one.id.clone(), parsed(&one.document)?))).collect::<Result<_>>()?;
        let boundary = match &self.boundary[..] {
            [] => None,
            [one] => Some(parsed(one)?),
            _ => return Err(validation("A permissions boundary is one policy.")),
        };
        let resource = self.resource_policy.as_deref().map(parsed).transpose()?;
        let policies = PolicySet {
            identity: identity.iter().map(|(_, policy)| policy.clone()).collect(),
            boundary,
            session: None,
            resource,
            is_trust: false,
        };
        let everywhere = vec!["*".to_owned()];
        let resources = if self.resources.is_empty() { &everywhere } else { &self.resources };
        let mut results = Vec::new();
        for action in &self.actions {
            let named = action.split_once(':').filter(|(service, name)| !service.is_empty() && !name.is_empty());
            if named.is_none() {
                return Err(error::invalid_input_exception(format!("{action} is not the name of an action.")));
            }
            for resource in resources {
                let request = Request { principal: &self.principal, action, resource, context: &self.context };
                results.push(result(&request, &identity, &policies));
            }
        }
        Ok(results)
    }
}

fn result(request: &Request<'_>, identity: &[(String, Arc<Policy>)], policies: &PolicySet) -> EvaluationResult {
    let decision = evaluate(request, policies);
    let said = match decision {
        Decision::Allowed => "allowed",
        Decision::Denied(Denial::Explicit(_)) => "explicitDeny",
        Decision::Denied(Denial::Implicit(_)) => "implicitDeny",
    };
    // What decided: denials where it is denied, else what allows.
    let counts = match decision {
        Decision::Denied(Denial::Explicit(_)) => Effect::Deny,
        _ => Effect::Allow,
    };
    let matched = identity.iter().flat_map(|(id, policy)| {
        let statements = matching(policy, request).into_iter().filter(|found| found.effect == counts);
        statements.map(|_| Statement {
            source_policy_id: Some(id.clone()),
            source_policy_type: Some("IAM Policy".into()),
            ..Default::default()
        })
    });
    let asked: BTreeSet<&str> = identity.iter().flat_map(|(_, policy)| policy.keys()).collect();
    let missing = asked.into_iter().filter(|key| request.context.get(key).is_none()).map(str::to_owned);
    let bounded = policies.boundary.is_some().then_some(PermissionsBoundaryDecisionDetail {
        allowed_by_permissions_boundary: Some(!matches!(
            decision,
            Decision::Denied(Denial::Explicit(PolicyKind::Boundary) | Denial::Implicit(PolicyKind::Boundary))
        )),
    });
    EvaluationResult {
        eval_action_name: Some(request.action.to_owned()),
        eval_resource_name: Some(request.resource.to_owned()),
        eval_decision: Some(said.into()),
        matched_statements: Some(matched.collect()),
        missing_context_values: Some(missing.collect()),
        permissions_boundary_decision_detail: bounded,
        ..Default::default()
    }
}

fn parsed(document: &str) -> Result<Arc<Policy>> {
    let policy = Policy::parse(document);
    policy.map(Arc::new).map_err(|reason| error::invalid_input_exception(format!("The policy is not valid: {reason}")))
}
