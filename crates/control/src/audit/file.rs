//! The file: appended to by one thread, turned at a size, and bounded in number.

use super::{Backwards, Position};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// Records that wait for the disk at most. With more, calls wait: none is left out.
const WAITING: usize = 10_000;
/// A file is turned from this size on, in bytes.
const LARGEST: u64 = 16 << 20;
/// Files beside the one that is written.
const OLDER: usize = 7;
/// Largest record, as CloudTrail's, in bytes.
const LARGEST_RECORD: usize = 256 << 10;
/// Written at once, in bytes, and what a record is beyond it.
const BATCH: usize = 64 << 10;

/// The log of a data directory. Its thread starts with the first record and ends, with all written, with this value.
pub struct Trail {
    folder: PathBuf,
    writer: OnceLock<Writer>,
}

struct Writer {
    records: Option<SyncSender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Record(Box<Value>),
    /// To be answered when all before it is written.
    Flush(SyncSender<()>),
}

impl Trail {
    pub fn new(data_dir: &Path) -> Self {
        Self { folder: data_dir.join("audit"), writer: OnceLock::new() }
    }

    /// Hands a record over.
    pub fn add(&self, record: Value) {
        self.send(Message::Record(Box::new(record)));
    }

    /// Waits until what was added is written.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        self.send(Message::Flush(done));
        // An error is a thread that is gone, which said so.
        let _ = written.recv();
    }

    /// The files, the newest first.
    pub fn files(&self) -> Vec<PathBuf> {
        (0..=OLDER).map(|age| self.path(age)).filter(|path| path.exists()).collect()
    }

    /// All records, those that were just added too, the newest first; see [`Backwards::new`] for `from`.
    pub fn backwards(&self, from: Option<Position>) -> io::Result<Backwards> {
        self.flush();
        Backwards::new((0..=OLDER).map(|age| self.path(age)).collect(), from)
    }

    fn send(&self, message: Message) {
        let writer = self.writer.get_or_init(|| self.start());
        let sent = writer.records.as_ref().map(|records| records.send(message));
        if !matches!(sent, Some(Ok(()))) {
            tracing::error!("an API call is not in the audit log: its thread is gone");
        }
    }

    fn start(&self) -> Writer {
        let (sender, records) = sync_channel(WAITING);
        let folder = self.folder.clone();
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || run(&folder, &records));
        match thread {
            Ok(thread) => Writer { records: Some(sender), thread: Mutex::new(Some(thread)) },
            Err(error) => {
                tracing::error!(%error, "the audit log's thread could not be started");
                Writer { records: None, thread: Mutex::new(None) }
            }
        }
    }

    fn path(&self, age: usize) -> PathBuf {
        path(&self.folder, age)
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.records = None;
            let thread = writer.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the audit log's thread had panicked");
            }
        }
    }
}

/// `events.jsonl`, and before it `events.1.jsonl` to `events.7.jsonl`.
fn path(folder: &Path, age: usize) -> PathBuf {
    match age {
        0 => folder.join("events.jsonl"),
        age => folder.join(format!("events.{age}.jsonl")),
    }
}

fn run(folder: &Path, records: &Receiver<Message>) {
    let (mut file, mut failing) = (None, false);
    while let Ok(first) = records.recv() {
        let (mut lines, mut flushed) = (Vec::new(), Vec::new());
        let mut take = |message, lines: &mut Vec<u8>| match message {
            Message::Record(record) => line(*record, lines),
            Message::Flush(done) => flushed.push(done),
        };
        take(first, &mut lines);
        while lines.len() < BATCH
            && let Ok(next) = records.try_recv()
        {
            take(next, &mut lines);
        }
        let written = append(folder, &mut file, &lines);
        match written {
            Ok(()) if failing => {
                failing = false;
                tracing::warn!("the audit log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                // Opened again with the next records: the disk may have room then.
                file = None;
                if !failing {
                    tracing::error!(%error, "the audit log cannot be written: API calls are missing in it");
                }
                failing = true;
            }
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}

fn line(mut record: Value, lines: &mut Vec<u8>) {
    let mut text = record.to_string();
    if text.len() > LARGEST_RECORD {
        for name in ["requestParameters", "responseElements"] {
            let size = record[name].to_string().len();
            record[name] = json!({"omitted": true, "originalSize": size, "reason": format!("{name} too large")});
        }
        text = record.to_string();
    }
    lines.extend(text.as_bytes());
    lines.push(b'\n');
}

fn append(folder: &Path, open: &mut Option<(File, u64)>, lines: &[u8]) -> io::Result<()> {
    if open.as_ref().is_some_and(|(_, size)| *size >= LARGEST) {
        *open = None;
        for age in (0..OLDER).rev() {
            match std::fs::rename(path(folder, age), path(folder, age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    let (file, size) = match open {
        Some(open) => open,
        None => {
            std::fs::create_dir_all(folder)?;
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path(folder, 0))?;
            let size = file.metadata()?.len();
            open.insert((file, size))
        }
    };
    file.write_all(lines)?;
    *size += lines.len() as u64;
    Ok(())
}
