//! The files: blobs by digest, and one record per repository.

use crate::digest::Digest;
use quarry_domain::door::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A repository as recorded on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Repository {
    pub(crate) name: String,
    pub(crate) immutable_tags: bool,
    pub(crate) created_at_ms: UnixMillis,
    /// Layers and configurations that were pushed to (or mounted into) this repository, with their sizes in bytes.
    pub(crate) blobs: BTreeMap<Digest, u64>,
    pub(crate) manifests: BTreeMap<Digest, Manifest>,
    pub(crate) tags: BTreeMap<String, Digest>,
}

/// A manifest or index in a repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) pushed_at_ms: UnixMillis,
    /// Sum of its layers, in bytes; of an index, its largest image's.
    pub(crate) size: u64,
    /// Its configuration and layers.
    pub(crate) blobs: Vec<Digest>,
    /// Of an index: the manifests in it.
    pub(crate) children: Vec<Digest>,
    /// The manifest that it is about (a signature's image, say); it need not be there.
    #[serde(default)]
    pub(crate) subject: Option<Digest>,
}

/// The open store.
pub(crate) struct Store {
    root: PathBuf,
    repositories: Mutex<BTreeMap<String, Repository>>,
}

/// All repositories, held for a change. While it lives no blob is removed and no record changes.
pub(crate) struct Held<'a> {
    store: &'a Store,
    repositories: MutexGuard<'a, BTreeMap<String, Repository>>,
}

impl Repository {
    pub(crate) fn new(name: &str, immutable_tags: bool, created_at_ms: UnixMillis) -> Self {
        Self {
            name: name.to_owned(),
            immutable_tags,
            created_at_ms,
            blobs: BTreeMap::new(),
            manifests: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }

    /// The digest that a tag or a digest names here, if it is here.
    pub(crate) fn find(&self, reference: &str) -> Option<&Digest> {
        match Digest::parse(reference) {
            Some(digest) => self.manifests.get_key_value(&digest).map(|(digest, _)| digest),
            None => self.tags.get(reference),
        }
    }

    fn holds(&self, digest: &Digest) -> bool {
        self.blobs.contains_key(digest) || self.manifests.contains_key(digest)
    }
}

impl Store {
    /// Opens or makes the store: reads the records, removes unfinished uploads and blobs that nothing names.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        for part in ["", "blobs/sha256", "uploads", "repositories"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(part))?;
        }
        for dir in [root.parent().unwrap_or(root), root, &root.join("blobs")] {
            sync_dir(dir)?;
        }
        for entry in fs::read_dir(root.join("uploads"))? {
            fs::remove_file(entry?.path())?;
        }
        let mut repositories = BTreeMap::new();
        for entry in fs::read_dir(root.join("repositories"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "json") {
                // A record that was being written when the process died: the one in force has its own name.
                fs::remove_file(&path)?;
                continue;
            }
            let repository: Repository = serde_json::from_slice(&fs::read(&path)?)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display())))?;
            repositories.insert(repository.name.clone(), repository);
        }
        let store = Self { root: root.to_owned(), repositories: Mutex::new(repositories) };
        {
            let held = store.hold();
            for entry in fs::read_dir(store.blob_dir())? {
                let entry = entry?;
                let digest = entry.file_name().to_str().and_then(|hex| Digest::parse(&format!("sha256:{hex}")));
                match digest {
                    Some(digest) if held.named(&digest) => {}
                    _ => fs::remove_file(entry.path())?,
                }
            }
        }
        Ok(store)
    }

    /// Takes the lock.
    pub(crate) fn hold(&self) -> Held<'_> {
        // A panic elsewhere cannot leave a record half changed: changes are made to a copy and put in whole.
        let repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        Held { store: self, repositories }
    }

    /// Where the blob of this digest is, or would be.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_dir().join(digest.hex())
    }

    /// Where the upload of this id collects its bytes.
    pub(crate) fn upload_path(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(id)
    }

    /// Reads a small blob (a manifest, a configuration) and checks that it still has its digest.
    pub(crate) fn read_small(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let bytes = fs::read(self.blob_path(digest))?;
        if Digest::of(&bytes) != *digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{digest} does not have its digest")));
        }
        Ok(bytes)
    }

    fn blob_dir(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.root.join("repositories").join(format!("{}.json", Digest::of(name.as_bytes()).hex()))
    }

    fn write_record(&self, repository: &Repository) -> io::Result<()> {
        let bytes = serde_json::to_vec(repository).map_err(io::Error::other)?;
        write_synced(&self.record_path(&repository.name), &bytes)
    }
}

