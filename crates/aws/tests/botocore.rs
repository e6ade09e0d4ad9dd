//! Our codecs against botocore's: requests it serialised, answers it parsed
//! (`models/fixtures.py` makes and checks the fixtures), signatures it computed.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{headers, operation, post_to};
use quarry_wire::sigv4::{self, AuthFailure, Credentials, Expected};
use quarry_wire::{Protocol, ServiceError, Timestamp, cbor, client, form, json, server};
use serde_json::{Value, json as json_text};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn fixture(name: &str) -> Value {
    let text = std::fs::read_to_string(path(name)).expect("a fixture");
    serde_json::from_str(&text).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

const CBOR: &str = "smithy-rpc-v2-cbor";

fn protocol_of(name: &str) -> Protocol {
    match name {
        "json" => Protocol::Json,
        "query" => Protocol::Query,
        "ec2" => Protocol::Ec2,
        CBOR => Protocol::Cbor,
        "rest-json" => Protocol::RestJson,
        other => panic!("protocol {other}"),
    }
}

fn protocol(case: &Value) -> Protocol {
    protocol_of(text(case, "protocol"))
}

/// The body of a case as it was sent; fixtures hold CBOR in base64.
fn body(case: &Value) -> Vec<u8> {
    let body = text(case, "body");
    if protocol(case) == Protocol::Cbor { BASE64.decode(body).expect("base64") } else { body.into() }
}

/// A body as fixtures hold it.
fn written(protocol: Protocol, body: &[u8]) -> String {
    match protocol {
        Protocol::Cbor => BASE64.encode(body),
        _ => String::from_utf8(body.to_vec()).expect("text"),
    }
}

/// Compares with what is committed, or writes it when UPDATE_FIXTURES is set.
fn golden(name: &str, found: &[Value]) {
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        let lines: Vec<String> = found.iter().map(Value::to_string).collect();
        std::fs::write(path(name), format!("[\n{}\n]\n", lines.join(",\n"))).expect("written");
        return;
    }
    let committed = fixture(name);
    for (i, (found, committed)) in found.iter().zip(list(&committed)).enumerate() {
        assert_eq!(found, committed, "{name} {i}");
    }
    assert_eq!(found.len(), list(&committed).len(), "{name}");
}

#[test]
fn we_read_what_botocore_sends() {
    let cases = fixture("requests.json");
    assert!(list(&cases).len() > 200, "every operation has a case");
    for case in list(&cases) {
        let (service, name) = (text(case, "service"), text(case, "operation"));
        let protocol = protocol(case);
        let given: Vec<(&str, &str)> = match (protocol, case["target"].as_str()) {
            (Protocol::Cbor, _) => vec![("smithy-protocol", "rpc-v2-cbor")],
            (_, target) => target.iter().map(|t| ("x-amz-target", *t)).collect(),
        };
        let path = case["path"].as_str().unwrap_or("/");
        let body = body(case);
        let call = post_to(path, &given, &body).unwrap_or_else(|e| panic!("{service} {name}: {e:?}"));
        assert_eq!((call.service.id, call.operation.name, call.protocol), (service, name, protocol));
        let mut input = (call.operation.new_input)();
        call.read(input.as_mut()).unwrap_or_else(|e| panic!("{service} {name}: {e}"));
        assert_eq!(json::to_value(input.as_ref()), case["input"], "{service} {name}");
    }
}

#[test]
fn we_send_what_botocore_sends() {
    for case in list(&fixture("requests.json")) {
        let (service, model) = operation(text(case, "service"), text(case, "operation"));
        let mut input = (model.new_input)();
        json::read(input.as_mut(), &case["input"]).expect("the input");
        let protocol = protocol(case);
        let request = client::request(protocol, service, model, input.as_ref());
        assert_eq!(request.path, case["path"].as_str().unwrap_or("/"));
        let theirs = body(case);
        match protocol {
            Protocol::Json | Protocol::RestJson => {
                let parse = |body: &[u8]| serde_json::from_slice::<Value>(body).expect("JSON");
                assert_eq!(parse(&request.body), parse(&theirs), "{}", model.name);
            }
            Protocol::Cbor => {
                let parse = |body: &[u8]| {
                    let mut input = (model.new_input)();
                    cbor::read_slice(input.as_mut(), body).expect("CBOR");
                    json::to_value(input.as_ref())
                };
                assert_eq!(parse(&request.body), parse(&theirs), "{}", model.name);
            }
            Protocol::Query | Protocol::Ec2 => assert_eq!(pairs(&request.body), pairs(&theirs), "{}", model.name),
        }
    }
}

