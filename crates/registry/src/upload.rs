//! Uploads under way: bytes on disk, their running digest, and what becomes of them.

use crate::Registry;
use crate::digest::{Digest, Hasher};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use quarry_domain::image::MIN_LAYER_PART;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::timeout;

/// How long a request waits for another one that writes to the same upload (it may be one whose client is gone).
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Why an upload could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the upload is unknown to the registry")]
    Unknown,
    #[error("another request is writing to this upload")]
    Busy,
    #[error("too many uploads at the same time")]
    TooMany,
    #[error("the blob is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the request's body broke off: {0}")]
    Body(String),
    #[error("the content's digest is {actual}")]
    WrongDigest { actual: Digest },
    #[error("no such repository")]
    NoRepository,
    #[error("the registry's storage failed: {0}")]
    Io(#[from] io::Error),
}

/// The uploads under way, by id.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Session>>);

struct Session {
    repository: String,
    /// None once it was committed or given up.
    upload: Slot,
    /// Monotonic time of the last request.
    touched: Duration,
}

type Slot = Arc<tokio::sync::Mutex<Option<Upload>>>;
/// An upload, held by one request.
pub(crate) type HeldUpload = OwnedMutexGuard<Option<Upload>>;

/// A file being filled. Dropped, it removes the file.
pub(crate) struct Upload {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    /// Bytes that are in the file and in the digest.
    size: u64,
    /// Bytes of the last part that came over the ECR API.
    last_part: Option<u64>,
    /// Whether a part that is not the last was smaller than ECR takes.
    short_part: bool,
    /// True once the file was renamed or removed.
    done: bool,
}

/// A point of an upload to which it can go back.
pub(crate) struct Mark {
    hasher: Hasher,
    size: u64,
}

impl Upload {
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file, hasher: Hasher::default(), size: 0, last_part: None, short_part: false, done: false })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { hasher: self.hasher.clone(), size: self.size }
    }

    pub(crate) fn go_back(&mut self, mark: Mark) {
        // What lies beyond `size` in the file is overwritten or cut off later.
        self.hasher = mark.hasher;
        self.size = mark.size;
    }

    /// The digest of what is in it, if all of these are it.
    pub(crate) fn check(&self, digests: &[String]) -> Result<Digest, UploadError> {
        let actual = self.hasher.clone().finish();
        match digests.iter().all(|digest| digest.eq_ignore_ascii_case(actual.as_str())) {
            true => Ok(actual),
            false => Err(UploadError::WrongDigest { actual }),
        }
    }

    /// Writes a part of the ECR API to the end, whole or not at all.
    pub(crate) fn write_part(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes)?;
        self.short_part |= self.last_part.is_some_and(|size| size < MIN_LAYER_PART);
        self.last_part = Some(bytes.len() as u64);
        Ok(())
    }

    /// Whether a part that is not the last was smaller than ECR takes.
    pub(crate) fn has_short_part(&self) -> bool {
        self.short_part
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.size)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an upload's data could not be removed");
        }
    }
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an upload; its data goes when the last request lets go of it.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }
}

impl Registry {
    /// Begins an upload to a repository that exists; returns its id.
    pub(crate) fn begin_upload(&self, repository: &str) -> Result<String, UploadError> {
        if self.store.hold().get(repository).is_none() {
            return Err(UploadError::NoRepository);
        }
        let now = self.door.clock.monotonic();
        let mut uploads = self.uploads.lock();
        uploads.retain(|_, session| now.saturating_sub(session.touched) < self.config.upload_idle);
        if uploads.len() >= self.config.max_uploads {
            return Err(UploadError::TooMany);
        }
        let id = self.door.uuid();
        let upload = Upload::create(self.store.upload_path(&id))?;
        let upload = Arc::new(tokio::sync::Mutex::new(Some(upload)));
        uploads.insert(id.clone(), Session { repository: repository.to_owned(), upload, touched: now });
        Ok(id)
    }

    /// Takes an upload for one request.
    pub(crate) async fn take_upload(&self, repository: &str, id: &str) -> Result<HeldUpload, UploadError> {
        let slot = self.slot(repository, id)?;
        let held = timeout(BUSY_WAIT, slot.lock_owned()).await.map_err(|_| UploadError::Busy)?;
        if held.is_some() { Ok(held) } else { Err(UploadError::Unknown) }
    }

