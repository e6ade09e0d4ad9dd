//! `quarry svc deploy`: build, push, template, stack.

use super::priority;
use crate::copilot::cloud::{Cloud, Outcome, Wanted, environment_stack, output, parameter, service_stack};
use crate::copilot::env::{Needs, provide};
use crate::copilot::session::Session;
use crate::copilot::state::{EnvironmentRecord, ServiceRecord};
use crate::copilot::workspace::Workspace;
use crate::copilot::{Common, Local, image};
use anyhow::{Context as _, Result, bail};
use quarry_aws::cloudformation::Stack;
use quarry_aws::ecs::op::{DescribeTasks, ListTasks, UpdateService};
use quarry_aws::ecs::{DescribeTasksRequest, ListTasksRequest, UpdateServiceRequest};
use quarry_deploy_kit::manifest::{Image, Kind, LaunchType, Placement, Service, variables_of_file};
use quarry_deploy_kit::template::{self, Deployed};
use serde_json::json;
use std::collections::BTreeMap;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  quarry svc deploy --name posts --env test")]
pub struct DeployArguments {
    /// The application; this directory's if it is not given.
    #[arg(long, short)]
    app: Option<String>,
    /// The service; the only one of this workspace if it is not given.
    #[arg(long, short)]
    name: Option<String>,
    /// The environment; the only one if it is not given.
    #[arg(long, short)]
    env: Option<String>,
    /// The tag that images are pushed under.
    #[arg(long, default_value = "latest")]
    tag: String,
    /// Start new tasks even if nothing has changed.
    #[arg(long)]
    force: bool,
    /// Leave a failed deployment as it is, to look at it.
    #[arg(long)]
    no_rollback: bool,
    #[command(flatten)]
    common: Common,
}

pub async fn run(arguments: DeployArguments, local: Local<'_>) -> Result<()> {
    let session = Session::open(&arguments.common, local).await?;
    let workspace = Workspace::find()?;
    let app = workspace.app(arguments.app.as_deref())?;
    let name = match arguments.name {
        Some(name) => name,
        None => {
            let mut here = workspace.services()?;
            match here.len() {
                1 => here.remove(0).0,
                0 => bail!("there is no manifest here: write one with `quarry svc init`"),
                _ => bail!("which service? Name it with --name"),
            }
        }
    };
    let (session, record) = session.environment(&app, arguments.env.as_deref()).await?;
    session.agree(&format!("Deploy the service {name} to the environment {} there?", record.name))?;
    let options = Options { tag: &arguments.tag, force: arguments.force, no_rollback: arguments.no_rollback };
    let done = deploy(&session, &workspace, &record, &name, &options).await?;
    if arguments.common.json {
        println!("{}", serde_json::to_string_pretty(&done)?);
    }
    Ok(())
}

pub struct Options<'a> {
    pub tag: &'a str,
    pub force: bool,
    pub no_rollback: bool,
}

/// Deploys a service, and says where it answers.
pub async fn deploy(
    session: &Session,
    workspace: &Workspace,
    record: &EnvironmentRecord,
    name: &str,
    options: &Options<'_>,
) -> Result<serde_json::Value> {
    let service = workspace.service(name, &record.app, &record.name)?;
    let env_files = env_files(workspace, &service)?;
    check_instances(session, record, &service).await?;
    let state = session.state();
    if state.services(&record.app).await?.iter().all(|known| known.name != name) {
        // A manifest of somebody else's workspace: it is made known by its first deployment.
        let known = ServiceRecord { app: record.app.clone(), name: name.into(), kind: service.kind.name().into() };
        state.put_service(&known).await?;
    }
    let images = images(session, workspace, record, &service, options.tag).await?;
    let needs = Needs {
        service: name,
        load_balancer: service.kind == Kind::LoadBalanced,
        nat: service.network.placement == Placement::Private,
    };
    // What is no longer needed is given up after the service has let go of it.
    let now = Cloud { aws: &session.aws, say: session.say };
    let stack_name = service_stack(&record.app, &record.name, name);
    let there = now.stack(&stack_name).await?;
    let mut grown = needs;
    if there.is_some() {
        grown.load_balancer |= has(session, record, "ALBWorkloads", name).await?;
        grown.nat |= has(session, record, "NATWorkloads", name).await?;
    }
    let environment = provide(session, record, grown).await?;
    let mut parameters = BTreeMap::from([
        ("AppName".to_owned(), record.app.clone()),
        ("EnvName".to_owned(), record.name.clone()),
        ("WorkloadName".to_owned(), name.to_owned()),
        ("Paused".to_owned(), "false".to_owned()),
    ]);
    parameters.extend(images);
    if let Some(http) = &service.http {
        let (places, hints) = priority::places(&session.aws, &environment, there.as_ref(), http).await?;
        parameters.extend(places);
        hints.iter().for_each(|hint| session.say.warn(hint));
    }
    if service.network.connect.is_some() && service.main.port.is_some() {
        let quarry = session.listeners().await.is_some();
        parameters.insert("ServiceConnect".into(), (!quarry).to_string());
        if service.network.connect.as_ref().is_some_and(|connect| connect.alias.is_some()) && quarry {
            session.say.warn(format!(
                "copilot/{name}/manifest.yml: network.connect.alias: Quarry has no Service Connect, so others find {name} \
                 by its own name alone"
            ));
        }
    }
    let deployed = Deployed {
        app: record.app.clone(),
        environment: record.name.clone(),
        https: output(&environment, "HTTPSListenerArn").is_some(),
        env_files,
    };
    check_https(&service, &deployed)?;
    let wanted = Wanted {
        name: &stack_name,
        what: &format!("the service {name}"),
        template: Some(template::service(&service, &deployed)?),
        parameters,
        tags: &[("copilot-application", &record.app), ("copilot-environment", &record.name), ("copilot-service", name)],
        no_rollback: options.no_rollback,
    };
    let outcome = match now.deploy(wanted).await {
        Ok(outcome) => outcome,
        Err(error) => match stopped(session, &environment, &stack_name).await.as_slice() {
            [] => return Err(error),
            reasons => bail!("{error}\nTasks of it ended:\n{}", reasons.join("\n")),
        },
    };
    if outcome == Outcome::Unchanged && options.force {
        force(session, record, name).await?;
    }
    provide(session, record, needs).await?;
    told(session, record, &stack_name, name, outcome).await
}

