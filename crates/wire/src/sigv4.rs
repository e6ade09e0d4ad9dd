//! Signature Version 4: signing, and verifying of header and query signatures.
//!
//! The rules are those of "Signature Version 4 signing process" in the IAM
//! User Guide, for services other than S3: the path is encoded twice and the
//! payload is always hashed.

use std::fmt::Write as _;

use http::HeaderMap;
use percent_encoding::utf8_percent_encode;
use ring::hmac;
use time::OffsetDateTime;

use crate::error::ServiceError;
use crate::form::{RESERVED, decode_component};
use crate::hash::{hex, sha256};
use crate::scalar::Timestamp;
use crate::schema::Protocol;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a request's date may be from the clock, in seconds.
const MAX_SKEW: i64 = 15 * 60;
/// Longest life of a presigned request, in seconds.
const MAX_EXPIRES: i64 = 7 * 24 * 3600;

/// The parts of a request that a signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// As on the wire, still encoded.
    pub path: &'a str,
    /// As on the wire, without the question mark.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// An access key. Not printable.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

/// The scope a signature claims, before it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub access_key_id: String,
    /// `20260131`
    pub date: String,
    pub region: String,
    pub service: String,
}

/// What the scope must be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// `None` accepts every region.
    pub region: Option<&'a str>,
    /// `None` accepts every service.
    pub service: Option<&'a str>,
}

/// Why a request is not authentic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthFailure {
    #[error("Missing Authentication Token")]
    Missing,
    #[error("{0}")]
    Incomplete(String),
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error("{0}")]
    WrongScope(String),
    #[error("{0}")]
    Stale(String),
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
         Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

struct Claim {
    scope: Scope,
    signed_headers: Vec<String>,
    signature: String,
    at: Timestamp,
    /// `20260131T120000Z`
    at_text: String,
    /// Seconds; only in presigned requests.
    expires: Option<i64>,
    session_token: Option<String>,
}

/// The scope a request claims; `None` when it has no readable signature.
pub fn scope(headers: &HeaderMap, query: &str) -> Option<Scope> {
    if let Some(value) = headers.get("authorization") {
        let fields = authorization_fields(value.to_str().ok()?)?;
        return parse_scope(fields.credential?);
    }
    let pairs = query_pairs(query).ok()?;
    parse_scope(lookup(&pairs, "X-Amz-Credential")?)
}

/// Verifies the request's signature. `find` returns the credentials of an access key id.
pub fn verify(
    request: &Request<'_>,
    now: Timestamp,
    expected: Expected<'_>,
    find: impl FnOnce(&str) -> Option<Credentials>,
) -> Result<Scope, AuthFailure> {
    let pairs = query_pairs(request.query)
        .map_err(|()| AuthFailure::Incomplete("The query string cannot be decoded".to_owned()))?;
    let presigned = !request.headers.contains_key("authorization");
    let claim = if presigned { query_claim(&pairs, request.headers)? } else { header_claim(request.headers)? };
    check_scope(&claim, expected)?;
    check_time(&claim, now)?;
    let credentials = find(&claim.scope.access_key_id).ok_or(AuthFailure::UnknownKey)?;
    check_token(&credentials, claim.session_token.as_deref())?;
    let hash = sha256(request.body);
    let sent = request.headers.get("x-amz-content-sha256");
    if sent.is_some_and(|sent| sent.as_bytes() != hash.as_bytes()) {
        return Err(AuthFailure::Mismatch);
    }
    let canonical = canonical_request(request, &pairs, &claim.signed_headers, &hash);
    let to_sign = string_to_sign(&claim.at_text, &claim.scope, &canonical);
    let key = signing_key(&credentials.secret_access_key, &claim.scope);
    let signature = unhex(&claim.signature).ok_or(AuthFailure::Mismatch)?;
    hmac::verify(&key, to_sign.as_bytes(), &signature).map_err(|_| AuthFailure::Mismatch)?;
    Ok(claim.scope)
}

