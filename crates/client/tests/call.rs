//! Signed calls against a server made of the same codecs.

mod common;
#[path = "common/signed.rs"]
mod signed;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Received, serve};
use http::Response;
use http_body_util::Full;
use quarry_aws::{ecs, elbv2};
use quarry_client::{CallError, Client, Credentials};
use quarry_wire::server::{self, Reply};
use quarry_wire::{ServiceError, sigv4};
use signed::{authentic, http};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn client(address: std::net::SocketAddr, secret: &str) -> Client {
    let credentials = Credentials::new("AKIDEXAMPLE", secret, Some("session/token".to_owned()));
    Client::new(&format!("http://{address}"), "us-east-1", credentials).expect("an endpoint")
}

/// Verifies, and answers ListClusters in pages of one and DescribeRules with one rule.
fn answer(received: &Received) -> Reply {
    let keys = |id: &str| {
        (id == "AKIDEXAMPLE").then(|| sigv4::Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: Some("session/token".to_owned()),
        })
    };
    let call = match authentic(received, "us-east-1", keys) {
        Ok(call) => call,
        Err(refusal) => return refusal,
    };
    if call.is::<ecs::op::ListClusters>() {
        let input: ecs::ListClustersRequest = call.input().expect("an input");
        let page: usize = input.next_token.map_or(0, |t| t.parse().expect("our token"));
        let output = ecs::ListClustersResponse {
            cluster_arns: Some(vec![format!("arn:{page}")]),
            next_token: (page < 2).then(|| (page + 1).to_string()),
        };
        return server::reply(call.protocol, call.service, call.operation, &output, "r");
    }
    if call.is::<elbv2::op::DescribeRules>() {
        let output = elbv2::DescribeRulesOutput {
            rules: Some(vec![elbv2::Rule { priority: Some("default".to_owned()), ..Default::default() }]),
            ..Default::default()
        };
        return server::reply(call.protocol, call.service, call.operation, &output, "r");
    }
    let error = ServiceError::new("ClusterNotFoundException", "Cluster not found.", 400);
    server::reply_error(call.protocol, call.service, &error, "r")
}

#[tokio::test]
async fn pages_are_collected_until_the_last() {
    let address = serve(|received| http(answer(&received))).await;
    let pages = client(address, SECRET).paginate::<ecs::op::ListClusters>(Default::default()).await.expect("pages");
    let arns: Vec<String> = pages.into_iter().flat_map(|p| p.cluster_arns.unwrap_or_default()).collect();
    assert_eq!(arns, ["arn:0", "arn:1", "arn:2"]);
}

#[tokio::test]
async fn xml_outputs_and_errors_arrive_typed() {
    let address = serve(|received| http(answer(&received))).await;
    let client = client(address, SECRET);
    let output = client.call::<elbv2::op::DescribeRules>(Default::default()).await.expect("rules");
    assert_eq!(output.rules.expect("rules")[0].priority.as_deref(), Some("default"));
    let error = client.call::<ecs::op::DescribeClusters>(Default::default()).await.expect_err("none");
    let CallError::Service(error) = error else { panic!("{error}") };
    assert_eq!((error.code.as_str(), error.status), ("ClusterNotFoundException", 400));
    assert_eq!(error.message, "Cluster not found.");
    assert_eq!(error.request_id.as_deref(), Some("r"));
}

#[tokio::test]
async fn a_wrong_secret_is_refused_in_each_protocol() {
    let address = serve(|received| http(answer(&received))).await;
    let client = client(address, "guess");
    let error = client.call::<ecs::op::ListClusters>(Default::default()).await.expect_err("refused");
    assert_eq!(error.code(), Some("InvalidSignatureException"));
    let error = client.call::<elbv2::op::DescribeRules>(Default::default()).await.expect_err("refused");
    assert_eq!(error.code(), Some("SignatureDoesNotMatch"));
}

#[tokio::test]
async fn faults_and_throttling_are_tried_again_and_refusals_are_not() {
    let calls = Arc::new(AtomicUsize::new(0));
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let (count, seen) = (Arc::clone(&calls), Arc::clone(&tokens));
    let address = serve(move |received| {
        seen.lock().expect("tokens").push(received.body.clone());
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Response::builder().status(503).body(Full::default()).expect("a response"),
            1 => http(server::reply_error(
                ecs::SERVICE.protocol,
                &ecs::SERVICE,
                &ServiceError::new("ThrottlingException", "", 400),
                "r",
            )),
            _ => http(answer(&received)),
        }
    })
    .await;
    let client = client(address, SECRET);
    let error = client.call::<ecs::op::RunTask>(Default::default()).await.expect_err("no such cluster");
    assert_eq!(error.code(), Some("ClusterNotFoundException"));
    assert_eq!(calls.load(Ordering::SeqCst), 3, "a refusal ends it");
    let bodies = tokens.lock().expect("tokens");
    assert!(String::from_utf8_lossy(&bodies[0]).contains("clientToken"));
    assert!(bodies.windows(2).all(|b| b[0] == b[1]), "one token for all attempts");
}

#[tokio::test]
async fn nobody_listening_is_a_transport_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let client = client(address, SECRET).with_timeout(Duration::from_secs(2));
    let error = client.call::<ecs::op::ListClusters>(Default::default()).await.expect_err("nobody");
    let CallError::Transport(error) = error else { panic!("{error}") };
    assert!(error.unsent, "{error}");
    for endpoint in ["ftp://x", "x", "http://a@b", "http://x/path"] {
        let credentials = Credentials::new("a", "b", None);
        assert!(Client::new(endpoint, "us-east-1", credentials).is_err(), "{endpoint}");
    }
}