/// Parameters by name; timestamps made alike, as we always write milliseconds.
fn pairs(body: &[u8]) -> BTreeMap<String, String> {
    let body = std::str::from_utf8(body).expect("text");
    let decode = |s: &str| form::Params::parse(&format!("v={s}")).expect("a value").get("v").expect("v").to_owned();
    body.split('&')
        .map(|pair| pair.split_once('=').expect("a pair"))
        .map(|(name, value)| (decode(name), decode(value).replace(":00.000Z", ":00Z")))
        .collect()
}

#[test]
fn botocore_reads_what_we_answer() {
    let mut answers = Vec::new();
    for case in list(&fixture("outputs.json")) {
        let (service, model) = operation(text(case, "service"), text(case, "operation"));
        let mut output = (model.new_output)();
        json::read(output.as_mut(), &case["output"]).expect("the output");
        let protocol = protocol(case);
        let reply = server::reply(protocol, service, model, output.as_ref(), "req-1");
        assert_eq!(reply.status, 200);
        let body = written(protocol, &reply.body);
        if protocol.is_form() && model.has_output {
            let mut again = (model.new_output)();
            let root = quarry_wire::xml::Node::parse(&body).expect("XML");
            let wrapper = model.result_wrapper;
            let node = if wrapper.is_empty() { &root } else { root.child(wrapper).expect("a result") };
            node.read(again.as_mut()).expect("readable");
            assert_eq!(json::to_value(again.as_ref()), case["output"], "{}", model.name);
        }
        answers.push(Value::String(body));
    }
    golden("answers.json", &answers);
}

#[test]
fn botocore_reads_our_errors() {
    let mut errors = Vec::new();
    for (service, name, protocol, code) in [
        ("ecs", "DescribeClusters", "json", "Some.Code"),
        ("elbv2", "DescribeRules", "query", "Some.Code"),
        ("ec2", "DescribeVpcs", "ec2", "Some.Code"),
        ("cloudformation", "DescribeStacks", "query", "Some.Code"),
        ("iam", "GetRole", "query", "Some.Code"),
        ("servicediscovery", "GetService", "json", "ServiceNotFound"),
        ("servicediscovery", "GetService", CBOR, "ServiceNotFound"),
        // The shape of this code is InvalidFormatFault; clients still see the code.
        ("cloudwatch", "SetAlarmState", "json", "InvalidFormat"),
        ("cloudwatch", "SetAlarmState", "query", "InvalidFormat"),
        ("cloudwatch", "SetAlarmState", CBOR, "InvalidFormat"),
        ("cloudwatch", "SetAlarmState", CBOR, "Some.Code"),
    ] {
        let (service, _) = operation(service, name);
        let spoken = protocol_of(protocol);
        let error = ServiceError::new(code, "It's <not> \"there\" & é", 404);
        let reply = server::reply_error(spoken, service, &error, "req-1");
        assert_eq!(reply.status, 404);
        let sent: Vec<(&'static str, &str)> = reply.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let read = client::error(spoken, 404, &headers(&sent), &reply.body);
        assert_eq!((read.code.as_str(), read.message.as_str()), (error.code.as_str(), error.message.as_str()));
        errors.push(json_text!({
            "service": service.id, "operation": name, "protocol": protocol, "status": 404, "code": error.code,
            "headers": reply.headers.iter().map(|(n, v)| (*n, v.as_str())).collect::<BTreeMap<_, _>>(),
            "message": error.message, "body": written(spoken, &reply.body),
        }));
    }
    golden("errors.json", &errors);
}

struct Signed {
    method: String,
    path: String,
    query: String,
    headers: http::HeaderMap,
    body: Vec<u8>,
    credentials: Credentials,
    service: String,
    presigned: bool,
}

impl Signed {
    fn request(&self) -> sigv4::Request<'_> {
        sigv4::Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
        }
    }

    fn verify(&self, at: i64) -> Result<sigv4::Scope, AuthFailure> {
        let expected = Expected { region: Some("us-east-1"), service: Some(&self.service) };
        sigv4::verify(&self.request(), Timestamp::from_secs(at), expected, |id| {
            (id == self.credentials.access_key_id).then(|| self.credentials.clone())
        })
    }
}

fn signed() -> (i64, Vec<Signed>) {
    let fixture = fixture("signatures.json");
    let requests = list(&fixture["requests"]).iter().map(|case| Signed {
        method: text(case, "method").to_owned(),
        path: text(case, "path").to_owned(),
        query: text(case, "query").to_owned(),
        headers: case["headers"]
            .as_object()
            .expect("headers")
            .iter()
            .map(|(n, v)| (n.parse().expect("name"), v.as_str().expect("text").parse().expect("value")))
            .collect::<http::HeaderMap>(),
        body: text(case, "body").as_bytes().to_vec(),
        credentials: Credentials {
            access_key_id: text(&fixture, "access_key_id").to_owned(),
            secret_access_key: text(&fixture, "secret_access_key").to_owned(),
            session_token: case["session_token"].as_str().map(str::to_owned),
        },
        service: text(case, "service").to_owned(),
        presigned: case["presigned"] == true,
    });
    (fixture["at"].as_i64().expect("a time"), requests.collect())
}

