//! What a request comes to: a target group, an answer of our own, or the connection's end.

use super::Conn;
use crate::cut::{self, entry::CutEntry, kept::Kept, shadow::ReadCopy, write::Write};
use crate::exchange::Job;
use crate::front::UNEDITED;
use crate::http::answer::{self, Style};
use crate::http::body::Body;
use crate::http::desync::{self, Class, Verdict};
use crate::http::forward::Forwarding;
use crate::http::mend::{Mended, mend};
use crate::http::request::{self, Head, MAX_COUNT, Parsed, View};
use crate::http::response::Asked;
use crate::logs::text::push_escaped;
use crate::sticky::{self, Sticky};
use crate::table::{ActionEntry, ForwardEntry, Found, ListenerEntry, Place, Table};
use crate::target;
use quarry_domain::rule::{RedirectFrom, location};
use quarry_domain::snapshot::{DesyncMode, Redirect};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

/// What a request head came to.
pub enum Decision {
    Partial,
    Close,
    /// The answer is in the out buffer.
    Answer {
        consumed: usize,
        body: Body,
        keep_alive: bool,
    },
    /// The head for the target is in the out buffer.
    Forward {
        consumed: usize,
        job: Job,
    },
}

/// Where a request goes by the rules, and what follows from it.
struct Routed<'a> {
    table: &'a Arc<Table>,
    listener: &'a ListenerEntry,
    /// Of the rule that matched.
    cut: Option<&'a Arc<CutEntry>>,
    keep_alive: bool,
    /// After this request neither side's connection is used again.
    close_both: bool,
    /// It was decided about before, by an older table.
    again: bool,
}

/// For so long a client that has written reads from where it wrote.
const WROTE: Duration = Duration::from_secs(sticky::WROTE_SECONDS);
/// A redirect to a longer URL is not made.
const MAX_LOCATION: usize = 8 * 1024;

impl Conn {
    /// Decides about the request whose head is in front in `bytes`; `again`: once more, by a newer table.
    pub fn decide(&self, bytes: &[u8], out: &mut Vec<u8>, again: bool) -> Decision {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
        let head = match request::parse(bytes, &mut fields) {
            Parsed::Partial => return Decision::Partial,
            Parsed::Refused(status) => return self.decide_odd(bytes, status, out, again),
            Parsed::Whole(head) => head,
        };
        self.route(head, out, again)
    }

    /// A head that the parser refuses with this status: it may be one that can be repaired.
    fn decide_odd(&self, bytes: &[u8], status: u16, out: &mut Vec<u8>, again: bool) -> Decision {
        let verdict = desync::classify(bytes);
        match mend(bytes) {
            Mended::Whole(mended, len) => {
                let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
                if let Parsed::Whole(mut head) = request::parse(&mended, &mut fields) {
                    (head.len, head.desync) = (len, verdict);
                    return self.route(head, out, again);
                }
            }
            Mended::Partial => return Decision::Partial,
            Mended::No => {}
        }
        self.verdict.set(verdict);
        self.count_desync();
        self.refuse(out, status)
    }

    fn route(&self, head: Head<'_, '_>, out: &mut Vec<u8>, again: bool) -> Decision {
        self.verdict.set(head.desync);
        let table = self.worker.shared.table.load_full();
        let listener = match table.config.find(&self.origin.place, head.host()) {
            Found::Listener(listener) => listener,
            Found::Gone => return Decision::Close,
            Found::NoSuchHost => {
                let text = "Several load balancers share this address: send the Host header of one of them.\n";
                let head_only = head.method == "HEAD";
                self.with_style(false, head_only, |style| answer::refusal(out, text, style));
                return Decision::Answer { consumed: head.len, body: Body::None, keep_alive: false };
            }
        };
        if !self.is_admitted(&table, listener) {
            return Decision::Close;
        }
        self.adopt(listener);
        if !again {
            self.count_desync();
        }
        self.begin_entry(listener, &head, again);
        if let Err(status) = head.check(&listener.attributes) {
            return self.refuse(out, status);
        }
        if !again {
            target::add(&listener.front.balancer.counters(self.worker.id).requests, 1);
        }
        let close_both =
            head.desync.class >= Class::Ambiguous && listener.attributes.desync_mode != DesyncMode::Monitor;
        let keep_alive = head.keep_alive
            && !close_both
            && !self.worker.is_leaving()
            && self.opened.elapsed().as_secs() < u64::from(listener.attributes.client_keep_alive);
        let view = View(head.headers);
        let request = head.view(&view, self.origin.peer.ip().to_canonical());
        let rule = listener.rules.first(&request);
        if !again {
            let evaluated = rule.map_or(listener.actions.len(), |rule| rule + 1) as u64;
            target::add(&listener.front.balancer.counters(self.worker.id).rule_evaluations, evaluated);
        }
        let rule = rule.map(|rule| &listener.actions[rule]);
        if !again {
            let hits = rule.map_or(&listener.default_hits, |rule| &rule.hits);
            target::add(&hits[self.worker.id].0, 1);
        }
        self.note(|entry| entry.rule = Some(rule.map_or(0, |rule| rule.priority)));
        let cut = rule.and_then(|rule| rule.cut.as_ref());
        let routed = Routed { table: &table, listener, cut, keep_alive, close_both, again };
        match rule.map_or(&listener.default_action, |rule| &rule.action) {
            ActionEntry::Forward(forward) => self.forward(&head, &routed, forward, out),
            ActionEntry::Fixed { status, rest } => self.fixed(&head, &routed, *status, rest, out),
            ActionEntry::Redirect(redirect) => self.redirect(&head, &routed, redirect, out),
        }
    }

