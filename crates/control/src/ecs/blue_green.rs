//! Blue/green deployments: how they begin, and what is seen of them. What is done then is decided by
//! `quarry_domain::service::blue_green`.

use super::deployment_records::{BlueGreen, DeploymentStatus, HookRun, HookStatus, ServiceDeployment, ShiftRule};
use super::deployments::revision_arn;
use super::records::{Service, Task, target_group};
use crate::api::{Ctx, Result};
use crate::cut;
use crate::elbv2::weights;
use crate::store::{StoreError, Tx};
use quarry_aws::ecs as aws;
use quarry_aws::ecs::error;
use quarry_domain::service::Rollout;
use quarry_domain::service::blue_green::{Color, Goal, Hook, Kind, Shift, Stage, Traffic};
use quarry_wire::ServiceError;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Minutes that a hook of a stage may take altogether, unless it says otherwise.
const HOOK_MINUTES: i64 = 24 * 60;

pub fn is_blue_green(configuration: Option<&aws::DeploymentConfiguration>) -> bool {
    configuration.and_then(|configuration| configuration.strategy.as_deref()) == Some("BLUE_GREEN")
}

/// Settles which target groups the service's new primary deployment registers its tasks with, and with the strategy
/// BLUE_GREEN what it begins with. Blue is what has the production traffic.
pub fn begin(ctx: &mut Ctx<'_>, service: &mut Service, deployment: &mut ServiceDeployment) -> Result<()> {
    let balancers: Vec<Balanced> = service.load_balancers().iter().filter_map(Balanced::of).collect();
    if !is_blue_green(Some(&deployment.configuration)) {
        // As the rule says, where a blue/green deployment has ever moved it.
        if let Ok(Some(alternate)) = side(ctx.tx, &balancers) {
            set_side(service, alternate);
        }
        return Ok(());
    }
    if service.config.scheduling_strategy.as_deref() == Some("DAEMON") {
        return Err(invalid(
            "The deployment strategy BLUE_GREEN is not for services with the scheduling strategy DAEMON.",
        ));
    }
    if service.config.service_registries.as_ref().is_some_and(|registries| !registries.is_empty()) {
        return Err(invalid(
            "The deployment strategy BLUE_GREEN is not for services with serviceRegistries: names would lead to both revisions.",
        ));
    }
    cut::rule::guard_service(ctx.tx, &service.arn, error::invalid_parameter_exception)?;
    let running = cut::rule::running(ctx.tx)?;
    for rule in balancers.iter().flat_map(Balanced::rules) {
        if let Some(cut) = running.iter().find(|cut| cut.rule.arn == rule) {
            return Err(invalid(format!("The listener rule {rule} is owned by {}: finish or abort it.", cut.id)));
        }
        if let Some(other) = owner_of_rule(ctx.tx, rule)?.filter(|other| *other != service.arn) {
            return Err(invalid(format!("The listener rule {rule} is part of a blue/green deployment of {other}.")));
        }
    }
    let at = side(ctx.tx, &balancers)?;
    let green = deployment.target.clone();
    let before = service.deployments.iter().filter(|d| d.id != green);
    let serving: Vec<_> = before.filter(|d| at.is_none_or(|alternate| d.alternate == alternate)).collect();
    let completed = serving.iter().rev().find(|d| d.rollout == Rollout::Completed).or(serving.last());
    let blue = completed.map(|d| d.id.clone());
    if blue.is_none() && service.deployments.len() > 1 {
        return Err(invalid(
            "The production listener rule does not send its requests to the running service revision. Set its weights first.",
        ));
    }
    let tasks = ctx.tx.owned::<Task>(&service.arn)?;
    let unfinished = tasks.iter().any(|task| task.service.as_ref().is_some_and(|(_, id)| Some(id) != blue.as_ref()));
    let serving = at.unwrap_or(false);
    set_side(service, if blue.is_some() && at.is_some() { !serving } else { serving });
    let (start, now) = (if blue.is_some() { Color::Blue } else { Color::Green }, ctx.platform.now_ms());
    let mut rules = Vec::new();
    for balancer in balancers {
        let group = |alternate: bool| if alternate { &balancer.alternate } else { &balancer.primary };
        let (own, other) = (group(serving).clone(), group(!serving).clone());
        let (blue_group, green_group) = if blue.is_some() { (own, other) } else { (other, own) };
        for (test, arn) in [(false, Some(&balancer.production)), (true, balancer.test.as_ref())] {
            let Some(arn) = arn else { continue };
            let rule = ShiftRule {
                rule: arn.clone(),
                test,
                blue_group: blue_group.clone(),
                green_group: green_group.clone(),
                at: start,
                weights: BTreeMap::new(),
            };
            rules.push(ShiftRule { weights: rule.to(start), ..rule });
        }
    }
    for rule in &rules {
        // Both groups are the rule's from now on, so that green's targets are checked before they serve.
        weights::set(ctx, &rule.rule, &rule.weights).map_err(|error| match error.status {
            500.. => error,
            _ => invalid(format!("The listener rule {} cannot be used: {}", rule.rule, error.message)),
        })?;
    }
    let mut shift = BlueGreen {
        stage: if unfinished { Stage::ReconcileService } else { Stage::PreScaleUp },
        stage_since_ms: now,
        goal: Goal::Forward,
        blue,
        green,
        hooks: Vec::new(),
        rules,
    };
    enter(ctx, &mut shift, &deployment.configuration, None);
    deployment.shift = Some(shift);
    service.steady = false;
    Ok(())
}

