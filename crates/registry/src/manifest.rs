//! Manifests and indexes: reading them, and storing them in a repository.

use crate::Registry;
use crate::digest::Digest;
use crate::reference::valid_tag;
use crate::store::{Manifest, Repository};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use quarry_domain::door::UnixMillis;
use std::io;

/// Largest manifest taken, in bytes, as the distribution specification proposes and ECR has it.
pub(crate) const MAX_MANIFEST: usize = 4 << 20;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest that was understood.
#[expect(clippy::large_enum_variant, reason = "one lives at a time, for one request")]
pub(crate) enum Document {
    Image(ImageManifest),
    Index(ImageIndex),
}

/// Why a manifest is not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error("no such repository")]
    NoRepository,
    #[error("{0:?} is not a tag: letters, digits, '_', '.' and '-', at most 128, not starting with the last two")]
    BadTag(String),
    #[error("the manifest is larger than 4 MiB")]
    TooLarge,
    #[error("{0}")]
    Invalid(String),
    #[error("the manifest's digest is {actual}")]
    WrongDigest { actual: Digest },
    #[error("{} named in the manifest, but not in the repository", list(.0))]
    Missing(Vec<Digest>),
    #[error(
        "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because the repository is immutable."
    )]
    TagImmutable { tag: String, repository: String },
    #[error("the registry's storage failed: {0}")]
    Io(#[from] io::Error),
}

/// A manifest that was stored.
pub(crate) struct Stored {
    pub(crate) digest: Digest,
    pub(crate) subject: Option<Digest>,
}

/// Under which name a manifest is stored.
pub(crate) enum PutAs<'a> {
    Tag(&'a str),
    /// The digest it must have.
    Digest(&'a Digest),
    /// Whatever digest it has.
    AnyDigest,
}

impl Document {
    /// Reads a manifest. `declared`: the media type it was sent with, if any. Returns its media type and itself.
    pub(crate) fn read(declared: Option<&str>, bytes: &[u8]) -> Result<(String, Self), String> {
        let json: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| format!("not JSON: {e}"))?;
        let inside = json.get("mediaType").and_then(|v| v.as_str());
        let declared = declared.map(|d| d.split(';').next().unwrap_or(d).trim()).filter(|d| !d.is_empty());
        let media_type = match (declared, inside) {
            (Some(declared), Some(inside)) if declared != inside => {
                return Err(format!("it was sent as {declared} but says mediaType {inside}"));
            }
            (Some(media_type), _) | (None, Some(media_type)) => media_type.to_owned(),
            (None, None) => return Err("its media type is neither in Content-Type nor in mediaType".to_owned()),
        };
        if json.get("schemaVersion").and_then(serde_json::Value::as_u64) != Some(2) {
            return Err("schemaVersion must be 2".to_owned());
        }
        // Both at once would let two clients see two different images under one digest.
        if json.get("manifests").is_some() && (json.get("layers").is_some() || json.get("config").is_some()) {
            return Err("it is an image and an index at once".to_owned());
        }
        let document = match media_type.as_str() {
            OCI_MANIFEST | DOCKER_MANIFEST => serde_json::from_value(json).map(Self::Image),
            OCI_INDEX | DOCKER_LIST => serde_json::from_value(json).map(Self::Index),
            other => return Err(format!("media type {other} is not supported")),
        };
        Ok((media_type, document.map_err(|e| e.to_string())?))
    }
}

/// The digest in a descriptor, if it is one that this registry serves.
pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest, String> {
    let text = descriptor.digest().to_string();
    Digest::parse(&text).ok_or_else(|| format!("{text} is not a sha256 digest"))
}

/// Layers that may not be pushed and are fetched from elsewhere.
pub(crate) fn is_foreign(descriptor: &Descriptor) -> bool {
    let media_type = descriptor.media_type().as_ref();
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}

