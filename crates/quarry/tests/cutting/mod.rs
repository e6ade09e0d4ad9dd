//! Cuts under load, again and again, while processes are killed: what the test of cuts and the benchmark of cuts share.

// Each of the two uses what it needs of it.
#![allow(dead_code)]

use crate::stage::{Stage, block_on, kill, pid_of};
use quarry_client::cuts::{Ask, Cut, CutRequest, Cuts, Report, ResumeRequest};
use quarry_load::{Account, Ledger, LedgerConfig, LedgerHandle, Verdict};
use quarry_testkit::{PATIENCE, wait_for};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The features of the board.
pub const FEATURES: [&str; 3] = ["users", "threads", "posts"];

/// Who may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Serve,
    Proxy,
    /// The task of the new service.
    Service,
    /// The task of the old one.
    Monolith,
}

/// splitmix64: the same faults in the same order for the same seed; the moment at which they hit is the machine's.
pub struct Dice(pub u64);

/// What many moves came to.
#[derive(Debug, Default)]
pub struct Moves {
    /// Microseconds of hold, in the order of the moves.
    pub holds: Vec<u64>,
    /// From the wish to the old side's ownership, in microseconds, of rollbacks without a kill.
    pub rollbacks: Vec<u64>,
    pub kills: BTreeMap<Victim, u64>,
    /// Of database servers.
    pub crashes: u64,
    /// Why a cut stopped or went back by itself, by code.
    pub stops: BTreeMap<String, u64>,
    pub holds_given_up: u64,
    /// Milliseconds in each state of a hold, in the order of the moves.
    pub states: BTreeMap<String, Vec<u64>>,
    pub moves: u64,
    pub cuts: u64,
}

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// The value that this share of all lie below; 0 of none.
pub fn percentile(values: &[u64], share: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

impl Moves {
    pub fn add(&mut self, other: Moves) {
        self.holds.extend(other.holds);
        self.rollbacks.extend(other.rollbacks);
        for (victim, count) in other.kills {
            *self.kills.entry(victim).or_default() += count;
        }
        for (code, count) in other.stops {
            *self.stops.entry(code).or_default() += count;
        }
        self.crashes += other.crashes;
        self.holds_given_up += other.holds_given_up;
        for (state, lasted) in other.states {
            self.states.entry(state).or_default().extend(lasted);
        }
        self.moves += other.moves;
        self.cuts += other.cuts;
    }

    /// How long each state of the holds lasted, from the cut's report.
    pub fn note_states(&mut self, cuts: &Cuts, id: &str) {
        let told = wait_for("the report is there", || block_on(cuts.report(id)).ok());
        for one in told["cut"]["moves"].as_array().into_iter().flatten() {
            for (state, ms) in one["states_ms"].as_object().into_iter().flatten() {
                if ["HOLD", "DRAIN", "FENCE", "CATCH-UP", "ACTIVATE", "RELEASE"].contains(&state.as_str()) {
                    self.states.entry(state.clone()).or_default().extend(ms.as_u64());
                }
            }
        }
    }

    /// Milliseconds in each state of the holds: median / 99th percentile.
    pub fn lasted(&self) -> String {
        let lasted = self.states.iter().map(|(state, ms)| {
            let [p50, p99] = [0.5, 0.99].map(|share| percentile(ms, share));
            format!("{state} {p50} / {p99}")
        });
        lasted.collect::<Vec<_>>().join(", ")
    }
}

pub fn request(feature: &str) -> CutRequest {
    CutRequest {
        scope: feature.into(),
        from: "api".into(),
        to: feature.into(),
        paths: vec![format!("/api/{feature}*")],
        shadow_percent: Some(0),
        ..CutRequest::default()
    }
}

/// Creates of a feature through the load balancer; `series` tells them from those of other ledgers.
pub fn write(stage: &Stage, feature: &'static str, series: &'static str, rate: f64) -> LedgerHandle {
    let mut config = LedgerConfig::new(stage.address, &stage.host, format!("/api/{feature}"), rate);
    config.keys = Some(format!("{series}-"));
    // With tasks killed under it a write is repeated until it is known.
    config.retries = 60;
    Ledger::start(config.body(move |number| {
        let name = format!("{series}-{number}");
        let record = match feature {
            "users" => json!({ "username": name, "name": "Of a ledger" }),
            "threads" => json!({ "title": name, "createdBy": 6 }),
            _ => json!({ "text": name, "user": 6, "thread": 5 }),
        };
        record.to_string()
    }))
    .unwrap()
}

/// The ledger held against all rows of the feature.
pub fn check(stage: &Stage, feature: &str, series: &str, account: &Account) -> Verdict {
    let field = match feature {
        "users" => "username",
        "threads" => "title",
        _ => "text",
    };
    let prefix = format!("{series}-");
    let rows = wait_for("the rows are there", || match stage.request("GET", &format!("/api/{feature}"), None, "") {
        Some((200, body)) => serde_json::from_str::<Vec<Value>>(&body).ok(),
        _ => None,
    });
    account.check(rows.iter().filter_map(|row| row[field].as_str()?.strip_prefix(&prefix)?.parse().ok()))
}

pub fn cuts(stage: &Stage) -> Cuts {
    Cuts::new(stage.platform.client().unwrap())
}

/// Asks again while `serve` is not there.
pub fn show(cuts: &Cuts, id: &str) -> Cut {
    wait_for("the cut is shown", || Cut::deserialize(block_on(cuts.show(id)).ok()?).ok())
}

pub fn report(cuts: &Cuts, id: &str) -> Report {
    wait_for("the report is there", || Report::deserialize(block_on(cuts.report(id)).ok()?).ok())
}

/// Begins a cut, once the new service and the old one are ready for it.
pub fn begin(cuts: &Cuts, wanted: &CutRequest) -> String {
    let begin = Instant::now();
    loop {
        let refused = match block_on(cuts.create(wanted)) {
            Ok(made) => return Cut::deserialize(made).unwrap().id,
            Err(error) => error.to_string(),
        };
        // Perhaps the answer was lost.
        let listed = block_on(cuts.list()).ok().map(|all| Vec::<Cut>::deserialize(&all["cuts"]).unwrap());
        let made = listed.and_then(|all| all.into_iter().find(|c| c.scope == wanted.scope && c.ended_ms.is_none()));
        if let Some(made) = made {
            return made.id;
        }
        assert!(begin.elapsed() < PATIENCE, "{} does not begin: {refused}", wanted.scope);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Moves the feature to the new side or back, and waits until it is there, whatever happens on the way.
pub fn go(cuts: &Cuts, id: &str, there: bool, moves: &mut Moves) {
    let begin = Instant::now();
    loop {
        let cut = show(cuts, id);
        let on_new_side = cut.state == "WATCH";
        let stopped = cut.stopped.as_ref().map(|stop| stop.code.clone());
        match (there, on_new_side, stopped.as_deref()) {
            (true, true, None) => return,
            (false, false, Some("RolledBack")) => return,
            (true, _, Some(code)) => {
                if code != "RolledBack" {
                    *moves.stops.entry(code.to_owned()).or_default() += 1;
                }
                let request = ResumeRequest { accept_differences: true, allow_empty: true, until: None };
                let _ = block_on(cuts.resume(id, &request));
            }
            (false, true, code) => {
                if let Some(code) = code {
                    *moves.stops.entry(code.to_owned()).or_default() += 1;
                }
                let _ = block_on(cuts.ask(id, Ask::Rollback));
            }
            (false, false, Some(code)) => panic!("a rollback stopped: {code}: {}", cut.summary),
            (_, _, None) => {}
        }
        assert!(cut.ended_ms.is_none(), "{}", cut.summary);
        assert!(begin.elapsed() < 10 * PATIENCE, "it does not get there: {}", cut.summary);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends a cut on the old side, where it must be.
pub fn abort(cuts: &Cuts, id: &str) {
    let begin = Instant::now();
    loop {
        let cut = show(cuts, id);
        if cut.ended_ms.is_some() {
            assert_eq!(cut.state, "ABORTED", "{}", cut.summary);
            return;
        }
        let _ = block_on(cuts.ask(id, Ask::Abort));
        assert!(begin.elapsed() < PATIENCE, "it does not end: {}", cut.summary);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills it; what has to be started again by hand is.
pub fn strike(stage: &mut Stage, victim: Victim, feature: &str) {
    let aws = stage.platform.client().unwrap();
    let task = |stage: &Stage, service: &str| {
        if let Some(task) = stage.tasks(&aws, service).pop_first()
            && let Some(pid) = running(stage, &task)
        {
            kill(pid);
        }
    };
    match victim {
        Victim::Serve => {
            stage.platform.kill_serve().unwrap();
            stage.platform.restart_serve().unwrap();
        }
        Victim::Proxy => kill(stage.holder_of("proxy/lock")),
        Victim::Service => task(stage, feature),
        Victim::Monolith => task(stage, "api"),
    }
}

/// The process of a task that is running, and not just being replaced.
fn running(stage: &Stage, task: &str) -> Option<i32> {
    std::panic::catch_unwind(|| pid_of(stage.platform.data_dir(), task)).ok()
}

/// Moves a feature there and back until `moves` are made, each with a kill at a chance of `kills` percent; every tenth
/// move it ends the cut and begins a new one, which copies everything anew.
pub fn to_and_fro(stage: &mut Stage, feature: &str, wanted: u64, kills: u64, dice: &mut Dice) -> Moves {
    let cuts = cuts(stage);
    let mut moves = Moves::default();
    while moves.moves < wanted {
        let id = begin(&cuts, &request(feature));
        moves.cuts += 1;
        for n in 0..10 {
            let there = n % 2 == 0;
            let strikes = dice.below(100) < kills;
            let begin = Instant::now();
            if n > 0 && !there {
                let _ = block_on(cuts.ask(&id, Ask::Rollback));
            } else if n > 0 {
                let _ = block_on(cuts.resume(&id, &ResumeRequest::default()));
            }
            if strikes {
                let victims = [Victim::Serve, Victim::Proxy, Victim::Service, Victim::Monolith];
                let victim = victims[dice.below(4) as usize];
                std::thread::sleep(Duration::from_millis(dice.below(900)));
                strike(stage, victim, feature);
                *moves.kills.entry(victim).or_default() += 1;
            }
            go(&cuts, &id, there, &mut moves);
            if !there && !strikes {
                moves.rollbacks.push(begin.elapsed().as_micros() as u64);
            }
        }
        let report = report(&cuts, &id);
        assert!(report.digests_agree, "digests of {feature} differ");
        moves.moves += report.cut.moves.len() as u64;
        moves.note_states(&cuts, &id);
        moves.holds.extend(report.cut.moves.iter().filter_map(|one| one.hold_micros));
        moves.holds_given_up += report.cut.moves.iter().map(|one| one.aborted_holds).sum::<u64>();
        abort(&cuts, &id);
    }
    moves
}
