//! Copilot's commands: applications, environments and services by manifests, deployed through CloudFormation's API.

mod app;
mod ask;
mod cloud;
mod env;
mod image;
mod init;
mod refused;
mod say;
mod session;
mod state;
mod svc;
mod task;
mod workspace;

pub use app::AppCommand;
pub use env::EnvCommand;
pub use init::InitArguments;
pub use refused::Refused;
pub use svc::SvcCommand;
pub use task::TaskCommand;

use crate::Target;
use crate::connection::Connection;
use anyhow::Result;
use std::path::Path;
use std::process::ExitCode;

/// What all of these commands take.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    #[command(flatten)]
    target: Target,
    /// Print the outcome as JSON; progress then goes to standard error.
    #[arg(long)]
    json: bool,
    /// Answer every question with yes.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Print nothing of what is done on the way, nor what to do next.
    #[arg(long, short)]
    quiet: bool,
}

/// One of Copilot's commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Set up an application with one service, step by step, and deploy it.
    Init(InitArguments),
    /// Applications: what belongs together, over all its environments.
    #[command(subcommand)]
    App(AppCommand),
    /// Services of an application.
    #[command(subcommand)]
    Svc(Box<SvcCommand>),
    /// Tasks that run once.
    #[command(subcommand)]
    Task(Box<TaskCommand>),
    #[command(flatten)]
    Refused(Refused),
}

pub type Local<'a> = &'a dyn Fn(Option<&Path>) -> Result<Connection>;

pub async fn run(command: Command, local: Local<'_>) -> Result<ExitCode> {
    match command {
        Command::Init(arguments) => init::run(arguments, local).await?,
        Command::App(command) => app::run(command, local).await?,
        Command::Svc(command) => return svc::run(*command, local).await,
        Command::Task(command) => return task::run(*command, local).await,
        Command::Refused(refused) => return refused.run(),
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn run_env(command: EnvCommand, local: Local<'_>) -> Result<ExitCode> {
    env::run(command, local).await?;
    Ok(ExitCode::SUCCESS)
}
