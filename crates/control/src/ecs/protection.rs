//! Scale-in protection of tasks: what its operations share, and how a task protects itself by its agent's
//! endpoint (`$ECS_AGENT_URI/task-protection/v1/state`).

use super::records::{Cluster, Service, Task};
use super::{find, task_role, view};
use crate::api::{Caller, Ctx, Result};
use crate::authorization::{self, Acting, Call, Circumstances};
use quarry_aws::ecs::{self as aws, error, op};
use quarry_domain::arn::short_name;
use quarry_wire::{Operation, ServiceError, Timestamp};
use serde::{Deserialize, Serialize};

/// `expiresInMinutes`: what it is if it is not given, and the most it can be.
const USUAL_MINUTES: i64 = 120;
const MOST_MINUTES: i64 = 2880;

/// Protects a task, or takes its protection away. `Err`: the reason of the failure.
pub fn set(ctx: &Ctx<'_>, task: &mut Task, minutes: Option<i64>) -> Result<Result<(), &'static str>> {
    let now = ctx.platform.now_ms();
    let service: Option<Service> = match &task.service {
        Some((arn, _)) if task.wanted => ctx.tx.get(arn)?,
        _ => None,
    };
    let Some(service) = service else { return Ok(Err("TASK_NOT_VALID")) };
    if minutes.is_some() {
        let others = ctx.tx.owned::<Task>(&service.arn)?;
        let others = others.iter().filter(|other| other.id != task.id && other.is_protected(now));
        // More than are wanted would hold deployments up for good.
        if others.count() as u32 + 1 > service.desired_count {
            return Ok(Err("DEPLOYMENT_BLOCKED"));
        }
    }
    task.protected_until_ms = minutes.map(|minutes| now + minutes * 60_000);
    task.version += 1;
    ctx.tx.put(task)?;
    Ok(Ok(()))
}

/// The minutes of a request; `None` where protection is to end.
pub fn minutes(enabled: bool, given: Option<i32>) -> Result<Option<i64>> {
    if given.is_some_and(|minutes| !(1..=MOST_MINUTES).contains(&minutes.into())) {
        return Err(error::invalid_parameter_exception(format!(
            "expiresInMinutes must be between 1 and {MOST_MINUTES}."
        )));
    }
    Ok(enabled.then(|| given.map_or(USUAL_MINUTES, i64::from)))
}

/// A request's tasks that are there, and the failures of those that are not.
pub fn named(ctx: &Ctx<'_>, cluster: &Cluster, ids: &[String]) -> Result<(Vec<Task>, Vec<aws::Failure>)> {
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for id in ids {
        match find::task(ctx.tx, cluster, id)? {
            Some(task) => tasks.push(task),
            None => {
                let name = format!("task/{}/{}", cluster.name, short_name(id));
                failures.push(view::failure(&ctx.platform.place().arn("ecs", name), "MISSING"));
            }
        }
    }
    Ok((tasks, failures))
}

pub fn show(task: &Task, now: i64) -> aws::ProtectedTask {
    let until = task.protected_until_ms.filter(|until| *until > now);
    aws::ProtectedTask {
        task_arn: Some(task.arn.clone()),
        protection_enabled: Some(until.is_some()),
        expiration_date: until.map(Timestamp::from_millis),
    }
}

/// What a task sends to protect itself.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    protection_enabled: Option<bool>,
    expires_in_minutes: Option<i32>,
}

/// What the agent answers: one of the three.
#[derive(Default, Serialize)]
pub struct Answer {
    #[serde(rename = "requestID", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protection: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refused>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    expiration_date: Option<String>,
    protection_enabled: bool,
    task_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    arn: String,
    detail: Option<String>,
    reason: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    arn: String,
    code: String,
    message: String,
}

/// Answers a task that asks for its protection, or with a body changes it. It does so with the powers of
/// its role, as ECS's agent does. Status and answer; an error of the store is passed on.
pub fn by_agent(ctx: &mut Ctx<'_>, task: &Task, body: Option<&[u8]>) -> Result<(u16, Answer)> {
    let refused = |error: &ServiceError, request_id: Option<String>| Answer {
        request_id,
        error: Some(Refused { arn: task.arn.clone(), code: error.code.clone(), message: error.message.clone() }),
        ..Answer::default()
    };
    let Some(given) = ctx.tx.children(&task.id)?.into_iter().next() else {
        let denied = error::access_denied_exception("Invalid Request: no task IAM role credentials available for task");
        return Ok((403, refused(&denied, None)));
    };
    let wanted = body.map(read).transpose();
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(invalid) => return Ok((400, refused(&invalid, None))),
    };
    let session = task_role::credentials(ctx, task, given)?;
    let acting = session.acting();
    ctx.caller = Caller { access_key: session.access_key_id, arn: session.arn, acting: Some(acting.clone()) };
    let (cluster, tasks) = (Some(task.cluster_arn.clone()), Some(vec![task.arn.clone()]));
    let called = match wanted {
        None => as_role::<op::GetTaskProtection>(ctx, &acting, aws::GetTaskProtectionRequest { cluster, tasks })
            .map(|answer| (answer.protected_tasks, answer.failures)),
        Some(Wanted { protection_enabled, expires_in_minutes }) => {
            let input = aws::UpdateTaskProtectionRequest { cluster, tasks, protection_enabled, expires_in_minutes };
            as_role::<op::UpdateTaskProtection>(ctx, &acting, input)
                .map(|answer| (answer.protected_tasks, answer.failures))
        }
    };
    match called {
        Err(error) if error.status < 500 => Ok((error.status, refused(&error, Some(ctx.platform.door.uuid())))),
        Err(error) => Err(error),
        Ok((protected, failures)) => {
            let failure = failures.into_iter().flatten().next().map(|failure| Failure {
                arn: failure.arn.unwrap_or_default(),
                detail: failure.detail,
                reason: failure.reason.unwrap_or_default(),
            });
            let protection = protected.into_iter().flatten().next().map(|state| State {
                expiration_date: state.expiration_date.map(|at| at.to_string().replace(".000Z", "Z")),
                protection_enabled: state.protection_enabled == Some(true),
                task_arn: state.task_arn.unwrap_or_default(),
            });
            Ok((200, Answer { protection, failure, ..Answer::default() }))
        }
    }
}

/// Calls an operation if the role's policies allow it.
fn as_role<O: Operation>(ctx: &mut Ctx<'_>, acting: &Acting, input: O::Input) -> Result<O::Output> {
    let service = O::service();
    let call = Call { service, operation: O::NAME, protocol: service.protocol, input: &input };
    authorization::check(ctx.platform, ctx.tx, acting, &call, Circumstances::default())?;
    ctx.invoke::<O>(input)
}

fn read(body: &[u8]) -> Result<Wanted> {
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|_| error::invalid_parameter_exception("UpdateTaskProtection: failed to decode request"))?;
    if wanted.protection_enabled.is_none() {
        return Err(error::invalid_parameter_exception("Invalid request: does not contain 'ProtectionEnabled' field"));
    }
    Ok(wanted)
}
