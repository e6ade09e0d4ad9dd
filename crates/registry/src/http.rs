//! The distribution API (`/v2/`), after the OCI distribution specification 1.1, with ECR's rules: a repository must
//! exist before it is pushed to, and immutable tags stay.

mod blobs;
mod body;
mod error;
mod lists;
mod manifests;
mod referrers;
mod uploads;

use crate::Registry;
use bytes::Bytes;
use error::ApiError;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use hyper::body::Body;
use percent_encoding::percent_decode_str;
use quarry_domain::image::{DOWNLOAD_GRANT, RegistryAccess, RegistryAuth, RegistryUse};
use std::io;

/// Body of the registry's responses. An error in it breaks the connection off, so that no client takes a part for
/// the whole.
pub type ResponseBody = BoxBody<Bytes, io::Error>;

/// What a path under `/v2/` names.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Base,
    Catalog,
    Tags { repository: String },
    Manifest { repository: String, reference: String },
    Blob { repository: String, digest: String },
    Referrers { repository: String, digest: String },
    NewUpload { repository: String },
    Upload { repository: String, id: String },
}

impl Registry {
    /// Answers a request under `/v2/`. Request bodies go to disk as they come; no blob is held in memory.
    pub async fn handle<B>(&self, request: Request<B>, auth: &dyn RegistryAuth) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let mut response = match self.dispatch(request, auth).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        };
        let version = HeaderValue::from_static("registry/2.0");
        response.headers_mut().insert("docker-distribution-api-version", version);
        response
    }

    async fn dispatch<B>(
        &self,
        request: Request<B>,
        auth: &dyn RegistryAuth,
    ) -> Result<Response<ResponseBody>, ApiError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let route = Route::of(request.uri().path());
        let wanted = route.as_ref().ok().and_then(|route| route.asks_for(request.method()));
        match auth.allows(authorization, wanted) {
            RegistryAccess::Allowed => {}
            RegistryAccess::Denied(message) => return Err(ApiError::denied(message)),
            RegistryAccess::Unknown if granted(&request, auth) => {}
            RegistryAccess::Unknown => return Err(ApiError::unauthorized(&self.config.ecr_host())),
        }
        // A blob is taken over only from where its bearer may read it.
        let may_mount = parameter(request.uri(), "from").is_none_or(|from| {
            let read = RegistryUse { action: "ecr:GetDownloadUrlForLayer", repository: Some(&from) };
            auth.allows(authorization, Some(read)) == RegistryAccess::Allowed
        });
        let (head, body) = request.into_parts();
        let route = route?;
        let get = head.method == Method::GET || head.method == Method::HEAD;
        match route {
            Route::Base if get => Ok(body::json(StatusCode::OK, &serde_json::json!({}))),
            Route::Base => Err(ApiError::method("GET, HEAD")),
            Route::Catalog if get => self.list_repositories(&head),
            Route::Catalog => Err(ApiError::method("GET, HEAD")),
            Route::Tags { repository } if get => self.list_tags(&head, &repository),
            Route::Tags { .. } => Err(ApiError::method("GET, HEAD")),
            Route::Referrers { repository, digest } if get => self.list_referrers(&head, &repository, &digest),
            Route::Referrers { .. } => Err(ApiError::method("GET, HEAD")),
            Route::Manifest { repository, reference } => match head.method {
                Method::GET | Method::HEAD => self.get_manifest(&head, &repository, &reference),
                Method::PUT => self.put_manifest_over_http(&head, body, &repository, &reference).await,
                Method::DELETE => self.delete_manifest(&repository, &reference),
                _ => Err(ApiError::method("GET, HEAD, PUT, DELETE")),
            },
            Route::Blob { repository, digest } => match head.method {
                Method::GET | Method::HEAD => self.get_blob(&head, &repository, &digest),
                Method::DELETE => self.delete_blob(&repository, &digest),
                _ => Err(ApiError::method("GET, HEAD, DELETE")),
            },
            Route::NewUpload { repository } => match head.method {
                Method::POST => self.post_upload(&head, body, &repository, may_mount).await,
                _ => Err(ApiError::method("POST")),
            },
            Route::Upload { repository, id } => match head.method {
                Method::GET | Method::HEAD => self.upload_status(&repository, &id).await,
                Method::PATCH => self.patch_upload(&head, body, &repository, &id).await,
                Method::PUT => self.put_upload(&head, body, &repository, &id).await,
                Method::DELETE => self.delete_upload(&repository, &id).await,
                _ => Err(ApiError::method("GET, HEAD, PATCH, PUT, DELETE")),
            },
        }
    }
}

