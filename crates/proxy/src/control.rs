//! The control thread: puts snapshots in force, keeps the routing table in step with health, reports.

mod report;

use crate::broker::Brokers;
use crate::cut::shadow::Shadows;
use crate::cut::{self, Cuts};
use crate::daemon::Daemon;
use crate::handover::{self, Letter, Taker};
use crate::health_file::{self, HealthFile};
use crate::limits::Limits;
use crate::link::{self, Event};
use crate::listen::Listening;
use crate::logs::writer::{self, Writer};
use crate::names;
use crate::probe::Prober;
use crate::registry::Registry;
use crate::slow_start::SlowStart;
use crate::store::{self, Store};
use crate::table::{Config, Table};
use crate::target::Target;
use crate::tls::TlsSettings;
use crate::traces::Traces;
use crate::worker::{self, Command, Shared};
use crate::{Error, NameService, ProxyConfig};
use arc_swap::ArcSwap;
use quarry_domain::door::Door;
use quarry_domain::link::{BrokerRequest, Down, TargetState, Up};
use quarry_domain::snapshot::{Hub, Snapshot};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UdpSocket, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

struct Control {
    id: String,
    store: Store,
    names: NameService,
    shared: Arc<Shared>,
    workers: Vec<UnboundedSender<Command>>,
    registry: Registry,
    cuts: Cuts,
    prober: Prober,
    /// `None` in a proxy that writes nothing any more.
    health_file: Option<HealthFile>,
    slow_start: SlowStart,
    listening: Listening,
    tls: TlsSettings,
    /// By listener, why its TLS settings cannot be used.
    tls_errors: HashMap<String, String>,
    brokers: Rc<Brokers>,
    snapshot: Arc<Snapshot>,
    /// Of requests that were recorded.
    segments: Receiver<String>,
    /// The snapshot in force is on disk.
    saved: bool,
    serve: Option<mpsc::Sender<Up>>,
    /// On this connection `serve` has heard how often rules were taken; from then on it hears what changes.
    told_hits: bool,
    name_server: Option<NameServer>,
    daemon: Daemon,
    /// Another proxy has taken over: nothing listens here any more, and nothing is written.
    retired: bool,
}

struct NameServer {
    hub: Hub,
    tasks: Vec<AbortHandle>,
    /// What the tasks have too: kept to be handed over.
    udp: OwnedFd,
    tcp: OwnedFd,
}

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Requests in flight may take this long to finish when the proxy is asked to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// After another proxy has taken over, connections may go on for so long: tunnels, downloads.
const RETIRE_WITHIN: Duration = Duration::from_secs(3600);
/// At start, targets of which nothing is known get this long to show their health before the first connection is
/// accepted.
const FIRST_PROBES: Duration = Duration::from_millis(120);

