//! What the tour measured and checked, for people and, with `--json`, for machines.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

#[derive(Default, Serialize)]
pub struct Report {
    /// Isolation in force: `user-namespaces`, `rootless` or `none`.
    pub isolation: String,
    /// By label: `users`, `threads`, `posts`.
    pub requests: BTreeMap<String, Requests>,
    /// By service: what was written while the monolith was broken up.
    pub writes: BTreeMap<String, Writes>,
    /// users, threads, posts.
    pub cuts: Vec<Cut>,
    /// Failed requests, those to the killed service after its kill left out.
    pub failures_elsewhere: u64,
    pub killed: Option<Killed>,
    /// Answers of the monolith and of the services that were compared byte by byte.
    pub answers_compared: usize,
    pub times: Times,
    pub memory: Memory,
    /// From the API call to a healthy target, in milliseconds: tasks whose image was here already.
    pub task_starts_ms: Vec<f64>,
    /// The same for the first task of each image, which is pulled and unpacked on the way.
    pub first_task_starts_ms: Vec<f64>,
    /// What the clean-up left behind; absent where there was none (`--keep`).
    pub leftovers: Option<Vec<String>>,
}

#[derive(Default, Clone, Serialize)]
pub struct Requests {
    pub sent: u64,
    pub failed: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// The ledger of one service's writes, held against its rows.
#[derive(Default, Clone, Serialize)]
pub struct Writes {
    pub acknowledged: u64,
    pub failed: u64,
    /// Acknowledged and not there.
    pub missing: usize,
    pub doubled: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// How one feature moved out of the monolith.
#[derive(Default, Clone, Serialize)]
pub struct Cut {
    pub id: String,
    pub scope: String,
    /// How long its writes were held, by move: there, and, where it went back once, back and there again.
    pub holds_ms: Vec<f64>,
    /// Rows of the full comparison before the hold.
    pub rows_compared: u64,
    /// Reads that both sides were asked, and all answered alike.
    pub reads_compared: u64,
    pub digests_agree: bool,
    /// Tried, and ended without a switch because the hold took too long here.
    pub holds_given_up: u64,
}

/// What the death of one task cost.
#[derive(Clone, Serialize)]
pub struct Killed {
    pub service: String,
    pub failures: u64,
    #[serde(serialize_with = "as_ms")]
    pub replaced_after: Duration,
    /// From the kill to the last failure.
    #[serde(serialize_with = "as_ms")]
    pub last_failure_after: Duration,
}

#[derive(Default, Serialize)]
pub struct Times {
    #[serde(serialize_with = "as_ms")]
    pub board_compile: Duration,
    #[serde(serialize_with = "as_ms")]
    pub first_answer: Duration,
    #[serde(serialize_with = "as_ms")]
    pub stack: Duration,
    #[serde(serialize_with = "as_ms")]
    pub push: Duration,
    #[serde(serialize_with = "as_ms")]
    pub monolith: Duration,
    #[serde(serialize_with = "as_ms")]
    pub services: Duration,
    #[serde(serialize_with = "as_ms")]
    pub cuts: Duration,
    #[serde(serialize_with = "as_ms")]
    pub drain: Duration,
    #[serde(serialize_with = "as_ms")]
    pub scale: Duration,
    #[serde(serialize_with = "as_ms")]
    pub cleanup: Duration,
    /// All of the tour but the compilation.
    #[serde(serialize_with = "as_ms")]
    pub total: Duration,
}

/// Proportional set sizes in KiB, where the kernel tells them.
#[derive(Default, Serialize)]
pub struct Memory {
    pub serve_kib: u64,
    pub proxy_kib: u64,
    pub holder_kib: u64,
    pub shims_kib: u64,
    pub shims: u64,
}

impl Memory {
    pub fn total_kib(&self) -> u64 {
        self.serve_kib + self.proxy_kib + self.holder_kib + self.shims_kib
    }
}

fn as_ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

/// Milliseconds to the microsecond.
pub fn round(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

/// The median of some figures; 0 if there are none.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// What was not measured, as where the tour stops before the cuts, is left out.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::tour::screen::shown;
        writeln!(f, "Report")?;
        if !self.requests.is_empty() {
            writeln!(f, "  {:<10} {:>10} {:>8} {:>10} {:>10}", "requests", "sent", "failed", "p50", "p99")?;
        }
        for (label, r) in &self.requests {
            writeln!(f, "  {label:<10} {:>10} {:>8} {:>7.2} ms {:>7.2} ms", r.sent, r.failed, r.p50_ms, r.p99_ms)?;
        }
        for (name, w) in &self.writes {
            writeln!(
                f,
                "  {:<10} {:>10} {:>8} {:>7.2} ms {:>7.2} ms  {} missing, {} doubled",
                format!("→ {name}"),
                w.acknowledged,
                w.failed,
                w.p50_ms,
                w.p99_ms,
                w.missing,
                w.doubled
            )?;
        }
        for cut in &self.cuts {
            let ways = ["there", "back", "there again"];
            let holds: Vec<_> = ways.iter().zip(&cut.holds_ms).map(|(way, ms)| format!("{way} {ms:.1} ms")).collect();
            writeln!(
                f,
                "  cut {:<8} writes held {}; {} rows and {} reads compared, digests equal",
                cut.scope,
                holds.join(", "),
                cut.rows_compared,
                cut.reads_compared
            )?;
        }
        if !self.requests.is_empty() {
            writeln!(f, "  failures outside the killed service: {}", self.failures_elsewhere)?;
        }
        if let Some(killed) = &self.killed {
            writeln!(
                f,
                "  killed a task of {}: {} failures, the last after {}, replaced after {}",
                killed.service,
                killed.failures,
                shown(killed.last_failure_after),
                shown(killed.replaced_after)
            )?;
        }
        if self.answers_compared > 0 {
            writeln!(f, "  answers of monolith and services compared: {} equal", self.answers_compared)?;
        }
        writeln!(f, "  isolation: {}", self.isolation)?;
        let t = &self.times;
        writeln!(f, "  times")?;
        for (name, time) in [
            ("serve → first API answer", t.first_answer),
            ("stack", t.stack),
            ("images built and pushed", t.push),
            ("monolith up", t.monolith),
            ("services up", t.services),
            ("users, threads, posts cut; posts back and again", t.cuts),
            ("monolith drained and stopped", t.drain),
            ("posts 1 → 3 → 1", t.scale),
            ("clean-up", t.cleanup),
            ("tour in all (board compiled before)", t.total),
        ] {
            if !time.is_zero() {
                writeln!(f, "    {name:<36} {:>9}", shown(time))?;
            }
        }
        for (name, figures) in [
            ("task start → healthy", &self.task_starts_ms),
            ("the same with its image unpacked first", &self.first_task_starts_ms),
        ] {
            if !figures.is_empty() {
                writeln!(f, "    {name:<36} {:>6.1} ms  (median of {})", median(figures), figures.len())?;
            }
        }
        let m = &self.memory;
        if m.total_kib() > 0 {
            writeln!(
                f,
                "  memory: {:.1} MiB in all (serve {:.1}, proxy {:.1}, holder {:.1}, {} shims {:.1})",
                mib(m.total_kib()),
                mib(m.serve_kib),
                mib(m.proxy_kib),
                mib(m.holder_kib),
                m.shims,
                mib(m.shims_kib)
            )?;
        }
        match &self.leftovers {
            None => writeln!(f, "  left running, as asked"),
            Some(left) if left.is_empty() => writeln!(f, "  left over: nothing"),
            Some(left) => writeln!(f, "  left over: {}", left.join(", ")),
        }
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_told() {
        let report = Report { isolation: "none".into(), ..Report::default() };
        assert_eq!(report.to_string(), "Report\n  isolation: none\n  times\n  left running, as asked\n");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
