//! Container images as the other parts see them: the contract of the registry.

use crate::door::UnixMillis;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// An image found in the registry, ready for the runtime to unpack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedImage {
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    pub config: ImageConfig,
    /// Bottom layer first.
    pub layers: Vec<LayerBlob>,
}

/// The part of an image's configuration that decides how it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// Name of the signal that asks it to stop, if not SIGTERM.
    pub stop_signal: Option<String>,
}

/// A compressed layer in the content store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// Digest of the blob as stored.
    pub digest: String,
    /// Digest of the uncompressed tar stream; checked while unpacking.
    pub diff_id: String,
    pub media_type: String,
    pub path: PathBuf,
}

/// Why an image cannot be used. Shown as `CannotPullContainerError: …` in a task's stopped reason.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("repository {repository} does not exist in the registry: create it and push the image")]
    NoRepository { repository: String },
    #[error("{reference}: not found in repository {repository}: push it, or correct the tag or digest")]
    NoImage { repository: String, reference: String },
    #[error("{image}: images come from this registry only; push it to {registry}/<repository> first")]
    ForeignRegistry { image: String, registry: String },
    #[error("{image} is not a valid image reference: {reason}")]
    BadReference { image: String, reason: String },
    #[error("{image}: image Manifest does not contain descriptor matching platform '{wanted}': it has {found}")]
    WrongPlatform { image: String, wanted: String, found: String },
    #[error("the image's {what} is damaged: {reason}")]
    Damaged { what: String, reason: String },
    #[error("the registry's storage failed: {0}")]
    Io(#[from] std::io::Error),
}

/// The repository of an image of a registry that asks for a token: one of ECR or, on this machine, `localhost:<port>`.
pub fn repository_of(image: &str) -> Option<&str> {
    let (host, rest) = image.split_once('/')?;
    let local = ["localhost:", "127.0.0.1:", "[::1]:"].iter().any(|local| host.starts_with(local));
    let rest = rest.split('@').next()?;
    // A colon after the last slash begins a tag.
    let repository = match rest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => rest,
    };
    (local || host.contains(".dkr.ecr.")).then_some(repository)
}

/// What a task's image name means. `localhost:<port>/<name>` and
/// `<account>.dkr.ecr.<region>.amazonaws.com/<name>` are the same repository.
pub trait ImageStore: Send + Sync + 'static {
    fn resolve(&self, image: &str) -> Result<ResolvedImage, PullError>;
}

/// One image in a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    pub digest: String,
    /// Sorted.
    pub tags: Vec<String>,
    pub media_type: String,
    /// Of manifest's layers, in bytes.
    pub size: u64,
    pub pushed_at_ms: UnixMillis,
}

/// A failure of the repository catalogue, mapped to ECR's and the distribution API's own codes.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("The repository with name '{0}' does not exist in the registry")]
    NoRepository(String),
    #[error("The repository with name '{0}' already exists in the registry")]
    RepositoryExists(String),
    #[error("The repository with name '{0}' cannot be deleted because it still contains images")]
    NotEmpty(String),
    #[error("{0}")]
    NoImage(String),
    #[error("{0}")]
    TagImmutable(String),
    #[error("{0}")]
    Invalid(String),
    #[error("the registry's storage failed: {0}")]
    Io(#[from] std::io::Error),
}

/// A layer or a configuration that a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerRecord {
    /// In bytes.
    pub size: u64,
    /// Whether an image of the repository names it.
    pub in_image: bool,
}

/// Smallest part of a layer but for its last one, in bytes (ECR's LayerPartTooSmallException).
pub const MIN_LAYER_PART: u64 = 5 << 20;

/// Why a layer cannot be taken in parts, mapped to ECR's codes.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("The repository with name '{0}' does not exist in the registry")]
    NoRepository(String),
    #[error("the upload is unknown to the repository")]
    NoUpload,
    #[error("another request is writing to this upload")]
    Busy,
    #[error("too many uploads at the same time")]
    TooMany,
    #[error("a layer has at most {0} bytes")]
    TooLarge(u64),
    /// It is empty, not of the size that its bounds say, or does not begin after what has come.
    #[error("the upload has {received} bytes: the part does not begin there, or is not as long as it says")]
    BadPart { received: u64 },
    #[error("parts but the last must have at least {MIN_LAYER_PART} bytes")]
    PartTooSmall,
    #[error("the upload has no part")]
    Empty,
    #[error("the repository has the layer {0} already")]
    Exists(String),
    #[error("the layer's digest is {0}")]
    WrongDigest(String),
    #[error("the registry's storage failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Whether a part with these bounds may come after `received` bytes.
