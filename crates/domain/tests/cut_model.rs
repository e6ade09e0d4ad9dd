//! The protocol of the cut, explored whole within bounds: clients, a balancer that crashes, two databases, a feed,
//! a writer that goes round the balancer, commands that are delivered any number of times in any order, and the
//! real planner as the controller, which crashes between any two of its steps (it has no memory but its journal,
//! and what it saw last may be old).
//!
//! Each safeguard taken away gives a counter-example.

use quarry_domain::cut::{
    Action, Data, Limits, Mark, Progress, Route, RouteSeen, Seen, Side, SideSeen, Spec, State, Step, Verified, Wish,
    step, wish,
};
use stateright::{Checker, Expectation, Model, Property};
use std::collections::BTreeSet;

/// What keeps writes out of a database that is not the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fence {
    None,
    /// In the HTTP handler: who writes past it is not kept out.
    Handler,
    Database,
}

/// The safeguards and the bounds.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    fence: Fence,
    /// Idempotency keys are stored.
    keys: bool,
    /// They move with the rows.
    keys_move: bool,
    /// The planner sees truly how far the other side is.
    catch_up: bool,
    /// And the digest.
    digest: bool,
    /// Fence and route commands are compared with what they meet.
    compare_and_set: bool,
    /// The balancer keeps its route over a crash.
    durable_route: bool,
    /// The epoch of a request is compared with the database's.
    token: bool,
    reverse_feed: bool,
    /// The feed may skip one change.
    skips: u8,
    /// A request that takes too long does not keep the fence from falling.
    impatient: bool,
    writes: usize,
    crashes: u8,
    timeouts: u8,
    /// Holds that come to their deadline.
    lates: u8,
    rollback: bool,
    /// A writer that goes round the balancer.
    outsider: bool,
    /// What the controller knows of a database may be old.
    stale: bool,
}

const SAFE: Bounds = Bounds {
    fence: Fence::Database,
    keys: true,
    keys_move: true,
    catch_up: true,
    digest: true,
    compare_and_set: true,
    durable_route: true,
    token: true,
    reverse_feed: true,
    skips: 0,
    impatient: true,
    writes: 1,
    crashes: 1,
    timeouts: 1,
    lates: 1,
    rollback: true,
    outsider: false,
    stale: false,
};

