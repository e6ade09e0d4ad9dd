//! The distribution API's errors: a status, a code of the specification, a message.

use super::ResponseBody;
use super::body;
use crate::manifest::PutError;
use crate::upload::UploadError;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use quarry_domain::image::CatalogError;

/// An error as it is answered.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    detail: serde_json::Value,
    headers: Vec<(HeaderName, String)>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), detail: serde_json::Value::Null, headers: Vec::new() }
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "the path is not one of the distribution API")
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", format!("the methods here are {allowed}"))
            .with_header(header::ALLOW, allowed)
    }

    pub(super) fn unauthorized(host: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required").with_header(
            header::WWW_AUTHENTICATE,
            format!(r#"Basic realm="https://{host}/",service="ecr.amazonaws.com""#),
        )
    }

    /// Whose token it is may not do this.
    pub(super) fn denied(message: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "DENIED", message)
    }

    /// ECR's answer for a repository that was not created.
    pub(super) fn no_repository(name: &str, account: &str) -> Self {
        let message = format!("The repository with name '{name}' does not exist in the registry with id '{account}'");
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
    }

    pub(super) fn bad_name(name: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", format!("{name:?} is not a repository's name"))
    }

    pub(super) fn blob_unknown(digest: &str) -> Self {
        Self {
            detail: serde_json::json!({ "digest": digest }),
            ..Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to the registry")
        }
    }

    pub(super) fn bad_digest(text: &str) -> Self {
        Self {
            detail: serde_json::json!({ "digest": text }),
            ..Self::new(
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                "a digest is sha256: and 64 lower-case hexadecimal digits",
            )
        }
    }

    /// An error of the catalogue, for a request about `repository`.
    pub(super) fn catalog(error: CatalogError, account: &str) -> Self {
        match error {
            CatalogError::NoRepository(name) => Self::no_repository(&name, account),
            CatalogError::NoImage(message) => Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message),
            CatalogError::TagImmutable(message) => Self::new(StatusCode::BAD_REQUEST, "TAG_INVALID", message),
            CatalogError::Invalid(message) => Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message),
            CatalogError::RepositoryExists(_) | CatalogError::NotEmpty(_) => {
                Self::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", error.to_string())
            }
            CatalogError::Io(error) => error.into(),
        }
    }

    pub(super) fn put(error: PutError, repository: &str, account: &str) -> Self {
        let message = error.to_string();
        match error {
            PutError::NoRepository => Self::no_repository(repository, account),
            PutError::BadTag(_) | PutError::TagImmutable { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "TAG_INVALID", message)
            }
            PutError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message),
            PutError::Invalid(_) => {
                Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", format!("manifest invalid: {message}"))
            }
            PutError::WrongDigest { .. } => Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message),
            PutError::Missing(digests) => {
                let detail = digests.iter().map(|d| serde_json::json!({ "digest": d.as_str() })).collect();
                Self { detail, ..Self::new(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", message) }
            }
            PutError::Io(error) => error.into(),
        }
    }

    pub(super) fn upload(error: UploadError, repository: &str, account: &str) -> Self {
        let message = error.to_string();
        match error {
            UploadError::Unknown => Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", message),
            UploadError::Busy => Self::new(StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID", message),
            UploadError::TooMany => Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message)
                .with_header(header::RETRY_AFTER, "1"),
            UploadError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message),
            UploadError::Body(_) => Self::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message),
            UploadError::WrongDigest { .. } => Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message),
            UploadError::NoRepository => Self::no_repository(repository, account),
            UploadError::Io(error) => error.into(),
        }
    }

    pub(super) fn into_response(self) -> Response<ResponseBody> {
        let errors = serde_json::json!({
            "errors": [{ "code": self.code, "message": self.message, "detail": self.detail }]
        });
        let mut response = body::json(self.status, &errors);
        for (name, value) in self.headers {
            // A name from outside may hold what a header may not.
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        tracing::error!(%error, "the registry's storage failed");
        let message = format!("the registry's storage failed: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", message)
    }
}
