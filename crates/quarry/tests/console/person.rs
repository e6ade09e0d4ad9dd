//! A person at the console.

use crate::axe::{self, Axe};
use quarry_testkit::browser::Browser;
use quarry_testkit::{Platform, client_program, wait_for};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// Where pictures are kept.
const PICTURES: &str = "CONSOLE_SCREENSHOTS";

pub struct Person<'a> {
    pub browser: &'a Browser,
    console: String,
    axe: Option<String>,
    /// What axe has found on the pages so far.
    faults: RefCell<Vec<String>>,
    /// The lines of a shell that were shown.
    lines: RefCell<Vec<String>>,
}

impl<'a> Person<'a> {
    /// Signs in by a link.
    pub fn sits_down(browser: &'a Browser, platform: &Platform) -> Self {
        let console = platform.serving().unwrap()["console"].as_str().unwrap().to_owned();
        browser.open(&link(platform));
        let person =
            Self { browser, console, axe: axe::source(), faults: RefCell::default(), lines: RefCell::default() };
        wait_for("the overview", || (person.sees("h1") == "Overview").then_some(()));
        person
    }

    pub fn goes_to(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.console));
    }

    /// Loads the page that is open again.
    pub fn again(&self) {
        // On a busy machine the driver may lose the page that goes.
        wait_for("the page again", || self.browser.command("POST", "refresh", json!({})).ok());
    }

    /// The text of the first element of a selector; empty while there is none.
    pub fn sees(&self, selector: &str) -> String {
        self.browser.texts(selector).into_iter().next().unwrap_or_default()
    }

    /// The page shows these, is gone through by the keyboard and fits a telephone; axe looks at it, and pictures of it are
    /// kept.
    pub fn looks(&self, name: &str, expected: &[&str]) {
        let shown = self.browser.script("return document.querySelector('main').textContent");
        let fields =
            self.browser.script("return [...document.querySelectorAll('main input')].map((i) => i.value).join(' ')");
        let shown = format!("{} {}", shown.as_str().unwrap(), fields.as_str().unwrap());
        for text in expected {
            assert!(shown.contains(text), "{name} does not show {text}: {shown}");
        }
        assert!(!shown.contains("Not known"), "{name}: {shown}");
        self.tabs_through(name);
        self.browser.screenshot(PICTURES, name);
        let axe = self.axe.as_deref().map(|axe| Axe::of(self.browser, axe));
        let faultless = |options: &str| {
            let faults = axe.as_ref().map(|axe| axe.faults(options)).unwrap_or_default();
            self.faults.borrow_mut().extend(faults.iter().map(|fault| format!("{name}: {fault}")));
        };
        // Of what is right nothing is told: to gather it takes most of the time.
        faultless("{resultTypes: ['violations']}");
        self.scheme("dark");
        faultless("{runOnly: ['color-contrast'], resultTypes: ['violations']}");
        self.browser.screenshot(PICTURES, &format!("{name}-dark"));
        self.scheme("light");
        let telephone = json!({"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true});
        self.browser.emulate("Emulation.setDeviceMetricsOverride", telephone);
        let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(self.browser.script(script), 0, "{name}: a telephone would have to scroll sideways");
        self.browser.screenshot(PICTURES, &format!("{name}-telephone"));
        self.browser.emulate("Emulation.clearDeviceMetricsOverride", json!({}));
    }

    fn scheme(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.browser.emulate("Emulation.setEmulatedMedia", features);
    }

    /// Whether a page is first painted in this time, in ms; on a busy machine not every time.
    pub fn paints_within(&self, ms: u64) -> bool {
        let paint = || {
            self.again();
            self.first_paint()
        };
        let mut times: Vec<f64> = (0..3).map(|_| paint()).collect();
        times.sort_by(f64::total_cmp);
        println!("first paint of {}: {:.0} ms at best, {:.0} ms in the middle", self.sees("h1"), times[0], times[1]);
        times[0] <= ms as f64
    }

    /// When the page was first painted, in ms; before that the browser drops what is typed.
    pub fn first_paint(&self) -> f64 {
        let script = "return performance.getEntriesByName('first-contentful-paint').map((e) => e.startTime)[0] ?? null";
        wait_for("a paint", || self.browser.script(script).as_f64())
    }

    pub fn clicks(&self, selector: &str) {
        let element = self.browser.one(selector);
        self.browser.click(&element);
    }

    /// Asks for what a button does, by the first form of an action on the page.
    pub fn asks(&self, action: &str) {
        self.clicks(&format!("form[action='/do/{action}'] button[type=submit]"));
    }

    /// The page shows this line of a shell, and is confirmed.
    pub fn confirms(&self, line: &str) {
        self.confirms_what(|shown| assert_eq!(shown, line));
    }

    /// The same for a line that is not known whole.
    pub fn confirms_what(&self, is_right: impl FnOnce(&str)) {
        // The page that was left may have lines of its own.
        wait_for("a line to confirm", || self.sees("main").contains("The same from a shell").then_some(()));
        let shown = self.browser.text(".copy code");
        is_right(&shown);
        self.lines.borrow_mut().push(shown);
        self.clicks("button.main");
        wait_for("it is done", || {
            assert!(self.browser.texts("[role=alert]").is_empty(), "{}", self.sees("main"));
            (!self.sees(".said").is_empty()).then_some(())
        });
    }

    pub fn chooses(&self, field: &str, value: &str) {
        self.clicks(&format!("{field} option[value={}]", json!(value)));
    }

    /// The aws CLI makes a call of every line of its that was shown: it finds nothing wrong with them. Who hears the calls
    /// refuses them.
    pub fn checks_lines(&self, platform: &Platform) {
        if client_program("aws").is_none() {
            return;
        }
        let lines = self.lines.borrow();
        let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|line| line.starts_with("aws ")).collect();
        let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", endpoint.local_addr().unwrap());
        let heard = std::thread::spawn({
            let expected = lines.len();
            move || endpoint.incoming().take(expected).map(|stream| refuse(stream.unwrap())).count()
        });
        for line in &lines {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", line])
                .envs(platform.env().unwrap())
                .env_remove("AWS_PROFILE")
                .env("AWS_ENDPOINT_URL", &url);
            let output = shell.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("when calling the") && said.contains("not here"), "{line}: {said}");
        }
        assert_eq!(heard.join().unwrap(), lines.len());
    }

    /// Types into a field in place of what is there.
    pub fn types(&self, selector: &str, text: &str) {
        self.browser.one(selector);
        self.browser.script(&format!("document.querySelector({}).value = ''", json!(selector)));
        self.browser.press(selector, text);
    }

    /// Nothing was wrong with any page that axe looked at; signs out.
    pub fn leaves(&self) {
        let faults = self.faults.borrow();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        self.clicks(".where form button");
        wait_for("the sign-in page", || (self.sees("h1") == "Sign in").then_some(()));
        let cookies = self.browser.command("GET", "cookie", Value::Null).unwrap();
        assert_eq!(cookies, json!([]));
    }
}

