//! A whole platform per test: the real binary on free ports, in a directory of its own, ended and
//! removed when the test ends however it ends.

mod aws_cli;
pub mod browser;
pub mod image;
pub mod postgres;
pub mod tls;

use anyhow::{Context, Result, bail, ensure};
use quarry_client::{Client, Credentials};
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::ops::Not;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Names the directory under which platforms are made, where it is not /tmp.
pub const DIRECTORY: &str = "QUARRY_TEST_DIRECTORY";

/// How long anything may take on a slow machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running Quarry.
pub struct Platform {
    exe: PathBuf,
    data: TempDir,
    serve: Option<Child>,
    isolation: Option<String>,
    /// The region of a new installation, where it is not this process's.
    region: Option<String>,
    /// Further arguments of `serve`.
    options: Vec<String>,
    /// The point at which `serve` ends.
    failpoint: Option<String>,
    pub endpoint: String,
}

impl Platform {
    /// Starts `exe serve` with what isolation the machine allows.
    pub fn start(exe: impl Into<PathBuf>) -> Result<Self> {
        Self::start_with(exe, None)
    }

    /// Starts it with an isolation forced: `none`, `rootless`, `user-namespaces`.
    pub fn start_with(exe: impl Into<PathBuf>, isolation: Option<&str>) -> Result<Self> {
        Self::start_as(exe, isolation, &[])
    }

    /// Starts one that is in a region.
    pub fn start_in(exe: impl Into<PathBuf>, region: &str) -> Result<Self> {
        let mut platform = Self::new(exe, None, &[])?;
        platform.region = Some(region.to_owned());
        platform.serve("127.0.0.1:0")?;
        Ok(platform)
    }

    /// Starts it with further arguments of `serve`.
    pub fn start_as(exe: impl Into<PathBuf>, isolation: Option<&str>, options: &[&str]) -> Result<Self> {
        let mut platform = Self::new(exe, isolation, options)?;
        platform.serve("127.0.0.1:0")?;
        Ok(platform)
    }

    fn new(exe: impl Into<PathBuf>, isolation: Option<&str>, options: &[&str]) -> Result<Self> {
        // Sockets live below the directory, and their paths are bounded.
        let data = tempfile::Builder::new()
            .prefix("q")
            .tempdir_in(std::env::var_os(DIRECTORY).unwrap_or_else(|| "/tmp".into()))?;
        let isolation = isolation.map(str::to_owned);
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let (exe, endpoint) = (exe.into(), String::new());
        Ok(Self { exe, data, serve: None, isolation, region: None, options, failpoint: None, endpoint })
    }

    /// Takes over a Quarry that already runs in a directory.
    pub fn adopt(exe: impl Into<PathBuf>, data: TempDir) -> Result<Self> {
        let mut platform = Self {
            exe: exe.into(),
            data,
            serve: None,
            isolation: None,
            region: None,
            options: Vec::new(),
            failpoint: None,
            endpoint: String::new(),
        };
        platform.endpoint = platform.serving()?["endpoint"].as_str().context("serve.json has no endpoint")?.to_owned();
        Ok(platform)
    }

    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// SIGKILL to `serve`, as a crash.
    pub fn kill_serve(&mut self) -> Result<()> {
        self.end_serve(Signal::KILL)
    }

    /// SIGTERM to `serve`: it ends, tasks and load balancers go on.
    pub fn terminate_serve(&mut self) -> Result<()> {
        self.end_serve(Signal::TERM)
    }

