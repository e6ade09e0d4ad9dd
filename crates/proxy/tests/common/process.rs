//! A proxy in a process of its own: this test program again, running the test `proxy_process` alone.

use super::{Dir, Serve};
use quarry_domain::link::Down;
use quarry_domain::snapshot::Snapshot;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

pub struct Process {
    child: Child,
    pub serve: Serve,
    dir: Dir,
    descriptors: u64,
}

const DIR: &str = "QUARRY_PROXY_TEST_DIR";
const DESCRIPTORS: &str = "QUARRY_PROXY_TEST_DESCRIPTORS";

/// What a test named `proxy_process` has to call; does nothing where it is run as a test.
pub fn be_proxy() {
    let Some(data_dir) = std::env::var_os(DIR) else { return };
    let most = std::env::var(DESCRIPTORS).unwrap().parse().ok();
    let limit = rustix::process::Rlimit { current: most, maximum: most };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let names: quarry_proxy::NameService = Arc::new(|_| Arc::new(|_, _, _| None));
    let config = quarry_proxy::ProxyConfig { data_dir: data_dir.into(), workers: 2, replace: false, names };
    quarry_proxy::run(config).unwrap();
}

impl Process {
    /// A proxy that may have so many descriptors and serves `snapshot`.
    pub fn serving(descriptors: u64, snapshot: &Snapshot) -> Self {
        let dir = Dir::new();
        let serve = Serve::start(&dir.0);
        let process = Self { child: spawn(&dir, descriptors), serve, dir, descriptors };
        process.serve.apply_healthy(snapshot);
        process
    }

    /// `kill -9`, and another one on its files.
    pub fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.serve.forget();
        self.child = spawn(&self.dir, self.descriptors);
    }
}

fn spawn(dir: &Dir, descriptors: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "proxy_process"]).env(DIR, &dir.0).env(DESCRIPTORS, descriptors.to_string());
    command.stdout(Stdio::null()).spawn().unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.serve.send(&Down::Stop);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
