//! One worker: a thread with its own runtime, listening sockets and pools. Workers share nothing but
//! the routing table and counters.

use crate::broker::Brokers;
use crate::client;
use crate::cut::era::Eras;
use crate::cut::scope::Scope;
use crate::cut::shadow::Shadows;
use crate::http2::to_target;
use crate::io::{BUFFER, Buf};
use crate::limits::Limits;
use crate::logs::{self, Batch, Logger, Sink};
use crate::pool::{Pool, SWEEP};
use crate::relay;
use crate::screen;
use crate::stream::Stream;
use crate::table::{Place, Table};
use crate::target;
use crate::traces::Traces;
use arc_swap::ArcSwap;
use quarry_domain::door::{Door, UnixMillis};
use quarry_domain::snapshot::RelayListen;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

/// What all threads of the proxy share.
pub struct Shared {
    pub table: ArcSwap<Table>,
    /// Rung when `serve` should hear of something at once.
    pub wake: Arc<Notify>,
    pub door: Door,
    pub shadows: Shadows,
    pub limits: Limits,
    pub traces: Traces,
}

/// What the control thread tells a worker.
pub enum Command {
    Listen {
        id: u64,
        listener: std::net::TcpListener,
        place: Place,
    },
    Relay {
        id: u64,
        listener: std::net::TcpListener,
        listen: RelayListen,
    },
    Close {
        id: u64,
    },
    /// Close idle connections to these targets; answered when done, by when the worker also has
    /// nothing left that was begun under an older table and not yet counted.
    Purge {
        targets: Vec<u64>,
        /// Of cuts that are new: they wait for the end of all writes begun before.
        scopes: Vec<Arc<Scope>>,
        done: oneshot::Sender<()>,
    },
    /// Another proxy accepts from now on: take no more connections, let those that are here come to their end, each
    /// with its next answer or when it has been idle; end by the deadline.
    Retire {
        within: Duration,
    },
    /// Take no more connections, finish what is in flight, end by the deadline.
    Stop {
        within: Duration,
    },
}

/// A worker's own state.
pub struct Worker {
    pub id: usize,
    pub shared: Arc<Shared>,
    pub pool: Pool,
    pub http2: to_target::Connections,
    pub brokers: Brokers,
    pub eras: Eras,
    /// Rung when targets were closed.
    pub purged: Notify,
    logs: Logger,
    pub stopping: Cell<bool>,
    retiring: Cell<bool>,
    /// Rung for all connections when stopping begins.
    pub stop: Notify,
    storage: RefCell<Vec<Vec<u8>>>,
    /// Of [`Scratch`].
    heads: RefCell<Vec<Vec<u8>>>,
    random: Cell<u64>,
    date: RefCell<(UnixMillis, String)>,
    connections: Cell<usize>,
    /// Connections that are relayed byte for byte.
    relayed: Cell<usize>,
    /// Of these, those of clients; the others are streams of HTTP/2.
    pub sockets: Cell<usize>,
    last_closed: Notify,
}

/// A buffer on loan from the worker.
pub struct Lease {
    buffer: Option<Buf>,
    worker: Rc<Worker>,
}

/// A small empty buffer on loan, in which a head is made.
pub struct Scratch {
    bytes: Vec<u8>,
    worker: Rc<Worker>,
}

/// A connection that is relayed.
pub struct Relaying(Rc<Worker>);

/// Buffers kept for reuse at most.
const MAX_STORED: usize = 256;
/// Of [`Scratch`] likewise, and how long one may have become.
const MAX_HEADS: usize = 64;
const MAX_HEAD: usize = 8 * 1024;
const IMF_FIXDATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Runs a worker on this thread until it is told to stop.
pub fn run(
    id: usize,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    logs: SyncSender<Batch>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, main(Rc::new(Worker::new(id, shared, logs)), commands));
    Ok(())
}