/// The headers that sign a request: `x-amz-date`, `x-amz-security-token` where there is
/// one, and `authorization`. The request must already carry its `host`.
pub fn sign(
    request: &Request<'_>,
    now: Timestamp,
    region: &str,
    service: &str,
    credentials: &Credentials,
) -> Vec<(&'static str, String)> {
    let at = date_text(now);
    let mut added = vec![("x-amz-date", at.clone())];
    if let Some(token) = &credentials.session_token {
        added.push(("x-amz-security-token", token.clone()));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers {
        // Headers that a relay may change are left unsigned.
        if !matches!(name.as_str(), "authorization" | "connection" | "user-agent" | "x-amzn-trace-id") {
            headers.append(name, value.clone());
        }
    }
    for (name, value) in &added {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            headers.insert(*name, value);
        }
    }
    let mut signed: Vec<String> = headers.keys().map(|n| n.as_str().to_owned()).collect();
    signed.sort();
    let scope = Scope {
        access_key_id: credentials.access_key_id.clone(),
        date: at.chars().take(8).collect(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    let pairs = query_pairs(request.query).unwrap_or_default();
    let hash = sha256(request.body);
    let covered = Request { headers: &headers, ..*request };
    let canonical = canonical_request(&covered, &pairs, &signed, &hash);
    let to_sign = string_to_sign(&at, &scope, &canonical);
    let signature = hmac::sign(&signing_key(&credentials.secret_access_key, &scope), to_sign.as_bytes());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
        scope.access_key_id,
        scope.path(),
        signed.join(";"),
        hex(signature.as_ref())
    );
    added.push(("authorization", authorization));
    added
}

impl Scope {
    fn path(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl AuthFailure {
    /// The error in the words of a protocol.
    pub fn error(&self, protocol: Protocol) -> ServiceError {
        let (code, status) = match (protocol, self) {
            (Protocol::Json | Protocol::Cbor | Protocol::RestJson, AuthFailure::Missing) => {
                ("MissingAuthenticationTokenException", 400)
            }
            (Protocol::Json | Protocol::Cbor | Protocol::RestJson, AuthFailure::Incomplete(_)) => {
                ("IncompleteSignatureException", 400)
            }
            (Protocol::Json | Protocol::Cbor | Protocol::RestJson, AuthFailure::UnknownKey) => {
                ("UnrecognizedClientException", 400)
            }
            (
                Protocol::Json | Protocol::Cbor | Protocol::RestJson,
                AuthFailure::WrongScope(_) | AuthFailure::Stale(_) | AuthFailure::Mismatch,
            ) => ("InvalidSignatureException", 400),
            (Protocol::Query | Protocol::Ec2, AuthFailure::Missing) => ("MissingAuthenticationToken", 403),
            (Protocol::Query | Protocol::Ec2, AuthFailure::Incomplete(_)) => ("IncompleteSignature", 400),
            (Protocol::Query, AuthFailure::UnknownKey) => ("InvalidClientTokenId", 403),
            (Protocol::Query, AuthFailure::WrongScope(_) | AuthFailure::Stale(_) | AuthFailure::Mismatch) => {
                ("SignatureDoesNotMatch", 403)
            }
            (Protocol::Ec2, AuthFailure::Stale(_)) => {
                return ServiceError::new("RequestExpired", "Request has expired.", 400);
            }
            (Protocol::Ec2, AuthFailure::UnknownKey | AuthFailure::WrongScope(_) | AuthFailure::Mismatch) => {
                let message = "AWS was not able to validate the provided access credentials";
                return ServiceError::new("AuthFailure", message, 401);
            }
        };
        // Services of paths answer as HTTP has it.
        let status = if protocol == Protocol::RestJson { 403 } else { status };
        ServiceError::new(code, self.to_string(), status)
    }
}

struct Fields<'a> {
    credential: Option<&'a str>,
    signed_headers: Option<&'a str>,
    signature: Option<&'a str>,
}

fn authorization_fields(value: &str) -> Option<Fields<'_>> {
    let rest = value.trim().strip_prefix(ALGORITHM)?;
    let mut fields = Fields { credential: None, signed_headers: None, signature: None };
    for part in rest.split(',') {
        match part.trim().split_once('=') {
            Some(("Credential", value)) => fields.credential = Some(value.trim()),
            Some(("SignedHeaders", value)) => fields.signed_headers = Some(value.trim()),
            Some(("Signature", value)) => fields.signature = Some(value.trim()),
            _ => {}
        }
    }
    Some(fields)
}

fn header_claim(headers: &HeaderMap) -> Result<Claim, AuthFailure> {
    let incomplete = |text: String| AuthFailure::Incomplete(text);
    let mut values = headers.get_all("authorization").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(incomplete("Exactly one Authorization header is required.".to_owned()));
    };
    let value = value.to_str().map_err(|_| incomplete("Authorization header is not text.".to_owned()))?;
    let fields = authorization_fields(value)
        .ok_or_else(|| incomplete(format!("Unsupported AWS 'algorithm': {ALGORITHM} is required.")))?;
    let missing = |name| incomplete(format!("Authorization header requires '{name}' parameter."));
    let credential = fields.credential.ok_or_else(|| missing("Credential"))?;
    let signed = fields.signed_headers.ok_or_else(|| missing("SignedHeaders"))?;
    let signature = fields.signature.ok_or_else(|| missing("Signature"))?;
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let (at, at_text) = match (text("x-amz-date"), text("date")) {
        (Some(date), _) => (parse_date(date), date.to_owned()),
        (None, Some(date)) => {
            let at = Timestamp::parse(date);
            (at, at.map(date_text).unwrap_or_default())
        }
        (None, None) => {
            let text = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
            return Err(incomplete(text.to_owned()));
        }
    };
    Ok(Claim {
        scope: parse_scope(credential).ok_or_else(|| bad_credential(credential))?,
        signed_headers: signed_headers(signed, headers)?,
        signature: signature.to_owned(),
        at: at.ok_or_else(|| incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{at_text}'.")))?,
        at_text,
        expires: None,
        session_token: text("x-amz-security-token").map(str::to_owned),
    })
}

fn query_claim(pairs: &[(String, String)], headers: &HeaderMap) -> Result<Claim, AuthFailure> {
    if lookup(pairs, "X-Amz-Signature").is_none() && lookup(pairs, "X-Amz-Credential").is_none() {
        return Err(AuthFailure::Missing);
    }
    let get = |name: &str| {
        let missing = || AuthFailure::Incomplete(format!("AWS query-string parameters must include '{name}'."));
        lookup(pairs, name).ok_or_else(missing)
    };
    if get("X-Amz-Algorithm")? != ALGORITHM {
        return Err(AuthFailure::Incomplete(format!("Unsupported AWS 'algorithm': {ALGORITHM} is required.")));
    }
    let credential = get("X-Amz-Credential")?;
    let at_text = get("X-Amz-Date")?;
    let bad_date = || AuthFailure::Incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{at_text}'."));
    let expires = lookup(pairs, "X-Amz-Expires").unwrap_or("900");
    let expires = expires.parse().ok().filter(|n| (1..=MAX_EXPIRES).contains(n));
    Ok(Claim {
        scope: parse_scope(credential).ok_or_else(|| bad_credential(credential))?,
        signed_headers: signed_headers(get("X-Amz-SignedHeaders")?, headers)?,
        signature: get("X-Amz-Signature")?.to_owned(),
        at: parse_date(at_text).ok_or_else(bad_date)?,
        at_text: at_text.to_owned(),
        expires: Some(
            expires.ok_or_else(|| {
                AuthFailure::Incomplete(format!("X-Amz-Expires must be between 1 and {MAX_EXPIRES}."))
            })?,
        ),
        session_token: lookup(pairs, "X-Amz-Security-Token").map(str::to_owned),
    })
}

fn bad_credential(credential: &str) -> AuthFailure {
    AuthFailure::Incomplete(format!(
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'."
    ))
}

fn parse_scope(credential: &str) -> Option<Scope> {
    let mut parts = credential.split('/');
    let scope = Scope {
        access_key_id: parts.next()?.to_owned(),
        date: parts.next()?.to_owned(),
        region: parts.next()?.to_owned(),
        service: parts.next()?.to_owned(),
    };
    (parts.next() == Some("aws4_request") && parts.next().is_none() && !scope.access_key_id.is_empty()).then_some(scope)
}

/// The names of the signed headers: lower-case, sorted, `host` among them.
fn split_headers(list: &str) -> Result<Vec<String>, AuthFailure> {
    let names: Vec<String> = list.split(';').map(str::to_owned).collect();
    let lower =
        names.iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
    if !lower || !names.is_sorted() || !names.iter().any(|n| n == "host") {
        return Err(AuthFailure::Incomplete(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
        ));
    }
    Ok(names)
}

/// Like [`split_headers`]; the headers that AWS gives a meaning must be among them.
fn signed_headers(list: &str, headers: &HeaderMap) -> Result<Vec<String>, AuthFailure> {
    let names = split_headers(list)?;
    for name in ["x-amz-date", "x-amz-target", "x-amz-security-token"] {
        if headers.contains_key(name) && !names.iter().any(|n| n == name) {
            let text = format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.");
            return Err(AuthFailure::Incomplete(text));
        }
    }
    Ok(names)
}

fn check_scope(claim: &Claim, expected: Expected<'_>) -> Result<(), AuthFailure> {
    let wrong = |text: String| Err(AuthFailure::WrongScope(text));
    if let Some(service) = expected.service.filter(|s| *s != claim.scope.service) {
        return wrong(format!("Credential should be scoped to correct service: '{service}'."));
    }
    if expected.region.is_some_and(|r| r != claim.scope.region) {
        return wrong("Credential should be scoped to a valid region.".to_owned());
    }
    if !claim.at_text.starts_with(&claim.scope.date) || claim.scope.date.len() != 8 {
        let (date, at) = (&claim.scope.date, &claim.at_text);
        return wrong(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != '{at}'."
        ));
    }
    Ok(())
}

