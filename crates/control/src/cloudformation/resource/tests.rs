//! The life of each type on the services' own handlers: made, read back, changed, changed back, deleted.

use super::{Made, Progress, Seen, Wanted, check_properties, find};
use crate::ecs::reconcile::Reconciler;
use crate::ecs::reconcile::jobs::Jobs;
use crate::testing::World;
use serde_json::{Value, json};
use std::time::Duration;

/// Resources in a world, each made by its type.
struct Stage {
    world: World,
    count: u32,
}

/// A resource that lives.
struct Living {
    kind: &'static str,
    wanted: Wanted,
    made: Made,
}

impl Stage {
    fn new() -> Self {
        Self { world: World::new(|operations| *operations = crate::start::operations()), count: 0 }
    }

    fn wanted(&mut self, kind: &str, properties: Value) -> Wanted {
        self.count += 1;
        let logical_id = kind.rsplit("::").next().unwrap().to_owned();
        let suffix = format!("ABCDEFGHIJ{:03}", self.count);
        Wanted {
            physical_name: format!("demo-{logical_id}-{suffix}"),
            logical_id,
            stack_name: "demo".into(),
            stack_id: "arn:aws:cloudformation:us-east-1:000000000000:stack/demo/1".into(),
            properties: properties.as_object().unwrap().clone(),
            stack_tags: vec![("team".into(), "a".into())],
            suffix,
            update_policy: None,
        }
    }

