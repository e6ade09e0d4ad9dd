//! Tells when what `observe` returns may have changed: a task's files (inotify), a shim's end (pidfd).

use crate::layout::Layout;
use crate::record::{self, Record};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

type Wake = Box<dyn Fn() + Send + Sync>;

/// Watches one data directory's tasks from a thread of its own, until it is dropped.
pub struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    layout: Layout,
    changes: OwnedFd,
    wakes: Mutex<Vec<Wake>>,
    /// Some task's files are not watched.
    blind: AtomicBool,
    news: Mutex<News>,
}

/// Of which tasks something may have changed.
#[derive(Default)]
struct News {
    /// By watch: which task's directory it is of.
    tasks: HashMap<i32, String>,
    changed: BTreeSet<String>,
    /// Which ones is not known: any.
    any: bool,
}

impl Watcher {
    pub fn start(layout: &Layout) -> io::Result<Self> {
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let directories = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_FROM | inotify::WatchFlags::DELETE;
        inotify::add_watch(&changes, layout.tasks(), directories)?;
        let shared = Arc::new(Shared {
            layout: layout.clone(),
            changes,
            wakes: Mutex::default(),
            blind: AtomicBool::new(false),
            news: Mutex::new(News { any: true, ..News::default() }),
        });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new().name("tasks".to_owned()).stack_size(128 << 10).spawn(move || run(&weak))?;
        Ok(Self { shared })
    }

    pub fn subscribe(&self, wake: Wake) {
        self.shared.wakes.lock().unwrap_or_else(PoisonError::into_inner).push(wake);
    }

    /// A task's directory is there: its files are watched from now on. Where the machine's watches
    /// are used up, changes are told every second instead.
    pub fn add(&self, id: &str) {
        let directory = self.shared.layout.task(id);
        // The names first: an event is looked up after it.
        let mut news = self.shared.news();
        match inotify::add_watch(&self.shared.changes, directory, inotify::WatchFlags::MOVED_TO) {
            Ok(watch) => {
                news.tasks.insert(watch, id.to_owned());
            }
            Err(e) => {
                news.any = true;
                if !self.shared.blind.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = %e, "tasks cannot be watched, looking every second; raise fs.inotify.max_user_watches");
                }
            }
        }
        news.changed.insert(id.to_owned());
    }

    /// The tasks of which something may have changed since the last call; `None` where it may be any.
    pub fn changed(&self) -> Option<BTreeSet<String>> {
        let mut news = self.shared.news();
        let changed = std::mem::take(&mut news.changed);
        (!std::mem::take(&mut news.any)).then_some(changed)
    }

    /// Something of this task was changed from here.
    pub fn tell(&self, id: &str) {
        self.shared.news().changed.insert(id.to_owned());
        self.shared.wake();
    }
}

impl Shared {
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        for wake in self.wakes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            wake();
        }
    }

    /// A descriptor per living shim. Its process id is its own as long as its lock is held.
    fn follow_shims(&self, shims: &mut HashMap<String, OwnedFd>) {
        for entry in std::fs::read_dir(self.layout.tasks()).into_iter().flatten().flatten() {
            let Ok(id) = entry.file_name().into_string() else { continue };
            if id.starts_with('.') || shims.contains_key(&id) {
                continue;
            }
            let directory = entry.path();
            let Ok(Some(state)) = record::read::<Record>(&directory.join("state.json")) else { continue };
            let Some(pid) = Pid::from_raw(state.shim as i32) else { continue };
            let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if record::is_locked(&directory.join("lock")).unwrap_or(false) {
                shims.insert(id, pidfd);
            }
        }
    }
}

fn run(weak: &Weak<Shared>) {
    let mut shims: HashMap<String, OwnedFd> = HashMap::new();
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    loop {
        let Some(shared) = weak.upgrade() else { return };
        shared.follow_shims(&mut shims);
        let ids: Vec<String> = shims.keys().cloned().collect();
        let ready = {
            let mut set = vec![PollFd::new(&shared.changes, PollFlags::IN)];
            set.extend(ids.iter().map(|id| PollFd::from_borrowed_fd(shims[id].as_fd(), PollFlags::IN)));
            // Wakes now and then to see whether anybody still wants to know.
            let _ = rustix::event::poll(&mut set, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
            set.iter().map(|p| !p.revents().is_empty()).collect::<Vec<_>>()
        };
        let mut changed = shared.blind.load(Ordering::Relaxed);
        let mut news = shared.news();
        news.any |= changed;
        if ready[0] {
            let mut reader = inotify::Reader::new(&shared.changes, &mut buffer);
            while let Ok(event) = reader.next() {
                changed = true;
                let name = event.file_name().and_then(|name| name.to_str().ok()).map(str::to_owned);
                match (news.tasks.get(&event.wd()).cloned(), name) {
                    (Some(id), _) if event.events().contains(inotify::ReadFlags::IGNORED) => {
                        news.tasks.remove(&event.wd());
                        news.changed.insert(id);
                    }
                    (Some(id), _) => drop(news.changed.insert(id)),
                    // Of the directory of all tasks.
                    (None, Some(id)) if !id.starts_with('.') => drop(news.changed.insert(id)),
                    (None, Some(_)) => {}
                    // Events were lost, or it is a watch of before.
                    (None, None) => news.any = true,
                }
            }
        }
        for (id, ready) in ids.iter().zip(&ready[1..]) {
            if *ready {
                shims.remove(id);
                news.changed.insert(id.clone());
                changed = true;
            }
        }
        drop(news);
        if changed {
            shared.wake();
        }
    }
}
