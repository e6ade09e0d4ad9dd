//! `quarry cut`: one path of a running service, and the data behind it, to a service of its own, and back.

mod arguments;
mod live;
mod show;

pub use arguments::CutCommand;

use crate::connection::Connection;
use anyhow::{Context, Result, bail};
use arguments::{Named, Which};
use live::Ended;
use quarry_client::cuts::{Ask, Cut, CutError, Cuts, Plan, Report, ResumeRequest};
use serde_json::Value;
use std::process::ExitCode;

/// The plan speaks against it; nothing was begun.
const REFUSED: u8 = 2;
/// It waits for a person, or went back.
const STOPPED: u8 = 3;

pub async fn run(connection: &Connection, command: CutCommand) -> Result<ExitCode> {
    let cuts = Cuts::new(connection.client()?);
    match command {
        CutCommand::Plan { wanted, json, .. } => {
            let answer = cuts.create(&wanted.request(true)?).await?;
            let plan: Plan = read(&answer)?;
            if json {
                show::json(&answer)?;
            } else {
                show::plan(&wanted.scope, &plan);
            }
            Ok(ExitCode::from(if plan.refused { REFUSED } else { 0 }))
        }
        CutCommand::Run { wanted, until, detach, json, .. } => {
            let mut request = wanted.request(false)?;
            request.until = until.map(|state| state.to_ascii_uppercase());
            let answer = match cuts.create(&request).await {
                Err(CutError::Planned { message, plan }) => {
                    eprintln!("error: {message}");
                    if !json {
                        show::plan(&wanted.scope, &plan);
                    }
                    return Ok(ExitCode::from(REFUSED));
                }
                answer => answer?,
            };
            let cut: Cut = read(&answer)?;
            if detach {
                return printed(&answer, json, || {
                    println!("{} has begun: `quarry cut watch {}` shows it", cut.id, cut.scope);
                });
            }
            finish_watching(&cuts, &cut.id, 0, None, json).await
        }
        CutCommand::Ls { json, .. } => {
            let answer = cuts.list().await?;
            let all: Vec<Cut> = read(&answer["cuts"])?;
            printed(&answer, json, || show::list(&all))
        }
        CutCommand::Status { which: Which { cut, json, .. } } => {
            let (answer, cut) = find(&cuts, cut.as_deref()).await?;
            printed(&answer, json, || show::status(&cut))
        }
        CutCommand::Watch { which: Which { cut, json, .. } } => {
            let (_, cut) = find(&cuts, cut.as_deref()).await?;
            finish_watching(&cuts, &cut.id, 0, None, json).await
        }
        CutCommand::Report { which: Which { cut, json, .. } } => {
            let (_, cut) = find(&cuts, cut.as_deref()).await?;
            let answer = cuts.report(&cut.id).await?;
            let report: Report = read(&answer)?;
            printed(&answer, json, || show::report(&report))
        }
        CutCommand::Resume { named, accept_differences, allow_empty, until } => {
            let (_, cut) = find(&cuts, Some(&named.cut)).await?;
            let request =
                ResumeRequest { accept_differences, allow_empty, until: until.map(|state| state.to_ascii_uppercase()) };
            let after = newest(&cuts, &cut.id).await?;
            cuts.resume(&cut.id, &request).await?;
            go_on(&cuts, &cut.id, after, None, &named).await
        }
        CutCommand::Rollback { named } => ask(&cuts, &named, Ask::Rollback).await,
        CutCommand::Finish { named } => ask(&cuts, &named, Ask::Finish).await,
        CutCommand::Abort { named } => ask(&cuts, &named, Ask::Abort).await,
    }
}

async fn ask(cuts: &Cuts, named: &Named, ask: Ask) -> Result<ExitCode> {
    let (_, cut) = find(cuts, Some(&named.cut)).await?;
    if ask == Ask::Finish && !named.yes && !show::confirmed(&cut)? {
        bail!("nothing was done: finishing takes the way back away; say --yes where nobody can be asked");
    }
    let after = newest(cuts, &cut.id).await?;
    cuts.ask(&cut.id, ask).await?;
    go_on(cuts, &cut.id, after, Some(ask), named).await
}

async fn go_on(cuts: &Cuts, id: &str, after: u64, asked: Option<Ask>, named: &Named) -> Result<ExitCode> {
    if named.detach {
        let answer = cuts.show(id).await?;
        let cut: Cut = read(&answer)?;
        return printed(&answer, named.json, || show::status(&cut));
    }
    finish_watching(cuts, id, after, asked, named.json).await
}

/// Shows it until it rests, then what came of it.
async fn finish_watching(cuts: &Cuts, id: &str, after: u64, asked: Option<Ask>, json: bool) -> Result<ExitCode> {
    let ended = live::watch(cuts, id, after, asked, json).await?;
    let answer = cuts.report(id).await?;
    let report: Report = read(&answer)?;
    if json {
        show::line(&answer)?;
    } else {
        show::report(&report);
        show::next(&report.cut);
    }
    Ok(match ended {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Stopped => ExitCode::from(STOPPED),
    })
}

/// The number of the newest journal entry.
async fn newest(cuts: &Cuts, id: &str) -> Result<u64> {
    let answer = cuts.show(id).await?;
    Ok(answer["entries"].as_u64().unwrap_or_default())
}

/// By id or by scope (its newest cut); without a name the one that has not ended.
async fn find(cuts: &Cuts, name: Option<&str>) -> Result<(Value, Cut)> {
    let answer = cuts.list().await?;
    let all: Vec<Value> = read(&answer["cuts"])?;
    let parsed: Vec<Cut> = read(&answer["cuts"])?;
    let index = match name {
        Some(name) => parsed
            .iter()
            .rposition(|cut| cut.id == name || cut.scope == name)
            .with_context(|| format!("there is no cut {name}: `quarry cut ls` lists them"))?,
        None => {
            let live: Vec<usize> = (0..parsed.len()).filter(|i| parsed[*i].ended_ms.is_none()).collect();
            match (live.as_slice(), parsed.len()) {
                ([one], _) => *one,
                ([], 0) => bail!("there is no cut yet: `quarry cut plan --help` shows how one begins"),
                ([], count) => count - 1,
                _ => bail!("several cuts are under way: say which (`quarry cut ls` lists them)"),
            }
        }
    };
    Ok((all[index].clone(), parsed[index].clone()))
}

fn printed(answer: &Value, json: bool, text: impl FnOnce()) -> Result<ExitCode> {
    if json {
        show::json(answer)?;
    } else {
        text();
    }
    Ok(ExitCode::SUCCESS)
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value).context("the answer is not one of this API: are both programs of the same version?")
}
