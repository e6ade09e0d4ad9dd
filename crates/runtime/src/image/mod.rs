//! From a compressed layer to a directory that can be the lower part of an overlay.
//!
//! A layer comes from whoever may push, so nothing in it is trusted: `tar` is used as a parser
//! only, each path is opened with `openat2` beneath the layer's own directory and without links,
//! digests are checked over what was really read, and sizes are bounded. A layer is unpacked to a
//! temporary directory and renamed when it is complete.

mod apply;
mod pax;
mod stream;

use crate::layout::{is_plain_name, private_dir};
use quarry_domain::failpoint;
use quarry_domain::hash::hex;
use quarry_domain::image::LayerBlob;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The extended attribute by which overlayfs (mounted with `userxattr`) knows a directory that
/// hides all below it.
pub const OPAQUE: &str = "user.overlay.opaque";

/// Bounds of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Uncompressed bytes.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// Uncompressed bytes per compressed one, once a layer is over 64 MiB.
    pub ratio: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self { bytes: 8 << 30, entries: 1_000_000, ratio: 400 }
    }
}

/// Why a layer was refused. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("layer {digest}: {reason}")]
    Refused { digest: String, reason: String },
    #[error("layer {digest}: {source}")]
    Io { digest: String, source: io::Error },
}

/// The store of unpacked layers, `<data>/layers/<diff id>`.
#[derive(Debug)]
pub struct LayerStore {
    directory: PathBuf,
    limits: UnpackLimits,
    /// Keep the owners named in layers: only root can give files away, and only where tasks have
    /// user ids of their own does it matter.
    keep_owners: bool,
    /// One per layer being unpacked by this process, so that the work is done once.
    busy: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    /// When a task last wanted a layer; one that is not here, not since `opened`.
    wanted: Mutex<HashMap<String, Instant>>,
    opened: Instant,
}

/// Numbers this process's temporary directories.
static COUNTER: AtomicU64 = AtomicU64::new(0);

impl LayerStore {
    /// Opens the store and removes what a crash left half-done.
    pub fn open(directory: &Path, limits: UnpackLimits, keep_owners: bool) -> io::Result<Self> {
        private_dir(directory)?;
        for entry in std::fs::read_dir(directory)?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") && !of_living_process(&entry.file_name()) {
                crate::tree::remove(&entry.path())?;
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            limits,
            keep_owners,
            busy: Mutex::default(),
            wanted: Mutex::default(),
            opened: Instant::now(),
        })
    }

    /// The unpacked layer's directory; unpacks it if it is not there.
    pub fn unpack(&self, layer: &LayerBlob) -> Result<PathBuf, UnpackError> {
        let refused = |reason: &str| UnpackError::Refused { digest: layer.digest.clone(), reason: reason.to_owned() };
        let name = layer.diff_id.strip_prefix("sha256:").unwrap_or_default();
        if name.len() != 64 || !is_plain_name(name) {
            return Err(refused("its diff_id is not a sha256 digest"));
        }
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Instant::now());
        let target = self.directory.join(name);
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.entry(name.to_owned()).or_default().clone()
        };
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let result = if target.is_dir() { Ok(()) } else { self.unpack_to(layer, &target) };
        drop(guard);
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        result.map(|()| target).map_err(|failure| match failure {
            Failure::Refused(reason) => UnpackError::Refused { digest: layer.digest.clone(), reason },
            Failure::Io(source) => UnpackError::Io { digest: layer.digest.clone(), source },
        })
    }

    /// Takes those out of the store that are not `used` and were not wanted for `idle`; their directories are still
    /// to be removed. Nobody may be between unpacking a layer and using it.
    pub fn retire(&self, used: &BTreeSet<PathBuf>, idle: Duration) -> io::Result<Vec<PathBuf>> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut retired = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
            let name = name.to_string_lossy();
            let since = wanted.get(name.as_ref()).unwrap_or(&self.opened).elapsed();
            if name.starts_with('.') || used.contains(&path) || since < idle {
                continue;
            }
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let doomed = self.directory.join(format!(".{}-{number}", std::process::id()));
            std::fs::rename(&path, &doomed)?;
            wanted.remove(name.as_ref());
            retired.push(doomed);
        }
        Ok(retired)
    }

    fn unpack_to(&self, layer: &LayerBlob, target: &Path) -> Result<(), Failure> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!(".{}-{number}", std::process::id()));
        std::fs::create_dir(&temporary)?;
        let filled = self.fill(layer, &temporary);
        failpoint::at("image.filled");
        let result = filled.and_then(|()| match std::fs::rename(&temporary, target) {
            // Another process was faster; its content has the same digest.
            Err(_) if target.is_dir() => Ok(()),
            other => Ok(other?),
        });
        failpoint::at("image.unpacked");
        crate::tree::remove(&temporary)?;
        result
    }

    fn fill(&self, layer: &LayerBlob, directory: &Path) -> Result<(), Failure> {
        let file = std::fs::File::open(&layer.path)?;
        let mut stream = stream::LayerStream::open(file, self.limits)?;
        let root = std::fs::File::open(directory)?;
        apply::apply(&mut stream, &root, self.limits.entries, self.keep_owners)
            .map_err(|failure| stream.failure().map_or(failure, Failure::Refused))?;
        let digests = stream.finish()?;
        check(&layer.digest, &digests.compressed, "digest")?;
        check(&layer.diff_id, &digests.uncompressed, "diff_id")?;
        // The rename must not survive a power cut that the files do not.
        rustix::fs::syncfs(&root)?;
        Ok(())
    }
}

/// Why one layer could not be unpacked, before it is known as whose.
enum Failure {
    /// The layer's own fault.
    Refused(String),
    /// The machine's.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What parsers and decoders say of bad input.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
                Self::Refused(error.to_string())
            }
            _ => Self::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

fn refuse(reason: impl Into<String>) -> Failure {
    Failure::Refused(reason.into())
}

fn check(wanted: &str, found: &[u8], what: &str) -> Result<(), Failure> {
    let found = format!("sha256:{}", hex(found));
    if wanted == found { Ok(()) } else { Err(refuse(format!("its {what} is {found}, not {wanted}"))) }
}

/// Temporary directories are called `.<pid>-<number>`.
fn of_living_process(name: &std::ffi::OsStr) -> bool {
    let pid = name.to_str().and_then(|n| n.strip_prefix('.')?.split('-').next()?.parse::<u32>().ok());
    pid.is_some_and(|pid| pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists())
}