/// Its tasks go by another deployment from now on.
pub fn leave(deployment: &mut ServiceDeployment) {
    if let Some(shift) = &mut deployment.shift {
        shift.goal = Goal::Done;
    }
}

/// Enters a stage, or the present one anew: its hooks are to be asked.
pub fn enter(ctx: &Ctx<'_>, shift: &mut BlueGreen, configuration: &aws::DeploymentConfiguration, stage: Option<Stage>) {
    let now = ctx.platform.now_ms();
    shift.stage = stage.unwrap_or(shift.stage);
    shift.stage_since_ms = now;
    let hooks = configuration.lifecycle_hooks.as_deref().unwrap_or_default().iter().enumerate();
    let of_stage = |(_, hook): &(usize, &aws::DeploymentLifecycleHook)| {
        hook.lifecycle_stages.iter().flatten().any(|stage| stage == shift.stage.as_str())
    };
    let run = |(index, hook): (usize, &aws::DeploymentLifecycleHook)| {
        let minutes = hook.timeout_configuration.as_ref().and_then(|timeout| timeout.timeout_in_minutes);
        HookRun {
            id: ctx.platform.door.uuid(),
            index,
            status: HookStatus::InProgress,
            reason: None,
            not_before_ms: now,
            expires_ms: now + minutes.map_or(HOOK_MINUTES, i64::from) * 60_000,
            details: None,
        }
    };
    shift.hooks = hooks.filter(of_stage).map(run).collect();
}

