//! Tasks in service registries.

use super::{Stage, host_port, id};
use crate::api::Operations;
use crate::ecs::records::{LastStatus, Task};
use crate::elbv2::tests as elb;
use crate::servicediscovery::{self, reconcile, records::Instance};
use crate::store::Item;
use crate::testing::World;
use quarry_aws::ecs::{self as aws, op};
use quarry_aws::servicediscovery::{self as map, op as map_op};
use quarry_domain::task::ContainerHealth;
use quarry_wire::ServiceError;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

fn operations(operations: &mut Operations) {
    super::operations(operations);
    servicediscovery::register(operations);
}

/// A stage with the namespace board.local.
fn stage() -> (Stage, String) {
    let stage = Stage::furnished(World::new(operations));
    let input = map::CreatePrivateDnsNamespaceRequest {
        name: Some("board.local".into()),
        vpc: Some("vpc-1".into()),
        ..Default::default()
    };
    stage.world.call::<map_op::CreatePrivateDnsNamespace>(input).unwrap();
    reconcile::pass(&stage.world.platform, &stage.world.operations).unwrap();
    let listed = stage.world.call::<map_op::ListNamespaces>(Default::default()).unwrap().namespaces.unwrap();
    (stage, listed[0].id.clone().unwrap())
}

/// A registry with records of these types, and a custom health check if `health`.
fn registry(stage: &Stage, namespace: &str, name: &str, types: &[&str], health: bool) -> String {
    let records = types.iter().map(|kind| map::DnsRecord { r#type: Some((*kind).into()), ttl: Some(10) }).collect();
    let input = map::CreateServiceRequest {
        name: Some(name.into()),
        namespace_id: Some(namespace.into()),
        dns_config: Some(map::DnsConfig { dns_records: Some(records), ..Default::default() }),
        health_check_custom_config: health.then(Default::default),
        ..Default::default()
    };
    stage.world.call::<map_op::CreateService>(input).unwrap().service.unwrap().arn.unwrap()
}

fn bridge(arn: &str) -> serde_json::Value {
    json!({"registryArn": arn, "containerName": "api", "containerPort": 3000})
}

fn create(stage: &Stage, definition: &str, registries: serde_json::Value) -> Result<aws::Service, ServiceError> {
    let input = json!({"cluster": "demo", "serviceName": "api", "taskDefinition": definition, "desiredCount": 3,
        "serviceRegistries": registries});
    let input = serde_json::from_value(input).unwrap();
    Ok(stage.world.call::<op::CreateService>(input)?.service.unwrap())
}

fn instances(stage: &Stage) -> BTreeMap<String, Instance> {
    let all: Vec<Instance> = stage.world.platform.store.read(|tx| tx.all()).unwrap();
    all.into_iter().map(|instance| (instance.id.clone(), instance)).collect()
}

fn records(stage: &Stage) -> Vec<Task> {
    stage.world.platform.store.read(|tx| tx.all::<Task>()).unwrap()
}

/// Lets tasks that left their registry be stopped, too.
fn settle(stage: &mut Stage) {
    stage.settle();
    stage.pass_time(Duration::from_secs(3));
}

#[test]
fn running_tasks_are_registered_and_stopping_ones_are_not() {
    let (mut stage, namespace) = stage();
    let arn = registry(&stage, &namespace, "api", &["SRV"], true);
    let definition = stage.define("api:v1");
    let service = create(&stage, &definition, json!([bridge(&arn)])).unwrap();
    assert_eq!(service.service_registries.unwrap()[0].registry_arn.as_ref(), Some(&arn));
    stage.reconciler.pass();
    assert!(instances(&stage).is_empty(), "nothing runs yet");
    settle(&mut stage);
    let registered = instances(&stage);
    assert_eq!(registered.len(), 3);
    for task in stage.tasks("RUNNING") {
        let record = records(&stage).into_iter().find(|record| record.id == id(&task)).unwrap();
        let expected = json!({
            "AWS_INSTANCE_IPV4": record.private_address.unwrap().to_string(),
            "AWS_INSTANCE_PORT": host_port(&task).to_string(),
            "AWS_INIT_HEALTH_STATUS": "HEALTHY",
            "AVAILABILITY_ZONE": record.availability_zone, "REGION": "us-east-1",
            "EC2_INSTANCE_ID": record.ec2_instance_id,
            "ECS_CLUSTER_NAME": "demo", "ECS_SERVICE_NAME": "api", "ECS_TASK_DEFINITION_FAMILY": "api",
        });
        assert_eq!(serde_json::to_value(&registered[&record.id].attributes).unwrap(), expected);
    }
    let listed = |namespace: &str| {
        let input = aws::ListServicesByNamespaceRequest { namespace: Some(namespace.into()), ..Default::default() };
        stage.world.call::<op::ListServicesByNamespace>(input).map(|listed| listed.service_arns.unwrap())
    };
    assert_eq!(listed("board.local").unwrap(), [service.service_arn.unwrap()]);
    assert_eq!(listed("x.local").unwrap_err().code, "NamespaceNotFoundException");

    // One dies: it is gone from the registry in the same pass, and another takes its place.
    let dead = stage.tasks("RUNNING").remove(0);
    stage.ended(&id(&dead), Some(137));
    stage.reconciler.pass();
    assert!(!instances(&stage).contains_key(&id(&dead)));
    settle(&mut stage);
    assert_eq!(instances(&stage).len(), 3);

    stage.update(|service| service.desired_count = Some(0));
    stage.reconciler.pass();
    assert!(instances(&stage).is_empty());
    assert!(stage.world.runtime.signals.lock().unwrap().is_empty(), "named nowhere, but not yet known to be so");
    assert!(records(&stage).iter().all(|task| task.status == LastStatus::Deactivating));
    settle(&mut stage);
    assert!(records(&stage).is_empty());
    let input = map::DeleteServiceRequest { id: Some(arn) };
    stage.world.call::<map_op::DeleteService>(input).unwrap();
    let events = stage.events();
    assert!(
        events.iter().any(|event| event.contains("registered 1 instances in (service-registry arn:")),
        "{events:?}"
    );
}

#[test]
fn a_checked_task_without_a_load_balancer_is_registered_when_it_is_healthy() {
    let (mut stage, namespace) = stage();
    let arn = registry(&stage, &namespace, "api", &["SRV"], true);
    let check = json!({"healthCheck": {"command": ["CMD", "/check"], "interval": 5}});
    let definition = stage.define_with("api:v1", check);
    create(&stage, &definition, json!([bridge(&arn)])).unwrap();
    stage.update(|service| service.desired_count = Some(1));
    settle(&mut stage);
    let task = id(&stage.tasks("RUNNING")[0]);
    assert!(instances(&stage).is_empty(), "it runs, and nobody knows how it is");
    let show = |stage: &Stage, health| {
        let mut seen = super::running(&task);
        seen.containers[0].health = health;
        stage.world.runtime.show(seen);
    };
    let said = |stage: &Stage| instances(stage)[&task].attributes["AWS_INIT_HEALTH_STATUS"].clone();
    show(&stage, ContainerHealth::Healthy);
    stage.reconciler.pass();
    assert_eq!(said(&stage), "HEALTHY", "one look is enough");
    let healthy = |stage: &Stage| instances(stage)[&task].healthy;
    assert!(healthy(&stage));
    show(&stage, ContainerHealth::Unhealthy);
    stage.reconciler.pass();
    assert!(!healthy(&stage));
}

#[test]
fn the_load_balancer_says_who_is_healthy() {
    let (mut stage, namespace) = stage();
    let arn = registry(&stage, &namespace, "api", &["SRV"], true);
    let definition = stage.define("api:v1");
    let balancer = elb::balancer(&stage.world, "demo");
    let group = elb::group(&stage.world, "api");
    elb::listener(&stage.world, &balancer, &group);
    let input = json!({"cluster": "demo", "serviceName": "api", "taskDefinition": definition, "desiredCount": 1,
        "healthCheckGracePeriodSeconds": 3600, "serviceRegistries": [bridge(&arn)],
        "loadBalancers": [{"targetGroupArn": group, "containerName": "api", "containerPort": 3000}]});
    stage.healthy = false;
    stage.world.call::<op::CreateService>(serde_json::from_value(input).unwrap()).unwrap();
    settle(&mut stage);
    assert_eq!(records(&stage)[0].status, LastStatus::Running);
    assert!(instances(&stage).is_empty(), "it was never healthy");
    let healthy = |stage: &Stage| instances(stage).into_values().map(|instance| instance.healthy).collect::<Vec<_>>();
    stage.healthy = true;
    settle(&mut stage);
    assert_eq!(healthy(&stage), [true]);
    stage.healthy = false;
    settle(&mut stage);
    assert_eq!(healthy(&stage), [false]);
    stage.healthy = true;
    settle(&mut stage);
    assert_eq!(healthy(&stage), [true]);
}

#[test]
fn another_registry_is_a_new_deployment() {
    let (mut stage, namespace) = stage();
    let [one, two] = ["one", "two"].map(|name| registry(&stage, &namespace, name, &["SRV"], false));
    let definition = stage.define("api:v1");
    create(&stage, &definition, json!([bridge(&one)])).unwrap();
    settle(&mut stage);
    let of = |stage: &Stage, arn: &str| {
        let all = instances(stage).into_values();
        all.filter(|instance| arn.ends_with(&instance.service_id)).count()
    };
    assert_eq!((of(&stage, &one), of(&stage, &two)), (3, 0));
    assert!(!instances(&stage).values().any(|instance| instance.attributes.contains_key("AWS_INIT_HEALTH_STATUS")));
    let deployments = stage.service().deployments.unwrap()[0].id.clone();
    stage.update(|service| service.service_registries = Some(vec![serde_json::from_value(bridge(&one)).unwrap()]));
    assert_eq!(stage.service().deployments.unwrap()[0].id, deployments, "the same is no change");
    stage.update(|service| service.service_registries = Some(vec![serde_json::from_value(bridge(&two)).unwrap()]));
    for _ in 0..10 {
        settle(&mut stage);
    }
    assert_eq!((of(&stage, &one), of(&stage, &two)), (0, 3));
    stage.update(|service| service.service_registries = Some(vec![]));
    for _ in 0..10 {
        settle(&mut stage);
    }
    assert!(instances(&stage).is_empty());
}

#[test]
fn a_restart_takes_out_what_no_task_stands_for() {
    let (mut stage, namespace) = stage();
    let arn = registry(&stage, &namespace, "api", &["SRV"], false);
    let definition = stage.define("api:v1");
    create(&stage, &definition, json!([bridge(&arn)])).unwrap();
    settle(&mut stage);
    let stray =
        Instance { id: "gone".into(), task: Some("gone".into()), ..instances(&stage).into_values().next().unwrap() };
    let own = Instance { id: "own".into(), task: None, ..stray.clone() };
    let put = |tx: &crate::store::Tx<'_>| tx.put(&stray).and_then(|()| tx.put(&own));
    stage.world.platform.store.write(put).unwrap();
    let mut stage = Stage::on(stage.world);
    stage.reconciler.pass();
    let left = instances(&stage);
    assert!(!left.contains_key(&stray.id) && left.contains_key(&own.id), "{}", own.key());
    assert_eq!(left.len(), 4);
}

#[test]
fn what_ecs_refuses() {
    let (stage, namespace) = stage();
    let [a, srv, cname, aaaa] = [("a", "A"), ("srv", "SRV"), ("c", "CNAME"), ("six", "AAAA")].map(|(name, kind)| {
        if kind != "CNAME" {
            return registry(&stage, &namespace, name, &[kind], false);
        }
        let input = json!({"Name": name, "DnsConfig": {"RoutingPolicy": "WEIGHTED", "NamespaceId": namespace,
            "DnsRecords": [{"Type": kind, "TTL": 1}]}});
        let made = stage.world.call::<map_op::CreateService>(serde_json::from_value(input).unwrap()).unwrap();
        made.service.unwrap().arn.unwrap()
    });
    let bridged = stage.define("api:v1");
    let own = json!({"family": "own", "networkMode": "awsvpc", "containerDefinitions":
        [{"name": "api", "image": "api:v1", "memory": 64, "portMappings": [{"containerPort": 3000}]}]});
    let own = stage.world.call::<op::RegisterTaskDefinition>(serde_json::from_value(own).unwrap()).unwrap();
    let own = own.task_definition.unwrap().task_definition_arn.unwrap();
    let refused = |definition: &str, registries: serde_json::Value| {
        let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
        let mut input = json!({"cluster": "demo", "serviceName": "x", "taskDefinition": definition, "desiredCount": 0,
            "serviceRegistries": registries});
        if definition == own {
            input["networkConfiguration"] = network;
        }
        let error = stage.world.call::<op::CreateService>(serde_json::from_value(input).unwrap()).unwrap_err();
        assert_eq!(error.code, "InvalidParameterException", "{error}");
        error.message
    };
    for (definition, registries, words) in [
        (&bridged, json!([bridge(&srv), bridge(&srv)]), "at most 1 items"),
        (
            &bridged,
            json!([{"registryArn": "arn:aws:servicediscovery:us-east-1:000000000000:service/srv-x"}]),
            "does not exist",
        ),
        (
            &bridged,
            json!([{"registryArn": srv}]),
            "When specifying 'host' or 'bridge' for networkMode, values for 'containerName' and 'containerPort' must be specified from the task definition.",
        ),
        (&bridged, json!([bridge(&a)]), "must be SRV"),
        (
            &bridged,
            json!([{"registryArn": srv, "containerName": "api", "containerPort": 1}]),
            "did not have a container port 1 defined",
        ),
        (
            &bridged,
            json!([{"registryArn": srv, "containerName": "x", "containerPort": 3000}]),
            "The container x does not exist",
        ),
        (&own, json!([bridge(&a)]), "do not require a value for 'containerPort'. Remove the value and retry."),
        (&own, json!([{"registryArn": a, "port": 80}]), "do not require a value for 'port'"),
        (&own, json!([{"registryArn": srv}]), "must be specified"),
        (
            &own,
            json!([{"registryArn": srv, "port": 80, "containerName": "api", "containerPort": 3000}]),
            "but not both",
        ),
        (&own, json!([{"registryArn": cname}]), "CNAME"),
        (&own, json!([{"registryArn": aaaa}]), "IPv6"),
    ] {
        let message = refused(definition, registries.clone());
        assert!(message.contains(words), "{registries}: {message}");
    }
    let connect = json!({"cluster": "demo", "serviceName": "x", "taskDefinition": bridged, "desiredCount": 0,
        "serviceConnectConfiguration": {"enabled": true, "namespace": "board.local"}});
    let refused = stage.world.call::<op::CreateService>(serde_json::from_value(connect.clone()).unwrap()).unwrap_err();
    assert_eq!(refused.code, "UnsupportedFeatureException");
    let mut off = connect;
    off["serviceConnectConfiguration"]["enabled"] = json!(false);
    stage.world.call::<op::CreateService>(serde_json::from_value(off).unwrap()).unwrap();
}
