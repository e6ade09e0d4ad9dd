//! A PostgreSQL server in a directory of its own, on a Unix socket only.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Killed when dropped.
pub struct Server {
    binaries: PathBuf,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

/// PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

impl Server {
    /// `None` where PostgreSQL is not installed.
    pub fn start() -> Option<Server> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let binaries = versions
            .filter_map(|version| Some(version.ok()?.path().join("bin")))
            .find(|bin| bin.join("initdb").exists())?;
        let mut server = Server { binaries, dir: tempfile::tempdir().unwrap(), child: None };
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(server.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let made = server
            .command("initdb")
            .args(["--username=app", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D", "data"])
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb");
        server.run();
        Some(server)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts the server and waits until it answers.
    pub fn run(&mut self) {
        let child = self
            .command("postgres")
            .args(["-D", "data", "-c", "listen_addresses=", "-c", "fsync=off", "-c", "wal_level=logical", "-k"])
            .arg(self.dir.path())
            .args(["-c", "max_replication_slots=20"])
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        for _ in 0..1500 {
            let mut ready = self.command("pg_isready");
            if ready.arg("-h").arg(self.dir.path()).stdout(Stdio::null()).status().unwrap().success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("PostgreSQL did not start");
    }

    /// A new database's URL.
    pub fn database(&self, name: &str) -> String {
        let mut create = self.command("createdb");
        let create = create.args(["-U", "app", "-h"]).arg(self.dir.path()).arg(name);
        assert!(create.status().unwrap().success());
        format!("postgres://app@{}/{name}", self.dir.path().to_str().unwrap().replace('/', "%2F"))
    }

    /// Ends the server as a crash does; its own children end with it.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}
