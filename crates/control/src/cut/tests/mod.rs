//! The driver over two databases in memory and a balancer that follows the journal, with clients that write all the
//! time; the guard; the API.

mod api;
mod bad_days;
mod guard;
mod kills;

use super::driver::{Pairs, Told, supervise};
use super::figures::Move;
use super::pair::{Copied, Fate, Fenced, Followed, Later, Looked, Pair, Trouble};
use super::records::{Cut, OwnedRule, Part};
use super::rule;
use crate::elbv2::tests as elb;
use crate::testing::World;
use quarry_domain::cut::{Data, Limits, Mark, Progress, Route, Side, SideSeen, Spec, State, Verified};
use quarry_domain::link::{CutReport, TargetReport, TargetState};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One side's database: rows are numbers, each with the key of the write that made it.
#[derive(Clone, Debug, Default)]
pub struct Database {
    prepared: bool,
    owner: bool,
    epoch: u64,
    released: Option<Mark>,
    rows: Vec<u32>,
    feed: Vec<u32>,
    applied: u64,
    copied: bool,
}

#[derive(Default)]
pub struct Databases {
    sides: [Database; 2],
    /// Fence commands that changed something, for the transcript.
    fences: Vec<(Side, bool, u64)>,
    /// Calls so far, and the one at which the controller dies: before it is done, or before its answer comes.
    calls: usize,
    dies_at: Option<(usize, bool)>,
    dead: bool,
    lost: bool,
    /// From this call on there is a fault, until it is healed.
    fault_at: Option<(usize, Fault)>,
    fault: Option<Fault>,
}

/// What is wrong with a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody answers: a task, a machine, a wire.
    Down(Side),
    /// Nothing can be written.
    Full(Side),
    /// Its tables are others than at the beginning.
    Changed(Side),
}

impl Fault {
    fn trouble(self, side: Side, writes: bool) -> Option<Trouble> {
        let message = match self {
            Self::Down(one) if one == side => "no answer within 400 ms",
            Self::Full(one) if one == side && writes => "the database: database or disk is full",
            Self::Changed(one) if one == side => "the tables of posts changed since the cut was prepared",
            _ => return None,
        };
        Some(Trouble { message: message.into(), refused: matches!(self, Self::Changed(_)) })
    }
}

type Shared = Arc<Mutex<Databases>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Databases> {
    shared.lock().unwrap()
}

impl Database {
    fn digest(&self) -> String {
        let mut rows = self.rows.clone();
        rows.sort_unstable();
        format!(
            "{}:{}",
            rows.len(),
            rows.iter().fold(7u64, |sum, row| sum.wrapping_mul(31).wrapping_add(u64::from(*row)))
        )
    }

    fn write(&mut self, row: u32) {
        self.rows.push(row);
        self.feed.push(row);
    }

    fn fenced(&self) -> Fenced {
        Fenced { owner: self.owner, epoch: self.epoch, released: self.released.clone() }
    }
}

/// A side's view of [`Databases`].
pub struct FakePair(Shared);

impl FakePair {
    /// Does it at a side, unless the controller dies before or after, or something is wrong there.
    async fn call<T>(&self, at: Side, writes: bool, f: impl FnOnce(&mut Databases) -> T) -> Result<T, Trouble> {
        tokio::task::yield_now().await;
        let (dies_before, dies_after) = {
            let mut shared = lock(&self.0);
            shared.calls += 1;
            let calls = shared.calls;
            if let Some((_, fault)) = shared.fault_at.take_if(|(call, _)| *call <= calls) {
                shared.fault = Some(fault);
            }
            if let Some(trouble) = shared.fault.and_then(|fault| fault.trouble(at, writes)) {
                return Err(trouble);
            }
            let now = shared.dies_at.filter(|(at, _)| *at == shared.calls);
            shared.dead |= now.is_some();
            (now == Some((shared.calls, false)), now == Some((shared.calls, true)))
        };
        if dies_before {
            return std::future::pending().await;
        }
        let done = f(&mut lock(&self.0));
        if dies_after {
            return std::future::pending().await;
        }
        if lock(&self.0).lost {
            return Err(Trouble::new("no answer"));
        }
        tokio::task::yield_now().await;
        Ok(done)
    }
}

