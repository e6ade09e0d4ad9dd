//! Ending everything of an installation: tasks, proxy, hub.

use crate::installation::Installation;
use crate::lock;
use anyhow::{Context, Result, bail};
use quarry_domain::task::{Signal, TaskPhase, TaskRuntime};
use quarry_runtime::{Runtime, RuntimeConfig};
use rustix::process::kill_process;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long tasks may take to end by themselves before they are killed.
const GRACE: Duration = Duration::from_secs(10);
/// When those that still run are asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// `quarry stop`: asks a running `serve` to end everything, and does what it could not. Returns what to
/// say.
pub fn run(data_dir: &Path) -> Result<&'static str> {
    let installation = Installation::open(data_dir)?;
    let data_dir = &installation.data_dir;
    let path = data_dir.join("serve.lock");
    let deadline = Instant::now() + GRACE + Duration::from_secs(20);
    let mut asked = None;
    // Held until the end, so that no `serve` begins to start what is ended here.
    let _lock = loop {
        if let Some(lock) = lock::take(&path).with_context(|| format!("cannot lock {}", path.display()))? {
            break lock;
        }
        // The lock names its holder: `serve.json` may be of one that was killed.
        if let Some(pid) = lock::holder(&path)
            && asked != Some(pid)
        {
            kill_process(pid, rustix::process::Signal::INT)
                .with_context(|| format!("cannot signal process {pid}: is it another user's?"))?;
            asked = Some(pid);
        }
        if Instant::now() > deadline {
            bail!("serve does not end: see {}/log", data_dir.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // Also after `serve` ended: asked in its first moments, it had not yet learnt to end anything.
    let runtime = Runtime::open(RuntimeConfig::new(data_dir.clone()))?;
    end_everything(data_dir, &runtime)?;
    Ok(match asked {
        Some(_) => "stopped",
        None => "serve was not running; ended what it had left",
    })
}

/// Ends all tasks (SIGTERM, then SIGKILL), then the proxy, then the hub.
pub fn end_everything(data_dir: &Path, runtime: &Runtime) -> Result<()> {
    let begun = Instant::now();
    // Asked twice: a program that has just begun may not listen to signals yet, and as the first process
    // of its namespace it then never hears of the first one.
    let mut asked_at = [Duration::ZERO, AGAIN].into_iter().peekable();
    loop {
        let live: Vec<_> = runtime
            .observe()?
            .into_iter()
            .filter(|task| matches!(task.phase, TaskPhase::Starting | TaskPhase::Running))
            .collect();
        if live.is_empty() {
            break;
        }
        let signal = match begun.elapsed() {
            late if late > GRACE => Some(Signal::Kill),
            early => asked_at.next_if(|at| early >= *at).map(|_| Signal::Term),
        };
        if let Some(signal) = signal {
            for task in &live {
                runtime.signal(&task.id, None, signal)?;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // What cannot be removed keeps nothing else alive.
    let tasks = runtime.observe()?;
    let removed: Vec<_> = tasks
        .iter()
        .map(|task| runtime.remove(&task.id).with_context(|| format!("cannot remove what task {} left", task.id)))
        .collect();
    stop_proxy(data_dir)?;
    runtime.stop_hub()?;
    removed.into_iter().collect()
}

fn stop_proxy(data_dir: &Path) -> Result<()> {
    let path = data_dir.join("proxy/lock");
    let deadline = Instant::now() + GRACE;
    let mut asked = None;
    while lock::is_held(&path) {
        let late = Instant::now() > deadline;
        // One that starts this moment has not written down its id yet.
        if let Some(pid) = lock::holder(&path)
            && (late || asked != Some(pid))
        {
            let signal = if late { rustix::process::Signal::KILL } else { rustix::process::Signal::TERM };
            match kill_process(pid, signal) {
                Err(rustix::io::Errno::SRCH) | Ok(()) => asked = Some(pid),
                Err(error) => return Err(error).context("cannot end the proxy"),
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
