//! The holder of the hub: a small process that keeps the hub's network namespace (and for an
//! ordinary user the user namespace that owns it), so that no other process's death takes it away.
//!
//! When the holder itself dies, the hub lives on in the descriptors that the tasks' shims have of
//! it, and a [`Keeper`] starts another holder, which takes the hub on from any of them. Nothing is
//! made anew, so no task notices. Where no task runs, the new holder makes a new hub.

use crate::broker::{self, Answer, Broker, Client};
use crate::layout::{Layout, private_dir};
use crate::netlink::{LOOPBACK, Netlink};
use crate::record;
use crate::sys;
use quarry_domain::address::{PRIVATE, PRIVATE_PREFIX, is_private};
use quarry_domain::link::BrokerRequest;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The hub's own address unless configured otherwise.
pub const HUB_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);

/// Runs the holder of `data_dir`. Standard input must be its lock file, locked; one line on
/// standard output says `ready` or why not. To be called first thing in `main`, before any thread
/// exists. The caller ends with the code.
pub fn holder_main(data_dir: &Path) -> i32 {
    let lock = match crate::shim::detach() {
        Ok(Some(lock)) => lock,
        Ok(None) => return 0,
        Err(e) => {
            println!("{e}");
            return 1;
        }
    };
    match prepare(data_dir) {
        Ok((broker, hub)) => {
            println!("ready");
            let _ = io::stdout().flush();
            let _ = rustix::stdio::dup2_stdout(rustix::stdio::stderr());
            sys::trim_heap();
            hub.run(broker);
            drop(lock);
            0
        }
        Err(e) => {
            println!("{e}");
            1
        }
    }
}

/// What the child is told by its command line and environment.
const USER_NAMESPACE: &str = "QUARRY_HOLDER_USER_NAMESPACE";
const ADDRESS: &str = "QUARRY_HOLDER_ADDRESS";

struct Hub {
    link: std::cell::RefCell<Netlink>,
    stop: std::cell::Cell<bool>,
}

fn prepare(data_dir: &Path) -> io::Result<(Broker, Hub)> {
    let layout = Layout::new(data_dir)?;
    let socket = layout.hub_socket();
    let rootless = std::env::var_os(USER_NAMESPACE).is_some();
    let inherited = inherited(&layout, rootless);
    if let Some(hub) = &inherited {
        let enter = |fd: &OwnedFd, kind| move_into_link_name_space(fd.as_fd(), Some(kind));
        if let Some(user) = &hub.user {
            enter(user, LinkNameSpaceType::User).map_err(|e| named("entering the user namespace", e.into()))?;
        }
        enter(&hub.network, LinkNameSpaceType::Network).map_err(|e| named("entering the hub", e.into()))?;
    } else if rootless {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        sys::unshare(libc::CLONE_NEWUSER).map_err(|e| named("making a user namespace", e))?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(|e| named("mapping the user id", e))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(|e| named("mapping the group id", e))?;
    }
    if inherited.is_none() {
        sys::unshare(libc::CLONE_NEWNET).map_err(|e| named("making a network namespace", e))?;
    }
    let address = std::env::var(ADDRESS).ok().and_then(|a| a.parse().ok()).unwrap_or(HUB_ADDRESS);
    let mut link = Netlink::open()?;
    link.up(LOOPBACK)?;
    link.add_address(LOOPBACK, address)?;
    link.local_network(PRIVATE, PRIVATE_PREFIX).map_err(|e| named("routing the private addresses", e))?;
    harden()?;
    let broker = Broker::listen(&socket)?;
    Ok((broker, Hub { link: link.into(), stop: false.into() }))
}

/// The hub of a holder that died.
struct Inherited {
    network: OwnedFd,
    /// Of an ordinary user.
    user: Option<OwnedFd>,
}

