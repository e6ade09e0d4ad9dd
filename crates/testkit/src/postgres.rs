//! A PostgreSQL server of the test's own, on loopback and in a directory that goes with it.

use crate::PATIENCE;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server with the superuser `postgres`. Ended when dropped.
pub struct Postgres {
    binaries: PathBuf,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
    /// Further settings, as `name=value`.
    settings: Vec<String>,
}

/// Everybody's password, which is asked for over TCP.
pub const PASSWORD: &str = "a-password-of-the-test";
/// PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

impl Postgres {
    /// Starts one with `wal_level=logical`. `None` after saying so where PostgreSQL is not installed, which fails
    /// under `CI=true`.
    pub fn start() -> Option<Self> {
        Self::start_with(&["wal_level=logical"])
    }

    pub fn start_with(settings: &[&str]) -> Option<Self> {
        let Some(binaries) = binaries() else {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs PostgreSQL");
            println!("skipped: PostgreSQL not found");
            return None;
        };
        Some(Self::made(binaries, settings).unwrap_or_else(|error| panic!("PostgreSQL: {error:#}")))
    }

    fn made(binaries: PathBuf, settings: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp")?;
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { binaries, dir, port: 0, child: None, settings };
        std::fs::write(server.path().join("password"), PASSWORD)?;
        if rustix::process::getuid().is_root() {
            for path in [server.path().to_owned(), server.path().join("password")] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))?;
            }
        }
        let made = server
            .command("initdb")
            .args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile=password"])
            .args(["--encoding=UTF8", "--locale=C", "--no-sync", "-D", "data"])
            .stdout(Stdio::null())
            .status()
            .context("initdb")?;
        ensure!(made.success(), "initdb: {made}");
        server.port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        server.run()?;
        Ok(server)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir(self.path()).stdin(Stdio::null());
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts it (again) and waits until it answers.
    pub fn run(&mut self) -> Result<()> {
        let mut command = self.command("postgres");
        command.args([
            "-D",
            "data",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "max_replication_slots=20",
        ]);
        command.arg("-c").arg(format!("port={}", self.port)).arg("-k").arg(self.path());
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = File::options().create(true).append(true).open(self.path().join("log"))?;
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().context("postgres")?);
        let begin = Instant::now();
        loop {
            let mut ready = self.command("pg_isready");
            ready.arg("-h").arg(self.path()).args(["-p", &self.port.to_string()]).stdout(Stdio::null());
            if ready.status()?.success() {
                return Ok(());
            }
            ensure!(begin.elapsed() < PATIENCE, "it does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a crash does; its own children end with it.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = rustix::process::kill_process(Pid::from_child(&child), Signal::QUIT);
            let _ = child.wait();
        }
    }

    /// Over TCP, with the password.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL as the superuser; what it prints, a line per row, columns with `|`.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-p", &self.port.to_string()]);
        let output = psql.arg("-h").arg(self.path()).args(["-d", database, "-c", sql]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What the server wrote down.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Where Debian puts the programs of a server.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).find(|bin| bin.join("initdb").exists())
}
