//! Cuts over PostgreSQL, driven from outside: a foreign application's path moves with its tables, and the application does
//! not know of it.

mod cutting;
mod foreign;
mod stage;

use cutting::{Dice, Moves};
use foreign::Site;
use quarry_client::cuts::{Ask, CutError, DatabaseUrl};
use quarry_testkit::postgres::{PASSWORD, Postgres};
use quarry_testkit::wait_for;
use serde_json::Value;
use stage::{block_on, request};
use std::process::{Command, Output};

/// `quarry cut …`, the databases' URLs in the environment.
fn quarry_cut(site: &Site, words: &[&str]) -> Output {
    let [from, to] = site.urls();
    Command::new(stage::EXE)
        .arg("cut")
        .args(words)
        .env("QUARRY_FROM_DATABASE", from)
        .env("QUARRY_TO_DATABASE", to)
        .args(["--data-dir".as_ref(), site.platform.data_dir().as_os_str()])
        .output()
        .unwrap()
}

/// Severity and sentence of each finding, refusals first.
fn plan(site: &Site, tables: &str) -> (Option<i32>, Vec<String>) {
    let words = ["plan", "posts", "--from", "monolith", "--path", "/posts*", "--tables", tables, "--json"];
    let output = quarry_cut(site, &words);
    let errors = String::from_utf8_lossy(&output.stderr);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no plan: {errors}"));
    assert!(!format!("{plan}{errors}").contains(PASSWORD), "a password is printed");
    let findings = plan["findings"].as_array().unwrap().iter();
    let said =
        |finding: &Value| format!("{} {}", finding["severity"].as_str().unwrap(), finding["message"].as_str().unwrap());
    (output.status.code(), findings.map(said).collect())
}

