//! Tells when what `observe` returns may have changed: a task's files (inotify), a shim's end (pidfd).

use crate::layout::Layout;
use crate::record::{self, Record};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
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
        let shims = Shims::new(&shared.changes)?;
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new().name("tasks".to_owned()).stack_size(128 << 10).spawn(move || run(&weak, shims))?;
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
}

/// The ends of living shims.
struct Shims {
    ends: OwnedFd,
    /// By the number that its end is told with.
    known: HashMap<u64, (String, OwnedFd)>,
    numbers: HashMap<String, u64>,
    next: u64,
}

/// The number of the watches' news.
const CHANGES: u64 = 0;

impl Shims {
    fn new(changes: &OwnedFd) -> io::Result<Self> {
        let ends = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&ends, changes, epoll::EventData::new_u64(CHANGES), epoll::EventFlags::IN)?;
        Ok(Self { ends, known: HashMap::new(), numbers: HashMap::new(), next: CHANGES + 1 })
    }

    /// Follows those of all tasks that are not followed yet.
    fn follow_all(&mut self, layout: &Layout) {
        for entry in std::fs::read_dir(layout.tasks()).into_iter().flatten().flatten() {
            if let Ok(id) = entry.file_name().into_string() {
                self.follow(layout, &id);
            }
        }
    }

    /// Follows the shim of a task, if it lives. Its process id is its own as long as its lock is held.
    fn follow(&mut self, layout: &Layout, id: &str) {
        if id.starts_with('.') || self.numbers.contains_key(id) {
            return;
        }
        let directory = layout.task(id);
        let Ok(Some(state)) = record::read::<Record>(&directory.join("state.json")) else { return };
        let Some(pid) = Pid::from_raw(state.shim as i32) else { return };
        let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        let number = epoll::EventData::new_u64(self.next);
        if record::is_locked(&directory.join("lock")).unwrap_or(false)
            && epoll::add(&self.ends, &pidfd, number, epoll::EventFlags::IN).is_ok()
        {
            self.known.insert(self.next, (id.to_owned(), pidfd));
            self.numbers.insert(id.to_owned(), self.next);
            self.next += 1;
        }
    }

    /// The task whose shim has ended.
    fn ended(&mut self, number: u64) -> Option<String> {
        let (id, _) = self.known.remove(&number)?;
        self.numbers.remove(&id);
        Some(id)
    }
}

fn run(weak: &Weak<Shared>, mut shims: Shims) {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let (mut seen, mut all) = (BTreeSet::<String>::new(), true);
    loop {
        let Some(shared) = weak.upgrade() else { return };
        match std::mem::take(&mut all) {
            true => shims.follow_all(&shared.layout),
            false => seen.iter().for_each(|id| shims.follow(&shared.layout, id)),
        }
        seen.clear();
        let mut events = Vec::with_capacity(64);
        // Wakes now and then to see whether anybody still wants to know.
        let pause = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = epoll::wait(&shims.ends, spare_capacity(&mut events), Some(&pause));
        let events: Vec<u64> = events.iter().map(|event: &epoll::Event| ({ event.data }).u64()).collect();
        let mut changed = shared.blind.load(Ordering::Relaxed);
        all |= events.is_empty() || changed;
        let mut news = shared.news();
        news.any |= changed;
        if events.contains(&CHANGES) {
            let mut reader = inotify::Reader::new(&shared.changes, &mut buffer);
            while let Ok(event) = reader.next() {
                changed = true;
                let name = event.file_name().and_then(|name| name.to_str().ok()).map(str::to_owned);
                match (news.tasks.get(&event.wd()).cloned(), name) {
                    (Some(id), _) if event.events().contains(inotify::ReadFlags::IGNORED) => {
                        news.tasks.remove(&event.wd());
                        news.changed.insert(id);
                    }
                    (Some(id), _) => {
                        seen.insert(id.clone());
                        news.changed.insert(id);
                    }
                    // Of the directory of all tasks.
                    (None, Some(id)) if !id.starts_with('.') => drop(news.changed.insert(id)),
                    (None, Some(_)) => {}
                    // Events were lost, or it is a watch of before.
                    (None, None) => {
                        all = true;
                        news.any = true;
                    }
                }
            }
        }
        for id in events.iter().filter_map(|number| shims.ended(*number)) {
            news.changed.insert(id);
            changed = true;
        }
        drop(news);
        if changed {
            shared.wake();
        }
    }
}