    /// Chooses a group and makes the head for the target.
    fn forward(&self, head: &Head<'_, '_>, routed: &Routed<'_>, forward: &ForwardEntry, out: &mut Vec<u8>) -> Decision {
        let Routed { table, listener, cut, keep_alive, close_both, again } = *routed;
        let is_read = cut::is_read(head.method);
        let cookies = || head.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("cookie")).map(|h| h.value);
        let millis = self.worker.shared.door.now_ms();
        let canary = match cut {
            Some(cut) => cut.begin(is_read, again, || self.has_written(cookies()), || self.worker.random()),
            None => None,
        };
        let stay = if canary.is_some() { None } else { forward.stay(cookies(), millis / 1000) };
        let own = || stay.and_then(|(_, group)| group).or_else(|| forward.choose());
        let Some(group) = canary.or_else(own) else {
            return self.answered(out, head, 503, keep_alive);
        };
        let config = &table.config;
        let entry = &config.groups[group];
        if entry.speaks.http2 && !self.origin.http2 {
            return self.answered(out, head, 464, keep_alive);
        }
        let random = (self.worker.random(), self.worker.random() as u32);
        let sampling = self.sampling(self.entry.borrow().as_ref().and_then(|entry| entry.traced.as_ref()));
        self.note(|entry| {
            (entry.action, entry.group) = ("forward", Some(config.groups[group].shared.clone()));
            entry.trace_id.clear();
            head.push_trace_id(&mut entry.trace_id, (millis / 1000) as u32, random, sampling);
        });
        let dropped = head.forward(
            out,
            &Forwarding {
                peer: self.origin.peer,
                port: listener.port,
                scheme: self.origin.scheme(),
                tls: self.origin.tls.as_deref(),
                attributes: &listener.attributes,
                listener: &listener.own,
                dns_name: &listener.dns_name,
                unix_seconds: (millis / 1000) as u32,
                random,
                close: close_both,
                cut_epoch: cut.filter(|_| !is_read).map(|cut| cut.epoch),
                sampling,
            },
        );
        if dropped && !again {
            target::add(&listener.front.balancer.counters(self.worker.id).dropped_invalid_headers, 1);
        }
        let mut sticky = match canary {
            Some(_) => Sticky::default(),
            None => Sticky::read(entry.cookie.as_ref(), cookies(), millis / 1000),
        };
        if !is_read && cut.is_some_and(|cut| cut.has_canary()) {
            sticky = sticky.with_written();
        }
        if let Some((cookie, _)) = stay {
            sticky = sticky.with_group(cookie, &entry.shared.arn);
        }
        let copy = match cut.and_then(|cut| Some((cut, cut.shadow.as_ref()?))) {
            Some((cut, shadow)) if canary.is_none() && head.may_be_copied() => {
                ReadCopy::draw(&cut.scope, shadow, &entry.shared.arn, out, || self.worker.random())
            }
            Some(_) | None => None,
        };
        let job = Job {
            copy,
            sticky,
            asked: Asked {
                head: head.method == "HEAD",
                http10: head.http10,
                upgrade: head.upgrade,
                keep_alive,
                last: !head.keep_alive,
            },
            expects_continue: head.expects_continue,
            repeatable: matches!(head.method, "GET" | "HEAD" | "OPTIONS") && head.body.is_done(),
            close_target: close_both,
            body: head.body.clone(),
            front: listener.front.clone(),
            group,
            table: table.clone(),
            kept: cut.filter(|cut| !is_read && cut.contract).map(|cut| Kept::new(cut.scope.clone())),
            cut: cut.filter(|_| !is_read).map(|cut| Write {
                entry: cut.clone(),
                has_key: head.headers.iter().any(|h| h.name.eq_ignore_ascii_case("idempotency-key")),
            }),
            _era: (!is_read).then(|| self.worker.eras.now()),
        };
        Decision::Forward { consumed: head.len, job }
    }

    fn fixed(&self, head: &Head<'_, '_>, routed: &Routed<'_>, status: u16, rest: &[u8], out: &mut Vec<u8>) -> Decision {
        let Routed { listener, keep_alive, .. } = *routed;
        let head_only = head.method == "HEAD";
        self.with_style(keep_alive, head_only, |style| answer::fixed(out, status, rest, style));
        self.note(|entry| {
            entry.action = "fixed-response";
            self.make_trace_id(head, entry);
        });
        target::add(&listener.front.balancer.counters(self.worker.id).fixed_responses, 1);
        self.count(status);
        Decision::Answer { consumed: head.len, body: head.body.clone(), keep_alive }
    }

    fn redirect(&self, head: &Head<'_, '_>, routed: &Routed<'_>, redirect: &Redirect, out: &mut Vec<u8>) -> Decision {
        let Routed { listener, keep_alive, .. } = *routed;
        let host = if head.authority.is_empty() { &listener.dns_name } else { head.host() };
        let from = RedirectFrom {
            protocol: self.origin.scheme(),
            host,
            // Where the listener's own port could not be bound, the client's next request
            // must find the one that was.
            port: self.origin.local_port,
            path: head.path.strip_prefix('/').unwrap_or(head.path),
            query: head.query,
        };
        let location = location(redirect, &from);
        let (status, head_only) = (redirect.status, head.method == "HEAD");
        self.note(|entry| {
            entry.action = "redirect";
            self.make_trace_id(head, entry);
        });
        let counters = listener.front.balancer.counters(self.worker.id);
        if location.len() > MAX_LOCATION {
            target::add(&counters.redirect_url_limit_exceeded, 1);
            return self.answered(out, head, 500, keep_alive);
        }
        target::add(&counters.redirects, 1);
        self.note(|entry| push_escaped(&mut entry.redirect_url, location.as_bytes()));
        self.with_style(keep_alive, head_only, |style| answer::redirect(out, status, &location, style));
        self.count(redirect.status);
        Decision::Answer { consumed: head.len, body: head.body.clone(), keep_alive }
    }

    /// The client has written in a cut's scope just now, here or on another connection.
    fn has_written<'a>(&self, cookies: impl Iterator<Item = &'a [u8]>) -> bool {
        let here = self.origin.wrote.as_deref().unwrap_or(&self.wrote).get();
        here.is_some_and(|at| at.elapsed() < WROTE) || sticky::has_written(cookies)
    }

    /// Where several load balancers share an address, the request tells which one is meant: security groups are
    /// asked when a connection first means it.
    fn is_admitted(&self, table: &Table, listener: &ListenerEntry) -> bool {
        let is_known = || {
            let known = self.front.borrow();
            known.as_ref().is_some_and(|front| Arc::ptr_eq(&front.balancer, &listener.front.balancer))
        };
        matches!(*self.origin.place, Place::Own(_))
            || is_known()
            || table.config.admits_to(listener, self.origin.peer.ip())
    }

    /// Takes a listener's settings over, and counts this connection for its load balancer once.
    pub(super) fn adopt(&self, listener: &ListenerEntry) {
        self.watch.set_limit(Duration::from_secs(u64::from(listener.attributes.idle_timeout.max(1))));
        let mut known = self.front.borrow_mut();
        if known.as_ref().is_some_and(|front| Arc::ptr_eq(front, &listener.front)) {
            return;
        }
        let before = known.replace(listener.front.clone());
        // The same load balancer as another table has it.
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(&before.balancer, &listener.front.balancer)) {
            return;
        }
        if !self.origin.http2 {
            self.origin.log(&self.worker, &listener.front);
        }
        let counters = listener.front.balancer.counters(self.worker.id);
        target::add(&counters.connections, 1);
        target::add(&counters.active, 1);
        if let Some(before) = before {
            target::sub(&before.balancer.counters(self.worker.id).active, 1);
        }
    }

    fn count_desync(&self) {
        let Verdict { class, reason: Some(reason) } = self.verdict.get() else { return };
        tracing::debug!(class = class.name(), reason = reason.name(), peer = %self.origin.peer, "not by the standard");
        if let Some(front) = &*self.front.borrow() {
            target::add(&front.balancer.counters(self.worker.id).desync_non_compliant, 1);
        }
    }

    /// An error after which the connection cannot go on.
    pub(super) fn refuse(&self, out: &mut Vec<u8>, status: u16) -> Decision {
        self.error(out, status, false, false);
        Decision::Answer { consumed: 0, body: Body::None, keep_alive: false }
    }

    fn answered(&self, out: &mut Vec<u8>, head: &Head<'_, '_>, status: u16, keep_alive: bool) -> Decision {
        self.error(out, status, keep_alive, head.method == "HEAD");
        Decision::Answer { consumed: head.len, body: head.body.clone(), keep_alive }
    }

    pub(super) fn error(&self, out: &mut Vec<u8>, status: u16, keep_alive: bool, head_only: bool) {
        self.with_style(keep_alive, head_only, |style| answer::error(out, status, style));
        self.count(status);
    }

    pub(super) fn count(&self, status: u16) {
        if let Some(front) = &*self.front.borrow() {
            front.balancer.counters(self.worker.id).answered(status);
            if front.access_log.is_some() {
                self.begin_malformed(front);
            }
        }
        self.note(|entry| entry.status = status);
    }

    /// Calls `f` with what answers of our own have in common.
    fn with_style(&self, keep_alive: bool, head_only: bool, f: impl FnOnce(&Style<'_>)) {
        let front = self.front.borrow();
        let edits = front.as_ref().map_or(&UNEDITED, |front| &front.edits);
        self.worker.with_date(|date| f(&Style { date, keep_alive, head_only, edits }));
    }
}
