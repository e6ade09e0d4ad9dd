//! Work beside the reconciler: launching and removing tasks, several at a time.

use super::launch::{self, Launched};
use crate::api::Operations;
use crate::logs;
use crate::platform::Platform;
use crate::wake::Wake;
use quarry_domain::failpoint;
use quarry_domain::task::TaskId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Tasks that are launched or removed at the same time.
const THREADS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Launch,
    Remove,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Launched(Launched),
    /// The text of the stopped reason.
    Failed(String),
    Removed,
}

/// Hands jobs to threads and remembers how they ended. Dropped, it waits for those under way and
/// forgets those that wait, so that nothing is launched any more.
pub struct Jobs {
    shared: Arc<Shared>,
    /// Absent: jobs are done at once, by the caller.
    queue: Option<Sender<(Kind, TaskId)>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    platform: Arc<Platform>,
    operations: Arc<Operations>,
    /// `None` while a job is under way.
    states: Mutex<HashMap<(Kind, TaskId), Option<Outcome>>>,
    kick: Wake,
    /// No further job is to be begun.
    ending: AtomicBool,
}

impl Jobs {
    /// Jobs are done by threads, which end with this value; `kick` is signalled after each.
    pub fn threads(platform: Arc<Platform>, operations: Arc<Operations>, kick: Wake) -> Self {
        let shared = Arc::new(Shared::new(platform, operations, kick));
        let mut threads = Vec::new();
        let (queue, jobs) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for n in 0..THREADS {
            let (shared, jobs) = (shared.clone(), jobs.clone());
            let work = move || work(&shared, &jobs);
            match std::thread::Builder::new().name(format!("ecs-task-{n}")).spawn(work) {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::error!(%error, "a thread for starting tasks could not be made"),
            }
        }
        Self { shared, queue: Some(queue), threads }
    }

    /// Jobs are done at once: for tests.
    #[cfg(test)]
    pub fn inline(platform: Arc<Platform>, operations: Arc<Operations>) -> Self {
        Self { shared: Arc::new(Shared::new(platform, operations, Wake::default())), queue: None, threads: Vec::new() }
    }

    /// Whether jobs are done by the caller.
    pub fn is_inline(&self) -> bool {
        self.queue.is_none()
    }

    /// Begins a job unless it is under way.
    pub fn begin(&self, kind: Kind, id: &str) {
        let key = (kind, id.to_owned());
        if self.states().insert(key.clone(), None) == Some(None) {
            return;
        }
        match &self.queue {
            // The threads end only with this value.
            Some(queue) => drop(queue.send(key)),
            None => self.shared.perform(key),
        }
    }

    pub fn state(&self, kind: Kind, id: &str) -> super::step::Job {
        use super::step::Job;
        match self.states().get(&(kind, id.to_owned())) {
            None => Job::None,
            Some(None) => Job::UnderWay,
            Some(Some(Outcome::Failed(_))) => Job::Failed,
            Some(Some(Outcome::Launched(_) | Outcome::Removed)) => Job::Done,
        }
    }

    pub fn outcome(&self, kind: Kind, id: &str) -> Option<Outcome> {
        self.states().get(&(kind, id.to_owned())).cloned().flatten()
    }

    /// Forgets what is known of a task.
    pub fn forget(&self, id: &str) {
        let mut states = self.states();
        for kind in [Kind::Launch, Kind::Remove] {
            let key = (kind, id.to_owned());
            if states.get(&key).is_some_and(Option::is_some) {
                states.remove(&key);
            }
        }
    }

    /// Whether a job of the task is under way.
    pub fn is_busy(&self, id: &str) -> bool {
        let states = self.states();
        [Kind::Launch, Kind::Remove].iter().any(|kind| states.get(&(*kind, id.to_owned())) == Some(&None))
    }

    fn states(&self) -> MutexGuard<'_, HashMap<(Kind, TaskId), Option<Outcome>>> {
        self.shared.states()
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        // The threads see the end of the queue.
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread for starting tasks had panicked");
            }
        }
    }
}

impl Shared {
    fn new(platform: Arc<Platform>, operations: Arc<Operations>, kick: Wake) -> Self {
        Self { platform, operations, states: Mutex::default(), kick, ending: AtomicBool::new(false) }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<(Kind, TaskId), Option<Outcome>>> {
        self.states.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn perform(&self, (kind, id): (Kind, TaskId)) {
        let outcome = match kind {
            Kind::Launch => {
                failpoint::at("task.launch");
                let launched = launch::launch(&self.platform, &self.operations, &id);
                failpoint::at("task.launched");
                launched.map_or_else(Outcome::Failed, Outcome::Launched)
            }
            Kind::Remove => match self.remove(&id) {
                Ok(()) => Outcome::Removed,
                Err(reason) => {
                    tracing::warn!(task = %id, %reason, "a stopped task could not be removed; it is tried again");
                    Outcome::Failed(reason)
                }
            },
        };
        self.states().insert((kind, id), Some(outcome));
        self.kick.signal();
    }

    /// What it wrote last goes to its log streams before its files go.
    fn remove(&self, id: &str) -> Result<(), String> {
        failpoint::at("task.remove");
        logs::follow::finish(&self.platform, &self.operations, id).map_err(|error| error.to_string())?;
        self.platform.runtime.remove(id).map_err(|error| error.to_string())?;
        failpoint::at("task.removed");
        launch::remove_volumes(&self.platform, id).map_err(|error| error.to_string())
    }
}

fn work(shared: &Shared, jobs: &Mutex<Receiver<(Kind, TaskId)>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(|e| e.into_inner()).recv();
        match next {
            Ok(job) if !shared.ending.load(Ordering::Relaxed) => shared.perform(job),
            Ok(_) | Err(_) => return,
        }
    }
}

impl PartialEq for Outcome {
    /// Only whether there is an outcome matters where two are compared.
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}
