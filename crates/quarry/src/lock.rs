//! Whether another process holds a lock file, asked without taking it even for a moment: a process
//! that is just starting must not be kept from its own lock by whoever watches.

use rustix::fs::FlockOperation;
use rustix::process::Pid;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The process that holds the lock of this file, which names it, if it is held.
pub fn holder(path: &Path) -> Option<Pid> {
    let pid = Pid::from_raw(std::fs::read_to_string(path).ok()?.trim().parse().ok()?)?;
    is_held(path).then_some(pid)
}

/// Whether some process has the file locked.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let Ok(inode) = file.metadata().map(|m| m.ino()) else { return false };
    match std::fs::read_to_string("/proc/locks") {
        Ok(locks) => names(&locks, inode),
        // Without /proc/locks only trying tells.
        Err(_) => rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
    }
}

/// Whether the kernel's table of locks has a held whole-file lock on this inode.
fn names(locks: &str, inode: u64) -> bool {
    locks.lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // `->` marks one that waits.
        let held = words.get(1) == Some(&"FLOCK");
        let on = words.get(5).and_then(|id| id.rsplit(':').next()).and_then(|n| n.parse().ok());
        held && on == Some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, std::process::id().to_string()).unwrap();
        assert_eq!(holder(&path), None);
        let file = File::open(&path).unwrap();
        rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
        assert_eq!(holder(&path), Some(rustix::process::getpid()));
        drop(file);
        assert!(!is_held(&path));
    }

    #[test]
    fn waiting_locks_are_not_held_ones() {
        let table = "1: FLOCK  ADVISORY  WRITE 7 fe:00:42 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 8 fe:00:43 0 EOF\n";
        assert!(names(table, 42));
        assert!(!names(table, 43) && !names(table, 4));
    }
}
