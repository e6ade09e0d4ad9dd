//! A controller that does anything at random, and clients that write in every way.

mod common;

use common::cut::*;
use common::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Numbers that look random (SplitMix64), the same for one seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Writes one request, in pieces, and returns the answer's status.
fn write_somehow(peer: &mut Peer, row: &str, numbers: &mut Numbers) -> (u16, String) {
    let sizes = [0, 10, 40_000, 300_000];
    let sorts = if numbers.below(8) == 0 { 4 } else { 3 };
    let body = format!("{row} {}", "x".repeat(sizes[numbers.below(sorts) as usize]));
    let upload = match numbers.below(3) {
        0 => format!(
            "POST /posts HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
        _ => post("/posts", "", &body),
    };
    let cut = match numbers.below(4) {
        0 => numbers.below(upload.len() as u64) as usize,
        _ => upload.len(),
    };
    peer.send(&upload[..cut]);
    if cut < upload.len() {
        std::thread::sleep(Duration::from_millis(numbers.below(30)));
        peer.send(&upload[cut..]);
    }
    (peer.response().status(), body)
}

#[test]
fn whatever_a_controller_does_each_write_is_executed_once_or_said_not_to_be() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("chaos", &a, &b);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8u64)
        .map(|client| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let (mut numbers, mut peer) = (Numbers(seed ^ client << 32), Peer::local(port));
                let (mut executed, mut refused, mut n) = (Vec::new(), Vec::new(), 0);
                while !stop.load(Ordering::SeqCst) {
                    let (status, body) = write_somehow(&mut peer, &format!("c{client}-{n}"), &mut numbers);
                    match status {
                        201 => executed.push(body),
                        // Too large to be sent again.
                        421 if body.len() > 256 * 1024 => refused.push(body),
                        other => panic!("{other} for {} bytes, SEED={seed}", body.len()),
                    }
                    n += 1;
                }
                (executed, refused)
            })
        })
        .collect();
    let (mut numbers, mut at_a) = (Numbers(seed), true);
    let pause = |ms| std::thread::sleep(Duration::from_millis(ms));
    for _ in 0..25 {
        let (from, to) = if at_a { (&a, &b) } else { (&b, &a) };
        play.scope.hold_deadline_ms = if numbers.below(2) == 0 { 5 + numbers.below(20) as u32 } else { 8000 };
        match numbers.below(4) {
            // A hold that is given up, before or after its deadline.
            0 => {
                proxy.serve.apply(&play.hold());
                pause(numbers.below(30));
                proxy.serve.apply(&play.next(|play| play.scope.hold = false));
            }
            // Given up after the fence: the owner takes the scope back.
            1 => {
                proxy.serve.apply(&play.hold());
                from.set(false, play.scope.epoch + 1);
                pause(numbers.below(20));
                from.set(true, play.scope.epoch + 2);
                proxy
                    .serve
                    .apply(&play.next(|play| (play.scope.hold, play.scope.epoch) = (false, play.scope.epoch + 2)));
            }
            // Without waiting for what is in flight: the fence decides.
            2 => {
                proxy.serve.apply(&play.hold());
                from.set(false, play.scope.epoch + 1);
                pause(numbers.below(20));
                to.take_over(from);
                to.set(true, play.scope.epoch + 2);
                at_a = !at_a;
                proxy.serve.apply(&play.next(|play| play.route(at_a)));
                pause(numbers.below(20));
                proxy
                    .serve
                    .apply(&play.next(|play| (play.scope.hold, play.scope.epoch) = (false, play.scope.epoch + 2)));
            }
            _ => {
                play.scope.hold_deadline_ms = 8000;
                at_a = !at_a;
                play.cut(&proxy.serve, from, to, at_a);
            }
        }
        pause(numbers.below(40));
    }
    stop.store(true, Ordering::SeqCst);
    let (mut executed, mut refused) = (Vec::new(), Vec::new());
    for client in clients {
        let (done, not) = client.join().unwrap();
        executed.extend(done);
        refused.extend(not);
    }
    let mut rows = if at_a { a.rows() } else { b.rows() };
    println!("{} executed, {} refused", executed.len(), refused.len());
    rows.sort();
    executed.sort();
    assert!(rows == executed, "{} rows of {} acknowledged, SEED={seed}", rows.len(), executed.len());
    assert!(refused.iter().all(|row| rows.binary_search(row).is_err()), "SEED={seed}");
    let last = report(&proxy.serve, play.scope.version, |r| r.in_flight_writes == 0 && r.parked == 0);
    assert_eq!((last.unknown_outcomes, last.left_while_parked, last.unrepeatable), (0, 0, 0), "SEED={seed}");
}