    /// Makes a resource, waits until it is ready, and checks that all its attributes are known.
    fn make(&mut self, kind: &'static str, properties: Value) -> Living {
        let found = find(kind).unwrap_or_else(|| panic!("{kind} is not known"));
        let wanted = self.wanted(kind, properties);
        check_properties(found, &wanted.properties).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let made = self.world.transact(|ctx| found.create(ctx, &wanted)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        self.settle(kind, |world| world.transact(|ctx| found.settled(ctx, &made)).unwrap());
        for attribute in found.attributes() {
            assert!(made.attributes.contains_key(*attribute), "{kind} has no {attribute}: {made:?}");
        }
        Living { kind, wanted, made }
    }

    /// What Ref gives of a new resource.
    fn reference(&mut self, kind: &'static str, properties: Value) -> String {
        let living = self.make(kind, properties);
        living.made.reference.unwrap_or(living.made.physical_id)
    }

    fn settle(&self, kind: &str, mut look: impl FnMut(&World) -> Progress) {
        for _ in 0..50 {
            if look(&self.world) == Progress::Done {
                return;
            }
            let (platform, operations) = (&self.world.platform, &self.world.operations);
            crate::servicediscovery::reconcile::pass(platform, operations).unwrap();
            let jobs = Jobs::inline(platform.clone(), operations.clone());
            Reconciler::new(platform.clone(), operations.clone(), jobs).pass();
            self.world.door.advance(Duration::from_secs(1));
        }
        panic!("{kind} is never ready");
    }

    /// Reads a resource back: what can be read is as it was declared.
    fn is_as_declared(&self, living: &Living) {
        let kind = find(living.kind).unwrap();
        let declared = &living.wanted.properties;
        match self.world.transact(|ctx| kind.read(ctx, &living.made, declared)).unwrap() {
            Seen::Gone => panic!("{} is gone", living.kind),
            Seen::Unreadable => {}
            Seen::Exists(seen) => {
                for (name, value) in seen.iter().filter(|(name, _)| declared.contains_key(*name)) {
                    assert_eq!(value, &declared[name], "{} {name}", living.kind);
                }
            }
        }
    }

    /// Changes a resource in place, and back.
    fn change(&mut self, living: &mut Living, properties: Value) {
        let kind = find(living.kind).unwrap();
        let old = living.wanted.clone();
        let new = Wanted { properties: properties.as_object().unwrap().clone(), ..old.clone() };
        check_properties(kind, &new.properties).unwrap();
        let all: Vec<&String> = old.properties.keys().chain(new.properties.keys()).collect();
        let changed: Vec<&&String> = all.iter().filter(|name| new.differs(&old, name)).collect();
        assert!(!changed.is_empty(), "{} does not change", living.kind);
        for name in &changed {
            assert!(kind.mutable().contains(&name.as_str()), "{} {name} is not changed in place", living.kind);
        }
        assert!(!kind.replaces(&old, &new), "{} is replaced", living.kind);
        for (from, to) in [(&old, &new), (&new, &old), (&old, &new)] {
            living.made = self
                .world
                .transact(|ctx| kind.update(ctx, &living.made, from, to))
                .unwrap_or_else(|e| panic!("{}: {e}", living.kind));
            living.wanted = to.clone();
            self.settle(living.kind, |world| world.transact(|ctx| kind.settled(ctx, &living.made)).unwrap());
            self.is_as_declared(living);
        }
    }

    /// Deletes a resource, twice; reading it back says that it is gone.
    fn delete(&self, living: &Living) {
        let kind = find(living.kind).unwrap();
        for _ in 0..2 {
            self.settle(living.kind, |world| {
                let deleted = world.transact(|ctx| kind.delete(ctx, &living.made, &living.wanted.properties));
                deleted.unwrap_or_else(|e| panic!("{}: {e}", living.kind))
            });
        }
        let seen = self.world.transact(|ctx| kind.read(ctx, &living.made, &living.wanted.properties)).unwrap();
        // Of an inline policy it is seen who holds it.
        let none = matches!(&seen, Seen::Exists(lists) if lists.values().all(|list| *list == json!([])));
        assert!(matches!(seen, Seen::Gone | Seen::Unreadable) || none, "{}: {seen:?}", living.kind);
    }

    /// The whole life of a resource; `old` and `new` differ in what is changed in place.
    fn life(&mut self, kind: &'static str, old: Value, new: Value) {
        let mut living = self.make(kind, old.clone());
        self.is_as_declared(&living);
        if old != new {
            self.change(&mut living, new);
        }
        self.delete(&living);
    }
}

fn tags(value: &str) -> Value {
    json!([{"Key": "Name", "Value": value}])
}

#[test]
fn networks() {
    let mut stage = Stage::new();
    stage.life(
        "AWS::EC2::VPC",
        json!({"CidrBlock": "10.1.0.0/16", "EnableDnsHostnames": "true", "Tags": tags("a")}),
        json!({"CidrBlock": "10.1.0.0/16", "EnableDnsSupport": "true", "Tags": tags("b")}),
    );
    let vpc = stage.reference("AWS::EC2::VPC", json!({"CidrBlock": "10.0.0.0/16"}));
    let subnet_of = |number: u32, public: bool| json!({"VpcId": vpc, "CidrBlock": format!("10.0.{number}.0/24"), "MapPublicIpOnLaunch": public});
    stage.life("AWS::EC2::Subnet", subnet_of(9, true), subnet_of(9, false));
    let (one, two) = (
        stage.reference("AWS::EC2::Subnet", subnet_of(1, true)),
        stage.reference("AWS::EC2::Subnet", subnet_of(2, true)),
    );
    stage.life("AWS::EC2::InternetGateway", json!({"Tags": tags("a")}), json!({"Tags": tags("b")}));
    let gateways = [0, 1].map(|_| stage.reference("AWS::EC2::InternetGateway", json!({})));
    let attachment = |gateway: &str| json!({"VpcId": vpc, "InternetGatewayId": gateway});
    stage.life("AWS::EC2::VPCGatewayAttachment", attachment(&gateways[0]), attachment(&gateways[1]));
    stage.make("AWS::EC2::VPCGatewayAttachment", attachment(&gateways[0]));
    stage.life("AWS::EC2::RouteTable", json!({"VpcId": vpc, "Tags": tags("a")}), json!({"VpcId": vpc}));
    let tables = [0, 1].map(|_| stage.reference("AWS::EC2::RouteTable", json!({"VpcId": vpc})));
    let association = |table: &str| json!({"SubnetId": one, "RouteTableId": table});
    stage.life("AWS::EC2::SubnetRouteTableAssociation", association(&tables[0]), association(&tables[1]));
    stage.life(
        "AWS::EC2::EIP",
        json!({"Domain": "vpc", "Tags": tags("a")}),
        json!({"Domain": "vpc", "Tags": tags("b")}),
    );
    let address = stage.make("AWS::EC2::EIP", json!({"Domain": "vpc"}));
    let nat =
        |tags: Value| json!({"SubnetId": two, "AllocationId": address.made.attributes["AllocationId"], "Tags": tags});
    stage.life("AWS::EC2::NatGateway", nat(tags("a")), nat(tags("b")));
    let nat = stage.reference("AWS::EC2::NatGateway", nat(json!([])));
    stage.life(
        "AWS::EC2::Route",
        json!({"RouteTableId": tables[0], "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateways[0]}),
        json!({"RouteTableId": tables[0], "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": nat}),
    );
    stage.life(
        "AWS::EC2::LaunchTemplate",
        json!({"LaunchTemplateData": {"InstanceType": "t3.micro", "ImageId": "ami-0123456789abcdef0"}}),
        json!({"LaunchTemplateData": {"InstanceType": "t3.small", "ImageId": "ami-0123456789abcdef0"}}),
    );
    let endpoint =
        |tables: Value| json!({"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.s3", "RouteTableIds": tables});
    stage.life("AWS::EC2::VPCEndpoint", endpoint(json!([tables[0]])), endpoint(json!([tables[1]])));
}

#[test]
fn security_groups() {
    let mut stage = Stage::new();
    let vpc = stage.reference("AWS::EC2::VPC", json!({"CidrBlock": "10.0.0.0/16"}));
    let web = json!({"IpProtocol": "tcp", "FromPort": "80", "ToPort": 80, "CidrIp": "0.0.0.0/0", "Description": "web"});
    let dns = json!({"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIp": "10.0.0.0/16"});
    stage.life(
        "AWS::EC2::SecurityGroup",
        json!({"GroupDescription": "a", "VpcId": vpc, "SecurityGroupIngress": [web, dns], "Tags": tags("a")}),
        json!({"GroupDescription": "a", "VpcId": vpc, "SecurityGroupIngress": [dns], "SecurityGroupEgress": [web]}),
    );
    let groups =
        [0, 1].map(|_| stage.reference("AWS::EC2::SecurityGroup", json!({"GroupDescription": "a", "VpcId": vpc})));
    let rule = |side: &str, description: &str| {
        json!({
            "GroupId": groups[0], side: groups[1], "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
            "Description": description,
        })
    };
    let source = "SourceSecurityGroupId";
    stage.life("AWS::EC2::SecurityGroupIngress", rule(source, "a"), rule(source, "b"));
    let destination = "DestinationSecurityGroupId";
    stage.life("AWS::EC2::SecurityGroupEgress", rule(destination, "a"), rule(destination, "b"));
}

#[test]
fn load_balancers() {
    let mut stage = Stage::new();
    let vpc = stage.reference("AWS::EC2::VPC", json!({"CidrBlock": "10.0.0.0/16"}));
    let gateway = stage.reference("AWS::EC2::InternetGateway", json!({}));
    stage.make("AWS::EC2::VPCGatewayAttachment", json!({"VpcId": vpc, "InternetGatewayId": gateway}));
    let subnets = [("a", 1), ("b", 2), ("c", 3)].map(|(zone, number)| {
        let zone = format!("us-east-1{zone}");
        let block = format!("10.0.{number}.0/24");
        stage.reference("AWS::EC2::Subnet", json!({"VpcId": vpc, "CidrBlock": block, "AvailabilityZone": zone}))
    });
    let groups =
        [0, 1].map(|_| stage.reference("AWS::EC2::SecurityGroup", json!({"GroupDescription": "a", "VpcId": vpc})));
    let idle = |seconds: &str| json!([{"Key": "idle_timeout.timeout_seconds", "Value": seconds}]);
    let balancer = |subnets: &[String], group: &str, seconds: &str| {
        json!({
            "Type": "application", "Scheme": "internet-facing", "Subnets": subnets, "SecurityGroups": [group],
            "LoadBalancerAttributes": idle(seconds), "Tags": tags(seconds),
        })
    };
    let mut made = stage.make("AWS::ElasticLoadBalancingV2::LoadBalancer", balancer(&subnets[..2], &groups[0], "30"));
    stage.is_as_declared(&made);
    stage.change(&mut made, balancer(&subnets[1..], &groups[1], "40"));
    assert_eq!(made.made.attributes["SecurityGroups"], json!([groups[1]]));
    let target_group = |path: &str, extra: Value| {
        let mut properties = json!({
            "Port": 80, "Protocol": "HTTP", "VpcId": vpc, "TargetType": "ip", "HealthCheckPath": path, "Tags": tags(path),
        });
        properties.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        properties
    };
    let delay = json!({"TargetGroupAttributes": [{"Key": "deregistration_delay.timeout_seconds", "Value": "5"}]});
    let old = target_group("/old", json!({"UnhealthyThresholdCount": 4}));
    stage.life("AWS::ElasticLoadBalancingV2::TargetGroup", old, target_group("/new", delay));
    let group = stage.reference("AWS::ElasticLoadBalancingV2::TargetGroup", target_group("/", json!({})));
    let fixed = |code: &str| json!({"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": code}});
    let forward = json!({"Type": "forward", "TargetGroupArn": group});
    let arn = made.made.physical_id.clone();
    let listener = |port: u16, action: &Value| json!({"LoadBalancerArn": arn, "Port": port, "Protocol": "HTTP", "DefaultActions": [action]});
    stage.life("AWS::ElasticLoadBalancingV2::Listener", listener(80, &fixed("404")), listener(81, &fixed("503")));
    let on = stage.reference("AWS::ElasticLoadBalancingV2::Listener", listener(80, &fixed("404")));
    let rule = |priority: u32, path: &str| {
        json!({
            "ListenerArn": on, "Priority": priority, "Actions": [forward],
            "Conditions": [{"Field": "path-pattern", "Values": [path]}],
        })
    };
    stage.life("AWS::ElasticLoadBalancingV2::ListenerRule", rule(1, "/a*"), rule(2, "/b*"));
    let certificates = ["a", "b", "c"].map(|name| {
        let properties = json!({"DomainName": format!("{name}.example.com")});
        stage.reference("AWS::CertificateManager::Certificate", properties)
    });
    let of = |arn: &str| json!([{"CertificateArn": arn}]);
    let mut secure = listener(443, &fixed("404"));
    secure["Protocol"] = "HTTPS".into();
    secure["Certificates"] = of(&certificates[0]);
    let secure = stage.reference("AWS::ElasticLoadBalancingV2::Listener", secure);
    let further = |arn: &str| json!({"ListenerArn": secure, "Certificates": of(arn)});
    let kind = "AWS::ElasticLoadBalancingV2::ListenerCertificate";
    let one = stage.make(kind, further(&certificates[1]));
    let two = stage.make(kind, further(&certificates[2]));
    let shown = |stage: &Stage| {
        let describe = |ctx: &mut crate::api::Ctx<'_>| {
            super::call::call::<quarry_aws::elbv2::op::DescribeListenerCertificates>(
                ctx,
                json!({"ListenerArn": secure}),
            )
        };
        stage.world.transact(describe).unwrap()["Certificates"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(shown(&stage), 3);
    stage.delete(&one);
    assert_eq!(shown(&stage), 2);
    stage.delete(&two);
    stage.delete(&made);
}

#[test]
fn identities() {
    let mut stage = Stage::new();
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    });
    let document = |action: &str| json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]});
    let managed = |name: &str| format!("arn:aws:iam::aws:policy/{name}");
    let role = |attached: &str, policies: Value| {
        json!({
            "AssumeRolePolicyDocument": trust, "ManagedPolicyArns": [managed(attached)], "Policies": policies,
            "Tags": tags(attached),
        })
    };
    let inline = |name: &str, action: &str| json!({"PolicyName": name, "PolicyDocument": document(action)});
    stage.life(
        "AWS::IAM::Role",
        role("ReadOnlyAccess", json!([inline("a", "s3:*"), inline("b", "s3:*")])),
        role("PowerUserAccess", json!([inline("b", "ec2:*"), inline("c", "s3:*")])),
    );
    let roles = [0, 1].map(|_| stage.reference("AWS::IAM::Role", json!({"AssumeRolePolicyDocument": trust})));
    let policy =
        |name: &str, roles: &[String]| json!({"PolicyName": name, "PolicyDocument": document("s3:*"), "Roles": roles});
    stage.life("AWS::IAM::Policy", policy("a", &roles[..1]), policy("b", &roles[1..]));
    stage.life(
        "AWS::IAM::Group",
        json!({"Path": "/a/", "ManagedPolicyArns": [managed("ReadOnlyAccess")], "Policies": [inline("a", "s3:*")]}),
        json!({"Path": "/b/", "ManagedPolicyArns": [managed("PowerUserAccess")], "Policies": [inline("b", "s3:*")]}),
    );
    let groups = [0, 1].map(|_| stage.reference("AWS::IAM::Group", json!({})));
    let user = |path: &str, attached: &str, group: &str, policies: Value| {
        json!({
            "Path": path, "ManagedPolicyArns": [managed(attached)], "Groups": [group], "Policies": policies,
            "Tags": tags(attached), "PermissionsBoundary": managed(attached),
        })
    };
    stage.life(
        "AWS::IAM::User",
        user("/a/", "ReadOnlyAccess", &groups[0], json!([inline("a", "s3:*"), inline("b", "s3:*")])),
        user("/b/", "PowerUserAccess", &groups[1], json!([inline("b", "ec2:*")])),
    );
    let users = [0, 1].map(|_| stage.reference("AWS::IAM::User", json!({})));
    let members = |group: &str, users: &[String]| json!({"GroupName": group, "Users": users});
    stage.life("AWS::IAM::UserToGroupAddition", members(&groups[0], &users), members(&groups[0], &users[1..]));
    stage.life("AWS::IAM::UserToGroupAddition", members(&groups[0], &users[..1]), members(&groups[1], &users));
    let key = |status: &str| json!({"UserName": users[0], "Status": status});
    stage.life("AWS::IAM::AccessKey", key("Active"), key("Inactive"));
    let holders = |at: usize, name: &str| {
        json!({
            "PolicyName": name, "PolicyDocument": document("s3:*"),
            "Groups": [groups[at]], "Roles": [roles[at]], "Users": [users[at]],
        })
    };
    stage.life("AWS::IAM::Policy", holders(0, "a"), holders(1, "b"));
    let attached = |at: usize| {
        json!({
            "PolicyDocument": document("s3:*"), "Groups": [groups[at]], "Roles": [roles[at]], "Users": [users[at]],
        })
    };
    stage.life("AWS::IAM::ManagedPolicy", attached(0), attached(1));
    let on_role = |action: &str| json!({"PolicyName": "a", "RoleName": roles[0], "PolicyDocument": document(action)});
    stage.life("AWS::IAM::RolePolicy", on_role("s3:*"), on_role("ec2:*"));
    let on_user = |action: &str| json!({"PolicyName": "a", "UserName": users[0], "PolicyDocument": document(action)});
    stage.life("AWS::IAM::UserPolicy", on_user("s3:*"), on_user("ec2:*"));
    let on_group =
        |action: &str| json!({"PolicyName": "a", "GroupName": groups[0], "PolicyDocument": document(action)});
    stage.life("AWS::IAM::GroupPolicy", on_group("s3:*"), on_group("ec2:*"));
    let profile = |role: &str| json!({"Roles": [role]});
    stage.life("AWS::IAM::InstanceProfile", profile(&roles[0]), profile(&roles[1]));
    let linked = |text: &str| json!({"AWSServiceName": "ecs.amazonaws.com", "Description": text});
    let mut role = stage.make("AWS::IAM::ServiceLinkedRole", linked("a"));
    assert_eq!(role.made.physical_id, "AWSServiceRoleForECS");
    stage.change(&mut role, linked("b"));
    stage.delete(&role);
}

