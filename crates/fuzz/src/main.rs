//! `quarry-fuzz [--seconds N] [--seed N] [target …]`: runs targets over their corpus and mutations of it. An input
//! that breaks a promise is written to a file, whose name comes out.

use quarry_fuzz::{TARGETS, Target, corpus, fuzz, target};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("quarry-fuzz: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether every promise held.
fn run() -> Result<bool, String> {
    let (mut seconds, mut seed, mut chosen) = (10, 1, Vec::<&Target>::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse().ok()).ok_or(format!("{argument} needs a number"));
        match argument.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            name => chosen.push(target(name).ok_or_else(|| {
                let names: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
                format!("no target {name:?}; there are {}", names.join(", "))
            })?),
        }
    }
    if chosen.is_empty() {
        chosen = TARGETS.iter().collect();
    }
    let mut held = true;
    for target in chosen {
        let corpus = corpus(target).map_err(|e| format!("the corpus of {}: {e}", target.name))?;
        match fuzz(target, &corpus, seed, Duration::from_secs(seconds)) {
            Ok(runs) => println!("{}: {runs} inputs, {} of them stored", target.name, corpus.len()),
            Err(failure) => {
                held = false;
                let path = format!("{}-{}.bin", target.name, failure.input.len());
                std::fs::write(&path, &failure.input).map_err(|e| format!("{path}: {e}"))?;
                println!("{}: {}; the input is in {path}", target.name, failure.reason);
            }
        }
    }
    Ok(held)
}
