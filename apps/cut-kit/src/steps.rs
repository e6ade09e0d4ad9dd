//! What may happen to two sides of a scope in any order, for the tests of both engines.

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub enum Step {
    /// The owner writes; the numbers choose what.
    Write(u8, u8, u8),
    /// One copy request of at most so many rows.
    Copy(u32),
    /// One request for at most so many changes, applied.
    Follow(u32),
    /// The former owner follows the new one.
    Back,
    /// The scope changes its owner.
    Move,
    /// A move is broken off after its fence.
    GiveUp,
    /// Both applications start again.
    Reopen,
    /// An apply request of long ago comes again; the number chooses which.
    Old(u8),
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| Step::Write(a, b, c)),
        5 => (1..4_u32).prop_map(Step::Copy),
        4 => (1..5_u32).prop_map(Step::Follow),
        1 => Just(Step::Back),
        2 => Just(Step::Move),
        1 => Just(Step::GiveUp),
        1 => Just(Step::Reopen),
        2 => any::<u8>().prop_map(Step::Old),
    ]
}