impl Pair for FakePair {
    fn look(&self, side: Side) -> Later<'_, Looked> {
        Box::pin(self.call(side, false, move |all| {
            let one = &all.sides[side as usize];
            Looked {
                known: true,
                copied: one.copied,
                rows: one.rows.len() as u64,
                oldest_write_ms: None,
                tables: Vec::new(),
                seen: SideSeen {
                    prepared: one.prepared,
                    owner: one.owner,
                    epoch: one.epoch,
                    released: one.released.clone(),
                    applied: one.applied,
                    digest: one.digest(),
                },
            }
        }))
    }

    fn check(&self) -> Later<'_, Vec<(Side, String)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn prepare(&self, owner: Side) -> Later<'_, Vec<(Side, String)>> {
        Box::pin(self.call(owner, true, move |all| {
            let epoch = all.sides.iter().map(|one| one.epoch).max().unwrap_or(0).max(1);
            for side in [owner, owner.other()] {
                let one = &mut all.sides[side as usize];
                (one.prepared, one.epoch) = (true, epoch);
            }
            Vec::new()
        }))
    }

    fn copy(&self, from: Side) -> Later<'_, Copied> {
        Box::pin(self.call(from.other(), true, move |all| {
            let old = all.sides[from as usize].clone();
            let new = &mut all.sides[from.other() as usize];
            if !new.copied {
                (new.rows, new.applied, new.copied) = (old.rows, old.feed.len() as u64, true);
            }
            Copied { done: true, rows: new.rows.len() as u64 }
        }))
    }

    fn follow(&self, from: Side, wait: Duration) -> Later<'_, Followed> {
        Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.call(from, false, |_| ()).await?;
            self.call(from.other(), true, move |all| {
                let feed = all.sides[from as usize].feed.clone();
                let new = &mut all.sides[from.other() as usize];
                let changes = &feed[new.applied as usize..];
                new.rows.extend(changes);
                new.applied = feed.len() as u64;
                Followed {
                    applied: new.applied,
                    digest: new.digest(),
                    changes: changes.len() as u64,
                    behind: 0,
                    took: Duration::ZERO,
                }
            })
            .await
        })
    }

    fn verify(&self, owner: Side) -> Later<'_, Verified> {
        Box::pin(self.call(owner, false, move |all| Verified::Rows(all.sides[owner as usize].rows.len() as u64)))
    }

    fn give_up(&self, side: Side, epoch: u64) -> Later<'_, Fenced> {
        Box::pin(self.call(side, true, move |all| {
            let one = &mut all.sides[side as usize];
            if epoch > one.epoch {
                let mark = Mark { position: one.feed.len() as u64, digest: one.digest() };
                (one.owner, one.epoch, one.released) = (false, epoch, Some(mark));
                all.fences.push((side, false, epoch));
            }
            all.sides[side as usize].fenced()
        }))
    }

    fn take(&self, side: Side, epoch: u64, expect: Option<(u64, String)>) -> Later<'_, Fenced> {
        Box::pin(async move {
            let taken = self.call(side, true, move |all| {
                let one = &mut all.sides[side as usize];
                let same = expect.is_none_or(|(position, digest)| one.applied == position && one.digest() == digest);
                if epoch > one.epoch && same {
                    (one.owner, one.epoch, one.released) = (true, epoch, None);
                    all.fences.push((side, true, epoch));
                }
                same.then(|| all.sides[side as usize].fenced())
            });
            taken.await?.ok_or_else(|| Trouble::new("it does not stand at the mark"))
        })
    }

    fn retire(&self, owner: Side, _fate: Fate) -> Later<'_, ()> {
        Box::pin(self.call(owner.other(), true, move |all| {
            all.sides[owner.other() as usize] =
                Database { epoch: all.sides[owner.other() as usize].epoch, ..Database::default() };
        }))
    }
}

/// The platform with a cut in its store, the databases, and what plays balancer and clients.
pub struct Stage {
    pub world: World,
    pub databases: Shared,
    pub listener: String,
    pub id: String,
    pairs: &'static Pairs,
    told: watch::Sender<Told>,
    wake: watch::Receiver<Told>,
    supervisor: Option<JoinHandle<()>>,
    /// Writes that were acknowledged.
    pub acknowledged: Rc<std::cell::RefCell<Vec<u32>>>,
    /// Writes refused by the database with no newer route to go by: parked again.
    pub fenced_again: Rc<Cell<u32>>,
    pub proxy: RefCell<Proxy>,
}

fn part(name: &str, service_arn: &str) -> Part {
    Part {
        service: name.into(),
        service_arn: service_arn.into(),
        cluster: "demo".into(),
        target_group_arn: String::new(),
        admin_port: Some(9100),
        database: None,
    }
}

