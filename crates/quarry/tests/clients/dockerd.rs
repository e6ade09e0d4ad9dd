//! A Docker daemon for a test.

use quarry_testkit::wait_for;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A dockerd of the test's own, with its files below one directory; it touches no network and mounts no file system.
pub struct Dockerd {
    process: Child,
    dir: PathBuf,
}

impl Dockerd {
    /// `None`, after saying why, where docker is missing or cannot start. Also in CI: a dockerd needs privileges (its
    /// own control groups, mounts, uid 0) that a runner may lack, and what it would show of the registry's protocol
    /// is shown without it.
    pub fn start(dir: &Path) -> Option<Self> {
        let found = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let sbin = PathBuf::from("/usr/sbin");
            std::env::split_paths(&path).chain([sbin]).map(|dir| dir.join(name)).find(|file| file.is_file())
        };
        let (Some(dockerd), Some(_)) = (found("dockerd"), found("docker")) else {
            println!("skipped: dockerd or docker not found");
            return None;
        };
        let (log, at) = (dir.join("log"), |name: &str| dir.join(name).display().to_string());
        let mut command = Command::new(dockerd);
        command.args(["--iptables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"]);
        command.args(["--default-ulimit", "nofile=4096:4096", "--storage-driver", "vfs"]);
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
        command.args(["--host", &format!("unix://{}", at("sock"))]).stdin(Stdio::null());
        command.stdout(File::create(&log).unwrap()).stderr(File::options().append(true).open(&log).unwrap());
        let mut started = Self { process: command.spawn().unwrap(), dir: dir.to_owned() };
        let answers = wait_for("dockerd answers or ends", || {
            if started.process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let info = started.docker("docker info").output().unwrap();
            info.status.success().then_some(true)
        });
        if !answers {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            println!("skipped: dockerd cannot start here: {}", log.lines().last().unwrap_or("it says nothing"));
            return None;
        }
        Some(started)
    }

    /// A line as typed, in a shell that finds this dockerd.
    fn docker(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", line]).stdin(Stdio::null());
        self.env(&mut command);
        command
    }

    /// As `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.join("sock").display())
    }

    pub fn env(&self, command: &mut Command) {
        command.env("DOCKER_HOST", self.host());
        // The builder that needs no plugin.
        command.env("DOCKER_CONFIG", self.dir.join("config")).env("DOCKER_BUILDKIT", "0");
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            // It ends its containerd itself when it is asked to stop.
            let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        }
        let _ = self.process.wait();
    }
}
