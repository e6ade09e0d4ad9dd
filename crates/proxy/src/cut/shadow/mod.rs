//! Copies of reads for the other side of a cut, and what its answers differ in from those that clients got.
//!
//! A worker takes a copy of the answer while it passes by, and hands it over when the client has it. All the
//! rest is done by a thread of its own, with little priority: so no client waits for a copy, and what the
//! thread cannot keep up with is dropped and counted.
//!
//! Two answers to one question may differ although both sides are right: the times in them, or a write that the
//! other side is still to get. So what differs is asked again of both sides, a little later, and of the source
//! twice: only what differs although the source agrees with itself is a difference.

mod answered;
mod ask;
mod compare;

pub use answered::Capture;

use super::scope::Scope;
use crate::broker::Brokers;
use crate::http2::to_target;
use crate::pool::{Pool, SWEEP};
use crate::worker::Shared;
use answered::Answered;
use compare::{Difference, Ignore, differences};
use quarry_domain::link::{SHADOW_EXAMPLES, ShadowAnswer, ShadowExample, ShadowReport};
use quarry_domain::snapshot;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// A rule's shadow, compiled.
pub struct ShadowEntry {
    group_arn: String,
    share: u8,
    baseline: u8,
    ignore: Ignore,
}

/// A read of which a copy is to be sent.
pub struct ReadCopy {
    scope: Arc<Scope>,
    entry: Arc<ShadowEntry>,
    /// The target group that answers the client.
    source_arn: String,
    /// The source is to be asked a second time in any case.
    baseline: bool,
    /// The head as it went to the source.
    head: Vec<u8>,
    pub capture: Capture,
}

/// The way of copies to their thread, which begins with the first one.
#[derive(Default)]
pub struct Shadows(OnceLock<mpsc::Sender<Box<ReadCopy>>>);

/// What came of a scope's copies.
#[derive(Default)]
pub struct Results(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    report: ShadowReport,
    examples: VecDeque<ShadowExample>,
    /// Where the source's values were seen to differ from themselves.
    noise: HashSet<String>,
}

/// What the thread works with.
struct Asker {
    shared: Weak<Shared>,
    pool: Pool,
    http2: to_target::Connections,
    brokers: Brokers,
}

/// Copies that wait, and copies that are being asked for and compared at once.
const WAITING: usize = 64;
const AT_ONCE: usize = 4;
/// What differs is asked for again after each of these times: a row that the other side is still to get may take its
/// time on a busy machine. What differs after so many of them is told to be in doubt.
const AGAIN: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1), Duration::from_secs(2)];
const IN_DOUBT: usize = 2;
const MAX_NOISE: usize = 1000;
const EXCERPT: usize = 1024;
/// The thread's nice value.
const NICE: i32 = 10;

/// A comparison that differs so far; until it is dropped.
struct Doubt<'a>(&'a Results);

impl<'a> Doubt<'a> {
    fn of(results: &'a Results) -> Self {
        results.lock().report.doubtful += 1;
        Self(results)
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.0.lock().report.doubtful -= 1;
    }
}

impl ShadowEntry {
    pub fn compile(shadow: &snapshot::Shadow) -> Self {
        Self {
            group_arn: shadow.target_group_arn.clone(),
            share: shadow.share_percent,
            baseline: shadow.baseline_percent,
            ignore: Ignore::compile(&shadow.ignore),
        }
    }
}

impl ReadCopy {
    /// A copy of this read, if it is of the share; `random` decides. `head` is as it goes to the source.
    pub fn draw(
        scope: &Arc<Scope>,
        entry: &Arc<ShadowEntry>,
        source_arn: &str,
        head: &[u8],
        mut random: impl FnMut() -> u64,
    ) -> Option<Box<Self>> {
        let mut is_of = |percent: u8| random() % 100 < u64::from(percent);
        if !is_of(entry.share) || source_arn == entry.group_arn {
            return None;
        }
        Some(Box::new(Self {
            scope: scope.clone(),
            entry: entry.clone(),
            source_arn: source_arn.to_owned(),
            baseline: is_of(entry.baseline),
            head: head.to_vec(),
            capture: Capture::default(),
        }))
    }

    /// The client has its answer.
    pub fn send(self: Box<Self>, shadows: &Shadows, shared: &Arc<Shared>) {
        let results = self.scope.shadow.clone();
        let sender = shadows.0.get_or_init(|| start(Arc::downgrade(shared)));
        if sender.try_send(self).is_err() {
            results.lock().report.dropped += 1;
        }
    }
}

