//! The list of manifests that are about another one: signatures, attestations, bills of material.

use super::error::ApiError;
use super::{ResponseBody, body, query};
use crate::Registry;
use crate::digest::Digest;
use crate::manifest::Document;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Registry {
    pub(super) fn list_referrers(
        &self,
        head: &Parts,
        repository: &str,
        digest: &str,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let subject = Digest::parse(digest).ok_or_else(|| ApiError::bad_digest(digest))?;
        let filter = query(head, "artifactType");
        let mut manifests = Vec::new();
        {
            let held = self.store.hold();
            let record =
                held.get(repository).ok_or_else(|| ApiError::no_repository(repository, &self.config.account))?;
            for (digest, manifest) in record.manifests.iter().filter(|(_, m)| m.subject.as_ref() == Some(&subject)) {
                let bytes = self.store.read_small(digest)?;
                let (_, document) = Document::read(Some(&manifest.media_type), &bytes)
                    .map_err(|reason| ApiError::from(std::io::Error::other(reason)))?;
                let kind = artifact_type(&document);
                if filter.is_none() || filter == kind {
                    manifests.push(describe(&document, &manifest.media_type, digest, bytes.len(), kind));
                }
            }
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let mut response = body::json(StatusCode::OK, &index);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(INDEX));
        if filter.is_some() {
            response.headers_mut().insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }
}

/// Of an image without one, its configuration's media type stands for it.
fn artifact_type(document: &Document) -> Option<String> {
    match document {
        Document::Image(image) => {
            Some(image.artifact_type().as_ref().unwrap_or_else(|| image.config().media_type()).to_string())
        }
        Document::Index(index) => index.artifact_type().as_ref().map(ToString::to_string),
    }
}

fn describe(document: &Document, media_type: &str, digest: &Digest, size: usize, kind: Option<String>) -> Value {
    let annotations = match document {
        Document::Image(image) => image.annotations().as_ref(),
        Document::Index(index) => index.annotations().as_ref(),
    };
    let mut descriptor = json!({ "mediaType": media_type, "digest": digest.as_str(), "size": size });
    if let Some(kind) = kind {
        descriptor["artifactType"] = kind.into();
    }
    if let Some(annotations) = annotations {
        descriptor["annotations"] = json!(annotations);
    }
    descriptor
}
