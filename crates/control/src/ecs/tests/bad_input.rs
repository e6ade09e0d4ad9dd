//! What is refused, with ECS's codes and messages; nothing is changed by it.

use super::Stage;
use crate::api::{AnyShape, Ctx};
use quarry_aws::ecs as aws;
use quarry_wire::{Operation, ServiceError};
use serde_json::{Value, json};

/// Calls an operation by its name with JSON members.
fn refused(stage: &Stage, name: &'static str, input: Value) -> ServiceError {
    let service = aws::op::CreateCluster::service().id;
    let handler = stage.world.operations.find(service, name).unwrap().clone();
    let mut shape: Box<dyn AnyShape> = handler.input();
    quarry_wire::json::deserialize(shape.structure(), input).unwrap();
    let result = stage.world.transact(|ctx: &mut Ctx<'_>| handler.call(ctx, shape));
    match result {
        Ok(_) => panic!("{name} was accepted"),
        Err(error) => error,
    }
}

#[test]
fn each_operation_refuses_with_its_own_code_and_changes_nothing() {
    let stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, false);
    let level = stage.world.platform.store.changed.level();
    let service = |more: Value| {
        let mut input = json!({
            "cluster": "demo", "serviceName": "new", "taskDefinition": "api", "desiredCount": 1,
        });
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        input
    };
    let balancer = |container: &str, port: u16| {
        json!([{"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/x/1",
                "containerName": container, "containerPort": port}])
    };
    let cases: Vec<(&'static str, Value, &str, &str)> = vec![
        ("CreateCluster", json!({"clusterName": "a b"}), "InvalidParameterException", "letters"),
        (
            "CreateCluster",
            json!({"clusterName": "c", "capacityProviders": ["CLOUD"]}),
            "InvalidParameterException",
            "was not found",
        ),
        (
            "CreateCluster",
            json!({"settings": [{"name": "x", "value": "y"}]}),
            "InvalidParameterException",
            "Invalid cluster setting",
        ),
        ("DeleteCluster", json!({"cluster": "none"}), "ClusterNotFoundException", "Cluster not found."),
        (
            "DeleteCluster",
            json!({"cluster": "demo"}),
            "ClusterContainsContainerInstancesException",
            "Container Instances are active",
        ),
        (
            "RegisterTaskDefinition",
            json!({"family": "x", "containerDefinitions": []}),
            "ClientException",
            "Container list cannot be empty.",
        ),
        (
            "RegisterTaskDefinition",
            json!({"family": "x", "containerDefinitions": [{"name": "a", "image": "b"}]}),
            "ClientException",
            "At least one of 'memory' or 'memoryReservation' must be specified.",
        ),
        (
            "DescribeTaskDefinition",
            json!({"taskDefinition": "none"}),
            "ClientException",
            "Unable to describe task definition.",
        ),
        (
            "DescribeTaskDefinition",
            json!({"taskDefinition": "api:x"}),
            "ClientException",
            "Invalid revision number. Number: x",
        ),
        ("DeregisterTaskDefinition", json!({"taskDefinition": "api:9"}), "ClientException", "does not exist"),
        (
            "CreateService",
            json!({"cluster": "none", "serviceName": "x"}),
            "ClusterNotFoundException",
            "Cluster not found.",
        ),
        ("CreateService", service(json!({"serviceName": "a/b"})), "InvalidParameterException", "service name"),
        (
            "CreateService",
            service(json!({"serviceName": "api"})),
            "InvalidParameterException",
            "Creation of service was not idempotent.",
        ),
        ("CreateService", service(json!({"taskDefinition": "none"})), "ClientException", "TaskDefinition not found."),
        ("CreateService", service(json!({"desiredCount": -1})), "InvalidParameterException", "desiredCount"),
        ("CreateService", service(json!({"launchType": "EXTERNAL"})), "UnsupportedFeatureException", "EXTERNAL"),
        (
            "CreateService",
            service(json!({"schedulingStrategy": "DAEMON"})),
            "InvalidParameterException",
            "desired count",
        ),
        (
            "CreateService",
            service(json!({"enableExecuteCommand": true})),
            "InvalidParameterException",
            "a valid taskRoleArn is not being used",
        ),
        (
            "CreateService",
            service(json!({"serviceRegistries": [{"registryArn": "x"}]})),
            "InvalidParameterException",
            "The service registry x does not exist.",
        ),
        (
            "CreateService",
            service(json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"]}}})),
            "InvalidParameterException",
            "Network Configuration is not valid",
        ),
        (
            "CreateService",
            service(json!({"deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 100}})),
            "InvalidParameterException",
            "block deployments",
        ),
        (
            "CreateService",
            service(json!({"healthCheckGracePeriodSeconds": 5})),
            "InvalidParameterException",
            "load balancers",
        ),
        (
            "CreateService",
            service(json!({"placementStrategy": [{"type": "spread", "field": "x"}]})),
            "InvalidParameterException",
            "field",
        ),
        (
            "CreateService",
            service(json!({"placementConstraints": [{"type": "memberOf", "expression": "("}]})),
            "InvalidParameterException",
            "Invalid expression",
        ),
        (
            "CreateService",
            service(json!({"loadBalancers": balancer("api", 3000)})),
            "InvalidParameterException",
            "target group",
        ),
        (
            "UpdateService",
            json!({"cluster": "demo", "service": "none"}),
            "ServiceNotFoundException",
            "Service not found.",
        ),
        (
            "UpdateService",
            json!({"cluster": "demo", "service": "api", "taskDefinition": "none"}),
            "ClientException",
            "TaskDefinition not found.",
        ),
        (
            "DeleteService",
            json!({"cluster": "demo", "service": "none"}),
            "ServiceNotFoundException",
            "Service not found.",
        ),
        (
            "DescribeServices",
            json!({"cluster": "demo", "services": []}),
            "InvalidParameterException",
            "Services cannot be empty.",
        ),
        ("ListServices", json!({"cluster": "demo", "maxResults": 0}), "InvalidParameterException", "maxResults"),
        ("ListServices", json!({"cluster": "demo", "nextToken": "x"}), "InvalidParameterException", "Invalid token"),
        (
            "ListTasks",
            json!({"cluster": "demo", "serviceName": "none"}),
            "ServiceNotFoundException",
            "Service not found.",
        ),
        (
            "DescribeTasks",
            json!({"cluster": "demo", "tasks": []}),
            "InvalidParameterException",
            "Tasks cannot be empty.",
        ),
        (
            "StopTask",
            json!({"cluster": "demo", "task": "none"}),
            "InvalidParameterException",
            "The referenced task was not found.",
        ),
        (
            "RunTask",
            json!({"cluster": "demo", "taskDefinition": "api", "count": 11}),
            "InvalidParameterException",
            "between 1 and 10",
        ),
        (
            "RunTask",
            json!({"cluster": "demo", "taskDefinition": "api", "overrides": {"containerOverrides": [{"name": "x"}]}}),
            "InvalidParameterException",
            "Override for container named x is not a container in the TaskDefinition.",
        ),
        (
            "RunTask",
            json!({"cluster": "demo", "taskDefinition": "api", "group": "service:x"}),
            "InvalidParameterException",
            "reserved",
        ),
        (
            "UpdateContainerInstancesState",
            json!({"cluster": "demo", "containerInstances": ["x"], "status": "BUSY"}),
            "InvalidParameterException",
            "ACTIVE or DRAINING",
        ),
        (
            "ListContainerInstances",
            json!({"cluster": "demo", "filter": "x =="}),
            "InvalidParameterException",
            "Invalid expression",
        ),
        (
            "DescribeContainerInstances",
            json!({"cluster": "demo", "containerInstances": []}),
            "InvalidParameterException",
            "cannot be empty",
        ),
        (
            "DeregisterContainerInstance",
            json!({"cluster": "demo", "containerInstance": "x"}),
            "ClientException",
            "not found",
        ),
        ("TagResource", json!({"resourceArn": "x", "tags": []}), "InvalidParameterException", "invalid"),
        (
            "TagResource",
            json!({"resourceArn": "arn:aws:ecs:us-east-1:000000000000:cluster/none", "tags": [{"key": "a", "value": "b"}]}),
            "ResourceNotFoundException",
            "not found",
        ),
        (
            "PutAccountSetting",
            json!({"name": "containerInsights", "value": "enabled"}),
            "InvalidParameterException",
            "disabled",
        ),
        ("DeleteTaskDefinitions", json!({"taskDefinitions": []}), "InvalidParameterException", "1 to 10"),
    ];
    for (name, input, code, words) in cases {
        let error = refused(&stage, name, input.clone());
        assert_eq!((error.code.as_str(), error.status), (code, 400), "{name} {input}: {}", error.message);
        assert!(error.message.contains(words), "{name} {input}: {}", error.message);
    }
    assert_eq!(stage.world.platform.store.changed.level(), level, "nothing was changed");
}

#[test]
fn what_is_missing_is_a_failure_where_many_are_asked_for() {
    let stage = Stage::new();
    let output = stage.world.call::<aws::op::DescribeClusters>(aws::DescribeClustersRequest {
        clusters: Some(vec!["demo".into(), "none".into()]),
        ..Default::default()
    });
    let output = output.unwrap();
    assert_eq!(output.clusters.unwrap()[0].registered_container_instances_count, Some(2));
    let failure = &output.failures.unwrap()[0];
    assert_eq!(failure.arn.as_deref(), Some("arn:aws:ecs:us-east-1:000000000000:cluster/none"));
    assert_eq!(failure.reason.as_deref(), Some("MISSING"));
}

#[test]
fn task_definitions_are_numbered_deregistered_and_deleted() {
    let stage = Stage::new();
    let (one, two) = (stage.define("api:v1"), stage.define("api:v2"));
    assert!(one.ends_with("task-definition/api:1") && two.ends_with("task-definition/api:2"));
    let not_yet = aws::DeleteTaskDefinitionsRequest { task_definitions: Some(vec![two.clone()]) };
    let output = stage.world.call::<aws::op::DeleteTaskDefinitions>(not_yet.clone()).unwrap();
    assert_eq!(output.failures.unwrap().len(), 1);
    let input = aws::DeregisterTaskDefinitionRequest { task_definition: Some(two.clone()) };
    let output = stage.world.call::<aws::op::DeregisterTaskDefinition>(input).unwrap();
    assert_eq!(output.task_definition.unwrap().status.as_deref(), Some("INACTIVE"));
    let input = aws::DescribeTaskDefinitionRequest { task_definition: Some("api".into()), include: None };
    let latest = stage.world.call::<aws::op::DescribeTaskDefinition>(input).unwrap();
    assert_eq!(latest.task_definition.unwrap().revision, Some(1));
    let output = stage.world.call::<aws::op::DeleteTaskDefinitions>(not_yet).unwrap();
    assert_eq!(output.task_definitions.unwrap()[0].status.as_deref(), Some("DELETE_IN_PROGRESS"));
    // Numbers are not used again.
    assert!(stage.define("api:v1").ends_with("task-definition/api:3"));
    let families = stage.world.call::<aws::op::ListTaskDefinitionFamilies>(Default::default()).unwrap();
    assert_eq!(families.families, Some(vec!["api".into()]));
}
