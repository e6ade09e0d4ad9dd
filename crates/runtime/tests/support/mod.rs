//! What this crate's tests share: a data directory, images of one static program, and asking a
//! task through its broker.
#![allow(dead_code)]

use quarry_domain::image::{LayerBlob, ResolvedImage};
use quarry_domain::isolation::Isolation;
use quarry_domain::link::{BrokerReply, BrokerRequest};
use quarry_domain::task::{
    ContainerSpec, ContainerState, Limits, ObservedTask, Signal, TaskEntry, TaskPhase, TaskRuntime, TaskSpec,
};
use quarry_runtime::{Runtime, RuntimeConfig};
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub const EXE: &str = env!("CARGO_BIN_EXE_quarry-runtime-harness");

/// A runtime over its own data directory. Dropping it ends and checks everything.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub runtime: Arc<Runtime>,
    image: ResolvedImage,
}

impl Place {
    /// `None`, with the reason printed, where this machine cannot do it.
    pub fn open(isolation: Isolation) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("qr").tempdir_in("/tmp").unwrap();
        let mut config = config(dir.path());
        config.isolation = Some(isolation);
        let runtime = match Runtime::open(config) {
            Ok(runtime) => runtime,
            Err(e) => {
                println!("skipped: {e}");
                return None;
            }
        };
        let program = program()?;
        let image = image(dir.path(), "base", &[("app", 0o755, &std::fs::read(program).unwrap())]);
        Some(Self { dir, runtime, image })
    }

    pub fn data(&self) -> &Path {
        self.dir.path()
    }

    /// A task of one container that runs the test program with `args`.
    pub fn task(&self, id: &str, args: &[&str]) -> TaskSpec {
        let isolated = self.runtime.isolation().isolation != Isolation::None;
        let last = id.bytes().fold(10u8, |a, b| a.wrapping_mul(31).wrapping_add(b)) | 1;
        TaskSpec {
            id: id.to_owned(),
            hostname: format!("host-{id}"),
            containers: vec![container(&self.image, "app", args)],
            address: isolated.then(|| Ipv4Addr::new(198, 18, 0, last)),
            private_address: isolated.then(|| Ipv4Addr::new(198, 19, 128, last)),
            dns: Some(quarry_runtime::HUB_ADDRESS),
            limits: Limits::default(),
        }
    }

    pub fn container(&self, name: &str, args: &[&str]) -> ContainerSpec {
        container(&self.image, name, args)
    }

    pub fn launch(&self, spec: &TaskSpec) {
        self.runtime.launch(spec).unwrap_or_else(|e| panic!("{}: {e}", spec.id));
    }

    pub fn wait(&self, id: &str, what: &str, accept: impl Fn(&ObservedTask) -> bool) -> ObservedTask {
        wait(&self.runtime, id, what, accept)
    }

    /// Runs a task to its end: its exit code and what it wrote.
    pub fn run(&self, spec: &TaskSpec) -> (ContainerState, String) {
        self.launch(spec);
        let seen = self.wait(&spec.id, "its end", |t| t.phase == TaskPhase::Exited);
        let log = std::fs::read_to_string(self.runtime.log_path(&spec.id, "app")).unwrap_or_default();
        (seen.containers[0].state.clone(), log)
    }

    /// The first line that the task's port answers with.
    pub fn ask(&self, id: &str, port: u16) -> io::Result<String> {
        let task = self.wait(id, "running", |t| t.phase == TaskPhase::Running);
        ask(task.entry.as_ref().unwrap(), port)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for task in self.runtime.observe().unwrap() {
            self.runtime.remove(&task.id).unwrap();
        }
        self.runtime.stop_hub().unwrap();
        let left = quarry_runtime::leftovers(self.dir.path());
        if !std::thread::panicking() {
            assert!(left.is_empty(), "{left:#?}");
        }
    }
}

pub fn config(data: &Path) -> RuntimeConfig {
    RuntimeConfig { exe: EXE.into(), ..RuntimeConfig::new(data.to_owned()) }
}

