//! `quarry`: the one program. Here its parts are put together; each command is a few lines away.

mod coverage;
mod doctor;
mod env;
mod installation;
mod lock;
mod logs;
mod open;
mod roles;
mod tour;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use quarry_control::endpoint::Auth;
use quarry_domain::outside::AllowOutside;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Break a monolith into microservices without downtime: ECS, load balancers, a registry and
/// CloudFormation on this machine, behind AWS's own APIs.
#[derive(Parser)]
#[command(name = "quarry", version, about, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  quarry tour                     the whole job, checked, in a minute
  quarry serve                    start the stack for the aws CLI, Terraform, SDKs
  eval \"$(quarry env)\"            point this shell's AWS clients at it
  aws ecs list-clusters           … and use it
  quarry ls                       what runs, and the URLs that work
  quarry open                     the console, in a browser
  quarry stop                     end it and its tasks";

#[derive(Subcommand)]
enum Command {
    /// Run the tutorial start to end: monolith, three services, the stack they run on. Exits 0 only
    /// if every claim it prints was checked.
    Tour(tour::TourArguments),
    /// Start the stack: AWS endpoint and registry on one port. Ctrl-C ends it and its tasks.
    Serve {
        #[command(flatten)]
        data: DataDir,
        /// Where the AWS endpoint and the registry listen: a loopback address.
        #[arg(long, default_value = env::DEFAULT_LISTEN)]
        listen: SocketAddr,
        /// Where the console listens: a loopback address [default: 127.0.0.2, the port after the endpoint's, or another
        /// one where that is taken]
        #[arg(long, value_name = "ADDRESS")]
        console: Option<SocketAddr>,
        /// `off` accepts any credentials, for tools that send dummy keys: every program on this machine,
        /// and every task, then has the whole API.
        #[arg(long, value_enum, default_value_t = AuthMode::On)]
        auth: AuthMode,
        /// Alarms and autoscaling go this many times faster than on AWS, for tests and demonstrations:
        /// with 60, a minute of CloudWatch's and of a cooldown lasts a second.
        #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
        scaling_speed: u32,
        /// A folder of this machine that task definitions may name as the sourcePath of a volume, with all below
        /// it; may be given several times. Containers read and write there as the users they run as.
        #[arg(long = "host-folder", value_name = "DIR")]
        host_folders: Vec<PathBuf>,
        /// A quota that AWS raises on request, by its name in `aws elbv2 describe-account-limits`:
        /// `application-load-balancers=100`; may be given several times.
        #[arg(long = "quota", value_name = "NAME=VALUE")]
        quotas: Vec<String>,
        /// Let tasks of a service reach something outside of their VPC, over TCP:
        /// `users=postgres.internal:5432@127.0.0.1:5432` lets those of `users` find this machine's
        /// PostgreSQL as postgres.internal. For SERVICE, `*` is all tasks, `cluster/service` one of a
        /// cluster, `family:name` tasks of no service. Without it nothing outside is reached.
        #[arg(long, value_name = "SERVICE=NAME:PORT[@HOST:PORT]")]
        allow_outside: Vec<AllowOutside>,
    },
    /// Print `export` lines that point a shell's AWS clients here: eval "$(quarry env)".
    /// With `init`, `deploy`, `ls`, `show`, `package`, `delete`: environments of an application.
    #[command(args_conflicts_with_subcommands = true)]
    Env {
        #[command(flatten)]
        data: DataDir,
        #[command(subcommand)]
        command: Option<quarry_cli::EnvCommand>,
    },
    /// Open the console in a browser, signed in; where there is none, print the link. It is good once, for two minutes.
    Open {
        #[command(flatten)]
        data: DataDir,
        /// Only print the link.
        #[arg(long)]
        print: bool,
    },
    /// End the stack and its tasks.
    Stop(DataDir),
    /// Say what this machine allows (namespaces, control groups, low ports) and what to do about each gap.
    Doctor {
        #[command(flatten)]
        data: DataDir,
        #[arg(long)]
        json: bool,
    },
    /// Print which of AWS's operations are served, per service, and which others were called.
    Coverage {
        #[command(flatten)]
        data: DataDir,
        #[arg(long, conflicts_with = "markdown")]
        json: bool,
        /// The table as SPECIFICATION.md holds it.
        #[arg(long)]
        markdown: bool,
    },
    /// Print what a shell needs to complete the commands of this program.
    #[command(after_help = "Examples:
  source <(quarry completion bash)
  quarry completion fish > ~/.config/fish/completions/quarry.fish")]
    Completion { shell: clap_complete::Shell },
    #[command(flatten)]
    Client(quarry_cli::Command),
    /// Run the data plane; `serve` does this by itself.
    #[command(hide = true)]
    Proxy {
        #[command(flatten)]
        data: DataDir,
        #[arg(long)]
        workers: Option<usize>,
        /// Start a proxy that takes over from the running one, and return when it has: no connection is refused or
        /// cut, the old one ends with its last connection.
        #[arg(long)]
        replace: bool,
        /// The proxy that `--replace` starts.
        #[arg(long, hide = true)]
        takes_over: bool,
    },
}

