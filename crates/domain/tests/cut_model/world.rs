//! What there is: the safeguards and bounds, clients, balancer, databases and network, and what the controller sees of them.

#[path = "model.rs"]
mod model;

use quarry_domain::cut::{Data, Limits, Mark, Progress, Route, RouteSeen, Seen, Side, SideSeen, Spec, State, Verified};
use std::collections::BTreeSet;

/// What keeps writes out of a database that is not the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    None,
    /// In the HTTP handler: who writes past it is not kept out.
    Handler,
    Database,
}

/// The safeguards and the bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub fence: Fence,
    /// Idempotency keys are stored.
    pub keys: bool,
    /// They move with the rows.
    pub keys_move: bool,
    /// The planner sees truly how far the other side is.
    pub catch_up: bool,
    /// And the digest.
    pub digest: bool,
    /// Fence and route commands are compared with what they meet.
    pub compare_and_set: bool,
    /// The balancer keeps its route over a crash.
    pub durable_route: bool,
    /// The epoch of a request is compared with the database's.
    pub token: bool,
    pub reverse_feed: bool,
    /// The feed may skip one change.
    pub skips: u8,
    /// A request that takes too long does not keep the fence from falling.
    pub impatient: bool,
    pub writes: usize,
    pub crashes: u8,
    pub timeouts: u8,
    /// Holds that come to their deadline.
    pub lates: u8,
    pub rollback: bool,
    /// A writer that goes round the balancer.
    pub outsider: bool,
    /// What the controller knows of a database may be old.
    pub stale: bool,
}

pub const SAFE: Bounds = Bounds {
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
pub const SMALL: Bounds = Bounds { lates: 0, rollback: false, ..SAFE };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    Idle,
    Parked,
    InFlight,
    /// No answer came: it may have been executed.
    Unknown,
    Acknowledged,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    write: u8,
    attempt: u8,
    to: usize,
    /// The balancer's life in which it was sent.
    life: u8,
    epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Answer {
    write: u8,
    attempt: u8,
    executed: bool,
    life: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Database {
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
pub enum Message {
    GiveUp { side: usize, epoch: u64 },
    Take { side: usize, epoch: u64, expect: Option<(u64, String)> },
    Route { version: u64, epoch: u64, hold: bool, to: usize },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
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
pub enum Event {
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
