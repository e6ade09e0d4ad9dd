//! The log through the endpoint: what records say, and what they never show.

use super::parameters::Parameters;
use crate::endpoint::{Auth, Endpoint, Source};
use crate::start;
use crate::testing::World;
use http::{Method, Request};
use quarry_wire::sigv4::{self, Credentials};
use quarry_wire::{Timestamp, client, json};
use serde_json::{Value, json};
use std::time::Instant;

const SECRET: &str = "hunter2-correct-horse";

/// An endpoint that is asked as clients ask it.
pub(crate) struct Stage {
    pub world: World,
    endpoint: Endpoint,
    pub root: Credentials,
}

pub(crate) fn stage() -> Stage {
    let world = World::new(|operations| *operations = start::operations());
    crate::ecr::reconcile(&world.platform, &world.operations);
    let key = ("AKIDROOTROOTROOTROOT".to_owned(), "root-secret".to_owned());
    let root = Credentials { access_key_id: key.0.clone(), secret_access_key: key.1.clone(), session_token: None };
    let endpoint = Endpoint::new(world.platform.clone(), world.operations.clone(), Auth::On, key);
    Stage { world, endpoint, root }
}

impl Stage {
    /// Calls as a client does, signed or not; status and body.
    pub fn call(&self, by: Option<&Credentials>, service: &str, operation: &str, input: Value) -> (u16, String) {
        let service = quarry_aws::SERVICES.iter().find(|s| s.id == service).unwrap();
        let model = service.operation(operation).unwrap();
        let mut shape = (model.new_input)();
        json::read(shape.as_mut(), &input).unwrap();
        let sent = client::request(service.protocol, service, model, shape.as_ref());
        let mut request = Request::builder().method(Method::POST).uri(&sent.path).header("host", "localhost");
        for (name, value) in &sent.headers {
            request = request.header(*name, value);
        }
        let (mut head, ()) = request.header("user-agent", "test/1").body(()).unwrap().into_parts();
        head.extensions.insert(Source([127, 0, 0, 9].into()));
        if let Some(credentials) = by {
            let signed = sigv4::Request {
                method: "POST",
                path: head.uri.path(),
                query: head.uri.query().unwrap_or_default(),
                headers: &head.headers.clone(),
                body: &sent.body,
            };
            let now = Timestamp::from_millis(self.world.platform.now_ms());
            for (name, value) in sigv4::sign(&signed, now, "us-east-1", service.signing_name, credentials) {
                head.headers.insert(name, value.parse().unwrap());
            }
        }
        let answer = self.endpoint.answer(&head, &sent.body);
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    }

    pub fn log(&self) -> String {
        self.world.platform.audit.flush();
        let files = self.world.platform.audit.files();
        files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    pub fn last(&self) -> Value {
        serde_json::from_str(self.log().lines().last().unwrap()).unwrap()
    }
}

fn trust(principal: Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]})
        .to_string()
}