impl Registry {
    /// Stores a manifest whose parts are present, durably.
    pub(crate) fn store_manifest(
        &self,
        repository: &str,
        name: PutAs<'_>,
        declared: Option<&str>,
        bytes: &[u8],
    ) -> Result<Stored, PutError> {
        let tag = match name {
            PutAs::Tag(tag) if !valid_tag(tag) => return Err(PutError::BadTag(tag.to_owned())),
            PutAs::Tag(tag) => Some(tag),
            PutAs::Digest(_) | PutAs::AnyDigest => None,
        };
        if bytes.len() > MAX_MANIFEST {
            return Err(PutError::TooLarge);
        }
        let digest = Digest::of(bytes);
        if let PutAs::Digest(wanted) = name
            && *wanted != digest
        {
            return Err(PutError::WrongDigest { actual: digest });
        }
        let (media_type, document) = Document::read(declared, bytes).map_err(PutError::Invalid)?;

        let mut held = self.store.hold();
        let mut record = held.get(repository).ok_or(PutError::NoRepository)?.clone();
        if let Some(tag) = tag
            && record.immutable_tags
            && record.tags.get(tag).is_some_and(|present| *present != digest)
        {
            return Err(PutError::TagImmutable { tag: tag.to_owned(), repository: repository.to_owned() });
        }
        let manifest = check(&record, &document, media_type, self.door.now_ms())?;
        held.write_blob(&digest, bytes)?;
        // An image pushed again keeps the time at which it came first, as in ECR.
        let subject = manifest.subject.clone();
        record.manifests.entry(digest.clone()).or_insert(manifest);
        if let Some(tag) = tag {
            record.tags.insert(tag.to_owned(), digest.clone());
        }
        held.put(record)?;
        Ok(Stored { digest, subject })
    }
}

/// Checks that everything a manifest names is in the repository with the size it says.
fn check(
    record: &Repository,
    document: &Document,
    media_type: String,
    now_ms: UnixMillis,
) -> Result<Manifest, PutError> {
    let subject = match document {
        Document::Image(image) => image.subject().as_ref(),
        Document::Index(index) => index.subject().as_ref(),
    };
    let subject = subject.map(digest_of).transpose().map_err(PutError::Invalid)?;
    let mut manifest =
        Manifest { subject, media_type, pushed_at_ms: now_ms, size: 0, blobs: Vec::new(), children: Vec::new() };
    let mut missing = Vec::new();
    match document {
        Document::Image(image) => {
            for layer in image.layers() {
                manifest.size = manifest.size.saturating_add(layer.size());
            }
            for part in std::iter::once(image.config()).chain(image.layers()) {
                let digest = digest_of(part).map_err(PutError::Invalid)?;
                match record.blobs.get(&digest) {
                    Some(size) if *size != part.size() => {
                        return Err(PutError::Invalid(format!("{digest} has {size} bytes, not {}", part.size())));
                    }
                    Some(_) => manifest.blobs.push(digest),
                    None if is_foreign(part) => {}
                    None => missing.push(digest),
                }
            }
        }
        Document::Index(index) => {
            for part in index.manifests() {
                let digest = digest_of(part).map_err(PutError::Invalid)?;
                match record.manifests.get(&digest) {
                    Some(child) => {
                        manifest.size = manifest.size.max(child.size);
                        manifest.children.push(digest);
                    }
                    None => missing.push(digest),
                }
            }
        }
    }
    if missing.is_empty() { Ok(manifest) } else { Err(PutError::Missing(missing)) }
}

fn list(digests: &[Digest]) -> String {
    digests.iter().map(Digest::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_documents_say_why() {
        let digest = Digest::of(b"");
        let part =
            format!(r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":0}}"#);
        let image = format!(r#"{{"schemaVersion":2,"config":{part},"layers":[]}}"#);
        assert!(Document::read(Some(OCI_MANIFEST), image.as_bytes()).is_ok());
        assert!(Document::read(Some(DOCKER_MANIFEST), image.as_bytes()).is_ok());
        let both = format!(r#"{{"schemaVersion":2,"config":{part},"layers":[],"manifests":[]}}"#);
        for (declared, text, says) in [
            (Some(OCI_MANIFEST), "{", "not JSON"),
            (Some(OCI_MANIFEST), "[]", "schemaVersion"),
            (Some(OCI_MANIFEST), r#"{"schemaVersion":1}"#, "schemaVersion"),
            (Some(OCI_MANIFEST), r#"{"schemaVersion":2}"#, "config"),
            (None, &image, "neither"),
            (Some("application/json"), &image, "not supported"),
            (Some(OCI_MANIFEST), &both, "at once"),
            (Some(OCI_MANIFEST), r#"{"schemaVersion":2,"mediaType":"x/y"}"#, "but says"),
        ] {
            let reason = Document::read(declared, text.as_bytes()).err().unwrap_or_default();
            assert!(reason.contains(says), "{text}: {reason}");
        }
    }
}
