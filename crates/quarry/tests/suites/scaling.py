"""Auto Scaling groups and Application Auto Scaling."""

import time

from clients import scenarios
from identity import trust

STEPS, step = scenarios()


def until(what, look):
    """Waits until a look gives something true, and returns that."""
    for _ in range(300):
        seen = look()
        if seen:
            return seen
        time.sleep(0.2)
    raise AssertionError(f"waited a minute in vain: {what}")


def place(aws, block):
    ec2 = aws.ec2
    vpc = ec2.CreateVpc(CidrBlock=f"{block}.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.CreateSubnet(VpcId=vpc, CidrBlock=f"{block}.1.0/24")["Subnet"]["SubnetId"]
    return vpc, subnet, ec2.DescribeImages(Owners=["amazon"])["Images"][0]["ImageId"]


def profile(aws, name):
    """An instance profile as ECS's guides have it; its name."""
    aws.iam.CreateRole(RoleName=name, AssumeRolePolicyDocument=trust(Service="ec2.amazonaws.com"))
    aws.iam.AttachRolePolicy(RoleName=name, PolicyArn=(
        "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"))
    aws.iam.CreateInstanceProfile(InstanceProfileName=name)
    aws.iam.AddRoleToInstanceProfile(InstanceProfileName=name, RoleName=name)
    return name


@step("a group of instances")
def _(aws):
    group = aws.autoscaling
    _, subnet, image = place(aws, "10.95")
    group.CreateLaunchConfiguration(LaunchConfigurationName="suite", ImageId=image, InstanceType="t3.micro")
    assert group.DescribeLaunchConfigurations(LaunchConfigurationNames=["suite"])["LaunchConfigurations"]
    group.CreateAutoScalingGroup(AutoScalingGroupName="suite", LaunchConfigurationName="suite", MinSize=0, MaxSize=3,
                                 DesiredCapacity=1, VPCZoneIdentifier=subnet)

    def instances(count):
        found = group.DescribeAutoScalingGroups(AutoScalingGroupNames=["suite"])["AutoScalingGroups"][0]["Instances"]
        ready = [i["InstanceId"] for i in found if i["LifecycleState"] == "InService"]
        return ready if len(ready) == len(found) == count else None

    (first,) = until("one instance", lambda: instances(1))
    aws.wait("ec2", "instance_running", InstanceIds=[first])
    assert aws.ec2.DescribeInstances(InstanceIds=[first])["Reservations"][0]["Instances"][0]["ImageId"] == image
    aws.ec2.DescribeInstanceStatus(InstanceIds=[first])
    aws.ec2.DescribeInstanceAttribute(InstanceId=first, Attribute="instanceType")
    assert group.DescribeAutoScalingInstances(InstanceIds=[first])["AutoScalingInstances"][0]["HealthStatus"] == "HEALTHY"
    group.UpdateAutoScalingGroup(AutoScalingGroupName="suite", MaxSize=4)
    group.SetDesiredCapacity(AutoScalingGroupName="suite", DesiredCapacity=2)
    until("two instances", lambda: instances(2))
    group.SetInstanceProtection(AutoScalingGroupName="suite", InstanceIds=[first], ProtectedFromScaleIn=True)
    group.SetInstanceProtection(AutoScalingGroupName="suite", InstanceIds=[first], ProtectedFromScaleIn=False)
    group.DetachInstances(AutoScalingGroupName="suite", InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    until("one left", lambda: instances(1))
    group.AttachInstances(AutoScalingGroupName="suite", InstanceIds=[first])
    until("two again", lambda: instances(2))
    group.TerminateInstanceInAutoScalingGroup(InstanceId=first, ShouldDecrementDesiredCapacity=True)
    (second,) = until("the other", lambda: instances(1))
    group.SetInstanceHealth(InstanceId=second, HealthStatus="Unhealthy")
    until("another", lambda: (instances(1) or [second]) != [second])
    assert group.DescribeScalingActivities(AutoScalingGroupName="suite")["Activities"]
    (third,) = instances(1)
    aws.ec2.TerminateInstances(InstanceIds=[third])
    aws.wait("ec2", "instance_terminated", InstanceIds=[third])
    group.DeleteAutoScalingGroup(AutoScalingGroupName="suite", ForceDelete=True)
    until("no group", lambda: not group.DescribeAutoScalingGroups(AutoScalingGroupNames=["suite"])["AutoScalingGroups"])
    group.DeleteLaunchConfiguration(LaunchConfigurationName="suite")
    group.DescribeAccountLimits()


@step("what belongs to a group")
def _(aws):
    group = aws.autoscaling
    vpc, subnet, image = place(aws, "10.96")
    group.CreateLaunchConfiguration(LaunchConfigurationName="parts", ImageId=image, InstanceType="t3.micro")
    group.CreateAutoScalingGroup(AutoScalingGroupName="parts", LaunchConfigurationName="parts", MinSize=0, MaxSize=1,
                                 DesiredCapacity=0, VPCZoneIdentifier=subnet)
    name = {"AutoScalingGroupName": "parts"}
    tag = {"ResourceId": "parts", "ResourceType": "auto-scaling-group", "Key": "a", "Value": "1", "PropagateAtLaunch": True}
    group.CreateOrUpdateTags(Tags=[tag])
    tags = group.DescribeTags(Filters=[{"Name": "auto-scaling-group", "Values": ["parts"]}])["Tags"]
    assert [(t["Key"], t["Value"]) for t in tags] == [("a", "1")], tags
    group.DeleteTags(Tags=[tag])
    group.SuspendProcesses(**name, ScalingProcesses=["AZRebalance"])
    group.ResumeProcesses(**name, ScalingProcesses=["AZRebalance"])
    group.PutScheduledUpdateGroupAction(**name, ScheduledActionName="night", Recurrence="0 22 * * *", DesiredCapacity=0)
    assert group.DescribeScheduledActions(**name)["ScheduledUpdateGroupActions"]
    group.DeleteScheduledAction(**name, ScheduledActionName="night")
    target = aws.elbv2.CreateTargetGroup(Name="parts", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
    group.AttachLoadBalancerTargetGroups(**name, TargetGroupARNs=[target])
    assert group.DescribeLoadBalancerTargetGroups(**name)["LoadBalancerTargetGroups"]
    assert group.DescribeTrafficSources(**name)["TrafficSources"]
    group.DetachLoadBalancerTargetGroups(**name, TargetGroupARNs=[target])
    aws.elbv2.DeleteTargetGroup(TargetGroupArn=target)
    assert not group.DescribeLoadBalancers(**name).get("LoadBalancers")
    assert not group.DescribeNotificationConfigurations(AutoScalingGroupNames=["parts"]).get("NotificationConfigurations")
    assert not group.DescribeWarmPool(**name).get("Instances")
    hook = {**name, "LifecycleHookName": "wait"}
    group.PutLifecycleHook(**hook, LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING", HeartbeatTimeout=300)
    assert group.DescribeLifecycleHooks(**name)["LifecycleHooks"]
    group.SetDesiredCapacity(**name, DesiredCapacity=1)

    def state(wanted):
        found = group.DescribeAutoScalingGroups(AutoScalingGroupNames=["parts"])["AutoScalingGroups"][0]["Instances"]
        return [i["InstanceId"] for i in found if i["LifecycleState"] == wanted]

    (held,) = until("an instance that waits", lambda: state("Pending:Wait"))
    group.RecordLifecycleActionHeartbeat(**hook, InstanceId=held)
    group.CompleteLifecycleAction(**hook, InstanceId=held, LifecycleActionResult="CONTINUE")
    until("the instance in service", lambda: state("InService"))
    group.DeleteLifecycleHook(**hook)
    group.DeleteAutoScalingGroup(**name, ForceDelete=True)
    until("no group", lambda: not group.DescribeAutoScalingGroups(AutoScalingGroupNames=["parts"])["AutoScalingGroups"])
    group.DeleteLaunchConfiguration(LaunchConfigurationName="parts")


@step("instances that join a cluster")
def _(aws):
    ecs = aws.ecs
    _, subnet, image = place(aws, "10.94")
    ecs.CreateCluster(clusterName="joined")
    aws.autoscaling.CreateLaunchConfiguration(
        LaunchConfigurationName="joined", ImageId=image, InstanceType="t3.micro", IamInstanceProfile=profile(aws, "joined"),
        UserData="#!/bin/bash\necho ECS_CLUSTER=joined >> /etc/ecs/ecs.config\n")
    aws.autoscaling.CreateAutoScalingGroup(AutoScalingGroupName="joined", LaunchConfigurationName="joined", MinSize=1,
                                           MaxSize=1, VPCZoneIdentifier=subnet)
    (arn,) = until("a container instance", lambda: ecs.ListContainerInstances(cluster="joined")["containerInstanceArns"])
    found = ecs.DescribeContainerInstances(cluster="joined", containerInstances=[arn])["containerInstances"][0]
    assert found["status"] == "ACTIVE", found
    attribute = {"name": "stack", "value": "a", "targetId": arn}
    assert ecs.PutAttributes(cluster="joined", attributes=[attribute])["attributes"][0]["value"] == "a"
    listed = ecs.ListAttributes(cluster="joined", targetType="container-instance", attributeName="stack")["attributes"]
    assert [one["targetId"] for one in listed] == [arn], listed
    ecs.DeleteAttributes(cluster="joined", attributes=[attribute])
    ecs.RegisterTaskDefinition(family="joined", containerDefinitions=[
        {"name": "web", "image": "nothing-here:v1", "memory": 64}])
    started = ecs.StartTask(cluster="joined", taskDefinition="joined", containerInstances=[arn])["tasks"]
    assert [task["containerInstanceArn"] for task in started] == [arn], started
    aws.wait("ecs", "tasks_stopped", cluster="joined", tasks=[started[0]["taskArn"]])
    policy = aws.autoscaling.PutScalingPolicy(AutoScalingGroupName="joined", PolicyName="out", ScalingAdjustment=1,
                                              AdjustmentType="ChangeInCapacity")["PolicyARN"]
    kept = aws.autoscaling.DescribePolicies(AutoScalingGroupName="joined")["ScalingPolicies"]
    assert [one["PolicyARN"] for one in kept] == [policy], kept
    aws.autoscaling.DeletePolicy(PolicyName=policy)
    address = aws.ec2.AllocateAddress(Domain="vpc")["AllocationId"]
    held = aws.ec2.AssociateAddress(AllocationId=address, InstanceId=found["ec2InstanceId"])["AssociationId"]
    aws.ec2.DisassociateAddress(AssociationId=held)
    aws.ec2.ReleaseAddress(AllocationId=address)
    drained = ecs.UpdateContainerInstancesState(cluster="joined", containerInstances=[arn], status="DRAINING")
    assert drained["containerInstances"][0]["status"] == "DRAINING", drained
    gone = ecs.DeregisterContainerInstance(cluster="joined", containerInstance=arn)["containerInstance"]
    assert gone["status"] == "INACTIVE", gone
    aws.autoscaling.DeleteAutoScalingGroup(AutoScalingGroupName="joined", ForceDelete=True)


@step("capacity providers of a group")
def _(aws):
    _, subnet, image = place(aws, "10.97")
    aws.autoscaling.CreateLaunchConfiguration(LaunchConfigurationName="provider", ImageId=image, InstanceType="t3.micro")
    aws.autoscaling.CreateAutoScalingGroup(AutoScalingGroupName="provider", LaunchConfigurationName="provider", MinSize=0,
                                           MaxSize=1, VPCZoneIdentifier=subnet)
    found = aws.autoscaling.DescribeAutoScalingGroups(AutoScalingGroupNames=["provider"])["AutoScalingGroups"][0]
    of = {"autoScalingGroupArn": found["AutoScalingGroupARN"]}
    made = aws.ecs.CreateCapacityProvider(name="suite", autoScalingGroupProvider={
        **of, "managedScaling": {"status": "DISABLED"}})["capacityProvider"]
    assert made["status"] == "ACTIVE", made
    aws.ecs.UpdateCapacityProvider(name="suite", autoScalingGroupProvider={"managedScaling": {"status": "ENABLED", "targetCapacity": 90}})
    assert aws.ecs.DescribeCapacityProviders(capacityProviders=["suite"])["capacityProviders"][0]["name"] == "suite"
    aws.ecs.DeleteCapacityProvider(capacityProvider="suite")
    aws.autoscaling.DeleteAutoScalingGroup(AutoScalingGroupName="provider", ForceDelete=True)


@step("a service that is scaled")
def _(aws):
    scaling = aws.application_autoscaling
    aws.ecs.CreateCluster(clusterName="scaled")
    aws.ecs.RegisterTaskDefinition(family="scaled", containerDefinitions=[{"name": "a", "image": "nothing-here", "memory": 8}])
    aws.ecs.CreateService(cluster="scaled", serviceName="a", taskDefinition="scaled", desiredCount=0)
    of = {"ServiceNamespace": "ecs", "ResourceId": "service/scaled/a", "ScalableDimension": "ecs:service:DesiredCount"}
    arn = scaling.RegisterScalableTarget(**of, MinCapacity=0, MaxCapacity=4)["ScalableTargetARN"]
    assert scaling.DescribeScalableTargets(ServiceNamespace="ecs")["ScalableTargets"][0]["MaxCapacity"] == 4
    tracking = {"TargetValue": 50.0, "PredefinedMetricSpecification": {
        "PredefinedMetricType": "ECSServiceAverageCPUUtilization"}}
    alarms = scaling.PutScalingPolicy(**of, PolicyName="cpu", PolicyType="TargetTrackingScaling",
                                      TargetTrackingScalingPolicyConfiguration=tracking)["Alarms"]
    assert len(alarms) == 2, alarms
    assert scaling.DescribeScalingPolicies(ServiceNamespace="ecs")["ScalingPolicies"][0]["PolicyName"] == "cpu"
    scaling.PutScheduledAction(**of, ScheduledActionName="night", Schedule="cron(0 22 * * ? *)",
                               ScalableTargetAction={"MinCapacity": 0, "MaxCapacity": 1})
    assert scaling.DescribeScheduledActions(ServiceNamespace="ecs")["ScheduledActions"]
    scaling.DescribeScalingActivities(ServiceNamespace="ecs")
    scaling.TagResource(ResourceARN=arn, Tags={"a": "1"})
    assert scaling.ListTagsForResource(ResourceARN=arn)["Tags"] == {"a": "1"}
    scaling.UntagResource(ResourceARN=arn, TagKeys=["a"])
    scaling.DeleteScheduledAction(**of, ScheduledActionName="night")
    scaling.DeleteScalingPolicy(**of, PolicyName="cpu")
    scaling.DeregisterScalableTarget(**of)
    aws.ecs.DeleteService(cluster="scaled", service="a", force=True)
