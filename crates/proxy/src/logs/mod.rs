//! Log files in the formats of Application Load Balancers: a line per request, and per connection.
//!
//! Workers put lines into buffers of their own; one thread ([`writer`]) writes them to files. Between them is a
//! bounded queue: when the disk does not keep up, lines are dropped and counted, and no request waits.

pub mod access;
pub mod connection;
pub mod text;
pub mod writer;

use crate::target::Balancer;
use quarry_domain::snapshot::{LoadBalancer, LogDestination};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Where lines of one load balancer and kind go.
pub struct Sink {
    /// The load balancer's id as lines have it: `app/<name>/<id>`.
    pub elb: String,
    /// Below the folder that stands for S3, up to the date.
    folder: String,
    /// The file's name up to the time.
    stem: String,
    node: Ipv4Addr,
    balancer: Arc<Balancer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Access,
    Connection,
}

/// The lines that a thread has not handed over yet.
pub struct Logger {
    writer: SyncSender<Batch>,
    open: RefCell<Vec<Batch>>,
}

/// Lines for one file.
pub struct Batch {
    pub sink: Arc<Sink>,
    pub text: Vec<u8>,
    pub lines: u64,
}

/// Lines are handed over after this time at the latest.
pub const FLUSH: Duration = Duration::from_millis(250);
/// Bytes of lines that are handed over at once.
const BATCH: usize = 32 * 1024;

impl Sink {
    pub fn new(
        kind: Kind,
        to: Option<&LogDestination>,
        lb: &LoadBalancer,
        balancer: &Arc<Balancer>,
    ) -> Option<Arc<Self>> {
        let to = to?;
        // arn:aws:elasticloadbalancing:<region>:<account>:loadbalancer/app/<name>/<id>
        let parts: Vec<&str> = lb.arn.splitn(6, ':').collect();
        let [_, _, _, region, account, resource] = parts[..] else { return None };
        let elb = resource.strip_prefix("loadbalancer/").unwrap_or(resource).to_owned();
        let prefix = if to.prefix.is_empty() { String::new() } else { format!("{}/", to.prefix) };
        let begins = match kind {
            Kind::Access => "",
            Kind::Connection => "conn_log.",
        };
        Some(Arc::new(Self {
            folder: format!("{}/{prefix}AWSLogs/{account}/elasticloadbalancing/{region}", to.bucket),
            stem: format!("{begins}{account}_elasticloadbalancing_{region}_{}", elb.replace('/', ".")),
            elb,
            node: lb.address,
            balancer: balancer.clone(),
        }))
    }

    /// Lines were lost.
    pub fn dropped(&self, lines: u64) {
        self.balancer.log_lines_dropped(lines);
    }
}

impl Logger {
    pub fn new(writer: SyncSender<Batch>) -> Self {
        Self { writer, open: RefCell::default() }
    }

    /// Adds a line, which `write` writes with its line break. `true`: it is the first that waits, so that
    /// [`flush`](Self::flush) is to be called within [`FLUSH`].
    pub fn line(&self, sink: &Arc<Sink>, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut open = self.open.borrow_mut();
        let first = open.is_empty();
        let at = open.iter().position(|batch| Arc::ptr_eq(&batch.sink, sink)).unwrap_or_else(|| {
            open.push(Batch { sink: sink.clone(), text: Vec::with_capacity(BATCH + 2048), lines: 0 });
            open.len() - 1
        });
        let batch = &mut open[at];
        write(&mut batch.text);
        batch.lines += 1;
        if batch.text.len() >= BATCH {
            self.hand_over(open.swap_remove(at));
        }
        first && !open.is_empty()
    }

    /// Hands over all that waits.
    pub fn flush(&self) {
        let batches = std::mem::take(&mut *self.open.borrow_mut());
        batches.into_iter().for_each(|batch| self.hand_over(batch));
    }

    fn hand_over(&self, batch: Batch) {
        if let Err(error) = self.writer.try_send(batch) {
            use std::sync::mpsc::TrySendError::{Disconnected, Full};
            let (Full(batch) | Disconnected(batch)) = error;
            batch.sink.dropped(batch.lines);
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.flush();
    }
}