#[test]
fn groups_with_hooks_and_scheduled_actions() {
    let mut stage = Stage::new();
    let vpc = stage.reference("AWS::EC2::VPC", json!({"CidrBlock": "10.0.0.0/16"}));
    let subnet = stage.reference("AWS::EC2::Subnet", json!({"VpcId": vpc, "CidrBlock": "10.0.1.0/24"}));
    let launch = json!({"InstanceType": "t3.micro", "ImageId": "ami-0123456789abcdef0"});
    stage.life("AWS::AutoScaling::LaunchConfiguration", launch.clone(), launch.clone());
    let launch = stage.reference("AWS::AutoScaling::LaunchConfiguration", launch);
    let sized = |most: u32| {
        json!({
            "LaunchConfigurationName": launch, "VPCZoneIdentifier": [subnet], "MinSize": "0", "MaxSize": most,
            "DesiredCapacity": 0,
        })
    };
    let mut group = stage.make("AWS::AutoScaling::AutoScalingGroup", sized(2));
    stage.change(&mut group, sized(3));
    let name = group.made.physical_id.clone();
    let hook = |seconds: u32, result: &str| {
        json!({
            "AutoScalingGroupName": name, "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
            "HeartbeatTimeout": seconds, "DefaultResult": result, "NotificationMetadata": "drain",
        })
    };
    stage.life("AWS::AutoScaling::LifecycleHook", hook(60, "ABANDON"), hook(90, "CONTINUE"));
    let action = |recurrence: &str, least: u32| {
        json!({
            "AutoScalingGroupName": name, "Recurrence": recurrence, "MinSize": least, "MaxSize": 3,
            "TimeZone": "Europe/Berlin",
        })
    };
    stage.life("AWS::AutoScaling::ScheduledAction", action("0 8 * * *", 1), action("0 9 * * *", 2));
    let tracking = |target: f64| {
        json!({
            "AutoScalingGroupName": name, "PolicyType": "TargetTrackingScaling", "EstimatedInstanceWarmup": 60,
            "TargetTrackingConfiguration": {
                "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
                "TargetValue": target,
            },
        })
    };
    stage.life("AWS::AutoScaling::ScalingPolicy", tracking(50.0), tracking(60.0));
    let gone = stage.make("AWS::AutoScaling::ScheduledAction", action("0 8 * * *", 1));
    stage.delete(&group);
    // Its actions went with it.
    let kind = find("AWS::AutoScaling::ScheduledAction").unwrap();
    let deleted = stage.world.transact(|ctx| kind.delete(ctx, &gone.made, &gone.wanted.properties)).unwrap();
    assert_eq!(deleted, Progress::Done);
}

