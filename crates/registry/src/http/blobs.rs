//! Reading and removing blobs.

use super::error::ApiError;
use super::{ResponseBody, body, off_loop};
use crate::Registry;
use crate::digest::Digest;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use std::fs::File;
use std::io;

/// What a Range header asks of a blob.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// First and last byte.
    Part(u64, u64),
    Unsatisfiable,
}

impl Registry {
    pub(super) fn get_blob(
        &self,
        head: &Parts,
        repository: &str,
        digest: &str,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let digest = Digest::parse(digest).ok_or_else(|| ApiError::bad_digest(digest))?;
        let size = {
            let held = self.store.hold();
            let record =
                held.get(repository).ok_or_else(|| ApiError::no_repository(repository, &self.config.account))?;
            let size = *record.blobs.get(&digest).ok_or_else(|| ApiError::blob_unknown(digest.as_str()))?;
            if head.method == Method::HEAD {
                // As clients ask before they push.
                self.touch(repository, &digest, true);
            }
            size
        };
        let file = File::open(self.store.blob_path(&digest)).map_err(|error| match error.kind() {
            // Removed since it was looked up.
            io::ErrorKind::NotFound => ApiError::blob_unknown(digest.as_str()),
            _ => error.into(),
        })?;
        let mut response = Response::builder()
            .header("docker-content-digest", digest.as_str())
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::ETAG, format!("\"{digest}\""));
        let (first, length) = match wanted(&head.headers, size) {
            Wanted::Whole => (0, size),
            Wanted::Part(first, last) => {
                response = response
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
                (first, last - first + 1)
            }
            Wanted::Unsatisfiable => {
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                return Err(ApiError::new(status, "SIZE_INVALID", format!("the blob has {size} bytes"))
                    .with_header(header::CONTENT_RANGE, format!("bytes */{size}")));
            }
        };
        let response = response.header(header::CONTENT_LENGTH, length);
        let body = match head.method {
            Method::HEAD => body::empty(),
            _ => body::FileBody::new(file, first, length).boxed(),
        };
        response.body(body).map_err(|error| io::Error::other(error).into())
    }

    pub(super) fn delete_blob(&self, repository: &str, digest: &str) -> Result<Response<ResponseBody>, ApiError> {
        let digest = Digest::parse(digest).ok_or_else(|| ApiError::bad_digest(digest))?;
        let mut held = self.store.hold();
        let mut record =
            held.get(repository).ok_or_else(|| ApiError::no_repository(repository, &self.config.account))?.clone();
        if record.blobs.remove(&digest).is_none() {
            return Err(ApiError::blob_unknown(digest.as_str()));
        }
        if let Some((image, _)) = record.manifests.iter().find(|(_, manifest)| manifest.blobs.contains(&digest)) {
            let message = format!("the blob belongs to image {image}: delete that first");
            return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message));
        }
        off_loop(|| held.put(record))?;
        held.sweep([digest]);
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }
}

/// Reads a Range header of one range. Others are left aside, as RFC 9110 allows: the whole is sent.
fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = range.and_then(|r| r.strip_prefix("bytes=")).and_then(|r| r.split_once('-')) else {
        return Wanted::Whole;
    };
    // Digits only: Rust's parser would take a sign too.
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (first, last) {
        ("", suffix) => match number(suffix) {
            Some(0) => Wanted::Unsatisfiable,
            Some(_) if size == 0 => Wanted::Unsatisfiable,
            Some(length) => Wanted::Part(size.saturating_sub(length), size - 1),
            None => Wanted::Whole,
        },
        (first, last) => match (number(first), if last.is_empty() { Some(u64::MAX) } else { number(last) }) {
            (Some(first), Some(last)) if first <= last && first < size => Wanted::Part(first, last.min(size - 1)),
            (Some(first), Some(last)) if first <= last => Wanted::Unsatisfiable,
            _ => Wanted::Whole,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        use Wanted::{Part, Unsatisfiable, Whole};
        for (text, size, expected) in [
            ("bytes=0-3", 10, Part(0, 3)),
            ("bytes=4-", 10, Part(4, 9)),
            ("bytes=4-99", 10, Part(4, 9)),
            ("bytes=-3", 10, Part(7, 9)),
            ("bytes=-30", 10, Part(0, 9)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-0", 0, Unsatisfiable),
            ("bytes=-1", 0, Unsatisfiable),
            ("bytes=5-4", 10, Whole),
            ("bytes=+1-4", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("items=0-1", 10, Whole),
            ("bytes=x", 10, Whole),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, text.parse().unwrap())]);
            assert_eq!(wanted(&headers, size), expected, "{text}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 10), Whole);
    }
}
