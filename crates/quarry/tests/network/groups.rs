//! Security groups between tasks, load balancers and clients of this machine.

use crate::site::{Site, address, get};
use quarry_aws::ec2::op::{
    AuthorizeSecurityGroupEgress, AuthorizeSecurityGroupIngress, CreateSecurityGroup, CreateSubnet, CreateVpc,
    RevokeSecurityGroupEgress, RevokeSecurityGroupIngress,
};
use quarry_aws::elbv2::op::{DescribeTargetHealth, SetSecurityGroups};
use quarry_testkit::wait_for;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn tcp(port: u16, peer: Value) -> Value {
    let mut permission = json!({"IpProtocol": "tcp", "FromPort": port, "ToPort": port});
    for (name, value) in peer.as_object().unwrap() {
        permission[name] = value.clone();
    }
    permission
}

fn from_group(group: &str) -> Value {
    json!({"UserIdGroupPairs": [{"GroupId": group}]})
}

fn from_block(block: &str) -> Value {
    json!({"IpRanges": [{"CidrIp": block}]})
}

struct Groups {
    site: Site,
    front: SocketAddr,
}

impl Groups {
    /// Asks the service, which answers when it is reached.
    fn ask(&self, path: &str) -> String {
        wait_for("the service answers through its load balancer", || match get(self.front, path) {
            Some((200, body)) => Some(body),
            _ => None,
        })
    }

    /// The service's task comes to reach an address, or to reach it no more.
    fn reaches(&self, address: &str, expected: bool) {
        let wanted = if expected { "open" } else { "shut" };
        wait_for(&format!("{address} is {wanted}"), || {
            self.ask(&format!("/try/{address}")).starts_with(wanted).then_some(())
        });
    }

    fn ingress(&self, group: &str, permission: Value) {
        self.site.allow(group, permission);
    }

    fn revoke(&self, group: &str, permission: Value) {
        let input = json!({"GroupId": group, "IpPermissions": [permission]});
        self.site.call::<RevokeSecurityGroupIngress>(input);
    }
}

fn connects(at: SocketAddr) -> bool {
    TcpStream::connect_timeout(&at, Duration::from_millis(700)).is_ok()
}

