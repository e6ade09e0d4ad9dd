//! The image registry: OCI distribution (`/v2/`) over a content store on disk, with ECR's rules.
//!
//! One [`Registry`] serves three callers: clients that push and pull over HTTP ([`Registry::handle`]), the ECR
//! API through [`quarry_domain::image::ImageCatalog`], and the runtime through
//! [`quarry_domain::image::ImageStore`], which turns an image's name into verified files.
//!
//! On disk, under `<data>/registry`:
//!
//! ```text
//! blobs/sha256/<hex>          layers, configurations and manifests, by digest, never changed once there
//! uploads/<uuid>              uploads under way; all of them are removed at open
//! repositories/<hex>.json     one record per repository, named by the SHA-256 of the repository's name
//! ```
//!
//! Invariants: a file under `blobs` is complete and was synced before it got its name; a repository's record only
//! names blobs that are there; every change is on disk before it is acknowledged.

mod catalog;
mod collect;
mod digest;
mod http;
mod layers;
mod manifest;
mod reference;
mod resolve;
mod store;
mod upload;

pub use crate::digest::Digest;
pub use crate::http::ResponseBody;
pub use crate::reference::{BadName, ImageReference, valid_repository, valid_tag};

use quarry_domain::door::Door;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// For fuzzing: whether these bytes are a manifest that the registry would take.
#[doc(hidden)]
pub fn is_manifest(bytes: &[u8]) -> bool {
    manifest::Document::read(None, bytes).is_ok()
}

/// What a registry is told at start.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// The AWS account id that owns the registry (ECR's registry id).
    pub account: String,
    pub region: String,
    /// The port of `localhost:<port>` under which it is reached; shared, because it is known only once bound.
    pub port: Arc<AtomicU16>,
    /// Largest blob taken, in bytes. ECR's limit for a layer is 52,000 MiB.
    pub max_blob_bytes: u64,
    /// Uploads under way at the same time; more get TOOMANYREQUESTS.
    pub max_uploads: usize,
    /// An upload that gets no byte for this long is given up.
    pub upload_idle: Duration,
    /// A blob of no image, in which nobody who pushes was interested for this long, is garbage.
    pub garbage_idle: Duration,
    /// For this long somebody who was told that a blob is here may count on it.
    pub push_idle: Duration,
    /// A request body that brings no byte for this long is given up; the upload stays and can be resumed.
    pub body_idle: Duration,
}

impl RegistryConfig {
    /// The usual limits.
    pub fn new(account: impl Into<String>, region: impl Into<String>, port: Arc<AtomicU16>) -> Self {
        Self {
            account: account.into(),
            region: region.into(),
            port,
            max_blob_bytes: 52_000 << 20,
            max_uploads: 64,
            upload_idle: Duration::from_secs(3600),
            garbage_idle: Duration::from_secs(24 * 3600),
            push_idle: Duration::from_secs(3600),
            body_idle: Duration::from_secs(60),
        }
    }

    /// `localhost:<port>`: the prefix of image names of this registry.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port.load(Ordering::Relaxed))
    }

    /// The name that ECR would give this registry.
    pub fn ecr_host(&self) -> String {
        format!("{}.dkr.ecr.{}.amazonaws.com", self.account, self.region)
    }
}

/// The registry. Cheap to share; all methods take `&self`.
pub struct Registry {
    config: RegistryConfig,
    door: Door,
    store: store::Store,
    uploads: upload::Uploads,
    touched: collect::Touched,
    /// Monotonic time.
    opened: Duration,
}

impl Registry {
    /// Opens the registry under `<data_dir>/registry`, making it if needed. Removes what interrupted uploads left.
    ///
    /// # Errors
    /// The directory cannot be made or read, or a repository's record cannot be understood.
    pub fn open(data_dir: &Path, config: RegistryConfig, door: Door) -> io::Result<Arc<Self>> {
        let store = store::Store::open(&data_dir.join("registry"))?;
        let (uploads, touched) = (upload::Uploads::default(), collect::Touched::default());
        let opened = door.clock.monotonic();
        Ok(Arc::new(Self { config, door, store, uploads, touched, opened }))
    }

    /// What it was told at start.
    pub fn config(&self) -> &RegistryConfig {
        &self.config
    }
}
