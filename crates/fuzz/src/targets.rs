//! The targets.

use crate::Target;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use quarry_control::cloudformation::template::{Template, graph};
use quarry_control::iam::document::{self, Use};
use quarry_deploy_kit::compose::{At, convert};
use quarry_deploy_kit::dockerfile::Dockerfile;
use quarry_deploy_kit::manifest::{self, Problems, Reading};
use quarry_deploy_kit::template::{self, Deployed};
use quarry_dns::{Names, Transport};
use quarry_domain::image::LayerBlob;
use quarry_domain::log_pattern::Pattern;
use quarry_domain::policy::{Context, Decision, Denial, Policy, PolicyKind, PolicySet, Principal, Request, evaluate};
use quarry_domain::rule::{self, Conditions, Headers, Rules};
use quarry_domain::snapshot::{Condition, Snapshot};
use quarry_domain::trace::daemon;
use quarry_domain::trace::filter::Filter;
use quarry_domain::trace::graph::Graph;
use quarry_domain::trace::header::{self, TraceHeader};
use quarry_domain::trace::{Segment, Trace};
use quarry_runtime::{LayerStore, UnpackLimits};
use quarry_wire::eventstream::Message;
use quarry_wire::{Timestamp, hash, server, sigv4, validate, xml};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub const TARGETS: &[Target] = &[
    Target { name: "request_head", run: quarry_proxy::fuzz::request_head },
    Target { name: "response_head", run: quarry_proxy::fuzz::response_head },
    Target { name: "chunked_body", run: quarry_proxy::fuzz::chunked_body },
    Target { name: "http2_request", run: quarry_proxy::fuzz::http2_request },
    Target { name: "http2_frames", run: quarry_proxy::fuzz::http2_frames },
    Target { name: "snapshot", run: quarry_proxy::fuzz::snapshot },
    Target { name: "rules", run: rules },
    Target { name: "sigv4", run: signature },
    Target { name: "aws_json", run: aws_json },
    Target { name: "aws_query", run: aws_query },
    Target { name: "aws_cbor", run: aws_cbor },
    Target { name: "aws_rest", run: aws_rest },
    Target { name: "trace_filter", run: trace_filter },
    Target { name: "trace_headers", run: trace_headers },
    Target { name: "segment", run: segment },
    Target { name: "daemon", run: datagram },
    Target { name: "eventstream", run: events },
    Target { name: "spans", run: quarry_control::xray::otlp::check },
    Target { name: "log_pattern", run: log_pattern },
    Target { name: "xml", run: answer },
    Target { name: "template", run: stack_template },
    Target { name: "policy", run: policy },
    Target { name: "dockerfile", run: dockerfile },
    Target { name: "compose", run: compose },
    Target { name: "copilot", run: copilot },
    Target { name: "aws_files", run: aws_files },
    Target { name: "manifest", run: image_manifest },
    Target { name: "layer", run: layer },
    Target { name: "dns_packet", run: dns_packet },
];

/// A document that IAM takes can be evaluated, and what it denies no other document gives back.
fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let compiled = Policy::parse(text);
    for purpose in [Use::Trust, Use::Identity, Use::Managed, Use::Resource] {
        assert!(compiled.is_ok() || document::check(text, purpose).is_err(), "taken, but not to be read: {text:?}");
    }
    let Ok(compiled) = compiled.map(Arc::new) else { return };
    let mut context = Context::default();
    compiled.keys().for_each(|key| context.set(key, "a"));
    let principal =
        Principal { account: "0".into(), arn: "arn:aws:sts::0:assumed-role/r/s".into(), ..Default::default() };
    let resource = "arn:aws:ecs:us-east-1:0:cluster/a";
    let request = Request { principal: &principal, action: "ecs:RunTask", resource, context: &context };
    let mut policies = PolicySet { identity: vec![compiled], ..Default::default() };
    let alone = evaluate(&request, &policies);
    policies.identity.push(Arc::new(Policy::deny_all()));
    assert_eq!(evaluate(&request, &policies), Decision::Denied(Denial::Explicit(PolicyKind::Identity)), "{alone:?}");
}

