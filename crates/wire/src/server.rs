//! The server's side of the protocols: which operation a request calls, its
//! input, and the answer to it.

use std::borrow::Cow;
use std::io::Read as _;

use http::{HeaderMap, Method, Uri};
use serde_json::Value as Json;

use crate::error::{DecodeError, ServiceError};
use crate::form::Params;
use crate::schema::{OperationModel, Protocol, ServiceModel};
use crate::shape::{Operation, Shape, Structure};
use crate::{cbor, eventstream, json, sigv4, validate, xml};

/// Largest body of any request, in bytes: an image layer part in base64.
pub const MAX_BODY: usize = 32 << 20;
/// Largest form body, in bytes.
pub const MAX_FORM: usize = 1 << 20;
/// Largest JSON body of services without blobs, in bytes.
pub const MAX_JSON: usize = 8 << 20;

/// The value of `smithy-protocol` in CBOR requests and answers.
pub const RPC_V2_CBOR: &str = "rpc-v2-cbor";
/// The content type of CBOR.
pub const CBOR: &str = "application/cbor";

/// A request, once it is known what it calls.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub service: &'static ServiceModel,
    pub operation: &'static OperationModel,
    /// The protocol of the request, and so of the answer.
    pub protocol: Protocol,
    payload: Payload<'a>,
}

#[derive(Clone, Debug)]
enum Payload<'a> {
    Json(Cow<'a, [u8]>),
    Cbor(Cow<'a, [u8]>),
    Form(Params),
}

/// A request that calls nothing we know, with what is needed to answer it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The service, when that much is known.
    pub service: Option<&'static ServiceModel>,
    pub protocol: Protocol,
    /// What it wanted to call, when it said so: service (as it named it, where we do not know it) and operation.
    pub called: Option<(String, String)>,
    pub error: Box<ServiceError>,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// Finds what a request calls: by its path if it is CBOR or restJson1, by `X-Amz-Target`, or for a form (or a GET
/// with `Action`) by the service in its credential scope, else by its `Version`.
pub fn identify<'a>(
    services: &[&'static ServiceModel],
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<Call<'a>, Refusal> {
    if headers.get("smithy-protocol").is_some_and(|value| value == RPC_V2_CBOR) {
        let path: Vec<&str> = uri.path().split('/').collect();
        let (prefix, name) = match path[..] {
            ["", "service", prefix, "operation", name] if method == Method::POST => (prefix, name),
            _ => ("", ""),
        };
        return identify_rpc(services, Protocol::Cbor, prefix, name, headers, body);
    }
    if let Some(target) = headers.get("x-amz-target") {
        let target = target.to_str().unwrap_or_default();
        let (prefix, name) = target.rsplit_once('.').unwrap_or((target, ""));
        return identify_rpc(services, Protocol::Json, prefix, name, headers, body);
    }
    if let Some(found) = identify_rest(services, method, uri, headers, body) {
        return found;
    }
    let query = uri.query().unwrap_or_default();
    let scope = sigv4::scope(headers, query);
    let scoped = scope
        .as_ref()
        .and_then(|scope| services.iter().find(|s| s.signing_name == scope.service && form_protocol(s).is_some()));
    let refuse = |error| refusal(scoped.copied(), error);
    if body.len() > MAX_FORM {
        return Err(refuse(too_large()));
    }
    let mut params = Params::default();
    let mut add = |text: &str| {
        let added = params.extend(text);
        added.map_err(|e| refuse(ServiceError::new("MalformedQueryString", e.message, 400)))
    };
    add(query)?;
    if method == Method::POST {
        let body = decompressed(headers, body, MAX_FORM).map_err(refuse)?;
        let Ok(text) = std::str::from_utf8(&body) else {
            return Err(refuse(ServiceError::new("MalformedQueryString", "Parameters must be UTF-8", 400)));
        };
        add(text)?;
    }
    let version = params.get("Version").unwrap_or_default();
    let service = match scoped {
        Some(service) => Some(service),
        None if scope.is_some() => None,
        None => services.iter().find(|s| form_protocol(s).is_some() && s.api_version == version),
    };
    let Some(action) = params.get("Action").map(str::to_owned) else {
        let message = "The request must contain the parameter Action";
        return Err(refusal(service.copied(), ServiceError::new("MissingAction", message, 400)));
    };
    let found = service.and_then(|s| Some((*s, s.operation(&action)?, form_protocol(s)?)));
    match found.filter(|(s, ..)| version_fits(s, version)) {
        Some((service, operation, protocol)) => {
            Ok(Call { service, operation, protocol, payload: Payload::Form(params) })
        }
        None => {
            let named = service.map(|s| s.id).or(scope.as_ref().map(|scope| scope.service.as_str()));
            let mut refusal = refusal(service.copied(), invalid_action(service.copied(), &action, version));
            refusal.called = Some((named.unwrap_or(version).to_owned(), action));
            Err(refusal)
        }
    }
}

impl Call<'_> {
    /// The input, decoded and checked against its model.
    pub fn input<T: Shape>(&self) -> Result<T, ServiceError> {
        let mut input = T::default();
        self.read(&mut input)?;
        validate::check(&input, self.protocol, self.service, self.operation)?;
        Ok(input)
    }

    /// Whether this is the operation `O`.
    pub fn is<O: Operation>(&self) -> bool {
        std::ptr::eq(self.operation, O::model())
    }

    /// Decodes the input without checking it.
    pub fn read(&self, input: &mut dyn Structure) -> Result<(), ServiceError> {
        match &self.payload {
            Payload::Json(text) => json::read_slice(input, text).map_err(serialization),
            Payload::Cbor(bytes) => cbor::read_slice(input, bytes).map_err(serialization),
            Payload::Form(params) => {
                params.read(input, self.protocol).map_err(|e| malformed_parameter(self.protocol, &e))
            }
        }
    }
}

