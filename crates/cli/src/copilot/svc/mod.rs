//! `quarry svc`.

mod adopt;
mod compose;
mod delete;
mod deploy;
mod init;
mod package;
mod pause;
mod priority;
mod remote;
mod run;
mod show;

pub use deploy::{DeployArguments, Options, deploy};
pub use init::{InitArguments, init};

use super::cloud::{Cloud, service_stack};
use super::session::Session;
use super::state::EnvironmentRecord;
use super::workspace::{Workspace, listed};
use super::{Common, Local};
use anyhow::{Result, bail};
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub enum SvcCommand {
    /// Write a service's manifest and make its repository.
    Init(InitArguments),
    /// Write a manifest for a service that runs already, wherever it was made.
    Adopt(adopt::AdoptArguments),
    /// Build, push and deploy a service.
    Deploy(DeployArguments),
    /// List the services of an application.
    #[command(after_help = "Example:\n  quarry svc ls --app api")]
    Ls {
        /// The application; this directory's if it is not given.
        #[arg(long, short)]
        app: Option<String>,
        /// Only those that have a manifest in this workspace.
        #[arg(long)]
        local: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Show a service: where it is deployed, at which URLs, with which variables.
    #[command(after_help = "Example:\n  quarry svc show --name posts")]
    Show(Of),
    /// Show how a service does: tasks, deployments, targets, its last events.
    #[command(after_help = "Example:\n  quarry svc status --name posts --env test")]
    Status(Of),
    /// Show what a service's containers wrote.
    #[command(after_help = "Example:\n  quarry svc logs --name posts --env test --follow")]
    Logs {
        #[command(flatten)]
        of: Of,
        /// Go on showing new lines until interrupted.
        #[arg(long)]
        follow: bool,
        /// Only lines that match a filter pattern of CloudWatch Logs: `ERROR`, `{ $.status >= 500 }`.
        #[arg(long, value_name = "PATTERN")]
        filter: Option<String>,
    },
    /// Run a command in a container of a service; its manifest must say `exec: true`. On AWS the aws CLI runs it, with
    /// its session-manager-plugin.
    #[command(after_help = "Example:\n  quarry svc exec --name posts --env test --command \"/bin/ls /data\"")]
    Exec {
        #[command(flatten)]
        of: Of,
        /// What to run.
        #[arg(long, short, default_value = "/bin/sh")]
        command: String,
        /// The container; the service's own if it is not given.
        #[arg(long)]
        container: Option<String>,
        /// A task, by the beginning of its id; any of the service if it is not given.
        #[arg(long)]
        task_id: Option<String>,
    },
    /// Let no task of a service run until it is resumed.
    #[command(after_help = "Example:\n  quarry svc pause --name posts --env test --yes")]
    Pause(Of),
    /// Let a paused service run again.
    #[command(after_help = "Example:\n  quarry svc resume --name posts --env test")]
    Resume(Of),
    /// Print the CloudFormation template that a service is deployed by.
    Package(package::PackageArguments),
    /// Delete a service, with its images if it is not deployed anywhere else.
    #[command(after_help = "Example:\n  quarry svc delete --name posts --env test --yes")]
    Delete(Of),
}

/// Which service, in which environment.
#[derive(clap::Args)]
pub struct Of {
    /// The application; this directory's if it is not given.
    #[arg(long, short)]
    app: Option<String>,
    /// The environment; the only one if it is not given.
    #[arg(long, short)]
    env: Option<String>,
    /// The service; the only one if it is not given.
    #[arg(long, short)]
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// A service that is deployed.
pub struct Deployed {
    pub record: EnvironmentRecord,
    pub name: String,
    pub stack: String,
    pub cluster: String,
    /// ECS's name of it.
    pub service: String,
}

pub async fn run(command: SvcCommand, local: Local<'_>) -> Result<ExitCode> {
    match command {
        SvcCommand::Init(arguments) => init::run(arguments, local).await?,
        SvcCommand::Adopt(arguments) => adopt::run(arguments, local).await?,
        SvcCommand::Deploy(arguments) => deploy::run(arguments, local).await?,
        SvcCommand::Ls { app, local: here, common } => show::ls(app.as_deref(), here, &common, local).await?,
        SvcCommand::Show(of) => show::show(&of, local).await?,
        SvcCommand::Status(of) => show::status(&of, local).await?,
        SvcCommand::Logs { of, follow, filter } => run::logs(&of, follow, filter, local).await?,
        SvcCommand::Exec { of, command, container, task_id } => {
            return run::exec(&of, &command, container, task_id, local).await;
        }
        SvcCommand::Pause(of) => pause::set(&of, true, local).await?,
        SvcCommand::Resume(of) => pause::set(&of, false, local).await?,
        SvcCommand::Package(arguments) => package::run(arguments, local).await?,
        SvcCommand::Delete(of) => delete::run(&of, local).await?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Of {
    /// The session, the application and the service's name.
    async fn open(&self, local: Local<'_>) -> Result<(Session, Workspace, String, String)> {
        let session = Session::open(&self.common, local).await?;
        let workspace = Workspace::find()?;
        let app = workspace.app(self.app.as_deref())?;
        session.state().application(&app).await?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => only(&session, &app).await?,
        };
        Ok((session, workspace, app, name))
    }

    async fn deployed(&self, local: Local<'_>) -> Result<(Session, Deployed)> {
        let (session, _, app, name) = self.open(local).await?;
        let (session, record) = session.environment(&app, self.env.as_deref()).await?;
        let deployed = deployed(&session, record, &name).await?;
        Ok((session, deployed))
    }
}

/// The only service of an application.
async fn only(session: &Session, app: &str) -> Result<String> {
    let mut names: Vec<_> = session.state().services(app).await?.into_iter().map(|service| service.name).collect();
    match names.len() {
        1 => Ok(names.remove(0)),
        0 => bail!("{app} has no service: write one's manifest with `quarry svc init --app {app}`"),
        _ => bail!("which service? Name it with --name: {}", listed(&names)),
    }
}

/// A service as it is deployed in an environment.
pub async fn deployed(session: &Session, record: EnvironmentRecord, name: &str) -> Result<Deployed> {
    let cloud = Cloud { aws: &session.aws, say: session.say };
    let stack = service_stack(&record.app, &record.name, name);
    let Some(arn) = cloud.resource(&stack, "Service").await? else {
        bail!("{name} is not deployed in {0}: deploy it with `quarry svc deploy --name {name} --env {0}`", record.name);
    };
    let mut parts = arn.rsplit('/');
    let (service, cluster) = (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default().to_owned());
    Ok(Deployed { record, name: name.into(), stack, cluster, service })
}
