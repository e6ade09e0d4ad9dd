//! Two sides of a cut that follow the contract, and the snapshots that lead from one to the other.

use super::*;
use quarry_domain::link::CutReport;
use std::collections::HashMap;

/// A side's database: rows, idempotency keys, the fence.
#[derive(Default)]
pub struct Rows {
    pub owner: bool,
    pub epoch: u64,
    /// Bodies of executed writes, in order.
    pub rows: Vec<String>,
    /// By idempotency key.
    pub keys: HashMap<String, String>,
    /// Writes refused by the fence.
    pub refused: usize,
    /// Heads of all requests but probes.
    pub heads: Vec<String>,
}

/// A target that executes a POST if it owns the scope and the request has its epoch, and otherwise answers
/// 421. A GET's query is looked for among the rows.
pub struct Side {
    pub name: &'static str,
    pub data: Arc<Mutex<Rows>>,
    pub target: Upstream,
}

impl Side {
    pub fn start(name: &'static str, owner: bool, epoch: u64) -> Self {
        Self::with(name, owner, epoch, |_| {})
    }

    /// `after` sees each write that was executed, before it is answered, and may end the connection by a panic.
    pub fn with(name: &'static str, owner: bool, epoch: u64, after: impl Fn(&Message) + Send + Sync + 'static) -> Self {
        let data = Arc::new(Mutex::new(Rows { owner, epoch, ..Rows::default() }));
        let shared = data.clone();
        let target = Upstream::start(move |mut peer| {
            loop {
                let Some(request) = peer.request() else { return };
                let answer = shared.lock().unwrap().answer(name, &request);
                if answer.starts_with("HTTP/1.1 201") {
                    after(&request);
                }
                if !peer.send(&answer) {
                    return;
                }
            }
        });
        Self { name, data, target }
    }

    pub fn rows(&self) -> Vec<String> {
        self.data.lock().unwrap().rows.clone()
    }

    pub fn set(&self, owner: bool, epoch: u64) {
        let mut data = self.data.lock().unwrap();
        (data.owner, data.epoch) = (owner, epoch);
    }

    /// What catching up comes to.
    pub fn take_over(&self, from: &Side) {
        let from = from.data.lock().unwrap();
        let mut data = self.data.lock().unwrap();
        (data.rows, data.keys) = (from.rows.clone(), from.keys.clone());
    }
}

impl Rows {
    fn answer(&mut self, name: &str, request: &Message) -> String {
        self.heads.push(request.head.clone());
        let say = |line: &str, body: &str| {
            format!("HTTP/1.1 {line}\r\nX-Side: {name}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        if !request.head.starts_with("POST ") {
            let wanted = request.head.split([' ', '?']).nth(2).unwrap_or_default();
            let found = self.rows.iter().any(|row| row == wanted);
            return say("200 OK", if found { "there" } else { "missing" });
        }
        let epoch = request.header("x-cut-epoch").map(|e| e.parse::<u64>().unwrap());
        if !self.owner || epoch != Some(self.epoch) {
            self.refused += 1;
            return say("421 Misdirected Request\r\nX-Cut-Fenced: posts", "");
        }
        let (key, text) = (request.header("idempotency-key"), request.text());
        if let Some(stored) = key.and_then(|key| self.keys.get(key)) {
            return say("201 Created", stored);
        }
        self.rows.push(text.clone());
        if let Some(key) = key {
            self.keys.insert(key.to_owned(), text.clone());
        }
        say("201 Created", &text)
    }
}

/// A cut of `/posts*` between the target groups `source` and `destination`; all else goes to the source.
pub struct Play {
    pub scope: CutScope,
    pub balancer: LoadBalancer,
    pub groups: Vec<TargetGroup>,
    pub version: u64,
}

impl Play {
    pub fn new(name: &str, port: u16, source: &Endpoint, destination: &Endpoint) -> Self {
        let scope = CutScope {
            cut: "cut-1".into(),
            version: 1,
            epoch: 1,
            hold: false,
            hold_deadline_ms: 8000,
            contract: true,
            shadow: None,
            canary: None,
        };
        let mut rule = path_rule(1, "/posts*", weighted(true));
        rule.cut = Some(scope.clone());
        let groups = vec![
            group("source", std::slice::from_ref(source)),
            group("destination", std::slice::from_ref(destination)),
        ];
        Self { scope, balancer: balancer(name, port, vec![rule], forward("source")), groups, version: 1 }
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut balancer = self.balancer.clone();
        balancer.listeners[0].rules[0].cut = Some(self.scope.clone());
        snapshot(self.version, vec![balancer], self.groups.clone())
    }

    /// The next version of snapshot and scope, with this change.
    pub fn next(&mut self, change: impl FnOnce(&mut Self)) -> Snapshot {
        self.version += 1;
        self.scope.version += 1;
        change(self);
        self.snapshot()
    }

    pub fn hold(&mut self) -> Snapshot {
        self.next(|play| play.scope.hold = true)
    }

    /// To the source or the destination.
    pub fn route(&mut self, to_source: bool) {
        self.balancer.listeners[0].rules[0].action = weighted(to_source);
    }

    /// Holds, waits for the last write in flight, moves rows and ownership, and releases.
    pub fn cut(&mut self, serve: &Serve, from: &Side, to: &Side, to_source: bool) {
        serve.apply(&self.hold());
        report(serve, self.scope.version, |r| r.in_flight_writes == 0 && r.holding);
        from.set(false, self.scope.epoch + 1);
        to.take_over(from);
        to.set(true, self.scope.epoch + 2);
        serve.apply(&self.next(|play| play.route(to_source)));
        serve.apply(&self.next(|play| (play.scope.hold, play.scope.epoch) = (false, play.scope.epoch + 2)));
    }
}

fn weighted(to_source: bool) -> Action {
    let group = |name: &str, weight| WeightedGroup { target_group_arn: name.into(), weight };
    let groups = vec![group("source", to_source.into()), group("destination", (!to_source).into())];
    Action::Forward(Forward { groups, stickiness_seconds: None })
}

/// The cut's first report of this version for which `holds` is true.
pub fn report(serve: &Serve, version: u64, holds: impl Fn(&CutReport) -> bool) -> CutReport {
    serve.wait(|up| match up {
        Up::Report { cuts, .. } => cuts.get("cut-1").filter(|r| r.version == version && holds(r)).cloned(),
        _ => None,
    })
}

pub fn post(path: &str, fields: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A proxy in front of both sides.
pub fn serving(name: &str, source: &Side, destination: &Side) -> (Proxy, Play, u16) {
    let port = free_port();
    let play = Play::new(name, port, &source.target.endpoint(), &destination.target.endpoint());
    (Proxy::serving(&play.snapshot()), play, port)
}
