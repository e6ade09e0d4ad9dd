//! One of the targets of `quarry-fuzz`: the one that the environment variable `QUARRY_FUZZ` names.

#![no_main]

use std::sync::LazyLock;

static CHOSEN: LazyLock<&quarry_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("QUARRY_FUZZ").unwrap_or_default();
    quarry_fuzz::target(&name).unwrap_or_else(|| {
        let names: Vec<_> = quarry_fuzz::TARGETS.iter().map(|target| target.name).collect();
        panic!("QUARRY_FUZZ must be one of {}", names.join(", "))
    })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (CHOSEN.run)(bytes));
