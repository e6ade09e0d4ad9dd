//! What a cut costs, and that it loses nothing: cuts and rollbacks of a feature of the board, over and over, under reads
//! and writes; first undisturbed, then with processes killed at random moments. `bench/cut` runs it.

#[path = "../tests/cutting/mod.rs"]
mod cutting;
#[path = "../tests/foreign/mod.rs"]
mod foreign;
#[path = "../tests/stage/mod.rs"]
mod stage;

use clap::Parser;
use cutting::{Dice, FEATURES, Moves, percentile};
use quarry_load::{Account, Load, LoadConfig, LoadHandle, Pace, PathSpec, Verdict};
use stage::Stage;
use std::time::{Duration, Instant};

/// Cuts and rollbacks of the board's posts under load, with a ledger of every write.
#[derive(Parser)]
struct Arguments {
    /// sqlite: the board's posts, by the contract. postgres: the posts of a foreign application in Python, moved from
    /// outside, each side on a server of its own; what is killed is the servers.
    #[arg(long, default_value = "sqlite", value_parser = ["sqlite", "postgres"])]
    database: String,
    /// Moves without kills; a cut is one, a rollback is one.
    #[arg(long, default_value_t = 10)]
    moves: u64,
    /// Moves during which processes are killed.
    #[arg(long, default_value_t = 10)]
    moves_with_kills: u64,
    /// Go on moving, with kills, until so many writes are acknowledged in all.
    #[arg(long, default_value_t = 0)]
    writes: u64,
    /// The long run: 1,000,000 writes at 1,000 a second (PostgreSQL: 300) and at least 200 moves with kills, in one command.
    #[arg(long)]
    million: bool,
    /// Writes per second, over users, threads and posts.
    #[arg(long, default_value_t = 90)]
    rate: u32,
    /// Reads per second.
    #[arg(long, default_value_t = 100)]
    reads: u32,
    /// Seconds without a cut, and with reads compared, that latencies are taken from.
    #[arg(long, default_value_t = 5)]
    quiet: u64,
    /// Chance of a kill in a move with kills, in percent.
    #[arg(long, default_value_t = 60)]
    kills: u64,
    /// Order of the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the ledgers of a part of the run came to.
#[derive(Default)]
struct Sum {
    acknowledged: u64,
    failed: u64,
    unknown: u64,
    missing: usize,
    doubled: usize,
    denied: usize,
    unread: usize,
    /// Of acknowledged writes, the worst of the ledgers.
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    kinds: Vec<String>,
}

impl Sum {
    fn add(&mut self, feature: &str, account: &Account, verdict: &Verdict) {
        self.acknowledged += verdict.acknowledged;
        // A number that was given out and never sent is no failure.
        self.failed += account.kinds.values().sum::<u64>();
        self.unknown += verdict.unknown;
        self.missing += verdict.missing.len();
        self.doubled += verdict.doubled.len() + verdict.foreign.len();
        self.denied += verdict.denied.len();
        self.unread += verdict.unread.len();
        self.p50_us = self.p50_us.max(account.latency.p50_us);
        self.p99_us = self.p99_us.max(account.latency.p99_us);
        self.max_us = self.max_us.max(account.latency.max_us);
        self.kinds.extend(account.kinds.iter().map(|(kind, count)| format!("{feature}: {count} × {kind}")));
    }
}

impl Arguments {
    fn read() -> Self {
        let mut arguments = Self::parse();
        if arguments.million {
            arguments.rate = if arguments.database == "postgres" { 300 } else { 1000 };
            arguments.moves_with_kills = arguments.moves_with_kills.max(200);
            arguments.writes = 1_000_000;
        }
        arguments
    }
}

fn main() {
    let arguments = Arguments::read();
    if arguments.database == "postgres" {
        return over_postgresql(&arguments);
    }
    let mut stage = Stage::uncut();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let each = f64::from(arguments.rate) / FEATURES.len() as f64;
    let mut dice = Dice(arguments.seed);

    // Reads and writes without a cut; then with a cut that compares reads; both of the same length.
    let inside = runtime.enter();
    let load = reads(&stage, arguments.reads);
    load.phase("quiet");
    let (quiet, ()) = written(&mut stage, &runtime, "quiet", each, |_, _| {
        std::thread::sleep(Duration::from_secs(arguments.quiet));
    });
    load.phase("getting there");
    let cuts = cutting::cuts(&stage);
    let mut wanted = cutting::request("posts");
    wanted.shadow_percent = Some(100);
    wanted.until = Some("SHADOW".into());
    let id = cutting::begin(&cuts, &wanted);
    let (shadowed, ()) = written(&mut stage, &runtime, "shadow", each, |_, _| {
        let begin = Instant::now();
        while cutting::show(&cuts, &id).state != "SHADOW" {
            assert!(begin.elapsed() < Duration::from_secs(60), "reads are not compared");
            std::thread::sleep(Duration::from_millis(20));
        }
        load.phase("shadow");
        std::thread::sleep(Duration::from_secs(arguments.quiet));
    });
    let compared = cutting::show(&cuts, &id).traffic.shadow;
    cutting::abort(&cuts, &id);
    let seen = runtime.block_on(load.stop());
    drop(inside);
    let p99 = |name: &str| {
        let phase = seen.phases.iter().find(|phase| phase.name == name).expect("the phase was named");
        phase.total.latency.p99_us as f64 / 1e3
    };

    let (calm_sum, calm) = written(&mut stage, &runtime, "calm", each, |stage, _| {
        cutting::to_and_fro(stage, "posts", arguments.moves, 0, &mut dice)
    });
    let (wild_sum, wild) = written(&mut stage, &runtime, "wild", each, |stage, acknowledged| {
        let before = quiet.acknowledged + shadowed.acknowledged + calm_sum.acknowledged;
        let mut all = Moves::default();
        loop {
            all.add(cutting::to_and_fro(stage, "posts", 10, arguments.kills, &mut dice));
            let writes = before + acknowledged();
            eprintln!(
                "{} of {} moves with kills, {writes} of {} writes",
                all.moves, arguments.moves_with_kills, arguments.writes
            );
            if all.moves >= arguments.moves_with_kills && writes >= arguments.writes {
                return all;
            }
        }
    });
    stage.platform.quarry(&["stop"]).unwrap();
    let left = quarry_runtime::leftovers(stage.platform.data_dir());

    println!("\n{} writes per second, {} reads per second, seed {}\n", arguments.rate, arguments.reads, arguments.seed);
    println!("| | without kills | with kills |\n|---|---|---|");
    let row = |name: &str, calm: String, wild: String| println!("| {name} | {calm} | {wild} |");
    let both = |name: &str, figure: fn(&Moves) -> String| row(name, figure(&calm), figure(&wild));
    both("cuts and rollbacks", |m| m.moves.to_string());
    both("write hold ms, p50 / p99 / max", |m| spread(&m.holds));
    both("holds given up (nothing moved, nothing lost)", |m| m.holds_given_up.to_string());
    both("rollback, command to the old side's answer ms, p50 / p99 / max", |m| spread(&m.rollbacks));
    both("kills", |m| {
        let kills: Vec<_> = m.kills.iter().map(|(who, n)| format!("{who:?} {n}")).collect();
        if kills.is_empty() { "none".to_owned() } else { kills.join(", ") }
    });
    let sums = |name: &str, figure: fn(&Sum) -> String| row(name, figure(&calm_sum), figure(&wild_sum));
    sums("writes acknowledged", |s| s.acknowledged.to_string());
    sums("acknowledged and missing / doubled / not readable at once", |s| {
        format!("{} / {} / {}", s.missing, s.doubled, s.unread)
    });
    sums("failed or unknown outcomes (with kills: those of the killed)", |s| s.failed.to_string());
    sums("said to have failed, and stored", |s| s.denied.to_string());
    sums("write latency ms, p50 / p99 / max", |s| {
        format!("{:.1} / {:.1} / {:.1}", ms(s.p50_us), ms(s.p99_us), ms(s.max_us))
    });
    let hold = percentile(&calm.holds, 0.5) as f64 / quiet.p99_us.max(1) as f64;
    println!("\nWithout a cut a write's p99 is {:.1} ms: the median hold is {hold:.2} of it.", ms(quiet.p99_us));
    println!(
        "Reads' p99: {:.2} ms without a cut, {:.2} ms with {} reads compared ({} different); writes' p99 {:.1} ms.",
        p99("quiet"),
        p99("shadow"),
        compared.compared,
        compared.different,
        ms(shadowed.p99_us)
    );
    println!("States of the hold without kills, ms, p50 / p99: {}.", calm.lasted());
    for (name, moves, sum) in [("without kills", &calm, &calm_sum), ("with kills", &wild, &wild_sum)] {
        println!("{name}: stops {:?}; {}", moves.stops, sum.kinds.join(", "));
    }
    let lost =
        [&quiet, &shadowed, &calm_sum, &wild_sum].iter().map(|s| s.missing + s.doubled + s.denied).sum::<usize>();
    assert_eq!(lost, 0, "writes were lost, doubled, or done though said to have failed");
    assert_eq!([&quiet, &shadowed, &calm_sum].map(|s| s.failed), [0; 3], "writes failed where nobody was killed");
    assert_eq!(seen.total.failed, 0, "reads failed: {:?}", seen.total.kinds);
    assert_eq!(left, Vec::<String>::new());
}

/// The foreign application over PostgreSQL: writes of posts and of comments, reads of both.
fn over_postgresql(arguments: &Arguments) {
    let mut site = foreign::Site::open().expect("PostgreSQL and psycopg2 are here");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut dice = Dice(arguments.seed);
    let each = f64::from(arguments.rate) / 2.0;
    let load = {
        let _inside = runtime.enter();
        let mut config = LoadConfig::new(site.address, &site.host, Pace::Rate(f64::from(arguments.reads)));
        config.paths = vec![PathSpec::new("posts", "/posts/3"), PathSpec::new("comments", "/posts/3/comments")];
        Load::start(config).unwrap()
    };
    println!(
        "\n{} writes per second, {} reads per second, seed {}, PostgreSQL\n",
        arguments.rate, arguments.reads, arguments.seed
    );
    let mut before = 0;
    for (series, name, wanted, crashes) in [
        ("quiet", "no cut", 0, 0),
        ("calm", "without kills", arguments.moves, 0),
        ("wild", "servers killed", arguments.moves_with_kills, arguments.kills),
    ] {
        let ledgers = [site.write_posts(series, each), site.write_comments(series, each)];
        let mut moves = Moves::default();
        if wanted == 0 {
            std::thread::sleep(Duration::from_secs(arguments.quiet));
        }
        let short = |moves: &Moves| {
            let acknowledged: u64 = ledgers.iter().map(quarry_load::LedgerHandle::acknowledged).sum();
            moves.moves < wanted || (crashes > 0 && before + acknowledged < arguments.writes)
        };
        while short(&moves) {
            let next = wanted.saturating_sub(moves.moves).clamp(2, 10) / 2 * 2;
            moves.add(foreign::to_and_fro(&mut site, next, crashes, &mut dice));
        }
        let mut sum = Sum::default();
        for (ledger, table) in ledgers.into_iter().zip(foreign::TABLES) {
            let (account, verdict) = site.check(ledger, 0, table, series);
            sum.add(table, &account, &verdict);
        }
        before += sum.acknowledged;
        println!(
            "{name}: {} moves, {} crashes, hold ms p50 / p99 / max {}, {} holds given up, rollback ms {}",
            moves.moves,
            moves.crashes,
            spread(&moves.holds),
            moves.holds_given_up,
            spread(&moves.rollbacks)
        );
        println!(
            "  {} acknowledged, {} missing, {} doubled, {} denied, {} unread, {} failed or unknown ({}), latency ms {:.1} / {:.1} / {:.1}",
            sum.acknowledged,
            sum.missing,
            sum.doubled,
            sum.denied,
            sum.unread,
            sum.failed,
            sum.kinds.join(", "),
            ms(sum.p50_us),
            ms(sum.p99_us),
            ms(sum.max_us)
        );
        println!("  states of the hold, ms, p50 / p99: {}", moves.lasted());
        assert_eq!(
            sum.missing + sum.doubled + sum.denied,
            0,
            "writes were lost, doubled, or done though said to have failed"
        );
        assert!(crashes > 0 || sum.failed == 0, "writes failed where nobody was killed");
    }
    let seen = runtime.block_on(load.stop());
    println!("reads: {} failed (servers were killed) of {}", seen.total.failed, seen.total.requests);
}

/// Writes all features while `work` is done, and holds the ledgers against the rows.
fn written<T>(
    stage: &mut Stage,
    runtime: &tokio::runtime::Runtime,
    series: &'static str,
    each: f64,
    work: impl FnOnce(&mut Stage, &dyn Fn() -> u64) -> T,
) -> (Sum, T) {
    let ledgers = {
        let _inside = runtime.enter();
        FEATURES.map(|feature| (feature, cutting::write(stage, feature, series, each)))
    };
    let done = work(stage, &|| ledgers.iter().map(|(_, ledger)| ledger.acknowledged()).sum());
    let mut sum = Sum::default();
    for (feature, ledger) in ledgers {
        let account = runtime.handle().block_on(ledger.stop());
        sum.add(feature, &account, &cutting::check(stage, feature, series, &account));
    }
    (sum, done)
}

fn reads(stage: &Stage, rate: u32) -> LoadHandle {
    let mut config = LoadConfig::new(stage.address, &stage.host, Pace::Rate(f64::from(rate)));
    for path in ["/api/posts/3", "/api/posts?limit=20", "/api/posts/in-thread/1"] {
        config.paths.push(PathSpec::new("posts", path));
    }
    Load::start(config).unwrap()
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1e3
}

fn spread(values: &[u64]) -> String {
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| ms(percentile(values, share)));
    if values.is_empty() { "none".to_owned() } else { format!("{p50:.1} / {p99:.1} / {max:.1}") }
}