/// As far as the removal of a safeguard shows soon.
const SMALL: Bounds = Bounds { lates: 0, rollback: false, ..SAFE };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    Idle,
    Parked,
    InFlight,
    /// No answer came: it may have been executed.
    Unknown,
    Acknowledged,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Request {
    write: u8,
    attempt: u8,
    to: usize,
    /// The balancer's life in which it was sent.
    life: u8,
    epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Answer {
    write: u8,
    attempt: u8,
    executed: bool,
    life: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Database {
    owner: bool,
    epoch: u64,
    released: Option<Mark>,
    rows: Vec<u8>,
    keys: BTreeSet<u8>,
    /// Its own changes, in order of commit.
    feed: Vec<u8>,
    /// Of the other's feed.
    applied: u64,
}

/// What the controller sent once and the network may deliver at any time, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    GiveUp { side: usize, epoch: u64 },
    Take { side: usize, epoch: u64, expect: Option<(u64, String)> },
    Route { version: u64, epoch: u64, hold: bool, to: usize },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    route: Route,
    /// What the balancer certainly finds again after a crash: the route in force, but for a hold that began or ended and is
    /// acknowledged before it is written down.
    saved: Route,
    life: u8,
    clients: Vec<(Client, u8)>,
    outsider: Client,
    requests: BTreeSet<Request>,
    answers: BTreeSet<Answer>,
    databases: [Database; 2],
    /// The journal.
    progress: Progress,
    /// What the controller saw of the databases, where that may be old.
    remembered: [Option<SideSeen>; 2],
    network: BTreeSet<Message>,
    crashes: u8,
    timeouts: u8,
    lates: u8,
    skips: u8,
    rolled_back: bool,
    bad_read: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Event {
    Send(usize),
    Execute(Request),
    Reply(Answer),
    TimesOut(usize),
    Retry(usize),
    Outsider,
    /// `lost`: and what had not to be written down was not.
    BalancerCrash {
        lost: bool,
    },
    Replicate(usize),
    Skip(usize),
    Deliver(Message),
    Look(usize),
    Control {
        late: bool,
    },
    Rollback,
    Read,
}

fn index(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Destination => 1,
    }
}

impl Bounds {
    fn spec(&self) -> Spec {
        let limits = Limits { attempts: 2, calm: 0, ..Limits::default() };
        // Where the fence cannot refuse what is in flight, the planner waits for it.
        let data = if self.impatient { Data::Contract } else { Data::Database };
        Spec { data, shadow_percent: None, canary_percent: None, allow_empty: true, limits }
    }

    /// What one side's database would say now.
    fn look(&self, world: &World, side: usize) -> SideSeen {
        let database = &world.databases[side];
        let mut seen = SideSeen {
            prepared: true,
            owner: database.owner,
            epoch: database.epoch,
            released: database.released.clone(),
            applied: database.applied,
            digest: digest(database),
        };
        if !self.catch_up {
            seen.applied = 99;
        }
        if !self.digest {
            seen.digest = String::new();
            if let Some(mark) = &mut seen.released {
                mark.digest = String::new();
            }
        }
        seen
    }

    fn seen(&self, world: &World, late: bool) -> Seen {
        let side = |side: usize| match self.stale {
            true => world.remembered[side].clone(),
            false => Some(self.look(world, side)),
        };
        let acknowledged = world.route.version == world.progress.route.version;
        let in_flight = world.clients.iter().filter(|(client, _)| *client == Client::InFlight).count() as u64;
        Seen {
            source: side(0),
            destination: side(1),
            route: RouteSeen {
                acknowledged,
                in_flight: acknowledged.then_some(in_flight),
                unrepeatable: 0,
                overflow: false,
                expired: false,
            },
            healthy: true,
            copied: true,
            calm: Some(u64::MAX),
            verified: Some(Verified::Rows(1)),
            in_state: if late { 10_000 } else { 0 },
            in_hold: if late && world.progress.state != State::Drain { 10_000 } else { 0 },
            ..Seen::default()
        }
    }

    /// Whether the write is in the database afterwards; `false`: refused, not executed.
    fn write(&self, database: &mut Database, write: u8, by_http: bool) -> bool {
        let allowed = match self.fence {
            Fence::Database => database.owner,
            Fence::Handler => database.owner || !by_http,
            Fence::None => true,
        };
        if !allowed {
            return false;
        }
        if self.keys && database.keys.contains(&write) {
            return true;
        }
        database.rows.push(write);
        database.rows.sort_unstable();
        database.feed.push(write);
        database.keys.insert(write);
        true
    }
}

fn digest(database: &Database) -> String {
    format!("{:?}", database.rows)
}

/// The balancer parks the write or sends it.
fn forward(world: &mut World, write: usize) {
    let attempt = world.clients[write].1;
    if world.route.hold {
        world.clients[write].0 = Client::Parked;
        return;
    }
    world.clients[write].0 = Client::InFlight;
    world.requests.insert(Request {
        write: write as u8,
        attempt,
        to: index(world.route.to),
        life: world.life,
        epoch: world.route.epoch,
    });
}

impl Model for Bounds {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let database = |owner| Database {
            owner,
            epoch: 1,
            released: None,
            rows: Vec::new(),
            keys: BTreeSet::new(),
            feed: Vec::new(),
            applied: 0,
        };
        let mut progress = Progress::new(None);
        progress.state = State::Follow;
        progress.top = 1;
        progress.route.version = 1;
        progress.route.epoch = 1;
        vec![World {
            route: progress.route.clone(),
            saved: progress.route.clone(),
            life: 0,
            clients: vec![(Client::Idle, 0); self.writes],
            outsider: Client::Idle,
            requests: BTreeSet::new(),
            answers: BTreeSet::new(),
            databases: [database(true), database(false)],
            progress,
            remembered: [None, None],
            network: BTreeSet::new(),
            crashes: 0,
            timeouts: 0,
            lates: 0,
            skips: 0,
            rolled_back: false,
            bad_read: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Event>) {
        if world.bad_read {
            return;
        }
        for (i, (client, attempt)) in world.clients.iter().enumerate() {
            match client {
                Client::Idle => actions.push(Event::Send(i)),
                Client::Parked if !world.route.hold => actions.push(Event::Send(i)),
                Client::InFlight if world.timeouts < self.timeouts => actions.push(Event::TimesOut(i)),
                Client::Unknown if *attempt < 2 => actions.push(Event::Retry(i)),
                _ => {}
            }
        }
        actions.extend(world.requests.iter().cloned().map(Event::Execute));
        actions.extend(world.answers.iter().cloned().map(Event::Reply));
        if world.crashes < self.crashes {
            actions.push(Event::BalancerCrash { lost: false });
            if world.saved != world.route {
                actions.push(Event::BalancerCrash { lost: true });
            }
        }
        if self.outsider && world.outsider == Client::Idle {
            actions.push(Event::Outsider);
        }
        for to in 0..2 {
            let head = world.databases[1 - to].feed.len() as u64;
            if (to == 1 || self.reverse_feed) && world.databases[to].applied < head {
                actions.push(Event::Replicate(to));
                if world.skips < self.skips {
                    actions.push(Event::Skip(to));
                }
            }
        }
        actions.extend(world.network.iter().cloned().map(Event::Deliver));
        if self.stale {
            actions.extend([Event::Look(0), Event::Look(1)]);
        }
        actions.push(Event::Control { late: false });
        if world.lates < self.lates && world.progress.state.holds() {
            actions.push(Event::Control { late: true });
        }
        if self.rollback && !world.rolled_back && world.progress.state == State::Watch {
            actions.push(Event::Rollback);
        }
        actions.push(Event::Read);
    }

    fn next_state(&self, last: &World, event: Event) -> Option<World> {
        let mut world = last.clone();
        match event {
            Event::Send(write) => forward(&mut world, write),
            Event::Execute(request) => {
                world.requests.remove(&request);
                let database = &mut world.databases[request.to];
                let current = !self.token || request.epoch == database.epoch;
                let executed = current && self.write(database, request.write, true);
                if request.life == world.life {
                    let Request { write, attempt, life, .. } = request;
                    world.answers.insert(Answer { write, attempt, executed, life });
                }
            }
            Event::Reply(answer) => {
                world.answers.remove(&answer);
                let client = &mut world.clients[answer.write as usize];
                if answer.life == world.life && *client == (Client::InFlight, answer.attempt) {
                    client.0 = if answer.executed { Client::Acknowledged } else { Client::Parked };
                }
            }
            Event::TimesOut(write) => {
                world.timeouts += 1;
                world.clients[write].0 = Client::Unknown;
            }
            Event::Retry(write) => {
                world.clients[write].1 += 1;
                forward(&mut world, write);
            }
            Event::Outsider => {
                let write = self.writes as u8;
                let executed = self.write(&mut world.databases[0], write, false);
                world.outsider = if executed { Client::Acknowledged } else { Client::Unknown };
            }
            Event::BalancerCrash { lost } => {
                world.crashes += 1;
                world.life += 1;
                for (client, _) in &mut world.clients {
                    if matches!(client, Client::InFlight | Client::Parked) {
                        *client = Client::Unknown;
                    }
                }
                world.answers.clear();
                if !self.durable_route {
                    world.route = Progress::new(None).route;
                    world.route.epoch = 1;
                } else if lost {
                    world.route = world.saved.clone();
                }
            }
            Event::Replicate(to) => {
                let write = world.databases[1 - to].feed[world.databases[to].applied as usize];
                let database = &mut world.databases[to];
                database.applied += 1;
                database.rows.push(write);
                database.rows.sort_unstable();
                if self.keys_move {
                    database.keys.insert(write);
                }
            }
            Event::Skip(to) => {
                world.skips += 1;
                world.databases[to].applied += 1;
            }
            Event::Deliver(message) => self.deliver(&mut world, message),
            Event::Look(side) => world.remembered[side] = Some(self.look(&world, side)),
            Event::Control { late } => {
                world.lates += u8::from(late);
                let seen = self.seen(&world, late);
                match step(&self.spec(), &world.progress, &seen) {
                    Step::Journal { next, .. } => world.progress = *next,
                    Step::Act(actions) => {
                        for action in actions {
                            let message = match action {
                                Action::GiveUp { side, epoch } => Message::GiveUp { side: index(side), epoch },
                                Action::Take { side, epoch, expect } => {
                                    Message::Take { side: index(side), epoch, expect }
                                }
                                _ => continue,
                            };
                            world.network.insert(message);
                        }
                    }
                }
                let Route { version, epoch, hold, to, .. } = world.progress.route;
                if version > 1 {
                    world.network.insert(Message::Route { version, epoch, hold, to: index(to) });
                }
            }
            Event::Rollback => {
                world.rolled_back = true;
                world.progress = wish(&world.progress, Wish::Rollback).expect("it is in WATCH");
            }
            Event::Read => {
                let database = &world.databases[index(world.route.to)];
                let missing = |(i, (client, _)): (usize, &(Client, u8))| {
                    *client == Client::Acknowledged && !database.rows.contains(&(i as u8))
                };
                world.bad_read = world.clients.iter().enumerate().any(missing);
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one owner", |_, world: &World| {
                !(world.databases[0].owner && world.databases[1].owner)
            }),
            Property::always("no write twice", |_, world: &World| {
                world.databases.iter().all(|one| one.rows.windows(2).all(|pair| pair[0] != pair[1]))
            }),
            Property::always("acknowledged writes are in the owner", |model: &Bounds, world: &World| {
                let owner = |side: usize| match model.fence {
                    // Without a fence, whoever the route says.
                    Fence::None => {
                        index(world.progress.owner()) == side
                            && matches!(world.progress.state, State::Watch | State::Follow)
                    }
                    Fence::Handler | Fence::Database => world.databases[side].owner,
                };
                (0..2).filter(|side| owner(*side)).all(|side| {
                    let rows = &world.databases[side].rows;
                    let acknowledged = |(i, (client, _)): (usize, &(Client, u8))| {
                        *client != Client::Acknowledged || rows.contains(&(i as u8))
                    };
                    world.clients.iter().enumerate().all(acknowledged)
                        && (world.outsider != Client::Acknowledged || rows.contains(&(model.writes as u8)))
                })
            }),
            Property::always("a client reads its own writes", |_, world: &World| !world.bad_read),
            Property::sometimes("cut", |_, world: &World| {
                world.progress.state == State::Watch
                    && !world.databases[1].feed.is_empty()
                    && world.clients.iter().all(|(client, _)| *client == Client::Acknowledged)
            }),
            Property::sometimes("rolled back with a write of the new side", |model: &Bounds, world: &World| {
                !model.rollback
                    || world.rolled_back
                        && world.progress.state == State::Follow
                        && world.progress.from == Side::Source
                        && !world.route.hold
                        && !world.databases[1].feed.is_empty()
                        && world.databases[0].rows == world.databases[1].rows
                        && world.clients.iter().all(|(client, _)| *client == Client::Acknowledged)
            }),
        ]
    }
}

impl Bounds {
    fn deliver(&self, world: &mut World, message: Message) {
        let newer = |database: &Database, epoch: u64| !self.compare_and_set || epoch > database.epoch;
        match message {
            Message::GiveUp { side, epoch } => {
                let database = &mut world.databases[side];
                if newer(database, epoch) {
                    let mark = Mark { position: database.feed.len() as u64, digest: digest(database) };
                    (database.owner, database.epoch, database.released) = (false, epoch, Some(mark));
                }
            }
            Message::Take { side, epoch, expect } => {
                let database = &mut world.databases[side];
                let same = |(position, rows): &(u64, String)| {
                    (!self.catch_up || database.applied >= *position)
                        && (!self.digest || !self.catch_up || digest(database) == *rows)
                };
                if newer(database, epoch) && expect.as_ref().is_none_or(same) {
                    (database.owner, database.epoch, database.released) = (true, epoch, None);
                }
            }
            Message::Route { version, epoch, hold, to } => {
                let changes =
                    if self.compare_and_set { version > world.route.version } else { version != world.route.version };
                if changes {
                    let to = if to == 0 { Side::Source } else { Side::Destination };
                    // Without the contract a hold is written down first, too.
                    let only_hold = self.impatient && (to, epoch) == (world.route.to, world.route.epoch);
                    world.route = Route { version, epoch, hold, to, shadow: false, canary: false };
                    if !only_hold {
                        world.saved = world.route.clone();
                    }
                }
            }
        }
    }
}

/// Explores at most so many states; the names of what is violated, and of what was not reached.
fn explore(bounds: Bounds, most: usize) -> (BTreeSet<&'static str>, BTreeSet<&'static str>, usize) {
    let checker = bounds.checker().target_state_count(most).spawn_bfs().join();
    let found = checker.discoveries();
    let (mut violated, mut unreached) = (BTreeSet::new(), BTreeSet::new());
    for property in bounds.properties() {
        match (&property.expectation, found.get(property.name)) {
            (Expectation::Sometimes, None) => {
                unreached.insert(property.name);
            }
            (Expectation::Always, Some(_)) => {
                violated.insert(property.name);
            }
            _ => {}
        }
    }
    println!("{} states", checker.unique_state_count());
    (violated, unreached, checker.unique_state_count())
}

/// More states than any of the quick explorations has.
const ALL: usize = 2_000_000;

fn holds(bounds: Bounds) {
    let (violated, unreached, states) = explore(bounds, ALL);
    assert!(states < ALL, "not explored whole");
    assert_eq!((violated, unreached), (BTreeSet::new(), BTreeSet::new()));
}

fn breaks(bounds: Bounds, what: &[&str]) {
    let (violated, ..) = explore(bounds, ALL);
    assert!(what.iter().any(|what| violated.contains(what)), "{violated:?}");
}

#[test]
fn the_protocol_holds() {
    holds(Bounds { lates: 0, timeouts: 0, ..SAFE });
}

#[test]
fn the_protocol_holds_with_a_stale_eye() {
    holds(Bounds { stale: true, crashes: 0, timeouts: 0, lates: 0, ..SAFE });
}

#[test]
fn the_protocol_holds_when_holds_are_late() {
    holds(Bounds { crashes: 0, rollback: false, lates: 2, ..SAFE });
}

#[test]
fn the_protocol_holds_with_a_writer_that_goes_round_the_balancer() {
    holds(Bounds { outsider: true, crashes: 0, timeouts: 0, lates: 0, rollback: false, ..SAFE });
}

#[test]
fn the_protocol_holds_without_the_epoch_token_where_it_waits_for_the_drain() {
    holds(Bounds { token: false, impatient: false, crashes: 0, timeouts: 0, lates: 1, ..SAFE });
}

#[test]
fn a_feed_that_skips_a_change_is_caught() {
    let (violated, ..) = explore(Bounds { skips: 1, crashes: 0, timeouts: 0, lates: 0, ..SAFE }, ALL);
    assert_eq!(violated, BTreeSet::new());
}

#[test]
#[ignore = "minutes: cargo test --release -p quarry-domain --test cut_model -- --ignored"]
fn the_protocol_holds_within_larger_bounds() {
    for bounds in [
        Bounds { writes: 2, crashes: 1, timeouts: 0, lates: 1, rollback: false, ..SAFE },
        Bounds { writes: 2, crashes: 0, timeouts: 0, lates: 0, outsider: true, ..SAFE },
        SAFE,
        Bounds { lates: 2, outsider: true, ..SAFE },
        Bounds { stale: true, crashes: 0, ..SAFE },
    ] {
        let (violated, unreached, states) = explore(bounds, 60_000_000);
        println!("{states} states: {bounds:?}");
        assert_eq!((violated, unreached), (BTreeSet::new(), BTreeSet::new()), "{bounds:?}");
    }
}

const LOST: &str = "acknowledged writes are in the owner";
const TWICE: &str = "no write twice";
const STALE: &str = "a client reads its own writes";

#[test]
fn without_the_fence_in_the_database_writes_are_lost() {
    breaks(Bounds { fence: Fence::None, token: false, ..SMALL }, &[LOST, TWICE]);
}

#[test]
fn with_the_fence_in_the_handler_an_outside_write_is_lost() {
    let bounds = Bounds { fence: Fence::Handler, outsider: true, crashes: 0, timeouts: 0, ..SAFE };
    breaks(bounds, &[LOST]);
}

#[test]
fn without_compare_and_set_there_are_two_owners() {
    breaks(Bounds { compare_and_set: false, crashes: 0, timeouts: 0, ..SAFE }, &["at most one owner"]);
}

#[test]
fn without_idempotency_keys_a_retry_makes_a_duplicate() {
    breaks(Bounds { keys: false, ..SMALL }, &[TWICE]);
}

#[test]
fn with_keys_that_do_not_move_a_retry_makes_a_duplicate() {
    breaks(Bounds { keys_move: false, ..SMALL }, &[TWICE]);
}

#[test]
fn without_catch_up_writes_are_lost() {
    breaks(Bounds { catch_up: false, digest: false, crashes: 0, timeouts: 0, ..SAFE }, &[LOST, STALE]);
}

#[test]
fn without_the_digest_a_skipped_change_is_lost() {
    breaks(Bounds { digest: false, skips: 1, crashes: 0, timeouts: 0, ..SAFE }, &[LOST]);
}

#[test]
fn without_a_durable_route_old_data_is_read() {
    breaks(Bounds { durable_route: false, timeouts: 0, ..SMALL }, &[STALE]);
}

#[test]
fn without_the_reverse_feed_no_rollback_with_new_writes_comes_to_an_end() {
    let bounds = Bounds { reverse_feed: false, crashes: 0, timeouts: 0, ..SAFE };
    let (violated, unreached, _) = explore(bounds, ALL);
    assert_eq!(violated, BTreeSet::new(), "the checks keep it from losing anything");
    assert_eq!(unreached, BTreeSet::from(["rolled back with a write of the new side"]));
    // And without the checks the rollback loses the new writes.
    breaks(Bounds { catch_up: false, digest: false, ..bounds }, &[LOST]);
}

#[test]
fn a_drain_that_does_not_wait_without_the_epoch_token_reads_old_data() {
    breaks(Bounds { token: false, impatient: true, crashes: 0, lates: 2, ..SAFE }, &[STALE]);
}
