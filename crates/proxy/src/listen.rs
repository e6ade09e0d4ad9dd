//! Which sockets listen where: each listener on its load balancer's own loopback address, all
//! listeners of a port together on 127.0.0.1, and each on the hub.

use crate::broker::Brokers;
use crate::handover;
use crate::screen::{Screen, Screens};
use crate::table::Place;
use crate::worker::Command;
use quarry_domain::link::{BrokerRequest, ListenerStatus};
use quarry_domain::snapshot::{RelayListen, Snapshot};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::sync::mpsc::UnboundedSender;

/// A socket that should listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Want {
    /// A listener's port at its load balancer's own address.
    Own {
        arn: String,
        address: Ipv4Addr,
        port: u16,
    },
    /// A port at 127.0.0.1.
    Shared {
        port: u16,
    },
    /// A listener's port at its load balancer's hub address.
    Hub {
        arn: String,
        address: Ipv4Addr,
        port: u16,
        broker: PathBuf,
    },
    RelayHost(SocketAddr),
    RelayHub(SocketAddr, PathBuf),
}

/// All sockets that listen, and those that should and cannot.
pub struct Listening {
    workers: Vec<UnboundedSender<Command>>,
    brokers: Rc<Brokers>,
    bound: HashMap<Want, Bound>,
    failed: HashMap<Want, String>,
    /// Of the update before, so that nothing is said again every second.
    said: HashMap<Want, String>,
    next_id: u64,
}

struct Bound {
    id: u64,
    address: SocketAddr,
    /// Why it is not the port that was asked for.
    moved: Option<String>,
    /// What the workers have too: kept to be handed over.
    sockets: Vec<TcpListener>,
    /// In force; `None`: not known.
    screen: Option<Screen>,
}

/// Where a port may not be bound, this much is added first.
const ABOVE: u16 = 8000;
/// Then this many ports more are tried.
const TRIES: u16 = 100;
const BACKLOG: i32 = 1024;

impl Listening {
    pub fn new(workers: Vec<UnboundedSender<Command>>, brokers: Rc<Brokers>) -> Self {
        Self { workers, brokers, bound: HashMap::new(), failed: HashMap::new(), said: HashMap::new(), next_id: 0 }
    }

    /// The hub's namespace is gone, and with it all that listened there.
    pub fn forget_hub(&mut self) {
        let gone: Vec<Want> = self.bound.keys().filter(|want| hub_address(want).is_some()).cloned().collect();
        for want in gone {
            self.close(&want);
            self.failed.insert(want, "The hub network is being set up again.".into());
        }
    }

    /// All sockets, as another proxy may go on with them.
    pub fn sockets(&self) -> (Vec<handover::Socket>, Vec<BorrowedFd<'_>>) {
        let told = |(want, bound): (&Want, &Bound)| handover::Socket {
            want: want.clone(),
            address: bound.address,
            moved: bound.moved.clone(),
            count: bound.sockets.len(),
        };
        let descriptors = self.bound.values().flat_map(|bound| bound.sockets.iter().map(AsFd::as_fd));
        (self.bound.iter().map(told).collect(), descriptors.collect())
    }

    /// Goes on with the sockets of another proxy.
    pub fn adopt(&mut self, socket: handover::Socket, sockets: Vec<TcpListener>) {
        self.hand_out(socket.want, socket.address, socket.moved, sockets);
    }

    /// Lets go of all sockets without closing them where another proxy has them.
    pub fn retire(&mut self) {
        self.bound.clear();
        self.failed.clear();
    }

    /// Whether something that should listen does not.
    pub fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Closes what is no longer wanted and opens what is missing; the rest is not touched.
    pub async fn update(&mut self, snapshot: &Snapshot) {
        let wanted = wanted(snapshot);
        let gone: Vec<Want> = self.bound.keys().filter(|w| !wanted.contains(*w)).cloned().collect();
        for want in &gone {
            self.close(want);
        }
        self.release(&gone, &wanted).await;
        self.said = std::mem::take(&mut self.failed);
        let missing: Vec<Want> = wanted.into_iter().filter(|w| !self.bound.contains_key(w)).collect();
        let mut by_port: BTreeMap<u16, Vec<Want>> = BTreeMap::new();
        for want in missing {
            match &want {
                Want::Own { port, .. } | Want::Shared { port } => by_port.entry(*port).or_default().push(want),
                Want::Hub { address, port, broker, .. } => {
                    let (address, broker) = (SocketAddr::from((*address, *port)), broker.clone());
                    self.open_on_hub(want, address, &broker).await;
                }
                Want::RelayHub(address, broker) => {
                    let (address, broker) = (*address, broker.clone());
                    self.open_on_hub(want, address, &broker).await;
                }
                Want::RelayHost(address) => {
                    let address = *address;
                    match free(address).and_then(|()| listener(address)) {
                        Ok(listener) => self.hand_out(want, address, None, vec![listener]),
                        Err(error) => self.fail(want, format!("{address} cannot be bound: {error}")),
                    }
                }
            }
        }
        for (port, wants) in by_port {
            self.open_together(port, wants);
        }
        self.screen(snapshot);
    }

