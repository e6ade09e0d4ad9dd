//! The data channels of ExecuteCommand: from an HTTP request to a WebSocket.

use super::front::{Body, full, plain};
use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use quarry_control::Platform;
use quarry_control::ecs::exec;
use std::sync::Arc;

/// What RFC 6455 has appended to a client's key.
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Upgrades the request of a session that waits for it; the session goes on by itself then.
pub fn open(platform: &Arc<Platform>, mut request: Request<Incoming>) -> Response<Body> {
    let id = request.uri().path().strip_prefix(exec::PATH).unwrap_or_default().to_owned();
    if !platform.sessions.waits(&platform.door, &id) {
        return plain(StatusCode::NOT_FOUND, "there is no such session, or it was opened before");
    }
    let Some(accepted) = accepted(request.method(), request.headers()) else {
        let mut refused = plain(StatusCode::UPGRADE_REQUIRED, "a data channel is a WebSocket of version 13");
        refused.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, header::HeaderValue::from_static("13"));
        return refused;
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let upgrade = hyper::upgrade::on(&mut request);
    let platform = platform.clone();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => exec::serve(platform, id, query, TokioIo::new(stream)).await,
            Err(error) => tracing::debug!(%error, "a data channel was not opened"),
        }
    });
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "websocket")] {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    if let Ok(value) = accepted.parse() {
        response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, value);
    }
    response
}

/// `Sec-WebSocket-Accept`; `None` where this is no request for a WebSocket.
fn accepted(method: &Method, headers: &HeaderMap) -> Option<String> {
    let has = |name: header::HeaderName, wanted: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted))
    };
    let wanted = *method == Method::GET
        && has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?.trim();
    let digest = quarry_wire::hash::sha1(format!("{key}{SALT}").as_bytes());
    wanted.then(|| base64::engine::general_purpose::STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_own_key_is_accepted() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, header::HeaderValue::from_static(value));
        }
        assert_eq!(accepted(&Method::GET, &headers).as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(accepted(&Method::POST, &headers), None);
        headers.remove(header::UPGRADE);
        assert_eq!(accepted(&Method::GET, &headers), None);
    }
}