#[derive(clap::Args)]
struct DataDir {
    /// Where state, images and volumes are kept [default: /var/lib/quarry, or ~/.local/share/quarry]
    #[arg(long, value_name = "DIR", env = "QUARRY_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum AuthMode {
    On,
    Off,
}

impl DataDir {
    fn path(&self) -> Result<PathBuf> {
        self.data_dir.clone().map_or_else(installation::default_data_dir, Ok)
    }
}

fn main() -> ExitCode {
    // The runtime's own roles come first: they must run while the process has a single thread.
    if let Some(code) = quarry_runtime::dispatch() {
        return ExitCode::from(code as u8);
    }
    let arguments = Arguments::parse();
    // These go on without a reader: they have something to take away again.
    if !matches!(arguments.command, Command::Tour(_) | Command::Serve { .. } | Command::Proxy { .. }) {
        end_with_the_reader();
    }
    match run(arguments) {
        Ok(code) => code,
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => ExitCode::from(BROKEN_PIPE),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Tour(arguments) => return tour::run(arguments),
        Command::Serve { data, listen, console, auth, scaling_speed, host_folders, allow_outside: outside, quotas } => {
            log_to_stderr();
            let auth = match auth {
                AuthMode::On => Auth::On,
                AuthMode::Off => Auth::Off,
            };
            let data_dir = data.path()?;
            let mut all = quarry_control::Quotas::default();
            quotas.iter().try_for_each(|given| all.set(given)).map_err(|error| anyhow::anyhow!("--quota: {error}"))?;
            roles::serve::run(roles::serve::ServeOptions {
                data_dir,
                listen,
                console,
                auth,
                scaling_speed,
                host_folders,
                outside,
                quotas: all,
            })?;
        }
        Command::Env { command: Some(command), .. } => return quarry_cli::run_env(command, local),
        Command::Env { data, command: None } => env::run(&data.path()?)?,
        Command::Open { data, print } => open::run(&data.path()?, print)?,
        Command::Stop(data) => println!("{}", roles::stop::run(&data.path()?)?),
        Command::Doctor { data, json } => return doctor::run(&data.path()?, json),
        Command::Coverage { data, json, markdown } => {
            let form = match (json, markdown) {
                (true, _) => coverage::Form::Json,
                (_, true) => coverage::Form::Markdown,
                _ => coverage::Form::Text,
            };
            coverage::run(&data.path()?, form)?;
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "quarry", &mut script);
            std::io::stdout().write_all(&script)?;
        }
        Command::Client(command) => return quarry_cli::run(command, local),
        Command::Proxy { data, workers, replace: true, .. } => {
            println!("{}", roles::proxy::replace(&data.path()?, workers)?);
        }
        Command::Proxy { data, workers, replace: false, takes_over } => {
            log_to_stderr();
            let workers = workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
            roles::proxy::run(&data.path()?, workers, takes_over)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As a shell shows that SIGPIPE ended a program.
const BROKEN_PIPE: u8 = 128 + 13;

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

/// Whoever reads what is printed may stop, as `head` does: then the program ends, without a word. (`println!` panics.)
fn end_with_the_reader() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>();
        if said.is_some_and(|said| said.starts_with("failed printing to stdout: Broken pipe")) {
            std::process::exit(BROKEN_PIPE.into());
        }
        tell(panic);
    }));
}

/// The Quarry of a data directory, or the default one's, for the commands over the public API.
fn local(data_dir: Option<&Path>) -> Result<quarry_cli::Connection> {
    let dir = data_dir.map_or_else(installation::default_data_dir, |d| Ok(d.to_owned()))?;
    let installation = installation::Installation::open(&dir)?;
    let serving = installation.serving()?;
    let secrets = installation.secrets;
    Ok(quarry_cli::Connection {
        endpoint: serving.endpoint,
        region: secrets.region,
        access_key_id: secrets.access_key_id,
        secret_access_key: secrets.secret_access_key,
    })
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("QUARRY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr);
    // On a full disk a line of the log is lost; told of on the same log, this would end the thread.
    log.log_internal_errors(false).init();
}
