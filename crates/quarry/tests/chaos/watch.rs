//! Who watches meanwhile: a writer of posts, and a reader of snapshot versions.

use super::*;

/// Writes posts under keys of their own, each repeated until it is acknowledged.
pub struct Writer {
    pub stop: Arc<AtomicBool>,
    pub thread: JoinHandle<Vec<String>>,
}

impl Writer {
    pub fn start(address: SocketAddr, host: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let n = acknowledged.len();
                let text = format!("written through chaos, number {n}.");
                let body = json!({"thread": 1, "user": 1, "text": text}).to_string();
                wait_for("a write is acknowledged", || {
                    match request(address, &host, "POST", "/api/posts", Some(&format!("chaos-{n}")), &body)? {
                        (201, _) => Some(()),
                        (502..=504, _) => None,
                        (status, body) => panic!("{status}: {body}"),
                    }
                });
                acknowledged.push(text);
                std::thread::sleep(Duration::from_millis(25));
            }
            acknowledged
        });
        Self { stop, thread }
    }

    pub fn end_and_check(self, stage: &Stage) {
        self.stop.store(true, Ordering::Relaxed);
        let acknowledged = self.thread.join().unwrap();
        let posts: Value = stage.get("/api/posts");
        let mut copies: BTreeMap<&str, u32> = BTreeMap::new();
        for post in posts.as_array().unwrap() {
            *copies.entry(post["text"].as_str().unwrap()).or_default() += 1;
        }
        for text in &acknowledged {
            assert_eq!(copies.get(text.as_str()), Some(&1), "{text:?}");
        }
        println!("writes: {} acknowledged, each there once", acknowledged.len());
    }
}

/// Watches that the version of the snapshot in force never goes back.
pub struct Versions {
    pub stop: Arc<AtomicBool>,
    pub thread: JoinHandle<u64>,
}

impl Versions {
    pub fn watch(path: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut last = 0;
            while !stopped.load(Ordering::Relaxed) {
                let snapshot: Value = match std::fs::read(&path) {
                    Ok(bytes) => serde_json::from_slice(&bytes).expect("whole at any time"),
                    // The test has failed and its directory is gone.
                    Err(_) => break,
                };
                let version = snapshot["version"].as_u64().unwrap();
                assert!(version >= last, "the snapshot went back from {last} to {version}");
                last = version;
                std::thread::sleep(Duration::from_millis(5));
            }
            last
        });
        Self { stop, thread }
    }

    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