    fn end_serve(&mut self, signal: Signal) -> Result<()> {
        if let Some(mut serve) = self.serve.take() {
            rustix::process::kill_process(Pid::from_child(&serve), signal)?;
            serve.wait()?;
            return Ok(());
        }
        // Adopted: not our child.
        let pid = self.serving()?["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32)).context("no pid")?;
        rustix::process::kill_process(pid, signal)?;
        // Whoever inherited it may take a while to collect it.
        let stat = format!("/proc/{}/stat", pid.as_raw_pid());
        wait_for("serve is gone", || {
            std::fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") Z ")).not().then_some(())
        });
        Ok(())
    }

    /// Starts `serve` again where it listened before.
    pub fn restart_serve(&mut self) -> Result<()> {
        let listen = self.endpoint.trim_start_matches("http://").to_owned();
        self.serve(&listen)
    }

    /// The same; it aborts when it comes to this failpoint. Without waiting for it to answer: it may not come so far.
    pub fn restart_serve_until(&mut self, failpoint: &str) -> Result<()> {
        self.failpoint = Some(failpoint.to_owned());
        let started = self.restart_serve();
        self.failpoint = None;
        match started {
            Err(_) if self.has_aborted() => Ok(()),
            started => started,
        }
    }

    /// Whether `serve` has ended by itself.
    pub fn has_aborted(&mut self) -> bool {
        let ended = self.serve.as_mut().is_some_and(|serve| matches!(serve.try_wait(), Ok(Some(_))));
        if ended {
            self.serve = None;
        }
        ended || self.serve.is_none()
    }

    /// A signed client with the installation's own credentials.
    pub fn client(&self) -> Result<Client> {
        let secret = self.secrets()?;
        let text = |name: &str| secret[name].as_str().unwrap_or_default().to_owned();
        let credentials = Credentials::new(text("access_key_id"), text("secret_access_key"), None);
        Ok(Client::new(&self.endpoint, text("region"), credentials)?)
    }

    /// The variables of `quarry env`, for clients that nobody here wrote, and a `PATH` where `aws` starts quickly.
    pub fn env(&self) -> Result<Vec<(String, String)>> {
        let printed = self.quarry(&["env"])?;
        let text = String::from_utf8(printed.stdout)?;
        let exports = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        let exports = exports.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()));
        Ok(exports.chain(aws_cli::path().map(|path| ("PATH".to_owned(), path))).collect())
    }

    /// Runs another command of the binary on this installation.
    pub fn quarry(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments).output()?)
    }

    /// The log of `serve`, for a failed test's message.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join("serve.out")).unwrap_or_default()
    }

    /// What a running `serve` says of itself.
    pub fn serving(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.data.path().join("serve.json"))?)?)
    }

    fn secrets(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.data.path().join("secrets.json"))?)?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.exe);
        command.args(arguments).arg("--data-dir").arg(self.data.path()).stdin(Stdio::null());
        command.env_remove("QUARRY_DATA_DIR").env_remove("AWS_ENDPOINT_URL");
        if let Some(isolation) = &self.isolation {
            command.env("QUARRY_ISOLATION", isolation);
        }
        command.env_remove("QUARRY_FAILPOINT");
        command
    }

    fn serve(&mut self, listen: &str) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.data.path().join("serve.out"))?;
        let child = self
            .command(&["serve", "--listen", listen])
            .args(&self.options)
            .envs(self.region.iter().map(|region| ("AWS_REGION", region)))
            .envs(self.failpoint.iter().map(|point| ("QUARRY_FAILPOINT", point)))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pid = child.id();
        let serve = self.serve.insert(child);
        let start = Instant::now();
        loop {
            let serving = self.data.path().join("serve.json");
            let text = std::fs::read(serving).unwrap_or_default();
            let serving: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
            if serving["pid"] == pid {
                self.endpoint = serving["endpoint"].as_str().context("serve.json has no endpoint")?.to_owned();
                return Ok(());
            }
            if let Some(status) = serve.try_wait()? {
                bail!("serve ended ({status}): {}", self.log());
            }
            ensure!(start.elapsed() < PATIENCE, "serve did not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // Also ends what a killed serve left: tasks, proxy, hub.
        match self.quarry(&["stop"]) {
            Ok(stopped) if stopped.status.success() => {}
            Ok(stopped) => eprintln!("quarry stop: {}", String::from_utf8_lossy(&stopped.stderr).trim()),
            Err(error) => eprintln!("quarry stop: {error:#}"),
        }
        if let Some(mut serve) = self.serve.take() {
            let _ = serve.kill();
            let _ = serve.wait();
        }
    }
}

/// Waits until `f` gives something. Panics with `what` when patience ends.
pub fn wait_for<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = f() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Where a program is, or `None` after saying that its test is skipped. Under `CI=true` a missing
/// client fails the test instead.
pub fn client_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{name} not found, and CI=true");
        println!("skipped: {name} not found");
    }
    found
}
