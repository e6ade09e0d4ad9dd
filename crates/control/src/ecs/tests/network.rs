//! Addresses of tasks and what listens at them.

use super::{Stage, host_port, id};
use crate::api::Operations;
use crate::ecs::records::{LastStatus, StoppedTask, Task};
use crate::elbv2::tests as elb;
use crate::link::builder::build;
use crate::testing::World;
use quarry_aws::ecs::{self as aws, op};
use quarry_aws::{ec2, elbv2};
use quarry_domain::address;
use quarry_domain::snapshot::{Endpoint, Relay, RelayListen};
use quarry_wire::ServiceError;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What is relayed to tasks, by the snapshot that the proxies would get.
fn relays(stage: &Stage) -> Vec<Relay> {
    let platform = &stage.world.platform;
    let snapshot = platform.store.read(|tx| build(tx, &platform.config)).unwrap();
    snapshot.relays.into_iter().filter(|relay| matches!(relay.to, Endpoint::Task { .. })).collect()
}

fn records(stage: &Stage) -> Vec<Task> {
    stage.world.platform.store.read(|tx| tx.all::<Task>()).unwrap()
}

#[test]
fn a_bridge_task_is_relayed_at_its_private_address_and_host_port_while_it_runs() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, false);
    stage.reconciler.pass();
    let pending = records(&stage).remove(0);
    assert_eq!(pending.status, LastStatus::Pending);
    assert!(pending.private_address.is_some_and(address::is_private));
    assert_eq!(relays(&stage), [], "nobody is let in before it runs");

    stage.settle();
    let task = stage.tasks("RUNNING").remove(0);
    let listen = SocketAddr::from((pending.private_address.unwrap(), host_port(&task)));
    let found = relays(&stage);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].listen, RelayListen::Hub(listen));
    assert!(matches!(&found[0].to, Endpoint::Task { task: of, container_port: 3000, .. } if *of == id(&task)));
    let spec = stage.world.runtime.launched.lock().unwrap()[0].clone();
    assert_eq!(spec.private_address, pending.private_address);

    stage.update(|service| service.desired_count = Some(0));
    stage.settle();
    assert_eq!(relays(&stage), []);
}

#[test]
fn private_addresses_are_unique_and_a_freed_one_is_not_given_again_at_once() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 3, false);
    stage.settle();
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let now: Vec<Ipv4Addr> = records(&stage).iter().map(|task| task.private_address.unwrap()).collect();
        assert_eq!(now.len(), 3);
        for address in now {
            assert!(seen.insert(address), "{address} was given again");
        }
        for task in records(&stage) {
            stage.ended(&task.id, Some(1));
        }
        stage.settle();
        stage.pass_time(std::time::Duration::from_secs(600));
        assert!(records(&stage).iter().all(|task| task.status == LastStatus::Running));
    }
    let stopped = stage.world.platform.store.read(|tx| tx.all::<StoppedTask>()).unwrap();
    assert!(stopped.len() >= 12 && stopped.iter().all(|task| task.0.entry.is_none()));
}

/// A stage with EC2 itself: a VPC with two subnets and a group, beside one of another VPC.
struct Vpc {
    subnets: Vec<String>,
    group: String,
    foreign: String,
}

fn operations(operations: &mut Operations) {
    crate::ecs::register(operations);
    crate::ec2::register(operations);
    crate::elbv2::register(operations);
    crate::logs::register(operations);
}

fn stage() -> (Stage, Vpc) {
    let stage = Stage::furnished(World::new(operations));
    let world = &stage.world;
    let vpc = |block: &str| {
        let input = ec2::CreateVpcRequest { cidr_block: Some(block.into()), ..Default::default() };
        world.call::<ec2::op::CreateVpc>(input).unwrap().vpc.unwrap().vpc_id.unwrap()
    };
    let subnet = |vpc: &str, block: &str, zone: &str| {
        let input = ec2::CreateSubnetRequest {
            vpc_id: Some(vpc.into()),
            cidr_block: Some(block.into()),
            availability_zone: Some(zone.into()),
            ..Default::default()
        };
        world.call::<ec2::op::CreateSubnet>(input).unwrap().subnet.unwrap().subnet_id.unwrap()
    };
    let (own, other) = (vpc("10.0.0.0/16"), vpc("10.1.0.0/16"));
    let subnets = vec![subnet(&own, "10.0.1.0/24", "us-east-1a"), subnet(&own, "10.0.2.0/24", "us-east-1b")];
    let foreign = subnet(&other, "10.1.1.0/24", "us-east-1a");
    let input = ec2::CreateSecurityGroupRequest {
        group_name: Some("tasks".into()),
        description: Some("tasks".into()),
        vpc_id: Some(own),
        ..Default::default()
    };
    let group = world.call::<ec2::op::CreateSecurityGroup>(input).unwrap().group_id.unwrap();
    (stage, Vpc { subnets, group, foreign })
}