/// Lines: `METHOD host path query`, a field, then a rule each: `p:/a*|/b & h:*.example`.
fn rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let (Some(first), Some(field)) = (lines.next(), lines.next()) else { return };
    let mut parts = first.splitn(4, ' ');
    let mut part = || parts.next().unwrap_or_default();
    let (method, host, path, query) = (part(), part(), part(), part());
    let field = field.split_once(": ").unwrap_or((field, ""));
    struct One<'a>((&'a str, &'a str));
    impl Headers for One<'_> {
        fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.0.0.eq_ignore_ascii_case(name) && test(self.0.1.as_bytes())
        }
    }
    let headers = One(field);
    let source = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
    let request = rule::Request { method, host, path, query, headers: &headers, source };
    let all: Vec<Vec<Condition>> =
        lines.take(64).map(|line| line.split(" & ").filter_map(condition).collect()).collect();
    let compiled = Rules::compile(all.iter().map(Vec::as_slice));
    let found = compiled.first(&request);
    let naive = all.iter().position(|conditions| Conditions::compile(conditions).match_request(&request));
    assert_eq!(found, naive, "{text:?}");
}

fn condition(text: &str) -> Option<Condition> {
    let (kind, values) = text.split_once(':')?;
    let values: Vec<String> = values.split('|').map(str::to_owned).collect();
    Some(match kind {
        "p" => Condition::PathPattern(values),
        "h" => Condition::HostHeader(values),
        "m" => Condition::HttpRequestMethod(values),
        "s" => Condition::SourceIp(values),
        "q" => {
            let pair = |v: String| match v.split_once('=') {
                Some((key, value)) => (Some(key.to_owned()), value.to_owned()),
                None => (None, v),
            };
            Condition::QueryString(values.into_iter().map(pair).collect())
        }
        name => Condition::HttpHeader { name: name.to_owned(), values },
    })
}

/// Lines: query, then fields; an empty line, then the body.
fn signature(bytes: &[u8]) {
    let (head, body) = match bytes.windows(2).position(|w| w == b"\n\n") {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, &[][..]),
    };
    let mut lines = head.split(|b| *b == b'\n');
    let Some(Ok(query)) = lines.next().map(std::str::from_utf8) else { return };
    let headers = fields(lines);
    let request = sigv4::Request { method: "POST", path: "/", query, headers: &headers, body };
    let scope = sigv4::scope(&headers, query);
    let credentials = || sigv4::Credentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: "secret".into(),
        session_token: None,
    };
    let now = Timestamp::from_secs(1_769_860_800);
    match sigv4::verify(&request, now, sigv4::Expected::default(), |_| Some(credentials())) {
        Ok(verified) => assert_eq!(Some(verified), scope),
        Err(failure) => assert!(!failure.to_string().is_empty()),
    }
}

fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let pair = |line: &[u8]| {
        let colon = line.iter().position(|b| *b == b':')?;
        let value = line[colon + 1..].trim_ascii();
        Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    lines.take(100).filter_map(pair).collect()
}

/// The first line is the target, `ECS.RunTask` for short.
fn aws_json(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let Ok(name) = std::str::from_utf8(&bytes[..at]) else { return };
    let (service, operation) = name.split_once('.').unwrap_or((name, ""));
    let Some(service) = quarry_aws::SERVICES.iter().find(|s| s.id == service) else { return };
    let mut headers = HeaderMap::new();
    let Ok(target) = HeaderValue::from_str(&format!("{}.{operation}", service.target_prefix)) else { return };
    headers.insert("x-amz-target", target);
    call("/", &headers, bytes.get(at + 1..).unwrap_or_default());
}

/// A form.
fn aws_query(bytes: &[u8]) {
    call("/", &HeaderMap::new(), bytes);
}

/// The first line is service and operation as in the other.
fn aws_cbor(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let Ok(name) = std::str::from_utf8(&bytes[..at]) else { return };
    let (service, operation) = name.split_once('.').unwrap_or((name, ""));
    let Some(service) = quarry_aws::SERVICES.iter().find(|s| s.id == service) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    let path = format!("/service/{}/operation/{operation}", service.target_prefix);
    call(&path, &headers, bytes.get(at + 1..).unwrap_or_default());
}

/// The first line is the path.
fn aws_rest(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let Ok(path) = std::str::from_utf8(&bytes[..at]) else { return };
    call(path, &HeaderMap::new(), bytes.get(at + 1..).unwrap_or_default());
}

