//! The page as a person uses it: headless Chromium, driven through chromedriver (W3C WebDriver).
//!
//! Where Chromium is not installed the test says `skipped: chromium not found`, and fails if `CI=true`.
//! `BOARD_SCREENSHOTS=<directory>` keeps pictures of the page.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use common::{Process, sample};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
/// The name under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Whatever Chromium starts inherits this variable; by it everything is found again at the end.
const MARK: &str = "BOARD_BROWSER_TEST";
const HOSTILE: &str =
    r#"<img src=x onerror="document.title='owned'"><b>bold</b> & <script>document.title='owned'</script>"#;

/// One browser window.
struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// Profile directory, and the value of [`MARK`].
    profile: tempfile::TempDir,
}

struct Element(String);

impl Browser {
    /// Starts chromedriver and Chromium; `None` where one of them is not installed.
    fn start() -> Option<Browser> {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])?;
        let chromedriver = program(&["chromedriver"])?;
        let profile = tempfile::Builder::new().prefix("board-browser-").tempdir().unwrap();
        let mut driver = Command::new(chromedriver)
            .arg("--port=0")
            .env(MARK, profile.path())
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let mut browser = Browser { driver, address: (Ipv4Addr::LOCALHOST, 0).into(), session: String::new(), profile };
        let port = loop {
            let line = lines.next().expect("chromedriver says where it listens").unwrap();
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        browser.address.set_port(port);
        let profile = format!("--user-data-dir={}", browser.profile.path().join("profile").display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-breakpad",
            // Nothing but the board is reached, whatever Chromium would like to ask.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--window-size=1100,900",
            &profile,
        ];
        let options = json!({"binary": chromium, "args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let session = browser.call("POST", "/session", &wanted).expect("a session");
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    /// One WebDriver command: the `value` of its answer, or its error.
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let read = || -> std::io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let length = body.len();
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
                self.address
            )?;
            read_answer(&mut stream)
        };
        let answer = read().map_err(|e| format!("{method} {path}: {e}"))?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|e| format!("{method} {path}: {e}"))?;
        let value = answer["value"].take();
        match value.get("error") {
            Some(error) => Err(format!("{method} {path}: {error}: {}", value["message"])),
            None => Ok(value),
        }
    }

    fn command(&self, method: &str, command: &str, body: Value) -> Result<Value, String> {
        self.call(method, &format!("/session/{}/{command}", self.session), &body)
    }

    fn open(&self, url: &str) {
        self.command("POST", "url", json!({"url": url})).unwrap();
    }

    fn title(&self) -> String {
        self.command("GET", "title", Value::Null).unwrap().as_str().unwrap().to_owned()
    }

    fn all(&self, selector: &str) -> Vec<Element> {
        let found = self.command("POST", "elements", json!({"using": "css selector", "value": selector})).unwrap();
        let found = found.as_array().unwrap().iter();
        found.map(|e| Element(e[ELEMENT].as_str().unwrap().to_owned())).collect()
    }

    /// The first element of a selector, as soon as it is there.
    fn one(&self, selector: &str) -> Element {
        wait_for(selector, || self.all(selector).into_iter().next())
    }

    /// What a person sees of an element; `None` if it went away meanwhile.
    fn try_text(&self, element: &Element) -> Option<String> {
        let text = self.command("GET", &format!("element/{}/text", element.0), Value::Null).ok()?;
        Some(text.as_str()?.to_owned())
    }

    fn text(&self, selector: &str) -> String {
        self.try_text(&self.one(selector)).unwrap()
    }

    fn texts(&self, selector: &str) -> Vec<String> {
        self.all(selector).iter().filter_map(|e| self.try_text(e)).collect()
    }

    fn click(&self, element: &Element) {
        self.command("POST", &format!("element/{}/click", element.0), json!({})).unwrap();
    }

    fn press(&self, selector: &str, keys: &str) {
        let element = self.one(selector);
        self.command("POST", &format!("element/{}/value", element.0), json!({"text": keys})).unwrap();
    }

    /// A picture of the window, where pictures are wanted.
    fn screenshot(&self, name: &str) {
        let Some(directory) = std::env::var_os("BOARD_SCREENSHOTS") else { return };
        let picture = self.command("GET", "screenshot", Value::Null).unwrap();
        let png = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&directory).join(format!("{name}.png")), png).unwrap();
    }

    /// As a person with a dark system, or with a telephone, sees it.
    fn emulate(&self, command: &str, parameters: Value) {
        self.command("POST", "goog/cdp/execute", json!({"cmd": command, "params": parameters})).unwrap();
    }

    /// Ends the browser in order; nothing of it may be left.
    fn quit(mut self) {
        self.call("DELETE", &format!("/session/{}", self.session), &Value::Null).unwrap();
        self.driver.kill().unwrap();
        self.driver.wait().unwrap();
        wait_for("the browser's end", || marked(self.profile.path()).is_empty().then_some(()));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        for pid in marked(self.profile.path()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// The body of an answer with a Content-Length.
fn read_answer(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(body)
}

/// The first of these programs on the PATH.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places: Vec<_> = std::env::split_paths(&path).collect();
    names.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|file| file.is_file())
}

/// Processes of this browser: those that inherited its mark.
fn marked(profile: &Path) -> Vec<i32> {
    let mark = format!("{MARK}={}", profile.display());
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    })
    .collect()
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
    browser.screenshot("light");

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
    browser.screenshot("replied");

    // The address keeps the thread: a reload shows it again, with the replies.
    browser.command("POST", "refresh", json!({})).unwrap();
    wait_for("all posts after a reload", || (browser.all("#post-list li").len() == expected.len() + 2).then_some(()));
    assert_eq!(browser.text("#thread-heading"), wanted);

    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.emulate("Emulation.setEmulatedMedia", dark);
    browser.screenshot("dark");
    let telephone = json!({"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true});
    browser.emulate("Emulation.setDeviceMetricsOverride", telephone);
    let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    let overflow = browser.command("POST", "execute/sync", json!({"script": script, "args": []})).unwrap();
    assert_eq!(overflow, 0, "a telephone would have to scroll sideways");
    browser.screenshot("telephone");
    browser.quit();
}
