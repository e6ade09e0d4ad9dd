//! Requests made by hand: signed well or badly, whole or broken.

use crate::shell::Shell;
use http::{HeaderMap, HeaderName, HeaderValue};
use quarry_wire::Timestamp;
use quarry_wire::sigv4::{self, Credentials};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

/// The endpoint and its key.
pub struct Raw {
    /// `127.0.0.1:port`
    pub authority: String,
    pub key: Credentials,
    region: String,
}

/// A POST, before it is signed.
#[derive(Clone, Debug)]
pub struct Post {
    /// As in the credential scope.
    pub service: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// What is wrong with a signature.
#[derive(Clone, Debug, Default)]
pub struct Flaw {
    /// Seconds by which the signer's clock is wrong.
    pub clock: i64,
    pub region: Option<&'static str>,
    pub service: Option<&'static str>,
    pub access_key: Option<&'static str>,
    pub secret: Option<&'static str>,
    /// Sent in place of the signed body.
    pub body: Option<&'static str>,
    /// Unsigned headers.
    pub headers: Vec<(&'static str, &'static str)>,
    pub unsigned: bool,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The error's code, in any of the protocols.
    pub fn code(&self) -> String {
        if let Ok(json) = serde_json::from_str::<Value>(&self.body) {
            return json["__type"].as_str().unwrap_or_default().to_owned();
        }
        between(&self.body, "<Code>", "</Code>").unwrap_or_default().to_owned()
    }

    /// The body without what differs between equal answers.
    pub fn lasting(&self) -> String {
        let mut text = self.body.clone();
        for tag in ["RequestId", "requestId"] {
            if let Some(id) = between(&self.body, &format!("<{tag}>"), &format!("</{tag}>")) {
                text = text.replace(id, "");
            }
        }
        text
    }
}

impl Raw {
    pub fn new(shell: &Shell) -> Self {
        let var = |name| shell.var(name).to_owned();
        Self {
            authority: shell.var("AWS_ENDPOINT_URL").trim_start_matches("http://").to_owned(),
            key: Credentials {
                access_key_id: var("AWS_ACCESS_KEY_ID"),
                secret_access_key: var("AWS_SECRET_ACCESS_KEY"),
                session_token: None,
            },
            region: var("AWS_REGION"),
        }
    }

    /// Signs and sends.
    pub fn send(&self, post: &Post) -> Answer {
        self.send_flawed(post, &Flaw::default())
    }

    pub fn send_flawed(&self, post: &Post, flaw: &Flaw) -> Answer {
        self.exchange(&self.signed(post, flaw), false)
    }

    /// The bytes of a request.
    pub fn signed(&self, post: &Post, flaw: &Flaw) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(&self.authority).unwrap());
        for (name, value) in &post.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let mut key = self.key.clone();
        key.access_key_id = flaw.access_key.map_or(key.access_key_id, str::to_owned);
        key.secret_access_key = flaw.secret.map_or(key.secret_access_key, str::to_owned);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let at = Timestamp::from_secs(now + flaw.clock);
        let request = sigv4::Request { method: "POST", path: "/", query: "", headers: &headers, body: &post.body };
        let region = flaw.region.unwrap_or(&self.region);
        let mut added = sigv4::sign(&request, at, region, flaw.service.unwrap_or(post.service), &key);
        if flaw.unsigned {
            added.clear();
        }
        let body = flaw.body.map_or(post.body.as_slice(), str::as_bytes);
        for (name, value) in &flaw.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut out = b"POST / HTTP/1.1\r\n".to_vec();
        for (name, value) in &headers {
            out.extend_from_slice(format!("{name}: {}\r\n", value.to_str().unwrap()).as_bytes());
        }
        for (name, value) in added {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(body);
        out
    }

    /// Sends bytes on a connection of their own and then no more, and reads until it ends.
    pub fn bytes(&self, bytes: &[u8]) -> Answer {
        self.exchange(bytes, true)
    }

    fn exchange(&self, bytes: &[u8], no_more: bool) -> Answer {
        let mut stream = TcpStream::connect(&self.authority).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // It may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        if no_more {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Answer { status, body: body.to_owned() }
    }

    /// Everything the account holds, as far as its lists show it.
    pub fn inventory(&self) -> Vec<(&'static str, String)> {
        let lists = [
            json("ecs", "ListClusters", "{}"),
            json("ecs", "ListTaskDefinitions", "{}"),
            json("ecr", "DescribeRepositories", "{}"),
            json("logs", "DescribeLogGroups", "{}"),
            json("ssm", "DescribeParameters", "{}"),
            form("cloudformation", "DescribeStacks", ""),
            form("cloudformation", "ListExports", ""),
            form("elasticloadbalancing", "DescribeLoadBalancers", ""),
            form("elasticloadbalancing", "DescribeTargetGroups", ""),
            form("autoscaling", "DescribeAutoScalingGroups", ""),
            form("autoscaling", "DescribeLaunchConfigurations", ""),
            form("autoscaling", "DescribeAutoScalingInstances", ""),
            form("iam", "ListRoles", ""),
            form("iam", "ListInstanceProfiles", ""),
            form("ec2", "DescribeVpcs", ""),
            form("ec2", "DescribeSubnets", ""),
            form("ec2", "DescribeSecurityGroups", ""),
            form("ec2", "DescribeRouteTables", ""),
            form("ec2", "DescribeInternetGateways", ""),
        ];
        let list = |post: &Post| {
            let answer = self.send(post);
            assert_eq!(answer.status, 200, "{post:?}: {answer:?}");
            (post.service, answer.lasting())
        };
        lists.iter().map(list).collect()
    }
}

/// A call in a JSON protocol.
pub fn json(service: &'static str, operation: &str, body: impl Into<Vec<u8>>) -> Post {
    let (prefix, version) = match service {
        "ecs" => ("AmazonEC2ContainerServiceV20141113", "1.1"),
        "ecr" => ("AmazonEC2ContainerRegistry_V20150921", "1.1"),
        "logs" => ("Logs_20140328", "1.1"),
        "ssm" => ("AmazonSSM", "1.1"),
        other => (other, "1.0"),
    };
    let content_type = format!("application/x-amz-json-{version}");
    let headers = vec![("content-type", content_type), ("x-amz-target", format!("{prefix}.{operation}"))];
    Post { service, headers, body: body.into() }
}

/// A call in the Query protocol. `more`: the parameters after Action and Version, encoded.
pub fn form(service: &'static str, action: &str, more: &str) -> Post {
    let version = match service {
        "cloudformation" => "2010-05-15",
        "elasticloadbalancing" => "2015-12-01",
        "autoscaling" => "2011-01-01",
        "iam" => "2010-05-08",
        "ec2" => "2016-11-15",
        "sts" => "2011-06-15",
        other => panic!("no Query service {other}"),
    };
    post_form(service, format!("Action={action}&Version={version}&{more}"))
}

/// A form as it is.
pub fn post_form(service: &'static str, body: impl Into<Vec<u8>>) -> Post {
    let content_type = "application/x-www-form-urlencoded; charset=utf-8".to_owned();
    Post { service, headers: vec![("content-type", content_type)], body: body.into() }
}

/// A text as one form value.
pub fn encoded(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.~".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}
