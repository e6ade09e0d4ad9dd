//! The disk under both sides' databases is full in the middle of a cut: writes are refused, none is lost or doubled, and the
//! cut goes on once there is room.

use super::{Board, EXE, Ledger, Writers};
use quarry_testkit::{PATIENCE, Platform, wait_for};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Command;
use std::time::Instant;

/// Set for the run of this program that may mount.
const INSIDE: &str = "QUARRY_TEST_MOUNTS";

/// Runs [`inside`] in a mount namespace of its own, which takes the file system away with it.
#[test]
fn a_full_disk_in_the_middle_of_a_cut_loses_and_doubles_nothing() {
    let user = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let unshare = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args([user, "--propagation", "private"]).args(words);
        command
    };
    match unshare(&["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output() {
        Ok(output) if output.status.success() => {}
        other => {
            println!("skipped: no file system may be mounted here ({other:?})");
            return;
        }
    }
    let program = std::env::current_exe().unwrap();
    let mut command = unshare(&[program.to_str().unwrap(), "--ignored", "--exact", "full_disk::inside", "--nocapture"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    println!("{said}");
}

#[test]
#[ignore = "run by a_full_disk_in_the_middle_of_a_cut_loses_and_doubles_nothing"]
fn inside() {
    assert!(std::env::var_os(INSIDE).is_some(), "this mounts a file system");
    let platform = Platform::start(EXE).unwrap();
    // Where the tasks' volumes are.
    let small = platform.data_dir().join("volumes");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs"]).arg(&small).status();
    assert!(mounted.unwrap().success());
    let board = Board::on(platform, None, false);
    let writers = Writers::start(board.at);
    let request = json!({
        "scope": "posts", "from": "api", "to": "demo/posts", "paths": ["/api/posts*"], "shadow_seconds": 1,
        "until": "FOLLOW",
    });
    let id = wait_for("the cut begins", || {
        let (status, answer) = board.cuts.call("POST", "", "", &request)?;
        (status < 300).then(|| answer["id"].as_str().unwrap().to_owned())
    });
    let stopped = |code: &str| {
        let (_, cut) = board.cuts.call("GET", &format!("/{id}"), "", &Value::Null)?;
        (cut["stopped"]["code"] == code).then_some(())
    };
    wait_for("the changes are followed", || stopped("Reached"));
    let refused = |at_least: usize| (writers.ledger.lock().unwrap().failed.len() >= at_least).then_some(());

    let fill = small.join("fill");
    let mut file = std::fs::File::create(&fill).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write(&vec![b'x'; size]).is_ok_and(|n| n == size) {}
    }
    drop(file);
    wait_for("writes are refused", || refused(5));
    // It tries, and cannot: the scope stays where it is.
    board.ok("POST", &format!("/{id}/resume"), json!({}));
    let so_far = writers.ledger.lock().unwrap().failed.len();
    wait_for("more writes are refused", || refused(so_far + 5));
    let (_, cut) = board.cuts.call("GET", &format!("/{id}"), "", &Value::Null).unwrap();
    assert_eq!(cut["owner"], "source", "{}", cut["summary"]);

    std::fs::remove_file(&fill).unwrap();
    let begin = Instant::now();
    loop {
        let (_, cut) = board.cuts.call("GET", &format!("/{id}"), "", &Value::Null).unwrap();
        if cut["state"] == "WATCH" {
            break;
        }
        if !cut["stopped"].is_null() {
            // Holds were given up while there was no room.
            board.cuts.call("POST", &format!("/{id}/resume"), "", &json!({}));
        }
        assert!(begin.elapsed() < PATIENCE, "{}\n{}", cut["summary"], board.site.platform.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let before = writers.count();
    wait_for("writes on the new side", || (writers.count() > before + 20).then_some(()));
    let Ledger { acknowledged, failed } = writers.end();
    println!("{} acknowledged, {} refused while the disk was full", acknowledged.len(), failed.len());
    for one in &failed {
        assert!(one.contains("507"), "{one}");
    }
    let (_, body) = super::ask(board.at, "GET", "/api/posts", None, "").unwrap();
    let posts: Vec<Value> = serde_json::from_str(&body).unwrap();
    let mut found: Vec<&str> = posts.iter().filter_map(|post| post["text"].as_str()).collect();
    found.retain(|text| text.contains(" of writer "));
    found.sort_unstable();
    let mut written: Vec<&str> = acknowledged.keys().map(String::as_str).collect();
    written.sort_unstable();
    assert_eq!(found, written, "acknowledged ones are there once, refused ones never");
    // So that the directory can be taken away.
    assert!(Command::new("umount").arg("-l").arg(&small).status().unwrap().success());
}
