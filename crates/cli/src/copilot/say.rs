//! What the commands print: plain lines in a pipe, a line that changes in place on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub struct Say {
    /// Standard output is for JSON: what happens goes to standard error.
    pub json: bool,
    pub quiet: bool,
}

/// Something that takes a while.
pub struct Step {
    say: Say,
    text: String,
    bar: ProgressBar,
    begun: Instant,
}

impl Say {
    /// A line of the course of things.
    pub fn line(self, text: impl AsRef<str>) {
        if self.quiet {
            return;
        }
        if self.json {
            eprintln!("{}", text.as_ref());
        } else {
            println!("{}", text.as_ref());
            let _ = std::io::stdout().flush();
        }
    }

    pub fn done(self, text: impl AsRef<str>) {
        self.line(format!("✔ {}", text.as_ref()));
    }

    /// A warning goes to standard error, also when quiet.
    pub fn warn(self, text: impl AsRef<str>) {
        eprintln!("! {}", text.as_ref());
    }

    pub fn next(self, actions: &[String]) {
        if actions.is_empty() {
            return;
        }
        self.line("Recommended follow-up actions:");
        for action in actions {
            self.line(format!("  - {action}"));
        }
    }

    pub fn step(self, text: impl Into<String>) -> Step {
        let text = text.into();
        let live = !self.quiet && std::io::stderr().is_terminal();
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  [{elapsed}]") {
            bar.set_style(style);
        }
        bar.set_message(text.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { say: self, text, bar, begun: Instant::now() }
    }
}

impl Step {
    pub fn progress(&self, text: impl AsRef<str>) {
        self.bar.set_message(format!("{}: {}", self.text, text.as_ref()));
    }

    pub fn end(self, outcome: &str) {
        self.bar.finish_and_clear();
        self.say.line(format!("- {}  [{outcome}]  [{:.1}s]", self.text, self.begun.elapsed().as_secs_f64()));
    }
}
