//! The AWS endpoint: from an HTTP request to an operation and back.
//!
//! Requests are authenticated first, decoded and checked against their model next, and only then
//! reach a handler, inside a transaction of their own.

use crate::access_logs;
use crate::api::{AnyShape, Caller, Ctx, Operations, reads_only};
use crate::audit::{self, Event, Origin, Parameters};
use crate::authorization::{self, Acting, Circumstances, Who};
use crate::calls::{Calls, Unserved};
use crate::cloudformation::wait;
use crate::cut;
use crate::ecs::metadata::{self, Asker};
use crate::iam::{self, KeyUse, RoleUse};
use crate::logs::live_tail::LiveTail;
use crate::platform::Platform;
use crate::sts;
use crate::xray::{self, otlp};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header, request};
use quarry_aws::logs::{StartLiveTailResponse, op::StartLiveTail};
use quarry_domain::failpoint;
use quarry_wire::sigv4::{self, Credentials, Expected};
use quarry_wire::{Protocol, ServiceError, Structure, Timestamp, server};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a request comes from: an extension of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(pub IpAddr);

/// Whether signatures are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    On,
    /// For tools that send dummy keys: whoever reaches the endpoint is the account's user.
    Off,
}

/// Answers the requests of AWS clients.
pub struct Endpoint {
    platform: Arc<Platform>,
    operations: Arc<Operations>,
    auth: Auth,
    /// The installation's own access key.
    key: Credentials,
    calls: Calls,
    unserved: Unserved,
    /// When the use of a role was last written down, by its id, in milliseconds.
    used: Mutex<HashMap<String, i64>>,
}

/// A role's last use is written down at most this often, in milliseconds.
const USE_NOTED_EVERY: i64 = 15 * 60 * 1000;

/// How often each served operation was answered, refused and failed, as JSON by service and operation. Like
/// [`UNSERVED_PATH`] it needs no signature: whoever asks is on this machine.
pub const CALLS_PATH: &str = "/_quarry/v1/calls";
/// How often each operation was called that is not served, as JSON by service and operation.
pub const UNSERVED_PATH: &str = "/_quarry/v1/unserved";

/// `POST`, signed as the cut's API is: removes pushed layers of no image and unpacked ones of no task.
pub const COLLECT_PATH: &str = "/_quarry/v1/collect";

/// What clients put before the endpoint's host for Cloud Map's DiscoverInstances, unless told not to.
pub const DISCOVERY_PREFIX: &str = "data-";

/// Services without regions: clients sign for a fixed one, whatever theirs is.
const GLOBAL: [&str; 2] = ["iam", "sts"];

impl Endpoint {
    /// `key`: access key id and secret of the installation's user.
    pub fn new(platform: Arc<Platform>, operations: Arc<Operations>, auth: Auth, key: (String, String)) -> Self {
        let key = Credentials { access_key_id: key.0, secret_access_key: key.1, session_token: None };
        let calls = Calls::new(&operations);
        Self { platform, operations, auth, key, calls, unserved: Unserved::default(), used: Mutex::default() }
    }