#[test]
fn calls_are_recorded_as_cloudtrail_does_denied_and_unsigned_ones_too() {
    let stage = stage();
    let (status, _) = stage.call(Some(&stage.root), "ecs", "CreateCluster", json!({"clusterName": "demo"}));
    assert_eq!(status, 200);
    let made = stage.last();
    assert_eq!(made["eventSource"], "ecs.amazonaws.com");
    assert_eq!((&made["eventName"], &made["readOnly"]), (&json!("CreateCluster"), &json!(false)));
    assert_eq!(made["userIdentity"]["type"], "Root");
    assert_eq!(made["userIdentity"]["accessKeyId"], "AKIDROOTROOTROOTROOT");
    assert_eq!(made["requestParameters"], json!({"clusterName": "demo"}));
    assert_eq!(made["responseElements"]["cluster"]["clusterName"], "demo");
    assert_eq!((&made["sourceIPAddress"], &made["userAgent"]), (&json!("127.0.0.9"), &json!("test/1")));
    for name in ["eventVersion", "eventTime", "awsRegion", "requestID", "eventID", "recipientAccountId"] {
        assert!(made[name].as_str().is_some_and(|text| !text.is_empty()), "{name} in {made}");
    }
    stage.call(Some(&stage.root), "ecs", "ListClusters", json!({}));
    let read = stage.last();
    assert_eq!(
        (&read["readOnly"], &read["responseElements"], &read["requestParameters"]),
        (&json!(true), &Value::Null, &Value::Null)
    );

    let role =
        json!({"RoleName": "r", "Path": "/p/", "AssumeRolePolicyDocument": trust(json!({"AWS": "000000000000"}))});
    assert_eq!(stage.call(Some(&stage.root), "iam", "CreateRole", role).0, 200);
    let assume = json!({"RoleArn": "arn:aws:iam::000000000000:role/p/r", "RoleSessionName": "s1"});
    let (status, body) = stage.call(Some(&stage.root), "sts", "AssumeRole", assume);
    assert_eq!(status, 200, "{body}");
    let between = |name: &str| {
        let after = body.split(&format!("<{name}>")).nth(1).unwrap();
        after.split('<').next().unwrap().to_owned()
    };
    let session = Credentials {
        access_key_id: between("AccessKeyId"),
        secret_access_key: between("SecretAccessKey"),
        session_token: Some(between("SessionToken")),
    };
    assert_eq!(
        stage.last()["responseElements"]["assumedRoleUser"]["arn"],
        "arn:aws:sts::000000000000:assumed-role/r/s1"
    );
    let (status, body) = stage.call(Some(&session), "ecs", "DeleteCluster", json!({"cluster": "demo"}));
    assert_eq!(status, 400);
    assert!(body.contains("is not authorized to perform: ecs:DeleteCluster on resource: arn:aws:ecs:us-east-1:000000000000:cluster/demo because"), "{body}");
    let denied = stage.last();
    assert_eq!(denied["errorCode"], "AccessDeniedException");
    assert_eq!(denied["userIdentity"]["type"], "AssumedRole");
    assert_eq!(denied["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"], "arn:aws:iam::000000000000:role/p/r");
    assert_eq!(denied["userIdentity"]["sessionContext"]["attributes"]["mfaAuthenticated"], "false");
    // What it may do without any policy.
    assert_eq!(stage.call(Some(&session), "sts", "GetCallerIdentity", json!({})).0, 200);
    let (status, body) = stage.call(Some(&stage.root), "iam", "GetRole", json!({"RoleName": "r"}));
    assert!(status == 200 && body.contains("<LastUsedDate>"), "{body}");

    assert!((400..=403).contains(&stage.call(None, "ecs", "ListClusters", json!({})).0));
    let unsigned = stage.last();
    assert_eq!(unsigned["userIdentity"]["type"], "Unknown");
    assert!(unsigned["errorCode"].is_string(), "{unsigned}");
    let forged = Credentials { secret_access_key: "wrong".into(), ..stage.root.clone() };
    stage.call(Some(&forged), "ecs", "ListClusters", json!({}));
    assert_eq!(stage.last()["userIdentity"]["accessKeyId"], "AKIDROOTROOTROOTROOT");
    let log = stage.log();
    assert!(!log.contains(&session.secret_access_key) && !log.contains(session.session_token.as_deref().unwrap()));
}