impl Refusal {
    /// The answer to send.
    pub fn reply(&self, request_id: &str) -> Reply {
        match self.service {
            Some(service) => reply_error(self.protocol, service, &self.error, request_id),
            None => error_reply(self.protocol, None, &self.error, request_id),
        }
    }
}

/// The answer to a call that went well; of an answer that is a stream of events, its beginning.
pub fn reply(
    protocol: Protocol,
    service: &ServiceModel,
    operation: &OperationModel,
    output: &dyn Structure,
    request_id: &str,
) -> Reply {
    let mut headers = headers(protocol, service.json_version, request_id);
    if let Some(stream) = operation.stream() {
        headers.retain(|(name, _)| *name != "content-type");
        headers.push(("content-type", eventstream::CONTENT_TYPE.to_owned()));
        return Reply { status: 200, headers, body: eventstream::answer(protocol, output, stream) };
    }
    let body = match protocol {
        Protocol::Json | Protocol::Cbor if !operation.has_output => Vec::new(),
        Protocol::RestJson if !operation.has_output => b"{}".to_vec(),
        Protocol::Cbor => cbor::to_vec(output),
        Protocol::Json | Protocol::RestJson => json::to_vec(output),
        Protocol::Query => query_body(service, operation, output, request_id).into_bytes(),
        Protocol::Ec2 => ec2_body(service, operation, output, request_id).into_bytes(),
    };
    if protocol == Protocol::Cbor && !operation.has_output {
        headers.retain(|(name, _)| *name != "content-type");
    }
    Reply { status: 200, headers, body }
}

/// The answer to a call of this service that failed.
pub fn reply_error(protocol: Protocol, service: &ServiceModel, error: &ServiceError, request_id: &str) -> Reply {
    error_reply(protocol, Some(service), error, request_id)
}

/// AWS's answer to an unknown operation of this service.
pub fn unknown_operation(protocol: Protocol, service: &'static ServiceModel, name: &str) -> ServiceError {
    match protocol {
        Protocol::Json | Protocol::Cbor => ServiceError::new("UnknownOperationException", "", 400),
        // What AWS's restJson1 services answer to a path that they do not know.
        Protocol::RestJson => ServiceError::new("UnknownOperationException", "", 404),
        Protocol::Query | Protocol::Ec2 => invalid_action(Some(service), name, service.api_version),
    }
}

/// A request that names its service and operation itself, and holds one value.
fn identify_rpc<'a>(
    services: &[&'static ServiceModel],
    protocol: Protocol,
    prefix: &str,
    name: &str,
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<Call<'a>, Refusal> {
    let service = services.iter().find(|s| s.speaks(protocol) && s.target_prefix == prefix);
    let refuse = |error| {
        let called = Some((service.map_or(prefix, |s| s.id).to_owned(), name.to_owned()));
        Refusal { service: service.copied(), protocol, called, error: Box::new(error) }
    };
    let Some((service, operation)) = service.and_then(|s| Some((*s, s.operation(name)?))) else {
        return Err(refuse(ServiceError::new("UnknownOperationException", "", 400)));
    };
    let limit = if service.id == "ecr" { MAX_BODY } else { MAX_JSON };
    if body.len() > limit {
        return Err(refuse(too_large()));
    }
    let body = decompressed(headers, body, limit).map_err(refuse)?;
    let payload = if protocol == Protocol::Cbor { Payload::Cbor(body) } else { Payload::Json(body) };
    Ok(Call { service, operation, protocol, payload })
}

