//! The logs of Quarry's own processes, `log/*.log` of the data directory: each is kept within bounds.
//!
//! They are the standard error of processes that outlive each other, open to append. So a log that has become large is
//! copied and emptied, not renamed; `serve` and the proxy both look after all of them, as either may be the only one there.

use crate::lock;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A log is turned from this size on, in bytes.
const LARGEST: u64 = 8 << 20;
/// Copies of each: `proxy.1.log` is the newest.
const OLDER: usize = 3;
/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// Keeps the logs of a data directory within bounds for as long as this process lives.
pub fn keep_bounded(data_dir: &Path) -> io::Result<()> {
    let folder = data_dir.join("log");
    let keep = move || {
        let mut failing = false;
        loop {
            let bounded = bound(&folder, LARGEST);
            if let (Err(error), false) = (&bounded, failing) {
                tracing::warn!(%error, "a log could not be turned; it is tried again");
            }
            failing = bounded.is_err();
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new().name("logs".into()).stack_size(128 << 10).spawn(keep).map(drop)
}

/// Turns the logs of `largest` bytes and more. What another process does just now is left to it.
fn bound(folder: &Path, largest: u64) -> io::Result<()> {
    let Some(_lock) = lock::take(&folder.join("lock"))? else { return Ok(()) };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(log) = name.strip_suffix(".log").filter(|log| !log.contains('.')) else { continue };
        if entry.metadata()?.len() >= largest {
            turn(folder, log, largest)?;
        }
    }
    Ok(())
}

fn path(folder: &Path, log: &str, age: usize) -> PathBuf {
    match age {
        0 => folder.join(format!("{log}.log")),
        age => folder.join(format!("{log}.{age}.log")),
    }
}

fn turn(folder: &Path, log: &str, largest: u64) -> io::Result<()> {
    for age in (1..OLDER).rev() {
        match fs::rename(path(folder, log, age), path(folder, log, age + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path(folder, log, 0))?;
    let newest = path(folder, log, 1);
    let copied = copy_end(&mut file, &newest, largest);
    // Without room for a copy the log goes without one: that it is bounded comes first.
    file.set_len(0)?;
    if copied.is_err() {
        let _ = fs::remove_file(newest);
    }
    copied
}

/// The last bytes of a log, as many as a copy may have.
fn copy_end(file: &mut File, to: &Path, largest: u64) -> io::Result<()> {
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(largest)))?;
    let mut copy = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut file.take(2 * largest), &mut copy).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn logs_stay_within_bounds_while_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let open = |name: &str| OpenOptions::new().append(true).create(true).open(folder.join(name)).unwrap();
        let (mut proxy, mut shim) = (open("proxy.log"), open("shim.log"));
        shim.write_all(b"little").unwrap();
        for round in 0..10 {
            proxy.write_all(format!("{round}").repeat(1500).as_bytes()).unwrap();
            bound(folder, 1000).unwrap();
            assert_eq!(proxy.metadata().unwrap().len(), 0);
            // Whoever has it open goes on at its beginning.
            proxy.write_all(b"after").unwrap();
            assert_eq!(fs::read(folder.join("proxy.log")).unwrap(), b"after");
        }
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("proxy.1.log"), "9".repeat(1000));
        assert_eq!(read("proxy.3.log"), "7".repeat(1000));
        assert_eq!(read("shim.log"), "little");
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["lock", "proxy.1.log", "proxy.2.log", "proxy.3.log", "proxy.log", "shim.log"]);
    }

    #[test]
    fn one_looks_after_them_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("serve.log"), "x".repeat(2000)).unwrap();
        let held = lock::take(&dir.path().join("lock")).unwrap();
        bound(dir.path(), 1000).unwrap();
        assert_eq!(fs::metadata(dir.path().join("serve.log")).unwrap().len(), 2000);
        drop(held);
        bound(dir.path(), 1000).unwrap();
        assert_eq!(fs::metadata(dir.path().join("serve.log")).unwrap().len(), 0);
    }
}