/// What the planner is told, and when (in ms since the epoch) that changes by itself. `asking`: hooks that are being
/// asked right now, by their ids.
pub fn seen(
    tx: &Tx<'_>,
    deployment: &ServiceDeployment,
    now: i64,
    asking: impl Fn(&str) -> bool,
) -> Result<Option<(Shift, Option<i64>)>, StoreError> {
    let Some(shift) = deployment.shifting() else { return Ok(None) };
    let configuration = &deployment.configuration;
    let mut due = Vec::new();
    let hooks = shift.hooks.iter().map(|hook| match hook.status {
        HookStatus::Succeeded => Hook::Succeeded,
        HookStatus::Failed | HookStatus::TimedOut => Hook::Failed(hook.reason.clone().unwrap_or_default()),
        HookStatus::InProgress if now >= hook.expires_ms => match timeout_action(configuration, hook) {
            "CONTINUE" => Hook::Succeeded,
            _ => Hook::Failed(format!("the lifecycle hook {} timed out", target(configuration, hook))),
        },
        HookStatus::InProgress => {
            due.push(hook.expires_ms);
            let waits = now < hook.not_before_ms;
            if waits {
                due.push(hook.not_before_ms);
            }
            if waits || asking(&hook.id) { Hook::Waiting } else { Hook::Due }
        }
    });
    let hooks = hooks.collect();
    let bake = i64::from(configuration.bake_time_in_minutes.unwrap_or(0)) * 60_000;
    let baked = now >= shift.stage_since_ms + bake;
    if shift.stage == Stage::BakeTime && !baked {
        due.push(shift.stage_since_ms + bake);
    }
    let seen = Shift {
        stage: shift.stage,
        goal: shift.goal,
        blue: shift.blue.clone(),
        green: shift.green.clone(),
        hooks,
        production: traffic(tx, shift, Kind::Production)?,
        test: traffic(tx, shift, Kind::Test)?,
        baked,
    };
    let due = due.into_iter().min().filter(|_| matches!(shift.goal, Goal::Forward | Goal::Back));
    Ok(Some((seen, due)))
}

/// Where the rules of a kind send requests now, against how we left them.
fn traffic(tx: &Tx<'_>, shift: &BlueGreen, kind: Kind) -> Result<Traffic, StoreError> {
    let (mut at, mut foreign, mut blue, mut green) = (None, None, false, false);
    for rule in shift.rules.iter().filter(|rule| rule.test == (kind == Kind::Test)) {
        let weights = weights::of(tx, &rule.rule)?.unwrap_or_default();
        let some = |group: &str| weights.get(group).is_some_and(|weight| *weight > 0);
        (blue, green) = (blue || some(&rule.blue_group), green || some(&rule.green_group));
        at = Some(rule.at);
        if weights != rule.weights {
            foreign = Some(rule.rule.clone());
        }
    }
    Ok(match (foreign, at) {
        (Some(what), _) => Traffic::Foreign { what, blue, green },
        (None, Some(at)) => Traffic::To(at),
        (None, None) => Traffic::None,
    })
}

/// The service whose unfinished blue/green deployment moves a rule's weights.
pub fn owner_of_rule(tx: &Tx<'_>, rule: &str) -> Result<Option<String>, StoreError> {
    let moves = |deployment: &ServiceDeployment| {
        let of = |shift: &BlueGreen| shift.rules.iter().any(|own| own.rule == rule);
        !deployment.status.has_ended() && deployment.shifting().is_some_and(of)
    };
    Ok(tx.all::<ServiceDeployment>()?.into_iter().find(moves).map(|deployment| deployment.service_arn))
}

/// Whether a blue/green deployment of the service has not ended.
pub fn is_shifting(tx: &Tx<'_>, service: &Service) -> Result<bool, StoreError> {
    let current = super::deployments::current(tx, service)?;
    Ok(current.is_some_and(|deployment| !deployment.status.has_ended() && deployment.shifting().is_some()))
}

/// What a lifecycle hook is told, as ECS tells a Lambda function.
pub fn payload(deployment: &ServiceDeployment, shift: &BlueGreen, hook: &HookRun) -> Value {
    let weights = |test: bool| {
        let rule = shift.rules.iter().find(|rule| rule.test == test);
        let mut map = serde_json::Map::new();
        for (color, id) in [(Color::Blue, shift.blue.as_ref()), (Color::Green, Some(&shift.green))] {
            if let (Some(rule), Some(id)) = (rule, id) {
                let weight = if rule.at == color { 100 } else { 0 };
                map.insert(revision_arn(&deployment.service_arn, id), weight.into());
            }
        }
        Value::Object(map)
    };
    let given = definition(&deployment.configuration, hook).and_then(|hook| hook.hook_details.clone());
    let mut payload = json!({
        "executionDetails": {
            "testTrafficWeights": weights(true),
            "productionTrafficWeights": weights(false),
            "serviceArn": deployment.service_arn,
            "targetServiceRevisionArn": revision_arn(&deployment.service_arn, &deployment.target),
        },
        "executionId": hook.id,
        "lifecycleStage": shift.stage.as_str(),
        "resourceArn": deployment.arn,
    });
    if let Some(details) = hook.details.clone().or(given) {
        payload["hookDetails"] = details;
    }
    payload
}