/// Runs the control thread's part on this thread.
pub fn run(config: ProxyConfig) -> Result<(), Error> {
    let taker = match config.replace {
        true => Taker::ask(&config.data_dir.join("proxy")).map_err(Error::Handover)?,
        false => None,
    };
    let store = match taker {
        Some(_) => Store::join(&config.data_dir)?,
        None => Store::open(&config.data_dir)?,
    };
    let count = config.workers.max(1);
    let (traces, segments) = Traces::new();
    let shared = Arc::new(Shared {
        table: ArcSwap::from_pointee(empty_table()),
        wake: Arc::new(Notify::new()),
        door: Door::system(),
        shadows: Shadows::default(),
        limits: Limits::of_process(count),
        traces,
    });
    let (logs, lines) = sync_channel(writer::QUEUE);
    let writer = Writer::new(config.data_dir.join("s3"), shared.door.clone());
    let writer = std::thread::Builder::new().name("logs".into()).spawn(move || writer.run(lines))?;
    let mut workers = Vec::new();
    let mut threads: Vec<JoinHandle<std::io::Result<()>>> = Vec::new();
    for id in 0..count {
        let (sender, commands) = mpsc::unbounded_channel();
        let shared = shared.clone();
        let thread = std::thread::Builder::new().name(format!("worker-{id}"));
        let logs = logs.clone();
        threads.push(thread.spawn(move || worker::run(id, shared, commands, logs))?);
        workers.push(sender);
    }
    drop(logs);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let ended = local.block_on(&runtime, async {
        let brokers = Rc::new(Brokers::default());
        let control = Control {
            id: shared.door.hex(16),
            store,
            names: config.names,
            registry: Registry::new(count, shared.wake.clone()),
            cuts: Cuts::new(count, shared.wake.clone()),
            prober: Prober::new(shared.door.clone(), brokers.clone()),
            health_file: None,
            slow_start: SlowStart::default(),
            listening: Listening::new(workers.clone(), brokers.clone()),
            tls: TlsSettings::default(),
            tls_errors: HashMap::new(),
            brokers,
            shared: shared.clone(),
            workers: workers.clone(),
            snapshot: Arc::default(),
            segments,
            saved: true,
            serve: None,
            told_hits: false,
            name_server: None,
            daemon: Daemon::default(),
            retired: false,
        };
        control.run(config.data_dir.join("control.sock"), taker).await
    });
    for worker in &workers {
        let _ = worker.send(Command::Stop { within: STOP_WITHIN });
    }
    // Dropping the local tasks ends the link; the workers end by themselves.
    drop(local);
    for thread in threads {
        if let Ok(result) = thread.join() {
            result?;
        }
    }
    // It ends when it has written what the workers left.
    let _ = writer.join();
    ended
}

impl Control {
    async fn run(mut self, socket: std::path::PathBuf, taker: Option<Taker>) -> Result<(), Error> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        match taker {
            Some(taker) => self.take_over(taker).await?,
            None => self.start_from_disk().await,
        }
        self.health_file = HealthFile::start(self.store.directory(), self.shared.door.clone()).ok();
        self.health_changed();
        let successors = handover::listen(self.store.directory());
        if let Err(error) = &successors {
            tracing::warn!(%error, "nobody can take over from this proxy");
        }
        let successors = successors.ok();
        let (events, mut incoming) = mpsc::channel(16);
        tokio::task::spawn_local(link::run(socket, events));
        let mut tick = tokio::time::interval(REPORT_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let changed = self.prober.changed.clone();
        let wake = self.shared.wake.clone();
        let mut stopping = false;
        // What is parked by a cut would end with this process: a hold is short, and is waited for.
        while !stopping || self.cuts.holding() {
            tokio::select! {
                biased;
                _ = terminate.recv() => stopping = true,
                _ = interrupt.recv() => stopping = true,
                _ = changed.notified() => self.health_changed(),
                _ = wake.notified() => self.report(),
                event = incoming.recv() => match event {
                    Some(Event::Connected(serve)) => {
                        self.serve = Some(serve);
                        self.greet();
                    }
                    Some(Event::Disconnected) => self.serve = None,
                    Some(Event::Down(down)) => match *down {
                        Down::Stop => stopping = true,
                        Down::Snapshot(snapshot) => self.receive(*snapshot).await,
                    },
                    None => return Ok(()),
                },
                successor = accept(successors.as_ref()), if !self.retired => self.hand_over(successor).await,
                _ = ended(&self.workers), if self.retired => return Ok(()),
                _ = tick.tick() => self.tick().await,
            }
        }
        Ok(())
    }

    /// Routes as before the last end, without waiting for `serve`.
    async fn start_from_disk(&mut self) {
        let Some(snapshot) = self.store.load() else { return };
        tracing::info!(version = snapshot.version, "starting from the last snapshot in force");
        self.prober.resume(health_file::load(self.store.directory(), &self.shared.door));
        self.route(Arc::new(snapshot)).await;
        let probed = async {
            while !self.prober.all_probed() {
                self.prober.changed.notified().await;
            }
        };
        let _ = tokio::time::timeout(FIRST_PROBES, probed).await;
        self.renew_table();
        self.listen().await;
    }

