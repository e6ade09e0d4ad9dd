//! What the tour shows while it runs: one line per step, a spinner where someone watches.

use crate::tour::report::Report;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub struct Screen {
    /// The report goes to standard output as JSON, so steps go to standard error.
    json: bool,
    terminal: bool,
}

/// A step that is under way.
pub struct Step<'a> {
    screen: &'a Screen,
    text: String,
    bar: ProgressBar,
    start: Instant,
}

impl Screen {
    pub fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stderr().is_terminal() }
    }

    pub fn title(&self, text: &str) {
        self.line(&format!("\n{text}\n"));
    }

    pub fn heading(&self, text: &str) {
        self.line(&format!("\n{text}"));
    }

    /// A fact that was checked.
    pub fn fact(&self, text: impl AsRef<str>) {
        self.line(&format!("      {}", text.as_ref()));
    }

    pub fn step(&self, text: impl Into<String>) -> Step<'_> {
        let text = text.into();
        let target = if self.terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(
            ProgressStyle::with_template("  {spinner} {msg} {elapsed}").expect("the template is well formed"),
        );
        bar.set_message(text.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { screen: self, text, bar, start: Instant::now() }
    }

    pub fn failed(&self, error: &anyhow::Error) {
        self.line(&format!("\n  ✗ {error:#}"));
    }

    pub fn report(&self, report: &Report) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(report)?);
        } else {
            println!("\n{report}");
        }
        Ok(())
    }

    pub fn line(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
            let _ = std::io::stdout().flush();
        }
    }
}

impl Step<'_> {
    /// Ends the step and returns how long it took.
    pub fn done(self, outcome: impl AsRef<str>) -> Duration {
        let took = self.start.elapsed();
        self.bar.finish_and_clear();
        let outcome = outcome.as_ref();
        let gap = if outcome.is_empty() { "" } else { ": " };
        self.screen.line(&format!("  ✓ {}{gap}{outcome}  ({})", self.text, shown(took)));
        took
    }

    pub fn progress(&self, text: impl AsRef<str>) {
        self.bar.set_message(format!("{} … {}", self.text, text.as_ref()));
    }
}

/// A duration as a person reads it.
pub fn shown(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s < 0.0995 => format!("{:.0} ms", s * 1000.0),
        s if s < 59.95 => format!("{s:.1} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
    }
}
