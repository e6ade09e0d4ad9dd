//! Manifests over HTTP.

use super::error::ApiError;
use super::{ResponseBody, body, off_loop};
use crate::Registry;
use crate::digest::Digest;
use crate::manifest::{MAX_MANIFEST, PutAs, PutError, Stored};
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use quarry_domain::image::ImageCatalog;
use std::io;

impl Registry {
    pub(super) fn get_manifest(
        &self,
        head: &Parts,
        repository: &str,
        reference: &str,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let (media_type, digest, bytes) =
            self.manifest(repository, reference).map_err(|error| ApiError::catalog(error, &self.config.account))?;
        let response = Response::builder()
            .header(header::CONTENT_TYPE, media_type)
            .header(header::CONTENT_LENGTH, bytes.len())
            .header("docker-content-digest", &digest)
            .header(header::ETAG, format!("\"{digest}\""));
        let body = if head.method == Method::HEAD { body::empty() } else { body::full(bytes.into()) };
        response.body(body).map_err(|error| io::Error::other(error).into())
    }

    pub(super) async fn put_manifest_over_http<B>(
        &self,
        head: &Parts,
        body: B,
        repository: &str,
        reference: &str,
    ) -> Result<Response<ResponseBody>, ApiError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let fail = |error| ApiError::put(error, repository, &self.config.account);
        if body.size_hint().lower() > MAX_MANIFEST as u64 {
            return Err(fail(PutError::TooLarge));
        }
        let bytes = self.read_manifest(body).await.map_err(fail)?;
        let wanted = Digest::parse(reference);
        if wanted.is_none() && reference.contains(':') {
            return Err(ApiError::bad_digest(reference));
        }
        let name = wanted.as_ref().map_or(PutAs::Tag(reference), PutAs::Digest);
        let declared = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let Stored { digest, subject } =
            off_loop(|| self.store_manifest(repository, name, declared, &bytes)).map_err(fail)?;
        let mut response = Response::builder()
            .status(StatusCode::CREATED)
            .header(header::LOCATION, format!("/v2/{repository}/manifests/{digest}"))
            .header("docker-content-digest", digest.as_str())
            .header(header::CONTENT_LENGTH, 0);
        if let Some(subject) = subject {
            // Says that the referrers list has it, so that the client need not keep one itself.
            response = response.header("oci-subject", subject.as_str());
        }
        response.body(body::empty()).map_err(|error| io::Error::other(error).into())
    }

    pub(super) fn delete_manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Response<ResponseBody>, ApiError> {
        off_loop(|| self.delete_image(repository, reference))
            .map_err(|error| ApiError::catalog(error, &self.config.account))?;
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }

    async fn read_manifest<B>(&self, body: B) -> Result<Bytes, PutError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let body = body.map_err(|error| io::Error::other(error.to_string()));
        let limited = std::pin::pin!(Limited::new(body, MAX_MANIFEST));
        match tokio::time::timeout(self.config.body_idle, limited.collect()).await {
            Err(_) => Err(PutError::Invalid("it did not come in time".to_owned())),
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(PutError::TooLarge),
            Ok(Err(error)) => Err(PutError::Invalid(format!("the request's body broke off: {error}"))),
        }
    }
}
