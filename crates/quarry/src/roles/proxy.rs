//! The data plane as a process of its own: started detached, kept running, found again.

use crate::lock;
use anyhow::{Context, Result};
use quarry_dns::{Names, Transport};
use quarry_proxy::ProxyConfig;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::process::PidfdFlags;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Runs the data plane until SIGTERM. With `replace` it takes over from the one that runs.
pub fn run(data_dir: &Path, workers: usize, replace: bool) -> Result<()> {
    super::raise_open_files();
    let config = ProxyConfig {
        data_dir: data_dir.to_owned(),
        workers,
        replace,
        names: Arc::new(|snapshot| {
            let names = Names::new(snapshot);
            Arc::new(move |packet, from, over_tcp| {
                let transport = if over_tcp { Transport::Tcp } else { Transport::Udp };
                quarry_dns::answer(packet, &names, from, transport)
            })
        }),
    };
    crate::logs::keep_bounded(data_dir)?;
    quarry_proxy::run(config).context("the proxy ended")
}

/// Replaces the running proxy by one of this program, and says so. Without one that runs, it just starts one.
pub fn replace(data_dir: &Path, workers: Option<usize>) -> Result<String> {
    let before = lock::holder(&lock_path(data_dir));
    let mut arguments = vec!["--takes-over".to_owned()];
    arguments.extend(workers.map(|n| format!("--workers={n}")));
    let now = spawn(data_dir, &arguments, true)?;
    Ok(match before {
        Some(before) => format!(
            "The proxy of process {now} has taken over from process {}, which ends with its last connection.",
            before.as_raw_nonzero()
        ),
        None => format!("No proxy was running; process {now} is one."),
    })
}

/// Watches over the proxy of a data directory from `serve`.
pub struct ProxyProcess {
    /// Locked while a proxy is started.
    wanted: Arc<Mutex<bool>>,
}

impl ProxyProcess {
    /// Starts the proxy if none runs, now and whenever it is gone.
    pub fn keep_running(data_dir: &Path) -> Result<Self> {
        if !is_running(data_dir) {
            start(data_dir)?;
        }
        let wanted = Arc::new(Mutex::new(true));
        let keeper = Self { wanted: wanted.clone() };
        let dir = data_dir.to_owned();
        std::thread::Builder::new().name("proxy-keeper".into()).stack_size(128 << 10).spawn(move || {
            loop {
                wait_until_gone(&dir, &wanted);
                let begun = Instant::now();
                let wanted = locked(&wanted);
                if !*wanted {
                    return;
                }
                if is_running(&dir) {
                    // It has the lock and has not written down its id yet.
                    drop(wanted);
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                tracing::warn!("the proxy is gone; starting it again");
                let started = start(&dir);
                drop(wanted);
                if let Err(error) = started {
                    tracing::error!(%error, "the proxy cannot be started");
                    std::thread::sleep(AGAIN.saturating_sub(begun.elapsed()));
                }
            }
        })?;
        Ok(keeper)
    }

    /// Stops watching; the proxy itself goes on. When this returns, none is started any more.
    pub fn release(&self) {
        *locked(&self.wanted) = false;
    }
}

/// Between two attempts to start a proxy.
const AGAIN: Duration = Duration::from_secs(1);
/// A proxy that lives has its lock within this time.
const STARTS: Duration = Duration::from_secs(10);

fn locked(wanted: &Mutex<bool>) -> MutexGuard<'_, bool> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a proxy holds the data directory's lock.
pub fn is_running(data_dir: &Path) -> bool {
    lock::is_held(&lock_path(data_dir))
}

fn lock_path(data_dir: &Path) -> PathBuf {
    data_dir.join("proxy/lock")
}

/// Returns when no proxy holds the lock, or within a second when it is no longer wanted.
fn wait_until_gone(data_dir: &Path, wanted: &Mutex<bool>) {
    while *locked(wanted) {
        let Some(process) = holder(data_dir) else { return };
        let mut ready = [PollFd::new(&process, PollFlags::IN)];
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        // The descriptor becomes readable when the process ends.
        if matches!(rustix::event::poll(&mut ready, Some(&second)), Ok(n) if n > 0) {
            return;
        }
    }
}

/// The process that holds the lock, if one does.
fn holder(data_dir: &Path) -> Option<OwnedFd> {
    let process = rustix::process::pidfd_open(lock::holder(&lock_path(data_dir))?, PidfdFlags::empty()).ok()?;
    // Only now: had the process ended before, its lock would be free and its id perhaps another's.
    is_running(data_dir).then_some(process)
}

/// Starts a detached proxy and waits until it holds its lock.
fn start(data_dir: &Path) -> Result<()> {
    spawn(data_dir, &[], false).map(drop)
}

/// The same; returns its process id. With `takes_over`, the lock may be held by another one at first.
fn spawn(data_dir: &Path, arguments: &[String], takes_over: bool) -> Result<u32> {
    let log = File::options().create(true).append(true).open(data_dir.join("log/proxy.log"))?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("proxy")
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the proxy")?;
    let id = child.id();
    let deadline = Instant::now() + STARTS;
    let failed = loop {
        let holds = match takes_over {
            true => lock::holder(&lock_path(data_dir)).is_some_and(|holder| holder.as_raw_nonzero().get() as u32 == id),
            false => is_running(data_dir),
        };
        if holds {
            break None;
        }
        if let Some(status) = child.try_wait()? {
            break Some(format!("ended with {status}"));
        }
        if Instant::now() > deadline {
            break Some(format!("has no lock after {} s", STARTS.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // Reaped here while `serve` lives; by init afterwards.
    std::thread::Builder::new().name("proxy-reaper".into()).stack_size(64 << 10).spawn(move || child.wait())?;
    match failed {
        None => Ok(id),
        Some(how) => anyhow::bail!("the proxy {how}: see {}", data_dir.join("log/proxy.log").display()),
    }
}
