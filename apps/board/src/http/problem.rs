//! Errors as `application/problem+json` (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::db::DbError;

/// An error answer: a status, one sentence, and where it helps the fields that are wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status, repeated in the body.
    pub status: StatusCode,
    /// One sentence for the person who reads it.
    pub detail: String,
    /// What is wrong with single fields: JSON pointer and sentence.
    pub errors: Vec<(String, String)>,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
    /// The feature that another database writes now: the balancer may send the request there.
    pub fenced: Option<String>,
}

impl Problem {
    /// A problem with a status and a sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), errors: Vec::new(), retry_after: None, fenced: None }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: the request contradicts what is stored.
    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    /// 422 with the fields that are wrong.
    pub fn invalid(errors: Vec<(String, String)>) -> Problem {
        Problem {
            errors,
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "Some fields are not acceptable; see errors.")
        }
    }

    /// 503 with `Retry-After: 1`.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem { retry_after: Some(1), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }
}

impl From<cut_kit::fence::Refused> for Problem {
    fn from(refused: cut_kit::fence::Refused) -> Problem {
        tracing::info!(feature = refused.scope(), "not executed: {refused}");
        let status = StatusCode::from_u16(cut_kit::fence::STATUS).unwrap_or(StatusCode::MISDIRECTED_REQUEST);
        Problem {
            fenced: Some(refused.scope().to_owned()),
            retry_after: Some(1),
            ..Problem::new(status, format!("{refused}; the request changed nothing here."))
        }
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Problem {
        match error {
            DbError::Unique => Problem::conflict("That value is taken already."),
            DbError::Unavailable(reason) => {
                tracing::warn!(reason, "storage unavailable");
                Problem::unavailable("The storage does not answer at the moment.")
            }
            DbError::Full(reason) => {
                tracing::error!(reason, "storage full");
                Problem::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "The storage is full; the request changed nothing. Make room and try again.",
                )
            }
            DbError::Fenced(feature) => cut_kit::fence::Refused::NotOwner(feature).into(),
            DbError::Failed(reason) => {
                tracing::error!(reason, "storage failed");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The storage failed; the request changed nothing.")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            let errors = self.errors.into_iter();
            body["errors"] =
                errors.map(|(pointer, detail)| json!({ "pointer": pointer, "detail": detail })).collect::<Value>();
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(feature) = self.fenced.and_then(|feature| HeaderValue::from_str(&feature).ok()) {
            headers.insert(cut_kit::contract::FENCED_HEADER, feature);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