    /// Goes on where another proxy stops.
    async fn take_over(&mut self, mut taker: Taker) -> Result<(), Error> {
        let letter = &mut taker.letter;
        let (pid, saved, names) = (letter.pid, letter.saved, letter.names);
        let sockets = std::mem::take(&mut letter.sockets);
        tracing::info!(pid, version = letter.snapshot.version, "taking over from a running proxy");
        self.prober.resume(std::mem::take(&mut letter.health));
        self.slow_start.resume(std::mem::take(&mut letter.slow_start), Instant::now());
        self.route(Arc::new(std::mem::take(&mut letter.snapshot))).await;
        for socket in sockets {
            let descriptors = taker.descriptors.by_ref().take(socket.count);
            let listeners = descriptors.map(std::net::TcpListener::from).collect();
            self.listening.adopt(socket, listeners);
        }
        if let (true, Some(hub), Some(udp), Some(tcp)) =
            (names, self.snapshot.hub.clone(), taker.descriptors.next(), taker.descriptors.next())
        {
            self.answer_names(hub, udp, tcp).map_err(Error::Handover)?;
        }
        taker.accepts().and_then(|()| self.store.take_over()).map_err(Error::Handover)?;
        // What the other one could not write down is tried again here with the next tick.
        self.saved = saved;
        self.listen().await;
        Ok(())
    }

    /// Lets another proxy take over. If it breaks off before it accepts connections, this one goes on.
    async fn hand_over(&mut self, mut successor: UnixStream) {
        if self.cuts.holding() {
            tracing::warn!("a cut has parked writes here: no other proxy takes over now");
            let _ = handover::refuse(&mut successor).await;
            return;
        }
        let names = self.name_server.as_ref().map(|names| [names.udp.as_fd(), names.tcp.as_fd()]);
        let (sockets, mut descriptors) = self.listening.sockets();
        descriptors.extend(names.into_iter().flatten());
        let letter = Letter {
            pid: std::process::id(),
            snapshot: Snapshot::clone(&self.snapshot),
            saved: self.saved,
            health: self.prober.known(),
            slow_start: self.slow_start.known(&self.shared.table.load().config, Instant::now()),
            sockets,
            names: names.is_some(),
        };
        let given = match self.store.share(true) {
            Ok(()) => handover::give(&mut successor, &letter, &descriptors).await,
            Err(error) => Err(error),
        };
        if let Err(error) = given {
            drop(successor);
            tracing::warn!(%error, "another proxy could not take over; this one goes on");
            if let Err(error) = self.store.share(false) {
                tracing::error!(%error, "the lock could not be taken back");
            }
            return;
        }
        tracing::info!("another proxy has taken over; this one ends with its last connection");
        self.retired = true;
        for worker in &self.workers {
            let _ = worker.send(Command::Retire { within: RETIRE_WITHIN });
        }
        self.listening.retire();
        if let Some(names) = self.name_server.take() {
            names.tasks.iter().for_each(AbortHandle::abort);
        }
        self.daemon.stop();
        self.store.give_up();
        self.health_file = None;
        if let Err(error) = handover::stopped(&mut successor).await {
            tracing::error!(%error, "the proxy that took over was not told");
        }
        self.send(Up::Retiring { proxy: self.id.clone() });
    }

    fn greet(&mut self) {
        self.told_hits = false;
        let version = self.snapshot.version;
        self.send(Up::Hello { proxy: self.id.clone(), pid: std::process::id(), version });
        if self.retired {
            self.send(Up::Retiring { proxy: self.id.clone() });
        }
        if version > 0 && self.saved {
            self.acknowledge();
        }
        self.report();
    }

    async fn receive(&mut self, mut snapshot: Snapshot) {
        if snapshot.version < self.snapshot.version {
            tracing::warn!(
                version = snapshot.version,
                in_force = self.snapshot.version,
                "an older snapshot is refused"
            );
            return;
        }
        cut::keep_newer(&self.snapshot, &mut snapshot);
        let again = *self.snapshot == snapshot;
        if again {
            self.listen().await;
            if self.saved {
                self.acknowledge();
            }
            self.report();
            return;
        }
        // Clients wait while a cut holds their writes. What a restart would get wrong without this snapshot, the
        // databases' fence makes right: so it is acknowledged before it is on disk.
        let early = cut::only_holds(&self.snapshot, &snapshot);
        let snapshot = Arc::new(snapshot);
        self.saved = false;
        self.route(snapshot.clone()).await;
        if early {
            self.acknowledge();
            self.report();
            self.save(&snapshot).await;
            self.listen().await;
            return;
        }
        self.listen().await;
        self.save(&snapshot).await;
        if self.saved {
            self.acknowledge();
        }
        self.report();
    }

