//! `quarry svc logs` and `exec`, for a service by its manifest's name.

use super::{Of, remote};
use crate::copilot::Local;
use crate::{exec, logs};
use anyhow::{Result, bail};
use quarry_aws::ecs::ListTasksRequest;
use quarry_aws::ecs::op::ListTasks;
use std::process::ExitCode;

pub async fn logs(of: &Of, follow: bool, filter: Option<String>, local: Local<'_>) -> Result<()> {
    let (session, deployed) = of.deployed(local).await?;
    let request = logs::Request {
        service: deployed.service,
        cluster: Some(deployed.cluster),
        follow,
        filter,
        json: session.say.json,
    };
    logs::run(&session.aws, &request).await
}

pub async fn exec(
    of: &Of,
    command: &str,
    container: Option<String>,
    task: Option<String>,
    local: Local<'_>,
) -> Result<ExitCode> {
    let (session, deployed) = of.deployed(local).await?;
    let of = match task {
        None => deployed.service.clone(),
        Some(beginning) => {
            let input = ListTasksRequest {
                cluster: Some(deployed.cluster.clone()),
                service_name: Some(deployed.service.clone()),
                ..Default::default()
            };
            let pages = session.aws.paginate::<ListTasks>(input).await?;
            let arns = pages.into_iter().flat_map(|page| page.task_arns.unwrap_or_default());
            let mut ids: Vec<_> = arns.map(|arn| crate::table::short(&arn).to_owned()).collect();
            ids.retain(|id| id.starts_with(&beginning));
            match ids.len() {
                1 => ids.remove(0),
                0 => bail!("{} has no task {beginning}: `quarry svc status` lists them", deployed.name),
                _ => bail!("several tasks of {} begin with {beginning}: {}", deployed.name, ids.join(", ")),
            }
        }
    };
    let container = container.unwrap_or_else(|| deployed.name.clone());
    // One text, as Copilot takes it: what a shell would make words of.
    let words = command.split_whitespace().map(str::to_owned).collect();
    let request =
        exec::Request { of, cluster: Some(deployed.cluster), container: Some(container.clone()), command: words };
    if session.is_aws() {
        let task = exec::find(&session.aws, &request).await?;
        return Err(remote::exec(&session, &task, &container, command));
    }
    exec::run(&session.aws, &request).await
}