async fn main(worker: Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut listening: HashMap<u64, Vec<AbortHandle>> = HashMap::new();
    let mut retired: Option<Instant> = None;
    let mut sweep = tokio::time::interval(SWEEP);
    let within = loop {
        let until = match retired {
            Some(_) if worker.connections.get() + worker.relayed.get() == 0 => break Duration::ZERO,
            Some(until) => until,
            None => Instant::now() + SWEEP,
        };
        let command = tokio::select! {
            command = commands.recv() => command,
            _ = sweep.tick() => {
                worker.pool.sweep();
                worker.brokers.retain(&worker.shared.table.load().config.snapshot);
                continue;
            }
            _ = worker.last_closed.notified(), if retired.is_some() => continue,
            _ = tokio::time::sleep_until(until.into()), if retired.is_some() => break Duration::ZERO,
        };
        match command {
            None => break Duration::ZERO,
            Some(Command::Stop { within }) => break within,
            Some(Command::Retire { within }) => {
                worker.retiring.set(true);
                listening.drain().flat_map(|(_, tasks)| tasks).for_each(|task| task.abort());
                retired = Some(Instant::now() + within);
            }
            Some(Command::Listen { id, listener, place }) => {
                let task = tokio::task::spawn_local(accept(worker.clone(), listener, Rc::new(place)));
                listening.entry(id).or_default().push(task.abort_handle());
            }
            Some(Command::Relay { id, listener, listen }) => {
                let task = tokio::task::spawn_local(relay::accept(worker.clone(), listener, listen));
                listening.entry(id).or_default().push(task.abort_handle());
            }
            Some(Command::Close { id }) => {
                listening.remove(&id).into_iter().flatten().for_each(|task| task.abort());
            }
            Some(Command::Purge { targets, scopes, done }) => {
                worker.eras.turn(&scopes);
                for target in targets {
                    worker.pool.close(target);
                    worker.http2.close(target);
                }
                worker.purged.notify_waiters();
                let _ = done.send(());
            }
        }
    };
    worker.stopping.set(true);
    worker.stop.notify_waiters();
    // Accept loops take what already waits to be accepted, then end.
    tokio::task::yield_now().await;
    let _ = tokio::time::timeout(within, async {
        while worker.connections.get() > 0 {
            worker.last_closed.notified().await;
        }
    })
    .await;
    listening.into_values().flatten().for_each(|task| task.abort());
}

async fn accept(worker: Rc<Worker>, listener: std::net::TcpListener, place: Rc<Place>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listening socket could not be used"),
    };
    // Accepted sockets have it from the listening one.
    let _ = socket2::SockRef::from(&listener).set_tcp_nodelay(true);
    let port = listener.local_addr().map_or(0, |address| address.port());
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = worker.stop.notified(), if !worker.stopping.get() => continue,
            _ = std::future::ready(()), if worker.stopping.get() => return,
        };
        match accepted {
            Ok(_) if worker.sockets.get() >= worker.shared.limits.connections => worker.rejected(&place),
            Ok((stream, peer)) if !worker.shared.table.load().config.admits(&place, peer.ip()) => {
                tracing::debug!(%peer, ?place, "security groups do not allow a connection");
                Stream::from(stream).abort();
            }
            Ok((stream, peer)) => {
                if matches!(peer, SocketAddr::V4(peer) if !peer.ip().is_loopback()) {
                    screen::lift(&stream);
                }
                // Counted here: many may be accepted before the first of them is served.
                worker.sockets.set(worker.sockets.get() + 1);
                let connection = client::serve(worker.clone(), stream, peer, port, place.clone());
                tokio::task::spawn_local(connection);
            }
            Err(error) => worker.accept_failed(&error).await,
        }
    }
}

impl Worker {
    fn new(id: usize, shared: Arc<Shared>, logs: SyncSender<Batch>) -> Self {
        let mut seed = [0u8; 8];
        shared.door.entropy.fill(&mut seed);
        Self {
            id,
            shared,
            pool: Pool::default(),
            http2: to_target::Connections::default(),
            brokers: Brokers::default(),
            eras: Eras::default(),
            purged: Notify::new(),
            logs: Logger::new(logs),
            stopping: Cell::new(false),
            retiring: Cell::new(false),
            stop: Notify::new(),
            storage: RefCell::default(),
            heads: RefCell::default(),
            random: Cell::new(u64::from_ne_bytes(seed)),
            date: RefCell::new((-1, String::new())),
            connections: Cell::new(0),
            relayed: Cell::new(0),
            sockets: Cell::new(0),
            last_closed: Notify::new(),
        }
    }

