//! A PostgreSQL server in a directory of its own, on a Unix socket, and on loopback with TLS.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Killed when dropped.
pub struct Server {
    binaries: PathBuf,
    dir: tempfile::TempDir,
    child: Option<Child>,
    port: u16,
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
        let mut server = Server { binaries, dir: tempfile::tempdir().unwrap(), child: None, port: 0 };
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(server.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let made = server
            .command("initdb")
            .args(["--username=app", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D", "data"])
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        server.write("server.crt", &made.cert.pem());
        server.write("server.key", &made.signing_key.serialize_pem());
        server.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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

    /// A file that only the server may read.
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// A file of the server's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the server and waits until it answers.
    pub fn run(&mut self) {
        let child = self
            .command("postgres")
            .args([
                "-D",
                "data",
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=off",
                "-c",
                "wal_level=logical",
                "-k",
            ])
            .arg(self.dir.path())
            .args(["-c", "max_replication_slots=20", "-c", "ssl=on", "-c", "ssl_cert_file=../server.crt"])
            .args(["-c", "ssl_key_file=../server.key", "-p", &self.port.to_string()])
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        for _ in 0..1500 {
            let mut ready = self.command("pg_isready");
            if ready
                .args(["-p", &self.port.to_string(), "-h"])
                .arg(self.dir.path())
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .success()
            {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("PostgreSQL did not start");
    }

    /// A new database's URL.
    pub fn database(&self, name: &str) -> String {
        let mut create = self.command("createdb");
        let create = create.args(["-U", "app", "-p", &self.port.to_string(), "-h"]).arg(self.dir.path()).arg(name);
        assert!(create.status().unwrap().success());
        format!("postgres://app@{}:{}/{name}", self.dir.path().to_str().unwrap().replace('/', "%2F"), self.port)
    }

    /// Over TCP.
    pub fn at(&self, host: &str, name: &str) -> String {
        format!("postgres://app@{host}:{}/{name}", self.port)
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
