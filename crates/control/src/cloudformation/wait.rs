//! Wait condition handles: signed URLs of this endpoint to which signals are put (AWS's documentation, "Create wait
//! conditions in a CloudFormation template"). A handle's signals are kept with its record and go with it.

use super::records::{ResourceStatus, StackResource};
use crate::api::Ctx;
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use bytes::Bytes;
use http::{Method, Response, StatusCode, request};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the path of every handle's URL begins with, as with Amazon S3's bucket for them; the region follows.
pub const PATH: &str = "/cloudformation-waitcondition-";

/// How long a URL takes signals: as long as the longest wait (12 hours), and as long for what comes before it.
const VALID_MS: i64 = 24 * 3600 * 1000;

/// Most bytes of a signal.
const LONGEST: usize = 16 * 1024;

/// What was put to a handle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signals {
    /// By UniqueId, each once: the data of successes.
    pub succeeded: BTreeMap<String, String>,
    /// By UniqueId: the reasons of failures.
    pub failed: BTreeMap<String, String>,
    /// Something else than a signal was put.
    pub unparsable: bool,
}

/// A signal, as whoever puts it writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signal {
    status: String,
    unique_id: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    reason: String,
}

const UNPARSABLE: &str = "Unparsable";

/// A new handle's URL, which stands for the handle: whoever has it may signal.
pub fn url(ctx: &Ctx<'_>, stack_id: &str, logical_id: &str) -> String {
    let place = ctx.platform.place();
    let mut secret = [0u8; 20];
    ctx.platform.door.entropy.fill(&mut secret);
    let signature: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("{stack_id}/{logical_id}");
    format!(
        "http://localhost:{}{PATH}{}/{}?Expires={}&Signature={signature}",
        ctx.platform.config.port,
        place.region,
        utf8_percent_encode(&key, NON_ALPHANUMERIC),
        (ctx.platform.now_ms() + VALID_MS) / 1000,
    )
}

/// The stack and the logical id of the handle of a URL, whatever the URL's signature.
pub fn parts(url: &str) -> Option<(String, String)> {
    let path = url.split_once(PATH)?.1.split('?').next()?;
    let key = percent_decode_str(path.split_once('/')?.1).decode_utf8().ok()?.into_owned();
    let (stack_id, logical_id) = key.rsplit_once('/')?;
    Some((stack_id.to_owned(), logical_id.to_owned()))
}

/// What was put to the handle of this URL.
pub fn signals(tx: &Tx<'_>, url: &str) -> Result<Signals, StoreError> {
    let Some((stack_id, logical_id)) = parts(url) else { return Ok(Signals::default()) };
    let record = tx.get::<StackResource>(&StackResource::key_of(&stack_id, &logical_id))?;
    Ok(record.map(|record| of_record(&record)).unwrap_or_default())
}

/// What was put to a handle, from its record.
pub fn of_record(handle: &StackResource) -> Signals {
    let mut signals = Signals { unparsable: handle.ongoing.contains_key(UNPARSABLE), ..Signals::default() };
    for (id, success) in &handle.signals {
        let text = handle.ongoing.get(id).and_then(Value::as_str).unwrap_or_default().to_owned();
        if *success { &mut signals.succeeded } else { &mut signals.failed }.insert(id.clone(), text);
    }
    signals
}

/// Answers a request to a handle's URL, which needs no other signature than its own.
pub fn receive(platform: &Platform, head: &request::Parts, body: &[u8]) -> Response<Bytes> {
    let asked = head.uri.path_and_query().map(|whole| whole.as_str()).unwrap_or_default();
    if head.method != Method::PUT {
        return told(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed: signals are put");
    }
    if body.len() > LONGEST {
        return told(StatusCode::BAD_REQUEST, "EntityTooLarge: a signal has at most 16384 bytes");
    }
    let put = platform.store.write(|tx| -> Result<_, StoreError> {
        let Some((stack_id, logical_id)) = parts(asked) else { return Ok(None) };
        let Some(mut handle) = tx.get::<StackResource>(&StackResource::key_of(&stack_id, &logical_id))? else {
            return Ok(None);
        };
        let url = handle.state.physical_id.clone().unwrap_or_default();
        let gone = matches!(handle.status, ResourceStatus::DeleteComplete | ResourceStatus::DeleteInProgress);
        if gone || !same(url.find(PATH).map_or("", |at| &url[at..]), asked) {
            return Ok(None);
        }
        if platform.now_ms() / 1000 > expires(&url) {
            return Ok(Some(false));
        }
        note(&mut handle, body);
        tx.put(&handle)?;
        Ok(Some(true))
    });
    match put {
        Ok(Some(true)) => told(StatusCode::OK, ""),
        Ok(Some(false)) => told(StatusCode::FORBIDDEN, "AccessDenied: Request has expired"),
        Ok(None) => told(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided.",
        ),
        Err(error) => {
            tracing::error!(%error, "a signal could not be kept");
            told(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
        }
    }
}

/// Keeps a signal; another one of the same UniqueId is taken for the same.
fn note(handle: &mut StackResource, body: &[u8]) {
    let signal: Option<Signal> = serde_json::from_slice(body).ok();
    let signal = signal.filter(|s| !s.unique_id.is_empty() && matches!(s.status.as_str(), "SUCCESS" | "FAILURE"));
    let Some(signal) = signal else {
        handle.ongoing.insert(UNPARSABLE.into(), json!(true));
        return;
    };
    if handle.signals.contains_key(&signal.unique_id) {
        return;
    }
    let success = signal.status == "SUCCESS";
    let text = if success { signal.data } else { signal.reason };
    handle.ongoing.insert(signal.unique_id.clone(), text.into());
    handle.signals.insert(signal.unique_id, success);
}

fn expires(url: &str) -> i64 {
    let after = url.split_once("?Expires=").map(|(_, after)| after).unwrap_or_default();
    after.split('&').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

/// Whether two texts are the same, in a time that does not tell where they differ.
fn same(left: &str, right: &str) -> bool {
    let differ = left.bytes().zip(right.bytes()).fold(0, |all, (l, r)| all | (l ^ r));
    !left.is_empty() && left.len() == right.len() && differ == 0
}

fn told(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response
}
