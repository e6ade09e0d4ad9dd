//! What connections and requests say in the logs.

use super::{Conn, Origin};
use crate::front::Front;
use crate::http::request::Head;
use crate::http::trace::Sampling;
use crate::logs::access::{Began, Entry};
use crate::logs::connection::{self, Connection};
use crate::table::{ListenerEntry, Place};
use crate::target;
use crate::traces::Traced;
use crate::watch::Phase;
use crate::worker::Worker;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

/// A handshake failed, of which only the place is known.
pub(super) fn handshake_failed(worker: &Rc<Worker>, peer: SocketAddr, place: &Place, id: (u64, u64)) {
    let table = worker.shared.table.load();
    let Some(listener) = table.config.at(place).find(|listener| listener.tls.is_some()) else { return };
    target::add(&listener.front.balancer.counters(worker.id).client_tls_errors, 1);
    if let Some(log) = &listener.front.connection_log {
        let unix_millis = worker.shared.door.now_ms();
        let line = Connection { unix_millis, peer, port: listener.port, tls: connection::Tls::Failed, id };
        worker.log(log, |out| line.write(out));
    }
}

impl Origin {
    /// Puts the connection into its load balancer's connection log.
    pub(super) fn log(&self, worker: &Rc<Worker>, front: &Front) {
        let Some(log) = &front.connection_log else { return };
        let unix_millis = worker.shared.door.now_ms();
        let tls = self.tls.as_deref().map_or(connection::Tls::None, connection::Tls::Made);
        let line = Connection { unix_millis, peer: self.peer, port: front.port, tls, id: self.id };
        worker.log(log, |out| line.write(out));
    }
}

impl Conn {
    /// Nobody waits for the answer any more.
    pub fn client_left(&self) {
        self.count(460);
    }

    /// Notes something for the access log, where there is one.
    pub fn note(&self, f: impl FnOnce(&mut Entry)) {
        if let Some(entry) = &mut *self.entry.borrow_mut() {
            f(entry);
        }
    }

    /// What comes next belongs to a request that was not understood, unless one is in hand.
    pub(super) fn begin_malformed(&self, front: &Front) {
        if let Some(log) = &front.access_log {
            let mut entry = self.entry.borrow_mut();
            let malformed = || Entry::malformed(log.clone(), self.began(), &front.dns_name, front.port);
            entry.get_or_insert_with(|| Box::new(malformed()));
        }
    }

    pub(super) fn began(&self) -> Began {
        let now = Instant::now();
        // A head that came in parts began with the first.
        let at = if self.watch.phase() == Phase::Head { self.watch.last() } else { now };
        let unix_millis = self.worker.shared.door.now_ms() - at.elapsed().as_millis() as i64;
        let Origin { peer, tls, http2, id, .. } = self.origin.clone();
        Began { at, unix_millis, peer, tls, http2, connection: id }
    }

    pub(super) fn make_trace_id(&self, head: &Head<'_, '_>, entry: &mut Entry) {
        let seconds = (self.worker.shared.door.now_ms() / 1000) as u32;
        let random = (self.worker.random(), self.worker.random() as u32);
        let sampling = self.sampling(entry.traced.as_ref());
        head.push_trace_id(&mut entry.trace_id, seconds, random, sampling);
    }

    /// The request has ended: its line goes to the access log. `received`: bytes, where they are known.
    pub(super) fn end_entry(&self, received: Option<u64>) {
        let Some(mut entry) = self.entry.borrow_mut().take() else { return };
        entry.received = received.unwrap_or(entry.received);
        entry.verdict = self.verdict.get();
        let now = self.worker.shared.door.now_ms();
        if let Some(sink) = entry.sink.clone() {
            self.worker.log(&sink, |out| entry.write(out, now));
        }
        if let Some(traced) = entry.traced.take() {
            self.worker.shared.traces.end(&traced, &entry);
        }
    }

    /// What the target is told of recording the request.
    pub(super) fn sampling(&self, traced: Option<&Traced>) -> Sampling {
        match traced {
            Some(traced) => Sampling::Yes(traced.marks),
            None if self.worker.shared.traces.is_on() => Sampling::No,
            None => Sampling::Off,
        }
    }

    /// A request has begun that may be recorded as a trace, in the access log, or in both.
    pub(super) fn begin_entry(&self, listener: &ListenerEntry, head: &Head<'_, '_>, again: bool) {
        let (front, shared) = (&listener.front, &self.worker.shared);
        let begin = || {
            let seconds = (shared.door.now_ms() / 1000) as u32;
            shared.traces.begin(front, head, seconds, || self.worker.random())
        };
        let traced = if again { None } else { begin() };
        if front.access_log.is_none() && traced.is_none() {
            return;
        }
        let new = || Entry::new(front.access_log.clone(), self.began(), head, &listener.dns_name, listener.port);
        let mut entry = self.entry.borrow_mut();
        let entry = entry.get_or_insert_with(|| Box::new(new()));
        if traced.is_some() {
            (entry.front, entry.traced) = (Some(front.clone()), traced);
        }
    }
}
