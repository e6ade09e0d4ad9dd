"""ECS."""

import json

from clients import scenarios
from identity import TASKS

STEPS, step = scenarios()
CONTAINER = {"name": "web", "image": "nothing-here:v1", "memory": 64, "portMappings": [{"containerPort": 80}]}


@step("clusters and their settings")
def _(aws):
    ecs = aws.ecs
    arn = ecs.CreateCluster(clusterName="suite", tags=[{"key": "a", "value": "1"}])["cluster"]["clusterArn"]
    assert arn in ecs.ListClusters()["clusterArns"]
    ecs.UpdateCluster(cluster="suite", settings=[{"name": "containerInsights", "value": "disabled"}])
    ecs.UpdateClusterSettings(cluster="suite", settings=[{"name": "containerInsights", "value": "disabled"}])
    ecs.PutClusterCapacityProviders(cluster="suite", capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[
        {"capacityProvider": "FARGATE", "weight": 1}])
    found = ecs.DescribeClusters(clusters=["suite"], include=["SETTINGS", "TAGS"])["clusters"][0]
    assert found["capacityProviders"] == ["FARGATE"] and found["tags"], found
    assert {p["name"] for p in ecs.DescribeCapacityProviders()["capacityProviders"]} >= {"FARGATE", "FARGATE_SPOT"}
    ecs.TagResource(resourceArn=arn, tags=[{"key": "b", "value": "2"}])
    ecs.UntagResource(resourceArn=arn, tagKeys=["a"])
    assert ecs.ListTagsForResource(resourceArn=arn)["tags"] == [{"key": "b", "value": "2"}]
    assert ecs.ListContainerInstances(cluster="suite")["containerInstanceArns"] == []
    assert ecs.DeleteCluster(cluster="suite")["cluster"]["status"] == "INACTIVE"
    aws.refused("ClusterNotFoundException", ecs.ListTasks, cluster="never-made")


@step("account settings")
def _(aws):
    ecs = aws.ecs
    ecs.PutAccountSettingDefault(name="containerInsights", value="disabled")
    ecs.PutAccountSetting(name="containerInsights", value="disabled")
    settings = ecs.ListAccountSettings(name="containerInsights", effectiveSettings=True)["settings"]
    assert settings[0]["value"] == "disabled", settings
    ecs.DeleteAccountSetting(name="containerInsights")


@step("task definitions")
def _(aws):
    ecs = aws.ecs
    for _ in range(2):
        ecs.RegisterTaskDefinition(family="suite", containerDefinitions=[CONTAINER])
    found = ecs.DescribeTaskDefinition(taskDefinition="suite")["taskDefinition"]
    assert found["revision"] == 2 and found["containerDefinitions"][0]["name"] == "web", found
    assert "suite" in ecs.ListTaskDefinitionFamilies(familyPrefix="su")["families"]
    assert len(ecs.ListTaskDefinitions(familyPrefix="suite")["taskDefinitionArns"]) == 2
    gone = ecs.DeregisterTaskDefinition(taskDefinition="suite:1")["taskDefinition"]
    assert gone["status"] == "INACTIVE", gone
    deleted = ecs.DeleteTaskDefinitions(taskDefinitions=["suite:1"])
    assert not deleted.get("failures"), deleted
    aws.refused("ClientException", ecs.DescribeTaskDefinition, taskDefinition="suite:99")


