//! A request's line in the access log, in AWS's fields and order (AWS's documentation, "Access log entries").

use super::Sink;
use super::text::{push_address, push_escaped, push_seconds, push_time};
use crate::front::Front;
use crate::http::desync::Verdict;
use crate::http::push_number;
use crate::http::request::Head;
use crate::stream::TlsInfo;
use crate::target::Group;
use crate::traces::Traced;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known about a request on its way; becomes a line when it has ended.
pub struct Entry {
    /// Where its line goes, if it is written.
    pub sink: Option<Arc<Sink>>,
    /// Of a request that is recorded as a trace, what it came to.
    pub front: Option<Arc<Front>>,
    pub traced: Option<Traced>,
    pub began: Began,
    /// The request line, as logged and escaped.
    pub request: Vec<u8>,
    pub user_agent: Vec<u8>,
    pub trace_id: Vec<u8>,
    upgrade: bool,
    /// Priority of the rule that matched; 0: the default action. `None`: it did not come to that.
    pub rule: Option<u32>,
    pub action: &'static str,
    pub redirect_url: Vec<u8>,
    pub group: Option<Arc<Group>>,
    /// The target that the request was sent to, as the API knows it.
    pub target: Option<(String, u16)>,
    pub times: Option<(Duration, Duration, Duration)>,
    pub target_status: Option<u16>,
    /// Of the answer to the client.
    pub status: u16,
    pub received: u64,
    pub sent: u64,
    pub verdict: Verdict,
}

/// The request's beginning and the connection that it came on.
#[derive(Clone)]
pub struct Began {
    pub at: Instant,
    pub unix_millis: i64,
    pub peer: SocketAddr,
    pub tls: Option<Rc<TlsInfo>>,
    pub http2: bool,
    pub connection: (u64, u64),
}

/// AWS cuts longer ones off.
const MAX_USER_AGENT: usize = 8 * 1024;

