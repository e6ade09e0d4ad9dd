//! Service deployments: what they are watched by, how they end, and the steps of blue/green ones.

use super::super::deployment_records::{AlarmWatch, DeploymentStatus, HookRun, ServiceDeployment};
use super::super::records::{Deployment, Service};
use super::super::{blue_green, deployments, events};
use super::Reconciler;
use super::service::Seen;
use crate::api::{Ctx, Result};
use crate::elbv2::weights;
use crate::store::{StoreError, Tx};
use quarry_domain::service::blue_green::{Action, Color, Goal, Kind, Shift, Why};
use quarry_domain::service::{Bake, FailWhy, Rollout, Watch};
use std::time::Duration;

impl Reconciler {
    /// What the newest service deployment is watched by besides its tasks.
    pub(super) fn watch(&mut self, tx: &Tx<'_>, deployment: &ServiceDeployment) -> Result<Watch, StoreError> {
        let mut watch = Watch { stop: blue_green::stop_asked(deployment.status), ..Watch::default() };
        let watched = match &deployment.alarms {
            Some(AlarmWatch::Watched) => deployments::alarms_of(&deployment.configuration),
            None | Some(AlarmWatch::Ignored | AlarmWatch::Triggered(_)) => None,
        };
        let Some((names, rollback)) = watched.filter(|_| deployment.status == DeploymentStatus::InProgress) else {
            return Ok(watch);
        };
        if !deployments::in_alarm(tx, names)?.is_empty() {
            watch.alarm = Some(rollback);
        }
        let bake = deployments::bake_ms(tx, names, self.platform.config.scaling_speed)?;
        watch.bake = match deployment.baking_since_ms {
            None => Bake::NotBegun,
            Some(since) if self.platform.now_ms() >= since + bake => Bake::Over,
            Some(since) => {
                self.look_again_in(Duration::from_millis((since + bake - self.platform.now_ms()) as u64));
                Bake::Running
            }
        };
        Ok(watch)
    }

    /// The blue/green deployment that the service's tasks go by.
    pub(super) fn shift(&mut self, tx: &Tx<'_>, deployment: &ServiceDeployment) -> Result<Option<Shift>, StoreError> {
        let now = self.platform.now_ms();
        let found = blue_green::seen(tx, deployment, now, |id| self.hooks.is_asking(id))?;
        Ok(found.map(|(shift, due)| {
            if let Some(due) = due {
                self.look_again_in(Duration::from_millis((due - now).max(0) as u64));
            }
            shift
        }))
    }

