//! `quarry svc ls`, `show` and `status`.

use super::deploy::urls;
use super::{Deployed, Of, deployed};
use crate::copilot::cloud::{Cloud, output, service_stack};
use crate::copilot::session::Session;
use crate::copilot::workspace::Workspace;
use crate::copilot::{Common, Local};
use crate::ecs;
use crate::table::{short, table};
use anyhow::{Context as _, Result};
use quarry_aws::ecs::op::{DescribeServices, DescribeTaskDefinition};
use quarry_aws::ecs::{DescribeServicesRequest, DescribeTaskDefinitionRequest, ListTasksRequest, Service};
use quarry_aws::elbv2::DescribeTargetHealthInput;
use quarry_aws::elbv2::op::DescribeTargetHealth;
use serde_json::{Value, json};

pub async fn ls(app: Option<&str>, here: bool, common: &Common, local: Local<'_>) -> Result<()> {
    let session = Session::open(common, local).await?;
    let workspace = Workspace::find()?;
    let app = workspace.app(app)?;
    session.state().application(&app).await?;
    let mut all = session.state().services(&app).await?;
    if here {
        let mine = workspace.services()?;
        all.retain(|service| mine.iter().any(|(name, _)| *name == service.name));
    }
    if common.json {
        println!("{}", serde_json::to_string_pretty(&json!({"services": all}))?);
    } else {
        println!("{}", table(["NAME", "TYPE"], all.into_iter().map(|s| [s.name, s.kind])));
    }
    Ok(())
}

pub async fn show(of: &Of, local: Local<'_>) -> Result<()> {
    let (session, _, app, name) = of.open(local).await?;
    let records = match &of.env {
        Some(env) => vec![session.state().environment(&app, env).await?],
        None => session.state().environments(&app).await?,
    };
    let mut shown = Vec::new();
    for record in records {
        let session = match session.at(&record).await {
            Ok(there) => there,
            Err(error) => {
                session.say.warn(format!("{error:#}"));
                continue;
            }
        };
        let cloud = Cloud { aws: &session.aws, say: session.say };
        let Some(stack) = cloud.stack(&service_stack(&app, &record.name, &name)).await? else { continue };
        let urls = urls(&session, &record, &stack).await?;
        let endpoint = output(&stack, "DiscoveryEndpoint");
        let environment = record.name.clone();
        let definition = definition(&session, &deployed(&session, record, &name).await?).await?;
        shown.push(json!({
            "environment": environment, "status": stack.stack_status, "urls": urls, "endpoint": endpoint,
            "configuration": definition,
        }));
    }
    if session.say.json {
        println!("{}", serde_json::to_string_pretty(&json!({"service": name, "app": app, "deployed": shown}))?);
        return Ok(());
    }
    println!("Service {name} of {app}");
    if shown.is_empty() {
        println!("\n  not deployed: `quarry svc deploy --name {name} --env ENVIRONMENT`");
    }
    for one in shown {
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        println!("\n{} ({})", text(&one["environment"]), text(&one["status"]));
        for url in one["urls"].as_array().into_iter().flatten() {
            println!("  url       {}", text(url));
        }
        println!("  name      {}", text(&one["endpoint"]));
        let configuration = &one["configuration"];
        println!("  size      {} CPU units, {} MiB", text(&configuration["cpu"]), text(&configuration["memory"]));
        for container in configuration["containers"].as_array().into_iter().flatten() {
            println!("  container {} ({})", text(&container["name"]), text(&container["image"]));
            for kind in ["variables", "secrets"] {
                for (name, value) in container[kind].as_object().into_iter().flatten() {
                    println!("    {name} = {}", text(value));
                }
            }
        }
    }
    Ok(())
}