#[test]
fn no_secret_is_ever_in_it() {
    let stage = stage();
    let trusted = trust(json!({"Service": "ecs-tasks.amazonaws.com"}));
    let template = json!({"Parameters": {"P": {"Type": "String", "NoEcho": true}},
        "Resources": {"S": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": SECRET}}}});
    let calls = [
        ("secretsmanager", "CreateSecret", json!({"Name": "db", "SecretString": SECRET})),
        ("secretsmanager", "PutSecretValue", json!({"SecretId": "db", "SecretString": SECRET})),
        ("secretsmanager", "GetSecretValue", json!({"SecretId": "db"})),
        ("ssm", "PutParameter", json!({"Name": "/a", "Type": "SecureString", "Value": SECRET})),
        ("ssm", "PutParameter", json!({"Name": "/a", "Type": "NoSuchType", "Value": SECRET})),
        ("ssm", "GetParameter", json!({"Name": "/a", "WithDecryption": true})),
        (
            "cloudformation",
            "CreateStack",
            json!({"StackName": "s", "TemplateBody": template.to_string(),
            "Parameters": [{"ParameterKey": "P", "ParameterValue": SECRET}]}),
        ),
        (
            "ecs",
            "RegisterTaskDefinition",
            json!({"family": "f", "containerDefinitions": [{"name": "a", "image": "a", "memory": 64,
            "environment": [{"name": "PASSWORD", "value": SECRET}]}]}),
        ),
        ("iam", "CreateRole", json!({"RoleName": "r", "AssumeRolePolicyDocument": trusted})),
        ("ecr", "GetAuthorizationToken", json!({})),
        (
            "logs",
            "PutLogEvents",
            json!({"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1, "message": SECRET}]}),
        ),
    ];
    let count = calls.len();
    for (service, operation, input) in calls {
        stage.call(Some(&stage.root), service, operation, input);
    }
    let log = stage.log();
    assert_eq!(log.lines().count(), count, "{log}");
    assert!(!log.contains(SECRET), "{log}");
    assert!(log.contains(super::HIDDEN) && log.contains("\"family\":\"f\""));
    assert!(!log.contains("root-secret"));
}

#[test]
fn what_is_hidden_is_not_repeated_in_messages() {
    let service = quarry_aws::SERVICES.iter().find(|s| s.id == "secretsmanager").unwrap();
    let mut input = (service.operation("CreateSecret").unwrap().new_input)();
    json::read(input.as_mut(), &json!({"Name": "db", "SecretString": SECRET})).unwrap();
    let parameters = Parameters::of(input.as_ref());
    assert_eq!(parameters.shown, json!({"name": "db", "secretString": super::HIDDEN}));
    let message = parameters.without_hidden(&format!("Value '{SECRET}' at 'secretString' is too long"));
    assert_eq!(message, format!("Value '{}' at 'secretString' is too long", super::HIDDEN));
}

#[test]
fn files_are_turned_and_bounded_and_a_record_costs_little() {
    let dir = tempfile::tempdir().unwrap();
    let trail = super::Trail::new(dir.path());
    let filler = "x".repeat(200_000);
    for n in 0..1200 {
        trail.add(json!({"n": n, "requestParameters": filler}));
    }
    trail.flush();
    let files = trail.files();
    assert_eq!(files.len(), 8);
    let sizes: Vec<u64> = files.iter().map(|path| path.metadata().unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size < (16 << 20) + (1 << 20)), "{sizes:?}");
    let newest = std::fs::read_to_string(&files[0]).unwrap();
    assert!(newest.lines().last().is_none_or(|line| line.contains("\"n\":1199")));
    trail.add(json!({"requestParameters": "y".repeat(300_000), "responseElements": null}));
    trail.flush();
    let newest = std::fs::read_to_string(&trail.files()[0]).unwrap();
    assert!(newest.lines().last().unwrap().contains("\"omitted\":true"));

    let stage = stage();
    let (begun, rounds) = (Instant::now(), 200);
    let input = json!({"family": "f", "containerDefinitions": [{"name": "a", "image": "a", "memory": 64}]});
    let service = quarry_aws::SERVICES.iter().find(|s| s.id == "ecs").unwrap();
    let mut shape = (service.operation("RegisterTaskDefinition").unwrap().new_input)();
    json::read(shape.as_mut(), &input).unwrap();
    let head = Request::builder().uri("/").body(()).unwrap().into_parts().0;
    for _ in 0..rounds {
        let event = super::Event {
            service: Some(service),
            operation: "RegisterTaskDefinition",
            parameters: Parameters::of(shape.as_ref()),
            ..Default::default()
        };
        super::write(&stage.world.platform, super::Origin::of(&head), event);
    }
    let each = begun.elapsed() / rounds;
    stage.world.platform.audit.flush();
    println!("one record: {each:?}");
    assert!(each.as_micros() < 5000, "{each:?}");
}

#[test]
fn what_cloudformation_does_for_somebody_is_recorded_with_his_name() {
    let stage = stage();
    let template = json!({"Resources": {
        "Cluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": "made"}},
    }});
    let create = json!({"StackName": "stack", "TemplateBody": template.to_string()});
    let (status, body) = stage.call(Some(&stage.root), "cloudformation", "CreateStack", create);
    assert_eq!(status, 200, "{body}");
    let made = || -> Option<Value> {
        let log = stage.log();
        let mut records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.find(|record| record["eventName"] == "CreateCluster")
    };
    let mut passes = 0..100;
    let mut reconciler = crate::cloudformation::reconcile::Reconciler::default();
    let made = loop {
        if let Some(made) = made() {
            break made;
        }
        assert!(passes.next().is_some(), "{}", stage.log());
        reconciler.pass(&stage.world.platform, &stage.world.operations);
    };
    let service = json!("cloudformation.amazonaws.com");
    assert_eq!(made["userIdentity"]["invokedBy"], service);
    assert_eq!((&made["userIdentity"]["type"], &made["userIdentity"]["accessKeyId"]), (&json!("Root"), &Value::Null));
    assert_eq!((&made["sourceIPAddress"], &made["userAgent"]), (&service, &service));
    assert_eq!(made["requestParameters"]["clusterName"], "made");
    assert_eq!(made["responseElements"]["cluster"]["clusterName"], "made");
    // What it only looked at is its own business.
    assert!(!stage.log().contains("DescribeClusters"));
}

#[test]
fn calls_of_the_platform_s_own_api_are_recorded() {
    let stage = stage();
    for (method, path, name) in [
        (Method::POST, "/_quarry/v1/cuts/cut-1/abort", "AbortCut"),
        (Method::POST, "/_quarry/v1/cuts", "CreateCut"),
        (Method::GET, "/_quarry/v1/cuts/cut-1/report", "GetCut"),
        (Method::POST, crate::endpoint::COLLECT_PATH, "CollectImages"),
    ] {
        // Unsigned: refused, and written down.
        let request = Request::builder().method(method).uri(path).header("host", "localhost").body(()).unwrap();
        let (head, ()) = request.into_parts();
        let status = stage.endpoint.answer(&head, b"{}").status();
        assert!(status.is_client_error(), "{path}: {status}");
        let record = stage.last();
        assert_eq!((&record["eventName"], &record["eventSource"]), (&json!(name), &json!("quarry")));
        assert!(record["errorCode"].is_string() && record["userIdentity"]["type"] == "Unknown", "{record}");
        let about = if path.contains("cut-1") { json!({"cutId": "cut-1"}) } else { Value::Null };
        assert_eq!(record["requestParameters"], about);
    }
}
