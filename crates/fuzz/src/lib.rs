//! Fuzz targets: every parser that reads what others have written, as a function from bytes that panics where a
//! promise is broken.
//!
//! Three ways to run them: `cargo test -p quarry-fuzz` (the stored corpus and a second of mutations each), the
//! program of this crate (`cargo run -p quarry-fuzz -- --seconds 60 request_head`), and libFuzzer, guided by
//! coverage (`fuzz/`). All three take the same corpus, `crates/fuzz/corpus/<target>`.

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One entrance for bytes.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// An input that broke a promise, or took too long.
#[derive(Debug)]
pub struct Failure {
    pub input: Vec<u8>,
    pub reason: String,
}

pub use targets::TARGETS;

/// An input that takes longer is a fault.
const TOO_LONG: Duration = Duration::from_secs(10);
/// Inputs grow to this size at most.
const MAX_INPUT: usize = 16 * 1024;

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// Where a target's stored inputs are.
pub fn corpus_directory(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// A target's stored inputs, by name.
pub fn corpus(target: &Target) -> std::io::Result<Vec<Vec<u8>>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(corpus_directory(target))?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    files.into_iter().map(std::fs::read).collect()
}

/// Runs the corpus, then mutations of it until the time is up; how many inputs were run.
pub fn fuzz(target: &Target, corpus: &[Vec<u8>], seed: u64, time: Duration) -> Result<u64, Failure> {
    for input in corpus {
        one(target, input)?;
    }
    let (begun, mut dice, mut runs) = (Instant::now(), mutate::Dice::new(seed), corpus.len() as u64);
    while begun.elapsed() < time {
        let input = mutate::mutate(corpus, &mut dice, MAX_INPUT);
        one(target, &input)?;
        runs += 1;
    }
    Ok(runs)
}

fn one(target: &Target, input: &[u8]) -> Result<(), Failure> {
    let begun = Instant::now();
    let failure = |reason| Failure { input: input.to_vec(), reason };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        return Err(failure(text.unwrap_or_else(|| "a panic".to_owned())));
    }
    if begun.elapsed() > TOO_LONG { Err(failure(format!("took {:?}", begun.elapsed()))) } else { Ok(()) }
}