    /// Takes an upload at once, or says that it is busy: for callers that must not wait.
    pub(crate) fn try_upload(&self, repository: &str, id: &str) -> Result<HeldUpload, UploadError> {
        let held = self.slot(repository, id)?.try_lock_owned().map_err(|_| UploadError::Busy)?;
        if held.is_some() { Ok(held) } else { Err(UploadError::Unknown) }
    }

    fn slot(&self, repository: &str, id: &str) -> Result<Slot, UploadError> {
        let mut uploads = self.uploads.lock();
        let session = uploads.get_mut(id).filter(|s| s.repository == repository).ok_or(UploadError::Unknown)?;
        session.touched = self.door.clock.monotonic();
        Ok(session.upload.clone())
    }

    /// Writes a body to the end of an upload. Whatever arrived stays in it, also when the body breaks off or the
    /// request is dropped: the writing thread always ends on a whole piece, and then lets go of the upload.
    pub(crate) async fn append<B>(&self, held: HeldUpload, body: B) -> (Option<HeldUpload>, Result<(), UploadError>)
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let limit = self.config.max_blob_bytes;
        let (pieces, mut arriving) = mpsc::channel::<Bytes>(8);
        let writer = tokio::task::spawn_blocking(move || {
            let mut held = held;
            let mut result = Ok(());
            while let (Some(piece), Some(upload)) = (arriving.blocking_recv(), held.as_mut()) {
                if upload.size + piece.len() as u64 > limit {
                    result = Err(UploadError::TooLarge(limit));
                    break;
                }
                if let Err(error) = upload.write(&piece) {
                    result = Err(error.into());
                    break;
                }
            }
            (held, result)
        });
        let mut body = std::pin::pin!(body);
        let mut read = Ok(());
        loop {
            match timeout(self.config.body_idle, body.frame()).await {
                Err(_) => read = Err(UploadError::Body("no byte came in time".to_owned())),
                Ok(Some(Err(error))) => read = Err(UploadError::Body(error.to_string())),
                Ok(None) => {}
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => {
                        // This fails when the writer has failed, and the writer says why.
                        if pieces.send(piece).await.is_ok() {
                            continue;
                        }
                    }
                    Err(_trailers) => continue,
                },
            }
            break;
        }
        drop(pieces);
        match writer.await {
            Ok((held, written)) => (Some(held), written.and(read)),
            Err(panic) => (None, Err(io::Error::other(panic).into())),
        }
    }

    /// Makes an upload the blob `digest` of a repository, durably; the upload is over, whatever the result.
    pub(crate) fn commit_upload(
        &self,
        repository: &str,
        id: &str,
        mut held: HeldUpload,
        digest: &Digest,
    ) -> Result<(), UploadError> {
        self.uploads.forget(id);
        let mut upload = held.take().ok_or(UploadError::Unknown)?;
        let actual = upload.hasher.clone().finish();
        if actual != *digest {
            return Err(UploadError::WrongDigest { actual });
        }
        upload.file.set_len(upload.size)?;
        upload.file.sync_all()?;
        let mut store = self.store.hold();
        let mut record = store.get(repository).ok_or(UploadError::NoRepository)?.clone();
        store.adopt_blob(&upload.path, digest)?;
        upload.done = true;
        record.blobs.insert(digest.clone(), upload.size);
        self.touch(repository, digest, false);
        store.put(record)?;
        Ok(())
    }

    /// Lets a repository have a blob of another one; false if the other does not have it.
    pub(crate) fn mount_blob(&self, repository: &str, from: &str, digest: &Digest) -> Result<bool, UploadError> {
        let mut store = self.store.hold();
        let mut record = store.get(repository).ok_or(UploadError::NoRepository)?.clone();
        let Some(size) = store.get(from).and_then(|other| other.blobs.get(digest)).copied() else { return Ok(false) };
        record.blobs.insert(digest.clone(), size);
        self.touch(repository, digest, true);
        store.put(record)?;
        Ok(true)
    }
}