#[test]
fn logs_parameters_secrets_and_repositories() {
    let mut stage = Stage::new();
    stage.life(
        "AWS::Logs::LogGroup",
        json!({"RetentionInDays": 7, "Tags": tags("a")}),
        json!({"Tags": [{"Key": "Other", "Value": "b"}]}),
    );
    let group = stage.reference("AWS::Logs::LogGroup", json!({}));
    let stream = json!({"LogGroupName": group});
    stage.life("AWS::Logs::LogStream", stream.clone(), stream);
    let filter = |pattern: &str, transformation: Value| {
        let transformations = json!([transformation]);
        json!({"LogGroupName": group, "FilterPattern": pattern, "MetricTransformations": transformations})
    };
    let of_status = json!([{"Key": "Status", "Value": "$.status"}, {"Key": "Path", "Value": "$.path"}]);
    stage.life(
        "AWS::Logs::MetricFilter",
        filter("ERROR", json!({"MetricName": "Errors", "MetricNamespace": "Shop", "MetricValue": "1", "DefaultValue": 0})),
        filter(
            "{ $.status = * && $.path = * }",
            json!({"MetricName": "Time", "MetricNamespace": "Shop", "MetricValue": "$.time", "Unit": "Seconds", "Dimensions": of_status}),
        ),
    );
    let parameter =
        |value: &str| json!({"Name": "/demo/colour", "Type": "String", "Value": value, "Tags": {"Name": value}});
    stage.life("AWS::SSM::Parameter", parameter("green"), parameter("blue"));
    let generate =
        json!({"SecretStringTemplate": "{\"user\":\"app\"}", "GenerateStringKey": "password", "PasswordLength": 12});
    stage.life(
        "AWS::SecretsManager::Secret",
        json!({"GenerateSecretString": generate, "Tags": tags("a")}),
        json!({"SecretString": "known", "Description": "d", "Tags": tags("b")}),
    );
    let secret = stage.make("AWS::SecretsManager::Secret", json!({"GenerateSecretString": generate}));
    let input = json!({"SecretId": secret.made.physical_id});
    let value = |ctx: &mut crate::api::Ctx<'_>| {
        super::call::call::<quarry_aws::secretsmanager::op::GetSecretValue>(ctx, input.clone())
    };
    let value = stage.world.transact(value).unwrap();
    let value: Value = serde_json::from_str(value["SecretString"].as_str().unwrap()).unwrap();
    assert_eq!((&value["user"], value["password"].as_str().map(str::len)), (&json!("app"), Some(12)));
    let repository = |mutability: &str, extra: Value| {
        let mut properties = json!({"ImageTagMutability": mutability, "Tags": tags(mutability)});
        properties.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        properties
    };
    stage.life(
        "AWS::ECR::Repository",
        repository("MUTABLE", json!({"ImageScanningConfiguration": {"ScanOnPush": "true"}})),
        repository("IMMUTABLE", json!({"EmptyOnDelete": true})),
    );
    let metadata = |text: &str| json!({"Analytics": text});
    stage.life("AWS::CDK::Metadata", metadata("v2:a"), metadata("v2:b"));
}