    /// Lets the kernel drop what security groups do not allow.
    fn screen(&mut self, snapshot: &Snapshot) {
        let mut screens = Screens::new(snapshot);
        for (want, bound) in &mut self.bound {
            let screen = screens.of(want);
            if bound.screen.as_ref() == Some(&screen) {
                continue;
            }
            let attached: io::Result<()> = bound.sockets.iter().try_for_each(|socket| screen.attach(socket));
            match attached {
                Ok(()) => bound.screen = Some(screen),
                // What comes in is looked at once more when it is accepted.
                Err(error) => tracing::debug!(?want, %error, "a socket filter cannot be set"),
            }
        }
    }

    /// Where each listener of the snapshot really listens.
    pub fn statuses(&self, snapshot: &Snapshot, tls_errors: &HashMap<String, String>) -> Vec<ListenerStatus> {
        let mut statuses = Vec::new();
        for lb in &snapshot.load_balancers {
            for listener in &lb.listeners {
                let (arn, port) = (listener.arn.clone(), listener.port);
                let mut wants = vec![Want::Own { arn: arn.clone(), address: lb.address, port }, Want::Shared { port }];
                let bound = wants.iter().filter_map(|w| self.bound.get(w)).map(|b| b.address).collect();
                if let (Some(hub), Some(address)) = (&snapshot.hub, lb.hub_address) {
                    wants.push(Want::Hub { arn: arn.clone(), address, port, broker: hub.broker.clone() });
                }
                let failed = wants.iter().find_map(|w| self.failed.get(w));
                let moved = wants.iter().find_map(|w| self.bound.get(w)?.moved.as_ref());
                let error = tls_errors.get(&arn).or(failed).or(moved).cloned();
                statuses.push(ListenerStatus { listener_arn: arn, bound, error });
            }
        }
        statuses
    }

    /// Opens sockets of one listener port, all at the same number where that can be.
    fn open_together(&mut self, port: u16, wants: Vec<Want>) {
        let (existing, moved) = self
            .bound
            .iter()
            .find(|(w, _)| matches!(w, Want::Own { port: p, .. } | Want::Shared { port: p } if *p == port))
            .map_or((None, None), |(_, b)| (Some(b.address.port()), b.moved.clone()));
        let first = |at| wants.iter().find_map(|w| free(SocketAddr::new(ip(w), at)).err());
        let own_error = if existing == Some(port) { None } else { first(port) };
        let above = if port < 1024 { port + ABOVE } else { port };
        let candidates = existing.into_iter().chain([port]).chain(above..=above.saturating_add(TRIES));
        let candidates: Vec<u16> = candidates.collect();
        let together = candidates.iter().copied().find(|at| first(*at).is_none());
        for want in wants {
            let address = ip(&want);
            let chosen = together.into_iter().chain(candidates.iter().copied());
            let opened = chosen.filter(|at| free(SocketAddr::new(address, *at)).is_ok()).find_map(|at| {
                let address = SocketAddr::new(address, at);
                let sockets: io::Result<Vec<_>> = self.workers.iter().map(|_| listener(address)).collect();
                sockets.ok().map(|sockets| (address, sockets))
            });
            match opened {
                None => {
                    let last = above.saturating_add(TRIES);
                    let text = format!(
                        "Neither port {port} nor any of {above} to {last} can be bound on {address}: free one of them, or change the listener's port."
                    );
                    self.fail(want, text);
                }
                Some((address, sockets)) => {
                    let taken = address.port();
                    let reason = match (taken == port, &own_error) {
                        (true, _) => None,
                        (false, Some(error)) => Some(format!(
                            "Port {port} cannot be bound here ({error}): port {taken} serves this listener instead."
                        )),
                        (false, None) => moved.clone(),
                    };
                    if let Some(reason) = &reason {
                        tracing::warn!("{reason}");
                    }
                    self.hand_out(want, address, reason, sockets);
                }
            }
        }
    }