fn fargate(stage: &Stage) -> String {
    let input = json!({
        "family": "api", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "api", "image": "api:v1", "portMappings": [{"containerPort": 3000}]}],
    });
    let registered = stage.world.call::<op::RegisterTaskDefinition>(serde_json::from_value(input).unwrap()).unwrap();
    let definition = registered.task_definition.unwrap();
    assert_eq!(definition.compatibilities.unwrap(), ["EC2", "FARGATE"]);
    definition.task_definition_arn.unwrap()
}

fn run(stage: &Stage, definition: &str, members: serde_json::Value) -> Result<aws::RunTaskResponse, ServiceError> {
    let mut input = json!({"cluster": "demo", "taskDefinition": definition});
    for (name, value) in members.as_object().unwrap() {
        input[name] = value.clone();
    }
    stage.world.call::<op::RunTask>(serde_json::from_value(input).unwrap())
}

fn configuration(vpc: &Vpc) -> serde_json::Value {
    json!({"awsvpcConfiguration": {"subnets": vpc.subnets, "securityGroups": [vpc.group]}})
}

fn interfaces(stage: &Stage) -> Vec<ec2::NetworkInterface> {
    let output = stage.world.call::<ec2::op::DescribeNetworkInterfaces>(Default::default()).unwrap();
    output.network_interfaces.unwrap()
}

