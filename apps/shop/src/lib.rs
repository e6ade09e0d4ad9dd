//! A small shop: `user` and `order` each hold one kind of record, `gateway` is what customers reach and
//! asks the two by the names that service discovery gives them.
//!
//! The records are fixed: the shop shows how services find each other, not how they keep data.

pub mod answer;
pub mod gateway;
pub mod order;
pub mod peer;
pub mod run;
pub mod user;
