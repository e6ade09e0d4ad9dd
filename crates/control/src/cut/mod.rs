//! Cuts: the journal, the thread that carries them out, the rule they own, and their API.
//!
//! What is to be done is decided by `quarry_domain::cut`; here it is written down ([`journal`]), done ([`driver`]), and
//! shown ([`api`]).

mod admin;
pub mod api;
mod contract;
mod create;
pub mod database;
pub mod driver;
mod end;
mod eyes;
pub mod figures;
mod journal;
pub mod pair;
mod pairs;
pub mod records;
pub mod rule;
pub mod secret;
mod survey;
mod view;

#[cfg(test)]
pub(crate) mod tests;
