//! Identity and access management, the deciding part: policy documents and their evaluation
//! (AWS's "Policy evaluation logic").

mod condition;
mod context;
mod document;
mod evaluate;
mod glob;

#[cfg(test)]
mod tests;

pub use context::Context;
pub use document::{Effect, InvalidPolicy, Policy};
pub use evaluate::{Decision, Denial, Match, PolicyKind, PolicySet, Principal, Request, evaluate, matching};
