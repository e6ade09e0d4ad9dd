//! The socket that the proxies connect to: `<data>/control.sock`, one line of JSON per message.

use super::builder::Builder;
use super::drain::{Drainer, InFlight};
use super::publish::Publisher;
use crate::api::Operations;
use crate::platform::Platform;
use crate::store::StoreError;
use crate::store::feed::Feed;
use crate::wake::{Wake, Woken};
use quarry_domain::failpoint;
use quarry_domain::link::{CutReport, Down, TargetReport, TargetState, Up};
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// A message of a proxy is refused beyond this many bytes.
const LONGEST_MESSAGE: u64 = 64 << 20;
/// A proxy says hello within this time, and takes a message within it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Everything is looked at again after this time even if no signal came.
const TIMER: Duration = Duration::from_secs(30);

/// The running link.
pub struct Link {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the link's threads share.
pub struct Shared {
    pub platform: Arc<Platform>,
    pub operations: Arc<Operations>,
    path: PathBuf,
    state: Mutex<State>,
    /// Rises when there is something new to send.
    outgoing: Wake,
}

#[derive(Default)]
struct State {
    /// Version and line of the newest snapshot.
    newest: Option<(u64, Arc<str>)>,
    /// Proxies are told to finish and exit.
    stopping: bool,
    /// By connection.
    proxies: BTreeMap<u64, Proxy>,
    connections: u64,
    /// The first version in which a target, by group and registration, drains.
    draining_from: HashMap<(String, u64), u64>,
    /// A version that a proxy has and this store does not know of.
    ahead: Option<u64>,
}

/// One connected proxy.
#[derive(Default)]
struct Proxy {
    /// Its name, once it said hello.
    name: Option<String>,
    applied: u64,
    /// Another one has taken over its sockets.
    retiring: bool,
    /// The version as of which it reported last.
    reported: Option<u64>,
    targets: HashMap<(String, u64), TargetReport>,
    /// It told how often rules were taken before.
    told_hits: bool,
}

/// Starts listening and the link's threads. They end when `Platform`'s wakes are stopped.
pub fn start(platform: Arc<Platform>, operations: Arc<Operations>) -> std::io::Result<Link> {
    let path = platform.config.data_dir.join("control.sock");
    let listener = listen(&path)?;
    let outgoing = Wake::default();
    let shared = Arc::new(Shared { platform, operations, path, state: Mutex::default(), outgoing });
    super::proxies::look(&shared.platform);
    super::hits::load(&shared.platform).map_err(std::io::Error::other)?;
    let publisher = Publisher::open(&shared.platform).map_err(std::io::Error::other)?;
    let mut threads = Vec::new();
    let mut spawn = |name: &str, body: Box<dyn FnOnce(Arc<Shared>) + Send>| -> std::io::Result<()> {
        let shared = shared.clone();
        threads.push(std::thread::Builder::new().name(name.into()).spawn(move || body(shared))?);
        Ok(())
    };
    spawn("link-publish", Box::new(move |shared| publish(&shared, publisher)))?;
    spawn("link-accept", Box::new(move |shared| accept(&shared, listener)))?;
    spawn("link-drain", Box::new(|shared| drain(&shared)))?;
    Ok(Link { shared, threads })
}

impl Link {
    /// Waits until the platform stops.
    pub fn join(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
    }

    /// Tells all proxies, and those that connect from now on, to finish what is in flight and exit.
    pub fn stop_proxies(&self) {
        self.shared.lock().stopping = true;
        self.shared.outgoing.signal();
    }

    /// How many proxies are connected.
    pub fn proxies(&self) -> usize {
        self.shared.lock().proxies.values().filter(|proxy| proxy.name.is_some()).count()
    }

