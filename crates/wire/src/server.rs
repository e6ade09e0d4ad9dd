//! The server's side of the protocols: which operation a request calls, its
//! input, and the answer to it.

use std::borrow::Cow;

use http::{HeaderMap, Method, Uri};
use serde_json::Value as Json;

use crate::error::{DecodeError, ServiceError};
use crate::form::Params;
use crate::schema::{OperationModel, Protocol, ServiceModel};
use crate::shape::{Operation, Shape, Structure};
use crate::{json, sigv4, validate, xml};

/// Largest body of any request, in bytes: an image layer part in base64.
pub const MAX_BODY: usize = 32 << 20;
/// Largest form body, in bytes.
pub const MAX_FORM: usize = 1 << 20;
/// Largest JSON body of services without blobs, in bytes.
pub const MAX_JSON: usize = 8 << 20;

/// A request, once it is known what it calls.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub service: &'static ServiceModel,
    pub operation: &'static OperationModel,
    payload: Payload<'a>,
}

#[derive(Clone, Debug)]
enum Payload<'a> {
    Json(&'a [u8]),
    Form(Params),
}

/// A request that calls nothing we know, with what is needed to answer it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The service, when that much is known.
    pub service: Option<&'static ServiceModel>,
    pub protocol: Protocol,
    pub error: Box<ServiceError>,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// Finds what a request calls: by `X-Amz-Target`, or for a form (or a GET with
/// `Action`) by the service in its credential scope, else by its `Version`.
pub fn identify<'a>(
    services: &[&'static ServiceModel],
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<Call<'a>, Refusal> {
    if let Some(target) = headers.get("x-amz-target") {
        return identify_json(services, target.to_str().unwrap_or_default(), body);
    }
    let query = uri.query().unwrap_or_default();
    let scope = sigv4::scope(headers, query);
    let scoped = scope
        .as_ref()
        .and_then(|scope| services.iter().find(|s| s.signing_name == scope.service && s.protocol != Protocol::Json));
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
        let Ok(text) = std::str::from_utf8(body) else {
            return Err(refuse(ServiceError::new("MalformedQueryString", "Parameters must be UTF-8", 400)));
        };
        add(text)?;
    }
    let version = params.get("Version").unwrap_or_default();
    let service = match scoped {
        Some(service) => Some(service),
        None if scope.is_some() => None,
        None => services.iter().find(|s| s.protocol != Protocol::Json && s.api_version == version),
    };
    let Some(action) = params.get("Action").map(str::to_owned) else {
        let message = "The request must contain the parameter Action";
        return Err(refusal(service.copied(), ServiceError::new("MissingAction", message, 400)));
    };
    let found = service.and_then(|s| Some((*s, s.operation(&action)?)));
    match found.filter(|(s, _)| version_fits(s, version)) {
        Some((service, operation)) => Ok(Call { service, operation, payload: Payload::Form(params) }),
        None => Err(refusal(service.copied(), invalid_action(service.copied(), &action, version))),
    }
}

impl Call<'_> {
    /// The input, decoded and checked against its model.
    pub fn input<T: Shape>(&self) -> Result<T, ServiceError> {
        let mut input = T::default();
        self.read(&mut input)?;
        validate::check(&input, self.service, self.operation)?;
        Ok(input)
    }

    /// Whether this is the operation `O`.
    pub fn is<O: Operation>(&self) -> bool {
        std::ptr::eq(self.operation, O::model())
    }

    /// Decodes the input without checking it.
    pub fn read(&self, input: &mut dyn Structure) -> Result<(), ServiceError> {
        match &self.payload {
            Payload::Json(text) => {
                json::read_slice(input, text).map_err(|e| ServiceError::new("SerializationException", e.message, 400))
            }
            Payload::Form(params) => {
                params.read(input, self.service.protocol).map_err(|e| malformed_parameter(self.service.protocol, &e))
            }
        }
    }
}

impl Refusal {
    /// The answer to send.
    pub fn reply(&self, request_id: &str) -> Reply {
        match self.service {
            Some(service) => reply_error(service, &self.error, request_id),
            None => error_reply(self.protocol, "", &self.error, request_id),
        }
    }
}

