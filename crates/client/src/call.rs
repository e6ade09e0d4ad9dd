//! Signed calls of AWS operations, with retries and pages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use quarry_wire::client as codec;
use quarry_wire::{Operation, OperationModel, ServiceError, ServiceModel, Structure, Timestamp, View, sigv4};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::credentials::Credentials;
use crate::http::{Answer, Endpoint, InvalidEndpoint, TransportError};
use crate::regions::Regional;

/// Calls before giving up.
const ATTEMPTS: u32 = 4;
/// Wait after the first failure; doubles with each further one.
const BACKOFF: Duration = Duration::from_millis(100);
/// More pages than this are a fault of the server.
const MAX_PAGES: usize = 10_000;

/// A client of one endpoint, or of AWS in a region. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    to: To,
    region: String,
    credentials: Credentials,
}

#[derive(Clone, Debug)]
enum To {
    /// All services at one address.
    One(Endpoint),
    /// Each service at its own.
    Aws(Regional),
}

/// Why a call did not return an output.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service refused: code, message, HTTP status, request id.
    #[error(transparent)]
    Service(ServiceError),
    /// No readable answer came.
    #[error(transparent)]
    Transport(TransportError),
}

impl Client {
    /// A client of an endpoint like `http://127.0.0.1:4566`.
    pub fn new(endpoint: &str, region: impl Into<String>, credentials: Credentials) -> Result<Self, InvalidEndpoint> {
        Ok(Client { to: To::One(Endpoint::new(endpoint)?), region: region.into(), credentials })
    }

    /// A client of AWS's own endpoints, or of those that are named in their stead.
    pub(crate) fn regional(to: Regional, credentials: Credentials) -> Self {
        Client { region: to.region().to_owned(), to: To::Aws(to), credentials }
    }

