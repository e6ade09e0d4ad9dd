//! A cut while it goes on: a line that renews itself on a terminal, journal lines in a pipe.

use super::{read, show};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quarry_client::cuts::{Ask, Cut, Cuts, Events};
use std::io::IsTerminal;
use std::time::Duration;

/// Longest wait for a journal entry on a terminal, where counts are to move too.
const ON_TERMINAL: Duration = Duration::from_millis(250);
const IN_PIPE: Duration = Duration::from_secs(10);

/// How it came to rest.
pub enum Ended {
    /// It is where it was asked to be.
    Done,
    /// It waits for a person, or went back by itself.
    Stopped,
}

/// Shows journal entries after a number until the cut rests; `asked` is what a person just asked for.
pub async fn watch(cuts: &Cuts, id: &str, after: u64, asked: Option<Ask>, json: bool) -> Result<Ended> {
    let terminal = std::io::stderr().is_terminal() && !json;
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(ProgressStyle::with_template("  {spinner} {wide_msg}").expect("the template is well formed"));
    let (mut after, wait) = (after, if terminal { ON_TERMINAL } else { IN_PIPE });
    loop {
        let answer = cuts.events(id, after, wait).await?;
        let events: Events = read(&answer)?;
        for (entry, raw) in events.entries.iter().zip(answer["entries"].as_array().into_iter().flatten()) {
            if json {
                show::line(raw)?;
            } else if terminal {
                bar.println(show::entry(entry));
            } else {
                println!("{}", show::entry(entry));
            }
        }
        after = after.max(events.last);
        let cut: Cut = read(&cuts.show(id).await?)?;
        if let Some(ended) = at_rest(&cut, asked) {
            bar.finish_and_clear();
            return Ok(ended);
        }
        bar.set_message(show::moving(&cut));
        bar.tick();
    }
}

/// Whether nothing more happens unless a person asks.
fn at_rest(cut: &Cut, asked: Option<Ask>) -> Option<Ended> {
    if let Some(stop) = &cut.stopped {
        let wanted = stop.code == "Reached" || stop.code == "RolledBack" && asked == Some(Ask::Rollback);
        return Some(if wanted { Ended::Done } else { Ended::Stopped });
    }
    match cut.state.as_str() {
        // The wish is written down and not begun yet.
        "WATCH" if matches!(cut.goal.as_str(), "rollback" | "finish") => None,
        "WATCH" | "FINISHED" => Some(Ended::Done),
        // Asked for, an abort is what was wanted.
        "ABORTED" if cut.reason.as_ref().is_none_or(|reason| reason.code == "Asked") => Some(Ended::Done),
        "ABORTED" => Some(Ended::Stopped),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_client::cuts::Stop;

    fn cut(state: &str, stopped: Option<&str>) -> Cut {
        let stopped = stopped.map(|code| Stop { code: code.into(), message: String::new() });
        Cut { state: state.into(), stopped, ..Cut::default() }
    }

    #[test]
    fn it_rests_where_only_a_person_goes_on() {
        for state in ["PREPARE", "BACKFILL", "FOLLOW", "SHADOW", "HOLD", "SWITCH", "RELEASE", "FINISH", "ABORT"] {
            assert!(at_rest(&cut(state, None), None).is_none(), "{state}");
        }
        assert!(matches!(at_rest(&cut("WATCH", None), None), Some(Ended::Done)));
        assert!(matches!(at_rest(&cut("FINISHED", None), None), Some(Ended::Done)));
        assert!(matches!(at_rest(&cut("ABORTED", None), None), Some(Ended::Done)));
        assert!(matches!(at_rest(&cut("SHADOW", Some("Reached")), None), Some(Ended::Done)));
        assert!(matches!(at_rest(&cut("SHADOW", Some("Differences")), None), Some(Ended::Stopped)));
        let wanted = Cut { goal: "finish".into(), ..cut("WATCH", None) };
        assert!(at_rest(&wanted, Some(Ask::Finish)).is_none());
        let back = cut("FOLLOW", Some("RolledBack"));
        assert!(matches!(at_rest(&back, Some(Ask::Rollback)), Some(Ended::Done)));
        assert!(matches!(at_rest(&back, None), Some(Ended::Stopped)));
    }
}