/// Why the newest tasks of a service ended, where they are still known: what a failed deployment is about.
async fn stopped(session: &Session, environment: &Stack, family: &str) -> Vec<String> {
    let input = ListTasksRequest {
        cluster: output(environment, "ClusterId"),
        family: Some(family.into()),
        desired_status: Some("STOPPED".into()),
        ..Default::default()
    };
    let arns = match session.aws.call::<ListTasks>(input.clone()).await {
        Ok(page) => page.task_arns.unwrap_or_default(),
        Err(_) => return Vec::new(),
    };
    if arns.is_empty() {
        return Vec::new();
    }
    let input = DescribeTasksRequest { cluster: input.cluster, tasks: Some(arns), ..Default::default() };
    let tasks = session.aws.call::<DescribeTasks>(input).await.map(|page| page.tasks.unwrap_or_default());
    let mut said = std::collections::BTreeSet::new();
    for task in tasks.unwrap_or_default() {
        said.insert(format!("  {}", task.stopped_reason.unwrap_or_default()));
        for container in task.containers.unwrap_or_default() {
            let code = container.exit_code.map(|code| format!("exit code {code}"));
            let what: Vec<_> = code.into_iter().chain(container.reason).collect();
            if !what.is_empty() {
                said.insert(format!("  container {}: {}", container.name.unwrap_or_default(), what.join(", ")));
            }
        }
    }
    said.into_iter().take(8).collect()
}

/// Tasks of the launch type EC2 need container instances.
async fn check_instances(session: &Session, record: &EnvironmentRecord, service: &Service) -> Result<()> {
    if service.launch_type == LaunchType::Fargate {
        return Ok(());
    }
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let environment = cloud.stack(&environment_stack(&record.app, &record.name)).await?;
    if environment.is_some_and(|stack| output(&stack, "ContainerInstances").is_some()) {
        return Ok(());
    }
    bail!(
        "copilot/{}/manifest.yml: launch_type: the environment {1} has no container instances: write \
         `container_instances: {{range: 1-3}}` into copilot/environments/{1}/manifest.yml and run `quarry env deploy --name {1}`",
        service.name,
        record.name
    )
}

/// Names that only HTTPS serves need a certificate.
pub fn check_https(service: &Service, deployed: &Deployed) -> Result<()> {
    let mut rules = service.http.iter().flat_map(|http| &http.rules);
    if let Some(rule) = rules.find(|rule| !rule.aliases.is_empty() && !deployed.https) {
        bail!(
            "copilot/{name}/manifest.yml:{}: http.alias: the environment {1} has no certificate for {2}: name one under \
             http.public.certificates in copilot/environments/{1}/manifest.yml and run `quarry env deploy --name {1}`",
            rule.line,
            deployed.environment,
            rule.aliases.join(", "),
            name = service.name,
        );
    }
    Ok(())
}

