//! Writes through the load balancer while the monolith is broken up, and the ledger of them.

use crate::tour::SERVICES;
use crate::tour::answers::Site;
use crate::tour::report::{Report, Writes};
use crate::tour::screen::Screen;
use anyhow::{Context, Result, ensure};
use quarry_load::{Ledger, LedgerConfig, LedgerHandle};
use serde_json::{Value, json};

/// One ledger each for users, threads and posts.
pub struct Writing(Vec<(&'static str, LedgerHandle)>);

/// What is written belongs to a user and a thread of the sample data that no compared answer is about.
const USER: u32 = 6;
const THREAD: u32 = 5;
/// Before the number, in a field that the service gives back as it is.
const MARK: &str = "ledger-";

/// Starts `rate` creates a second in all, each with an Idempotency-Key of its own.
pub fn start(screen: &Screen, site: &Site, rate: u32) -> Result<Writing> {
    let mut ledgers = Vec::new();
    for service in SERVICES {
        let each = f64::from(rate) / SERVICES.len() as f64;
        let config = LedgerConfig::new(site.address, &site.host, format!("/api/{service}"), each);
        ledgers.push((service, Ledger::start(config.body(move |number| body(service, number)))?));
    }
    screen.fact(format!("and {rate} writes per second: users, threads and posts, each counted in a ledger"));
    Ok(Writing(ledgers))
}

fn body(service: &str, number: u64) -> String {
    let name = format!("{MARK}{number}");
    let record = match service {
        "users" => json!({ "username": name, "name": "Written by the tour" }),
        "threads" => json!({ "title": name, "createdBy": USER }),
        _ => json!({ "text": name, "user": USER, "thread": THREAD }),
    };
    record.to_string()
}

/// The field that holds the number.
fn field(service: &str) -> &'static str {
    match service {
        "users" => "username",
        "threads" => "title",
        _ => "text",
    }
}

impl Writing {
    /// Acknowledged so far, of one service.
    pub fn acknowledged(&self, service: &str) -> u64 {
        self.0.iter().find(|(name, _)| *name == service).map_or(0, |(_, ledger)| ledger.acknowledged())
    }

    /// Ends the writes and holds the ledgers against what the services have. Nothing may be lost, doubled or refused.
    pub async fn finish(self, screen: &Screen, report: &mut Report, site: &Site) -> Result<()> {
        let step = screen.step("end the writes and hold the ledgers against the services' rows");
        let mut total = 0;
        for (service, ledger) in self.0 {
            let account = ledger.stop().await;
            let verdict = account.check(stored(site, service).await?);
            let problems: Vec<_> = account.kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
            ensure!(verdict.is_exact(), "the ledger of {service} does not hold: {verdict:?}");
            ensure!(problems.is_empty(), "writes of {service} failed: {}", problems.join(", "));
            ensure!(account.repeated == 0, "{} writes of {service} had to be sent again", account.repeated);
            total += verdict.acknowledged;
            report.writes.insert(
                service.to_owned(),
                Writes {
                    acknowledged: verdict.acknowledged,
                    failed: 0,
                    missing: verdict.missing.len(),
                    doubled: verdict.doubled.len(),
                    p50_ms: account.latency.p50_us as f64 / 1e3,
                    p99_ms: account.latency.p99_us as f64 / 1e3,
                    max_ms: account.latency.max_us as f64 / 1e3,
                },
            );
        }
        step.done(format!("{total} acknowledged, each is there once; none failed"));
        Ok(())
    }
}

/// The numbers of what was written, each as often as it is there.
async fn stored(site: &Site, service: &str) -> Result<Vec<u64>> {
    let answer = site.get(&format!("/api/{service}")).await?;
    ensure!(answer.status == 200, "/api/{service} answers {}", answer.status);
    let rows: Vec<Value> = serde_json::from_slice(&answer.body).context("the list is no JSON")?;
    let number = |row: &Value| row[field(service)].as_str()?.strip_prefix(MARK)?.parse().ok();
    Ok(rows.iter().filter_map(number).collect())
}
