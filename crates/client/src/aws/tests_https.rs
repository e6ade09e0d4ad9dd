//! AWS's way of calling, against a server behind TLS with an authority of its own.

use super::tests::{choice, settings};
use super::*;
use quarry_aws::{ecs, iam};
use quarry_wire::server::{self, Reply};
use quarry_wire::{ServiceError, sigv4};

#[allow(dead_code, reason = "it is the other tests' server, and they look at more of a request")]
#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/signed.rs"]
mod signed;
#[path = "../../../testkit/src/tls.rs"]
mod tls;

use common::{Received, serve};
use signed::{authentic, http};
use tls::Relay;

/// Knows the key `P`, gives the key `T` to who assumes a role with it, and takes `T` for ECS.
fn answer(received: &Received) -> Reply {
    let keys = |id: &str| {
        let token = match id {
            "P" => None,
            "T" => Some("token".to_owned()),
            _ => return None,
        };
        Some(sigv4::Credentials { access_key_id: id.into(), secret_access_key: "s".into(), session_token: token })
    };
    let call = match authentic(received, "eu-west-1", keys) {
        Ok(call) => call,
        Err(refusal) => return refusal,
    };
    if call.is::<sts::op::AssumeRole>() {
        let input: sts::AssumeRoleRequest = call.input().expect("an input");
        assert_eq!((input.role_session_name.as_deref(), input.external_id.as_deref()), (Some("quarry"), Some("ext")));
        let credentials = sts::Credentials {
            access_key_id: Some("T".into()),
            secret_access_key: Some("s".into()),
            session_token: Some("token".into()),
            ..Default::default()
        };
        let output = sts::AssumeRoleResponse { credentials: Some(credentials), ..Default::default() };
        return server::reply(call.protocol, call.service, call.operation, &output, "r");
    }
    if call.is::<ecs::op::ListClusters>() {
        let output = ecs::ListClustersResponse { cluster_arns: Some(vec!["arn:x".into()]), ..Default::default() };
        return server::reply(call.protocol, call.service, call.operation, &output, "r");
    }
    server::reply_error(call.protocol, call.service, &ServiceError::new("Other", "", 400), "r")
}

const FILES: (&str, &str) = (
    "[profile prod]\nregion=eu-west-1\nrole_arn=arn:aws:iam::111111111111:role/deploy\nsource_profile=base\nexternal_id=ext\n",
    "[base]\naws_access_key_id=P\naws_secret_access_key=s\n",
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_assumed_and_used_over_tls_with_an_authority_of_ones_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let relay = Relay::start(serve(|received| http(answer(&received))).await, dir.path());
    let (url, bundle) = (relay.url(), relay.bundle.display().to_string());
    let all = settings(&[("AWS_ENDPOINT_URL", &url), ("AWS_CA_BUNDLE", &bundle)], FILES.0, FILES.1);
    let aws = all.open(&choice(Some("prod"))).await.expect("a client");
    assert_eq!((aws.region.as_str(), aws.profile.as_deref()), ("eu-west-1", Some("prod")));
    let clusters = aws.client.call::<ecs::op::ListClusters>(Default::default()).await.expect("clusters");
    assert_eq!(clusters.cluster_arns.expect("one"), ["arn:x"]);
    // A service's own endpoint alone: the other services are AWS's own, of which none is asked here.
    let one = settings(&[("AWS_ENDPOINT_URL_ECS", &url), ("AWS_CA_BUNDLE", &bundle)], "", FILES.1);
    let base = Choice { region: Some("eu-west-1".into()), ..choice(Some("base")) };
    let aws = one.open(&base).await.expect("a client");
    assert_eq!(aws.endpoint, None);
    aws.client.call::<ecs::op::ListClusters>(Default::default()).await.expect("clusters");
    // An operation that the server refuses: a service's error, not one of the connection.
    let error = all.open(&choice(Some("prod"))).await.expect("a client");
    let error = error.client.call::<iam::op::ListRoles>(Default::default()).await.expect_err("refused");
    assert_eq!(error.code(), Some("Other"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_authority_is_not_believed_is_not_spoken_to() {
    let dirs = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let server = serve(|received| http(answer(&received))).await;
    let (relay, other) = (Relay::start(server, dirs[0].path()), Relay::start(server, dirs[1].path()));
    let foreign = other.bundle.display().to_string();
    // Another authority; and a name that the certificate has not.
    let own = relay.bundle.display().to_string();
    let by_number = format!("https://{}", relay.address);
    for (url, bundle) in [(relay.url(), &foreign), (by_number, &own)] {
        let all = settings(&[("AWS_ENDPOINT_URL", &url), ("AWS_CA_BUNDLE", bundle)], "", FILES.1);
        let aws =
            all.open(&Choice { region: Some("eu-west-1".into()), ..choice(Some("base")) }).await.expect("a client");
        let error = aws.client.call::<ecs::op::ListClusters>(Default::default()).await.expect_err("not believed");
        let CallError::Transport(error) = error else { panic!("{error}") };
        assert!(error.unsent && error.message.contains("cannot connect"), "{error}");
    }
    let missing = settings(&[("AWS_CA_BUNDLE", "/nowhere.pem")], "", FILES.1);
    let error = missing.open(&Choice { region: Some("eu-west-1".into()), ..choice(Some("base")) }).await;
    assert!(matches!(error, Err(AwsError::Certificates(text)) if text.contains("/nowhere.pem")));
}