fn check_time(claim: &Claim, now: Timestamp) -> Result<(), AuthFailure> {
    let (at, clock) = (claim.at.secs(), now.secs());
    let after = |secs: i64| date_text(Timestamp::from_secs(secs));
    let life = claim.expires.unwrap_or(MAX_SKEW);
    if at + life < clock {
        return Err(AuthFailure::Stale(format!(
            "Signature expired: {} is now earlier than {} ({} - {} min.)",
            claim.at_text,
            after(clock - life),
            date_text(now),
            life / 60
        )));
    }
    if at - MAX_SKEW > clock {
        return Err(AuthFailure::Stale(format!(
            "Signature not yet current: {} is still later than {} ({} + {} min.)",
            claim.at_text,
            after(clock + MAX_SKEW),
            date_text(now),
            MAX_SKEW / 60
        )));
    }
    Ok(())
}

/// Compares session tokens without telling by time where they differ.
fn check_token(credentials: &Credentials, sent: Option<&str>) -> Result<(), AuthFailure> {
    match (&credentials.session_token, sent) {
        (None, None) => Ok(()),
        (Some(own), Some(sent)) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, credentials.secret_access_key.as_bytes());
            let tag = hmac::sign(&key, own.as_bytes());
            hmac::verify(&key, sent.as_bytes(), tag.as_ref()).map_err(|_| AuthFailure::UnknownKey)
        }
        _ => Err(AuthFailure::UnknownKey),
    }
}