/// A cut that has just begun, of a rule and from a service, both by ARN.
pub fn record(rule: &str, from: &str, now: i64) -> Cut {
    Cut {
        id: "cut-00000001".into(),
        scope: "posts".into(),
        paths: vec!["/api/posts*".to_owned()],
        tables: Vec::new(),
        from: part("api", from),
        to: part("posts", "arn:aws:ecs:us-east-1:000000000000:service/demo/posts"),
        databases: None,
        listener_arn: String::new(),
        rule: OwnedRule { arn: rule.into(), before: None },
        spec: Spec {
            data: Data::Contract,
            shadow_percent: None,
            canary_percent: None,
            allow_empty: false,
            limits: quick(),
        },
        ignore: Vec::new(),
        fate: Fate::Rename,
        max_5xx_percent: 10,
        progress: Progress::new(None),
        created_ms: now,
        entered_ms: now,
        hold_began_ms: None,
        ended_ms: None,
        moves: Vec::new(),
        current: Move::begin(Side::Source, now),
        entries: 0,
    }
}

/// The balancer.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// The route in force.
    route: Option<Route>,
    pub is: Condition,
    /// Moments of hold.
    held: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Well,
    /// It goes on with what it has: the controller does not reach it.
    Unreached,
    /// It does not run.
    Dead,
    /// It runs, and its targets of the new side do not answer it.
    WithoutDestination,
}

/// Moments after which the balancer lets parked writes go: as long as a contract's hold deadline.
const HOLD_DEADLINE: u32 = 300;

impl Stage {
    pub fn new(limits: Limits) -> Self {
        let world = elb::world();
        let balancer = elb::balancer(&world, "front");
        let (old, new) = (elb::group(&world, "api"), elb::group(&world, "posts"));
        let listener = elb::listener(&world, &balancer, &old);
        let databases: Shared = Arc::default();
        lock(&databases).sides[0] = Database { owner: true, rows: vec![1_000_000], ..Database::default() };
        let part = |name: &str, group: &str| Part {
            target_group_arn: group.into(),
            ..part(name, &format!("arn:aws:ecs:us-east-1:000000000000:service/demo/{name}"))
        };
        let (from, to) = (part("api", &old), part("posts", &new));
        let paths = vec!["/api/posts*".to_owned()];
        let cut = world
            .transact(|ctx| {
                let rule: OwnedRule = rule::take(ctx, &listener, &paths)?;
                let now = ctx.platform.now_ms();
                let mut cut = Cut {
                    paths,
                    from,
                    to,
                    databases: None,
                    listener_arn: listener.clone(),
                    rule,
                    spec: Spec { limits, ..record("", "", now).spec },
                    ..record("", "", now)
                };
                rule::point(ctx, &cut, Side::Source)?;
                let entry = cut.entry(now, "PREPARE", None);
                ctx.tx.put(&entry)?;
                ctx.tx.put(&cut)?;
                Ok(cut)
            })
            .unwrap();
        let shared = databases.clone();
        let pairs: Box<Pairs> = Box::new(move |_, _| Ok(Some(Rc::new(FakePair(shared.clone())) as Rc<dyn Pair>)));
        let (told, wake) = watch::channel(Told::default());
        Self {
            world,
            databases,
            listener,
            id: cut.id,
            pairs: Box::leak(pairs),
            told,
            wake,
            supervisor: None,
            acknowledged: Rc::default(),
            fenced_again: Rc::default(),
            proxy: RefCell::new(Proxy { route: None, is: Condition::Well, held: 0 }),
        }
    }

    pub fn cut(&self) -> Cut {
        self.world.platform.store.read(|tx| tx.get::<Cut>(&self.id)).unwrap().unwrap()
    }

    /// A new process, which knows nothing but the store.
    pub fn start(&mut self) {
        let (platform, operations) = (self.world.platform.clone(), self.world.operations.clone());
        let task = tokio::task::spawn_local(supervise(platform, operations, self.pairs, self.wake.clone()));
        self.supervisor = Some(task);
    }

    /// As by SIGKILL.
    pub async fn kill(&mut self) {
        if let Some(task) = self.supervisor.take() {
            task.abort();
            let _ = task.await;
        }
        // Tasks that it had spawned end with it.
        tokio::task::yield_now().await;
        let mut all = lock(&self.databases);
        (all.dead, all.dies_at) = (false, None);
        self.world.platform.live().watched.clear();
    }