@step("a service whose image is nowhere, and its tasks")
def _(aws):
    ecs, account = aws.ecs, aws.sts.GetCallerIdentity()["Account"]
    ecs.CreateCluster(clusterName="services")
    role = aws.iam.CreateRole(RoleName="execution", AssumeRolePolicyDocument=TASKS)["Role"]["Arn"]
    assert account in role, role
    ecs.RegisterTaskDefinition(family="served", containerDefinitions=[CONTAINER], requiresCompatibilities=["FARGATE"],
                               networkMode="awsvpc", cpu="256", memory="512", executionRoleArn=role)
    vpc = aws.ec2.CreateVpc(CidrBlock="10.75.0.0/16")["Vpc"]["VpcId"]
    subnet = aws.ec2.CreateSubnet(VpcId=vpc, CidrBlock="10.75.1.0/24")["Subnet"]["SubnetId"]
    network = {"awsvpcConfiguration": {"subnets": [subnet]}}
    ecs.CreateService(cluster="services", serviceName="a", taskDefinition="served", desiredCount=0,
                      launchType="FARGATE", networkConfiguration=network)
    aws.wait("ecs", "services_stable", cluster="services", services=["a"])
    found = ecs.UpdateService(cluster="services", service="a", desiredCount=1)["service"]
    assert found["desiredCount"] == 1, found
    assert ecs.DescribeServices(cluster="services", services=["a"])["services"][0]["status"] == "ACTIVE"
    assert len(ecs.ListServices(cluster="services")["serviceArns"]) == 1
    aws.refused("NamespaceNotFoundException", ecs.ListServicesByNamespace, namespace="never-made")
    ecs.UpdateService(cluster="services", service="a", desiredCount=0)
    ecs.UpdateService(cluster="services", service="a", forceNewDeployment=True)
    listed = ecs.ListServiceDeployments(cluster="services", service="a")["serviceDeployments"]
    assert len(listed) == 2, listed
    arns = [one["serviceDeploymentArn"] for one in listed]
    found = ecs.DescribeServiceDeployments(serviceDeploymentArns=arns)["serviceDeployments"]
    assert found[1]["status"] in ("SUCCESSFUL", "STOPPED"), found
    assert found[0]["createdAt"] >= found[1]["createdAt"], found
    arn = found[0]["targetServiceRevision"]["arn"]
    revision = ecs.DescribeServiceRevisions(serviceRevisionArns=[arn])["serviceRevisions"][0]
    assert revision["taskDefinition"].endswith("/served:1") and revision["launchType"] == "FARGATE", revision
    ecs.UpdateService(cluster="services", service="a", desiredCount=1, forceNewDeployment=True)
    newest = ecs.ListServiceDeployments(cluster="services", service="a", maxResults=1)["serviceDeployments"][0]
    assert newest["status"] in ("PENDING", "IN_PROGRESS"), newest
    ecs.StopServiceDeployment(serviceDeploymentArn=newest["serviceDeploymentArn"], stopType="ROLLBACK")
    aws.refused("ConflictException", ecs.StopServiceDeployment, serviceDeploymentArn=arns[1])
    ecs.UpdateService(cluster="services", service="a", desiredCount=0)
    run = ecs.RunTask(cluster="services", taskDefinition="served", launchType="FARGATE", networkConfiguration=network)
    task = run["tasks"][0]["taskArn"]
    ecs.ListTasks(cluster="services", family="served")
    alone = ecs.UpdateTaskProtection(cluster="services", tasks=[task], protectionEnabled=True)["failures"]
    assert [failure["reason"] for failure in alone] == ["TASK_NOT_VALID"], alone
    assert ecs.GetTaskProtection(cluster="services", tasks=[task])["protectedTasks"] == []
    ecs.StopTask(cluster="services", task=task, reason="enough")
    aws.wait("ecs", "tasks_stopped", cluster="services", tasks=[task])
    stopped = ecs.DescribeTasks(cluster="services", tasks=[task])["tasks"][0]
    assert stopped["lastStatus"] == "STOPPED" and stopped["stoppedReason"], stopped
    ecs.DeleteService(cluster="services", service="a", force=True)
    aws.wait("ecs", "services_inactive", cluster="services", services=["a"])
    aws.iam.DeleteRole(RoleName="execution")
    ecs.DeleteCluster(cluster="services")


@step("container definitions with numbers as text are refused as AWS does")
def _(aws):
    definition = [{**CONTAINER, "image": ""}]
    error = aws.refused("ClientException", aws.ecs.RegisterTaskDefinition, family="bad", containerDefinitions=definition)
    assert "image" in str(error).lower(), json.dumps(str(error))