impl Route {
    /// What IAM is asked about a request, as ECR asks for pushing and pulling.
    fn asks_for(&self, method: &Method) -> Option<RegistryUse<'_>> {
        let reads = method == Method::GET || method == Method::HEAD;
        let (action, repository) = match self {
            Self::Base => return None,
            Self::Catalog => ("ecr:DescribeRepositories", None),
            Self::Tags { repository } => ("ecr:ListImages", Some(repository)),
            Self::Referrers { repository, .. } => ("ecr:BatchGetImage", Some(repository)),
            Self::Manifest { repository, .. } if reads => ("ecr:BatchGetImage", Some(repository)),
            Self::Manifest { repository, .. } if method == Method::PUT => ("ecr:PutImage", Some(repository)),
            Self::Manifest { repository, .. } => ("ecr:BatchDeleteImage", Some(repository)),
            Self::Blob { repository, .. } if method == Method::HEAD => {
                ("ecr:BatchCheckLayerAvailability", Some(repository))
            }
            Self::Blob { repository, .. } if reads => ("ecr:GetDownloadUrlForLayer", Some(repository)),
            Self::Blob { repository, .. } => ("ecr:BatchDeleteImage", Some(repository)),
            Self::NewUpload { repository } => ("ecr:InitiateLayerUpload", Some(repository)),
            Self::Upload { repository, .. } if method == Method::PUT => ("ecr:CompleteLayerUpload", Some(repository)),
            Self::Upload { repository, .. } => ("ecr:UploadLayerPart", Some(repository)),
        };
        Some(RegistryUse { action, repository: repository.map(String::as_str) })
    }

    /// Reads a path. Repository names have slashes, so the end of the path decides.
    fn of(path: &str) -> Result<Self, ApiError> {
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or_else(ApiError::no_route)?,
            None => return Err(ApiError::no_route()),
        };
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        let parts: Vec<&str> = rest.split('/').collect();
        let name = |parts: &[&str]| decode(&parts.join("/"));
        Ok(match parts.as_slice() {
            [repository @ .., "tags", "list"] => Self::Tags { repository: name(repository)? },
            [repository @ .., "manifests", reference] => {
                Self::Manifest { repository: name(repository)?, reference: decode(reference)? }
            }
            [repository @ .., "referrers", digest] => {
                Self::Referrers { repository: name(repository)?, digest: decode(digest)? }
            }
            [repository @ .., "blobs", "uploads"] | [repository @ .., "blobs", "uploads", ""] => {
                Self::NewUpload { repository: name(repository)? }
            }
            [repository @ .., "blobs", "uploads", id] => {
                Self::Upload { repository: name(repository)?, id: decode(id)? }
            }
            [repository @ .., "blobs", digest] => Self::Blob { repository: name(repository)?, digest: decode(digest)? },
            _ => return Err(ApiError::no_route()),
        })
    }
}

/// Whether the URL itself lets its bearer read a blob: what `GetDownloadUrlForLayer` hands out.
fn granted<B>(request: &Request<B>, auth: &dyn RegistryAuth) -> bool {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return false;
    }
    match (Route::of(request.uri().path()), parameter(request.uri(), DOWNLOAD_GRANT)) {
        (Ok(Route::Blob { repository, digest }), Some(grant)) => auth.allows_download(&repository, &digest, &grant),
        _ => false,
    }
}

/// The value of a query parameter, decoded.
fn query(head: &http::request::Parts, name: &str) -> Option<String> {
    parameter(&head.uri, name)
}

fn parameter(uri: &http::Uri, name: &str) -> Option<String> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

/// Does what waits for the disk without holding up the other connections of this thread, where the runtime can.
fn off_loop<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn decode(text: &str) -> Result<String, ApiError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(ApiError::no_route()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let r = || "a/b".to_owned();
        for (path, route) in [
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/_catalog", Route::Catalog),
            ("/v2/a/b/tags/list", Route::Tags { repository: r() }),
            ("/v2/a/b/manifests/v1", Route::Manifest { repository: r(), reference: "v1".into() }),
            ("/v2/a/b/blobs/sha256%3Aaa", Route::Blob { repository: r(), digest: "sha256:aa".into() }),
            ("/v2/a/b/blobs/uploads", Route::NewUpload { repository: r() }),
            ("/v2/a/b/blobs/uploads/", Route::NewUpload { repository: r() }),
            ("/v2/a/b/blobs/uploads/x", Route::Upload { repository: r(), id: "x".into() }),
            ("/v2/blobs/tags/list", Route::Tags { repository: "blobs".into() }),
        ] {
            assert_eq!(Route::of(path).ok(), Some(route), "{path}");
        }
        for path in ["/", "/v1/", "/v2x", "/v2/a", "/v2/a/b/c", "/v2/a/manifests/%ff"] {
            assert!(Route::of(path).is_err(), "{path}");
        }
    }
}
