"""Elastic Load Balancing v2."""

from clients import scenarios

STEPS, step = scenarios()


def site(aws, block):
    """A VPC and two subnets of different zones."""
    ec2 = aws.ec2
    vpc = ec2.CreateVpc(CidrBlock=f"{block}.0.0/16")["Vpc"]["VpcId"]
    zones = [z["ZoneName"] for z in ec2.DescribeAvailabilityZones()["AvailabilityZones"]][:2]
    subnets = [ec2.CreateSubnet(VpcId=vpc, CidrBlock=f"{block}.{i}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
               for i, zone in enumerate(zones)]
    return vpc, subnets


def fixed(status):
    return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": str(status), "ContentType": "text/plain"}}


@step("a load balancer and its attributes")
def _(aws):
    elb = aws.elbv2
    vpc, subnets = site(aws, "10.80")
    made = elb.CreateLoadBalancer(Name="suite", Subnets=subnets, Tags=[{"Key": "a", "Value": "1"}])["LoadBalancers"][0]
    arn = made["LoadBalancerArn"]
    aws.wait("elbv2", "load_balancer_available", LoadBalancerArns=[arn])
    assert elb.DescribeLoadBalancers(Names=["suite"])["LoadBalancers"][0]["State"]["Code"] == "active"
    elb.ModifyLoadBalancerAttributes(LoadBalancerArn=arn, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "30"}])
    attributes = {a["Key"]: a["Value"] for a in elb.DescribeLoadBalancerAttributes(LoadBalancerArn=arn)["Attributes"]}
    assert attributes["idle_timeout.timeout_seconds"] == "30", attributes
    group = aws.ec2.CreateSecurityGroup(GroupName="balancer", Description="balancer", VpcId=vpc)["GroupId"]
    assert elb.SetSecurityGroups(LoadBalancerArn=arn, SecurityGroups=[group])["SecurityGroupIds"] == [group]
    elb.SetSubnets(LoadBalancerArn=arn, Subnets=subnets)
    assert elb.SetIpAddressType(LoadBalancerArn=arn, IpAddressType="ipv4")["IpAddressType"] == "ipv4"
    elb.DescribeCapacityReservation(LoadBalancerArn=arn)
    elb.AddTags(ResourceArns=[arn], Tags=[{"Key": "b", "Value": "2"}])
    elb.RemoveTags(ResourceArns=[arn], TagKeys=["a"])
    assert elb.DescribeTags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"] == [{"Key": "b", "Value": "2"}]
    assert elb.DescribeAccountLimits()["Limits"] and elb.DescribeSSLPolicies()["SslPolicies"]
    elb.DeleteLoadBalancer(LoadBalancerArn=arn)
    aws.wait("elbv2", "load_balancers_deleted", LoadBalancerArns=[arn])
    aws.refused("LoadBalancerNotFound", elb.DescribeLoadBalancers, Names=["suite"])


@step("target groups and targets")
def _(aws):
    elb = aws.elbv2
    vpc, _ = site(aws, "10.81")
    arn = elb.CreateTargetGroup(Name="suite", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip",
                                HealthCheckIntervalSeconds=6, HealthCheckTimeoutSeconds=5, HealthyThresholdCount=2,
                                UnhealthyThresholdCount=2)["TargetGroups"][0]["TargetGroupArn"]
    elb.ModifyTargetGroup(TargetGroupArn=arn, HealthCheckPath="/health")
    assert elb.DescribeTargetGroups(Names=["suite"])["TargetGroups"][0]["HealthCheckPath"] == "/health"
    elb.ModifyTargetGroupAttributes(TargetGroupArn=arn, Attributes=[
        {"Key": "deregistration_delay.timeout_seconds", "Value": "5"}])
    attributes = {a["Key"]: a["Value"] for a in elb.DescribeTargetGroupAttributes(TargetGroupArn=arn)["Attributes"]}
    assert attributes["deregistration_delay.timeout_seconds"] == "5", attributes
    target = {"Id": "10.81.0.9", "Port": 80}
    elb.RegisterTargets(TargetGroupArn=arn, Targets=[target])
    health = elb.DescribeTargetHealth(TargetGroupArn=arn)["TargetHealthDescriptions"][0]
    # No load balancer uses the group yet.
    assert health["TargetHealth"]["State"] == "unused", health
    elb.DeregisterTargets(TargetGroupArn=arn, Targets=[target])
    elb.DeleteTargetGroup(TargetGroupArn=arn)
    aws.refused("TargetGroupNotFound", elb.DescribeTargetGroups, Names=["suite"])


