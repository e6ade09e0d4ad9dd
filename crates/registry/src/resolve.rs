//! From an image's name in a task definition to the files of its layers.

use crate::Registry;
use crate::digest::Digest;
use crate::manifest::{Document, digest_of, is_foreign};
use crate::reference::ImageReference;
use crate::store::Repository;
use oci_spec::image::{Arch, ImageConfiguration, ImageIndex, ImageManifest, Os};
use quarry_domain::image::{ImageConfig, ImageStore, LayerBlob, PullError, ResolvedImage};
use std::fs;
use std::io;

/// Media types of layers that can be unpacked.
const LAYERS: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

impl ImageStore for Registry {
    fn resolve(&self, image: &str) -> Result<ResolvedImage, PullError> {
        let reference = ImageReference::parse(image)
            .map_err(|reason| PullError::BadReference { image: image.to_owned(), reason: reason.to_string() })?;
        if !reference.registry.as_deref().is_some_and(|host| self.is_own(host)) {
            return Err(PullError::ForeignRegistry { image: image.to_owned(), registry: self.config.host() });
        }
        let repository = &reference.repository;
        // A digest says which image; a tag beside it is for the reader.
        let wanted = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        };
        let held = self.store.hold();
        let record = held.get(repository).ok_or_else(|| PullError::NoRepository { repository: repository.clone() })?;
        let digest = record
            .find(wanted)
            .ok_or_else(|| PullError::NoImage { repository: repository.clone(), reference: wanted.to_owned() })?;
        self.image(record, image, digest)
    }
}

impl Registry {
    /// True for the names under which this registry is known.
    fn is_own(&self, host: &str) -> bool {
        if host.eq_ignore_ascii_case(&self.config.ecr_host()) {
            return true;
        }
        let port = self.config.host();
        let port = port.trim_start_matches("localhost");
        host.strip_suffix(port).is_some_and(|name| matches!(name, "localhost" | "127.0.0.1" | "[::1]"))
    }

    fn image(&self, record: &Repository, name: &str, digest: &Digest) -> Result<ResolvedImage, PullError> {
        match self.document(record, digest)? {
            Document::Image(manifest) => self.single(record, name, digest, &manifest),
            Document::Index(index) => {
                let child = choose(&index, name)?;
                match self.document(record, &child)? {
                    Document::Image(manifest) => self.single(record, name, &child, &manifest),
                    Document::Index(_) => Err(damaged("index", "it holds an index in place of an image")),
                }
            }
        }
    }

    fn document(&self, record: &Repository, digest: &Digest) -> Result<Document, PullError> {
        let entry = record
            .manifests
            .get(digest)
            .ok_or_else(|| damaged("index", format!("{digest} is not in the repository")))?;
        let bytes = self.small("manifest", digest)?;
        let (_, document) =
            Document::read(Some(&entry.media_type), &bytes).map_err(|reason| damaged("manifest", reason))?;
        Ok(document)
    }

    fn single(
        &self,
        record: &Repository,
        name: &str,
        digest: &Digest,
        manifest: &ImageManifest,
    ) -> Result<ResolvedImage, PullError> {
        let bytes = self.small("configuration", &digest_of(manifest.config()).map_err(|e| damaged("manifest", e))?)?;
        let config: ImageConfiguration =
            serde_json::from_slice(&bytes).map_err(|e| damaged("configuration", e.to_string()))?;
        if !runs_here(config.os(), config.architecture()) {
            return Err(wrong_platform(name, &[format!("{}/{}", config.os(), config.architecture())]));
        }
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != manifest.layers().len() {
            return Err(damaged(
                "configuration",
                format!("it lists {} layers, the manifest {}", diff_ids.len(), manifest.layers().len()),
            ));
        }
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (layer, diff_id) in manifest.layers().iter().zip(diff_ids) {
            if is_foreign(layer) {
                return Err(damaged("layer", "it is kept in another registry; push the image with all its layers"));
            }
            let media_type = layer.media_type().to_string();
            if !LAYERS.contains(&media_type.as_str()) {
                return Err(damaged("layer", format!("media type {media_type} is not supported")));
            }
            let blob = digest_of(layer).map_err(|e| damaged("manifest", e))?;
            let diff_id = Digest::parse(diff_id)
                .ok_or_else(|| damaged("configuration", format!("diff_id {diff_id:?} is not a sha256 digest")))?;
            let path = self.store.blob_path(&blob);
            let size = fs::metadata(&path).map_err(|e| gone("layer", &blob, e))?.len();
            if !record.blobs.contains_key(&blob) || size != layer.size() {
                return Err(damaged("layer", format!("{blob} has {size} bytes, not {}", layer.size())));
            }
            layers.push(LayerBlob { digest: blob.into(), diff_id: diff_id.into(), media_type, path });
        }
        Ok(ResolvedImage { digest: digest.to_string(), config: run_config(&config)?, layers })
    }

