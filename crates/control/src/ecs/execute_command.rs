//! ExecuteCommand.

use super::exec::{Order, words};
use super::find;
use super::records::{LastStatus, Task};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ExecuteCommandRequest, ExecuteCommandResponse, Session, error};
use quarry_domain::arn::short_name;

/// Said as long as there is nobody in the task who could run the command.
const NOT_ENABLED: &str = "The execute command failed because execute command was not enabled when the task was run or the execute command agent isn’t running. Wait and try again or run a new task with execute command enabled and try again.";

pub fn handle(ctx: &mut Ctx<'_>, input: ExecuteCommandRequest) -> Result<ExecuteCommandResponse> {
    let invalid = |message: &str| error::invalid_parameter_exception(message);
    if input.interactive != Some(true) {
        return Err(invalid("Interactive is the only mode supported currently."));
    }
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let command = input.command.unwrap_or_default();
    let words = words::split(&command).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| invalid("The command is empty, or a quotation in it does not end."))?;
    let found = find::task(ctx.tx, &cluster, input.task.as_deref().unwrap_or_default())?;
    let task: Task = found.ok_or_else(|| invalid("The referenced task was not found."))?;
    let container = match input.container.as_deref().filter(|name| !name.is_empty()) {
        // As AWS's clients have it, by name or ARN.
        Some(name) => task.containers.iter().find(|c| c.name == name || c.id == short_name(name)),
        None if task.containers.len() > 1 => {
            return Err(invalid("The task has several containers: name the one to run the command in."));
        }
        None => task.containers.first(),
    };
    let container = container.ok_or_else(|| invalid("The container was not found in the task."))?;
    let runs = matches!(task.status, LastStatus::Running | LastStatus::Deactivating | LastStatus::Stopping);
    if !task.exec || !runs || container.exit_code.is_some() {
        return Err(invalid(NOT_ENABLED));
    }
    let order = Order { task: task.id.clone(), container: container.name.clone(), command: words };
    let (id, token) = ctx
        .platform
        .sessions
        .begin(&ctx.platform.door, order)
        .ok_or_else(|| error::limit_exceeded_exception("There are too many sessions."))?;
    Ok(ExecuteCommandResponse {
        cluster_arn: Some(cluster.arn),
        container_arn: Some(task.arn.replacen(":task/", ":container/", 1) + "/" + &container.id),
        container_name: Some(container.name.clone()),
        interactive: Some(true),
        session: Some(Session {
            stream_url: Some(super::exec::stream_url(ctx.platform.config.port, &id)),
            session_id: Some(id),
            token_value: Some(token),
        }),
        task_arn: Some(task.arn.clone()),
    })
}