/// The variables in the files that containers name.
pub fn env_files(workspace: &Workspace, service: &Service) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut all = BTreeMap::new();
    for container in service.containers() {
        let Some(path) = &container.env_file else { continue };
        let text = workspace.read(path)?.with_context(|| {
            format!(
                "copilot/{}/manifest.yml: env_file: there is no {path} in {}",
                service.name,
                workspace.root.display()
            )
        })?;
        all.insert(container.name.clone(), variables_of_file(&text));
    }
    Ok(all)
}

async fn has(session: &Session, record: &EnvironmentRecord, parameter_name: &str, service: &str) -> Result<bool> {
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let stack = cloud.stack(&environment_stack(&record.app, &record.name)).await?;
    let names = stack.and_then(|stack| parameter(&stack, parameter_name)).unwrap_or_default();
    Ok(names.split(',').any(|name| name == service))
}

/// Builds and pushes what is to be built; the parameters that name the images.
async fn images(
    session: &Session,
    workspace: &Workspace,
    record: &EnvironmentRecord,
    service: &Service,
    tag: &str,
) -> Result<BTreeMap<String, String>> {
    let repository = |container: &str| {
        if container == service.name { service.name.clone() } else { format!("{}/{container}", service.name) }
    };
    let built = service.containers().filter(|c| matches!(c.image, Image::Build(_)));
    let names: Vec<_> = built.map(|container| repository(&container.name)).collect();
    if !names.is_empty() {
        image::repositories(session, &record.app, &names).await?;
    }
    let mut parameters = BTreeMap::new();
    for container in service.containers() {
        let name = template::image_parameter(service, container);
        let value = match &container.image {
            Image::Location(location) => location.clone(),
            Image::Build(build) => {
                let repository = format!("{}/{}", record.app, repository(&container.name));
                let (root, platform) = (workspace.root.as_path(), service.platform);
                image::provide(session, &image::Order { root, build, platform, repository: &repository, tag }).await?
            }
        };
        parameters.insert(name, value);
    }
    Ok(parameters)
}

async fn force(session: &Session, record: &EnvironmentRecord, name: &str) -> Result<()> {
    let deployed = super::deployed(session, record.clone(), name).await?;
    let input = UpdateServiceRequest {
        cluster: Some(deployed.cluster),
        service: Some(deployed.service),
        force_new_deployment: Some(true),
        ..Default::default()
    };
    session.aws.call::<UpdateService>(input).await?;
    session.say.done(format!("Started new tasks of {name}"));
    Ok(())
}

/// The URLs that work, for a person and for JSON.
async fn told(
    session: &Session,
    record: &EnvironmentRecord,
    stack: &str,
    name: &str,
    outcome: Outcome,
) -> Result<serde_json::Value> {
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let stack = cloud.stack(stack).await?.unwrap_or_default();
    let urls = urls(session, record, &stack).await?;
    session.say.done(format!("Deployed service {name} to the environment {}", record.name));
    let endpoint = output(&stack, "DiscoveryEndpoint");
    match (urls.is_empty(), &endpoint) {
        (false, _) => {
            session.say.line("Recommended follow-up action:");
            let far = if session.is_aws() { " over the internet" } else { "" };
            session.say.line(format!("  - Your service is accessible at {}{far}.", urls.join(" and ")));
        }
        (true, Some(endpoint)) => session.say.line(format!("Other services of {} find it at {endpoint}", record.name)),
        (true, None) => {}
    }
    Ok(json!({
        "service": name, "environment": record.name, "outcome": outcome.word(), "urls": urls, "endpoint": endpoint,
    }))
}

/// Where a service answers: at the environment's load balancer, with the port where that really listens on this machine.
pub async fn urls(session: &Session, record: &EnvironmentRecord, service: &Stack) -> Result<Vec<String>> {
    if let Some(url) = output(service, "Url") {
        return Ok(vec![url]);
    }
    let Some(path) = output(service, "Path") else { return Ok(Vec::new()) };
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let environment = cloud.stack(&environment_stack(&record.app, &record.name)).await?;
    let Some(host) = environment.and_then(|stack| output(&stack, "PublicLoadBalancerDNS")) else {
        return Ok(Vec::new());
    };
    let listeners = session.listeners().await.unwrap_or_default();
    let listener = listeners.iter().find(|l| l.dns_name.eq_ignore_ascii_case(&host) && l.port == 80);
    let Some(address) = listener.and_then(|listener| listener.bound.first()) else {
        return Ok(vec![format!("http://{host}{path}")]);
    };
    let urls = [format!("http://{host}:{}{path}", address.port()), format!("http://{address}{path}")];
    Ok(urls.into_iter().map(|url| url.replacen(":80/", "/", 1)).collect())
}