pub fn wait(runtime: &Runtime, id: &str, what: &str, accept: impl Fn(&ObservedTask) -> bool) -> ObservedTask {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = runtime.observe_one(id);
        if let Some(task) = &seen
            && accept(task)
        {
            return seen.unwrap();
        }
        assert!(Instant::now() < end, "{id}: waited for {what}, saw {seen:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn container(image: &ResolvedImage, name: &str, args: &[&str]) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: image.clone(),
        args: std::iter::once("/app").chain(args.iter().copied()).map(str::to_owned).collect(),
        env: Vec::new(),
        secrets: Default::default(),
        working_dir: String::new(),
        user: String::new(),
        health_check: None,
        depends_on: Vec::new(),
        start_timeout: None,
        read_only_root: false,
        init: false,
        mounts: Vec::new(),
        options: Default::default(),
        limits: Limits::default(),
        search: Vec::new(),
        ports: vec![3000],
    }
}

/// The path of the static test program, compiled once; `None` where no static C library is installed.
pub fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/task.rs");
            let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let (made, own) = (target.join("task"), target.join(format!("task-{}", std::process::id())));
            let time = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified()).ok();
            if time(&made) < time(Path::new(source)) {
                let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
                let output = Command::new(rustc)
                    .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols"])
                    .args(["-A", "warnings", "-o"])
                    .arg(&own)
                    .arg(source)
                    .output()
                    .unwrap();
                if !output.status.success() {
                    println!("skipped: no static program here: {}", String::from_utf8_lossy(&output.stderr));
                    return None;
                }
                std::fs::rename(&own, &made).unwrap();
            }
            Some(made)
        })
        .as_deref()
}

/// An image with one layer of these files.
pub fn image(dir: &Path, name: &str, files: &[(&str, u32, &[u8])]) -> ResolvedImage {
    let layer = layer_of(dir, name, files);
    ResolvedImage { digest: layer.digest.clone(), config: Default::default(), layers: vec![layer] }
}

pub fn layer_of(dir: &Path, name: &str, files: &[(&str, u32, &[u8])]) -> LayerBlob {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_cksum();
        tar.append_data(&mut header, path, *content).unwrap();
    }
    layer(dir, name, &tar.into_inner().unwrap())
}

pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// A gzip-compressed layer blob in `dir`.
pub fn layer(dir: &Path, name: &str, tar: &[u8]) -> LayerBlob {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(tar).unwrap();
    let bytes = gzip.finish().unwrap();
    blob(dir, name, &bytes, tar)
}

pub fn blob(dir: &Path, name: &str, stored: &[u8], tar: &[u8]) -> LayerBlob {
    let path = dir.join(format!("{name}.blob"));
    std::fs::write(&path, stored).unwrap();
    LayerBlob {
        digest: sha256(stored),
        diff_id: sha256(tar),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        path,
    }
}

/// One request to a broker, as the proxy makes it.
pub fn broker(path: &Path, request: &BrokerRequest) -> io::Result<Option<OwnedFd>> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::send(&socket, &serde_json::to_vec(request)?, SendFlags::NOSIGNAL)?;
    let mut buffer = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got =
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptor = fds.into_iter().next();
        }
    }
    match serde_json::from_slice(&buffer[..got.bytes])? {
        BrokerReply::Failed(reason) => Err(io::Error::other(reason)),
        BrokerReply::Descriptor | BrokerReply::Done => Ok(descriptor),
    }
}

/// Connects to a port of a task and reads one line; retries while it is refused.
pub fn ask(entry: &TaskEntry, port: u16) -> io::Result<String> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match ask_once(entry, port) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < end => {
                std::thread::sleep(Duration::from_micros(300));
            }
            other => return other,
        }
    }
}

fn ask_once(entry: &TaskEntry, port: u16) -> io::Result<String> {
    let mut stream = match entry {
        TaskEntry::Broker(path) => {
            let socket = broker(path, &BrokerRequest::Stream)?.expect("a descriptor");
            rustix::io::ioctl_fionbio(&socket, false)?;
            rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 2], 0)))?;
            rustix::net::connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port)))?;
            std::net::TcpStream::from(socket)
        }
        TaskEntry::Host(ports) => {
            let host = ports.iter().find(|(container, _)| *container == port).expect("a host port").1;
            std::net::TcpStream::connect(("127.0.0.1", host))?
        }
    };
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    stream.read_to_string(&mut line)?;
    Ok(line.trim().to_owned())
}

pub fn exited(state: &ContainerState) -> (i32, bool) {
    match state {
        ContainerState::Exited { code, oom_killed, .. } => (*code, *oom_killed),
        other => panic!("{other:?}"),
    }
}

pub fn kill(place: &Place, id: &str) {
    place.runtime.signal(id, None, Signal::Kill).unwrap();
}
