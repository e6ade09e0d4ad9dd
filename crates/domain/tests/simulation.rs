//! Random histories of services on container instances: tasks that start slowly or never, crash, fall ill or are lost,
//! instances that come, drain and go, deployments good and bad, resizing, protection, a scheduler that forgets and one
//! that sees nothing for a while. The real planners (service scheduler, daemons, placement, target health, throttle)
//! decide, a fake runtime carries out, time is virtual. After every single action the rules are checked; at the
//! end, left in peace, all comes to be as wanted.
//!
//! `SIMULATION_SEED=n` replays one history and tells it; `SIMULATION_RUNS=n` tries so many.

#[path = "simulation/world.rs"]
mod world;

use world::World;

/// Histories tried without `SIMULATION_RUNS`.
const RUNS: u64 = 1_000;
/// Random moments of one history, before it is left in peace.
const MOMENTS: u32 = 60;

#[test]
fn no_history_breaks_a_rule_and_all_converge() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SIMULATION_SEED") {
        let history = World::new(seed, true).run(MOMENTS);
        println!("{history:?}");
        return;
    }
    let runs = number("SIMULATION_RUNS").unwrap_or(RUNS);
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let shares: Vec<_> = (0..threads).map(|n| std::thread::spawn(move || share(n, threads, runs))).collect();
    let mut all = world::Tally::default();
    for share in shares {
        match share.join().expect("no panic outside of a history") {
            Ok(tally) => all.add(&tally),
            Err(seed) => panic!("history {seed} breaks a rule: SIMULATION_SEED={seed} replays it"),
        }
    }
    println!("{runs} histories: {all:?}");
    // Each of the things that are to be survived did happen.
    for (what, n) in all.counts() {
        assert!(n > 0, "no history had any {what}");
    }
}

/// Every `of`th history from the `n`th on. The error is the seed of one that breaks a rule.
fn share(n: u64, of: u64, runs: u64) -> Result<world::Tally, u64> {
    let mut all = world::Tally::default();
    for seed in (n..runs).step_by(of as usize) {
        let tally = std::panic::catch_unwind(|| World::new(seed, false).run(MOMENTS)).map_err(|_| seed)?;
        all.add(&tally);
    }
    Ok(all)
}