/// Asks the tasks' shims, until one has it.
fn inherited(layout: &Layout, rootless: bool) -> Option<Inherited> {
    fs::read_dir(layout.tasks()).ok()?.flatten().find_map(|task| {
        let shim = Client::connect(&task.path().join("s")).ok()?;
        let network = shim.descriptor(&BrokerRequest::HubNamespace).ok()?;
        let user = if rootless { Some(shim.descriptor(&BrokerRequest::UserNamespace).ok()?) } else { None };
        Some(Inherited { network, user })
    })
}

/// Tasks reach the hub and nothing through it, under their own address only.
fn harden() -> io::Result<()> {
    let forwarding = "/proc/sys/net/ipv4/ip_forward";
    let _ = fs::write(forwarding, "0");
    for name in ["all", "default"] {
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    }
    if fs::read_to_string(forwarding)?.trim() != "0" {
        return Err(io::Error::other("the hub forwards packets (net.ipv4.ip_forward) and that cannot be turned off"));
    }
    for name in ["all", "default"] {
        let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "1");
    }
    Ok(())
}

fn named(step: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{step}: {error}"))
}

impl Hub {
    fn run(&self, mut broker: Broker) {
        while !self.stop.get() {
            match broker::wait(broker.descriptors(), None) {
                Ok(ready) => broker.serve(&ready, |request| self.answer(request)),
                Err(e) => {
                    eprintln!("holder: {e}");
                    return;
                }
            }
        }
    }

    fn answer(&self, request: BrokerRequest) -> Answer {
        let namespace = |name: &str| File::open(format!("/proc/self/ns/{name}")).map(|f| Some(f.into()));
        let result = match request {
            BrokerRequest::Stream => return broker::stream_socket(),
            BrokerRequest::Listen { address } => self.bound(address, SocketType::STREAM).map(Some),
            BrokerRequest::Datagram { address } => self.bound(address, SocketType::DGRAM).map(Some),
            BrokerRequest::NetworkNamespace => namespace("net"),
            BrokerRequest::UserNamespace => namespace("user"),
            BrokerRequest::Release { address } => {
                self.link.borrow_mut().remove_address(LOOPBACK, address).map(|()| None)
            }
            BrokerRequest::Stop => {
                self.stop.set(true);
                Ok(None)
            }
            BrokerRequest::Signal { .. } => Err(io::Error::other("the hub's holder has no containers")),
            BrokerRequest::Exec { .. } => Err(io::Error::other("the hub's holder has no containers")),
            BrokerRequest::HubNamespace => Err(io::Error::other("this is asked of shims")),
        };
        match result {
            Ok(Some(descriptor)) => Answer::Descriptor(descriptor),
            Ok(None) => Answer::Done,
            Err(e) => Answer::Failed(e.to_string()),
        }
    }

    /// A bound socket, listening if it is a stream. Several may have the same address, so that one
    /// proxy can follow another without a gap.
    fn bound(&self, address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
        if let IpAddr::V4(ip) = address.ip()
            && !ip.is_loopback()
            && !ip.is_unspecified()
            && !is_private(ip)
        {
            self.link.borrow_mut().add_address(LOOPBACK, ip).map_err(|e| named("adding the address", e))?;
        }
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
        rustix::net::bind(&socket, &address).map_err(|e| named(&format!("bind {address}"), e.into()))?;
        if kind == SocketType::STREAM {
            rustix::net::listen(&socket, 1024)?;
        }
        Ok(socket)
    }
}

/// How a holder is started.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub layout: Layout,
    pub exe: PathBuf,
    pub rootless: bool,
    pub address: Ipv4Addr,
}

/// Starts another holder when one died, until it is released or dropped.
pub(crate) struct Keeper {
    /// Locked while a holder is started.
    wanted: Arc<Mutex<bool>>,
}

impl Keeper {
    pub fn start(settings: Settings) -> io::Result<Self> {
        let wanted = Arc::new(Mutex::new(true));
        let keeper = Self { wanted: wanted.clone() };
        let keep = move || {
            loop {
                wait_for_end(&settings.layout, &wanted);
                let wanted = locked(&wanted);
                if !*wanted {
                    return;
                }
                match ensure(&settings) {
                    Ok(()) => continue,
                    Err(error) => tracing::error!(%error, "the hub's holder cannot be started; it is tried again"),
                }
                drop(wanted);
                std::thread::sleep(Duration::from_secs(1));
            }
        };
        std::thread::Builder::new().name("hub-keeper".to_owned()).stack_size(256 << 10).spawn(keep)?;
        Ok(keeper)
    }