/// Hears a request and refuses it.
fn refuse(mut stream: TcpStream) {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    let head = |heard: &[u8]| heard.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
    let length = |head: &[u8]| -> usize {
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let value =
            text.lines().find_map(|line| line.strip_prefix("content-length:").map(str::trim).map(str::to_owned));
        value.map_or(0, |value| value.parse().unwrap())
    };
    while head(&heard).is_none_or(|end| heard.len() < end + length(&heard[..end])) {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            n => heard.extend_from_slice(&buffer[..n]),
        }
    }
    let body = match String::from_utf8_lossy(&heard).to_ascii_lowercase().contains("x-amz-target:") {
        true => r#"{"__type":"Refused","message":"not here"}"#,
        false => "<ErrorResponse><Error><Code>Refused</Code><Message>not here</Message></Error></ErrorResponse>",
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 400 Refused\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
}

/// Somebody without a browser.
pub struct Visitor {
    console: String,
    cookie: String,
}

impl Visitor {
    pub fn signs_in(platform: &Platform) -> Self {
        let link = link(platform);
        let (console, path) = link.strip_prefix("http://").and_then(|link| link.split_once('/')).unwrap();
        let answer = ask(console, "GET", &format!("/{path}"), "", "");
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        Self { console: console.to_owned(), cookie: format!("Cookie: {}\r\n", cookie.split(';').next().unwrap()) }
    }

    /// The page at a path, which must be there.
    pub fn get(&self, path: &str) -> String {
        let answer = ask(&self.console, "GET", path, &self.cookie, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        answer
    }
}

/// A one-time link, as `quarry open` prints it.
pub fn link(platform: &Platform) -> String {
    let printed = platform.quarry(&["open", "--print"]).unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).unwrap().trim().to_owned()
}

/// One request: the whole answer.
pub fn ask(authority: &str, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(authority).unwrap();
    let host = if headers.contains("Host: ") { String::new() } else { format!("Host: {authority}\r\n") };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