@step("listeners and rules")
def _(aws):
    elb = aws.elbv2
    vpc, subnets = site(aws, "10.82")
    balancer = elb.CreateLoadBalancer(Name="rules", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    group = elb.CreateTargetGroup(Name="rules", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
    listener = elb.CreateListener(LoadBalancerArn=balancer, Protocol="HTTP", Port=8081, DefaultActions=[
        {"Type": "forward", "TargetGroupArn": group}])["Listeners"][0]["ListenerArn"]
    aws.refused("ResourceInUse", elb.DeleteTargetGroup, TargetGroupArn=group)
    elb.ModifyListener(ListenerArn=listener, DefaultActions=[fixed(503)])
    found = elb.DescribeListeners(LoadBalancerArn=balancer)["Listeners"][0]
    assert found["DefaultActions"][0]["Type"] == "fixed-response", found
    elb.ModifyListenerAttributes(ListenerArn=listener, Attributes=[
        {"Key": "routing.http.response.server.enabled", "Value": "true"}])
    assert elb.DescribeListenerAttributes(ListenerArn=listener)["Attributes"]
    path = [{"Field": "path-pattern", "Values": ["/api/*"]}]
    rule = elb.CreateRule(ListenerArn=listener, Priority=10, Conditions=path, Actions=[fixed(200)])["Rules"][0]["RuleArn"]
    aws.refused("PriorityInUse", elb.CreateRule, ListenerArn=listener, Priority=10, Conditions=path, Actions=[fixed(200)])
    elb.ModifyRule(RuleArn=rule, Actions=[{"Type": "forward", "TargetGroupArn": group}])
    elb.SetRulePriorities(RulePriorities=[{"RuleArn": rule, "Priority": 20}])
    assert [r["Priority"] for r in elb.DescribeRules(ListenerArn=listener)["Rules"]] == ["20", "default"]
    elb.DeleteRule(RuleArn=rule)
    elb.DeleteListener(ListenerArn=listener)
    elb.DeleteLoadBalancer(LoadBalancerArn=balancer)
    elb.DeleteTargetGroup(TargetGroupArn=group)


@step("certificates of an HTTPS listener")
def _(aws):
    elb = aws.elbv2
    _, subnets = site(aws, "10.83")
    first, second = (aws.acm.RequestCertificate(DomainName=f"{name}.example.com")["CertificateArn"] for name in "ab")
    for arn in (first, second):
        aws.wait("acm", "certificate_validated", CertificateArn=arn)
    balancer = elb.CreateLoadBalancer(Name="secure", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    listener = elb.CreateListener(LoadBalancerArn=balancer, Protocol="HTTPS", Port=8444, DefaultActions=[fixed(200)],
                                  Certificates=[{"CertificateArn": first}])["Listeners"][0]["ListenerArn"]
    elb.AddListenerCertificates(ListenerArn=listener, Certificates=[{"CertificateArn": second}])
    found = elb.DescribeListenerCertificates(ListenerArn=listener)["Certificates"]
    assert {c["CertificateArn"] for c in found} == {first, second}, found
    elb.RemoveListenerCertificates(ListenerArn=listener, Certificates=[{"CertificateArn": second}])
    aws.refused("ResourceInUseException", aws.acm.DeleteCertificate, CertificateArn=first)
    elb.DeleteListener(ListenerArn=listener)
    elb.DeleteLoadBalancer(LoadBalancerArn=balancer)
    for arn in (first, second):
        aws.acm.DeleteCertificate(CertificateArn=arn)