    /// Answers one whole request. Blocks for as long as the transaction takes.
    pub fn answer(&self, head: &request::Parts, body: &[u8]) -> Response<Bytes> {
        let request_id = self.platform.door.uuid();
        if head.method == http::Method::GET {
            match head.uri.path() {
                crate::status::PATH => return crate::status::answer(&self.platform),
                crate::status::RULES_PATH => return crate::status::rules(&self.platform),
                CALLS_PATH => return json(&serde_json::json!(self.calls.told())),
                UNSERVED_PATH => return json(&serde_json::json!(self.unserved.told())),
                _ => {}
            }
        }
        if head.uri.path().starts_with(wait::PATH) {
            return wait::receive(&self.platform, head, body);
        }
        if head.uri.path() == otlp::PATH {
            return otlp::receive(&self.platform, head, body);
        }
        if head.uri.path() == COLLECT_PATH {
            return self.collect(head, body, &request_id);
        }
        if let Some(balancer) = access_logs::balancer(head.uri.path()) {
            return match self.by_the_owner(head, body) {
                Ok(_) if head.method != http::Method::GET => {
                    cut::api::failure(&ServiceError::new("MethodNotAllowed", "access logs are only read", 405))
                }
                Ok(_) => access_logs::answer(&self.platform, balancer, head.uri.query().unwrap_or_default()),
                Err(error) => cut::api::failure(&error),
            };
        }
        if cut::api::is_mine(head.uri.path()) {
            let sent = self.authentic(head, body, Protocol::Json, Some(cut::api::SERVICE), false);
            let caller = sent.as_ref().ok().cloned();
            let answer = match sent {
                // A task's role is for AWS's services; cuts are the business of whoever runs the installation.
                Ok(caller) if caller.arn != self.platform.place().global_arn("iam", "root") => cut::api::failure(
                    &ServiceError::new("AccessDenied", format!("{} may not do cuts", caller.arn), 403),
                ),
                Ok(_) => {
                    let query = head.uri.query().unwrap_or_default();
                    cut::api::answer(&self.platform, &self.operations, &head.method, head.uri.path(), query, body)
                }
                Err(error) => cut::api::failure(&error),
            };
            self.note_own(
                head,
                caller.as_ref(),
                &cut::api::called(&head.method, head.uri.path()),
                &answer,
                &request_id,
            );
            return answer;
        }
        let call = match server::identify(quarry_aws::SERVICES, &head.method, &head.uri, &head.headers, body) {
            Ok(call) => call,
            Err(refusal) => {
                if let Some((service, operation)) = &refusal.called {
                    self.unserved.count(service, operation);
                    // Whoever it was: the signature is not looked at where nothing is called.
                    let event = Event {
                        service: refusal.service,
                        source: service,
                        operation,
                        error: Some(&refusal.error),
                        request_id: &request_id,
                        ..Default::default()
                    };
                    audit::write(&self.platform, Origin::of(head), event);
                }
                return respond(refusal.reply(&request_id));
            }
        };
        let (mut called_by, mut parameters) = (None, Parameters::default());
        let outcome = self.authenticate(head, body, &call).and_then(|caller| {
            called_by = Some(caller.clone());
            let handler = self.operations.find(call.service.id, call.operation.name).ok_or_else(|| {
                self.unserved.count(call.service.id, call.operation.name);
                server::unknown_operation(call.protocol, call.service, call.operation.name)
            })?;
            let mut input = handler.input();
            let read = call.read(input.structure());
            parameters = Parameters::of(input.seen());
            read?;
            quarry_wire::validate::check(input.seen(), call.protocol, call.service, call.operation)?;
            if let Some(acting) = &caller.acting {
                self.evaluate(head, &call, &caller, acting, input.seen())?;
            }
            let run = |tx: &crate::store::Tx<'_>, input| {
                let (platform, operations) = (&*self.platform, &*self.operations);
                let mut ctx = Ctx { tx, platform, operations, caller: caller.clone(), via: None };
                let output = handler.call(&mut ctx, input);
                if !reads_only(call.operation.name) {
                    failpoint::at("api.decided");
                }
                output
            };
            if reads_only(call.operation.name) {
                self.platform.store.read(|tx| run(tx, input))
            } else {
                let done = self.platform.store.write(|tx| run(tx, input));
                failpoint::at("api.committed");
                done
            }
        });
        let mut tail = None;
        let outcome = outcome.and_then(|output| {
            let (output, opened) = self.tail(&call, output, &request_id)?;
            tail = opened;
            Ok(output)
        });
        let writes = !reads_only(call.operation.name) && !call.operation.name.contains("GetSecretValue");
        let event = Event {
            service: Some(call.service),
            operation: call.operation.name,
            caller: called_by.as_ref(),
            role_arn: called_by.as_ref().and_then(|caller| caller.acting.as_ref()).and_then(|a| self.role_arn(a)),
            claimed_key: match called_by {
                None => sigv4::scope(&head.headers, head.uri.query().unwrap_or_default()).map(|s| s.access_key_id),
                Some(_) => None,
            },
            parameters,
            response: outcome.as_ref().ok().filter(|_| writes).map(|output| Parameters::of(output.seen()).shown),
            error: outcome.as_ref().err(),
            request_id: &request_id,
            ..Default::default()
        };
        audit::write(&self.platform, Origin::of(head), event);
        let reply = match outcome {
            Ok(output) => server::reply(call.protocol, call.service, call.operation, output.seen(), &request_id),
            Err(error) => {
                tracing::debug!(operation = call.operation.name, %error, "refused");
                server::reply_error(call.protocol, call.service, &error, &request_id)
            }
        };
        self.calls.count(call.service.id, call.operation.name, reply.status);
        let mut response = respond(reply);
        if let Some(tail) = tail {
            response.extensions_mut().insert::<LiveTail>(tail);
        }
        response
    }

    /// Opens the session of Live Tail that an answer begins; it is told in an extension of the answer.
    fn tail(
        &self,
        call: &server::Call<'_>,
        output: Box<dyn AnyShape>,
        request_id: &str,
    ) -> Result<(Box<dyn AnyShape>, Option<LiveTail>), ServiceError> {
        if !call.is::<StartLiveTail>() {
            return Ok((output, None));
        }
        let mut output =
            *output.into_any().downcast::<StartLiveTailResponse>().expect("the output is of the operation's own type");
        let start = output.response_stream.as_mut().and_then(|stream| stream.session_start.as_mut());
        let tail = match start {
            Some(start) => {
                start.request_id = Some(request_id.to_owned());
                Some(LiveTail::open(&self.platform, call.protocol, start)?)
            }
            None => None,
        };
        Ok((Box::new(output), tail))
    }

    /// Whether a request of Quarry's own API is signed by the installation's user.
    fn by_the_owner(&self, head: &request::Parts, body: &[u8]) -> Result<Caller, ServiceError> {
        let caller = self.authentic(head, body, Protocol::Json, Some(cut::api::SERVICE), false)?;
        if caller.arn != self.platform.place().global_arn("iam", "root") {
            return Err(ServiceError::new("AccessDenied", format!("{} may not do that", caller.arn), 403));
        }
        Ok(caller)
    }

    /// Removes at once what nobody needs any more of images: JSON of what it was.
    fn collect(&self, head: &request::Parts, body: &[u8], request_id: &str) -> Response<Bytes> {
        let asked = self.authentic(head, body, Protocol::Json, Some(cut::api::SERVICE), false);
        let caller = asked.as_ref().ok().cloned();
        let collected = asked.and_then(|caller| {
            if head.method != http::Method::POST {
                return Err(ServiceError::new("MethodNotAllowed", "only POST removes something", 405));
            }
            if caller.arn != self.platform.place().global_arn("iam", "root") {
                return Err(ServiceError::new("AccessDenied", format!("{} may not do that", caller.arn), 403));
            }
            let failed = |error: String| ServiceError::new("InternalFailure", error, 500);
            let pushed = self.platform.catalog.collect().map_err(|error| failed(error.to_string()))?;
            let unpacked = self.platform.runtime.collect(Duration::ZERO).map_err(|error| failed(error.to_string()))?;
            Ok(serde_json::json!({"layers": pushed.blobs, "bytes": pushed.bytes, "unpacked": unpacked}))
        });
        let answer = match collected {
            Ok(collected) => json(&collected),
            Err(error) => cut::api::failure(&error),
        };
        let called = cut::api::Called { name: "CollectImages", cut: None };
        self.note_own(head, caller.as_ref(), &called, &answer, request_id);
        answer
    }

    /// Writes down a call of Quarry's own API, unless it only looked.
    fn note_own(
        &self,
        head: &request::Parts,
        caller: Option<&Caller>,
        called: &cut::api::Called<'_>,
        answer: &Response<Bytes>,
        request_id: &str,
    ) {
        let failed = answer.status().is_client_error() || answer.status().is_server_error();
        if head.method == http::Method::GET && !failed {
            return;
        }
        let error = failed.then(|| {
            let problem: Option<cut::api::Problem> = serde_json::from_slice(answer.body()).ok();
            let (code, message) = problem.map(|problem| (problem.code, problem.message)).unwrap_or_default();
            ServiceError::new(code, message, answer.status().as_u16())
        });
        let shown = called.cut.map(|id| serde_json::json!({"cutId": id})).unwrap_or_default();
        let event = Event {
            source: cut::api::SERVICE,
            operation: called.name,
            caller,
            role_arn: caller.and_then(|caller| caller.acting.as_ref()).and_then(|acting| self.role_arn(acting)),
            claimed_key: match caller {
                None => sigv4::scope(&head.headers, head.uri.query().unwrap_or_default()).map(|s| s.access_key_id),
                Some(_) => None,
            },
            parameters: Parameters::shown(shown),
            error: error.as_ref(),
            request_id,
            ..Default::default()
        };
        audit::write(&self.platform, Origin::of(head), event);
    }

    /// What a task is told of itself, see [`crate::ecs::metadata`].
    /// `body`: of a PUT.
    pub fn tell(&self, asker: Asker, path: &str, body: Option<&[u8]>) -> Response<Bytes> {
        metadata::answer(&self.platform, &self.operations, asker, path, body)
    }

    /// Refuses what the policies of a role or user do not allow.
    fn evaluate(
        &self,
        head: &request::Parts,
        call: &server::Call<'_>,
        caller: &Caller,
        acting: &Acting,
        input: &dyn Structure,
    ) -> Result<(), ServiceError> {
        let circumstances = Circumstances {
            source: head.extensions.get::<Source>().map(|source| source.0),
            user_agent: head.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()),
            via: None,
        };
        let (service, operation, protocol) = (call.service, call.operation.name, call.protocol);
        let asked = authorization::Call { service, operation, protocol, input };
        self.note_use(caller, acting, service.signing_name);
        self.platform.store.read(|tx| authorization::check(&self.platform, tx, acting, &asked, circumstances))
    }

    /// ARN of the role that a session is of, with its path.
    fn role_arn(&self, acting: &Acting) -> Option<String> {
        let permissions = self.platform.store.read(|tx| authorization::permissions(&self.platform, tx, acting)).ok()?;
        permissions.role_arn().map(str::to_owned)
    }

    /// Of a role, or of a user's key.
    fn note_use(&self, caller: &Caller, acting: &Acting, service: &str) {
        let now = self.platform.now_ms();
        let id = acting.role().map_or(caller.access_key.as_str(), |_| acting.id());
        {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            if used.get(id).is_some_and(|at| now - at < USE_NOTED_EVERY) {
                return;
            }
            used.insert(id.to_owned(), now);
        }
        let id = id.to_owned();
        let noted = self.platform.store.write(|tx| match &acting.who {
            Who::Role(_) => tx.put(&RoleUse { role_id: id, at_ms: now }),
            Who::User(_) => {
                let region = self.platform.place().region.clone();
                tx.put(&KeyUse { id, at_ms: now, service: service.to_owned(), region })
            }
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "the use of credentials was not written down");
        }
    }

    fn authenticate(
        &self,
        head: &request::Parts,
        body: &[u8],
        call: &server::Call<'_>,
    ) -> Result<Caller, ServiceError> {
        if xray::is_for_daemon(head, call) {
            return Ok(Caller::root(&self.platform));
        }
        let global = GLOBAL.contains(&call.service.id);
        self.authentic(head, body, call.protocol, Some(call.service.signing_name), global)
    }

    /// Whether the request is signed for this service, by whom.
    fn authentic(
        &self,
        head: &request::Parts,
        body: &[u8],
        protocol: Protocol,
        service: Option<&str>,
        global: bool,
    ) -> Result<Caller, ServiceError> {
        let user = || self.platform.place().global_arn("iam", "root");
        if self.auth == Auth::Off {
            return Ok(Caller { access_key: self.key.access_key_id.clone(), arn: user(), acting: None });
        }
        let request = sigv4::Request {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            body,
        };
        let region = (!global).then_some(self.platform.place().region.as_str());
        let expected = Expected { region, service };
        let now = self.platform.now_ms();
        let mut acting = None;
        let scope = sigv4::verify(&request, Timestamp::from_millis(now), expected, |access_key_id| {
            if access_key_id == self.key.access_key_id {
                return Some(self.key.clone());
            }
            let found = self.platform.store.read(|tx| -> Result<_, ServiceError> {
                let key = iam::usable_key(&self.platform, tx, access_key_id)?;
                Ok((key, sts::credentials(tx, access_key_id)?))
            });
            let found = match found.ok()? {
                (Some(key), _) => {
                    acting = Some(key.acting);
                    return Some(Credentials {
                        access_key_id: access_key_id.to_owned(),
                        secret_access_key: key.secret_access_key,
                        session_token: None,
                    });
                }
                (None, session) => session?,
            };
            if found.expires_at_ms <= now {
                return None;
            }
            acting = Some(found.acting());
            Some(Credentials {
                access_key_id: access_key_id.to_owned(),
                secret_access_key: found.secret_access_key,
                session_token: Some(found.session_token),
            })
        })
        .map_err(|failure| failure.error(protocol))?;
        let arn = acting.as_ref().map_or_else(user, |acting| acting.arn.clone());
        Ok(Caller { access_key: scope.access_key_id, arn, acting })
    }
}