    fn small(&self, what: &str, digest: &Digest) -> Result<Vec<u8>, PullError> {
        self.store.read_small(digest).map_err(|e| gone(what, digest, e))
    }
}

/// The image of an index that runs on this machine.
fn choose(index: &ImageIndex, name: &str) -> Result<Digest, PullError> {
    let platform =
        |d: &&oci_spec::image::Descriptor| d.platform().as_ref().is_some_and(|p| runs_here(p.os(), p.architecture()));
    match index.manifests().iter().find(platform) {
        Some(descriptor) => digest_of(descriptor).map_err(|e| damaged("index", e)),
        None => {
            let found: Vec<String> = index
                .manifests()
                .iter()
                .filter_map(|d| d.platform().as_ref())
                .map(|p| format!("{}/{}", p.os(), p.architecture()))
                .collect();
            Err(wrong_platform(name, &found))
        }
    }
}

fn runs_here(os: &Os, architecture: &Arch) -> bool {
    *os == Os::Linux && *architecture == here()
}

/// This machine's architecture in the images' words (Go's).
fn here() -> Arch {
    match std::env::consts::ARCH {
        "x86_64" => Arch::Amd64,
        "aarch64" => Arch::ARM64,
        other => Arch::from(other),
    }
}

fn run_config(config: &ImageConfiguration) -> Result<ImageConfig, PullError> {
    let Some(config) = config.config() else { return Ok(ImageConfig::default()) };
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let env = config.env().clone().unwrap_or_default();
    if let Some(bad) = env.iter().find(|entry| entry.split_once('=').is_none_or(|(name, _)| name.is_empty())) {
        return Err(damaged("configuration", format!("Env has {bad:?}, which is not NAME=value")));
    }
    let working_dir = text(config.working_dir());
    if let Some(dir) = working_dir.as_ref().filter(|dir| !dir.starts_with('/')) {
        return Err(damaged("configuration", format!("WorkingDir {dir:?} is not an absolute path")));
    }
    let strings = env.iter().chain(config.entrypoint().iter().flatten()).chain(config.cmd().iter().flatten());
    if strings.into_iter().any(|text| text.contains('\0')) {
        return Err(damaged("configuration", "a NUL character in Env, Entrypoint or Cmd"));
    }
    Ok(ImageConfig {
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        env,
        working_dir,
        user: text(config.user()),
        stop_signal: text(config.stop_signal()),
    })
}

fn damaged(what: &str, reason: impl Into<String>) -> PullError {
    PullError::Damaged { what: what.to_owned(), reason: reason.into() }
}

fn wrong_platform(image: &str, found: &[String]) -> PullError {
    PullError::WrongPlatform {
        image: image.to_owned(),
        wanted: format!("linux/{}", here()),
        found: if found.is_empty() { "no platform".to_owned() } else { found.join(", ") },
    }
}

/// A file that the repository's record names could not be read.
fn gone(what: &str, digest: &Digest, error: io::Error) -> PullError {
    match error.kind() {
        io::ErrorKind::NotFound => damaged(what, format!("{digest} is missing from the store; push the image again")),
        io::ErrorKind::InvalidData => damaged(what, format!("{error}; push the image again")),
        _ => PullError::Io(error),
    }
}
