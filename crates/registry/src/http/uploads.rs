//! Uploads over HTTP: in one piece, in several, and resumed.

use super::error::ApiError;
use super::{ResponseBody, body, off_loop, query};
use crate::Registry;
use crate::digest::Digest;
use crate::reference::valid_repository;
use crate::upload::{HeldUpload, UploadError};
use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode, header};
use hyper::body::Body;
use std::io;

impl Registry {
    pub(super) async fn post_upload<B>(
        &self,
        head: &Parts,
        body: B,
        repository: &str,
        may_mount: bool,
    ) -> Result<Response<ResponseBody>, ApiError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        if !valid_repository(repository) {
            return Err(ApiError::bad_name(repository));
        }
        if let (Some(mount), Some(from)) = (query(head, "mount"), query(head, "from"))
            && may_mount
        {
            let digest = Digest::parse(&mount).ok_or_else(|| ApiError::bad_digest(&mount))?;
            if off_loop(|| self.mount_blob(repository, &from, &digest))
                .map_err(|error| self.failed(error, repository))?
            {
                return created(repository, &digest);
            }
        }
        let digest = match query(head, "digest") {
            Some(digest) => Some(Digest::parse(&digest).ok_or_else(|| ApiError::bad_digest(&digest))?),
            None => None,
        };
        let id = self.begin_upload(repository).map_err(|error| self.failed(error, repository))?;
        let Some(digest) = digest else { return self.progress(StatusCode::ACCEPTED, repository, &id, 0) };
        // In one piece: nobody knows this upload's id, so it goes if the request does.
        let forget = Forget { registry: self, id: &id };
        let held = self.take_upload(repository, &id).await.map_err(|error| self.failed(error, repository))?;
        let response = self.finish(head, body, repository, &id, held, &digest).await;
        drop(forget);
        response
    }

    pub(super) async fn upload_status(&self, repository: &str, id: &str) -> Result<Response<ResponseBody>, ApiError> {
        let held = self.take_upload(repository, id).await.map_err(|error| self.failed(error, repository))?;
        let size = held.as_ref().map_or(0, |upload| upload.size());
        self.progress(StatusCode::NO_CONTENT, repository, id, size)
    }

    pub(super) async fn patch_upload<B>(
        &self,
        head: &Parts,
        body: B,
        repository: &str,
        id: &str,
    ) -> Result<Response<ResponseBody>, ApiError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let held = self.take_upload(repository, id).await.map_err(|error| self.failed(error, repository))?;
        let held = self.add(head, body, repository, id, held).await?;
        let size = held.as_ref().map_or(0, |upload| upload.size());
        self.progress(StatusCode::ACCEPTED, repository, id, size)
    }

    pub(super) async fn put_upload<B>(
        &self,
        head: &Parts,
        body: B,
        repository: &str,
        id: &str,
    ) -> Result<Response<ResponseBody>, ApiError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let digest = query(head, "digest").unwrap_or_default();
        let digest = Digest::parse(&digest).ok_or_else(|| ApiError::bad_digest(&digest))?;
        let held = self.take_upload(repository, id).await.map_err(|error| self.failed(error, repository))?;
        self.finish(head, body, repository, id, held, &digest).await
    }

    pub(super) async fn delete_upload(&self, repository: &str, id: &str) -> Result<Response<ResponseBody>, ApiError> {
        let mut held = self.take_upload(repository, id).await.map_err(|error| self.failed(error, repository))?;
        self.uploads.forget(id);
        drop(held.take());
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// Adds the last piece and makes the upload a blob.
    async fn finish<B>(
        &self,
        head: &Parts,
        body: B,
        repository: &str,
        id: &str,
        held: HeldUpload,
        digest: &Digest,
    ) -> Result<Response<ResponseBody>, ApiError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let held = self.add(head, body, repository, id, held).await?;
        off_loop(|| self.commit_upload(repository, id, held, digest))
            .map_err(|error| self.failed(error, repository))?;
        created(repository, digest)
    }

    /// Adds a request's body to an upload, as its Content-Range says.
    async fn add<B>(
        &self,
        head: &Parts,
        body: B,
        repository: &str,
        id: &str,
        held: HeldUpload,
    ) -> Result<HeldUpload, ApiError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let size = held.as_ref().map_or(0, |upload| upload.size());
        let mut end = None;
        if let Some(range) = head.headers.get(header::CONTENT_RANGE) {
            let invalid = || {
                let message = "Content-Range must be <first>-<last>";
                ApiError::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message)
            };
            let (first, last) = range.to_str().ok().and_then(content_range).ok_or_else(invalid)?;
            if first != size {
                let message =
                    format!("the upload has {size} bytes, so the next piece must begin there, not at {first}");
                let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message);
                return Err(error
                    .with_header(header::LOCATION, location(repository, id))
                    .with_header(header::RANGE, received(size)));
            }
            end = last.checked_add(1);
        }
        let mark = held.as_ref().map(|upload| upload.mark());
        let (held, result) = self.append(held, body).await;
        match &result {
            Err(UploadError::TooLarge(_)) => self.uploads.forget(id),
            Err(UploadError::Io(error)) => tracing::warn!(upload = id, %error, "an upload could not be written"),
            Ok(()) | Err(_) => {}
        }
        result.map_err(|error| self.failed(error, repository))?;
        let mut held = held.ok_or_else(|| self.failed(UploadError::Unknown, repository))?;
        let now = held.as_ref().map_or(0, |upload| upload.size());
        if let (Some(end), Some(mark), Some(upload)) = (end, mark, held.as_mut())
            && end != now
        {
            upload.go_back(mark);
            let message = format!("Content-Range announced {} bytes, {} came", end - size, now - size);
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", message));
        }
        Ok(held)
    }

    fn progress(
        &self,
        status: StatusCode,
        repository: &str,
        id: &str,
        size: u64,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let mut response = Response::builder()
            .status(status)
            .header(header::LOCATION, location(repository, id))
            .header(header::RANGE, received(size))
            .header("docker-upload-uuid", id);
        if status != StatusCode::NO_CONTENT {
            response = response.header(header::CONTENT_LENGTH, 0);
        }
        response.body(body::empty()).map_err(|error| io::Error::other(error).into())
    }

    fn failed(&self, error: UploadError, repository: &str) -> ApiError {
        ApiError::upload(error, repository, &self.config.account)
    }
}

/// Forgets an upload when the request that owns it ends, also when it is cut off.
struct Forget<'a> {
    registry: &'a Registry,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.registry.uploads.forget(self.id);
    }
}

fn created(repository: &str, digest: &Digest) -> Result<Response<ResponseBody>, ApiError> {
    Response::builder()
        .status(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .header("docker-content-digest", digest.as_str())
        .header(header::CONTENT_LENGTH, 0)
        .body(body::empty())
        .map_err(|error| io::Error::other(error).into())
}

fn location(repository: &str, id: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// The Range header that says how much has come. Of an empty upload it is `0-0`, as registries have it.
fn received(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

/// Reads `<first>-<last>`, the form of the distribution API; `bytes <first>-<last>/<whole>` is taken too.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let text = text.strip_prefix("bytes ").map_or(text, |t| t.split('/').next().unwrap_or(t));
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}
