//! The repositories and their images, as the ECR API manages them.

use crate::Registry;
use crate::digest::Digest;
use crate::manifest::{PutAs, PutError};
use crate::reference::{REPOSITORY_PATTERN, valid_repository};
use crate::store::{Held, Repository};
use quarry_domain::image::{CatalogError, Collected, ImageCatalog, ImageRecord};
use std::collections::BTreeSet;

/// ECR's words for an image that is not there.
pub(crate) const IMAGE_NOT_FOUND: &str = "Requested image not found";

impl ImageCatalog for Registry {
    fn create_repository(&self, name: &str, immutable_tags: bool) -> Result<(), CatalogError> {
        if !valid_repository(name) {
            return Err(CatalogError::Invalid(format!(
                "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression '{REPOSITORY_PATTERN}''"
            )));
        }
        let mut held = self.store.hold();
        if held.get(name).is_some() {
            return Err(CatalogError::RepositoryExists(name.to_owned()));
        }
        held.put(Repository::new(name, immutable_tags, self.door.now_ms()))?;
        Ok(())
    }

    fn set_immutable_tags(&self, name: &str, immutable_tags: bool) -> Result<(), CatalogError> {
        let mut held = self.store.hold();
        let record = record(&held, name)?;
        if record.immutable_tags != immutable_tags {
            let changed = Repository { immutable_tags, ..record.clone() };
            held.put(changed)?;
        }
        Ok(())
    }

    fn delete_repository(&self, name: &str, force: bool) -> Result<(), CatalogError> {
        let mut held = self.store.hold();
        let record = record(&held, name)?;
        if !force && !record.manifests.is_empty() {
            return Err(CatalogError::NotEmpty(name.to_owned()));
        }
        held.remove(name)?;
        Ok(())
    }

    fn repositories(&self) -> Result<Vec<String>, CatalogError> {
        Ok(self.store.hold().names())
    }

    fn images(&self, repository: &str) -> Result<Vec<ImageRecord>, CatalogError> {
        let held = self.store.hold();
        let record = record(&held, repository)?;
        let image = |(digest, manifest): (&Digest, &crate::store::Manifest)| ImageRecord {
            digest: digest.to_string(),
            tags: record.tags.iter().filter(|(_, d)| *d == digest).map(|(tag, _)| tag.clone()).collect(),
            media_type: manifest.media_type.clone(),
            size: manifest.size,
            pushed_at_ms: manifest.pushed_at_ms,
        };
        Ok(record.manifests.iter().map(image).collect())
    }

    fn manifest(&self, repository: &str, reference: &str) -> Result<(String, String, Vec<u8>), CatalogError> {
        let held = self.store.hold();
        let record = record(&held, repository)?;
        let found = record.find(reference).and_then(|digest| Some((digest, record.manifests.get(digest)?)));
        let (digest, manifest) = found.ok_or_else(not_found)?;
        let bytes = self.store.read_small(digest)?;
        Ok((manifest.media_type.clone(), digest.to_string(), bytes))
    }

    fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<String, CatalogError> {
        let name = tag.map_or(PutAs::AnyDigest, PutAs::Tag);
        self.store_manifest(repository, name, Some(media_type), bytes).map(|stored| stored.digest.into()).map_err(
            |error| match error {
                PutError::NoRepository => CatalogError::NoRepository(repository.to_owned()),
                PutError::TagImmutable { .. } => CatalogError::TagImmutable(error.to_string()),
                PutError::Io(error) => CatalogError::Io(error),
                PutError::BadTag(_)
                | PutError::TooLarge
                | PutError::Invalid(_)
                | PutError::WrongDigest { .. }
                | PutError::Missing(_) => CatalogError::Invalid(error.to_string()),
            },
        )
    }

    fn collect(&self) -> Result<Collected, CatalogError> {
        Ok(self.collect_garbage()?)
    }

    fn delete_image(&self, repository: &str, reference: &str) -> Result<(), CatalogError> {
        let mut held = self.store.hold();
        let mut changed = record(&held, repository)?.clone();
        let Some(digest) = Digest::parse(reference) else {
            changed.tags.remove(reference).ok_or_else(not_found)?;
            held.put(changed)?;
            return Ok(());
        };
        if !changed.manifests.contains_key(&digest) {
            return Err(not_found());
        }
        let parents: Vec<&str> = changed
            .manifests
            .iter()
            .filter(|(_, manifest)| manifest.children.contains(&digest))
            .map(|(parent, _)| parent.as_str())
            .collect();
        if !parents.is_empty() {
            return Err(CatalogError::Invalid(format!(
                "Requested image referenced by manifest list: [{}]",
                parents.join(", ")
            )));
        }
        let gone = changed.manifests.remove(&digest).ok_or_else(not_found)?;
        changed.tags.retain(|_, tagged| *tagged != digest);
        // Its layers go from this repository, unless another image here has them too, or one that is being pushed.
        let kept: BTreeSet<Digest> = changed.manifests.values().flat_map(|m| &m.blobs).cloned().collect();
        let dropped: Vec<Digest> = gone
            .blobs
            .into_iter()
            .filter(|blob| !kept.contains(blob) && !self.is_counted_on(repository, blob))
            .collect();
        for blob in &dropped {
            changed.blobs.remove(blob);
        }
        held.put(changed)?;
        held.sweep(dropped.into_iter().chain([digest]));
        Ok(())
    }
}

fn record<'a>(held: &'a Held<'_>, name: &str) -> Result<&'a Repository, CatalogError> {
    held.get(name).ok_or_else(|| CatalogError::NoRepository(name.to_owned()))
}

fn not_found() -> CatalogError {
    CatalogError::NoImage(IMAGE_NOT_FOUND.to_owned())
}
