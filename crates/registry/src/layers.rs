//! Layers in parts, as the ECR API takes them, over the uploads of the distribution API.

use crate::Registry;
use crate::digest::Digest;
use crate::upload::UploadError;
use quarry_domain::image::{LayerError, LayerRecord, Layers, part_fits};

impl Layers for Registry {
    fn layer(&self, repository: &str, digest: &str) -> Result<Option<LayerRecord>, LayerError> {
        let held = self.store.hold();
        let record = held.get(repository).ok_or_else(|| LayerError::NoRepository(repository.to_owned()))?;
        let Some(digest) = Digest::parse(digest) else { return Ok(None) };
        if record.blobs.contains_key(&digest) {
            self.touch(repository, &digest, true);
        }
        let in_image = || record.manifests.values().any(|manifest| manifest.blobs.contains(&digest));
        Ok(record.blobs.get(&digest).map(|size| LayerRecord { size: *size, in_image: in_image() }))
    }

    fn begin_layer(&self, repository: &str) -> Result<String, LayerError> {
        self.begin_upload(repository).map_err(|error| failed(error, repository))
    }

    fn add_layer_part(
        &self,
        repository: &str,
        upload: &str,
        bounds: (u64, u64),
        bytes: &[u8],
    ) -> Result<u64, LayerError> {
        let mut held = self.try_upload(repository, upload).map_err(|error| failed(error, repository))?;
        let filling = held.as_mut().ok_or(LayerError::NoUpload)?;
        let received = filling.size();
        if !part_fits(received, bounds, bytes.len()) {
            return Err(LayerError::BadPart { received });
        }
        if received + bytes.len() as u64 > self.config.max_blob_bytes {
            return Err(LayerError::TooLarge(self.config.max_blob_bytes));
        }
        filling.write_part(bytes)?;
        Ok(filling.size())
    }

    fn finish_layer(&self, repository: &str, upload: &str, digests: &[String]) -> Result<String, LayerError> {
        let failed = |error| failed(error, repository);
        let held = self.try_upload(repository, upload).map_err(failed)?;
        let filled = held.as_ref().ok_or(LayerError::NoUpload)?;
        if filled.size() == 0 {
            return Err(LayerError::Empty);
        }
        if filled.has_short_part() {
            return Err(LayerError::PartTooSmall);
        }
        let digest = filled.check(digests).map_err(failed)?;
        if self.layer(repository, digest.as_str())?.is_some() {
            // Nothing else can become of it.
            self.uploads.forget(upload);
            return Err(LayerError::Exists(digest.into()));
        }
        self.commit_upload(repository, upload, held, &digest).map_err(failed)?;
        Ok(digest.into())
    }
}

fn failed(error: UploadError, repository: &str) -> LayerError {
    match error {
        UploadError::Unknown => LayerError::NoUpload,
        UploadError::Busy => LayerError::Busy,
        UploadError::TooMany => LayerError::TooMany,
        UploadError::TooLarge(limit) => LayerError::TooLarge(limit),
        UploadError::WrongDigest { actual } => LayerError::WrongDigest(actual.into()),
        UploadError::NoRepository => LayerError::NoRepository(repository.to_owned()),
        UploadError::Io(error) => LayerError::Io(error),
        UploadError::Body(why) => LayerError::Io(std::io::Error::other(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegistryConfig;
    use quarry_domain::door::Door;
    use quarry_domain::image::{ImageCatalog, MIN_LAYER_PART};
    use std::sync::Arc;

    fn registry(dir: &std::path::Path) -> Arc<Registry> {
        let config = RegistryConfig::new("000000000000", "us-east-1", Arc::default());
        let registry = Registry::open(dir, config, Door::system()).unwrap();
        registry.create_repository("api", false).unwrap();
        registry
    }

    #[test]
    fn parts_follow_each_other_and_become_a_layer() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry(dir.path());
        let (large, small) = (vec![1; MIN_LAYER_PART as usize], [2; 3]);
        let whole = [&large[..], &small].concat();
        let (right, wrong) = (Digest::of(&whole).to_string(), Digest::of(b"other").to_string());
        let id = registry.begin_layer("api").unwrap();
        let add =
            |first, bytes: &[u8]| registry.add_layer_part("api", &id, (first, first + bytes.len() as u64 - 1), bytes);
        let finish = |digest: &str| registry.finish_layer("api", &id, &[digest.to_owned()]);
        assert!(matches!(finish(&right), Err(LayerError::Empty)));
        assert!(matches!(add(1, &large), Err(LayerError::BadPart { received: 0 })));
        assert_eq!(add(0, &large).unwrap(), MIN_LAYER_PART);
        assert!(matches!(add(0, &large), Err(LayerError::BadPart { received: MIN_LAYER_PART })));
        assert_eq!(add(MIN_LAYER_PART, &small).unwrap(), whole.len() as u64);
        assert!(matches!(finish(&wrong), Err(LayerError::WrongDigest(actual)) if actual == right));
        assert_eq!(finish(&right).unwrap(), right, "a refusal left the upload as it was");
        assert!(matches!(finish(&right), Err(LayerError::NoUpload)));
        let known = registry.layer("api", &right).unwrap();
        assert_eq!(known, Some(LayerRecord { size: whole.len() as u64, in_image: false }));
        assert_eq!(registry.layer("api", &wrong).unwrap(), None);
        assert!(matches!(registry.layer("gone", &right), Err(LayerError::NoRepository(_))));

        let again = registry.begin_layer("api").unwrap();
        registry.add_layer_part("api", &again, (0, whole.len() as u64 - 1), &whole).unwrap();
        assert!(matches!(registry.finish_layer("api", &again, &[right]), Err(LayerError::Exists(_))));
        let left = std::fs::read_dir(dir.path().join("registry/uploads")).unwrap().count();
        assert_eq!(left, 0, "nothing of the second upload is left");
    }

    #[test]
    fn only_the_last_part_may_be_small() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry(dir.path());
        let id = registry.begin_layer("api").unwrap();
        registry.add_layer_part("api", &id, (0, 2), b"one").unwrap();
        registry.add_layer_part("api", &id, (3, 5), b"two").unwrap();
        let digest = Digest::of(b"onetwo").to_string();
        assert!(matches!(registry.finish_layer("api", &id, &[digest]), Err(LayerError::PartTooSmall)));
    }

    #[test]
    fn an_upload_that_is_being_written_or_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry(dir.path());
        registry.create_repository("other", false).unwrap();
        let id = registry.begin_layer("api").unwrap();
        let held = registry.try_upload("api", &id).unwrap();
        assert!(matches!(registry.add_layer_part("api", &id, (0, 0), b"x"), Err(LayerError::Busy)));
        drop(held);
        assert!(matches!(registry.add_layer_part("other", &id, (0, 0), b"x"), Err(LayerError::NoUpload)));
        assert!(matches!(registry.begin_layer("gone"), Err(LayerError::NoRepository(_))));
    }
}