fn respond(reply: server::Reply) -> Response<Bytes> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Bytes::from(reply.body)).unwrap_or_else(|_| {
        let mut broken = Response::new(Bytes::new());
        *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}

fn json(value: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// Refuses what a web page of another site could send: a foreign Host (a name that was made to lead
/// here), Origin or Sec-Fetch-Site. In every mode, whatever the credentials.
pub fn check_origin(headers: &HeaderMap) -> Result<(), String> {
    let text = |name: header::HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?").to_owned());
    let refused = |what: &str, value: &str| Err(format!("{what} {value} is not allowed here: use localhost"));
    let host = text(header::HOST);
    match &host {
        Some(host) if !is_local(host_of(host)) => return refused("Host", host),
        _ => {}
    }
    // Not "some local origin": what a task shows on a load balancer's port is another site, too.
    match text(header::ORIGIN) {
        Some(origin)
            if host.is_none() || origin.split_once("://").map(|(_, authority)| authority) != host.as_deref() =>
        {
            return refused("Origin", &origin);
        }
        _ => {}
    }
    match headers.get("sec-fetch-site").map(|v| v.to_str().unwrap_or("?")) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(site) => refused("Sec-Fetch-Site", site),
    }
}

/// A host name without its port.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// Loopback by name or address, the hub's address, and AWS's own names, which lead here only for
/// clients that were told so.
fn is_local(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    // DiscoverInstances puts its prefix before whatever the endpoint's host is.
    let host = host.strip_prefix(DISCOVERY_PREFIX).unwrap_or(&host);
    host == "localhost"
        || host.ends_with(".localhost")
        || host.ends_with(".amazonaws.com")
        || host == "198.19.0.1"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), header::HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn web_pages_of_other_sites_are_refused() {
        for good in [
            &[("host", "127.0.0.1:4566")][..],
            &[("host", "localhost:4566"), ("origin", "http://localhost:4566"), ("sec-fetch-site", "same-origin")],
            &[("host", "[::1]:4566")],
            &[("host", "data-demo.localhost")],
            &[("host", "data-localhost:4566")],
            &[("host", "data-198.19.0.1:4566")],
            &[],
        ] {
            assert_eq!(check_origin(&headers(good)), Ok(()), "{good:?}");
        }
        for bad in [
            &[("host", "evil.example")][..],
            &[("host", "127.0.0.1.evil.example")],
            &[("host", "data-evil.example")],
            &[("host", "data-data-localhost")],
            &[("host", "localhost"), ("origin", "https://evil.example")],
            &[("host", "localhost"), ("origin", "null")],
            &[("origin", "null")],
            &[("host", "localhost:4566"), ("origin", "http://localhost:8080")],
            &[("host", "localhost:4566"), ("origin", "http://board.localhost")],
            &[("host", "localhost:4566"), ("origin", "https://page.s3.amazonaws.com")],
            &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(check_origin(&headers(bad)).is_err(), "{bad:?}");
        }
    }
}