#[test]
fn a_foreign_application_is_cut_by_path_with_its_tables_and_back_and_for_good() {
    let Some(site) = Site::open() else { return };
    let ledgers = [site.write_posts("ledger", 25.0), site.write_comments("ledger", 15.0)];
    wait_for("writes go on", || (ledgers[0].acknowledged() > 10).then_some(()));
    let (code, found) = plan(&site, "posts,comments");
    assert_eq!(code, Some(0), "{found:#?}");
    assert!(found.iter().any(|one| one.contains("session(s) of forum as forum")), "{found:#?}");
    let slots = "SELECT count(*) FROM pg_replication_slots; SELECT count(*) FROM pg_class WHERE relname LIKE 'cut_%'";
    assert_eq!(
        site.servers.each_ref().map(|one| one.sql("forum", slots).unwrap()),
        ["0\n0", "0\n0"],
        "a plan makes nothing"
    );

    let cuts = site.cuts();
    let mut moves = Moves::default();
    let mut wanted = site.request();
    wanted.shadow_percent = Some(100);
    wanted.shadow_seconds = Some(1);
    let id = cutting::begin(&cuts, &wanted);
    cutting::go(&cuts, &id, true, &mut moves);
    let more = |what: &str| {
        let from = ledgers[0].acknowledged();
        wait_for(what, || (ledgers[0].acknowledged() > from + 30).then_some(()));
    };
    more("writes on the new side");
    // Whoever goes round the load balancer meets the guard.
    let refused = site.servers[0].sql("forum", "INSERT INTO posts (author, title) VALUES (1, 'round')").unwrap_err();
    assert!(refused.to_string().contains("cut: not owned here: posts"), "{refused}");
    let update = request(site.address, &site.host, "PUT", "/posts/9", None, r#"{"body": "changed over there"}"#);
    assert_eq!(update.unwrap().0, 200);
    assert_eq!(request(site.address, &site.host, "DELETE", "/posts/11", None, "").unwrap().0, 200);

    block_on(cuts.ask(&id, Ask::Rollback)).unwrap();
    cutting::go(&cuts, &id, false, &mut moves);
    more("writes on the old side");
    cutting::go(&cuts, &id, true, &mut moves);
    more("writes on the new side again");
    let report = cutting::report(&cuts, &id);
    assert!(report.digests_agree && report.cut.moves.len() == 3, "{:?}", report.cut.moves);
    println!("holds {:?} µs", report.cut.moves.iter().filter_map(|one| one.hold_micros).collect::<Vec<_>>());
    assert_eq!(report.cut.traffic.shadow.different, 0, "{:?}", report.cut.traffic.shadow.examples);

    // The way back is open until a person closes it.
    let newest = site.servers[1].sql("forum", "SELECT max(id) FROM posts").unwrap();
    let has = format!("SELECT count(*) FROM posts WHERE id = {newest}");
    wait_for("the old side follows", || (site.servers[0].sql("forum", &has).unwrap() == "1").then_some(()));
    block_on(cuts.ask(&id, Ask::Finish)).unwrap();
    wait_for("the end", || (cutting::show(&cuts, &id).state == "FINISHED").then_some(()));
    more("writes after the end");
    for (ledger, table) in ledgers.into_iter().zip(foreign::TABLES) {
        let (account, verdict) = site.check(ledger, 1, table, "ledger");
        println!("{table}: {} acknowledged, p99 {} µs", verdict.acknowledged, account.latency.p99_us);
        assert!(
            account.kinds.is_empty() && verdict.is_exact() && verdict.unknown == 0,
            "{:?} {verdict:?}",
            account.kinds
        );
    }
    let changed = "SELECT changes FROM posts WHERE id = 9; SELECT count(*) FROM posts WHERE id = 11; \
                   SELECT count(*) = count(DISTINCT id) FROM posts; SELECT count(*) FROM comments WHERE post = 11";
    assert_eq!(site.servers[1].sql("forum", changed).unwrap(), "1\n0\nt\n0");
    let left = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^(posts|comments)' ORDER BY 1";
    let retired = site.servers[0].sql("forum", left).unwrap();
    assert!(retired.lines().all(|name| name.contains("_retired_")) && retired.lines().count() == 2, "{retired}");
    for server in &site.servers {
        let left = "SELECT count(*) FROM pg_replication_slots; SELECT count(*) FROM pg_publication; \
                    SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cut%'";
        assert_eq!(server.sql("forum", left).unwrap(), "0\n0\n0");
    }
    passwords_are_kept_sealed(&site);
}

/// Either server crashes at random moments of moves there and back, and comes again.
#[test]
fn a_crash_of_either_server_at_any_moment_loses_and_doubles_no_write() {
    let Some(mut site) = Site::open() else { return };
    let seed = std::process::id().into();
    let mut dice = Dice(seed);
    let ledgers = [site.write_posts("crash", 20.0), site.write_comments("crash", 15.0)];
    let moves = foreign::to_and_fro(&mut site, 6, 100, &mut dice);
    assert!(moves.moves >= 6 && moves.crashes == 6, "{moves:?}");
    for (ledger, table) in ledgers.into_iter().zip(foreign::TABLES) {
        let (account, verdict) = site.check(ledger, 0, table, "crash");
        println!("{table}: {} acknowledged, {} unknown, {:?}", verdict.acknowledged, verdict.unknown, account.kinds);
        assert!(verdict.is_exact(), "seed {seed}: {verdict:?} {moves:?}");
    }
    println!("{moves:?}");
    let left = "SELECT count(*) FROM posts; SELECT count(*) FROM pg_replication_slots";
    assert_eq!(site.servers[1].sql("forum", left).unwrap(), "0\n0", "the new side is as it was");
}

#[test]
fn what_cannot_be_cut_is_refused_with_what_to_do() {
    let Some(site) = Site::open() else { return };
    let refusals = |tables: &str| {
        let (code, found) = plan(&site, tables);
        assert_eq!(code, Some(2), "{found:#?}");
        found.into_iter().filter(|one| one.starts_with("refusal")).collect::<Vec<_>>().join("\n")
    };
    let [old, new] = &site.servers;
    assert!(refusals("posts,nothing").contains("there is no table nothing"));
    old.sql("forum", "CREATE TABLE keyless (t text); GRANT ALL ON keyless TO forum").unwrap();
    let found = refusals("keyless");
    assert!(found.contains("keyless has no primary key") && found.contains("keyless belongs to postgres"), "{found}");
    new.sql("forum", "ALTER TABLE posts ADD COLUMN extra int").unwrap();
    assert!(refusals("posts,comments").contains("table posts has other columns"));
    new.sql("forum", "ALTER TABLE posts DROP COLUMN extra; INSERT INTO posts (author, title) VALUES (1, 'own')")
        .unwrap();
    assert!(refusals("posts,comments").contains("posts has rows that did not come by a cut"));
    new.sql("forum", "TRUNCATE posts RESTART IDENTITY CASCADE").unwrap();
    old.sql("forum", "ALTER ROLE quarry NOREPLICATION").unwrap();
    assert!(refusals("posts,comments").contains("ALTER ROLE \"quarry\" REPLICATION"));
    old.sql("forum", "ALTER ROLE quarry REPLICATION").unwrap();
    assert_eq!(plan(&site, "posts,comments").0, Some(0));
    let nobody = Postgres::start_with(&["wal_level=replica"]).unwrap();
    nobody.sql("postgres", "CREATE TABLE posts (id serial PRIMARY KEY)").unwrap();
    let mut request = site.request();
    request.from_database = Some(DatabaseUrl(nobody.url("postgres", "postgres")));
    request.dry_run = true;
    let plan = block_on(site.cuts().create(&request)).unwrap().to_string();
    assert!(plan.contains("ALTER SYSTEM SET wal_level = logical, then restart PostgreSQL"), "{plan}");
    request.from_database = Some("postgres://quarry:wrong-password@127.0.0.1:1/forum".into());
    let plan = block_on(site.cuts().create(&request)).unwrap().to_string();
    assert!(plan.contains("the database of monolith does not answer") && !plan.contains("wrong-password"), "{plan}");
    request.dry_run = false;
    assert!(matches!(block_on(site.cuts().create(&request)), Err(CutError::Planned { .. })));
}

/// Nowhere in the data directory, nor in what is shown.
fn passwords_are_kept_sealed(site: &Site) {
    let output = quarry_cut(site, &["report", "posts", "--json"]);
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("postgres://quarry@127.0.0.1:"), "{report}");
    assert!(!report.contains(PASSWORD));
    let mut places = vec![site.platform.data_dir().to_owned()];
    let mut files = 0;
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else if place.is_file() {
            let bytes = std::fs::read(&place).unwrap();
            let found = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
            assert!(!found, "{} has the password", place.display());
            files += 1;
        }
    }
    assert!(files > 3);
    assert!(!site.platform.log().contains(PASSWORD));
}