    /// The same client with another limit for one exchange; 60 s unless set.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        match &mut self.to {
            To::One(endpoint) => endpoint.set_timeout(timeout),
            To::Aws(regional) => regional.set_timeout(timeout),
        }
        self
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    /// Calls an operation. Idempotency tokens that are absent are filled in. Failed
    /// connections, answers of 500 and above and throttling are tried again.
    pub async fn call<O: Operation>(&self, mut input: O::Input) -> Result<O::Output, CallError> {
        codec::fill_tokens(&mut input, &mut token);
        let (service, operation) = (O::service(), O::model());
        let answer = self.exchange(service, codec::request(service.protocol, service, operation, &input)).await?;
        let mut output = O::Output::default();
        codec::read(service.protocol, operation, &mut output, &answer.body).map_err(|error| {
            CallError::Transport(TransportError {
                message: format!("the answer to {} cannot be read", O::NAME),
                unsent: false,
                source: Some(error.into()),
            })
        })?;
        Ok(output)
    }

    /// The answer, which is no error.
    async fn exchange(&self, service: &ServiceModel, request: codec::Request) -> Result<Answer, CallError> {
        let body = Bytes::from(request.body);
        let mut attempt = 1;
        loop {
            match self.once(service, &request.path, &request.headers, body.clone()).await {
                Err(error) if attempt < ATTEMPTS && error.is_passing() => {
                    tokio::time::sleep(wait(attempt)).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Calls an operation until its last page, and returns the pages.
    pub async fn paginate<O: Operation>(&self, mut input: O::Input) -> Result<Vec<O::Output>, CallError> {
        let mut pages = Vec::new();
        while pages.len() < MAX_PAGES {
            let page = self.call::<O>(input.clone()).await?;
            let next = next_tokens(O::model(), &page, &input);
            pages.push(page);
            let Some(tokens) = next else { return Ok(pages) };
            for (name, token) in tokens {
                codec::set_text_member(&mut input, name, &token);
            }
        }
        Err(CallError::Transport(TransportError {
            message: format!("{} does not end after {MAX_PAGES} pages", O::NAME),
            unsent: false,
            source: None,
        }))
    }

    async fn once(
        &self,
        service: &ServiceModel,
        path: &str,
        request_headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Answer, CallError> {
        let mut headers = HeaderMap::new();
        for (name, value) in request_headers {
            put(&mut headers, name, value)?;
        }
        let answer = match &self.to {
            To::One(endpoint) => {
                let place = (endpoint, self.region.as_str(), service.signing_name);
                self.sign_and_send(place, Method::POST, path, "", headers, body).await?
            }
            To::Aws(regional) => {
                let (endpoint, region) = regional.of(service).map_err(|error| unreachable_endpoint(&error))?;
                let place = (&endpoint, region.as_str(), service.signing_name);
                self.sign_and_send(place, Method::POST, path, "", headers, body).await?
            }
        };
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status.as_u16();
        Err(CallError::Service(codec::error(service.protocol, status, &answer.headers, &answer.body)))
    }
}

impl Client {
    /// One signed exchange outside AWS's operations; no retries.
    pub(crate) async fn signed(
        &self,
        method: Method,
        path: &str,
        query: &str,
        service: &str,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            put(&mut headers, "content-type", "application/json")?;
        }
        let To::One(endpoint) = &self.to else {
            return Err(CallError::Transport(TransportError {
                message: "AWS has nothing of Quarry's own API".to_owned(),
                unsent: false,
                source: None,
            }));
        };
        self.sign_and_send((endpoint, &self.region, service), method, path, query, headers, body).await
    }

    /// To an endpoint, signed for a region and a service there.
    async fn sign_and_send(
        &self,
        (endpoint, region, service): (&Endpoint, &str, &str),
        method: Method,
        path: &str,
        query: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        put(&mut headers, "host", endpoint.authority())?;
        let unsigned = sigv4::Request { method: method.as_str(), path, query, headers: &headers, body: &body };
        let signature = sigv4::sign(&unsigned, now(), region, service, self.credentials.signing());
        for (name, value) in &signature {
            put(&mut headers, name, value)?;
        }
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        endpoint.send(method, &target, headers, body).await.map_err(CallError::Transport)
    }
}

impl CallError {
    /// The service's code, if it was the service.
    pub fn code(&self) -> Option<&str> {
        match self {
            CallError::Service(error) => Some(&error.code),
            CallError::Transport(_) => None,
        }
    }

    /// Whether the same call may go well a moment later.
    fn is_passing(&self) -> bool {
        match self {
            CallError::Service(error) => {
                let throttled =
                    ["Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"];
                error.status >= 500 || throttled.contains(&error.code.as_str())
            }
            CallError::Transport(error) => error.unsent,
        }
    }
}

/// The tokens of the next page by their input members; `None` after the last page.
fn next_tokens(
    operation: &OperationModel,
    page: &dyn Structure,
    input: &dyn Structure,
) -> Option<Vec<(&'static str, String)>> {
    let paginator = operation.paginator?;
    let more = page.schema().position(paginator.more_results).map(|i| page.member(i).view());
    if matches!(more, Some(View::Boolean(false) | View::Absent)) {
        return None;
    }
    let pairs = paginator.input_token.iter().zip(paginator.output_token);
    let tokens: Vec<(&'static str, String)> = pairs
        .filter_map(|(into, from)| Some((*into, codec::text_member(page, from)?.to_owned())))
        .filter(|(_, token)| !token.is_empty())
        .collect();
    // A server that hands back the token it was given would never end.
    let fresh = tokens.iter().any(|(name, token)| codec::text_member(input, name) != Some(token));
    fresh.then_some(tokens)
}

/// No address is known; it would not be known a moment later either.
fn unreachable_endpoint(error: &InvalidEndpoint) -> CallError {
    CallError::Transport(TransportError { message: error.to_string(), unsent: false, source: None })
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), CallError> {
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| {
        CallError::Transport(TransportError {
            message: format!("{name} cannot be sent as a header"),
            unsent: false,
            source: Some(source),
        })
    };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| unusable(e.into()))?;
    let value = HeaderValue::from_str(value).map_err(|e| unusable(e.into()))?;
    headers.insert(name, value);
    Ok(())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Doubles with each attempt, and up to half is left out at random.
fn wait(attempt: u32) -> Duration {
    let longest = BACKOFF * 2u32.saturating_pow(attempt - 1);
    longest - longest.mul_f64(f64::from(random::<1>()[0]) / 512.0)
}

/// A random UUID, version 4.
fn token() -> String {
    let mut b = random::<16>();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex = quarry_wire::hash::hex(&b);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The kernel's generator does not fail after boot; zeros would only mean no jitter.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes
}