/// The first line is the expression, each other one a segment document. What is taken can be asked of any trace, and
/// its opposite holds where it does not.
fn trace_filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let group = |name: &str| (name == "slow").then(|| "responsetime > 5".to_owned());
    let Ok(filter) = Filter::parse(first, &group) else { return };
    let trace = Trace::new("", rest.lines().filter_map(|line| Segment::parse(line).ok()));
    let holds = filter.matches(&trace, "000000000000");
    if let (false, Ok(opposite)) = (first.trim().is_empty(), Filter::parse(&format!("!({first})"), &group)) {
        assert_eq!(opposite.matches(&trace, "000000000000"), !holds, "{first}");
    }
}

/// What one header says can be said by the other.
fn trace_headers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(header) = TraceHeader::parse(text) {
        let w3c = header::to_w3c(header.root()).expect("a trace's id");
        // An id of zeros alone is X-Ray's, not W3C's.
        assert!(header::to_xray(&w3c).is_none_or(|root| root == header.root()));
    }
    if let Some(from) = TraceHeader::from_w3c(text) {
        let said = format!(
            "Root={};Parent={};Sampled={}",
            from.root(),
            from.parent().unwrap_or_default(),
            u8::from(from.sampled == Some(true))
        );
        assert_eq!(TraceHeader::parse(&said), Some(from));
    }
}

/// A datagram to X-Ray's daemon: its document is what stands after the line, and is read or refused.
fn datagram(bytes: &[u8]) {
    let Some(document) = daemon::document(bytes) else { return };
    assert!(!document.is_empty() && document.len() < bytes.len(), "{document:?}");
    segment(document.as_bytes());
}

/// Messages of an event stream: each that is read is written as it came, and is read again.
fn events(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let before = bytes;
        let Ok(Some(message)) = Message::read(&mut bytes) else { return };
        let mut written = Vec::new();
        message.write(&mut written);
        assert_eq!(written, before[..before.len() - bytes.len()], "{message:?}");
    }
}

/// Lines: segment documents. Whatever they say, they make a trace with a graph.
fn segment(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let trace = Trace::new("", text.lines().filter_map(|line| Segment::parse(line).ok()));
    let (start, end) = trace.extent();
    assert!(start <= end);
    let mut graph = Graph::default();
    graph.add(&trace);
    for (_, service, _) in graph.nodes() {
        graph.edges_of(service).for_each(|(to, _)| assert!(graph.nodes().nth(to).is_some()));
    }
    let _ = (trace.annotations(), trace.services());
}

/// The first line is the pattern, the rest an event.
fn log_pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(pattern) = Pattern::parse(first) {
        let _ = pattern.matches(rest);
    }
}

/// What can be decoded can be checked and written again; what cannot is refused with an error of the protocol.
fn call(path: &str, headers: &HeaderMap, body: &[u8]) {
    let Ok(uri) = path.parse::<Uri>() else { return };
    match server::identify(quarry_aws::SERVICES, &Method::POST, &uri, headers, body) {
        Ok(call) => {
            let mut input = (call.operation.new_input)();
            match call.read(input.as_mut()) {
                Ok(()) => {
                    let _ = validate::check(input.as_ref(), call.protocol, call.service, call.operation);
                    quarry_wire::json::to_value(input.as_ref());
                }
                Err(error) => {
                    let reply = server::reply_error(call.protocol, call.service, &error, "r");
                    assert!((400..600).contains(&reply.status), "{}", reply.status);
                }
            }
        }
        Err(refusal) => assert!((400..600).contains(&refusal.reply("r").status)),
    }
}

fn answer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(node) = xml::Node::parse(text) {
        for service in quarry_aws::SERVICES.iter().take(3) {
            for operation in service.operations.iter().take(8) {
                let _ = node.read((operation.new_output)().as_mut());
            }
        }
    }
}

fn stack_template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(template) = Template::parse(text) {
        let needs = graph::dependencies(&template).expect("a template that was taken");
        assert_eq!(graph::creation_order(&needs).len(), needs.len(), "every resource has its turn");
        let _ = graph::attributes(&template);
    }
}

fn dockerfile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let arguments = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
    if let Err(error) = Dockerfile::parse("Dockerfile", text, &arguments) {
        assert!(error.line <= text.lines().count() + 1, "{error}");
    }
}

