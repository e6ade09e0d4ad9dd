//! What lies outside of every VPC is reached by the services that are allowed to, and by nobody else.

use crate::site::{Site, get};
use quarry_testkit::{Platform, wait_for};
use serde_json::json;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};

#[test]
fn outside_is_reached_by_who_is_on_the_list() {
    // A program of this machine.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\noutside!");
        }
    });
    let allow = [
        format!("peer=db.outside:5432@127.0.0.1:{host}"),
        format!("demo/peer=named.outside:80@localhost:{host}"),
        format!("family:other=others.outside:80@127.0.0.1:{host}"),
    ];
    let options: Vec<&str> = allow.iter().flat_map(|entry| ["--allow-outside", entry]).collect();
    let Ok(platform) = Platform::start_as(env!("CARGO_BIN_EXE_quarry"), Some("user-namespaces"), &options) else {
        return println!("skipped: user namespaces cannot be had here");
    };
    let site = Site::on(platform);
    let containers = json!([{"name": "peer", "portMappings": [{"containerPort": 3000}]}]);
    let definition = site.define("peer", containers.clone(), json!({}));
    let (group, front) = site.balance();
    site.call::<quarry_aws::ecs::op::CreateService>(json!({
        "cluster": "demo", "serviceName": "peer", "taskDefinition": definition, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": site.network(),
        "loadBalancers": [{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}],
    }));
    let ask = |path: &str| {
        wait_for("the service answers", || get(front, path).filter(|(status, _)| *status == 200).map(|(_, body)| body))
    };
    for (place, expected) in [
        ("db.outside:5432", true),
        ("named.outside:80", true),
        // Another port of it, another's entry, and what no entry names.
        ("db.outside:5433", false),
        ("others.outside:80", false),
        ("example.com:80", false),
    ] {
        if expected {
            wait_for(place, || ask(&format!("/connect/{place}")).contains("outside!").then_some(()));
        } else {
            assert!(ask(&format!("/try/{place}")).starts_with("shut"), "{place}");
        }
    }
    let reaches = |host: SocketAddr| ask(&format!("/try/{host}"));
    assert!(reaches(SocketAddr::from(([127, 0, 0, 1], host))).starts_with("shut"), "its own loopback, not the host's");

    // Its security group must allow it, too.
    let default = site.default_group();
    let all = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    site.call::<quarry_aws::ec2::op::RevokeSecurityGroupEgress>(json!({"GroupId": default, "IpPermissions": all}));
    let to = json!([
        {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 65535, "UserIdGroupPairs": [{"GroupId": default}]},
        {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]},
    ]);
    site.call::<quarry_aws::ec2::op::AuthorizeSecurityGroupEgress>(json!({"GroupId": default, "IpPermissions": to}));
    wait_for("the rest is shut", || ask("/try/named.outside:80").starts_with("shut").then_some(()));
    assert!(ask("/connect/db.outside:5432").contains("outside!"));
}
