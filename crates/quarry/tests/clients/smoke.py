"""A program of somebody who knows AWS and not Quarry: waiters, paginators, exceptions."""

import sys

import boto3
from botocore.exceptions import ClientError, WaiterError

CLUSTER = "BreakTheMonolith-Demo"
SOON = {"Delay": 1, "MaxAttempts": 60}

cloudformation = boto3.client("cloudformation")
ecs = boto3.client("ecs")
elb = boto3.client("elbv2")
logs = boto3.client("logs")


def everything(client, operation, key, **arguments):
    """All items, one per page, and how many pages there were."""
    pages = list(client.get_paginator(operation).paginate(PaginationConfig={"PageSize": 1}, **arguments))
    return [item for page in pages for item in page[key]], len(pages)


def register(command=None):
    container = {
        "name": "api",
        "image": f"{account()}.dkr.ecr.{ecs.meta.region_name}.amazonaws.com/api:v1",
        "cpu": 64,
        "memoryReservation": 64,
        # The first process of a container has no default action for SIGTERM.
        "stopTimeout": 2,
        "portMappings": [{"containerPort": 3000, "hostPort": 0}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": f"ECSLogGroup-{CLUSTER}", "awslogs-stream-prefix": "smoke"},
        },
    }
    if command:
        container["command"] = command
    return ecs.register_task_definition(family="api", containerDefinitions=[container])["taskDefinition"]


def said(pattern):
    """Lines of the tasks' log. All of a stopped task's are in it."""
    group = f"ECSLogGroup-{CLUSTER}"
    return everything(logs, "filter_log_events", "events", logGroupName=group, filterPattern=pattern)[0]


def account():
    return boto3.client("sts").get_caller_identity()["Account"]


