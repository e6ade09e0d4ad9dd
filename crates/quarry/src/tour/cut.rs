//! The cut: each feature moves to its service, rows and all, while it is read and written; one goes back and out again.

use crate::tour::answers::Site;
use crate::tour::ecs::Monolith;
use crate::tour::platform::Quarry;
use crate::tour::report::{Cut as CutFigures, Report, round};
use crate::tour::screen::Screen;
use crate::tour::split::{delete_rule, ensure_no_failures, host_rule};
use crate::tour::writes::Writing;
use crate::tour::{ROLLED_BACK, SERVICES};
use anyhow::{Context, Result, bail, ensure};
use quarry_client::cuts::{Ask, Cut, CutRequest, Cuts, Report as CutReport, ResumeRequest};
use quarry_load::LoadHandle;
use serde::Deserialize;
use std::time::{Duration, Instant};

/// How long a cut may take before the tour gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// So long a cut's reads are compared, in seconds.
const SHADOW: u32 = 1;

/// Cuts all features out of the monolith, one of them twice, and finishes.
pub async fn run(
    screen: &Screen,
    report: &mut Report,
    quarry: &Quarry,
    monolith: &Monolith,
    load: &LoadHandle,
    writing: &Writing,
) -> Result<()> {
    let cuts = Cuts::new(quarry.aws.clone());
    let mut ids = Vec::new();
    for service in SERVICES {
        let step = screen.step(format!("quarry cut run {service} --from api --path '/api/{service}*'"));
        let request = CutRequest {
            scope: service.into(),
            from: "api".into(),
            to: service.into(),
            paths: vec![pattern(service)],
            shadow_seconds: Some(SHADOW),
            ..CutRequest::default()
        };
        let id = Cut::deserialize(cuts.create(&request).await?)?.id;
        let cut = reach(&cuts, &id, "WATCH", None, None, |text| step.progress(text)).await?;
        let shadow = &cut.traffic.shadow;
        step.done(format!(
            "{} rows, {} reads compared, {} differ; writes held for {:.1} ms",
            moved(&cut)?.0,
            shadow.compared,
            shadow.different,
            moved(&cut)?.1
        ));
        ids.push((service, id));
    }
    let id = ids.iter().find(|(service, _)| *service == ROLLED_BACK).map(|(_, id)| id.clone());
    let id = id.context("the feature that goes back was cut")?;
    let before = writing.acknowledged(ROLLED_BACK);
    let step = screen.step(format!("quarry cut rollback {ROLLED_BACK}"));
    cuts.ask(&id, Ask::Rollback).await?;
    let cut = reach(&cuts, &id, "FOLLOW", Some("RolledBack"), Some(Ask::Rollback), |text| step.progress(text)).await?;
    ensure!(cut.owner == "source", "after the rollback the {} owns {ROLLED_BACK}", cut.owner);
    step.done(format!("back with its new rows; writes held for {:.1} ms", moved(&cut)?.1));
    let step = screen.step(format!("quarry cut resume {ROLLED_BACK}"));
    cuts.resume(&id, &ResumeRequest::default()).await?;
    let cut = reach(&cuts, &id, "WATCH", None, None, |text| step.progress(text)).await?;
    let written = writing.acknowledged(ROLLED_BACK) - before;
    ensure!(written > 0, "nothing was written to {ROLLED_BACK} while it went back and out again");
    step.done(format!("out again, {written} writes meanwhile; held for {:.1} ms", moved(&cut)?.1));

    let step = screen.step("quarry cut finish: the monolith's tables are retired");
    for (_, id) in &ids {
        cuts.ask(id, Ask::Finish).await?;
    }
    for (service, id) in &ids {
        reach(&cuts, id, "FINISHED", None, None, |text| step.progress(text)).await?;
        let figures = figures(service, &CutReport::deserialize(cuts.report(id).await?)?)?;
        report.cuts.push(figures);
    }
    retired(quarry, monolith).await?;
    step.done("asked for them, it answers 421");
    ensure_no_failures(load, "while users, threads and posts were cut out")
}

