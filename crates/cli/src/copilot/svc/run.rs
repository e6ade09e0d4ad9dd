//! `quarry svc logs` and `exec`, for a service by its manifest's name.

use super::Of;
use crate::copilot::Local;
use crate::{exec, logs};
use anyhow::{Result, bail};
use quarry_aws::ecs::ListTasksRequest;
use quarry_aws::ecs::op::ListTasks;
use std::process::ExitCode;

pub async fn logs(of: &Of, follow: bool, local: Local<'_>) -> Result<()> {
    let (session, deployed) = of.deployed(local).await?;
    let request = logs::Request {
        service: deployed.service,
        cluster: Some(deployed.cluster),
        follow,
        filter: None,
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
    if session.is_aws() {
        let profile = session.profile().map(|profile| format!(" --profile {profile}")).unwrap_or_default();
        bail!(
            "on AWS this is the aws CLI's, with its session-manager-plugin:\n  aws ecs execute-command --region \
             {}{profile} --cluster {} --task {} --container {} --interactive --command {command:?}",
            session.region(),
            deployed.cluster,
            task.as_deref().unwrap_or("TASK"),
            container.as_deref().unwrap_or(&deployed.name)
        );
    }
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
    // One text, as Copilot takes it: what a shell would make words of.
    let command = command.split_whitespace().map(str::to_owned).collect();
    let container = container.or_else(|| Some(deployed.name.clone()));
    exec::run(&session.aws, &exec::Request { of, cluster: Some(deployed.cluster), container, command }).await
}
