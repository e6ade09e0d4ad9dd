//! `quarry task run`: tasks that run once.

use super::cloud::{Cloud, Wanted, environment_stack, output, task_stack};
use super::session::Session;
use super::state::EnvironmentRecord;
use super::workspace::Workspace;
use super::{Common, Local, app, image};
use crate::logs::Shown;
use crate::table::{short, table};
use anyhow::{Context as _, Result, bail};
use quarry_aws::ec2::op::{DescribeSecurityGroups, DescribeSubnets};
use quarry_aws::ec2::{DescribeSecurityGroupsRequest, DescribeSubnetsRequest, Filter};
use quarry_aws::ecr::DescribeRepositoriesRequest;
use quarry_aws::ecr::op::DescribeRepositories;
use quarry_aws::ecs::op::{CreateCluster, DescribeTasks, RunTask};
use quarry_aws::ecs::{
    AwsVpcConfiguration, CreateClusterRequest, DescribeTasksRequest, NetworkConfiguration, RunTaskRequest, Task,
};
use quarry_aws::logs::FilterLogEventsRequest;
use quarry_aws::logs::op::FilterLogEvents;
use quarry_deploy_kit::manifest::{Build, Platform};
use quarry_deploy_kit::template;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Subcommand)]
pub enum TaskCommand {
    /// Run tasks once: build the image if need be, and start them.
    Run(Box<RunArguments>),
    /// Delete a group of tasks with its images and logs.
    #[command(after_help = "Example:\n  quarry task delete --name migrate --yes")]
    Delete {
        /// The group.
        #[arg(long, short)]
        name: String,
        /// The application of the environment where they ran.
        #[arg(long, short)]
        app: Option<String>,
        /// The environment where they ran, if that is on AWS.
        #[arg(long, short)]
        env: Option<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
#[command(after_help = "Examples:
  quarry task run --env test --dockerfile ./migrate/Dockerfile --command \"migrate up\" --follow
  quarry task run --image busybox:1 --count 2 --env-vars LEVEL=debug,NAME=value")]
pub struct RunArguments {
    /// The group of tasks; the directory's name if it is not given.
    #[arg(long, short = 'n')]
    task_group_name: Option<String>,
    /// The application whose environment they run in.
    #[arg(long, short)]
    app: Option<String>,
    /// The environment; without one the tasks run in the cluster `default` and the default VPC.
    #[arg(long, short)]
    env: Option<String>,
    /// The Dockerfile to build; `./Dockerfile` if neither it nor an image is given.
    #[arg(long, short, conflicts_with = "image")]
    dockerfile: Option<PathBuf>,
    /// An image that is there, instead of a Dockerfile.
    #[arg(long, short)]
    image: Option<String>,
    /// What the container runs, instead of the image's own command.
    #[arg(long)]
    command: Option<String>,
    /// Instead of the image's own entry point.
    #[arg(long)]
    entrypoint: Option<String>,
    /// Variables: NAME=value,NAME=value
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    env_vars: Vec<(String, String)>,
    /// Secrets: NAME=parameter or NAME=arn of a parameter or secret
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    secrets: Vec<(String, String)>,
    /// How many tasks.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=10))]
    count: i32,
    /// CPU units: 1,024 are one virtual CPU.
    #[arg(long, default_value_t = 256)]
    cpu: u64,
    /// MiB.
    #[arg(long, default_value_t = 512)]
    memory: u64,
    /// Show what the tasks write until all have ended, and end with the first exit code that is not 0.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    common: Common,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=value")),
    }
}

pub async fn run(command: TaskCommand, local: Local<'_>) -> Result<ExitCode> {
    match command {
        TaskCommand::Run(arguments) => start(*arguments, local).await,
        TaskCommand::Delete { name, app, env, common } => {
            let session = located(Session::open(&common, local).await?, app.as_deref(), env.as_deref()).await?.0;
            session.confirm(&format!("Delete the tasks {name} with their images and logs?"))?;
            let cloud = Cloud { aws: &session.aws, say: session.say };
            cloud.delete(&task_stack(&name), &format!("the tasks {name}")).await?;
            session.say.done(format!("Deleted the tasks {name}"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn start(arguments: RunArguments, local: Local<'_>) -> Result<ExitCode> {
    let session = Session::open(&arguments.common, local).await?;
    let (session, record) = located(session, arguments.app.as_deref(), arguments.env.as_deref()).await?;
    let workspace = Workspace::find()?;
    let here = std::env::current_dir()?;
    let name = arguments
        .task_group_name
        .clone()
        .unwrap_or_else(|| here.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default());
    app::check_name(&name).context("name the tasks with --task-group-name")?;
    session.agree(&format!("Run {} of the tasks {name} there?", arguments.count))?;
    let (cluster, network) = place(&session, record.as_ref()).await?;
    let image = prepare(&session, &workspace, &name, &arguments).await?;
    let definition = define(&session, &name, &arguments, Some(&image)).await?;
    let step = session.say.step(format!("Run {} of the tasks {name}", arguments.count));
    let input = RunTaskRequest {
        cluster: Some(cluster.clone()),
        task_definition: Some(definition),
        count: Some(arguments.count),
        launch_type: Some("FARGATE".into()),
        network_configuration: Some(NetworkConfiguration { awsvpc_configuration: Some(network) }),
        started_by: Some("copilot-task".into()),
        ..Default::default()
    };
    let started = session.aws.call::<RunTask>(input).await?;
    if let Some(failure) = started.failures.unwrap_or_default().into_iter().next() {
        step.end("failed");
        bail!("a task was not started: {}", failure.reason.or(failure.detail).unwrap_or_default());
    }
    step.end("succeeded");
    let arns: Vec<_> = started.tasks.unwrap_or_default().into_iter().filter_map(|task| task.task_arn).collect();
    let tasks = match arguments.follow {
        true => follow(&session, &cluster, &name, &arns).await?,
        false => describe(&session, &cluster, &arns).await?,
    };
    report(&session, &name, &tasks)?;
    let mut codes = tasks.iter().flat_map(|task| task.containers.iter().flatten()).filter_map(|c| c.exit_code);
    let worst = codes.find(|code| *code != 0).unwrap_or(0);
    // A task that never ran has no exit code, and has failed all the same.
    let unborn = arguments.follow && tasks.iter().any(|t| t.containers.iter().flatten().all(|c| c.exit_code.is_none()));
    Ok(ExitCode::from(if unborn { 1 } else { u8::try_from(worst).unwrap_or(u8::MAX) }))
}

/// The environment that is named, with a session where it is; without one this machine's Quarry.
async fn located(
    session: Session,
    app: Option<&str>,
    env: Option<&str>,
) -> Result<(Session, Option<EnvironmentRecord>)> {
    if app.is_none() && env.is_none() {
        return Ok((session, None));
    }
    let app = Workspace::find()?.app(app)?;
    let (session, record) = session.environment(&app, env).await?;
    Ok((session, Some(record)))
}

/// The cluster and network of an environment, or the defaults of the account.
async fn place(session: &Session, record: Option<&EnvironmentRecord>) -> Result<(String, AwsVpcConfiguration)> {
    let public = |subnets, groups| AwsVpcConfiguration {
        assign_public_ip: Some("ENABLED".into()),
        subnets: Some(subnets),
        security_groups: groups,
    };
    if let Some(record) = record {
        let cloud = Cloud { aws: &session.aws, say: session.say };
        let stack = cloud.stack(&environment_stack(&record.app, &record.name)).await?;
        let stack = stack.with_context(|| format!("the environment {} is not deployed", record.name))?;
        let of = |name: &str| output(&stack, name).with_context(|| format!("the environment's stack has no {name}"));
        let subnets = of("PublicSubnets")?.split(',').map(str::to_owned).collect();
        return Ok((of("ClusterId")?, public(subnets, Some(vec![of("EnvironmentSecurityGroup")?]))));
    }
    let filter = |name: &str, value: &str| Filter { name: Some(name.into()), values: Some(vec![value.into()]) };
    let input = DescribeSubnetsRequest { filters: Some(vec![filter("default-for-az", "true")]), ..Default::default() };
    let found = session.aws.call::<DescribeSubnets>(input).await?.subnets.unwrap_or_default();
    let Some(vpc) = found.first().and_then(|subnet| subnet.vpc_id.clone()) else {
        bail!("there is no default VPC: name an environment with --env")
    };
    let groups = vec![filter("vpc-id", &vpc), filter("group-name", "default")];
    let input = DescribeSecurityGroupsRequest { filters: Some(groups), ..Default::default() };
    let groups = session.aws.call::<DescribeSecurityGroups>(input).await?.security_groups.unwrap_or_default();
    session
        .aws
        .call::<CreateCluster>(CreateClusterRequest { cluster_name: Some("default".into()), ..Default::default() })
        .await?;
    let subnets = found.into_iter().filter_map(|subnet| subnet.subnet_id).collect();
    Ok(("default".into(), public(subnets, Some(groups.into_iter().filter_map(|group| group.group_id).collect()))))
}

/// The image's name: the given one, or that of what was built.
async fn prepare(session: &Session, workspace: &Workspace, name: &str, arguments: &RunArguments) -> Result<String> {
    if let Some(image) = &arguments.image {
        return Ok(image.clone());
    }
    let dockerfile = arguments.dockerfile.clone().unwrap_or_else(|| "Dockerfile".into());
    if !dockerfile.exists() {
        bail!("there is no {}: name the Dockerfile with --dockerfile, or an image with --image", dockerfile.display());
    }
    // The repository comes with the stack, before there is an image.
    let repository = format!("copilot-{name}");
    let input = DescribeRepositoriesRequest { repository_names: Some(vec![repository.clone()]), ..Default::default() };
    if session.aws.call::<DescribeRepositories>(input).await.is_err() {
        define(session, name, arguments, None).await?;
    }
    let dockerfile = std::path::absolute(dockerfile)?;
    let context = dockerfile.parent().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default();
    let build = Build {
        dockerfile: dockerfile.to_string_lossy().into_owned(),
        context,
        args: BTreeMap::new(),
        target: None,
        cache_from: Vec::new(),
    };
    let platform = Platform::here();
    let order = image::Order { root: &workspace.root, build: &build, platform, repository: &repository, tag: "latest" };
    image::provide(session, &order).await
}

/// Deploys the group's stack; the ARN of its task definition, if it has an image.
async fn define(session: &Session, name: &str, arguments: &RunArguments, image: Option<&str>) -> Result<String> {
    let words = |text: &Option<String>| -> Vec<String> {
        text.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect()
    };
    let (entrypoint, command) = (words(&arguments.entrypoint), words(&arguments.command));
    let size = (arguments.cpu, arguments.memory);
    let text = template::task_group(name, size, (&entrypoint, &command), &arguments.env_vars, &arguments.secrets);
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let stack = task_stack(name);
    let wanted = Wanted {
        name: &stack,
        what: &format!("the tasks {name}"),
        template: Some(text),
        parameters: BTreeMap::from([("ContainerImage".to_owned(), image.unwrap_or_default().to_owned())]),
        tags: &[("copilot-task", name)],
        no_rollback: false,
    };
    cloud.deploy(wanted).await?;
    Ok(cloud.resource(&stack, "TaskDefinition").await?.unwrap_or_default())
}

async fn describe(session: &Session, cluster: &str, arns: &[String]) -> Result<Vec<Task>> {
    let input =
        DescribeTasksRequest { cluster: Some(cluster.into()), tasks: Some(arns.to_vec()), ..Default::default() };
    Ok(session.aws.call::<DescribeTasks>(input).await?.tasks.unwrap_or_default())
}

/// Prints what the tasks write until all have stopped.
async fn follow(session: &Session, cluster: &str, name: &str, arns: &[String]) -> Result<Vec<Task>> {
    let ids: Vec<_> = arns.iter().map(|arn| short(arn)).collect();
    let mut shown = Shown::default();
    loop {
        let tasks = describe(session, cluster, arns).await?;
        // Asked for before the logs: what a stopped task wrote is all there.
        let over = tasks.iter().all(|task| task.last_status.as_deref() == Some("STOPPED"));
        let input = FilterLogEventsRequest {
            log_group_name: Some(format!("/copilot/{name}")),
            log_stream_name_prefix: Some("copilot-task/".into()),
            start_time: shown.since(),
            ..Default::default()
        };
        for page in session.aws.paginate::<FilterLogEvents>(input).await? {
            for event in page.events.unwrap_or_default() {
                let stream = event.log_stream_name.as_deref().unwrap_or_default();
                if ids.contains(&short(stream)) && shown.is_new(&event) {
                    session.say.line(event.message.unwrap_or_default());
                }
            }
        }
        if over {
            return Ok(tasks);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn report(session: &Session, name: &str, tasks: &[Task]) -> Result<()> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let code = |task: &Task| task.containers.iter().flatten().find_map(|container| container.exit_code);
    if session.say.json {
        let shown = tasks.iter().map(|task| {
            json!({
                "task": task.task_arn, "status": task.last_status, "exitCode": code(task), "reason": task.stopped_reason,
            })
        });
        println!("{}", serde_json::to_string_pretty(&json!({"group": name, "tasks": shown.collect::<Vec<_>>()}))?);
        return Ok(());
    }
    let rows = tasks.iter().map(|task| {
        let code = code(task).map(|code| code.to_string()).unwrap_or_default();
        [short(&text(&task.task_arn)).to_owned(), text(&task.last_status), code, text(&task.stopped_reason)]
    });
    println!("{}", table(["TASK", "STATUS", "EXIT CODE", "REASON"], rows));
    Ok(())
}
