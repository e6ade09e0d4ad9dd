//! `quarry tour`: the job of the source documents from start to end, on a real Quarry of its own.
//! Every claim it prints was checked; the first that does not hold ends it with a reason.

mod answers;
mod board;
mod cleanup;
mod cut;
mod ecs;
mod faults;
mod images;
mod platform;
mod report;
mod screen;
mod split;
mod stack;
mod writes;

use crate::tour::platform::Quarry;
use crate::tour::report::Report;
use crate::tour::screen::Screen;
use anyhow::Result;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// The stack's and the cluster's name of the source documents.
const STACK: &str = "BreakTheMonolith-Demo";
/// The services that the monolith is broken into, in the documents' order.
const SERVICES: [&str; 3] = ["users", "threads", "posts"];
/// The one of them that goes back to the monolith once, with what was written meanwhile, before it leaves for good.
const ROLLED_BACK: &str = "posts";
/// The image tag of the documents.
const VERSION: &str = "v1";

/// How `quarry tour` was called.
#[derive(clap::Args)]
pub struct TourArguments {
    /// Leave everything running at the end and print the URLs.
    #[arg(long)]
    keep: bool,
    /// With --keep: stop before the cuts, so that they can be made by hand with `quarry cut`.
    #[arg(long, requires = "keep")]
    uncut: bool,
    /// Where to keep the tour's data [default: a new directory, removed at the end].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the tour's AWS endpoint listens [default: 127.0.0.1:4566, or a free port if it is taken].
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Requests per second of the steady load.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Writes per second while the monolith is broken up.
    #[arg(long, default_value_t = 60)]
    writes: u32,
    /// How long to watch the load after the traffic moved, and again after the kill, in seconds.
    #[arg(long, default_value_t = 2)]
    watch: u64,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs the tour; exits 0 only if everything held.
pub fn run(arguments: TourArguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(tour(arguments))
}

async fn tour(arguments: TourArguments) -> Result<ExitCode> {
    let screen = Screen::new(arguments.json);
    let mut report = Report::default();
    screen.title("The tour: a monolith becomes three services, and no client notices");

    let binaries = board::compile(&screen, &mut report)?;
    let quarry = Quarry::start(&arguments, &screen, &mut report).await?;
    // From here on, whatever happens, what was started is ended: by its destructor if not in order.
    let start = Instant::now();
    let services = match steps(&arguments, &screen, &mut report, &quarry, &binaries).await {
        Ok(services) => services,
        Err(error) => {
            screen.failed(&error);
            quarry.show_logs();
            if arguments.keep {
                quarry.leave_running(&screen);
            } else {
                quarry.destroy()?;
            }
            return Err(error.context("the tour ended early"));
        }
    };
    if arguments.keep {
        report.times.total = start.elapsed();
        screen.report(&report)?;
        quarry.leave_running(&screen);
    } else {
        cleanup::run(&screen, &mut report, quarry, services).await?;
        report.times.total = start.elapsed();
        screen.report(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn steps(
    arguments: &TourArguments,
    screen: &Screen,
    report: &mut Report,
    quarry: &Quarry,
    binaries: &board::Binaries,
) -> Result<split::Services> {
    let stack = stack::deploy(screen, report, quarry).await?;
    images::push(screen, report, quarry, binaries).await?;
    let monolith = ecs::deploy_monolith(screen, report, quarry, &stack).await?;
    let services = split::deploy(screen, report, quarry, &stack, &monolith).await?;
    if arguments.uncut {
        return Ok(services);
    }
    let load = split::start_load(screen, &monolith, arguments.rate).await?;
    let writing = writes::start(screen, &monolith.site, arguments.writes)?;
    split::run(screen, report, quarry, &monolith, &services, &load, &writing).await?;
    split::watch(screen, &load, arguments.watch).await?;
    writing.finish(screen, report, &monolith.site).await?;
    ecs::without_cut(screen, quarry, &services).await?;
    faults::kill_a_task(screen, report, quarry, &services, &load).await?;
    split::watch(screen, &load, arguments.watch).await?;
    faults::scale(screen, report, quarry, &services).await?;
    split::finish_load(screen, report, load).await?;
    Ok(services)
}