/// What the running task definition says, in short. Of secrets it has their names alone.
async fn definition(session: &Session, deployed: &Deployed) -> Result<Value> {
    let service = service(session, deployed).await?;
    let input = DescribeTaskDefinitionRequest { task_definition: service.task_definition, ..Default::default() };
    let described = session.aws.call::<DescribeTaskDefinition>(input).await?;
    let definition = described.task_definition.unwrap_or_default();
    let mut containers = Vec::new();
    for container in definition.container_definitions.unwrap_or_default() {
        let variables = container.environment.unwrap_or_default().into_iter();
        let variables: serde_json::Map<_, _> =
            variables.filter_map(|pair| Some((pair.name?, pair.value.unwrap_or_default().into()))).collect();
        let secrets = container.secrets.unwrap_or_default().into_iter();
        let secrets: serde_json::Map<_, _> =
            secrets.filter_map(|secret| Some((secret.name?, secret.value_from.unwrap_or_default().into()))).collect();
        containers.push(json!({
            "name": container.name, "image": container.image, "variables": variables, "secrets": secrets,
        }));
    }
    Ok(json!({"cpu": definition.cpu, "memory": definition.memory, "containers": containers}))
}

async fn service(session: &Session, deployed: &Deployed) -> Result<Service> {
    let input = DescribeServicesRequest {
        cluster: Some(deployed.cluster.clone()),
        services: Some(vec![deployed.service.clone()]),
        ..Default::default()
    };
    let found = session.aws.call::<DescribeServices>(input).await?.services.unwrap_or_default();
    found.into_iter().next().with_context(|| format!("{} is gone", deployed.service))
}

pub async fn status(of: &Of, local: Local<'_>) -> Result<()> {
    let (session, deployed) = of.deployed(local).await?;
    let service = service(&session, &deployed).await?;
    let listed = ListTasksRequest {
        cluster: Some(deployed.cluster.clone()),
        service_name: Some(deployed.service.clone()),
        ..Default::default()
    };
    let tasks = ecs::tasks(&session.aws, listed).await?;
    let mut targets = Vec::new();
    for group in service.load_balancers.iter().flatten().filter_map(|balancer| balancer.target_group_arn.clone()) {
        let input = DescribeTargetHealthInput { target_group_arn: Some(group), ..Default::default() };
        let health = session.aws.call::<DescribeTargetHealth>(input).await?.target_health_descriptions;
        targets.extend(health.unwrap_or_default().into_iter().map(|one| {
            let (target, health) = (one.target.unwrap_or_default(), one.target_health.unwrap_or_default());
            let at = format!("{}:{}", target.id.unwrap_or_default(), target.port.unwrap_or_default());
            [at, health.state.unwrap_or_default(), health.description.unwrap_or_default()]
        }));
    }
    let rows: Vec<_> = tasks
        .iter()
        .map(|task| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let revision = text(&task.task_definition_arn).rsplit(':').next().unwrap_or_default().to_owned();
            [short(&text(&task.task_arn)).to_owned(), text(&task.last_status), revision, text(&task.health_status)]
        })
        .collect();
    let (desired, running) = (service.desired_count.unwrap_or_default(), service.running_count.unwrap_or_default());
    let messages: Vec<_> = service.events.iter().flatten().take(5).filter_map(|event| event.message.clone()).collect();
    let deployments: Vec<_> = service.deployments.iter().flatten().map(|d| {
        json!({"status": d.status, "rollout": d.rollout_state, "running": d.running_count, "desired": d.desired_count})
    }).collect();
    if session.say.json {
        let shown = json!({
            "service": deployed.name, "environment": deployed.record.name, "desired": desired, "running": running,
            "deployments": deployments, "tasks": rows, "targets": targets, "events": messages,
        });
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    println!("Service {} in {}: {running} of {desired} tasks run", deployed.name, deployed.record.name);
    let shown: Vec<_> = deployments
        .iter()
        .map(|d| format!("{} {}", d["status"].as_str().unwrap_or_default(), d["rollout"].as_str().unwrap_or_default()))
        .collect();
    println!("Deployments: {}\n", shown.join(", "));
    println!("{}\n", table(["TASK", "STATUS", "REVISION", "HEALTH"], rows));
    if !targets.is_empty() {
        println!("{}\n", table(["TARGET", "STATE", "REASON"], targets));
    }
    messages.iter().for_each(|message| println!("{message}"));
    Ok(())
}
