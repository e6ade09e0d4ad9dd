//! What people read of a cut.

use crate::table::table;
use anyhow::Result;
use quarry_client::cuts::{Cut, Entry, Move, Plan, Report, ShadowExample};
use serde_json::Value;
use std::io::{IsTerminal, Write};

pub fn json(value: &Value) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(value)?)?;
    Ok(())
}

/// One object on one line.
pub fn line(value: &Value) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{value}")?;
    Ok(())
}

pub fn plan(scope: &str, plan: &Plan) {
    println!("States to come for {scope}: {}", plan.states.join(" → "));
    for finding in &plan.findings {
        let mark = match finding.severity.as_str() {
            "refusal" => "✗",
            "missing" => "!",
            _ => "·",
        };
        let side = finding.side.as_deref().map_or(String::new(), |side| format!(" ({side})"));
        println!("  {mark} {}{side}: {}", finding.what, finding.message);
    }
    if plan.refused {
        println!("It cannot begin: see the lines with ✗ and !.");
    } else {
        println!("It can begin: `quarry cut run` with the same words.");
    }
}

pub fn list(cuts: &[Cut]) {
    let rows = cuts.iter().map(|cut| {
        let services = format!("{} → {}", cut.from.service, cut.to.service);
        let state = if cut.stopped.is_some() { format!("{} (waits)", cut.state) } else { cut.state.clone() };
        [cut.id.clone(), cut.scope.clone(), services, cut.paths.join(" "), state, owner(cut).to_owned()]
    });
    println!("{}", table(["CUT", "SCOPE", "SERVICES", "PATHS", "STATE", "OWNER"], rows));
}

pub fn status(cut: &Cut) {
    println!("{}  {}  {}", cut.id, cut.state, cut.summary);
    println!("  paths   {}", cut.paths.join(" "));
    println!("  owner   {}", owner(cut));
    if let Some(watching) = cut.watching.as_ref().filter(|_| cut.ended_ms.is_none()) {
        println!("  lag     {} ms, {} changes behind", watching.lag_ms, watching.behind);
    }
    let traffic = &cut.traffic;
    println!("  seen    {} reads, {} writes", traffic.reads, traffic.writes);
    examples(&traffic.shadow.examples);
    next(cut);
}

/// One journal line.
pub fn entry(entry: &Entry) -> String {
    let seconds = entry.at_ms.rem_euclid(86_400_000) / 1000;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = entry.at_ms.rem_euclid(1000);
    let line = format!("{hours:02}:{minutes:02}:{rest:02}.{millis:03}Z  {:<9} {}", entry.state, entry.message);
    line.trim_end().to_owned()
}

/// What moves between journal entries, on one line.
pub fn moving(cut: &Cut) -> String {
    let shadow = &cut.traffic.shadow;
    let (lag, rows) = cut.watching.as_ref().map_or((0, 0), |one| (one.lag_ms, one.rows_copied));
    format!(
        "{}  {rows} rows copied · lag {lag} ms · {} compared, {} differ · {} writes, {} parked",
        cut.state, shadow.compared, shadow.different, cut.traffic.writes, cut.traffic.parked
    )
}

pub fn report(report: &Report) {
    let cut = &report.cut;
    println!();
    println!("{}: {} {} → {}, {}", cut.id, cut.scope, cut.from.service, cut.to.service, cut.summary);
    let moves: Vec<&Move> = if cut.moves.is_empty() { vec![&cut.current] } else { cut.moves.iter().collect() };
    let rows = moves.iter().map(|one| {
        let way = if one.from == "source" { "there" } else { "back" };
        let digests = match (&one.digest_from, &one.digest_to) {
            (Some(from), Some(to)) if from == to => "equal",
            (Some(_), Some(_)) => "DIFFERENT",
            _ => "-",
        };
        [
            way.to_owned(),
            one.hold_micros.map_or("-".into(), |micros| format!("{:.1} ms", micros as f64 / 1000.0)),
            one.total_ms.map_or("-".into(), |ms| format!("{:.1} s", ms as f64 / 1000.0)),
            one.rows_copied.to_string(),
            one.rows_compared.to_string(),
            digests.to_owned(),
            one.traffic.reads.to_string(),
            one.traffic.writes.to_string(),
            one.traffic.parked_most.to_string(),
            one.aborted_holds.to_string(),
        ]
    });
    let heading = [
        "MOVE",
        "HOLD",
        "TOTAL",
        "ROWS COPIED",
        "ROWS COMPARED",
        "DIGESTS",
        "READS",
        "WRITES",
        "PARKED AT MOST",
        "HOLDS GIVEN UP",
    ];
    println!("{}", table(heading, rows));
    let traffic = &cut.traffic;
    let shadow = &traffic.shadow;
    println!(
        "Reads compared: {} of {} copied; {} equal, {} different, {} not comparable, {} failed.",
        shadow.compared, shadow.copied, shadow.equal, shadow.different, shadow.noisy, shadow.failed
    );
    println!(
        "Writes met by the fence and sent again: {}; with an unknown outcome (502, never repeated): {}.",
        traffic.fenced_again, traffic.unknown_outcomes
    );
    examples(&shadow.examples);
    println!("Journal:");
    for one in &report.journal {
        println!("  {}", entry(one));
    }
}

fn examples(examples: &[ShadowExample]) {
    for example in examples {
        println!("  {} {}: {}", example.method, example.path, example.difference);
        for (side, answer) in [("old", &example.source), ("new", &example.destination)] {
            println!("    {side}  {} {}", answer.status, answer.body.replace('\n', " "));
        }
    }
}

/// What a person can do now.
pub fn next(cut: &Cut) {
    let scope = &cut.scope;
    if let Some(stop) = &cut.stopped {
        let words = match stop.code.as_str() {
            "Differences" => "resume --accept-differences, if the new answers are right,",
            "NothingCompared" => "resume --allow-empty, if there are no rows to move,",
            _ => "resume",
        };
        println!(
            "Next: `quarry cut {words} {scope}` goes on, `quarry cut abort {scope}` ends it on {}.",
            cut.from.service
        );
        return;
    }
    match cut.state.as_str() {
        "WATCH" if cut.owner == "destination" => println!(
            "Next: `quarry cut rollback {scope}` brings it back with its new writes, `quarry cut finish {scope}` makes \
             it final."
        ),
        "WATCH" => {
            println!("Next: `quarry cut resume {scope}` moves it again, `quarry cut abort {scope}` ends it here.")
        }
        _ => {}
    }
}

/// Asks whether the way back may be taken away; false where nobody can answer.
pub fn confirmed(cut: &Cut) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!(
        "Finish {}? The tables of {} are retired on {}, and there is no way back. [y/N] ",
        cut.id, cut.scope, cut.from.service
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn owner(cut: &Cut) -> &str {
    if cut.owner == "destination" { &cut.to.service } else { &cut.from.service }
}
