//! A task's role: whether ECS may assume it, and the temporary credentials that the task gets for it.

use super::records::{Task, TaskDefinition, TaskRoleCredentials};
use crate::api::{Ctx, Result};
use crate::sts::{self, Session};
use quarry_aws::ecs::{TaskOverride, error};
use quarry_aws::iam;
use quarry_domain::arn::short_name;

/// Whom the trust policy of a task's role must let in.
const SERVICE: &str = "ecs-tasks.amazonaws.com";

/// How long credentials are good for, in seconds; ECS gives the same.
const GOOD_FOR: i64 = 6 * 60 * 60;

/// New ones are given from this time before the end on, in milliseconds. SDKs ask again earlier than
/// a quarter of an hour before the end.
const RENEWED_BEFORE_MS: i64 = 60 * 60 * 1000;

/// A role of a task definition as its ARN; names are completed. Whether the role is there is looked at
/// when a task is started, as ECS does it.
pub fn named(ctx: &Ctx<'_>, role: Option<String>) -> Result<Option<String>> {
    let Some(role) = role.filter(|role| !role.is_empty()) else { return Ok(None) };
    let prefix = ctx.platform.place().global_arn("iam", "role/");
    let name = match role.strip_prefix("arn:") {
        None => role.as_str(),
        Some(_) => role.strip_prefix(&prefix).ok_or_else(|| error::client_exception("Role is not valid"))?,
    };
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&b);
    if name.is_empty() || !name.bytes().all(valid) {
        return Err(error::client_exception("Role is not valid"));
    }
    Ok(Some(format!("{prefix}{name}")))
}

/// The role that a task's containers act with.
pub fn of(definition: &TaskDefinition, overrides: &TaskOverride) -> Option<String> {
    let role = overrides.task_role_arn.as_ref().filter(|role| !role.is_empty());
    role.or(definition.definition.task_role_arn.as_ref()).cloned()
}

/// Refuses to start a task whose roles ECS may not assume for it.
pub fn check(ctx: &mut Ctx<'_>, definition: &TaskDefinition, overrides: &TaskOverride, task_arn: &str) -> Result<()> {
    let execution = overrides.execution_role_arn.as_ref().filter(|role| !role.is_empty());
    let execution = execution.or(definition.definition.execution_role_arn.as_ref()).cloned();
    for role in of(definition, overrides).into_iter().chain(execution) {
        if !sts::service_may_assume(ctx, &role, SERVICE, task_arn)? {
            return Err(error::client_exception(format!(
                "ECS was unable to assume the role '{role}' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role."
            )));
        }
    }
    Ok(())
}

/// The credentials behind an id that a task was given: those given last while they are good for long,
/// and new ones then.
pub fn credentials(ctx: &mut Ctx<'_>, task: &Task, mut given: TaskRoleCredentials) -> Result<Session> {
    let now = ctx.platform.now_ms();
    if let Some(key) = &given.access_key_id
        && let Some(session) = sts::credentials(ctx.tx, key)?
        && session.expires_at_ms - RENEWED_BEFORE_MS > now
    {
        return Ok(session);
    }
    let wanted = iam::GetRoleRequest { role_name: Some(short_name(&given.role_arn).to_owned()) };
    let role = ctx.invoke::<iam::op::GetRole>(wanted)?.role.unwrap_or_default();
    let session = sts::issue(ctx, &role, &task.id, GOOD_FOR, sts::Bounds::default())?;
    given.access_key_id = Some(session.access_key_id.clone());
    ctx.tx.put(&given)?;
    Ok(session)
}

/// A task that is over has no credentials any more.
pub fn revoke(ctx: &Ctx<'_>, task: &Task) -> Result<()> {
    for given in ctx.tx.children::<TaskRoleCredentials>(&task.id)? {
        ctx.tx.delete::<TaskRoleCredentials>(&given.id)?;
    }
    for session in ctx.tx.all::<Session>()? {
        if session.arn.ends_with(&format!("/{}", task.id)) {
            ctx.tx.delete::<Session>(&session.access_key_id)?;
        }
    }
    Ok(())
}