    /// When this returns, no holder is started any more.
    pub fn release(&self) {
        *locked(&self.wanted) = false;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.release();
    }
}

fn locked(wanted: &Mutex<bool>) -> MutexGuard<'_, bool> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns when no holder answers, or within a second when it is no longer wanted.
fn wait_for_end(layout: &Layout, wanted: &Mutex<bool>) {
    let Ok(holder) = Client::connect(&layout.hub_socket()) else { return };
    while *locked(wanted) {
        // The holder says nothing unasked: readable means that it hung up.
        let mut set = [PollFd::new(&holder, PollFlags::IN)];
        if matches!(rustix::event::poll(&mut set, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })), Ok(n) if n > 0) {
            return;
        }
    }
}

/// Starts the holder unless one lives. Returns once its socket answers.
pub(crate) fn ensure(settings: &Settings) -> io::Result<()> {
    let Settings { layout, exe, rootless, address } = settings;
    private_dir(&layout.hub())?;
    private_dir(&layout.data().join("log"))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let lock_path = layout.hub().join("lock");
    let lock = loop {
        if let Some(lock) = record::try_lock(&lock_path)? {
            break lock;
        }
        // One lives, or is being started by another process just now.
        if Client::connect(&layout.hub_socket()).is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("the hub's holder lives but does not answer: `quarry stop` ends it"));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let log = fs::OpenOptions::new().append(true).create(true).open(layout.log("holder.log"))?;
    let mut command = Command::new(exe);
    command.arg0("quarry").arg("holder").arg(layout.data()).env(ADDRESS, address.to_string());
    if *rootless {
        command.env(USER_NAMESPACE, "1");
    }
    let mut child = command.stdin(Stdio::from(lock)).stdout(Stdio::piped()).stderr(log).spawn()?;
    drop(command);
    let mut said = String::new();
    if let Some(output) = child.stdout.take() {
        output.take(4096).read_to_string(&mut said)?;
    }
    child.wait()?;
    if said.trim() == "ready" {
        return Ok(());
    }
    let said = if said.trim().is_empty() { "it ended without a word" } else { said.trim() };
    Err(io::Error::other(format!("the hub cannot be made: {said}")))
}

/// Ends the holder, if one lives, and waits for its end.
pub(crate) fn stop(layout: &Layout) -> io::Result<()> {
    let lock = layout.hub().join("lock");
    if !lock.exists() {
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while record::is_locked(&lock)? {
        if let Ok(client) = Client::connect(&layout.hub_socket()) {
            let _ = client.ask(&BrokerRequest::Stop);
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("the hub's holder does not end"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // With the lock in hand, so that a holder that starts this moment keeps its socket.
    let Some(_lock) = record::try_lock(&lock)? else { return Ok(()) };
    match fs::remove_file(layout.hub_socket()) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The holder's user namespace, for the probe.
pub(crate) fn make_user_namespace() -> io::Result<OwnedFd> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (hold, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = match sys::fork(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)? {
        sys::Forked::Child => {
            drop(release);
            let _ = rustix::io::read(hold.as_fd(), &mut [0u8; 1][..]);
            sys::exit_now(0)
        }
        sys::Forked::Parent(pid) => pid,
    };
    drop(hold);
    let made = (|| {
        fs::write(format!("/proc/{child}/setgroups"), "deny")?;
        fs::write(format!("/proc/{child}/uid_map"), format!("0 {uid} 1"))?;
        fs::write(format!("/proc/{child}/gid_map"), format!("0 {gid} 1"))?;
        Ok(File::open(format!("/proc/{child}/ns/user"))?.into())
    })();
    drop(release);
    sys::wait_child(child)?;
    made
}