/// A request of restJson1: a known path, or one that was signed for a service of paths.
fn identify_rest<'a>(
    services: &[&'static ServiceModel],
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &'a [u8],
) -> Option<Result<Call<'a>, Refusal>> {
    let scope = sigv4::scope(headers, uri.query().unwrap_or_default());
    let speaks = |s: &&&'static ServiceModel| s.speaks(Protocol::RestJson);
    let service = match &scope {
        Some(scope) => *services.iter().filter(speaks).find(|s| s.signing_name == scope.service)?,
        None => *services.iter().filter(speaks).find(|s| s.at_path(uri.path()).is_some())?,
    };
    let protocol = Protocol::RestJson;
    let refuse =
        |error: ServiceError, called| Refusal { service: Some(service), protocol, called, error: Box::new(error) };
    let Some(operation) = service.at_path(uri.path()).filter(|_| method == Method::POST) else {
        let called = Some((service.id.to_owned(), uri.path().trim_start_matches('/').to_owned()));
        return Some(Err(refuse(unknown_operation(protocol, service, uri.path()), called)));
    };
    let called = || Some((service.id.to_owned(), operation.name.to_owned()));
    if body.len() > MAX_JSON {
        return Some(Err(refuse(too_large(), called())));
    }
    Some(match decompressed(headers, body, MAX_JSON) {
        Ok(body) => Ok(Call { service, operation, protocol, payload: Payload::Json(body) }),
        Err(error) => Err(refuse(error, called())),
    })
}

/// The protocol of this service's forms, if it takes any.
fn form_protocol(service: &ServiceModel) -> Option<Protocol> {
    service.protocols.iter().copied().find(|protocol| protocol.is_form())
}

/// The body without its `Content-Encoding: gzip`, in which clients send large metric data. What
/// comes out is as limited as what comes in.
pub fn decompressed<'a>(headers: &HeaderMap, body: &'a [u8], limit: usize) -> Result<Cow<'a, [u8]>, ServiceError> {
    if headers.get("content-encoding").is_none_or(|value| value != "gzip") {
        return Ok(Cow::Borrowed(body));
    }
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(body)
        .take(limit as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| serialization(DecodeError::new("The body is not in the gzip format")))?;
    if out.len() > limit { Err(too_large()) } else { Ok(Cow::Owned(out)) }
}

fn serialization(error: DecodeError) -> ServiceError {
    ServiceError::new("SerializationException", error.message, 400)
}

fn refusal(service: Option<&'static ServiceModel>, error: ServiceError) -> Refusal {
    let protocol = service.and_then(form_protocol).unwrap_or(Protocol::Query);
    Refusal { service, protocol, called: None, error: Box::new(error) }
}

fn too_large() -> ServiceError {
    ServiceError::new("RequestEntityTooLarge", "The request body is too large", 413)
}

/// EC2 answers clients of every version of its API; the others know one.
fn version_fits(service: &ServiceModel, version: &str) -> bool {
    service.protocol == Protocol::Ec2 || version.is_empty() || version == service.api_version
}

fn invalid_action(service: Option<&'static ServiceModel>, action: &str, version: &str) -> ServiceError {
    let message = match service.map(|s| s.protocol) {
        Some(Protocol::Ec2) => format!("The action {action} is not valid for this web service."),
        _ => format!("Could not find operation {action} for version {version}"),
    };
    ServiceError::new("InvalidAction", message, 400)
}

fn malformed_parameter(protocol: Protocol, error: &DecodeError) -> ServiceError {
    match protocol {
        Protocol::Ec2 => {
            let message = format!("{} for parameter {}", error.message, error.path);
            ServiceError::new("InvalidParameterValue", message, 400)
        }
        Protocol::Query | Protocol::Json | Protocol::Cbor | Protocol::RestJson => {
            ServiceError::new("MalformedInput", format!("{} at {}", error.message, error.path), 400)
        }
    }
}