fn canonical_request(
    request: &Request<'_>,
    pairs: &[(String, String)],
    signed_headers: &[String],
    payload_hash: &str,
) -> String {
    let mut query: Vec<(String, String)> = pairs
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    query.sort();
    let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = String::new();
    for name in signed_headers {
        let values = request.headers.get_all(name.as_str()).iter();
        let values: Vec<String> = values.map(|v| trimmed(&String::from_utf8_lossy(v.as_bytes()))).collect();
        let _ = writeln!(headers, "{name}:{}", values.join(","));
    }
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{payload_hash}",
        request.method,
        canonical_path(request.path),
        query.join("&"),
        signed_headers.join(";")
    )
}

/// Without `.`, `..` and empty segments, and encoded once more.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut out = String::from("/");
    out.push_str(&segments.iter().map(|s| encoded(s)).collect::<Vec<_>>().join("/"));
    if path.ends_with('/') && !segments.is_empty() {
        out.push('/');
    }
    out
}

fn string_to_sign(at: &str, scope: &Scope, canonical: &str) -> String {
    let hash = sha256(canonical.as_bytes());
    format!("{ALGORITHM}\n{at}\n{}\n{hash}", scope.path())
}

fn signing_key(secret: &str, scope: &Scope) -> hmac::Key {
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    for part in [scope.date.as_str(), &scope.region, &scope.service, "aws4_request"] {
        let tag = hmac::sign(&key, part.as_bytes());
        key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
    }
    key
}

fn query_pairs(query: &str) -> Result<Vec<(String, String)>, ()> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decode_component(name).map_err(|_| ())?, decode_component(value).map_err(|_| ())?));
    }
    Ok(pairs)
}

fn lookup<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Without outer spaces, inner runs of spaces made one.
fn trimmed(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// `20260131T120000Z`
fn date_text(at: Timestamp) -> String {
    let text = at.to_string();
    // `2026-01-31T12:00:00.000Z` without punctuation and fraction.
    let compact: String = text.chars().take(19).filter(char::is_ascii_alphanumeric).collect();
    compact + "Z"
}

fn parse_date(text: &str) -> Option<Timestamp> {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let parsed = time::PrimitiveDateTime::parse(text, format).ok()?;
    let at: OffsetDateTime = parsed.assume_utc();
    Some(Timestamp::from_secs(at.unix_timestamp()))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok()).collect()
}
