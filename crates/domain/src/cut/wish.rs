//! What a person may ask of a running cut, and when.

use super::{Goal, Progress, Side, State, Stop, StopCode};

/// A request of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Go on after a stop. `accept`: differences that shadowing found are accepted; `until`: the next stop.
    Resume {
        accept: bool,
        until: Option<State>,
    },
    Rollback,
    Finish,
    Abort,
}

/// Why a wish cannot be granted now, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The journal with the wish in it. A wish that is granted already is granted again.
pub fn wish(progress: &Progress, wish: Wish) -> Result<Progress, Refused> {
    let mut next = progress.clone();
    let name = progress.state.name();
    if progress.state.is_end() {
        return Err(Refused(format!("the cut has ended ({name})")));
    }
    match wish {
        Wish::Resume { accept, until } => {
            if progress.state == State::Watch {
                // A rollback that did not come to pass: the stop has been read.
                next.stopped = None;
                return Ok(next);
            }
            if let Some(until) = until
                && until <= progress.state
            {
                return Err(Refused(format!("{} lies behind it: it is in {name}", until.name())));
            }
            if let Some(Stop { code: StopCode::Differences, message }) = &progress.stopped
                && !accept
            {
                return Err(Refused(format!("differences must be accepted in so many words: {message}")));
            }
            next.accepted |= accept;
            next.until = until;
            next.stopped = None;
        }
        Wish::Rollback => match progress.state {
            State::Watch => {
                next.goal = Goal::Rollback;
                next.stopped = None;
            }
            _ if progress.goal == Goal::Rollback => {}
            _ => {
                return Err(Refused(format!(
                    "only a scope that is on the new side can be rolled back (WATCH); the cut is in {name}"
                )));
            }
        },
        Wish::Finish => match progress.state {
            State::Watch | State::Finish => next.goal = Goal::Finish,
            _ => {
                return Err(Refused(format!(
                    "only a scope that is on the new side can be finished (WATCH); the cut is in {name}"
                )));
            }
        },
        Wish::Abort => {
            if progress.state.is_switched() {
                let owner = progress.owner();
                let how = if owner == Side::Destination { ": roll it back" } else { "" };
                return Err(Refused(format!("the switch is decided, the {} owns the scope{how}", owner.name())));
            }
            next.goal = Goal::Abort;
        }
    }
    Ok(next)
}
