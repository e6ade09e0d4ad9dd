//! Commands over the public API: each is an ordinary AWS client, of this machine's Quarry unless the
//! environment names another endpoint.

mod connection;
mod copilot;
mod cut;
mod ecs;
mod exec;
mod logs;
mod ls;
mod ps;
mod table;
mod top;

pub use connection::Connection;
pub use copilot::EnvCommand;
pub use cut::CutCommand;
pub use quarry_client::status::listeners;

use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub enum Command {
    /// List what runs: load balancers with the URLs that work, services, tasks, container instances.
    #[command(after_help = "Examples:\n  quarry ls\n  quarry ls --json")]
    Ls {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        json: bool,
    },
    /// List the tasks that run, with their containers.
    #[command(after_help = "Examples:\n  quarry ps\n  quarry ps --all")]
    Ps {
        #[command(flatten)]
        target: Target,
        /// Also those that have stopped and are still known.
        #[arg(long, short)]
        all: bool,
        #[arg(long)]
        json: bool,
    },
    /// Show what the services use, again and again until interrupted.
    #[command(after_help = "Examples:\n  quarry top --interval 5\n  quarry top --once --json")]
    Top {
        #[command(flatten)]
        target: Target,
        /// Seconds between two looks.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,
        /// Look once; so it is in a pipe.
        #[arg(long)]
        once: bool,
        #[arg(long)]
        json: bool,
    },
    /// Show the logs of a service's tasks (those with the awslogs driver), oldest first.
    #[command(
        after_help = "Examples:\n  quarry logs posts --follow\n  quarry logs posts --filter '{ $.status >= 500 }'"
    )]
    Logs {
        /// The service's name.
        service: String,
        #[command(flatten)]
        target: Target,
        /// The service's cluster, where several have a service of this name.
        #[arg(long)]
        cluster: Option<String>,
        /// Go on showing new lines until interrupted.
        #[arg(long, short)]
        follow: bool,
        /// Only lines that match a filter pattern of CloudWatch Logs: `ERROR`, `?WARN ?ERROR`, `%5\d\d%`,
        /// `{ $.status >= 500 }`.
        #[arg(long, value_name = "PATTERN")]
        filter: Option<String>,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Run a command in a container of a running task, which must have been started with
    /// enableExecuteCommand; on a terminal if this is one. Ends with the command's exit code.
    #[command(after_help = "Examples:\n  quarry exec posts\n  quarry exec posts --container app -- /bin/ls /data")]
    Exec {
        /// A task's id or ARN, or a service's name for one of its tasks.
        of: String,
        #[command(flatten)]
        target: Target,
        /// The cluster of the task or service; all are looked through if it is not given.
        #[arg(long)]
        cluster: Option<String>,
        /// The container, where the task has several.
        #[arg(long)]
        container: Option<String>,
        /// The command and its arguments, after `--`.
        #[arg(last = true, default_value = "/bin/sh")]
        command: Vec<String>,
    },
    /// Remove what nobody needs any more of images: pushed layers that belong to none, unpacked ones of no task.
    /// Quarry does that by itself after a day.
    Gc {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        json: bool,
    },
    /// Move one path of a running service, and the data behind it, to a service of its own, and back.
    #[command(subcommand)]
    Cut(Box<CutCommand>),
    #[command(flatten)]
    Copilot(copilot::Command),
}

/// Which Quarry a command speaks to.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The data directory of a Quarry on this machine
    #[arg(long, value_name = "DIR", env = "QUARRY_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs a command. `local` finds the Quarry of a data directory, or the default one's.
pub fn run(command: Command, local: impl Fn(Option<&Path>) -> Result<Connection>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Ls { target, json } => {
                let connection = Connection::choose(target.data_dir.as_deref(), local)?;
                ls::run(&connection, json).await?;
            }
            Command::Ps { target, all, json } => {
                let connection = Connection::choose(target.data_dir.as_deref(), local)?;
                ps::run(&connection, all, json).await?;
            }
            Command::Top { target, interval, once, json } => {
                let connection = Connection::choose(target.data_dir.as_deref(), local)?;
                top::run(&connection, std::time::Duration::from_secs(interval), once, json).await?;
            }
            Command::Logs { service, target, cluster, follow, filter, json } => {
                let connection = Connection::choose(target.data_dir.as_deref(), local)?;
                logs::run(&connection.client()?, &logs::Request { service, cluster, follow, filter, json }).await?;
            }
            Command::Exec { of, target, cluster, container, command } => {
                let connection = Connection::choose(target.data_dir.as_deref(), local)?;
                return exec::run(&connection.client()?, &exec::Request { of, cluster, container, command }).await;
            }
            Command::Gc { target, json } => {
                let connection = Connection::choose(target.data_dir.as_deref(), local)?;
                let gone = quarry_client::cuts::Cuts::new(connection.client()?).collect().await?;
                if json {
                    println!("{gone}");
                } else {
                    let mib = gone["bytes"].as_u64().unwrap_or(0) as f64 / f64::from(1 << 20);
                    println!(
                        "{} pushed layers of no image ({mib:.1} MiB), {} unpacked ones",
                        gone["layers"], gone["unpacked"]
                    );
                }
            }
            Command::Cut(command) => {
                let connection = Connection::choose(command.target().data_dir.as_deref(), local)?;
                return cut::run(&connection, *command).await;
            }
            Command::Copilot(command) => return copilot::run(command, &local).await,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs a command about environments. `local` as for [`run`].
pub fn run_env(command: EnvCommand, local: impl Fn(Option<&Path>) -> Result<Connection>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(copilot::run_env(command, &local))
}
