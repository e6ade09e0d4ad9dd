//! Ending everything of an installation: tasks, proxy, hub.

use crate::installation::Installation;
use crate::lock;
use anyhow::{Context, Result, bail};
use quarry_domain::task::{Signal, TaskPhase, TaskRuntime};
use quarry_runtime::{Runtime, RuntimeConfig};
use rustix::process::{Pid, kill_process};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long tasks may take to end by themselves before they are killed.
const GRACE: Duration = Duration::from_secs(10);

/// `quarry stop`: asks a running `serve` to end everything, or does it if `serve` is dead. Returns what
/// to say.
pub fn run(data_dir: &Path) -> Result<&'static str> {
    let installation = Installation::open(data_dir)?;
    if let Ok(serving) = installation.serving()
        && lock::is_held(&installation.data_dir.join("serve.lock"))
    {
        let pid = Pid::from_raw(serving.pid as i32).context("serve.json names no process")?;
        kill_process(pid, rustix::process::Signal::INT)
            .with_context(|| format!("cannot signal process {}: is it another user's?", serving.pid))?;
        let deadline = Instant::now() + GRACE + Duration::from_secs(20);
        while lock::is_held(&installation.data_dir.join("serve.lock")) {
            if Instant::now() > deadline {
                bail!("process {} does not end: see {}/log", serving.pid, installation.data_dir.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        return Ok("stopped");
    }
    let runtime = Runtime::open(RuntimeConfig::new(installation.data_dir.clone()))?;
    end_everything(&installation.data_dir, &runtime)?;
    Ok("serve was not running; ended what it had left")
}

/// Ends all tasks (SIGTERM, then SIGKILL), then the proxy, then the hub.
pub fn end_everything(data_dir: &Path, runtime: &Runtime) -> Result<()> {
    for task in runtime.observe()? {
        runtime.signal(&task.id, None, Signal::Term)?;
    }
    let deadline = Instant::now() + GRACE;
    loop {
        let live: Vec<_> = runtime
            .observe()?
            .into_iter()
            .filter(|task| matches!(task.phase, TaskPhase::Starting | TaskPhase::Running))
            .collect();
        if live.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            for task in &live {
                runtime.signal(&task.id, None, Signal::Kill)?;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for task in runtime.observe()? {
        runtime.remove(&task.id)?;
    }
    stop_proxy(data_dir)?;
    runtime.stop_hub()?;
    Ok(())
}

fn stop_proxy(data_dir: &Path) -> Result<()> {
    let path = data_dir.join("proxy/lock");
    let Some(pid) = lock::holder(&path) else { return Ok(()) };
    kill_process(pid, rustix::process::Signal::TERM)?;
    let deadline = Instant::now() + GRACE;
    while lock::is_held(&path) {
        if Instant::now() > deadline {
            kill_process(pid, rustix::process::Signal::KILL)?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
