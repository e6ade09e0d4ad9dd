//! The page as a person uses it: headless Chromium, driven through chromedriver (W3C WebDriver).
//!
//! Where Chromium is not installed the test says `skipped: chromium not found`, and fails if `CI=true`.
//! `BOARD_SCREENSHOTS=<directory>` keeps pictures of the page.

// A file of its own, not a dependency on the platform's test kit, which the board does without.
#[allow(dead_code, reason = "the console's tests use more of it")]
#[path = "../../../crates/testkit/src/browser.rs"]
mod browser;
mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use browser::Browser;
use common::{Process, sample};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const HOSTILE: &str =
    r#"<img src=x onerror="document.title='owned'"><b>bold</b> & <script>document.title='owned'</script>"#;

/// A program on the PATH; Chromium under any of its names.
fn client_program(name: &str) -> Option<PathBuf> {
    let names = match name {
        "chromium" => &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"][..],
        name => &[name],
    };
    let path = std::env::var_os("PATH")?;
    let places: Vec<_> = std::env::split_paths(&path).collect();
    names.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|file| file.is_file())
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not seen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

fn posts(runtime: &tokio::runtime::Runtime, board: SocketAddr) -> Vec<Value> {
    let posts = runtime.block_on(common::get(board, "/api/posts")).json();
    posts.as_array().unwrap().clone()
}

#[test]
fn a_person_reads_threads_and_replies() {
    let Some(browser) = Browser::start() else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "chromium and chromedriver must be installed in CI");
        println!("skipped: chromium not found");
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let database = data.path().join("api.db");
    let file = sample();
    let settings = [("DATABASE_PATH", database.to_str().unwrap()), ("IMPORT", file.to_str().unwrap())];
    let board = Process::start(env!("CARGO_BIN_EXE_board-api"), &settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let record = json!({"thread": 2, "text": HOSTILE, "user": 6});
    assert_eq!(runtime.block_on(common::post(board.address, "/api/posts", &record)).status, 201);
    let before = posts(&runtime, board.address);

    // The page: the words of the documents, and the threads.
    browser.open(&format!("http://{}/", board.address));
    assert_eq!(browser.text("#ready"), "Ready to receive requests");
    wait_for("the five threads", || (browser.all("#threads button").len() == 5).then_some(()));
    browser.screenshot("BOARD_SCREENSHOTS", "light");

    // Opening a thread shows its posts, in order, with their writers.
    let wanted = "Bread that survives a week in a saddlebag";
    let threads = browser.all("#threads button");
    let thread = threads.iter().find(|t| browser.try_text(t).as_deref() == Some(wanted)).expect("the thread");
    browser.click(thread);
    let expected: Vec<_> = before.iter().filter(|p| p["thread"] == 2).map(|p| p["text"].as_str().unwrap()).collect();
    assert_eq!(expected.len(), 6);
    wait_for("the posts of the thread", || (browser.texts("#post-list .text") == expected).then_some(()));
    assert_eq!(browser.text("#thread-heading"), wanted);
    assert_eq!(browser.text("#thread-by"), "Opened by Rasmus Dahl");
    assert!(browser.text("#post-list li .who").starts_with("Rasmus Dahl"));

    // Markup in a post stays text: no element came of it, and nothing of it ran.
    assert_eq!(browser.all("#post-list img, #post-list b, #post-list script").len(), 0);
    assert_eq!(browser.title(), "Message board");

    // A reply without a writer is not sent, and the page says why.
    browser.press("#post-text", "Six days? I shall try.");
    browser.click(&browser.one("#post-form button[type=submit]"));
    wait_for("the reason", || (browser.text("#status") == "Who writes is missing.").then_some(()));
    assert_eq!(posts(&runtime, board.address).len(), before.len());

    // With one it shows at the end of the thread, and everyone can read it.
    browser.click(&browser.one("#post-user option[value='5']"));
    browser.click(&browser.one("#post-form button[type=submit]"));
    let last = || browser.texts("#post-list .text").pop();
    wait_for("the reply", || (last().as_deref() == Some("Six days? I shall try.")).then_some(()));
    wait_for("the confirmation", || (browser.text("#status") == "Posted.").then_some(()));
    let after = posts(&runtime, board.address);
    assert_eq!(after.len(), before.len() + 1);
    let reply = after.last().unwrap();
    assert_eq!((&reply["thread"], &reply["user"]), (&json!(2), &json!(5)));
    assert_eq!(reply["text"], "Six days? I shall try.");

    // From the keyboard alone: Ctrl+Enter sends (U+E009 is Control, U+E007 Enter), and markup stays text.
    browser.press("#post-text", &format!("{HOSTILE}\u{e009}\u{e007}"));
    wait_for("the second reply", || (last().as_deref() == Some(HOSTILE)).then_some(()));
    assert_eq!(posts(&runtime, board.address).last().unwrap()["text"], HOSTILE);
    assert_eq!(browser.title(), "Message board");
    browser.screenshot("BOARD_SCREENSHOTS", "replied");

    // The address keeps the thread: a reload shows it again, with the replies.
    browser.command("POST", "refresh", json!({})).unwrap();
    wait_for("all posts after a reload", || (browser.all("#post-list li").len() == expected.len() + 2).then_some(()));
    assert_eq!(browser.text("#thread-heading"), wanted);

    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.emulate("Emulation.setEmulatedMedia", dark);
    browser.screenshot("BOARD_SCREENSHOTS", "dark");
    let telephone = json!({"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true});
    browser.emulate("Emulation.setDeviceMetricsOverride", telephone);
    let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(browser.script(script), 0, "a telephone would have to scroll sideways");
    browser.screenshot("BOARD_SCREENSHOTS", "telephone");
    browser.quit();
}
