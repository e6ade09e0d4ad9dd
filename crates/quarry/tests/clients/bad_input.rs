//! Input that no good client sends: refused with AWS's own codes, and nothing changes by it.

use crate::EXE;
use crate::raw::{Flaw, Post, Raw, form, json, post_form};
use crate::shell::Shell;
use quarry_testkit::Platform;
use std::time::{Duration, Instant};

const ECS_TARGET: &str = "AmazonEC2ContainerServiceV20141113";

/// A good call that would leave a trace.
fn good() -> Post {
    json("ecs", "CreateCluster", r#"{"clusterName":"trace"}"#)
}

fn good_form() -> Post {
    let template = "TemplateBody=Resources%3A%20%7BA%3A%20%7BType%3A%20'AWS%3A%3ALogs%3A%3ALogGroup'%7D%7D";
    form("cloudformation", "CreateStack", &format!("StackName=trace&{template}"))
}

fn good_ec2() -> Post {
    form("ec2", "CreateVpc", "CidrBlock=10.9.0.0%2F16")
}

/// The request, and status and code of the answer.
type Case = (Post, u16, &'static str);

fn malformed() -> Vec<Case> {
    let ecs = |operation: &str, body: &str| json("ecs", operation, body);
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    vec![
        // Not JSON, or not of the right types.
        (ecs("CreateCluster", r#"{"clusterName":"#), 400, "SerializationException"),
        (ecs("CreateCluster", r#"{"clusterName":"a"} trailing"#), 400, "SerializationException"),
        (ecs("CreateCluster", r#"["clusterName"]"#), 400, "SerializationException"),
        (ecs("CreateCluster", r#"{"clusterName":{"a":1}}"#), 400, "SerializationException"),
        (ecs("CreateCluster", r#"{"clusterName":"a","tags":"none"}"#), 400, "SerializationException"),
        (json("ecs", "CreateCluster", b"{\"clusterName\":\"\xff\xfe\"}".to_vec()), 400, "SerializationException"),
        (ecs("CreateCluster", &format!(r#"{{"clusterName":{}}}"#, deep(100_000))), 400, "SerializationException"),
        (
            ecs("CreateCluster", &format!(r#"{{"clusterName":"a","x":{}}}"#, deep(100_000))),
            400,
            "SerializationException",
        ),
        (
            ecs("CreateService", r#"{"serviceName":"a","taskDefinition":"b","desiredCount":"many"}"#),
            400,
            "SerializationException",
        ),
        (
            ecs("CreateService", r#"{"serviceName":"a","taskDefinition":"b","desiredCount":1e300}"#),
            400,
            "SerializationException",
        ),
        (json("logs", "CreateLogGroup", r#"{"logGroupName":"#), 400, "SerializationException"),
        // Required, and not there.
        (ecs("CreateService", "{}"), 400, "InvalidParameterException"),
        (ecs("RegisterTaskDefinition", r#"{"family":"a"}"#), 400, "InvalidParameterException"),
        (ecs("RegisterTaskDefinition", r#"{"family":"a","containerDefinitions":[]}"#), 400, "ClientException"),
        (json("ecr", "CreateRepository", "{}"), 400, "InvalidParameterException"),
        (json("logs", "CreateLogGroup", "{}"), 400, "InvalidParameterException"),
        (json("ssm", "GetParameter", "{}"), 400, "ValidationException"),
        (form("elasticloadbalancing", "CreateTargetGroup", ""), 400, "ValidationError"),
        (form("cloudformation", "CreateStack", ""), 400, "ValidationError"),
        (form("iam", "CreateRole", "RoleName=a"), 400, "ValidationError"),
        (form("autoscaling", "CreateAutoScalingGroup", ""), 400, "ValidationError"),
        (form("ec2", "CreateSubnet", "CidrBlock=10.0.0.0%2F24"), 400, "MissingParameter"),
        // There, and not allowed.
        (ecs("CreateCluster", r#"{"clusterName":"no spaces"}"#), 400, "InvalidParameterException"),
        (
            ecs("CreateCluster", &format!(r#"{{"clusterName":"{}"}}"#, "a".repeat(256))),
            400,
            "InvalidParameterException",
        ),
        (json("ecr", "CreateRepository", r#"{"repositoryName":"../../etc"}"#), 400, "InvalidParameterException"),
        (json("ecr", "CreateRepository", r#"{"repositoryName":"Capital"}"#), 400, "InvalidParameterException"),
        (
            form("elasticloadbalancing", "CreateTargetGroup", "Name=%3Ca%3E%26&Protocol=HTTP&Port=80"),
            400,
            "ValidationError",
        ),
        (form("ec2", "CreateVpc", "CidrBlock=10.0.0.0%2F99"), 400, "InvalidParameterValue"),
        (form("ec2", "CreateVpc", "CidrBlock=nonsense"), 400, "InvalidParameterValue"),
        (form("iam", "CreateRole", "RoleName=a&AssumeRolePolicyDocument=nonsense"), 400, "MalformedPolicyDocument"),
        // Numbers that are none, lists with absurd indices.
        (
            form("elasticloadbalancing", "CreateTargetGroup", "Name=trace&Protocol=HTTP&Port=eighty"),
            400,
            "MalformedInput",
        ),
        (
            form("elasticloadbalancing", "CreateTargetGroup", "Name=trace&Protocol=HTTP&Port=99999999999"),
            400,
            "MalformedInput",
        ),
        (form("ec2", "DescribeVpcs", "MaxResults=x"), 400, "InvalidParameterValue"),
    ]
}

fn unknown() -> Vec<Case> {
    vec![
        (json("ecs", "ListWishes", "{}"), 400, "UnknownOperationException"),
        (json("ecs", "", "{}"), 400, "UnknownOperationException"),
        (json("dynamodb", "ListTables", "{}"), 400, "UnknownOperationException"),
        (form("elasticloadbalancing", "ListWishes", ""), 400, "InvalidAction"),
        (form("iam", "ListWishes", ""), 400, "InvalidAction"),
        (form("ec2", "ListWishes", ""), 400, "InvalidAction"),
        (post_form("cloudformation", "Action=ListStacks&Version=1999-01-01"), 400, "InvalidAction"),
        (post_form("cloudformation", ""), 400, "MissingAction"),
        (post_form("s3", ""), 400, "MissingAction"),
        (post_form("iam", "Action=%ff%fe&Version=2010-05-08"), 400, "MalformedQueryString"),
    ]
}

fn oversize() -> Vec<Case> {
    let name = "a".repeat(9 << 20);
    vec![
        (json("ecs", "CreateCluster", format!(r#"{{"clusterName":"{name}"}}"#)), 413, "RequestEntityTooLarge"),
        (form("elasticloadbalancing", "CreateTargetGroup", &format!("Name={name}")), 413, "RequestEntityTooLarge"),
    ]
}

/// The flaw, and the code in JSON, in Query and in EC2's protocol.
fn flaws() -> Vec<(&'static str, Flaw, [&'static str; 3])> {
    let flaw = Flaw::default;
    let mismatch = ["InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"];
    let expired = ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"];
    vec![
        (
            "unsigned",
            Flaw { unsigned: true, ..flaw() },
            ["MissingAuthenticationTokenException", "MissingAuthenticationToken", "MissingAuthenticationToken"],
        ),
        (
            "unknown key",
            Flaw { access_key: Some("AKIAIOSFODNN7EXAMPLE"), ..flaw() },
            ["UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure"],
        ),
        ("wrong secret", Flaw { secret: Some("not the secret"), ..flaw() }, mismatch),
        ("other region", Flaw { region: Some("eu-west-9"), ..flaw() }, mismatch),
        ("an hour late", Flaw { clock: -3600, ..flaw() }, expired),
        ("an hour early", Flaw { clock: 3600, ..flaw() }, expired),
        ("altered header", Flaw { headers: vec![("content-type", "application/x-amz-json-1.0")], ..flaw() }, mismatch),
        ("a hash of other bytes", Flaw { headers: vec![("x-amz-content-sha256", "00")], ..flaw() }, mismatch),
    ]
}

#[test]
fn bad_input_is_refused_in_aws_words_and_changes_nothing() {
    let platform = Platform::start(EXE).unwrap();
    let raw = Raw::new(&Shell::new(&platform));
    let before = raw.inventory();
    let mut wrong = Vec::new();
    let mut expect = |what: String, answer: crate::raw::Answer, status: u16, code: &str| {
        if (answer.status, answer.code().as_str()) != (status, code) {
            wrong.push(format!("{what}\n  wanted {status} {code}\n  got {} {}", answer.status, answer.body));
        }
    };
    let shown = |post: &Post| {
        let body = String::from_utf8_lossy(&post.body);
        let target = post.headers.iter().find(|(n, _)| *n == "x-amz-target").map_or("", |(_, v)| v);
        format!("{} {target} {}", post.service, body.chars().take(120).collect::<String>())
    };
    for (post, status, code) in [malformed(), unknown(), oversize()].concat() {
        let start = Instant::now();
        expect(shown(&post), raw.send(&post), status, code);
        assert!(start.elapsed() < Duration::from_secs(2), "{} took {:?}", shown(&post), start.elapsed());
    }
    for (what, flaw, codes) in flaws() {
        for (post, code) in [good(), good_form(), good_ec2()].into_iter().zip(codes) {
            let status = match code {
                "SignatureDoesNotMatch" | "InvalidClientTokenId" | "MissingAuthenticationToken" => 403,
                "AuthFailure" => 401,
                _ => 400,
            };
            expect(format!("{what}: {}", shown(&post)), raw.send_flawed(&post, &flaw), status, code);
        }
    }
    // A body that was altered on the way, and a scope of another service.
    let altered = Flaw { body: Some(r#"{"clusterName":"altered"}"#), ..Flaw::default() };
    expect("altered body".into(), raw.send_flawed(&good(), &altered), 400, "InvalidSignatureException");
    let other = Flaw { service: Some("ecr"), ..Flaw::default() };
    expect("other service".into(), raw.send_flawed(&good(), &other), 400, "InvalidSignatureException");
    assert!(wrong.is_empty(), "{} of the answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(raw.inventory(), before);

    // The same calls, signed well, do what they say: what is refused above would have left a trace.
    for post in [good(), good_form(), good_ec2()] {
        let answer = raw.send(&post);
        assert_eq!(answer.status, 200, "{post:?}: {answer:?}");
    }
    assert_ne!(raw.inventory(), before);
}

#[test]
fn web_pages_of_other_sites_get_nothing_even_with_a_good_signature() {
    let platform = Platform::start(EXE).unwrap();
    let raw = Raw::new(&Shell::new(&platform));
    let before = raw.inventory();
    for headers in [
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000")],
        vec![("host", "evil.example")],
        vec![("host", "localhost.evil.example")],
    ] {
        let answer = raw.send_flawed(&good(), &Flaw { headers: headers.clone(), ..Flaw::default() });
        assert_eq!(answer.status, 403, "{headers:?}: {answer:?}");
    }
    // The registry and the status page stand behind the same door.
    for path in ["/v2/", "/v2/_catalog", "/_quarry/v1/listeners"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        assert_eq!(raw.bytes(request.as_bytes()).status, 403, "{path}");
    }
    assert_eq!(raw.inventory(), before);
}

#[test]
fn broken_http_hurts_nobody() {
    let platform = Platform::start(EXE).unwrap();
    let raw = Raw::new(&Shell::new(&platform));
    let before = raw.inventory();
    let whole = raw.signed(&good(), &Flaw::default());
    let head = whole.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    // Cut anywhere, the call is not carried out.
    for cut in [1, head / 2, head - 2, head, head + 1, whole.len() - 1] {
        let answer = raw.bytes(&whole[..cut]);
        assert!(answer.status == 0 || answer.status >= 400, "cut at {cut}: {answer:?}");
    }
    let host = &raw.authority;
    for (what, request) in [
        ("no HTTP", "hello\r\n\r\n".to_owned()),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}".to_owned()),
        ("two lengths", format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")),
        ("a length that is none", format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: -1\r\n\r\n")),
        ("an endless header", format!("POST / HTTP/1.1\r\nhost: {host}\r\nx: {}\r\n\r\n", "a".repeat(1 << 20))),
        (
            "bad chunks",
            format!(
                "POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-target: {ECS_TARGET}.CreateCluster\r\n\
                 transfer-encoding: chunked\r\n\r\nzz\r\n"
            ),
        ),
    ] {
        let answer = raw.bytes(request.as_bytes());
        assert!(answer.status == 0 || (400..500).contains(&answer.status), "{what}: {answer:?}");
    }
    // Bytes without end are not collected: 33 MiB where 32 are the most that anything takes.
    let answer = raw.send(&json("ecr", "UploadLayerPart", vec![b' '; 33 << 20]));
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(raw.inventory(), before);
}
