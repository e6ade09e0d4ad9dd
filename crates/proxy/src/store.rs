//! The proxy's own files: its lock, and the last snapshot in force.

use crate::Error;
use crate::tls::TlsError;
use quarry_domain::sealed::Key;
use quarry_domain::snapshot::Snapshot;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `<data>/proxy`, locked for as long as this value lives or until the lock is given up.
pub struct Store {
    directory: PathBuf,
    lock: Option<File>,
}

/// Until a lock that is being handed over is there.
const HANDED_OVER: Duration = Duration::from_secs(2);

impl Store {
    /// Makes the directory if it is missing and takes its lock.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let mut store = Self::lock(data_dir, FlockOperation::NonBlockingLockExclusive)?;
        store.name_holder();
        Ok(store)
    }

    /// Shares the lock of a proxy that hands over.
    pub fn join(data_dir: &Path) -> Result<Self, Error> {
        Self::lock(data_dir, FlockOperation::NonBlockingLockShared)
    }

    /// Lets another proxy share the lock, or takes it back for itself. Waits a little for one that shares it no more.
    pub fn share(&mut self, share: bool) -> io::Result<()> {
        let Some(lock) = &self.lock else { return Err(io::ErrorKind::NotFound.into()) };
        let operation = match share {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        let deadline = Instant::now() + HANDED_OVER;
        loop {
            match flock(lock, operation) {
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                result => break Ok(result?),
            }
        }
    }

    /// Takes the lock over that was shared, in its own name.
    pub fn take_over(&mut self) -> io::Result<()> {
        self.share(false)?;
        self.name_holder();
        Ok(())
    }

    /// Gives the lock up, and with it the right to write here.
    pub fn give_up(&mut self) {
        self.lock = None;
    }

    /// Where this proxy's files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn name_holder(&mut self) {
        if let Some(lock) = &mut self.lock {
            let _ =
                lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        }
    }

    fn lock(data_dir: &Path, operation: FlockOperation) -> Result<Self, Error> {
        let directory = data_dir.join("proxy");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Directory { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(at(&directory))?;
        let path = directory.join("lock");
        let lock =
            File::options().create(true).truncate(false).write(true).read(true).open(&path).map_err(at(&path))?;
        match flock(&lock, operation) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
                return Err(Error::Locked { path, holder });
            }
            Err(e) => return Err(at(&path)(e.into())),
        }
        Ok(Self { directory, lock: Some(lock) })
    }

    /// The last snapshot in force; `None` if there is none that can be read.
    pub fn load(&self) -> Option<Snapshot> {
        let path = self.directory.join("snapshot.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the last snapshot could not be read");
                return None;
            }
        };
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::error!(path = %path.display(), %error, "the last snapshot is damaged"))
            .ok()
    }

    /// The key that opens private keys in snapshots; control makes it, beside the proxy's directory.
    pub fn key(&self) -> Result<Key, TlsError> {
        let path = self.directory.with_file_name("vault.key");
        let bytes = fs::read(&path).map_err(|e| TlsError::NoKey(e.to_string()))?;
        let bytes = bytes.try_into().map_err(|_| TlsError::NoKey("it has not the right length".into()))?;
        Ok(Key::new(&bytes))
    }

    /// Where a snapshot is to be written by [`save`].
    pub fn snapshot_path(&self) -> PathBuf {
        self.directory.join("snapshot.json")
    }
}

/// Writes a snapshot so that after a crash either the old or the new one is there, whole.
pub fn save(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let bytes = serde_json::to_vec(snapshot)?;
    let beside = path.with_extension("json.tmp");
    // Not for others to read: it tells where every task is.
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_proxy_is_refused_and_a_snapshot_comes_back() {
        let dir = std::env::temp_dir().join(format!("quarry-store-{}", std::process::id()));
        let store = Store::open(&dir).unwrap();
        let error = Store::open(&dir).err().unwrap();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        assert!(store.load().is_none());
        let snapshot = Snapshot { version: 7, ..Snapshot::default() };
        save(&store.snapshot_path(), &snapshot).unwrap();
        assert_eq!(store.load(), Some(snapshot));
        fs::write(store.snapshot_path(), "{").unwrap();
        assert!(store.load().is_none());
        drop(store);
        Store::open(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