    /// Carries one step of a blue/green deployment out. The hooks to be asked afterwards are added to `ask`.
    pub(super) fn step_shift(
        &mut self,
        ctx: &mut Ctx<'_>,
        service: &mut Service,
        deployment: &mut ServiceDeployment,
        action: Action,
        ask: &mut Vec<HookRun>,
    ) -> Result<()> {
        let configuration = deployment.configuration.clone();
        let Some(shift) = &mut deployment.shift else { return Ok(()) };
        deployment.updated_ms = ctx.platform.now_ms();
        match action {
            // Done by the caller, who knows the tasks.
            Action::Start { .. } | Action::Stop { .. } => {}
            Action::Enter(stage) => blue_green::enter(ctx, shift, &configuration, Some(stage)),
            Action::Ask(index) => ask.extend(shift.hooks.get(index).cloned()),
            Action::Point { kind, to } => {
                let mut said = Vec::new();
                for rule in shift.rules.iter_mut().filter(|rule| rule.test == (kind == Kind::Test)) {
                    let moved = rule.to(to);
                    match weights::set(ctx, &rule.rule, &moved) {
                        Ok(()) => (rule.weights, rule.at) = (moved, to),
                        Err(refused) if refused.status < 500 => {
                            let words = format!("was unable to move the weights of (rule {}): {refused}", rule.rule);
                            events::repeat(ctx, service, words)?;
                            self.look_again_in(Duration::from_secs(5));
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                    said.push(match to {
                        Color::Blue => rule.blue_group.clone(),
                        Color::Green => rule.green_group.clone(),
                    });
                }
                let kind = if kind == Kind::Test { "test" } else { "production" };
                for group in said {
                    let id = &deployment.target;
                    let words = format!("(deployment {id}) has shifted {kind} traffic to (target-group {group}).");
                    events::add(ctx, service, words)?;
                }
            }
            Action::GiveUp { why, rollback } => {
                let blue = shift.blue.clone().filter(|_| rollback);
                shift.goal = if blue.is_some() { Goal::Back } else { Goal::Halted };
                blue_green::enter(ctx, shift, &configuration, None);
                let green = shift.green.clone();
                let reason = given_up(ctx, service, deployment, &green, &why)?;
                fail_revision(ctx, service, &green, &reason, blue.as_deref());
                give_up(ctx, service, deployment, &reason, rollback, blue.as_deref())?;
            }
            Action::Finish => {
                shift.goal = Goal::Done;
                let green = shift.green.clone();
                complete(ctx, service, Some(deployment), &green)?;
            }
            Action::RolledBack => {
                shift.goal = Goal::Done;
                let blue = shift.blue.clone().unwrap_or_default();
                complete(ctx, service, Some(deployment), &blue)?;
            }
            Action::CannotRollBack(rule) => {
                shift.goal = Goal::Halted;
                let reason = format!(
                    "The rollback stopped: another hand changed the weights of the listener rule {rule}, which still sends requests to the new service revision."
                );
                events::add(
                    ctx,
                    service,
                    format_args!("(deployment {}) rollback failed: {reason}", deployment.target),
                )?;
                deployments::end(ctx, service, deployment, DeploymentStatus::RollbackFailed, Some(&reason))?;
            }
        }
        Ok(())
    }
}

/// Begins what waits to begin.
pub(super) fn start(ctx: &Ctx<'_>, deployment: &mut ServiceDeployment, seen: &Seen) {
    deployment.threshold = seen.wanted.failure_threshold();
    if deployment.status == DeploymentStatus::Pending {
        deployment.status = DeploymentStatus::InProgress;
        deployment.started_ms = Some(ctx.platform.now_ms());
        deployment.updated_ms = ctx.platform.now_ms();
    }
    deployment.started_ms.get_or_insert(deployment.created_ms);
}

/// The deployment `id` is what the service is; all others are over: their tasks have stopped.
pub(super) fn complete(
    ctx: &Ctx<'_>,
    service: &mut Service,
    current: Option<&mut ServiceDeployment>,
    id: &str,
) -> Result<(), StoreError> {
    service.deployments.retain(|deployment| deployment.id == id);
    for deployment in &mut service.deployments {
        deployment.primary = true;
        deployment.rollout = Rollout::Completed;
        deployment.rollout_reason = format!("ECS deployment {id} completed.");
        deployment.updated_ms = ctx.platform.now_ms();
        deployment.failed_tasks = 0;
    }
    if let Some(current) = current.filter(|current| !current.status.has_ended()) {
        let status = match &current.rollback {
            Some(_) => DeploymentStatus::RollbackSuccessful,
            None => DeploymentStatus::Successful,
        };
        deployments::end(ctx, service, current, status, None)?;
    }
    events::add(ctx, service, format_args!("(deployment {id}) deployment completed."))
}

/// The deployment `id` is given up; `back_to` becomes the primary one.
pub(super) fn fail(
    ctx: &Ctx<'_>,
    service: &mut Service,
    current: Option<&mut ServiceDeployment>,
    id: &str,
    (why, rollback): (FailWhy, bool),
    back_to: Option<&str>,
) -> Result<(), StoreError> {
    match current {
        Some(current) => {
            let reason = given_up(ctx, service, current, id, &Why::Failed(why))?;
            fail_revision(ctx, service, id, &reason, back_to);
            give_up(ctx, service, current, &reason, rollback, back_to)
        }
        // A service of a time when service deployments were not recorded.
        None => {
            let reason = "ECS deployment circuit breaker: tasks failed to start.";
            events::add(ctx, service, format_args!("(deployment {id}) deployment failed: tasks failed to start."))?;
            fail_revision(ctx, service, id, reason, back_to);
            match back_to {
                Some(to) => events::add(ctx, service, format_args!("rolling back to (deployment {to}).")),
                None => Ok(()),
            }
        }
    }
}

/// Says why a deployment is given up; the text of its state's reason.
fn given_up(
    ctx: &Ctx<'_>,
    service: &Service,
    current: &mut ServiceDeployment,
    id: &str,
    why: &Why,
) -> Result<String, StoreError> {
    let failed = service.deployments.iter().find(|d| d.id == current.target).map_or(0, |d| d.failed_tasks);
    current.failed_tasks = failed;
    let (event, reason) = match why {
        Why::Failed(FailWhy::CircuitBreaker) => {
            current.broken = true;
            ("tasks failed to start.".to_owned(), "ECS deployment circuit breaker: tasks failed to start.".to_owned())
        }
        Why::Failed(FailWhy::Alarm) => {
            let names = deployments::alarms_of(&current.configuration).map(|(names, _)| names).unwrap_or_default();
            let names = deployments::in_alarm(ctx.tx, names)?;
            let reason = format!("ECS deployment alarms: alarm detected: {}.", names.join(", "));
            current.alarms = Some(AlarmWatch::Triggered(names));
            ("alarm detected.".to_owned(), reason)
        }
        Why::Failed(FailWhy::Stopped) => {
            let reason = current.reason.clone().unwrap_or_default();
            ("the service deployment was stopped.".to_owned(), reason)
        }
        Why::Hook(reason) => (format!("{reason}."), format!("ECS deployment lifecycle hook: {reason}.")),
        Why::Foreign(rule) => {
            let reason =
                format!("another hand changed the weights of the listener rule {rule}, which were left alone.");
            (reason.clone(), format!("ECS deployment: {reason}"))
        }
    };
    events::add(ctx, service, format_args!("(deployment {id}) deployment failed: {event}"))?;
    Ok(reason)
}

fn fail_revision(ctx: &Ctx<'_>, service: &mut Service, id: &str, reason: &str, back_to: Option<&str>) {
    let now = ctx.platform.now_ms();
    let how = reason.split_once(": ").map_or("ECS deployment", |(how, _)| how);
    for deployment in &mut service.deployments {
        if deployment.id == id {
            deployment.rollout = Rollout::Failed;
            deployment.rollout_reason = reason.to_owned();
            deployment.primary = back_to.is_none();
            deployment.updated_ms = now;
        } else if Some(deployment.id.as_str()) == back_to {
            take_up(deployment, how, now);
        }
    }
}

fn take_up(deployment: &mut Deployment, how: &str, now: i64) {
    deployment.primary = true;
    deployment.rollout = Rollout::InProgress;
    deployment.rollout_reason = format!("{how}: rolling back to deploymentId {}.", deployment.id);
    deployment.failed_tasks = 0;
    deployment.throttle.succeeded();
    deployment.updated_ms = now;
}

/// Writes down that it goes back, or that it has ended here.
fn give_up(
    ctx: &Ctx<'_>,
    service: &Service,
    current: &mut ServiceDeployment,
    reason: &str,
    rollback: bool,
    back_to: Option<&str>,
) -> Result<(), StoreError> {
    match back_to {
        Some(to) if current.rollback.is_none() => {
            deployments::roll_back(ctx, current, reason, to);
            events::add(ctx, service, format_args!("rolling back to (deployment {to})."))
        }
        // What was gone back to fails as well.
        _ if current.rollback.is_some() => {
            deployments::end(ctx, service, current, DeploymentStatus::RollbackFailed, Some(reason))
        }
        _ if rollback => {
            let words = "no rollback candidate was found to run the rollback.";
            let id = &current.target;
            events::add(ctx, service, format_args!("(deployment {id}) deployment failed: {words}"))?;
            let reason = format!("{reason} No rollback candidate was found to run the rollback.");
            deployments::end(ctx, service, current, DeploymentStatus::RollbackFailed, Some(&reason))
        }
        _ => deployments::end(ctx, service, current, DeploymentStatus::Stopped, Some(reason)),
    }
}
