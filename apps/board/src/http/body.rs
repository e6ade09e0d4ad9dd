//! Request bodies, bounded in size and time, and JSON answers.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde_json::Value;

use super::Problem;

/// Bytes of a body at most: the longest post with every character escaped.
const MAX_BODY: usize = 128 * 1024;
/// A client that sends slower than this is told so.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// A JSON body, and its bytes as they came.
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// The document.
    pub value: Value,
}

/// A JSON answer that caches must ask about again.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let bytes =
        serde_json::to_vec(value).map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(json_bytes(status, bytes))
}

/// The same for a document that is written already.
pub(super) fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = (status, bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

impl<S: Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Body, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        let merge = essence.eq_ignore_ascii_case("application/merge-patch+json");
        if !merge && !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the body as application/json."));
        }
        let collecting = Limited::new(request.into_body(), MAX_BODY).collect();
        let collected = tokio::time::timeout(READ_LIMIT, collecting).await;
        let bytes = match collected {
            Err(_) => {
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time."));
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("The body is longer than {MAX_BODY} bytes."),
                ));
            }
            Ok(Err(_)) => return Err(Problem::bad_request("The body ended too early.")),
            Ok(Ok(collected)) => collected.to_bytes(),
        };
        let value =
            serde_json::from_slice(&bytes).map_err(|e| Problem::bad_request(format!("The body is not JSON: {e}.")))?;
        Ok(Body { bytes, value })
    }
}