    /// A number that spreads load and tells traces apart; not a secret (SplitMix64).
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Calls `f` with the time as an IMF-fixdate, made once per second.
    pub fn with_date<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        let second = self.shared.door.now_ms().div_euclid(1000);
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            *date = (second, fixdate(second));
        }
        f(date.1.as_bytes())
    }

    /// Adds a line to a log; it is on its way to the file soon.
    pub fn log(self: &Rc<Self>, sink: &Arc<Sink>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.logs.line(sink, write) {
            let worker = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(logs::FLUSH).await;
                worker.logs.flush();
            });
        }
    }

    /// A buffer that gets its storage by [`supply`](Self::supply).
    pub fn lease_bare(self: &Rc<Self>) -> Lease {
        Lease { buffer: Some(Buf::bare()), worker: self.clone() }
    }

    /// Gives a buffer storage.
    pub fn supply(&self, buffer: &mut Buf) {
        if buffer.is_bare() {
            let mut storage = self.storage.borrow_mut().pop().unwrap_or_default();
            storage.resize(BUFFER, 0);
            buffer.exchange(storage);
        }
    }

    /// Takes the storage of an empty buffer for others: few buffers that are used in turn stay in the processor's cache.
    pub fn reclaim(&self, buffer: &mut Buf) {
        if buffer.is_empty() {
            self.store(buffer.exchange(Vec::new()));
        }
    }

    fn store(&self, storage: Vec<u8>) {
        let mut stored = self.storage.borrow_mut();
        if storage.len() == BUFFER && stored.len() < MAX_STORED {
            stored.push(storage);
        }
    }

    pub fn lease(self: &Rc<Self>) -> Lease {
        let storage = self.storage.borrow_mut().pop().unwrap_or_default();
        Lease { buffer: Some(Buf::new(storage)), worker: self.clone() }
    }

    pub fn scratch(self: &Rc<Self>) -> Scratch {
        let bytes = self.heads.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024));
        Scratch { bytes, worker: self.clone() }
    }

    /// No connection is kept for a further request.
    pub fn is_leaving(&self) -> bool {
        self.stopping.get() || self.retiring.get()
    }

    /// Counts a relayed connection for as long as the result lives.
    pub fn relaying(self: &Rc<Self>) -> Relaying {
        self.relayed.set(self.relayed.get() + 1);
        Relaying(self.clone())
    }

    pub fn opened(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    pub fn closed(&self) {
        self.connections.set(self.connections.get() - 1);
        if self.connections.get() + self.relayed.get() == 0 || (self.stopping.get() && self.connections.get() == 0) {
            self.last_closed.notify_one();
        }
    }

    /// A connection was over the limit, and is closed by being dropped. Idle ones to targets are given up, too.
    fn rejected(&self, place: &Place) {
        if let Some(listener) = self.shared.table.load().config.at(place).next() {
            target::add(&listener.front.balancer.counters(self.id).rejected_connections, 1);
        }
        self.pool.clear();
    }

    /// Out of descriptors: idle connections are given up for new clients, and the loop pauses.
    pub async fn accept_failed(&self, error: &std::io::Error) {
        tracing::warn!(%error, "a connection could not be accepted");
        self.pool.clear();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Lease {
    /// Keeps what is unread in as little memory as it needs, for a long wait.
    pub fn stow(&mut self) {
        let mut unread = Buf::holding(self.bytes());
        unread.continues(self.taken());
        self.give_back(Some(unread));
    }

    /// Undoes [`stow`](Self::stow).
    pub fn unstow(&mut self) {
        let mut buffer = Buf::new(self.worker.storage.borrow_mut().pop().unwrap_or_default());
        buffer.put(self.bytes());
        buffer.continues(self.taken());
        self.buffer = Some(buffer);
    }

    fn give_back(&mut self, instead: Option<Buf>) {
        let Some(buffer) = std::mem::replace(&mut self.buffer, instead) else { return };
        self.worker.store(buffer.into_storage());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut heads = self.worker.heads.borrow_mut();
        if heads.len() < MAX_HEADS && self.bytes.capacity() <= MAX_HEAD {
            self.bytes.clear();
            heads.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        let worker = &self.0;
        worker.relayed.set(worker.relayed.get() - 1);
        if worker.connections.get() + worker.relayed.get() == 0 {
            worker.last_closed.notify_one();
        }
    }
}

/// A time in Unix seconds as an IMF-fixdate.
pub fn fixdate(second: i64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(second).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    time.format(IMF_FIXDATE).unwrap_or_default()
}

impl Deref for Lease {
    type Target = Buf;

    fn deref(&self) -> &Buf {
        self.buffer.as_ref().expect("held until dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Buf {
        self.buffer.as_mut().expect("held until dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back(None);
    }
}