pub fn part_fits(received: u64, (first, last): (u64, u64), length: usize) -> bool {
    first == received && length > 0 && first.checked_add(length as u64 - 1) == Some(last)
}

/// Layers as the ECR API takes and shows them; the uploads are those of the distribution API.
pub trait Layers: Send + Sync + 'static {
    /// None when the repository does not hold it.
    fn layer(&self, repository: &str, digest: &str) -> Result<Option<LayerRecord>, LayerError>;
    /// Begins an upload; returns its id, a UUID.
    fn begin_layer(&self, repository: &str) -> Result<String, LayerError>;
    /// Adds a part whose first and last byte are `bounds` of the layer; returns how many bytes it has now.
    fn add_layer_part(
        &self,
        repository: &str,
        upload: &str,
        bounds: (u64, u64),
        bytes: &[u8],
    ) -> Result<u64, LayerError>;
    /// Makes the upload a layer, durably, if it has all of these digests (`sha256:…`); returns its digest. A refused
    /// upload stays as it is, but one of a layer that is there already is over.
    fn finish_layer(&self, repository: &str, upload: &str, digests: &[String]) -> Result<String, LayerError>;
}

/// What a collection of garbage removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub blobs: usize,
    pub bytes: u64,
}

/// The repositories of the registry, as the ECR API manages them. All calls are durable on return.
pub trait ImageCatalog: Layers {
    /// `immutable_tags`: a pushed tag cannot be moved to another digest.
    fn create_repository(&self, name: &str, immutable_tags: bool) -> Result<(), CatalogError>;
    /// Whether tags that are pushed from now on can be moved.
    fn set_immutable_tags(&self, name: &str, immutable_tags: bool) -> Result<(), CatalogError>;
    /// With `force`, images in it are deleted too.
    fn delete_repository(&self, name: &str, force: bool) -> Result<(), CatalogError>;
    fn repositories(&self) -> Result<Vec<String>, CatalogError>;
    fn images(&self, repository: &str) -> Result<Vec<ImageRecord>, CatalogError>;
    /// `reference`: a tag or a digest. Returns media type, digest and the manifest's bytes.
    fn manifest(&self, repository: &str, reference: &str) -> Result<(String, String, Vec<u8>), CatalogError>;
    /// Stores a manifest whose blobs are present; returns its digest.
    fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<String, CatalogError>;
    /// Removes layers that belong to no image and that nobody who pushes counts on.
    fn collect(&self) -> Result<Collected, CatalogError>;
    /// Removes a tag, or with a digest the image and all its tags.
    fn delete_image(&self, repository: &str, reference: &str) -> Result<(), CatalogError>;
}

/// What a request to the registry is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryUse<'a> {
    /// ECR's action for it, such as `ecr:BatchGetImage`.
    pub action: &'static str,
    /// None where it is about all of them.
    pub repository: Option<&'a str>,
}

/// Whether a request to the registry may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryAccess {
    Allowed,
    /// Without a token, or with a bad one.
    Unknown,
    /// Whose token it is may not do this, with AWS's message.
    Denied(String),
}

/// Who may use the registry: answered by control, asked on every request under `/v2/`.
pub trait RegistryAuth: Send + Sync + 'static {
    /// `authorization`: the header's value as sent (`Basic …`), if there was one. `wanted`: none for the version check.
    fn allows(&self, authorization: Option<&str>, wanted: Option<RegistryUse<'_>>) -> RegistryAccess;
    /// Whether `grant`, from the query of a download's URL, lets its bearer read this blob without a header.
    fn allows_download(&self, repository: &str, digest: &str, grant: &str) -> bool;
}

/// The query parameter of a download's URL that holds its grant.
pub const DOWNLOAD_GRANT: &str = "grant";
