//! Headless Chromium, driven through chromedriver (W3C WebDriver).

use crate::{PATIENCE, client_program, wait_for};
use base64::Engine as _;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The name under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Whatever Chromium starts inherits this variable; by it everything is found again at the end.
const MARK: &str = "QUARRY_BROWSER_TEST";

/// Keys as WebDriver names them.
pub const TAB: char = '\u{e004}';
pub const ENTER: char = '\u{e007}';
pub const ESCAPE: char = '\u{e00c}';

/// One browser window.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// Profile directory, and the value of [`MARK`].
    profile: tempfile::TempDir,
}

/// An element of the page that was open when it was found.
pub struct Element(String);

impl Browser {
    /// Starts chromedriver and Chromium; `None` after saying that one of them is not installed.
    pub fn start() -> Option<Browser> {
        let chromium = client_program("chromium")?;
        let chromedriver = client_program("chromedriver")?;
        let profile = tempfile::Builder::new().prefix("q-browser-").tempdir().unwrap();
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
            // Nothing outside is reached, whatever Chromium would like to ask.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE 127.0.0.2",
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

    /// One command of the session.
    pub fn command(&self, method: &str, command: &str, body: Value) -> Result<Value, String> {
        self.call(method, &format!("/session/{}/{command}", self.session), &body)
    }

    /// Goes to a page, and waits until it is there.
    pub fn open(&self, url: &str) {
        self.command("POST", "url", json!({"url": url})).unwrap();
    }

    /// The title of the page.
    pub fn title(&self) -> String {
        self.command("GET", "title", Value::Null).unwrap().as_str().unwrap().to_owned()
    }

    /// All elements that a CSS selector finds.
    pub fn all(&self, selector: &str) -> Vec<Element> {
        let found = self.command("POST", "elements", json!({"using": "css selector", "value": selector})).unwrap();
        let found = found.as_array().unwrap().iter();
        found.map(|e| Element(e[ELEMENT].as_str().unwrap().to_owned())).collect()
    }

    /// The first element of a selector, as soon as it is there.
    pub fn one(&self, selector: &str) -> Element {
        wait_for(selector, || self.all(selector).into_iter().next())
    }

    /// What a person sees of an element; `None` if it went away meanwhile.
    pub fn try_text(&self, element: &Element) -> Option<String> {
        let text = self.command("GET", &format!("element/{}/text", element.0), Value::Null).ok()?;
        Some(text.as_str()?.to_owned())
    }

    /// What a person sees of the first element of a selector.
    pub fn text(&self, selector: &str) -> String {
        self.try_text(&self.one(selector)).unwrap()
    }

    /// What a person sees of each, asked all at once; of nothing while another page comes.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let script = format!(
            "return [...document.querySelectorAll({})].map((e) => e.checkVisibility() ? e.innerText ?? e.textContent : '')",
            json!(selector)
        );
        let told = self.command("POST", "execute/sync", json!({"script": script, "args": []})).unwrap_or_default();
        let texts = told.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(|text| text.trim().to_owned()).collect()
    }

    /// Clicks on an element.
    pub fn click(&self, element: &Element) {
        self.command("POST", &format!("element/{}/click", element.0), json!({})).unwrap();
    }

    /// Types into an element.
    pub fn press(&self, selector: &str, keys: &str) {
        let element = self.one(selector);
        self.command("POST", &format!("element/{}/value", element.0), json!({"text": keys})).unwrap();
    }

    /// Types on the keyboard, wherever the focus is; [`TAB`] and others are keys, too.
    pub fn types(&self, keys: impl IntoIterator<Item = char>) {
        let strokes = |key: char| ["keyDown", "keyUp"].map(|stroke| json!({"type": stroke, "value": key}));
        let strokes: Vec<Value> = keys.into_iter().flat_map(strokes).collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.command("POST", "actions", json!({"actions": [keyboard]})).unwrap();
    }

    /// What a script answers in the page.
    pub fn script(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", json!({"script": script, "args": []})).unwrap()
    }

    /// What a script gives to the function it finds as its last argument.
    pub fn script_later(&self, script: &str) -> Value {
        self.command("POST", "execute/async", json!({"script": script, "args": []})).unwrap()
    }

    /// A picture of the window, as `<name>.png` in the directory that `variable` names, where it is set.
    pub fn screenshot(&self, variable: &str, name: &str) {
        let Some(directory) = std::env::var_os(variable) else { return };
        let picture = self.command("GET", "screenshot", Value::Null).unwrap();
        let png = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&directory).join(format!("{name}.png")), png).unwrap();
    }

    /// As a person with a dark system, or with a telephone, sees it.
    pub fn emulate(&self, command: &str, parameters: Value) {
        self.command("POST", "goog/cdp/execute", json!({"cmd": command, "params": parameters})).unwrap();
    }

    /// Ends the browser in order; nothing of it may be left.
    pub fn quit(mut self) {
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