pub fn definition<'a>(
    configuration: &'a aws::DeploymentConfiguration,
    hook: &HookRun,
) -> Option<&'a aws::DeploymentLifecycleHook> {
    configuration.lifecycle_hooks.as_deref().unwrap_or_default().get(hook.index)
}

/// Where a hook is asked.
pub fn target(configuration: &aws::DeploymentConfiguration, hook: &HookRun) -> String {
    definition(configuration, hook).and_then(|hook| hook.hook_target_arn.clone()).unwrap_or_default()
}

pub fn timeout_action<'a>(configuration: &'a aws::DeploymentConfiguration, hook: &HookRun) -> &'a str {
    let timeout = definition(configuration, hook).and_then(|hook| hook.timeout_configuration.as_ref());
    timeout.and_then(|timeout| timeout.action.as_deref()).unwrap_or("ROLLBACK")
}

/// A status in which StopServiceDeployment has not been called yet, or has not been seen.
pub fn stop_asked(status: DeploymentStatus) -> Option<bool> {
    match status {
        DeploymentStatus::RollbackRequested => Some(true),
        DeploymentStatus::StopRequested => Some(false),
        DeploymentStatus::Pending
        | DeploymentStatus::InProgress
        | DeploymentStatus::Successful
        | DeploymentStatus::Stopped
        | DeploymentStatus::RollbackInProgress
        | DeploymentStatus::RollbackSuccessful
        | DeploymentStatus::RollbackFailed => None,
    }
}

/// A load balancer of a service with its `advancedConfiguration`.
struct Balanced {
    primary: String,
    alternate: String,
    production: String,
    test: Option<String>,
}

impl Balanced {
    fn of(balancer: &aws::LoadBalancer) -> Option<Self> {
        let advanced = balancer.advanced_configuration.as_ref()?;
        Some(Self {
            primary: target_group(balancer, false)?.to_owned(),
            alternate: target_group(balancer, true)?.to_owned(),
            production: advanced.production_listener_rule.clone()?,
            test: advanced.test_listener_rule.clone(),
        })
    }

    fn rules(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.production.as_str()).chain(self.test.as_deref())
    }
}

/// Whether the production rules send all requests to the alternate groups. `None` without rules.
fn side(tx: &Tx<'_>, balancers: &[Balanced]) -> Result<Option<bool>> {
    let mut found = None;
    for balancer in balancers {
        let rule = &balancer.production;
        let weights = weights::of(tx, rule)?;
        let weights = weights.ok_or_else(|| invalid(format!("The listener rule {rule} does not forward requests.")))?;
        let serving: Vec<&String> = weights.iter().filter(|(_, weight)| **weight > 0).map(|(arn, _)| arn).collect();
        let alternate = match serving.as_slice() {
            [one] if **one == balancer.primary => false,
            [one] if **one == balancer.alternate => true,
            _ => {
                return Err(invalid(format!(
                    "The listener rule {rule} must send all requests to one of the target groups {} and {}.",
                    balancer.primary, balancer.alternate
                )));
            }
        };
        if found.is_some_and(|found| found != alternate) {
            return Err(invalid("The production listener rules of the load balancers do not agree."));
        }
        found = Some(alternate);
    }
    Ok(found)
}

fn set_side(service: &mut Service, alternate: bool) {
    if let Some(primary) = service.deployments.iter_mut().find(|deployment| deployment.primary) {
        primary.alternate = alternate;
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}
