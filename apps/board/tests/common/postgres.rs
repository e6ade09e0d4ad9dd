//! A PostgreSQL server for tests.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use board::db::Storage;

/// A PostgreSQL server in a directory of its own, on a Unix socket only.
pub struct Postgres {
    binaries: PathBuf,
    dir: tempfile::TempDir,
    server: Option<Child>,
}

impl Postgres {
    /// `None` where PostgreSQL is not installed.
    pub fn start() -> Option<Postgres> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let binaries = versions
            .filter_map(|version| Some(version.ok()?.path().join("bin")))
            .find(|bin| bin.join("initdb").exists())?;
        let dir = tempfile::tempdir().unwrap();
        let mut postgres = Postgres { binaries, dir, server: None };
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(postgres.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = postgres.data();
        let made = postgres
            .command("initdb")
            .args(["--username=board", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb");
        postgres.run();
        Some(postgres)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// PostgreSQL refuses to run as root.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    pub fn run(&mut self) {
        let server = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=60",
                "-c",
                "wal_level=logical",
                "-k",
            ])
            .arg(self.dir.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.server = Some(server);
        for _ in 0..500 {
            let mut ready = self.command("pg_isready");
            let ready = ready.arg("-h").arg(self.dir.path()).stdout(Stdio::null());
            if ready.status().unwrap().success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("PostgreSQL did not start");
    }

    pub fn database(&self, name: &str) -> Storage {
        let mut create = self.command("createdb");
        let create = create.args(["-U", "board", "-h"]).arg(self.dir.path()).arg(name);
        assert!(create.status().unwrap().success());
        let host = encoded(self.dir.path());
        Storage::Postgres(format!("postgres://board@{host}/{name}"))
    }

    /// Ends the server at once; its own children end with it.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = rustix::process::Pid::from_child(&server);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            let _ = server.wait();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

const NOBODY: u32 = 65534;

fn encoded(path: &Path) -> String {
    path.to_str().unwrap().replace('/', "%2F")
}