impl Held<'_> {
    pub(crate) fn names(&self) -> Vec<String> {
        self.repositories.keys().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }

    /// Makes the record durable and puts it in force; on failure the old one stays in force.
    pub(crate) fn put(&mut self, repository: Repository) -> io::Result<()> {
        self.store.write_record(&repository)?;
        self.repositories.insert(repository.name.clone(), repository);
        Ok(())
    }

    /// Removes a repository and every blob that only it named.
    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.store.record_path(name))?;
        sync_dir(&self.store.root.join("repositories"))?;
        if let Some(gone) = self.repositories.remove(name) {
            self.sweep(gone.blobs.into_keys().chain(gone.manifests.into_keys()));
        }
        Ok(())
    }

    /// Puts a finished, synced file among the blobs; if the blob is there already, the file is removed.
    pub(crate) fn adopt_blob(&self, file: &Path, digest: &Digest) -> io::Result<()> {
        let target = self.store.blob_path(digest);
        if target.exists() {
            return fs::remove_file(file);
        }
        fs::rename(file, target)?;
        sync_dir(&self.store.blob_dir())
    }

    /// Stores bytes as a blob, if it is not there yet.
    pub(crate) fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let target = self.store.blob_path(digest);
        if target.exists() {
            return Ok(());
        }
        write_synced(&target, bytes)
    }

    /// Removes those of these blobs that no repository names any more. What cannot be removed now is removed at the
    /// next open.
    pub(crate) fn sweep(&self, candidates: impl IntoIterator<Item = Digest>) {
        for digest in candidates {
            if self.named(&digest) {
                continue;
            }
            let path = self.store.blob_path(&digest);
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(blob = %digest, %error, "an unused blob could not be removed");
            }
        }
    }

    fn named(&self, digest: &Digest) -> bool {
        self.repositories.values().any(|r| r.holds(digest))
    }
}

/// Makes a directory's entries durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a file so that after a crash it is either as before or whole.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_keeps_what_is_named_and_removes_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, lost) = (Digest::of(b"kept"), Digest::of(b"lost"));
        {
            let store = Store::open(dir.path()).unwrap();
            let mut held = store.hold();
            held.write_blob(&kept, b"kept").unwrap();
            held.write_blob(&lost, b"lost").unwrap();
            let mut repository = Repository::new("api", false, 7);
            repository.blobs.insert(kept.clone(), 4);
            held.put(repository).unwrap();
        }
        fs::write(dir.path().join("uploads/x"), b"half").unwrap();
        fs::write(dir.path().join("repositories/y.new"), b"{").unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.read_small(&kept).unwrap(), b"kept");
        assert!(!store.blob_path(&lost).exists());
        assert!(!dir.path().join("uploads/x").exists());
        assert!(!dir.path().join("repositories/y.new").exists());
        assert_eq!(store.hold().names(), ["api"]);
        assert_eq!(store.hold().get("api").unwrap().created_at_ms, 7);
    }

    #[test]
    fn a_blob_goes_when_the_last_repository_that_names_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = Digest::of(b"shared");
        let mut held = store.hold();
        held.write_blob(&digest, b"shared").unwrap();
        for name in ["one", "two"] {
            let mut repository = Repository::new(name, false, 0);
            repository.blobs.insert(digest.clone(), 6);
            held.put(repository).unwrap();
        }
        held.remove("one").unwrap();
        assert!(store.blob_path(&digest).exists());
        held.remove("two").unwrap();
        assert!(!store.blob_path(&digest).exists());
    }

    #[test]
    fn a_blob_that_lost_its_digest_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = Digest::of(b"as pushed");
        store.hold().write_blob(&digest, b"as pushed").unwrap();
        fs::write(store.blob_path(&digest), b"as changed").unwrap();
        assert_eq!(store.read_small(&digest).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