#[test]
fn clusters_services_and_names() {
    let mut stage = Stage::new();
    let settings = json!([{"Name": "containerInsights", "Value": "disabled"}]);
    stage.life(
        "AWS::ECS::Cluster",
        json!({"ClusterSettings": settings, "Tags": tags("a")}),
        json!({"Tags": tags("b")}),
    );
    let cluster = stage.reference("AWS::ECS::Cluster", json!({}));
    let definition = |value: &str| {
        json!({
            "Family": "app", "Tags": tags(value), "NetworkMode": "bridge",
            "ContainerDefinitions": [{"Name": "web", "Image": "app:1", "Memory": "64", "PortMappings": [{"ContainerPort": 80}]}],
        })
    };
    stage.life("AWS::ECS::TaskDefinition", definition("a"), definition("b"));
    let first = stage.reference("AWS::ECS::TaskDefinition", definition("a"));
    let second = stage.reference("AWS::ECS::TaskDefinition", definition("b"));
    let service = |definition: &str, percent: u32, value: &str| {
        json!({
            "Cluster": cluster, "TaskDefinition": definition, "DesiredCount": 0, "LaunchType": "EC2",
            "DeploymentConfiguration": {"MaximumPercent": percent, "MinimumHealthyPercent": "50"}, "Tags": tags(value),
            "PlacementStrategies": [{"Type": "spread", "Field": "instanceId"}],
        })
    };
    let mut living = stage.make("AWS::ECS::Service", service(&first, 200, "a"));
    stage.is_as_declared(&living);
    // Its deployment ends by the work of ECS's own reconciler; the change itself is seen here.
    let kind = find("AWS::ECS::Service").unwrap();
    let new = Wanted { properties: service(&second, 150, "b").as_object().unwrap().clone(), ..living.wanted.clone() };
    stage.world.transact(|ctx| kind.update(ctx, &living.made, &living.wanted, &new)).unwrap();
    living.wanted = new;
    stage.is_as_declared(&living);

    let vpc = stage.reference("AWS::EC2::VPC", json!({"CidrBlock": "10.0.0.0/16"}));
    let namespace = |name: &str, text: &str| json!({"Name": name, "Vpc": vpc, "Description": text, "Tags": tags(text)});
    stage.life("AWS::ServiceDiscovery::PrivateDnsNamespace", namespace("one", "a"), namespace("one", "b"));
    let http = |text: &str| json!({"Name": "plain", "Description": text});
    stage.life("AWS::ServiceDiscovery::HttpNamespace", http("a"), http("b"));
    let namespace = stage.reference("AWS::ServiceDiscovery::PrivateDnsNamespace", namespace("internal", "a"));
    let named = |ttl: u32| {
        json!({
            "Name": "app", "NamespaceId": namespace, "Description": ttl.to_string(),
            "DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": ttl}], "RoutingPolicy": "MULTIVALUE"},
            "HealthCheckCustomConfig": {"FailureThreshold": 1},
        })
    };
    stage.life("AWS::ServiceDiscovery::Service", named(10), named(60));
    let service = stage.reference("AWS::ServiceDiscovery::Service", named(10));
    let instance = |address: &str| json!({"ServiceId": service, "InstanceAttributes": {"AWS_INSTANCE_IPV4": address}});
    stage.life("AWS::ServiceDiscovery::Instance", instance("10.0.0.1"), instance("10.0.0.2"));
}