    async fn tick(&mut self) {
        self.brokers.retain(&self.snapshot);
        if !self.saved {
            let snapshot = self.snapshot.clone();
            self.save(&snapshot).await;
            if self.saved {
                self.acknowledge();
            }
        }
        if self.snapshot.hub.as_ref().is_some_and(|hub| self.brokers.has_ended(&hub.broker)) {
            tracing::warn!("the hub's broker has ended: its sockets are asked for anew");
            self.listening.forget_hub();
            if let Some(old) = self.name_server.take() {
                old.tasks.iter().for_each(AbortHandle::abort);
            }
            self.daemon.stop();
        }
        let hub = self.snapshot.hub.as_ref();
        let is_missing = self.daemon.is_elsewhere(hub) || (hub.is_some() && self.name_server.is_none());
        if self.listening.has_failures() || (is_missing && !self.retired) {
            let before = self.listening.statuses(&self.snapshot, &self.tls_errors);
            self.listen().await;
            if self.saved && before != self.listening.statuses(&self.snapshot, &self.tls_errors) {
                self.acknowledge();
            }
        }
        self.report();
    }

    async fn save(&mut self, snapshot: &Arc<Snapshot>) {
        // Who took over writes it down.
        if self.retired {
            self.saved = true;
            return;
        }
        let (path, snapshot) = (self.store.snapshot_path(), snapshot.clone());
        let mut writing = tokio::task::spawn_blocking(move || store::save(&path, &snapshot));
        let (changed, wake) = (self.prober.changed.clone(), self.shared.wake.clone());
        // A disk may take its time: targets that die meanwhile are taken out, and reports go up.
        let written = loop {
            tokio::select! {
                biased;
                written = &mut writing => break written,
                _ = changed.notified() => self.health_changed(),
                _ = wake.notified() => self.report(),
            }
        };
        match written.map_err(std::io::Error::other).flatten() {
            Ok(()) => self.saved = true,
            Err(error) => tracing::error!(%error, "a snapshot cannot be written down; it is in force all the same"),
        }
    }