    async fn open_on_hub(&mut self, want: Want, address: SocketAddr, broker: &Path) {
        let request = BrokerRequest::Listen { address };
        let opened = async {
            let listener = TcpListener::from(self.brokers.descriptor(broker, &request).await?);
            listener.set_nonblocking(true)?;
            // The workers take turns on one socket: the hub's namespace hands out one per address.
            let copies = self.workers.len().saturating_sub(1);
            let mut sockets = (0..copies).map(|_| listener.try_clone()).collect::<io::Result<Vec<_>>>()?;
            sockets.push(listener);
            io::Result::Ok(sockets)
        };
        match opened.await {
            Ok(sockets) => self.hand_out(want, address, None, sockets),
            Err(error) => self.fail(want, format!("{address} cannot be bound on the hub network: {error}.")),
        }
    }

    /// Gives each worker its socket; a relay's single one goes to one worker.
    fn hand_out(&mut self, want: Want, address: SocketAddr, moved: Option<String>, sockets: Vec<TcpListener>) {
        let id = self.next_id;
        self.next_id += 1;
        let kept = sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>();
        for (n, listener) in sockets.into_iter().enumerate() {
            let command = match &want {
                Want::Own { arn, .. } | Want::Hub { arn, .. } => {
                    Command::Listen { id, listener, place: Place::Own(arn.clone()) }
                }
                Want::Shared { port } => Command::Listen { id, listener, place: Place::Shared(*port) },
                Want::RelayHost(at) => Command::Relay { id, listener, listen: RelayListen::Host(*at) },
                Want::RelayHub(at, _) => Command::Relay { id, listener, listen: RelayListen::Hub(*at) },
            };
            let worker = (n + id as usize) % self.workers.len();
            let _ = self.workers[worker].send(command);
        }
        // Out of descriptors it is not kept: then it is opened anew by who takes over.
        self.bound.insert(want, Bound { id, address, moved, sockets: kept.unwrap_or_default(), screen: None });
    }

    fn close(&mut self, want: &Want) {
        if let Some(bound) = self.bound.remove(want) {
            for worker in &self.workers {
                let _ = worker.send(Command::Close { id: bound.id });
            }
        }
    }

    /// Takes hub addresses away that no wanted socket uses any more.
    async fn release(&self, gone: &[Want], wanted: &BTreeSet<Want>) {
        let still: BTreeSet<Ipv4Addr> = wanted.iter().filter_map(hub_address).map(|(address, _)| address).collect();
        let mut done = BTreeSet::new();
        for (address, broker) in gone.iter().filter(|w| matches!(w, Want::Hub { .. })).filter_map(hub_address) {
            if !still.contains(&address) && done.insert(address) {
                // The reply carries no descriptor; a holder that is gone has released everything.
                let _ = self.brokers.done(broker, &BrokerRequest::Release { address }).await;
            }
        }
    }

    fn fail(&mut self, want: Want, text: String) {
        if self.said.get(&want) != Some(&text) {
            tracing::warn!("{text}");
        }
        self.failed.insert(want, text);
    }
}

fn wanted(snapshot: &Snapshot) -> BTreeSet<Want> {
    let mut wanted = BTreeSet::new();
    for lb in &snapshot.load_balancers {
        for listener in &lb.listeners {
            let (arn, port) = (listener.arn.clone(), listener.port);
            wanted.insert(Want::Shared { port });
            wanted.insert(Want::Own { arn: arn.clone(), address: lb.address, port });
            if let (Some(hub), Some(address)) = (&snapshot.hub, lb.hub_address) {
                wanted.insert(Want::Hub { arn, address, port, broker: hub.broker.clone() });
            }
        }
    }
    for relay in &snapshot.relays {
        match (&relay.listen, &snapshot.hub) {
            (RelayListen::Host(address), _) => wanted.insert(Want::RelayHost(*address)),
            (RelayListen::Hub(address), Some(hub)) => wanted.insert(Want::RelayHub(*address, hub.broker.clone())),
            (RelayListen::Hub(_), None) => false,
        };
    }
    wanted
}

fn ip(want: &Want) -> IpAddr {
    match want {
        Want::Own { address, .. } | Want::Hub { address, .. } => IpAddr::V4(*address),
        Want::Shared { .. } => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Want::RelayHost(address) | Want::RelayHub(address, _) => address.ip(),
    }
}

fn hub_address(want: &Want) -> Option<(Ipv4Addr, &Path)> {
    match want {
        Want::Hub { address, broker, .. } => Some((*address, broker)),
        Want::RelayHub(SocketAddr::V4(address), broker) => Some((*address.ip(), broker)),
        Want::Own { .. } | Want::Shared { .. } | Want::RelayHost(_) | Want::RelayHub(..) => None,
    }
}

/// Whether nobody else listens there. Without this, SO_REUSEPORT would let two proxies of one user
/// share a port without either noticing.
fn free(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
