//! The server's side of AWS's protocols.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use quarry_wire::server::{self, Call, Reply};
use quarry_wire::{Timestamp, sigv4};

use super::common::Received;

pub fn http(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(Bytes::from(reply.body))).expect("a response")
}

/// What is called, by one of these keys in this region; otherwise the refusal.
pub fn authentic<'a>(
    received: &'a Received,
    region: &str,
    keys: impl FnOnce(&str) -> Option<sigv4::Credentials>,
) -> Result<Call<'a>, Reply> {
    let call =
        server::identify(quarry_aws::SERVICES, &received.method, &received.uri, &received.headers, &received.body);
    let call = call.map_err(|refusal| refusal.reply("r"))?;
    let request = sigv4::Request {
        method: received.method.as_str(),
        path: received.uri.path(),
        query: received.uri.query().unwrap_or_default(),
        headers: &received.headers,
        body: &received.body,
    };
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = Timestamp::from_millis(i64::try_from(millis).expect("in range"));
    let expected = sigv4::Expected { region: Some(region), service: Some(call.service.signing_name) };
    match sigv4::verify(&request, now, expected, keys) {
        Ok(_) => Ok(call),
        Err(failure) => Err(server::reply_error(call.protocol, call.service, &failure.error(call.protocol), "r")),
    }
}