    /// Puts a snapshot in force in all workers. When this returns, no worker begins a request by an
    /// older one.
    async fn route(&mut self, snapshot: Arc<Snapshot>) {
        if self.snapshot.traces != snapshot.traces {
            self.shared.traces.follow(&snapshot);
        }
        let registry = &mut self.registry;
        let closed = registry.enter(&snapshot);
        let scopes = self.cuts.prepare(&snapshot);
        let (tls_settings, key) = (&mut self.tls, || self.store.key());
        let mut tls_errors = HashMap::new();
        let config = Config::compile(
            snapshot.clone(),
            &mut |arn| registry.balancers[arn].clone(),
            &mut |arn| registry.groups[arn].clone(),
            &mut |arn, target| registry.targets[&(arn.to_owned(), target.registration)].clone(),
            &mut |lb, listener, tls| tls_settings.get(&listener.arn, tls, lb.attributes.http2, &key, &mut tls_errors),
            &mut |cut| self.cuts.scope(cut),
        );
        let is_there = |arn: &str| tls_errors.contains_key(arn) || config.has_listener(arn);
        self.tls.retain(is_there);
        self.tls_errors = tls_errors;
        self.prober.update(&snapshot);
        self.snapshot = snapshot;
        self.publish(Arc::new(config));
        self.cuts.enforce(&self.snapshot);
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            let _ = worker.send(Command::Purge { targets: closed.clone(), scopes: scopes.clone(), done });
            answers.push(answer);
        }
        for answer in answers {
            let _ = answer.await;
        }
    }

    async fn listen(&mut self) {
        if self.retired {
            return;
        }
        self.listening.update(&self.snapshot.clone()).await;
        self.serve_names().await;
        self.daemon.follow(self.snapshot.hub.as_ref(), &self.brokers, &self.shared).await;
    }

    fn health_changed(&mut self) {
        self.renew_table();
        self.report();
        if let Some(file) = &self.health_file {
            file.write(self.prober.known());
        }
    }

    /// Health has changed: the same configuration with other usable targets.
    fn renew_table(&mut self) {
        let config = self.shared.table.load().config.clone();
        self.publish(config);
    }

    fn publish(&mut self, config: Arc<Config>) {
        let states = self.prober.states();
        let state = |target: &Target| {
            let key = (target.group_arn.clone(), target.registration);
            states.get(&key).copied().unwrap_or(TargetState::Unused)
        };
        let now = Instant::now();
        self.slow_start.update(&config, &state, now);
        self.shared.table.store(Arc::new(Table::new(config, &state, &self.slow_start, now)));
    }

    async fn serve_names(&mut self) {
        let hub = self.snapshot.hub.clone();
        if self.name_server.as_ref().map(|s| &s.hub) == hub.as_ref() {
            return;
        }
        if let Some(old) = self.name_server.take() {
            old.tasks.iter().for_each(AbortHandle::abort);
        }
        let Some(hub) = hub else { return };
        let address = SocketAddr::from((hub.address, 53));
        let opened = async {
            let udp = self.brokers.descriptor(&hub.broker, &BrokerRequest::Datagram { address }).await?;
            let tcp = self.brokers.descriptor(&hub.broker, &BrokerRequest::Listen { address }).await?;
            std::io::Result::Ok((udp, tcp))
        };
        let answered = opened.await.and_then(|(udp, tcp)| self.answer_names(hub, udp, tcp));
        if let Err(error) = answered {
            tracing::warn!(%address, %error, "the name server cannot listen; tried again every second");
        }
    }

    /// Answers on the name server's sockets.
    fn answer_names(&mut self, hub: Hub, udp: OwnedFd, tcp: OwnedFd) -> std::io::Result<()> {
        let (own_udp, own_tcp) = (std::net::UdpSocket::from(udp), std::net::TcpListener::from(tcp));
        own_udp.set_nonblocking(true)?;
        own_tcp.set_nonblocking(true)?;
        let (udp, tcp) = (own_udp.try_clone()?.into(), own_tcp.try_clone()?.into());
        let answers = names::Answers::new(self.names.clone(), self.shared.clone());
        let over_udp = names::serve_udp(UdpSocket::from_std(own_udp)?, answers.clone());
        let over_tcp = names::serve_tcp(TcpListener::from_std(own_tcp)?, answers);
        let tasks =
            vec![tokio::task::spawn_local(over_udp).abort_handle(), tokio::task::spawn_local(over_tcp).abort_handle()];
        self.name_server = Some(NameServer { hub, tasks, udp, tcp });
        Ok(())
    }
}

/// The next one that wants to take over.
async fn accept(successors: Option<&UnixListener>) -> UnixStream {
    loop {
        let Some(successors) = successors else { std::future::pending().await };
        match successors.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(REPORT_INTERVAL).await,
        }
    }
}

/// All workers have ended.
async fn ended(workers: &[UnboundedSender<Command>]) {
    for worker in workers {
        worker.closed().await;
    }
}

fn empty_table() -> Table {
    let unreachable = "an empty snapshot names nothing";
    let config = Config::compile(
        Arc::default(),
        &mut |_| unreachable!("{unreachable}"),
        &mut |_| unreachable!("{unreachable}"),
        &mut |_, _| unreachable!("{unreachable}"),
        &mut |_, _, _| unreachable!("{unreachable}"),
        &mut |_| unreachable!("{unreachable}"),
    );
    Table::new(Arc::new(config), &|_| TargetState::Unused, &SlowStart::default(), Instant::now())
}