def start():
    with open("deploy/cloudformation/ecs.yml") as template:
        cloudformation.create_stack(
            StackName=CLUSTER, TemplateBody=template.read(), Capabilities=["CAPABILITY_IAM"]
        )
    cloudformation.get_waiter("stack_create_complete").wait(StackName=CLUSTER, WaiterConfig=SOON)
    outputs = {o["OutputKey"]: o["OutputValue"] for o in boto3.resource("cloudformation").Stack(CLUSTER).outputs}
    balancer = outputs["ALBArn"]
    elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[balancer], WaiterConfig=SOON)

    group = elb.create_target_group(
        Name="api", Protocol="HTTP", Port=80, VpcId=outputs["VPCId"], HealthyThresholdCount=2,
        HealthCheckTimeoutSeconds=2, HealthCheckIntervalSeconds=5,
    )["TargetGroups"][0]["TargetGroupArn"]
    # A group without a load balancer is not probed.
    assert elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"] == []
    elb.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
    )
    elb.create_listener(
        LoadBalancerArn=balancer, Protocol="HTTP", Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    definitions = [register()["taskDefinitionArn"] for _ in range(3)]
    listed, pages = everything(ecs, "list_task_definitions", "taskDefinitionArns", familyPrefix="api")
    assert listed == definitions and pages >= 3, (listed, pages)

    service = ecs.create_service(
        cluster=CLUSTER, serviceName="api", taskDefinition="api", desiredCount=2, role=outputs["ECSRole"],
        loadBalancers=[{"targetGroupArn": group, "containerName": "api", "containerPort": 3000}],
    )["service"]
    assert service["taskDefinition"] == definitions[2], service
    ecs.get_waiter("services_stable").wait(cluster=CLUSTER, services=["api"], WaiterConfig=SOON)
    elb.get_waiter("target_in_service").wait(TargetGroupArn=group, WaiterConfig=SOON)
    health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert [h["TargetHealth"] for h in health] == [{"State": "healthy"}] * 2, health
    # Dynamic ports, of the container instances that the tasks are on.
    tasks, pages = everything(ecs, "list_tasks", "taskArns", cluster=CLUSTER, serviceName="api")
    assert len(tasks) == 2 and pages >= 2, (tasks, pages)
    described = ecs.describe_tasks(cluster=CLUSTER, tasks=tasks)["tasks"]
    bound = {b["hostPort"] for t in described for c in t["containers"] for b in c["networkBindings"]}
    assert bound == {h["Target"]["Port"] for h in health} and len(bound) == 2, (bound, health)
    instances = ecs.describe_container_instances(
        cluster=CLUSTER, containerInstances=[t["containerInstanceArn"] for t in described]
    )["containerInstances"]
    assert {i["ec2InstanceId"] for i in instances} == {h["Target"]["Id"] for h in health}

    # Tasks that end by themselves at once, and their last words.
    started = ecs.run_task(
        cluster=CLUSTER, taskDefinition="api", count=8,
        overrides={"containerOverrides": [{"name": "api", "command": ["7"]}]},
    )
    assert started["failures"] == [], started
    run = [task["taskArn"] for task in started["tasks"]]
    ecs.get_waiter("tasks_stopped").wait(cluster=CLUSTER, tasks=run, WaiterConfig=SOON)
    for task in ecs.describe_tasks(cluster=CLUSTER, tasks=run)["tasks"]:
        assert task["containers"][0]["exitCode"] == 7 and task["stopCode"] == "EssentialContainerExited", task
    events = said('"ends with"')
    assert [e["message"] for e in events] == ["ends with 7"] * 8, (events, said(""))
    assert {e["logStreamName"] for e in events} == {f"smoke/api/{arn.split('/')[-1]}" for arn in run}, events

    # Rolled over to new tasks.
    ecs.update_service(cluster=CLUSTER, service="api", forceNewDeployment=True)
    ecs.get_waiter("services_stable").wait(cluster=CLUSTER, services=["api"], WaiterConfig=SOON)
    after = ecs.list_tasks(cluster=CLUSTER, serviceName="api")["taskArns"]
    assert len(after) == 2 and not set(after) & set(tasks), (after, tasks)
    elb.get_waiter("target_in_service").wait(TargetGroupArn=group, WaiterConfig=SOON)
    caught(group)


def caught(group):
    """Exceptions by their names."""
    try:
        ecs.describe_services(cluster="nobody", services=["api"])
        raise AssertionError("a cluster that is not there")
    except ecs.exceptions.ClusterNotFoundException as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response
    try:
        elb.delete_target_group(TargetGroupArn=group)
        raise AssertionError("a target group in use")
    except elb.exceptions.ResourceInUseException:
        pass
    try:
        elb.describe_target_groups(Names=["nobody"])
        raise AssertionError("a target group that is not there")
    except elb.exceptions.TargetGroupNotFoundException:
        pass
    ecr = boto3.client("ecr")
    try:
        ecr.describe_repositories(repositoryNames=["nobody"])
        raise AssertionError("a repository that is not there")
    except ecr.exceptions.RepositoryNotFoundException:
        pass
    iam = boto3.client("iam")
    try:
        iam.get_role(RoleName="nobody")
        raise AssertionError("a role that is not there")
    except iam.exceptions.NoSuchEntityException as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404, error.response
    try:
        cloudformation.describe_stacks(StackName="nobody")
        raise AssertionError("a stack that is not there")
    except ClientError as error:
        assert error.response["Error"] == {
            "Type": "Sender", "Code": "ValidationError", "Message": "Stack with id nobody does not exist",
        }, error.response
    try:
        ecs.get_waiter("services_stable").wait(cluster=CLUSTER, services=["nobody"], WaiterConfig=SOON)
        raise AssertionError("a service that is not there is stable")
    except WaiterError as error:
        assert "MISSING" in str(error), error


def end():
    group = elb.describe_target_groups(Names=["api"])["TargetGroups"][0]
    roles, pages = everything(boto3.client("iam"), "list_roles", "Roles")
    assert len(roles) >= 3 and pages >= 3, (roles, pages)
    events = cloudformation.get_paginator("describe_stack_events").paginate(StackName=CLUSTER)
    assert len([e for page in events for e in page["StackEvents"]]) > 40

    health = elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    targets = [{"Id": h["Target"]["Id"], "Port": h["Target"]["Port"]} for h in health]
    assert len(targets) == 2, targets
    ecs.delete_service(cluster=CLUSTER, service="api", force=True)
    ecs.get_waiter("services_inactive").wait(cluster=CLUSTER, services=["api"], WaiterConfig=SOON)
    elb.get_waiter("target_deregistered").wait(
        TargetGroupArn=group["TargetGroupArn"], Targets=targets, WaiterConfig=SOON
    )
    cloudformation.delete_stack(StackName=CLUSTER)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=CLUSTER, WaiterConfig=SOON)
    # The group is not of the stack, and free now.
    elb.delete_target_group(TargetGroupArn=group["TargetGroupArn"])
    assert elb.describe_target_groups()["TargetGroups"] == []
    assert ecs.list_clusters()["clusterArns"] == []


{"start": start, "end": end}[sys.argv[1]]()
