//! `cargo xtask clients`: which operations each client was seen to use well, as one table.
//!
//! The suites are tests (`tests/suites`, `tests/terraform`), each against a Quarry of its own; they leave
//! their outcome in the directory that `QUARRY_SUITES` names.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// File of the outcome, and the tests that leave it.
const SUITES: [(&str, &[&str]); 3] = [
    ("boto3", &["--test", "clients", "suites::boto3"]),
    ("aws", &["--test", "clients", "suites::aws"]),
    ("terraform", &["--test", "terraform", "configurations"]),
];

/// What a suite left.
#[derive(Serialize, Deserialize)]
struct Outcome {
    client: String,
    steps: Vec<Step>,
    operations: BTreeMap<String, BTreeMap<String, Counts>>,
}

#[derive(Serialize, Deserialize)]
struct Step {
    name: String,
    /// Why it failed.
    failed: Option<String>,
}

/// Of one operation.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Counts {
    /// Good answers.
    passed: u64,
    /// Refusals that were to be.
    refused: u64,
    /// Steps that failed at it, and internal failures.
    failed: u64,
}

/// A cell of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Passed,
    /// Asked, and only refused, as it should be.
    Refused,
    Failed,
    NotAsked,
}

const MARKS: [(Mark, &str); 4] =
    [(Mark::Passed, "passed"), (Mark::Refused, "refused"), (Mark::Failed, "FAILED"), (Mark::NotAsked, "-")];

/// Runs the suites and prints the table. An error if a step failed or a suite left nothing.
pub fn run(root: &Path, as_json: bool) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("quarry-suites-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let outcomes = collect(root, &directory);
    std::fs::remove_dir_all(&directory)?;
    let (outcomes, absent) = outcomes?;
    let served = served(root)?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&json(&served, &outcomes, &absent))?);
    } else {
        print!("{}", text(&served, &outcomes));
        absent.iter().for_each(|name| println!("not run: {name} (not found here)"));
    }
    let failed: Vec<String> = outcomes
        .iter()
        .flat_map(|o| o.steps.iter().map(move |s| (o, s)))
        .filter_map(|(o, s)| {
            let why = s.failed.as_ref()?;
            Some(format!("{}: {}: {why}", o.client, s.name))
        })
        .collect();
    if !failed.is_empty() {
        bail!("{} steps failed:\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}

/// The outcomes, and the names of clients that are not there.
fn collect(root: &Path, directory: &Path) -> Result<(Vec<Outcome>, Vec<&'static str>)> {
    let (mut outcomes, mut absent) = (Vec::new(), Vec::new());
    for (name, test) in SUITES {
        eprintln!("running the suite of {name} …");
        let mut cargo = cargo(root);
        let ran = cargo
            .args(["test", "--quiet", "--package", "quarry"])
            .args(test)
            .env("QUARRY_SUITES", directory)
            .output()?;
        let file = directory.join(format!("{name}.json"));
        match std::fs::read(&file) {
            Ok(text) => outcomes.push(serde_json::from_slice(&text).with_context(|| file.display().to_string())?),
            Err(_) if ran.status.success() => absent.push(name),
            Err(_) => bail!(
                "the suite of {name} left no outcome:\n{}{}",
                String::from_utf8_lossy(&ran.stdout),
                String::from_utf8_lossy(&ran.stderr)
            ),
        }
    }
    Ok((outcomes, absent))
}

/// Service and operation of all that is served.
fn served(root: &Path) -> Result<BTreeSet<(String, String)>> {
    #[derive(Deserialize)]
    struct Table {
        services: Vec<Service>,
    }
    #[derive(Deserialize)]
    struct Service {
        service: String,
        served: Vec<String>,
    }
    let nowhere = root.join("target/no-installation");
    let mut cargo = cargo(root);
    let printed = cargo
        .args(["run", "--quiet", "--package", "quarry", "--", "coverage", "--json", "--data-dir"])
        .arg(nowhere)
        .output()?;
    let table: Table = serde_json::from_slice(&printed.stdout).context("`quarry coverage --json`")?;
    let names = |s: Service| s.served.into_iter().map(move |name| (s.service.clone(), name));
    Ok(table.services.into_iter().flat_map(names).collect())
}

fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    cargo
}

fn mark(outcome: &Outcome, (service, operation): &(String, String)) -> Mark {
    match outcome.operations.get(service).and_then(|names| names.get(operation)) {
        Some(counts) if counts.failed > 0 => Mark::Failed,
        Some(counts) if counts.passed > 0 => Mark::Passed,
        Some(counts) if counts.refused > 0 => Mark::Refused,
        _ => Mark::NotAsked,
    }
}

/// How many operations have each mark.
fn totals(served: &BTreeSet<(String, String)>, outcome: &Outcome) -> BTreeMap<Mark, usize> {
    let mut totals: BTreeMap<Mark, usize> = MARKS.map(|(mark, _)| (mark, 0)).into();
    served.iter().for_each(|name| *totals.entry(mark(outcome, name)).or_default() += 1);
    totals
}

fn text(served: &BTreeSet<(String, String)>, outcomes: &[Outcome]) -> String {
    let row = |cells: Vec<String>| {
        let (first, rest) = cells.split_first().map(|(f, r)| (f.clone(), r.to_vec())).unwrap_or_default();
        format!("| {first:<58} | {} |\n", rest.iter().map(|c| format!("{c:<16}")).collect::<Vec<_>>().join(" | "))
    };
    let cells = |first: &str, each: &dyn Fn(&Outcome) -> String| {
        row(std::iter::once(first.to_owned()).chain(outcomes.iter().map(each)).collect())
    };
    let mut text = cells("Operation", &|o| o.client.clone());
    text.push_str(&format!("|{}\n", "---|".repeat(outcomes.len() + 1)));
    for name in served {
        let shown =
            |o: &Outcome| MARKS.iter().find(|(m, _)| *m == mark(o, name)).map_or("", |(_, word)| word).to_owned();
        text.push_str(&cells(&format!("{} {}", name.0, name.1), &shown));
    }
    for (wanted, word) in [
        (Mark::Passed, "operations that passed"),
        (Mark::Refused, "operations that were only refused, as they should be"),
        (Mark::Failed, "operations that failed"),
        (Mark::NotAsked, "operations not asked for"),
    ] {
        text.push_str(&cells(word, &|o| totals(served, o)[&wanted].to_string()));
    }
    let steps = |o: &Outcome| {
        let failed = o.steps.iter().filter(|s| s.failed.is_some()).count();
        format!("{}, {failed} failed", o.steps.len())
    };
    text.push_str(&cells("steps", &steps));
    text
}

fn json(served: &BTreeSet<(String, String)>, outcomes: &[Outcome], absent: &[&str]) -> serde_json::Value {
    let clients: Vec<_> = outcomes
        .iter()
        .map(|o| {
            let marks: BTreeMap<String, Mark> =
                served.iter().map(|name| (format!("{} {}", name.0, name.1), mark(o, name))).collect();
            serde_json::json!({
                "client": o.client, "totals": totals(served, o), "marks": marks, "steps": o.steps, "counts": o.operations,
            })
        })
        .collect();
    serde_json::json!({ "clients": clients, "not_run": absent })
}
