//! What survives: the board's writes when tasks are killed and scaled, the platform when its own
//! processes are killed. The tour sets the stage and leaves it running.

mod stage;
#[path = "survival/traces.rs"]
mod traces;

use quarry_testkit::{PATIENCE, wait_for};
use serde_json::json;
use stage::{SERVICES, Stage, kill, pid_of, request};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

#[test]
fn what_was_acknowledged_survives() {
    let mut stage = Stage::set();
    // On the same stage, which takes longer to set than the whole trace to come.
    traces::lead_from_the_balancer_to_the_databases(&stage);
    let aws = stage.platform.client().unwrap();

    // Writes, each acknowledged under a key of its own, while the task that takes them is killed.
    let mut acknowledged = Vec::new();
    for n in 0..40 {
        if n == 20 {
            let task = stage.tasks(&aws, "posts").pop_first().unwrap();
            kill(pid_of(stage.platform.data_dir(), &task));
        }
        let text = format!("post number {n} of this test");
        let body = json!({"thread": 1, "user": 1, "text": text}).to_string();
        let key = format!("survival-{n}");
        // A client repeats with the same key until it hears an answer.
        wait_for("a write is acknowledged", || {
            let (status, body) = stage.request("POST", "/api/posts", Some(&key), &body)?;
            match status {
                201 => {
                    acknowledged.push((body, text.clone()));
                    Some(())
                }
                502..=504 => None,
                other => panic!("{other}: {body}"),
            }
        });
    }
    stage.scale(&aws, "posts", 3);
    let mut seen_by_all = 0;
    wait_for("every task of posts was asked", || {
        let posts = stage.get("/api/posts");
        let posts = posts.as_array().unwrap();
        for (_, text) in &acknowledged {
            let copies = posts.iter().filter(|p| p["text"] == text.as_str()).count();
            assert_eq!(copies, 1, "{text:?} is there {copies} times");
        }
        seen_by_all += 1;
        (seen_by_all == 12).then_some(())
    });
    stage.scale(&aws, "posts", 1);

    // serve dies: the balancer and the tasks go on, nothing is started twice or lost.
    let before: Vec<_> = SERVICES.map(|s| stage.tasks(&aws, s)).into();
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let reader = {
        let (stop, asked, failed) = (stop.clone(), asked.clone(), failed.clone());
        let (address, host) = (stage.address, stage.host.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                asked.fetch_add(1, Ordering::Relaxed);
                match request(address, &host, "GET", "/api/users/1", None, "") {
                    Some((200, _)) => {}
                    _ => {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        })
    };
    stage.platform.kill_serve().unwrap();
    let asked_before = asked.load(Ordering::Relaxed);
    wait_for("the balancer serves on without serve", || {
        (asked.load(Ordering::Relaxed) > asked_before + 100).then_some(())
    });
    stage.platform.restart_serve().unwrap();
    let aws = stage.platform.client().unwrap();
    let after: Vec<_> = SERVICES.map(|s| stage.tasks(&aws, s)).into();
    assert_eq!(before, after, "a restart of serve changed tasks");

    // The proxy is replaced in place: the reader notices nothing, and `serve` goes on with the new one.
    let old = stage.holder_of("proxy/lock");
    let said = stage.platform.quarry(&["proxy", "--replace"]).unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_ne!(stage.holder_of("proxy/lock"), old, "{said:?}");
    let asked_before = asked.load(Ordering::Relaxed);
    wait_for("the new proxy serves", || (asked.load(Ordering::Relaxed) > asked_before + 100).then_some(()));
    wait_for("the old proxy ends", || (!std::path::Path::new(&format!("/proc/{old}")).exists()).then_some(()));
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {} requests some failed", asked.load(Ordering::Relaxed));

    // A scale-up works after the restart, so the reconcilers adopted what was there.
    stage.scale(&aws, "users", 2);
    stage.scale(&aws, "users", 1);

    // The proxy dies: it is back with the last snapshot.
    kill(stage.holder_of("proxy/lock"));
    let start = Instant::now();
    wait_for("the proxy is back", || match stage.request("GET", "/api/users/1", None, "") {
        Some((200, _)) => Some(()),
        _ => None,
    });
    println!("proxy back after {} ms", start.elapsed().as_millis());
    assert!(start.elapsed() < PATIENCE);

    // Everything ends, and nothing is left.
    assert!(stage.platform.quarry(&["stop"]).unwrap().status.success());
    assert_eq!(quarry_runtime::leftovers(stage.platform.data_dir()), Vec::<String>::new());
}