impl Entry {
    /// Of a request that was understood; `port` is the listener's.
    pub fn new(sink: Option<Arc<Sink>>, began: Began, head: &Head<'_, '_>, dns_name: &str, port: u16) -> Self {
        let host = if head.authority.is_empty() { dns_name } else { head.host() };
        let mut request = Vec::with_capacity(head.path.len() + head.query.len() + host.len() + 48);
        push_escaped(&mut request, head.method.as_bytes());
        push_url(&mut request, &began, host, port);
        push_escaped(&mut request, head.path.as_bytes());
        if !head.query.is_empty() {
            request.push(b'?');
            push_escaped(&mut request, head.query.as_bytes());
        }
        let version = match (began.http2, head.http10) {
            (true, _) => " HTTP/2.0",
            (false, true) => " HTTP/1.0",
            (false, false) => " HTTP/1.1",
        };
        request.extend_from_slice(version.as_bytes());
        let agent = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("user-agent"));
        let agent = agent.map(|h| &h.value[..h.value.len().min(MAX_USER_AGENT)]);
        let mut entry = Self::bare(sink, began, request);
        if let Some(agent) = agent {
            push_escaped(&mut entry.user_agent, agent);
        }
        entry.upgrade = head.upgrade;
        entry.received = head.len as u64;
        entry
    }

    /// Of a request that was not understood, or did not come whole.
    pub fn malformed(sink: Arc<Sink>, began: Began, dns_name: &str, port: u16) -> Self {
        let mut request = vec![b'-'];
        push_url(&mut request, &began, dns_name, port);
        request.extend_from_slice(b"- -");
        Self::bare(Some(sink), began, request)
    }

    fn bare(sink: Option<Arc<Sink>>, began: Began, request: Vec<u8>) -> Self {
        Self {
            sink,
            front: None,
            traced: None,
            began,
            request,
            user_agent: Vec::new(),
            trace_id: Vec::new(),
            upgrade: false,
            rule: None,
            action: "-",
            redirect_url: Vec::new(),
            group: None,
            target: None,
            times: None,
            target_status: None,
            status: 0,
            received: 0,
            sent: 0,
            verdict: Verdict::default(),
        }
    }

    /// The target's answer has come, and begins to go out now.
    pub fn answered(&mut self, status: u16, sent_at: Instant, came_at: Instant) {
        let since = |later: Instant, earlier: Instant| later.saturating_duration_since(earlier);
        self.times = Some((since(sent_at, self.began.at), since(came_at, sent_at), came_at.elapsed()));
        (self.status, self.target_status) = (status, Some(status));
    }

    /// The line, at the time at which the answer had gone out.
    pub fn write(&self, out: &mut Vec<u8>, unix_millis: i64) {
        let began = &self.began;
        let switched = self.upgrade && self.status == 101;
        out.extend_from_slice(match (switched, &began.tls, began.http2) {
            (true, None, _) => b"ws ".as_slice(),
            (true, Some(_), _) => b"wss ",
            (false, _, true) => b"h2 ",
            (false, Some(_), false) => b"https ",
            (false, None, false) => b"http ",
        });
        push_time(out, unix_millis);
        out.push(b' ');
        out.extend_from_slice(self.sink.as_ref().map_or("-", |sink| &sink.elb).as_bytes());
        out.push(b' ');
        push_address(out, began.peer);
        out.push(b' ');
        self.push_target(out);
        let (request, target, response) = match self.times {
            Some((request, target, response)) => (Some(request), Some(target), Some(response)),
            None => (None, None, None),
        };
        for time in [request, target, response] {
            out.push(b' ');
            push_seconds(out, time);
        }
        out.push(b' ');
        push_status(out, Some(self.status));
        out.push(b' ');
        push_status(out, self.target_status);
        for bytes in [self.received, self.sent] {
            out.push(b' ');
            push_number(out, bytes);
        }
        push_quoted(out, &self.request);
        push_quoted(out, &self.user_agent);
        let (cipher, protocol) = match &began.tls {
            Some(tls) => (tls.cipher.as_str(), tls.version),
            None => ("-", "-"),
        };
        let group = self.group.as_ref().map_or("-", |group| group.arn.as_str());
        for part in [cipher, protocol, group] {
            out.push(b' ');
            out.extend_from_slice(part.as_bytes());
        }
        push_quoted(out, &self.trace_id);
        let (domain, certificate) = began.tls.as_ref().map_or(("", ""), |tls| tls.shown());
        push_quoted(out, domain.as_bytes());
        push_quoted(out, certificate.as_bytes());
        out.push(b' ');
        match self.rule {
            Some(priority) => push_number(out, u64::from(priority)),
            None => out.push(b'-'),
        }
        out.push(b' ');
        push_time(out, began.unix_millis);
        push_quoted(out, self.action.as_bytes());
        push_quoted(out, &self.redirect_url);
        // The error's reason: of actions and targets that there are not here.
        push_quoted(out, b"");
        out.extend_from_slice(b" \"");
        self.push_target(out);
        out.extend_from_slice(b"\" \"");
        push_status(out, self.target_status);
        out.push(b'"');
        push_quoted(out, self.verdict.class.name().as_bytes());
        push_quoted(out, self.verdict.reason.map_or("-", |reason| reason.name()).as_bytes());
        out.push(b' ');
        push_connection(out, began.connection);
        // The host and the path that a rule's transforms made, and how that went: there are none.
        out.extend_from_slice(b" \"-\" \"-\" \"-\"\n");
    }

    fn push_target(&self, out: &mut Vec<u8>) {
        match &self.target {
            None => out.push(b'-'),
            Some((id, port)) => {
                out.extend_from_slice(id.as_bytes());
                out.push(b':');
                push_number(out, u64::from(*port));
            }
        }
    }
}

/// Appends `conn_trace_id`, by which the lines of a connection are found in both logs.
pub fn push_connection(out: &mut Vec<u8>, id: (u64, u64)) {
    use std::io::Write;
    let _ = write!(out, "TID_{:016x}{:016x}", id.0, id.1);
}

fn push_url(out: &mut Vec<u8>, began: &Began, host: &str, port: u16) {
    out.extend_from_slice(if began.tls.is_some() { b" https://" } else { b" http://" });
    push_escaped(out, host.as_bytes());
    out.push(b':');
    push_number(out, u64::from(port));
}

fn push_status(out: &mut Vec<u8>, status: Option<u16>) {
    match status {
        None | Some(0) => out.push(b'-'),
        Some(status) => push_number(out, u64::from(status)),
    }
}

/// A blank and the text in quotes, `-` where there is none.
fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b" \"");
    out.extend_from_slice(if text.is_empty() { b"-" } else { text });
    out.push(b'"');
}