#[test]
fn signatures_of_botocore_verify_and_ours_are_the_same() {
    let (at, requests) = signed();
    assert!(requests.iter().any(|r| r.presigned) && requests.iter().any(|r| !r.presigned));
    for request in requests {
        let scope = request.verify(at).unwrap_or_else(|e| panic!("{} {e}", request.path));
        assert_eq!(scope.service, request.service);
        if request.presigned {
            continue;
        }
        let ours = sigv4::sign(
            &request.request(),
            Timestamp::from_secs(at),
            "us-east-1",
            &request.service,
            &request.credentials,
        );
        for (name, value) in ours {
            assert_eq!(request.headers[name].to_str().expect("text"), value, "{name}");
        }
    }
}

#[test]
fn altered_stale_and_foreign_requests_are_refused() {
    let (at, requests) = signed();
    for mut request in requests {
        let life = if request.presigned { 300 } else { 900 };
        assert!(request.verify(at + life).is_ok());
        assert!(matches!(request.verify(at + life + 1), Err(AuthFailure::Stale(_))));
        assert!(request.verify(at - 900).is_ok());
        assert!(matches!(request.verify(at - 901), Err(AuthFailure::Stale(_))));

        let token = request.credentials.session_token.replace("another".to_owned());
        assert_eq!(request.verify(at), Err(AuthFailure::UnknownKey));
        request.credentials.session_token = token;

        let secret = std::mem::replace(&mut request.credentials.secret_access_key, "guess".to_owned());
        assert_eq!(request.verify(at), Err(AuthFailure::Mismatch));
        request.credentials.secret_access_key = secret;

        let id = std::mem::replace(&mut request.credentials.access_key_id, "AKIAOTHER".to_owned());
        assert_eq!(request.verify(at), Err(AuthFailure::UnknownKey));
        request.credentials.access_key_id = id;

        let service = std::mem::replace(&mut request.service, "iam".to_owned());
        assert!(matches!(request.verify(at), Err(AuthFailure::WrongScope(_))));
        request.service = service;

        request.body.push(b' ');
        assert_eq!(request.verify(at), Err(AuthFailure::Mismatch));
        request.body.pop();

        request.query.push_str("&extra=1");
        assert_eq!(request.verify(at), Err(AuthFailure::Mismatch));
        request.query.truncate(request.query.len() - "&extra=1".len());

        request.headers.insert("host", "elsewhere".parse().expect("a value"));
        assert_eq!(request.verify(at), Err(AuthFailure::Mismatch));
    }
}

#[test]
fn a_header_that_decides_the_operation_must_be_signed() {
    let (at, requests) = signed();
    for mut request in signed().1.into_iter().filter(|r| r.presigned) {
        request.headers.insert("x-amz-target", "A.DeleteCluster".parse().expect("a value"));
        assert!(matches!(request.verify(at), Err(AuthFailure::Incomplete(_))), "a presigned one, too");
    }
    for mut request in requests.into_iter().filter(|r| !r.presigned && r.service == "ec2") {
        request.headers.insert("x-amz-target", "A.DeleteCluster".parse().expect("a value"));
        assert!(matches!(request.verify(at), Err(AuthFailure::Incomplete(_))));
        request.headers.remove("authorization");
        assert_eq!(request.verify(at), Err(AuthFailure::Missing));
    }
}

#[test]
fn failures_speak_each_protocol() {
    let code = |failure: &AuthFailure, protocol| failure.error(protocol).code;
    let missing = AuthFailure::Missing;
    assert_eq!(code(&missing, Protocol::Json), "MissingAuthenticationTokenException");
    assert_eq!(code(&missing, Protocol::Query), "MissingAuthenticationToken");
    assert_eq!(code(&AuthFailure::UnknownKey, Protocol::Json), "UnrecognizedClientException");
    assert_eq!(code(&AuthFailure::UnknownKey, Protocol::Query), "InvalidClientTokenId");
    assert_eq!(code(&AuthFailure::UnknownKey, Protocol::Ec2), "AuthFailure");
    assert_eq!(code(&AuthFailure::Mismatch, Protocol::Json), "InvalidSignatureException");
    assert_eq!(code(&AuthFailure::Mismatch, Protocol::Query), "SignatureDoesNotMatch");
    assert_eq!(AuthFailure::Mismatch.error(Protocol::Query).status, 403);
}
