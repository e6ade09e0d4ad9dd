//! How a cut is shown.

use super::figures::{Move, Traffic, Watching};
use super::records::{Cut, Entry, Part};
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use quarry_domain::cut::{Data, Goal, Route, Side, State, Stop};
use serde::{Deserialize, Serialize};

/// `GET /cuts/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub id: String,
    pub scope: String,
    pub paths: Vec<String>,
    pub from: Part,
    pub to: Part,
    pub listener_arn: String,
    pub rule_arn: String,
    pub data: Data,
    pub state: State,
    /// One sentence for a person: where it is, and what it waits for.
    pub summary: String,
    pub owner: Side,
    pub goal: Goal,
    pub until: Option<State>,
    /// It waits for a person.
    pub stopped: Option<Stop>,
    /// Why it aborts or goes back, while it does.
    pub reason: Option<Stop>,
    pub epoch: u64,
    pub route: Route,
    pub created_ms: i64,
    pub entered_ms: i64,
    pub ended_ms: Option<i64>,
    /// Number of the newest journal entry.
    pub entries: u64,
    pub watching: Option<Watching>,
    pub traffic: Traffic,
    pub moves: Vec<Move>,
    pub current: Move,
}

/// `GET /cuts/{id}/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    pub entries: Vec<Entry>,
    /// Ask for those after this one next.
    pub last: u64,
    pub ended: bool,
}

/// `GET /cuts/{id}/report`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub cut: View,
    pub journal: Vec<Entry>,
    /// Every completed move had the same digest on both sides at its mark.
    pub digests_agree: bool,
    /// The longest hold of the moves, in microseconds.
    pub hold_micros_max: Option<u64>,
}

pub fn view(platform: &Platform, cut: &Cut) -> View {
    let live = platform.live();
    let watching = live.watched.get(&cut.id).cloned();
    let traffic = Traffic::of(live.cuts.values().filter_map(|cuts| cuts.get(&cut.id)));
    drop(live);
    let progress = &cut.progress;
    // After its end the proxies know nothing of it any more.
    let last = cut.moves.last().map(|one| one.traffic.clone()).unwrap_or_default();
    View {
        id: cut.id.clone(),
        scope: cut.scope.clone(),
        paths: cut.paths.clone(),
        from: cut.from.clone(),
        to: cut.to.clone(),
        listener_arn: cut.listener_arn.clone(),
        rule_arn: cut.rule.arn.clone(),
        data: cut.spec.data,
        state: progress.state,
        summary: summary(cut, watching.as_ref(), &traffic),
        owner: progress.owner(),
        goal: progress.goal,
        until: progress.until,
        stopped: progress.stopped.clone(),
        reason: progress.reason.clone(),
        epoch: progress.top,
        route: progress.route.clone(),
        created_ms: cut.created_ms,
        entered_ms: cut.entered_ms,
        ended_ms: cut.ended_ms,
        entries: cut.entries,
        watching,
        traffic: if cut.has_ended() && traffic == Traffic::default() { last } else { traffic },
        moves: cut.moves.clone(),
        current: cut.current.clone(),
    }
}

fn summary(cut: &Cut, watching: Option<&Watching>, traffic: &Traffic) -> String {
    let progress = &cut.progress;
    let (from, to) = (&cut.part(progress.from).service, &cut.part(progress.next_owner()).service);
    let owner = &cut.part(progress.owner()).service;
    let scope = &cut.scope;
    let mut text = match progress.state {
        State::Prepare => format!("{scope} is on {owner}; both sides are being prepared"),
        State::Backfill => {
            let rows = watching.map_or(0, |one| one.rows_copied);
            format!("{scope} is on {owner}; {rows} rows are copied to {to} so far")
        }
        State::Follow => {
            let lag = watching.map_or(String::new(), |one| format!(" (lag {} ms)", one.lag_ms));
            format!("{scope} is on {owner}; {to} follows its changes{lag}")
        }
        State::Shadow => format!(
            "{scope} is on {owner}; reads are copied to {to}: {} compared, {} differ",
            traffic.shadow.compared, traffic.shadow.different
        ),
        State::Hold | State::Drain => {
            format!("writes of {scope} are held, {} in flight at {from}", traffic.in_flight_writes)
        }
        State::Fence => format!("writes of {scope} are held, {from} gives it up"),
        State::CatchUp => format!("writes of {scope} are held, {to} catches up"),
        State::Switch | State::Activate => format!("the switch is decided: {to} takes {scope}"),
        State::Release => format!("{to} owns {scope}; the route moves there"),
        State::Watch => format!("{scope} is on {owner}; {} follows and can have it back", cut.from.service),
        State::Finish => format!("{scope} is on {owner} for good; the old side is cleared up"),
        State::Abort => format!("it is being aborted: {scope} stays on {owner}"),
        State::Finished => format!("finished: {scope} is on {owner}"),
        State::Aborted => format!("aborted: {scope} is on {owner}"),
    };
    let reason = progress.reason.as_ref().filter(|_| progress.state == State::Abort || progress.is_back());
    if let Some(stop) = &progress.stopped {
        text += &format!("; it waits for you: {}", stop.message);
    } else if let Some(reason) = reason {
        text += &format!(" ({})", reason.message);
    }
    if let Some(trouble) = watching.and_then(|one| one.trouble.as_ref()).filter(|_| !cut.has_ended()) {
        text += &format!("; trouble: {trouble}");
    }
    text
}

/// Entries after a number.
pub fn entries(tx: &Tx<'_>, id: &str, after: u64) -> Result<Vec<Entry>, StoreError> {
    Ok(tx.children::<Entry>(id)?.into_iter().filter(|entry| entry.number > after).collect())
}

pub fn report(platform: &Platform, tx: &Tx<'_>, cut: &Cut) -> Result<Report, StoreError> {
    let agree =
        |one: &Move| cut.spec.data == Data::None || (one.digest_to.is_some() && one.digest_from == one.digest_to);
    Ok(Report {
        cut: view(platform, cut),
        journal: entries(tx, &cut.id, 0)?,
        digests_agree: cut.moves.iter().all(agree),
        hold_micros_max: cut.moves.iter().filter_map(|one| one.hold_micros).max(),
    })
}
