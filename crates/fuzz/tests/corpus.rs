//! Every target holds over its stored corpus and a second of mutations.

use quarry_fuzz::{TARGETS, corpus, fuzz};
use std::time::Duration;

#[test]
fn every_target_holds_over_its_corpus_and_mutations_of_it() {
    let mut failures = Vec::new();
    for target in TARGETS {
        let corpus = corpus(target).unwrap_or_else(|e| panic!("the corpus of {}: {e}", target.name));
        assert!(corpus.len() >= 3, "{} has {} stored inputs", target.name, corpus.len());
        match fuzz(target, &corpus, 7, Duration::from_secs(1)) {
            Ok(runs) => println!("{}: {runs} inputs", target.name),
            Err(failure) => failures.push(format!(
                "{}: {}: {:?}",
                target.name,
                failure.reason,
                String::from_utf8_lossy(&failure.input)
            )),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