/// The paths of a feature.
pub fn pattern(service: &str) -> String {
    format!("/api/{service}*")
}

/// Waits until the cut is in `state`, and stopped there with `stop` if one is given. On a busy machine a hold may take
/// too long and be given up; asked for again with `ask` it is tried again. Any other rest is an error.
async fn reach(
    cuts: &Cuts,
    id: &str,
    state: &str,
    stop: Option<&str>,
    ask: Option<Ask>,
    show: impl Fn(&str),
) -> Result<Cut> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = 0;
    loop {
        let cut = Cut::deserialize(cuts.show(id).await?)?;
        let stopped = cut.stopped.as_ref().map(|stop| stop.code.as_str());
        if cut.state == state && stopped == stop {
            return Ok(cut);
        }
        let again = matches!(stopped, Some("HoldTooLong" | "LagNeverCloses")) && Instant::now() < deadline;
        let gave_up = cut.ended_ms.is_some() || Instant::now() > deadline;
        if again {
            match ask {
                Some(ask) => cuts.ask(id, ask).await?,
                None => cuts.resume(id, &ResumeRequest::default()).await?,
            };
        } else if gave_up || stopped.is_some() {
            let report = CutReport::deserialize(cuts.report(id).await?)?;
            let journal: Vec<_> = report.journal.iter().map(|e| format!("{} {}", e.state, e.message)).collect();
            bail!("{} did not reach {state}: {}\n    {}", cut.scope, cut.summary, journal.join("\n    "));
        }
        show(&format!("{} {}", cut.state, cut.summary));
        // An entry of the journal wakes this; a wish that was just granted may be the last one already.
        let events = cuts.events(id, last, Duration::from_millis(200)).await?;
        last = events["last"].as_u64().unwrap_or(last);
    }
}

/// Rows and hold (ms) of the newest move.
fn moved(cut: &Cut) -> Result<(u64, f64)> {
    let last = cut.moves.last().context("no move is booked")?;
    let hold = last.hold_micros.context("no hold is booked")?;
    Ok((last.rows_copied.max(last.rows_compared), round(hold as f64 / 1e3)))
}

fn figures(service: &str, report: &CutReport) -> Result<CutFigures> {
    let cut = &report.cut;
    ensure!(report.digests_agree, "the digests of {service} differ");
    ensure!(cut.traffic.unknown_outcomes == 0, "{} writes have an unknown outcome", cut.traffic.unknown_outcomes);
    let mut holds_ms = Vec::new();
    for one in &cut.moves {
        holds_ms.push(round(one.hold_micros.context("a move without a hold")? as f64 / 1e3));
    }
    let wanted = if service == ROLLED_BACK { 3 } else { 1 };
    ensure!(holds_ms.len() == wanted, "{service} moved {} times, not {wanted}", holds_ms.len());
    let compared = cut.moves.iter().map(|one| one.traffic.shadow.compared).max().unwrap_or_default();
    Ok(CutFigures {
        id: cut.id.clone(),
        scope: service.to_owned(),
        holds_ms,
        rows_compared: cut.moves.iter().map(|one| one.rows_compared).max().unwrap_or_default(),
        reads_compared: compared.max(cut.traffic.shadow.compared),
        digests_agree: report.digests_agree,
        holds_given_up: cut.moves.iter().map(|one| one.aborted_holds).sum(),
    })
}

/// The monolith itself, asked past the cuts' rules, has none of the features any more.
async fn retired(quarry: &Quarry, monolith: &Monolith) -> Result<()> {
    const HOST: &str = "monolith.internal";
    let rule = host_rule(quarry, monolith, HOST).await?;
    let site = Site { host: HOST.into(), ..monolith.site.clone() };
    let deadline = Instant::now() + Duration::from_secs(10);
    for service in SERVICES {
        let path = format!("/api/{service}");
        loop {
            let answer = site.get(&path).await?;
            if answer.status == 421 {
                break;
            }
            ensure!(Instant::now() < deadline, "the monolith still answers {path} with {}", answer.status);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    delete_rule(quarry, rule).await
}
