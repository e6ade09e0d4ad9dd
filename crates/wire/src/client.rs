//! The client's side of the protocols: a request for an input, an output from an answer.

use http::HeaderMap;
use serde_json::{Map, Value as Json};

use crate::error::{DecodeError, ServiceError};
use crate::schema::{OperationModel, Protocol, ServiceModel};
use crate::shape::{Structure, View};
use crate::{cbor, eventstream, form, json, server, xml};

/// A request to be sent by POST.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// The request that calls an operation with this input, in one of the service's protocols.
pub fn request(
    protocol: Protocol,
    service: &ServiceModel,
    operation: &OperationModel,
    input: &dyn Structure,
) -> Request {
    match protocol {
        Protocol::Cbor => Request {
            path: format!("/service/{}/operation/{}", service.target_prefix, operation.name),
            headers: vec![
                ("smithy-protocol", server::RPC_V2_CBOR.to_owned()),
                ("content-type", server::CBOR.to_owned()),
                ("accept", server::CBOR.to_owned()),
            ],
            body: cbor::to_vec(input),
        },
        Protocol::Json => Request {
            path: "/".to_owned(),
            headers: vec![
                ("content-type", format!("application/x-amz-json-{}", service.json_version)),
                ("x-amz-target", format!("{}.{}", service.target_prefix, operation.name)),
            ],
            body: json::to_vec(input),
        },
        Protocol::RestJson => Request {
            path: service.path_of(operation).to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: json::to_vec(input),
        },
        Protocol::Query | Protocol::Ec2 => {
            let mut params = vec![
                ("Action".to_owned(), operation.name.to_owned()),
                ("Version".to_owned(), service.api_version.to_owned()),
            ];
            params.extend(form::to_params(input, protocol));
            Request {
                path: "/".to_owned(),
                headers: vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8".to_owned())],
                body: form::encode(&params).into_bytes(),
            }
        }
    }
}

/// Fills an output from the body of an answer that went well.
pub fn read(
    protocol: Protocol,
    operation: &OperationModel,
    output: &mut dyn Structure,
    body: &[u8],
) -> Result<(), DecodeError> {
    if !operation.has_output {
        return Ok(());
    }
    if let Some(stream) = operation.stream() {
        return eventstream::read_answer(protocol, output, stream, body);
    }
    match protocol {
        Protocol::Json | Protocol::RestJson => json::read_slice(output, body),
        Protocol::Cbor => cbor::read_slice(output, body),
        Protocol::Query | Protocol::Ec2 => {
            let root = xml::Node::parse(utf8(body)?)?;
            let wrapper = operation.result_wrapper;
            let result = if wrapper.is_empty() { Some(&root) } else { root.child(wrapper) };
            let result = result.ok_or_else(|| DecodeError::new(format!("{wrapper} is missing")))?;
            result.read(output)
        }
    }
}

/// The value of a top-level text member, by its model name: for page tokens.
pub fn text_member<'a>(shape: &'a dyn Structure, name: &str) -> Option<&'a str> {
    match shape.member(shape.schema().position(name)?).view() {
        View::String(text) => Some(text),
        _ => None,
    }
}

/// Sets a top-level text member, by its model name; whether there is one.
pub fn set_text_member(shape: &mut dyn Structure, name: &str, text: &str) -> bool {
    let Some(index) = shape.schema().position(name) else {
        return false;
    };
    match shape.member_mut(index).slot() {
        crate::Slot::String(slot) => {
            text.clone_into(slot);
            true
        }
        _ => false,
    }
}

/// Gives each top-level idempotency token that is absent a fresh value.
pub fn fill_tokens(shape: &mut dyn Structure, fresh: &mut dyn FnMut() -> String) {
    for (i, member) in shape.schema().members.iter().enumerate() {
        if member.idempotency_token && matches!(shape.member(i).view(), View::Absent) {
            set_text_member(shape, member.name, &fresh());
        }
    }
}

fn utf8(body: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(body).map_err(|_| DecodeError::new("not UTF-8"))
}

/// The error in an answer whose status says that it is one.
pub fn error(protocol: Protocol, status: u16, headers: &HeaderMap, body: &[u8]) -> ServiceError {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let read = match protocol {
        Protocol::Json | Protocol::RestJson => {
            let object = serde_json::from_slice(body).unwrap_or_default();
            object_error(status, header("x-amzn-errortype"), object)
        }
        Protocol::Cbor => object_error(status, None, cbor::object(body).unwrap_or_default()),
        Protocol::Query | Protocol::Ec2 => xml_error(status, body),
    };
    let mut error = read.unwrap_or_else(|| {
        let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
        ServiceError::new(status.to_string(), start, status)
    });
    if let Some((code, _)) = header("x-amzn-query-error").as_deref().and_then(|e| e.split_once(';')) {
        code.clone_into(&mut error.code);
    }
    error.request_id = error.request_id.or_else(|| header("x-amzn-requestid"));
    error
}

fn object_error(status: u16, header: Option<String>, object: Map<String, Json>) -> Option<ServiceError> {
    let text = |name: &str| object.get(name).and_then(Json::as_str);
    let code = header.as_deref().or(text("__type")).or(text("code"))?;
    // `namespace#Code` and `Code:http://…` both mean `Code`.
    let code = code.rsplit('#').next().unwrap_or(code);
    let code = code.split(':').next().unwrap_or(code);
    let message = text("message").or(text("Message")).unwrap_or_default();
    let mut error = ServiceError::new(code, message, status);
    let known = ["__type", "code", "message", "Message"];
    error.details = object.into_iter().filter(|(name, _)| !known.contains(&name.as_str())).collect();
    Some(error)
}

fn xml_error(status: u16, body: &[u8]) -> Option<ServiceError> {
    let root = xml::Node::parse(utf8(body).ok()?).ok()?;
    let node = match root.child("Errors") {
        Some(errors) => errors.child("Error")?,
        None => root.child("Error")?,
    };
    let mut error = ServiceError::new(node.child_text("Code")?, node.child_text("Message").unwrap_or_default(), status);
    error.request_id = root.child_text("RequestId").or(root.child_text("RequestID")).map(str::to_owned);
    let known = ["Type", "Code", "Message"];
    let others = node.children.iter().filter(|c| !known.contains(&c.name.as_str()));
    error.details = others.map(|c| (c.name.clone(), c.text.clone().into())).collect();
    Some(error)
}