/// The answer to a call that went well.
pub fn reply(service: &ServiceModel, operation: &OperationModel, output: &dyn Structure, request_id: &str) -> Reply {
    let body = match service.protocol {
        Protocol::Json if !operation.has_output => Vec::new(),
        Protocol::Json => json::to_vec(output),
        Protocol::Query => query_body(service, operation, output, request_id).into_bytes(),
        Protocol::Ec2 => ec2_body(service, operation, output, request_id).into_bytes(),
    };
    Reply { status: 200, headers: headers(service.protocol, service.json_version, request_id), body }
}

/// The answer to a call of this service that failed.
pub fn reply_error(service: &ServiceModel, error: &ServiceError, request_id: &str) -> Reply {
    let mut reply = error_reply(service.protocol, service.xml_namespace, error, request_id);
    reply.headers = headers(service.protocol, service.json_version, request_id);
    add_error_type(&mut reply, service.protocol, error);
    reply
}

/// AWS's answer to an unknown operation of this service.
pub fn unknown_operation(service: &'static ServiceModel, name: &str) -> ServiceError {
    match service.protocol {
        Protocol::Json => ServiceError::new("UnknownOperationException", "", 400),
        Protocol::Query | Protocol::Ec2 => invalid_action(Some(service), name, service.api_version),
    }
}

fn identify_json<'a>(services: &[&'static ServiceModel], target: &str, body: &'a [u8]) -> Result<Call<'a>, Refusal> {
    let (prefix, name) = target.rsplit_once('.').unwrap_or((target, ""));
    let service = services.iter().find(|s| s.protocol == Protocol::Json && s.target_prefix == prefix);
    let refuse = |error| Refusal { service: service.copied(), protocol: Protocol::Json, error: Box::new(error) };
    let Some((service, operation)) = service.and_then(|s| Some((*s, s.operation(name)?))) else {
        return Err(refuse(ServiceError::new("UnknownOperationException", "", 400)));
    };
    let limit = if service.id == "ecr" { MAX_BODY } else { MAX_JSON };
    if body.len() > limit {
        return Err(refuse(too_large()));
    }
    Ok(Call { service, operation, payload: Payload::Json(body) })
}

fn refusal(service: Option<&'static ServiceModel>, error: ServiceError) -> Refusal {
    let protocol = service.map_or(Protocol::Query, |s| s.protocol);
    Refusal { service, protocol, error: Box::new(error) }
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
        Protocol::Query | Protocol::Json => {
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
    };
    vec![("content-type", content_type), ("x-amzn-requestid", request_id.to_owned())]
}

fn add_error_type(reply: &mut Reply, protocol: Protocol, error: &ServiceError) {
    if protocol == Protocol::Json {
        reply.headers.push(("x-amzn-errortype", error.code.clone()));
    }
}

fn error_reply(protocol: Protocol, namespace: &str, error: &ServiceError, request_id: &str) -> Reply {
    let body = match protocol {
        Protocol::Json => {
            let mut object = error.details.clone();
            object.insert("__type".to_owned(), error.code.clone().into());
            if !error.message.is_empty() {
                object.insert("message".to_owned(), error.message.clone().into());
            }
            Json::Object(object).to_string()
        }
        Protocol::Query => {
            let mut out = start("ErrorResponse", namespace);
            out.push_str("<Error>");
            xml::write_text("Type", if error.is_sender_fault() { "Sender" } else { "Receiver" }, &mut out);
            error_members(error, &mut out);
            out.push_str("</Error>");
            xml::write_text("RequestId", request_id, &mut out);
            out.push_str("</ErrorResponse>\n");
            out
        }
        Protocol::Ec2 => {
            let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>");
            error_members(error, &mut out);
            out.push_str("</Error></Errors>");
            xml::write_text("RequestID", request_id, &mut out);
            out.push_str("</Response>");
            out
        }
    };
    let mut reply = Reply { status: error.status, headers: headers(protocol, "", request_id), body: body.into_bytes() };
    add_error_type(&mut reply, protocol, error);
    reply
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