impl Results {
    pub fn report(&self) -> ShadowReport {
        let inner = self.lock();
        ShadowReport { examples: inner.examples.iter().cloned().collect(), ..inner.report.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn start(shared: Weak<Shared>) -> mpsc::Sender<Box<ReadCopy>> {
    let (sender, copies) = mpsc::channel(WAITING);
    let thread = std::thread::Builder::new().name("shadow".into()).spawn(move || {
        // Of this thread alone, as Linux has it. Without it copies only compete harder.
        let _ = rustix::process::setpriority_process(None, NICE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, work(shared, copies));
        std::io::Result::Ok(())
    });
    if let Err(error) = thread {
        tracing::error!(%error, "copies of reads cannot be sent");
    }
    sender
}

/// Ends with the proxy, when nobody can send copies any more.
async fn work(shared: Weak<Shared>, mut copies: mpsc::Receiver<Box<ReadCopy>>) {
    let asker =
        Asker { shared, pool: Pool::default(), http2: to_target::Connections::default(), brokers: Brokers::default() };
    let (asker, room) = (Rc::new(asker), Arc::new(Semaphore::new(AT_ONCE)));
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let copy = tokio::select! {
            copy = copies.recv() => copy,
            // An idle connection keeps the network namespace of a task that has ended.
            _ = sweep.tick() => {
                asker.pool.sweep();
                let Some(shared) = asker.shared.upgrade() else { return };
                asker.brokers.retain(&shared.table.load().config.snapshot);
                continue;
            }
        };
        let Some(copy) = copy else { return };
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let asker = asker.clone();
        tokio::task::spawn_local(async move {
            let results = copy.scope.shadow.clone();
            if judge(&asker, *copy, &results).await.is_none() {
                results.lock().report.failed += 1;
            }
            drop(permit);
        });
    }
}

/// Asks, compares and counts. `None`: an answer is missing.
async fn judge(asker: &Asker, copy: ReadCopy, results: &Results) -> Option<()> {
    let source = copy.capture.into_answered()?;
    let head = ask::marked(&copy.head, false);
    let (source_arn, other_arn, ignore) = (&copy.source_arn, &copy.entry.group_arn, &copy.entry.ignore);
    results.lock().report.copied += 1;
    let other = ask::ask(asker, other_arn, &head).await?;
    if copy.baseline {
        let again = ask::ask(asker, source_arn, &head).await?;
        let mut inner = results.lock();
        let noisy = differences(&source, &again, ignore).into_iter().filter(|d| d.is_value);
        for difference in noisy {
            if inner.noise.len() < MAX_NOISE {
                inner.noise.insert(difference.place);
            }
        }
    }
    let mut found = differences(&source, &other, ignore);
    if found.is_empty() {
        results.settle(|report| report.equal += 1);
        return Some(());
    }
    results.without_noise(&mut found);
    let (mut source, mut other) = (source, other);
    // Not encoded, so that it can be read.
    let head = ask::marked(&copy.head, true);
    let mut _doubt = None;
    for (tried, pause) in AGAIN.into_iter().enumerate() {
        if found.is_empty() {
            break;
        }
        if tried == IN_DOUBT {
            _doubt = Some(Doubt::of(results));
        }
        tokio::time::sleep(pause).await;
        let before = ask::ask(asker, source_arn, &head).await?;
        other = ask::ask(asker, other_arn, &head).await?;
        source = ask::ask(asker, source_arn, &head).await?;
        found = differences(&source, &other, ignore);
        results.without_noise(&mut found);
        let noise: HashSet<String> = differences(&before, &source, ignore).into_iter().map(|d| d.place).collect();
        found.retain(|d| !noise.contains(&d.place));
    }
    match found.first() {
        None => results.settle(|report| report.noisy += 1),
        Some(first) => results.differ(example(&head, &source, &other, first)),
    }
    Some(())
}

impl Results {
    fn without_noise(&self, found: &mut Vec<Difference>) {
        let inner = self.lock();
        found.retain(|d| !(d.is_value && inner.noise.contains(&d.place)));
    }

    fn settle(&self, count: impl FnOnce(&mut ShadowReport)) {
        let report = &mut self.lock().report;
        report.compared += 1;
        count(report);
    }

    fn differ(&self, example: ShadowExample) {
        self.settle(|report| report.different += 1);
        let examples = &mut self.lock().examples;
        if examples.len() == SHADOW_EXAMPLES {
            examples.pop_front();
        }
        examples.push_back(example);
    }
}

fn example(head: &[u8], source: &Answered, other: &Answered, first: &Difference) -> ShadowExample {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ').map(str::to_owned);
    let answer = |answered: &Answered| ShadowAnswer {
        status: answered.status,
        body: String::from_utf8_lossy(&answered.body).chars().take(EXCERPT).collect(),
    };
    ShadowExample {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        source: answer(source),
        destination: answer(other),
        difference: first.text.clone(),
    }
}