fn headers(protocol: Protocol, json_version: &str, request_id: &str) -> Vec<(&'static str, String)> {
    let content_type = match protocol {
        Protocol::Json if json_version.is_empty() => "application/x-amz-json-1.1".to_owned(),
        Protocol::Json => format!("application/x-amz-json-{json_version}"),
        Protocol::Query => "text/xml".to_owned(),
        Protocol::Ec2 => "text/xml;charset=UTF-8".to_owned(),
        Protocol::Cbor => CBOR.to_owned(),
        Protocol::RestJson => "application/json".to_owned(),
    };
    let mut headers = vec![("content-type", content_type), ("x-amzn-requestid", request_id.to_owned())];
    if protocol == Protocol::Cbor {
        headers.push(("smithy-protocol", RPC_V2_CBOR.to_owned()));
    }
    headers
}

fn error_reply(protocol: Protocol, service: Option<&ServiceModel>, error: &ServiceError, request_id: &str) -> Reply {
    let mut headers = headers(protocol, service.map_or("", |s| s.json_version), request_id);
    let who = if error.is_sender_fault() { "Sender" } else { "Receiver" };
    let body = match protocol {
        Protocol::Json | Protocol::Cbor | Protocol::RestJson => {
            let model = service.and_then(|s| s.error(&error.code));
            let query_compatible = service.is_some_and(|s| s.query_compatible);
            let name = model.filter(|_| query_compatible).map_or(error.code.as_str(), |m| m.shape);
            if query_compatible {
                headers.push(("x-amzn-query-error", format!("{};{who}", error.code)));
            }
            let mut object = error.details.clone();
            if protocol != Protocol::RestJson {
                object.insert("__type".to_owned(), name.into());
            }
            if !error.message.is_empty() {
                object.insert(model.map_or("message", |m| m.message).to_owned(), error.message.clone().into());
            }
            if protocol != Protocol::Cbor {
                headers.push(("x-amzn-errortype", name.to_owned()));
                Json::Object(object).to_string().into_bytes()
            } else {
                cbor::object_to_vec(&object)
            }
        }
        Protocol::Query => {
            let mut out = start("ErrorResponse", service.map_or("", |s| s.xml_namespace));
            out.push_str("<Error>");
            xml::write_text("Type", who, &mut out);
            error_members(error, &mut out);
            out.push_str("</Error>");
            xml::write_text("RequestId", request_id, &mut out);
            out.push_str("</ErrorResponse>\n");
            out.into_bytes()
        }
        Protocol::Ec2 => {
            let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>");
            error_members(error, &mut out);
            out.push_str("</Error></Errors>");
            xml::write_text("RequestID", request_id, &mut out);
            out.push_str("</Response>");
            out.into_bytes()
        }
    };
    Reply { status: error.status, headers, body }
}

fn error_members(error: &ServiceError, out: &mut String) {
    xml::write_text("Code", &error.code, out);
    xml::write_text("Message", &error.message, out);
    for (name, value) in &error.details {
        let text = match value {
            Json::String(text) => Cow::Borrowed(text.as_str()),
            other => Cow::Owned(other.to_string()),
        };
        xml::write_text(name, &text, out);
    }
}

fn start(element: &str, namespace: &str) -> String {
    let mut out = format!("<{element}");
    if !namespace.is_empty() {
        out.push_str(" xmlns=\"");
        xml::escape(namespace, &mut out);
        out.push('"');
    }
    out.push('>');
    out
}

fn query_body(service: &ServiceModel, operation: &OperationModel, output: &dyn Structure, request_id: &str) -> String {
    let name = operation.name;
    let mut out = start(&format!("{name}Response"), service.xml_namespace);
    if operation.result_wrapper.is_empty() {
        xml::write_members(output, &mut out);
    } else {
        let wrapper = operation.result_wrapper;
        out.push_str(&format!("<{wrapper}>"));
        xml::write_members(output, &mut out);
        out.push_str(&format!("</{wrapper}>"));
    }
    out.push_str("<ResponseMetadata>");
    xml::write_text("RequestId", request_id, &mut out);
    out.push_str(&format!("</ResponseMetadata></{name}Response>\n"));
    out
}

fn ec2_body(service: &ServiceModel, operation: &OperationModel, output: &dyn Structure, request_id: &str) -> String {
    let name = operation.name;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out.push_str(&start(&format!("{name}Response"), &format!("{}/", service.xml_namespace)));
    xml::write_text("requestId", request_id, &mut out);
    if operation.has_output {
        xml::write_members(output, &mut out);
    } else {
        xml::write_text("return", "true", &mut out);
    }
    out.push_str(&format!("</{name}Response>"));
    out
}