#[test]
fn security_groups_decide_who_reaches_whom() {
    let Some(site) = Site::open("user-namespaces") else { return };
    let (web, db) = (site.group("web"), site.group("db"));
    let containers = json!([{"name": "peer", "portMappings": [{"containerPort": 3000}]}]);
    let definition = site.define("peer", containers, json!({}));
    let (group, front) = site.balance();
    let all_out = || json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]});
    let network = |groups: &[&String], subnet: &str| json!({"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": groups}});
    let subnets = site.subnets.clone();
    site.call::<quarry_aws::ecs::op::CreateService>(json!({
        "cluster": "demo", "serviceName": "peer", "taskDefinition": definition, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": network(&[&web], &subnets[0]),
        "loadBalancers": [{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}],
    }));
    let there = address(&site.run_in(&definition, network(&[&db], &subnets[1]))) + ":3000";
    let it = Groups { site, front };

    // Nothing lets the load balancer in: its health checks time out.
    let health = || {
        let input = json!({"TargetGroupArn": group});
        let found = it.site.call::<DescribeTargetHealth>(input).target_health_descriptions.unwrap();
        let health = found.first()?.target_health.clone()?;
        Some((health.state?, health.reason.unwrap_or_default()))
    };
    wait_for("the target is not reached", || {
        health().filter(|seen| *seen == ("unhealthy".into(), "Target.Timeout".into()))
    });
    let input = json!({"Filters": [{"Name": "group-name", "Values": ["front"]}]});
    let found = it.site.call::<quarry_aws::ec2::op::DescribeSecurityGroups>(input).security_groups.unwrap();
    let of_balancer = found[0].group_id.clone().unwrap();
    it.ingress(&web, tcp(3000, from_group(&of_balancer)));
    assert!(it.ask("/").starts_with("peer "));

    // Ingress by group, by block and by nothing; a rule for another port or the neighbouring subnet is none.
    it.reaches(&there, false);
    it.ingress(&db, tcp(3001, from_group(&web)));
    it.ingress(&db, tcp(3000, from_block("10.0.2.0/24")));
    it.ingress(&db, tcp(3000, from_group(&web)));
    it.reaches(&there, true);
    assert_eq!(it.ask(&format!("/hold/{there}")), "held");
    it.revoke(&db, tcp(3000, from_group(&web)));
    it.reaches(&there, false);
    // A connection that was open stays.
    assert!(it.ask("/held").contains("200 OK"));
    it.ingress(&db, tcp(3000, from_block("10.0.0.0/16")));
    it.reaches(&there, true);

    // Egress.
    it.site.call::<RevokeSecurityGroupEgress>(json!({"GroupId": web, "IpPermissions": [all_out()]}));
    it.reaches(&there, false);
    let to_db = json!({"GroupId": web, "IpPermissions": [tcp(3000, from_group(&db))]});
    it.site.call::<AuthorizeSecurityGroupEgress>(to_db);
    it.reaches(&there, true);
    it.site.call::<AuthorizeSecurityGroupEgress>(json!({"GroupId": web, "IpPermissions": [all_out()]}));

    // A task of another VPC is not reached, whatever its group says.
    let vpc = it.site.call::<CreateVpc>(json!({"CidrBlock": "10.1.0.0/16"})).vpc.unwrap().vpc_id.unwrap();
    let subnet = json!({"VpcId": vpc, "CidrBlock": "10.1.1.0/24", "AvailabilityZone": "us-east-1a"});
    let subnet = it.site.call::<CreateSubnet>(subnet).subnet.unwrap().subnet_id.unwrap();
    let wide = json!({"GroupName": "wide", "Description": "wide", "VpcId": vpc});
    let wide = it.site.call::<CreateSecurityGroup>(wide).group_id.unwrap();
    it.ingress(&wide, tcp(3000, from_block("0.0.0.0/0")));
    let elsewhere = address(&it.site.run_in(&definition, network(&[&wide], &subnet))) + ":3000";
    assert!(it.ask(&format!("/try/{elsewhere}")).starts_with("shut"));

    // A load balancer's own groups: its address on the hub for tasks, loopback for this machine.
    let balancers = it.site.call::<quarry_aws::elbv2::op::DescribeLoadBalancers>(json!({}));
    let balancer = balancers.load_balancers.unwrap().remove(0);
    let on_hub = it.ask(&format!("/resolve/{}", balancer.dns_name.unwrap()));
    let on_hub = format!("{on_hub}:{}", front.port());
    it.reaches(&on_hub, true);
    let set = |groups: &[&String]| {
        it.site.call::<SetSecurityGroups>(
            json!({"LoadBalancerArn": balancer.load_balancer_arn, "SecurityGroups": groups}),
        );
    };
    let inside = it.site.group("inside");
    it.ingress(&inside, tcp(front.port(), from_group(&web)));
    // Through a connection from before the change, the task is asked what it reaches now.
    let mut kept = Kept::open(front);
    set(&[&inside, &of_balancer]);
    it.revoke(
        &of_balancer,
        json!({
            "IpProtocol": "tcp", "FromPort": 1, "ToPort": 65535, "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
        }),
    );
    wait_for("this machine is refused", || (!connects(front)).then_some(()));
    assert_eq!(kept.ask(&format!("/try/{on_hub}")), "open");
    it.ingress(&inside, tcp(front.port(), from_block("127.0.0.1/32")));
    wait_for("this machine is let in by its address", || connects(front).then_some(()));
    assert!(
        it.site
            .call::<AuthorizeSecurityGroupIngress>(json!({
                "GroupId": inside, "IpPermissions": [tcp(1, from_block("10.0.0.0/8"))],
            }))
            .r#return
            .unwrap()
    );
}

/// A connection to the load balancer that is kept alive.
struct Kept(TcpStream);

impl Kept {
    fn open(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut kept = Self(stream);
        assert!(kept.ask("/").starts_with("peer "));
        kept
    }

    fn ask(&mut self, path: &str) -> String {
        use std::io::{Read, Write};
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let (mut text, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let read = self.0.read(&mut part).unwrap();
            assert!(read > 0, "the kept connection was closed");
            text.extend_from_slice(&part[..read]);
            let so_far = String::from_utf8_lossy(&text).into_owned();
            let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if Some(body.len()) == length {
                return body.to_owned();
            }
        }
    }
}