#[test]
fn scaling_alarms_and_certificates() {
    let mut stage = Stage::new();
    let cluster = stage.reference("AWS::ECS::Cluster", json!({"ClusterName": "demo"}));
    let definition =
        json!({"Family": "app", "ContainerDefinitions": [{"Name": "web", "Image": "app:1", "Memory": 64}]});
    let definition = stage.reference("AWS::ECS::TaskDefinition", definition);
    stage.make(
        "AWS::ECS::Service",
        json!({"Cluster": cluster, "ServiceName": "app", "TaskDefinition": definition, "DesiredCount": 0}),
    );
    let target = |most: u32| {
        json!({
            "ServiceNamespace": "ecs", "ResourceId": "service/demo/app", "ScalableDimension": "ecs:service:DesiredCount",
            "MinCapacity": 0, "MaxCapacity": most,
        })
    };
    let kind = "AWS::ApplicationAutoScaling::ScalableTarget";
    stage.life(kind, target(2), target(4));
    let target = stage.reference(kind, target(2));
    assert_eq!(target, "service/demo/app|ecs:service:DesiredCount|ecs");
    let tracking = |value: f64| {
        json!({
            "PolicyName": "cpu", "PolicyType": "TargetTrackingScaling", "ScalingTargetId": target,
            "TargetTrackingScalingPolicyConfiguration": {
                "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
                "TargetValue": value,
            },
        })
    };
    stage.life("AWS::ApplicationAutoScaling::ScalingPolicy", tracking(50.0), tracking(60.0));
    let alarm = |threshold: u32| {
        json!({
            "Namespace": "demo", "MetricName": "Errors", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": "2",
            "Threshold": threshold, "ComparisonOperator": "GreaterThanOrEqualToThreshold", "Tags": tags("a"),
        })
    };
    stage.life("AWS::CloudWatch::Alarm", alarm(1), alarm(2));
    let certificate =
        |value: &str| json!({"DomainName": "app.example.com", "ValidationMethod": "DNS", "Tags": tags(value)});
    stage.life("AWS::CertificateManager::Certificate", certificate("a"), certificate("b"));
}