#[test]
fn a_fargate_task_needs_no_instance_and_has_an_interface_of_its_own() {
    let (mut stage, vpc) = stage();
    let definition = fargate(&stage);
    let launch = json!({"launchType": "FARGATE", "networkConfiguration": configuration(&vpc), "count": 2});
    let started = run(&stage, &definition, launch).unwrap();
    assert_eq!(started.failures, Some(Vec::new()));
    stage.settle();
    let tasks = stage.tasks("RUNNING");
    let zones: BTreeSet<_> = tasks.iter().map(|task| task.availability_zone.clone().unwrap()).collect();
    assert_eq!(zones.len(), 2, "they are spread over the subnets");
    for task in &tasks {
        assert_eq!((task.launch_type.as_deref(), task.container_instance_arn.as_ref()), (Some("FARGATE"), None));
        assert_eq!((task.platform_version.as_deref(), task.platform_family.as_deref()), (Some("1.4.0"), Some("Linux")));
        assert_eq!((task.cpu.as_deref(), task.memory.as_deref()), (Some("256"), Some("512")));
        assert_eq!(task.ephemeral_storage.as_ref().unwrap().size_in_gib, Some(20));
        let attachment = &task.attachments.as_ref().unwrap()[0];
        assert_eq!(attachment.r#type.as_deref(), Some("ElasticNetworkInterface"));
        assert_eq!(attachment.status.as_deref(), Some("ATTACHED"));
        let detail = |name: &str| {
            let details = attachment.details.as_ref().unwrap();
            details.iter().find(|d| d.name.as_deref() == Some(name)).and_then(|d| d.value.clone()).unwrap()
        };
        let address: Ipv4Addr = detail("privateIPv4Address").parse().unwrap();
        assert!(address::is_private(address));
        // Who follows the interface's id to EC2 finds the same.
        let all = interfaces(&stage);
        let found = all.iter().find(|i| i.network_interface_id == Some(detail("networkInterfaceId"))).unwrap();
        assert_eq!(found.private_ip_address, Some(address.to_string()));
        assert_eq!(
            (found.subnet_id.clone(), found.mac_address.clone()),
            (Some(detail("subnetId")), Some(detail("macAddress")))
        );
        assert_eq!(found.private_dns_name, Some(detail("privateDnsName")));
        assert_eq!(found.groups.as_ref().unwrap()[0].group_id.as_ref(), Some(&vpc.group));
        let container = &task.containers.as_ref().unwrap()[0];
        assert_eq!(container.network_bindings, Some(Vec::new()));
        let own = &container.network_interfaces.as_ref().unwrap()[0];
        assert_eq!((own.private_ipv4_address.clone(), &own.attachment_id), (Some(address.to_string()), &attachment.id));
        let listen = RelayListen::Hub(SocketAddr::from((address, 3000)));
        assert!(relays(&stage).iter().any(|relay| relay.listen == listen));
    }
    let spec = stage.world.runtime.launched.lock().unwrap()[0].clone();
    assert_eq!((spec.limits.cpu_quota, spec.limits.memory), (Some(256), Some(512)));
    assert!(spec.containers[0].env.contains(&"AWS_EXECUTION_ENV=AWS_ECS_FARGATE".to_owned()));

    for task in tasks {
        let input = aws::StopTaskRequest { cluster: Some("demo".into()), task: task.task_arn, ..Default::default() };
        stage.world.call::<op::StopTask>(input).unwrap();
    }
    stage.settle();
    assert_eq!(interfaces(&stage), []);
    let stopped = &stage.tasks("STOPPED")[0];
    assert_eq!(stopped.attachments.as_ref().unwrap()[0].status.as_deref(), Some("DELETED"));
}

#[test]
fn fargate_is_bounded_by_the_machine() {
    let (mut stage, vpc) = stage();
    let definition = fargate(&stage);
    let with = |cpu: &str, memory: &str| {
        let overrides = json!({"cpu": cpu, "memory": memory});
        json!({"launchType": "FARGATE", "networkConfiguration": configuration(&vpc), "overrides": overrides})
    };
    let words = "Capacity is unavailable at this time. Please try again later or in a different availability zone";
    // The machine of the tests has 4 processors and 8 GiB.
    for (cpu, memory) in [("8192", "16384"), ("2048", "16384")] {
        let refused = run(&stage, &definition, with(cpu, memory)).unwrap();
        assert_eq!(refused.failures.unwrap()[0].reason.as_deref(), Some(words));
    }
    assert_eq!(run(&stage, &definition, with("4096", "8192")).unwrap().failures, Some(Vec::new()));
    assert_eq!(
        run(&stage, &definition, with("256", "512")).unwrap().failures.unwrap()[0].reason.as_deref(),
        Some(words)
    );
    let wrong = run(&stage, &definition, with("256", "300")).unwrap_err();
    assert_eq!(
        (wrong.code.as_str(), wrong.message.as_str()),
        ("ClientException", "No Fargate configuration exists for given values.")
    );

    let service = json!({
        "cluster": "demo", "serviceName": "api", "taskDefinition": definition, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": configuration(&vpc),
    });
    stage.world.call::<op::CreateService>(serde_json::from_value(service).unwrap()).unwrap();
    stage.settle();
    assert_eq!(stage.events(), [format!("(service api) was unable to place a task. Reason: {words}.")]);
    let shown = stage.service();
    assert_eq!((shown.launch_type.as_deref(), shown.platform_version.as_deref()), (Some("FARGATE"), Some("LATEST")));
    assert_eq!(shown.network_configuration.unwrap().awsvpc_configuration.unwrap().subnets, Some(vpc.subnets.clone()));
}

#[test]
fn a_fargate_task_without_its_image_stops_at_once_and_says_why() {
    let (mut stage, vpc) = stage();
    let definition = fargate(&stage);
    stage.world.images.images.lock().unwrap().remove("api:v1");
    let service = json!({
        "cluster": "demo", "serviceName": "api", "taskDefinition": definition, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": configuration(&vpc),
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": false}},
    });
    stage.world.call::<op::CreateService>(serde_json::from_value(service).unwrap()).unwrap();
    stage.settle();
    let stopped = stage.tasks("STOPPED");
    assert_eq!(stopped[0].stop_code.as_deref(), Some("TaskFailedToStart"));
    let words =
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref api:v1: ";
    assert!(stopped[0].stopped_reason.as_ref().unwrap().starts_with(words), "{:?}", stopped[0].stopped_reason);
    assert!(stage.events().iter().any(|event| event.contains(words)), "{:?}", stage.events());
    assert!(stopped.len() <= 2, "it is tried again ever more slowly");
    for _ in 0..5 {
        stage.pass_time(Duration::from_secs(1));
    }
    let deployment = stage.service().deployments.unwrap().remove(0);
    assert_eq!(deployment.rollout_state.as_deref(), Some("FAILED"));
    assert_eq!(interfaces(&stage), [], "none is left over");
}

#[test]
fn what_network_configurations_are_refused() {
    let (stage, vpc) = stage();
    let definition = fargate(&stage);
    let bridge = stage.define("api:v1");
    let network = |configuration: serde_json::Value| json!({"launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": configuration}});
    let own = &vpc.subnets[0];
    let both = json!({"launchType": "FARGATE", "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]});
    let with = |members: serde_json::Value| {
        let mut all = json!({"launchType": "FARGATE", "networkConfiguration": configuration(&vpc)});
        for (name, value) in members.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    };
    let constraint = json!({"placementConstraints": [{"type": "distinctInstance"}]});
    let cases = [
        (
            &definition,
            json!({"launchType": "FARGATE"}),
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ),
        (
            &bridge,
            json!({"networkConfiguration": configuration(&vpc)}),
            "Network Configuration is not valid for the given networkMode",
        ),
        (&bridge, json!({"launchType": "FARGATE"}), "Task definition does not support launch_type FARGATE."),
        (&definition, network(json!({"subnets": []})), "subnets can not be empty."),
        (
            &definition,
            network(json!({"subnets": ["subnet-0"]})),
            "Error retrieving subnet information for [subnet-0]: The subnet ID 'subnet-0' does not exist (ErrorCode: InvalidSubnetID.NotFound)",
        ),
        (&definition, network(json!({"subnets": [own, vpc.foreign]})), "must belong to one VPC"),
        (
            &definition,
            network(json!({"subnets": [own], "securityGroups": ["sg-0"]})),
            "Error retrieving security group information for [sg-0]",
        ),
        (&definition, network(json!({"subnets": [vpc.foreign], "securityGroups": [vpc.group]})), "different VPCs"),
        (
            &definition,
            json!({"launchType": "EC2", "networkConfiguration": {"awsvpcConfiguration": {"subnets": [own], "assignPublicIp": "ENABLED"}}}),
            "Assign public IP is not supported for this launch type.",
        ),
        (
            &definition,
            with(json!({"launchType": "EC2", "platformVersion": "1.4.0"})),
            "The platform version must be null when specifying an EC2 launch type.",
        ),
        (&definition, with(json!({"platformVersion": "9.9"})), "The specified platform does not exist."),
        (&definition, with(constraint), "Placement constraints are not supported with FARGATE launch type."),
        (&definition, both, "Specifying both a launch type and capacity provider strategy is not supported."),
        (
            &definition,
            with(json!({"launchType": null, "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]})),
            "not associated with the cluster",
        ),
    ];
    for (definition, members, words) in cases {
        let refused = run(&stage, definition, members.clone()).expect_err(&members.to_string());
        assert!(refused.status == 400 && refused.message.contains(words), "{members}: {refused}");
    }
    assert_eq!(records(&stage), []);
}

#[test]
fn an_awsvpc_task_on_an_instance_takes_no_port_of_it_and_stays_in_the_zones_of_its_subnets() {
    let (mut stage, vpc) = stage();
    let input = json!({
        "family": "api", "networkMode": "awsvpc",
        "containerDefinitions": [{"name": "api", "image": "api:v1", "memory": 64, "portMappings": [{"containerPort": 3000}]}],
    });
    let registered = stage.world.call::<op::RegisterTaskDefinition>(serde_json::from_value(input).unwrap()).unwrap();
    let definition = registered.task_definition.unwrap().task_definition_arn.unwrap();
    let only_b = json!({"awsvpcConfiguration": {"subnets": [vpc.subnets[1]]}});
    let started = run(&stage, &definition, json!({"networkConfiguration": only_b, "count": 3})).unwrap();
    assert_eq!(started.failures, Some(Vec::new()));
    stage.settle();
    for task in records(&stage) {
        assert_eq!((task.ec2_instance_id.as_deref(), task.availability_zone.as_str()), (Some("i-0b"), "us-east-1b"));
        assert_eq!(task.demand.ports, Vec::<u16>::new());
        assert_eq!(interfaces(&stage)[0].groups.as_ref().unwrap()[0].group_name.as_deref(), Some("default"));
    }
}

#[test]
fn a_strategy_divides_the_tasks_of_a_service() {
    let (mut stage, vpc) = stage();
    let definition = fargate(&stage);
    let strategy = json!([{"capacityProvider": "FARGATE", "base": 1, "weight": 1}, {"capacityProvider": "FARGATE_SPOT", "weight": 3}]);
    let providers = json!({"cluster": "demo", "capacityProviders": ["FARGATE", "FARGATE_SPOT"], "defaultCapacityProviderStrategy": strategy});
    stage.world.call::<op::PutClusterCapacityProviders>(serde_json::from_value(providers).unwrap()).unwrap();
    let service = json!({
        "cluster": "demo", "serviceName": "api", "taskDefinition": definition, "desiredCount": 5,
        "networkConfiguration": configuration(&vpc),
    });
    stage.world.call::<op::CreateService>(serde_json::from_value(service).unwrap()).unwrap();
    stage.settle();
    let tasks = stage.tasks("RUNNING");
    let of = |name: &str| tasks.iter().filter(|task| task.capacity_provider_name.as_deref() == Some(name)).count();
    assert_eq!((tasks.len(), of("FARGATE"), of("FARGATE_SPOT")), (5, 2, 3));
    let shown = stage.service();
    assert_eq!((shown.launch_type, shown.capacity_provider_strategy.unwrap().len()), (None, 2));

    // Another configuration is another deployment; the same again is none.
    let before = stage.service().deployments.unwrap()[0].id.clone();
    stage.update(|service| service.network_configuration = serde_json::from_value(configuration(&vpc)).unwrap());
    assert_eq!(stage.service().deployments.unwrap()[0].id, before);
    let one = json!({"awsvpcConfiguration": {"subnets": [vpc.subnets[0]], "securityGroups": [vpc.group]}});
    stage.update(|service| service.network_configuration = serde_json::from_value(one.clone()).unwrap());
    assert_ne!(stage.service().deployments.unwrap()[0].id, before);
    stage.settle();
    assert!(stage.tasks("RUNNING").iter().all(|task| task.availability_zone.as_deref() == Some("us-east-1a")));
}

#[test]
fn a_service_registers_its_tasks_by_address_and_drains_them() {
    let (mut stage, vpc) = stage();
    let definition = fargate(&stage);
    let world = &stage.world;
    let balancer = world
        .call::<elbv2::op::CreateLoadBalancer>(elbv2::CreateLoadBalancerInput {
            name: Some("demo".into()),
            subnets: Some(vpc.subnets.clone()),
            ..Default::default()
        })
        .unwrap();
    let balancer = balancer.load_balancers.unwrap().remove(0);
    let group = |name: &str, kind: &str| {
        let input = elbv2::CreateTargetGroupInput {
            vpc_id: balancer.vpc_id.clone(),
            target_type: Some(kind.into()),
            ..elb::group_input(name)
        };
        let created = world.call::<elbv2::op::CreateTargetGroup>(input).unwrap().target_groups.unwrap();
        created[0].target_group_arn.clone().unwrap()
    };
    let (by_ip, by_instance) = (group("ip", "ip"), group("instance", "instance"));
    let listener = elb::listener(world, &balancer, &by_ip);
    world.call::<elbv2::op::CreateRule>(elb::rule_input(&listener, 1, "/x", &by_instance)).unwrap();
    let service = |group: &str| {
        let input = json!({
            "cluster": "demo", "serviceName": "api", "taskDefinition": definition, "desiredCount": 1,
            "launchType": "FARGATE", "networkConfiguration": configuration(&vpc),
            "loadBalancers": [{"targetGroupArn": group, "containerName": "api", "containerPort": 3000}],
        });
        world.call::<op::CreateService>(serde_json::from_value(input).unwrap())
    };
    let refused = service(&by_instance).unwrap_err();
    assert!(refused.message.contains("has target type instance, which is incompatible with the awsvpc network mode"));
    service(&by_ip).unwrap();
    stage.settle();
    let task = records(&stage).remove(0);
    let address = task.private_address.unwrap();
    let targets = stage.targets();
    assert_eq!((targets.len(), targets[0].id.clone(), targets[0].port), (1, address.to_string(), 3000));

    // By hand: a port that is not mapped, a program of this machine, and what is nobody's.
    let add = |id: &str, port: i32| {
        let target = elbv2::TargetDescription { id: Some(id.into()), port: Some(port), ..Default::default() };
        let input = elbv2::RegisterTargetsInput { target_group_arn: Some(by_ip.clone()), targets: Some(vec![target]) };
        stage.world.call::<elbv2::op::RegisterTargets>(input)
    };
    add(&address.to_string(), 9000).unwrap();
    add("127.0.0.1", 9000).unwrap();
    add("10.0.1.77", 9000).unwrap();
    add("198.19.255.9", 9000).unwrap();
    assert_eq!(add("8.8.8.8", 80).unwrap_err().code, "ValidationError");
    let platform = &stage.world.platform;
    let snapshot = platform.store.read(|tx| build(tx, &platform.config)).unwrap();
    let snapshot = std::cell::RefCell::new(snapshot);
    let found = |id: &str, port: u16| {
        let targets = &snapshot.borrow().target_groups[&by_ip].targets;
        targets.iter().find(|target| target.id == id && target.port == port).unwrap().endpoint.clone()
    };
    // The task's group does not let the load balancer in; then it does, on one port.
    assert_eq!(found(&address.to_string(), 3000), Endpoint::Barred);
    let let_in = |port: i32| {
        let input = ec2::AuthorizeSecurityGroupIngressRequest {
            group_id: Some(vpc.group.clone()),
            ip_protocol: Some("tcp".into()),
            from_port: Some(port),
            to_port: Some(port),
            cidr_ip: Some("10.0.0.0/8".into()),
            ..Default::default()
        };
        stage.world.call::<ec2::op::AuthorizeSecurityGroupIngress>(input).unwrap();
        platform.store.read(|tx| build(tx, &platform.config)).unwrap()
    };
    snapshot.replace(let_in(3000));
    assert_eq!(found(&address.to_string(), 9000), Endpoint::Barred);
    snapshot.replace(let_in(9000));
    for port in [3000, 9000] {
        let behind = found(&address.to_string(), port);
        assert!(
            matches!(behind, Endpoint::Task { task: of, container_port, .. } if of == task.id && container_port == port)
        );
    }
    assert_eq!(found("127.0.0.1", 9000), Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 9000))));
    for nobodys in ["10.0.1.77", "198.19.255.9"] {
        assert!(matches!(found(nobodys, 9000), Endpoint::Nowhere { .. }), "{nobodys}");
    }

    stage.update(|service| service.desired_count = Some(0));
    stage.reconciler.pass();
    let draining = stage.targets().into_iter().find(|target| target.port == 3000).unwrap();
    assert!(draining.draining);
    assert_eq!(records(&stage)[0].status, LastStatus::Deactivating);
    stage.settle();
    assert_eq!(records(&stage), []);
}

#[test]
fn a_task_without_a_network_has_no_address() {
    let (mut stage, _) = stage();
    let input = json!({
        "family": "job", "networkMode": "none",
        "containerDefinitions": [{"name": "api", "image": "api:v1", "memory": 64}],
    });
    stage.world.call::<op::RegisterTaskDefinition>(serde_json::from_value(input).unwrap()).unwrap();
    run(&stage, "job", json!({})).unwrap();
    stage.settle();
    let task = records(&stage).remove(0);
    assert_eq!((task.address, task.private_address, task.status), (None, None, LastStatus::Running));
    let spec = stage.world.runtime.launched.lock().unwrap()[0].clone();
    assert_eq!((spec.address, spec.private_address, spec.dns), (None, None, None));
    assert!(!spec.containers[0].env.iter().any(|variable| variable.starts_with("AWS_ENDPOINT_URL=")));
}
