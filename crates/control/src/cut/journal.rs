//! Writing down a step: the new progress, the journal's lines, the figures and the rule's weights are one transaction.

use super::figures::{Move, Traffic};
use super::records::{Cut, Entry};
use super::rule;
use crate::api::{Ctx, Result};
use quarry_domain::cut::{Goal, Progress, Side, State};

/// What the driver has measured when it writes.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub traffic: Traffic,
    /// Since the hold was journaled, in microseconds.
    pub in_hold: Option<u64>,
    pub hold_micros_proxies: Option<u64>,
    pub rows_copied: u64,
    pub rows_compared: u64,
    pub digest_to: Option<String>,
}

/// Writes the step unless the journal has moved on meanwhile; says whether it did.
pub fn write(
    ctx: &mut Ctx<'_>,
    read: &Cut,
    next: Progress,
    passed: &[State],
    why: Option<String>,
    measured: &Measured,
) -> Result<bool> {
    let Some(mut cut) = ctx.tx.get::<Cut>(&read.id)? else { return Ok(false) };
    if cut.progress != read.progress {
        return Ok(false);
    }
    if next.state.holds() {
        // Whoever else is concerned hears of it when the hold is over.
        ctx.tx.only_routes();
    }
    let now = ctx.platform.now_ms();
    let before = std::mem::replace(&mut cut.progress, next);
    if before.route.to != cut.progress.route.to {
        let to = cut.progress.route.to;
        rule::point(ctx, &cut, to)?;
    }
    figures(&mut cut, &before, now, measured);
    let mut lines: Vec<Entry> = Vec::new();
    let silent = [cut.progress.state];
    let states = if passed.is_empty() { &silent[..] } else { passed };
    for (i, state) in states.iter().enumerate() {
        let message = why.clone().filter(|_| i + 1 == states.len());
        lines.push(cut.entry(now, state.name(), message));
    }
    for line in &lines {
        ctx.tx.put(line)?;
    }
    let moved = before.state != cut.progress.state || before.route != cut.progress.route;
    if moved || (before.stopped.is_some() && cut.progress.stopped.is_none()) {
        cut.entered_ms = now;
    }
    if cut.progress.state == State::Hold {
        cut.hold_began_ms = Some(now);
    } else if !cut.progress.state.holds() {
        cut.hold_began_ms = None;
    }
    if cut.has_ended() {
        cut.ended_ms = Some(now);
        if cut.progress.state == State::Aborted {
            rule::give_back(ctx, &cut)?;
        }
    }
    ctx.tx.put(&cut)?;
    Ok(true)
}

fn figures(cut: &mut Cut, before: &Progress, now: i64, measured: &Measured) {
    // Figures for people: a clock that was put back shows as no time.
    let lasted = now.saturating_sub(cut.entered_ms).max(0);
    *cut.current.states_ms.entry(before.state.name().to_owned()).or_default() += lasted;
    let current = &mut cut.current;
    current.rows_copied = current.rows_copied.max(measured.rows_copied);
    current.rows_compared = current.rows_compared.max(measured.rows_compared);
    if let Some(mark) = &cut.progress.mark {
        current.position = Some(mark.position);
        current.digest_from = Some(mark.digest.clone());
    }
    let after = &cut.progress;
    if before.state != State::Abort && after.state == State::Abort && before.state.holds() {
        current.aborted_holds += 1;
    }
    if after.state == State::Activate {
        current.digest_to.clone_from(&measured.digest_to);
    }
    // A rollback is a move of its own.
    if before.from == Side::Source && after.from == Side::Destination && after.goal == Goal::Rollback {
        cut.current = Move::begin(Side::Destination, now);
        return;
    }
    let over = before.state == State::Release && after.state != State::Release;
    if over {
        current.ended_ms = Some(now);
        current.total_ms = Some(now.saturating_sub(current.began_ms).max(0));
        current.hold_micros = measured.in_hold;
        current.hold_micros_proxies = measured.hold_micros_proxies;
        current.traffic = measured.traffic.clone();
        let next = Move::begin(after.owner(), now);
        cut.moves.push(std::mem::replace(current, next));
    } else if before.stopped.is_some() && after.stopped.is_none() && after.owner() == Side::Source {
        current.began_ms = now;
    }
}
