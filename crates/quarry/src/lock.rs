//! Lock files that name their holder. Whether another process holds one is asked without taking it even
//! for a moment: a process that is just starting must not be kept from its own lock by whoever watches.

use rustix::fs::FlockOperation;
use rustix::process::Pid;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Takes the lock, for as long as the file is open, and writes this process's id into it. `None` if
/// another has it.
pub fn take(path: &Path) -> io::Result<Option<File>> {
    let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // On a full disk the lock stays without a name, which the kernel's table makes up for.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Some(file))
}

/// The process that holds the lock of this file, which names it, if it is held. `None` also in the
/// moment between taking and naming, in which the file names an earlier holder.
pub fn holder(path: &Path) -> Option<Pid> {
    let named = std::fs::read_to_string(path).ok()?.trim().parse::<i32>().ok();
    match (look(path), named) {
        (Held::By(holder), None) => Pid::from_raw(holder),
        (Held::By(holder), Some(named)) if holder == named => Pid::from_raw(holder),
        (Held::BySomebody, Some(named)) => Pid::from_raw(named),
        (Held::By(_) | Held::BySomebody | Held::No, _) => None,
    }
}

/// Whether some process has the file locked.
pub fn is_held(path: &Path) -> bool {
    !matches!(look(path), Held::No)
}

#[derive(Debug, PartialEq, Eq)]
enum Held {
    No,
    /// The process that took it.
    By(i32),
    BySomebody,
}

fn look(path: &Path) -> Held {
    let Ok(file) = File::open(path) else { return Held::No };
    let Ok(inode) = file.metadata().map(|m| m.ino()) else { return Held::No };
    match std::fs::read_to_string("/proc/locks") {
        Ok(locks) => named(&locks, inode),
        // Without /proc/locks only trying tells.
        Err(_) if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err() => Held::BySomebody,
        Err(_) => Held::No,
    }
}

/// What the kernel's table of locks says of a whole-file lock on this inode.
fn named(locks: &str, inode: u64) -> Held {
    let holder = locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // `->` marks one that waits.
        let held = words.get(1) == Some(&"FLOCK");
        let on = words.get(5).and_then(|id| id.rsplit(':').next()).and_then(|n| n.parse().ok());
        (held && on == Some(inode)).then(|| words.get(4).and_then(|pid| pid.parse().ok()).unwrap_or(0))
    });
    match holder {
        None => Held::No,
        Some(pid) if pid > 0 => Held::By(pid),
        // A process that cannot be seen from here.
        Some(_) => Held::BySomebody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(holder(&path), None);
        std::fs::write(&path, "1 and more").unwrap();
        assert!(!is_held(&path));
        let file = take(&path).unwrap().unwrap();
        assert_eq!(holder(&path), Some(rustix::process::getpid()));
        assert!(take(&path).unwrap().is_none());
        std::fs::write(&path, "1").unwrap();
        assert_eq!(holder(&path), None, "the file names another than the holder");
        std::fs::write(&path, "").unwrap();
        assert_eq!(holder(&path), Some(rustix::process::getpid()), "the file names nobody");
        drop(file);
        assert!(!is_held(&path));
    }

    #[test]
    fn waiting_locks_are_not_held_ones() {
        let table = "1: FLOCK  ADVISORY  WRITE 7 fe:00:42 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 8 fe:00:43 0 EOF\n";
        assert_eq!(named(table, 42), Held::By(7));
        assert_eq!((named(table, 43), named(table, 4)), (Held::No, Held::No));
    }
}