    /// One moment of balancer and clients: the route in force is the journal's, and a client writes.
    pub async fn moment(&self, next: &mut u32) {
        self.world.door.advance(Duration::from_millis(5));
        let cut = self.cut();
        let Proxy { route, is, held } = {
            let mut proxy = self.proxy.borrow_mut();
            if matches!(proxy.is, Condition::Well | Condition::WithoutDestination) || proxy.route.is_none() {
                proxy.route = Some(cut.progress.route.clone());
            }
            let holds = proxy.route.as_ref().is_some_and(|route| route.hold);
            proxy.held = if holds { proxy.held + 1 } else { 0 };
            proxy.clone()
        };
        let route = route.expect("it was just given");
        let connected = matches!(is, Condition::Well | Condition::WithoutDestination);
        {
            let mut live = self.world.platform.live();
            if connected {
                live.silent_proxies.clear();
                live.applied.insert("proxy".into(), route.version);
                live.published_cuts.insert(cut.id.clone(), (route.version, route.version));
                let report = CutReport { version: route.version, holding: route.hold, ..CutReport::default() };
                live.cuts.insert("proxy".into(), BTreeMap::from([(cut.id.clone(), report)]));
            } else {
                live.applied.remove("proxy");
                live.cuts.remove("proxy");
                live.silent_proxies.insert("proxy".into());
            }
            for part in [&cut.from, &cut.to] {
                let reached = is != Condition::WithoutDestination || part.service != cut.to.service;
                let target = TargetReport {
                    target_group_arn: part.target_group_arn.clone(),
                    registration: 1,
                    state: if reached { TargetState::Healthy } else { TargetState::Unhealthy },
                    reason: None,
                    description: None,
                    in_flight: 0,
                };
                live.targets.insert((part.target_group_arn.clone(), 1), target);
            }
        }
        let reaches = match is {
            Condition::Dead => false,
            Condition::WithoutDestination => route.to == Side::Source,
            Condition::Well | Condition::Unreached => true,
        };
        if reaches && (!route.hold || held > HOLD_DEADLINE) {
            let mut all = lock(&self.databases);
            let down = all.fault == Some(Fault::Down(route.to)) || all.fault == Some(Fault::Full(route.to));
            let one = &mut all.sides[route.to as usize];
            if !down && one.owner && (route.version == 0 || one.epoch == route.epoch) {
                one.write(*next);
                self.acknowledged.borrow_mut().push(*next);
                *next += 1;
            } else {
                self.fenced_again.set(self.fenced_again.get() + 1);
            }
        }
        self.told.send_modify(|told| told.level += 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Until the condition holds.
    pub async fn until(&self, next: &mut u32, what: &str, mut f: impl FnMut(&Cut, &Databases) -> bool) {
        for _ in 0..20_000 {
            self.moment(next).await;
            let cut = self.cut();
            let all = lock(&self.databases);
            assert!(!(all.sides[0].owner && all.sides[1].owner), "two owners");
            if f(&cut, &all) {
                return;
            }
        }
        panic!("waited in vain: {what}: {:?}, {:?}", self.cut().progress, lock(&self.databases).sides);
    }

    /// Every acknowledged write is in the owner exactly once, and nothing else is.
    pub fn check_ledger(&self) {
        let all = lock(&self.databases);
        let owner = all.sides.iter().find(|one| one.owner).expect("somebody owns it");
        let mut rows: Vec<u32> = owner.rows.iter().copied().filter(|row| *row < 1_000_000).collect();
        rows.sort_unstable();
        assert_eq!(rows, *self.acknowledged.borrow());
    }

    /// As a person's request.
    pub fn ask(&self, wanted: quarry_domain::cut::Wish) {
        self.world
            .transact(|ctx| {
                let mut cut: Cut = ctx.tx.get(&self.id)?.expect("it is there");
                cut.progress = quarry_domain::cut::wish(&cut.progress, wanted).expect("it is granted");
                Ok(ctx.tx.put(&cut)?)
            })
            .unwrap();
    }

    /// As `quarry cut status` tells it.
    pub fn status(&self) -> String {
        super::view::view(&self.world.platform, &self.cut()).summary
    }

    /// The weights of the cut's rule: source, destination.
    pub fn weights(&self) -> Vec<u32> {
        let cut = self.cut();
        let rule: crate::elbv2::records::Rule =
            self.world.platform.store.read(|tx| tx.get(&cut.rule.arn)).unwrap().expect("the rule is there");
        match rule.action.action {
            quarry_domain::snapshot::Action::Forward(forward) => forward.groups.iter().map(|one| one.weight).collect(),
            other => panic!("{other:?}"),
        }
    }
}

pub fn quick() -> Limits {
    Limits { calm: 1, shadow: 1, canary: 1, ..Limits::default() }
}

/// Runs a test's story on a runtime like the driver's.
pub fn play(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, story);
}

pub fn is(cut: &Cut, state: State) -> bool {
    cut.progress.state == state
}