/// A Compose file becomes manifests of services with names of their own, or is refused by its lines.
fn compose(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match convert(text, At { file: "compose.yaml", dir: "stack", has_root: false }) {
        Ok(composed) => {
            assert!(!composed.services.is_empty(), "nothing of {text:?}");
            assert!(composed.notes.iter().all(|note| (1..=lines(text)).contains(&note.line)), "{:?}", composed.notes);
            for (i, service) in composed.services.iter().enumerate() {
                assert!(composed.services[..i].iter().all(|other| other.name != service.name), "two {}", service.name);
                let kind = manifest::kind_of("", &service.manifest);
                assert_eq!(kind.as_deref(), Ok(service.kind.name()), "{}", service.manifest);
            }
        }
        Err(problems) => refused(&problems, "compose.yaml", text),
    }
}

/// What is read of a manifest becomes a template that CloudFormation reads, and the rest is refused by its lines.
fn copilot(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let shell = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
    let reading = Reading { app: "app".into(), environment: "test".into(), shell };
    let whole = |template: String| {
        let parsed = Template::parse(&template);
        assert!(parsed.is_ok(), "{:?} of {text:?}", parsed.err());
    };
    match manifest::Service::read("manifest.yml", text, &reading) {
        Ok(service) => {
            let deployed =
                Deployed { app: "app".into(), environment: "test".into(), https: true, ..Deployed::default() };
            // A rule of taskdef_overrides may name a place that is not there.
            if let Ok(template) = template::service(&service, &deployed) {
                whole(template);
            }
        }
        Err(problems) => refused(&problems, "manifest.yml", text),
    }
    match manifest::Environment::read("manifest.yml", text, &reading) {
        Ok(environment) => whole(template::environment("app", &environment)),
        Err(problems) => refused(&problems, "manifest.yml", text),
    }
}

/// There is a reason, and each is of the file and of a line that it has.
fn refused(problems: &Problems, file: &str, text: &str) {
    assert!(!problems.0.is_empty(), "refused without a reason: {text:?}");
    for problem in &problems.0 {
        assert!(problem.file == file && problem.line <= lines(text), "{problem:?} of {text:?}");
    }
}

/// At most as many lines are in a text, of YAML, and one behind the last.
fn lines(text: &str) -> usize {
    text.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 2
}

/// The config file, a line of dashes, the credentials file.
fn aws_files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (config, credentials) = text.split_once("\n---\n").unwrap_or((text, ""));
    quarry_client::aws::check_files(config, credentials);
}

fn image_manifest(bytes: &[u8]) {
    quarry_registry::is_manifest(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = quarry_registry::ImageReference::parse(text);
    }
}

/// A layer is unpacked or refused, and touches nothing outside its place.
fn layer(bytes: &[u8]) {
    let memory = std::path::Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let around = tempfile::Builder::new().prefix("quarry-fuzz-").tempdir_in(base).expect("a directory");
    let place = |name: &str| around.path().join(name);
    std::fs::write(place("witness"), "untouched").expect("a file");
    std::fs::write(place("blob"), bytes).expect("a file");
    let limits = UnpackLimits { bytes: 1 << 20, entries: 200, ratio: 400 };
    let store = LayerStore::open(&place("layers"), limits, false).expect("a store");
    let digest = format!("sha256:{}", hash::sha256(bytes));
    let layer = LayerBlob {
        diff_id: digest.clone(),
        digest,
        media_type: "application/vnd.oci.image.layer.v1.tar".into(),
        path: place("blob"),
    };
    let unpacked = store.unpack(&layer);
    assert_eq!(std::fs::read_to_string(place("witness")).expect("still there"), "untouched");
    let mut left: Vec<_> =
        std::fs::read_dir(around.path()).expect("a directory").map(|e| e.expect("one").file_name()).collect();
    left.sort();
    assert_eq!(left, ["blob", "layers", "witness"]);
    let layers = std::fs::read_dir(place("layers")).expect("a directory").count();
    assert_eq!(layers, usize::from(unpacked.is_ok()), "{unpacked:?}");
}

fn dns_packet(bytes: &[u8]) {
    let names = Names::new(&Snapshot::default());
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = quarry_dns::answer(bytes, &names, IpAddr::V4(Ipv4Addr::LOCALHOST), transport);
        if let Some(answer) = answer {
            assert_eq!(answer[..2], bytes[..2], "the identifier");
            assert!(answer[2] & 0x80 != 0, "an answer");
        }
    }
}
