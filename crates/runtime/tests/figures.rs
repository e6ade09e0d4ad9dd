//! Measured, printed, and held to generous bounds: `cargo test -p quarry-runtime --test figures -- --nocapture`.

mod support;

use quarry_domain::isolation::Isolation;
use quarry_domain::task::{TaskPhase, TaskRuntime};
use std::time::{Duration, Instant};
use support::Place;

/// Memory that a process has for itself, in KiB.
fn private_kib(pid: u64) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let of = |name: &str| {
        let line = rollup.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    // Pages of the program itself are clean and shared by all that run it.
    of("Private_Dirty:")
}

#[test]
fn start_to_first_answer_and_memory_of_a_shim() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless, Isolation::None] {
        let Some(place) = Place::open(isolation) else { continue };
        let port = if isolation == Isolation::None { "port" } else { "3000" };
        let (mut starts, mut removals, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..20 {
            let spec = place.task(&format!("f{n}"), &["serve", port]);
            let begin = Instant::now();
            place.launch(&spec);
            place.ask(&spec.id, 3000).unwrap();
            // The first one also unpacks the layer and starts the hub.
            if n > 0 {
                starts.push(begin.elapsed());
            }
            place.wait(&spec.id, "running", |t| t.phase == TaskPhase::Running);
            let state = std::fs::read(place.data().join("tasks").join(&spec.id).join("state.json")).unwrap();
            let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
            memory.push(private_kib(state["shim"].as_u64().unwrap()));
            let begin = Instant::now();
            place.runtime.remove(&spec.id).unwrap();
            removals.push(begin.elapsed());
        }
        for list in [&mut starts, &mut removals] {
            list.sort();
        }
        memory.sort();
        println!(
            "{}: start to first answer p50 {:?} max {:?}; removal p50 {:?}; shim private memory p50 {} KiB",
            isolation.as_str(),
            starts[starts.len() / 2],
            starts[starts.len() - 1],
            removals[removals.len() / 2],
            memory[memory.len() / 2],
        );
        assert!(starts[starts.len() / 2] < Duration::from_millis(500), "{starts:?}");
        // This crate's own binary, unoptimised.
        assert!(memory[memory.len() / 2] < 1024, "{memory:?}");
    }
}