    /// What its threads share, for looking at it.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    /// What the connected proxies say about one draining target.
    pub fn in_flight(&self, group_arn: &str, registration: u64) -> InFlight {
        let key = (group_arn.to_owned(), registration);
        let state = self.lock();
        if state.proxies.is_empty() {
            return InFlight::Unknown;
        }
        let Some(from) = state.draining_from.get(&key) else { return InFlight::Some };
        let none = state.proxies.values().all(|proxy| {
            proxy.name.is_some()
                && proxy.applied >= *from
                && proxy.reported.is_some_and(|version| version >= *from)
                && proxy.targets.get(&key).is_none_or(|report| report.in_flight == 0)
        });
        if none { InFlight::None } else { InFlight::Some }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Builds, numbers and hands out the snapshot if it changed.
    fn publish_once(&self, publisher: &mut Publisher, builder: &mut Builder, feed: &Feed) -> Result<(), StoreError> {
        if let Some(version) = self.lock().ahead.take() {
            publisher.rise_above(&self.platform, version)?;
        }
        self.platform.store.read_on(feed, |tx, changes| builder.follow(tx, &changes))?;
        failpoint::at("snapshot.built");
        let Some(version) = publisher.publish(&self.platform, builder.content().fingerprint())? else { return Ok(()) };
        failpoint::at("snapshot.numbered");
        let draining = builder.draining();
        self.note_cuts(builder.cuts(), version);
        let line = builder.content().line(version);
        let mut state = self.lock();
        state.draining_from.retain(|key, _| draining.contains(key));
        let some_drain = !draining.is_empty();
        for key in draining {
            state.draining_from.entry(key).or_insert(version);
        }
        state.newest = Some((version, line.into()));
        drop(state);
        self.outgoing.signal();
        failpoint::at("snapshot.handed-out");
        if some_drain {
            // The drainer starts the clock of what began to drain.
            self.platform.seen.signal();
        }
        Ok(())
    }

    /// Notes in which snapshot the newest version of each cut's scope was first.
    fn note_cuts(&self, cuts: &[(String, u64)], snapshot: u64) {
        let mut live = self.platform.live();
        let before = std::mem::take(&mut live.published_cuts);
        for (cut, version) in cuts {
            let known = before.get(cut).filter(|(noted, _)| noted == version);
            live.published_cuts.insert(cut.clone(), known.copied().unwrap_or((*version, snapshot)));
        }
    }

    /// Takes in one message of the proxy on this connection.
    fn receive(&self, connection: u64, message: Up) {
        let mut state = self.lock();
        let known = state.newest.as_ref().map_or(0, |(version, _)| *version);
        let Some(proxy) = state.proxies.get_mut(&connection) else { return };
        match message {
            Up::Hello { proxy: name, pid, version } => {
                tracing::info!(proxy = name, pid, version, "proxy connected");
                proxy.name = Some(name.clone());
                proxy.applied = version;
                if version > known {
                    state.ahead = Some(version);
                }
                drop(state);
                super::proxies::connected(&self.platform, &name, pid);
                self.platform.live().applied.insert(name, version);
                self.platform.seen.signal();
                if version > known {
                    self.platform.store.routes.signal();
                }
            }
            Up::Retiring { proxy: name } => {
                proxy.retiring = true;
                tracing::info!(proxy = name, "proxy retires; another has taken over");
            }
            Up::Applied { proxy: name, version, mut listeners } => {
                proxy.applied = version;
                let retiring = proxy.retiring;
                drop(state);
                let mut live = self.platform.live();
                if retiring {
                    listeners.clear();
                } else if version >= known {
                    live.listeners.retain(|arn, _| listeners.iter().any(|status| status.listener_arn == *arn));
                }
                for status in listeners {
                    let said = live.listeners.get(&status.listener_arn).and_then(|before| before.error.clone());
                    if let Some(error) = &status.error
                        && said.as_ref() != Some(error)
                    {
                        tracing::warn!(listener = status.listener_arn, "{error}");
                    }
                    live.listeners.insert(status.listener_arn.clone(), status);
                }
                live.applied.insert(name, version);
                let holding = live.cuts.values().flatten().any(|(_, report)| report.holding);
                drop(live);
                self.platform.cuts.signal();
                // While clients wait for a cut nobody else is woken; the end of the hold is reported and wakes all.
                if !holding {
                    self.platform.seen.signal();
                }
            }
            Up::Hits { proxy: name, rules } => {
                let first = !std::mem::replace(&mut proxy.told_hits, true);
                drop(state);
                let now = self.platform.now_ms();
                self.platform.live().hits.tell(&name, rules, first, now);
            }
            Up::Segments { documents } => {
                drop(state);
                crate::xray::receive(&self.platform, documents);
            }
            Up::Report { proxy: name, version, targets, counters, cuts } => {
                let first = proxy.reported.is_none_or(|before| before < version);
                proxy.reported = Some(version);
                proxy.targets =
                    targets.into_iter().map(|t| ((t.target_group_arn.clone(), t.registration), t)).collect();
                let merged = merge(state.proxies.values().filter(|p| p.reported.is_some()).map(|p| &p.targets));
                drop(state);
                let mut live = self.platform.live();
                let changed = differs(&live.targets, &merged);
                let cuts_changed = live.cuts.get(&name).is_none_or(|before| cuts_differ(before, &cuts));
                let holding = cuts.values().any(|report| report.holding);
                live.report_all(merged);
                live.counters.insert(name.clone(), counters);
                live.cuts.insert(name, cuts);
                drop(live);
                if cuts_changed {
                    self.platform.cuts.signal();
                }
                if changed || ((first || cuts_changed) && !holding) {
                    self.platform.seen.signal();
                }
            }
        }
    }

    /// Forgets a connection. What it reported last stays known until another report comes.
    fn disconnected(&self, connection: u64) {
        let mut state = self.lock();
        let Some(Proxy { name: Some(name), .. }) = state.proxies.remove(&connection) else { return };
        let again = state.proxies.values().any(|proxy| proxy.name.as_ref() == Some(&name));
        drop(state);
        tracing::info!(proxy = name, "proxy disconnected");
        if !again {
            let mut live = self.platform.live();
            live.applied.remove(&name);
            live.cuts.remove(&name);
            live.silent_proxies.insert(name);
        }
        self.platform.seen.signal();
    }
}

/// One report of each target from those of all proxies: requests in flight are summed; a proxy that
/// has found out counts before one that has not, and unhealthy before healthy.
fn merge<'a>(
    reports: impl Iterator<Item = &'a HashMap<(String, u64), TargetReport>>,
) -> HashMap<(String, u64), TargetReport> {
    let rank = |state: TargetState| match state {
        TargetState::Initial => 0,
        TargetState::Healthy => 1,
        TargetState::Unhealthy => 2,
        TargetState::Unavailable => 3,
        TargetState::Unused => 4,
        TargetState::Draining => 5,
    };
    let mut merged: HashMap<(String, u64), TargetReport> = HashMap::new();
    for (key, report) in reports.flatten() {
        match merged.get_mut(key) {
            None => {
                merged.insert(key.clone(), report.clone());
            }
            Some(other) => {
                let in_flight = other.in_flight.saturating_add(report.in_flight);
                if rank(report.state) > rank(other.state) {
                    *other = report.clone();
                }
                other.in_flight = in_flight;
            }
        }
    }
    merged
}

/// Whether something changed that anyone waits for: states, reasons, and the end of a last request.
fn differs(old: &HashMap<(String, u64), TargetReport>, new: &HashMap<(String, u64), TargetReport>) -> bool {
    old.len() != new.len()
        || new.iter().any(|(key, new)| {
            old.get(key).is_none_or(|old| {
                old.state != new.state || old.reason != new.reason || (old.in_flight > 0 && new.in_flight == 0)
            })
        })
}

/// Whether a cut's driver has to look: everything but counts that only grow.
fn cuts_differ(old: &BTreeMap<String, CutReport>, new: &BTreeMap<String, CutReport>) -> bool {
    let decisive = |report: &CutReport| {
        let drained = report.in_flight_writes == 0;
        (report.version, report.holding, report.expired, report.overflow, drained, report.unrepeatable == 0)
    };
    old.len() != new.len() || new.iter().any(|(cut, new)| old.get(cut).is_none_or(|old| decisive(old) != decisive(new)))
}

fn listen(path: &Path) -> std::io::Result<UnixListener> {
    let named = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(named(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(named)?;
    Ok(listener)
}

fn publish(shared: &Shared, mut publisher: Publisher) {
    let changed = &shared.platform.store.routes;
    let mut level = 0;
    let feed = shared.platform.store.follow(&[]);
    let mut builder = Builder::new(&shared.platform.config);
    loop {
        let mut timer = TIMER;
        if let Err(error) = shared.publish_once(&mut publisher, &mut builder, &feed) {
            tracing::error!("the routing snapshot was not published: {error}");
            builder.again();
            timer = Duration::from_secs(1);
        }
        match changed.wait(&mut level, timer) {
            Woken::Signal => {}
            // Whatever was told: everything is looked at now and then.
            Woken::Timer => builder.again(),
            Woken::Stop => break,
        }
    }
    // Ends the writers, and the accepting thread by one last connection.
    shared.outgoing.stop();
    let _ = UnixStream::connect(&shared.path);
    shared.platform.seen.signal();
}

fn drain(shared: &Shared) {
    let mut drainer = Drainer::default();
    let mut level = shared.platform.seen.level();
    loop {
        super::proxies::look(&shared.platform);
        save_hits(shared, false);
        let next = match drainer.once(shared) {
            Ok(next) => {
                let silent = !shared.platform.live().silent_proxies.is_empty();
                let timer = if silent { Duration::from_millis(50) } else { TIMER };
                next.unwrap_or(timer).clamp(Duration::from_millis(10), timer)
            }
            Err(error) => {
                tracing::error!("draining targets were not looked at: {error}");
                Duration::from_secs(1)
            }
        };
        if shared.platform.seen.wait(&mut level, next) == Woken::Stop || stopped(&shared.outgoing) {
            save_hits(shared, true);
            return;
        }
    }
}

fn save_hits(shared: &Shared, at_end: bool) {
    if let Err(error) = super::hits::save(&shared.platform, at_end) {
        tracing::error!("what rules took was not written down: {error}");
    }
}

fn accept(shared: &Arc<Shared>, listener: UnixListener) {
    for stream in listener.incoming() {
        if stopped(&shared.outgoing) {
            break;
        }
        let served = stream.and_then(|stream| serve(shared, stream));
        if let Err(error) = served {
            tracing::warn!("a proxy could not be served: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let _ = std::fs::remove_file(&shared.path);
}

/// Starts the two threads of one connection.
fn serve(shared: &Arc<Shared>, stream: UnixStream) -> std::io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let writing = stream.try_clone()?;
    let connection = {
        let mut state = shared.lock();
        state.connections += 1;
        let connection = state.connections;
        state.proxies.insert(connection, Proxy::default());
        connection
    };
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned()).stack_size(256 << 10);
    let (reader, writer) = (shared.clone(), shared.clone());
    let started = thread("link-write").spawn(move || write(&writer, connection, writing)).and_then(|_| {
        thread("link-read").spawn(move || {
            if let Err(error) = read(&reader, connection, &stream) {
                tracing::warn!("a proxy's message was refused: {error}");
            }
            let _ = stream.shutdown(Shutdown::Both);
            reader.disconnected(connection);
            // Lets the writer see that its proxy is gone.
            reader.outgoing.signal();
        })
    });
    if started.is_err() {
        shared.disconnected(connection);
    }
    started.map(drop)
}

fn read(shared: &Shared, connection: u64, stream: &UnixStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    let mut greeted = false;
    loop {
        line.clear();
        let n = reader.by_ref().take(LONGEST_MESSAGE).read_until(b'\n', &mut line)?;
        if n == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            return Err(std::io::Error::other("it is too long or cut off"));
        }
        let message: Up = serde_json::from_slice(&line).map_err(std::io::Error::other)?;
        if !greeted && !matches!(message, Up::Hello { .. }) {
            return Err(std::io::Error::other("it came before the hello"));
        }
        if !greeted {
            greeted = true;
            stream.set_read_timeout(None)?;
        }
        shared.receive(connection, message);
    }
}

fn write(shared: &Shared, connection: u64, mut stream: UnixStream) {
    let stop = format!("{}\n", serde_json::to_string(&Down::Stop).expect("a unit variant is plain data"));
    let (mut sent, mut told) = (None, false);
    let mut level = 0;
    loop {
        let (newest, stopping, here) = {
            let state = shared.lock();
            (state.newest.clone(), state.stopping, state.proxies.contains_key(&connection))
        };
        if !here {
            return;
        }
        let result = match newest {
            _ if stopping && !told => {
                told = true;
                stream.write_all(stop.as_bytes())
            }
            Some((version, line)) if sent != Some(version) && !stopping => {
                sent = Some(version);
                stream.write_all(line.as_bytes())
            }
            _ => Ok(()),
        };
        if result.is_err() || shared.outgoing.wait(&mut level, TIMER) == Woken::Stop {
            // The reader sees the end and forgets the connection.
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn stopped(wake: &Wake) -> bool {
    let mut never = u64::MAX;
    wake.wait(&mut never, Duration::ZERO) == Woken::Stop
}
