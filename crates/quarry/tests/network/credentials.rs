//! The credentials of a task's role, from inside the task: with them it calls the API, and nobody else gets
//! them; and what a task tells its agent.

use crate::site::{Site, address, get};
use quarry_testkit::wait_for;
use quarry_wire::Timestamp;
use quarry_wire::sigv4::{self, Credentials};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where tasks find the AWS endpoint, and their own credentials and agent.
const ENDPOINT: &str = "198.19.0.1:4566";
const AGENT: &str = "169.254.170.2:80";

/// A task, asked through a load balancer, and directly by that one.
struct Inside<'a> {
    front: SocketAddr,
    /// Before each path.
    through: &'a str,
}

impl Inside<'_> {
    fn ask(&self, path: &str) -> String {
        let path = format!("{}{path}", self.through);
        let said = wait_for("the task answers", || get(self.front, &path).filter(|(status, _)| *status == 200)).1;
        // One that asks another passes its status line on.
        if self.through.is_empty() { said } else { said.split_once('\n').unwrap().1.to_owned() }
    }

    /// What an address says to a GET: status and JSON.
    fn get(&self, address: &str, path: &str) -> (u16, Value) {
        parted(&self.ask(&format!("/get/{address}{path}")))
    }

    fn send(&self, address: &str, request: &str) -> (u16, Value) {
        let digits: String = request.bytes().map(|byte| format!("{byte:02x}")).collect();
        parted(&self.ask(&format!("/send/{address}/{digits}")))
    }

    fn credentials_uri(&self) -> String {
        self.ask("/env/AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    }
}

fn parted(said: &str) -> (u16, Value) {
    let (status, body) = said.split_once('\n').unwrap_or_else(|| panic!("{said}"));
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

/// A signed request of an ECS operation, as bytes on the wire.
fn signed(operation: &str, body: &Value, credentials: &Credentials) -> String {
    let body = body.to_string();
    let mut headers = http::HeaderMap::new();
    headers.insert("host", ENDPOINT.parse().unwrap());
    let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
    headers.insert("x-amz-target", target.parse().unwrap());
    headers.insert("content-type", "application/x-amz-json-1.1".parse().unwrap());
    let request = sigv4::Request { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let signature = sigv4::sign(&request, Timestamp::from_millis(now), "us-east-1", "ecs", credentials);
    let mut head = format!("POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in &headers {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    for (name, value) in signature.iter() {
        head += &format!("{name}: {value}\r\n");
    }
    format!("{head}\r\n{body}")
}

fn credentials_of(given: &Value) -> Credentials {
    let text = |name: &str| given[name].as_str().unwrap_or_else(|| panic!("{name} in {given}")).to_owned();
    Credentials {
        access_key_id: text("AccessKeyId"),
        secret_access_key: text("SecretAccessKey"),
        session_token: Some(text("Token")),
    }
}

/// A role that tasks may have, which allows what is asked for here.
fn role(site: &Site) {
    let document = |statement: Value| json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let trust = document(json!({
        "Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole",
    }));
    site.call::<quarry_aws::iam::op::CreateRole>(json!({"RoleName": "peer", "AssumeRolePolicyDocument": trust}));
    let allowed = ["ecs:DescribeClusters", "ecs:GetTaskProtection", "ecs:UpdateTaskProtection"];
    let policy = document(json!({"Effect": "Allow", "Action": allowed, "Resource": "*"}));
    site.call::<quarry_aws::iam::op::PutRolePolicy>(
        json!({"RoleName": "peer", "PolicyName": "peer", "PolicyDocument": policy}),
    );
}

#[test]
fn a_task_calls_with_its_own_credentials_and_gets_nobody_elses() {
    let Some(site) = Site::open("user-namespaces") else { return };
    role(&site);
    let containers = json!([{"name": "peer", "portMappings": [{"containerPort": 3000}]}]);
    let definition = site.define("peer", containers, json!({"taskRoleArn": "peer"}));
    let (group, front) = site.balance();
    site.call::<quarry_aws::ecs::op::CreateService>(json!({
        "cluster": "demo", "serviceName": "peer", "taskDefinition": definition, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": site.network(),
        "loadBalancers": [{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}],
    }));
    let other = site.run(&definition);
    let one = Inside { front, through: "" };
    let through = format!("/get/{}:3000", address(&other));
    let two = Inside { front, through: &through };
    wait_for("the other task is reached", || {
        one.ask(&format!("/connect/{}:3000", address(&other))).contains("200 OK").then_some(())
    });

    // Its own credentials, and a call with them from inside the task.
    let uri = one.credentials_uri();
    let (status, given) = one.get(AGENT, &uri);
    assert_eq!(
        (status, given["RoleArn"].as_str().map(|arn| arn.ends_with(":role/peer"))),
        (200, Some(true)),
        "{given}"
    );
    let credentials = credentials_of(&given);
    let clusters = json!({"clusters": ["demo"]});
    let (status, answer) = one.send(ENDPOINT, &signed("DescribeClusters", &clusters, &credentials));
    assert_eq!((status, &answer["clusters"][0]["clusterName"]), (200, &json!("demo")), "{answer}");
    // Another secret, or no token.
    let forged = Credentials { secret_access_key: "x".repeat(40), ..credentials.clone() };
    let bare = Credentials { session_token: None, ..credentials.clone() };
    for wrong in [forged, bare] {
        let (status, refused) = one.send(ENDPOINT, &signed("DescribeClusters", &clusters, &wrong));
        assert!(matches!(status, 400 | 403), "{status} {refused}");
    }

    // The other task has the same role and credentials of its own; each is refused the other's, by its id.
    let others = two.credentials_uri();
    assert_ne!(uri, others);
    let (status, own) = two.get(AGENT, &others);
    assert_eq!(status, 200, "{own}");
    assert_ne!(own["AccessKeyId"], given["AccessKeyId"]);
    for (asker, of_another) in [(&one, &others), (&two, &uri)] {
        let (status, refused) = asker.get(AGENT, of_another);
        assert_eq!((status, &refused["code"]), (400, &json!("InvalidIdInRequest")), "{refused}");
    }

    // It protects itself by its agent, and the API shows it.
    let agent = one.ask("/env/ECS_AGENT_URI");
    let path = format!("{}/task-protection/v1/state", agent.strip_prefix("http://169.254.170.2").unwrap());
    let body = r#"{"ProtectionEnabled":true,"ExpiresInMinutes":5}"#;
    let put = format!(
        "PUT {path} HTTP/1.1\r\nHost: 169.254.170.2\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, said) = one.send(AGENT, &put);
    assert_eq!((status, &said["protection"]["ProtectionEnabled"]), (200, &json!(true)), "{said}");
    let task = site.tasks("peer").remove(0).task_arn.unwrap();
    let input = json!({"cluster": "demo", "tasks": [task]});
    let shown = site.call::<quarry_aws::ecs::op::GetTaskProtection>(input).protected_tasks.unwrap();
    assert_eq!(shown[0].protection_enabled, Some(true));
    assert_eq!(two.send(AGENT, &put).0, 404, "another task's agent");
    assert_eq!(one.get(AGENT, &path).1, said);

    // With the task its credentials end.
    site.call::<quarry_aws::ecs::op::StopTask>(json!({"cluster": "demo", "task": other.task_arn}));
    wait_for("the other task is over", || {
        let task = site.task(other.task_arn.as_deref().unwrap());
        (task.last_status.as_deref() == Some("STOPPED")).then_some(())
    });
    let (status, refused) = one.send(ENDPOINT, &signed("DescribeClusters", &clusters, &credentials_of(&own)));
    assert!(matches!(status, 400 | 403), "{status} {refused}");
}
