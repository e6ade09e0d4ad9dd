"""EC2: what Quarry serves of it."""

from clients import scenarios

STEPS, step = scenarios()


def new_vpc(ec2, block):
    return ec2.CreateVpc(CidrBlock=block)["Vpc"]["VpcId"]


@step("a VPC, its subnets and attributes")
def _(aws):
    ec2 = aws.ec2
    vpc = new_vpc(ec2, "10.70.0.0/16")
    assert ec2.DescribeVpcs(VpcIds=[vpc])["Vpcs"][0]["CidrBlock"] == "10.70.0.0/16"
    ec2.ModifyVpcAttribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert ec2.DescribeVpcAttribute(VpcId=vpc, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"] is True
    zone = ec2.DescribeAvailabilityZones()["AvailabilityZones"][0]["ZoneName"]
    subnet = ec2.CreateSubnet(VpcId=vpc, CidrBlock="10.70.1.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
    ec2.ModifySubnetAttribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    found = ec2.DescribeSubnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    assert [(s["SubnetId"], s["MapPublicIpOnLaunch"]) for s in found] == [(subnet, True)], found
    assert any(r["RegionName"] == zone[:-1] for r in ec2.DescribeRegions()["Regions"])
    ec2.DescribeAccountAttributes()
    ec2.DescribeDhcpOptions()
    assert ec2.DescribeNetworkAcls(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"][0]["IsDefault"] is True
    ec2.DescribeNetworkInterfaces(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    aws.refused("DependencyViolation", ec2.DeleteVpc, VpcId=vpc)
    ec2.DeleteSubnet(SubnetId=subnet)
    ec2.DeleteVpc(VpcId=vpc)
    aws.refused("InvalidVpcID.NotFound", ec2.DescribeVpcs, VpcIds=[vpc])


@step("tags")
def _(aws):
    ec2 = aws.ec2
    vpc = new_vpc(ec2, "10.71.0.0/16")
    ec2.CreateTags(Resources=[vpc], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    ec2.DeleteTags(Resources=[vpc], Tags=[{"Key": "b"}])
    tags = ec2.DescribeTags(Filters=[{"Name": "resource-id", "Values": [vpc]}])["Tags"]
    assert [(t["Key"], t["Value"]) for t in tags] == [("a", "1")], tags
    ec2.DeleteVpc(VpcId=vpc)


@step("gateways and routes")
def _(aws):
    ec2 = aws.ec2
    vpc = new_vpc(ec2, "10.72.0.0/16")
    subnet = ec2.CreateSubnet(VpcId=vpc, CidrBlock="10.72.1.0/24")["Subnet"]["SubnetId"]
    gateway = ec2.CreateInternetGateway()["InternetGateway"]["InternetGatewayId"]
    ec2.AttachInternetGateway(InternetGatewayId=gateway, VpcId=vpc)
    found = ec2.DescribeInternetGateways(InternetGatewayIds=[gateway])["InternetGateways"]
    assert found[0]["Attachments"][0]["VpcId"] == vpc, found
    table = ec2.CreateRouteTable(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.CreateRoute(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    association = ec2.AssociateRouteTable(RouteTableId=table, SubnetId=subnet)["AssociationId"]
    address = ec2.AllocateAddress(Domain="vpc")["AllocationId"]
    nat = ec2.CreateNatGateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
    aws.wait("ec2", "nat_gateway_available", NatGatewayIds=[nat])
    assert ec2.DescribeNatGateways(NatGatewayIds=[nat])["NatGateways"][0]["State"] == "available"
    ec2.ReplaceRoute(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    routes = ec2.DescribeRouteTables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    assert any(route.get("NatGatewayId") == nat for route in routes), routes
    ec2.DeleteRoute(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    other = ec2.CreateRouteTable(VpcId=vpc)["RouteTable"]["RouteTableId"]
    association = ec2.ReplaceRouteTableAssociation(AssociationId=association, RouteTableId=other)["NewAssociationId"]
    ec2.DisassociateRouteTable(AssociationId=association)
    ec2.DeleteNatGateway(NatGatewayId=nat)
    aws.wait("ec2", "nat_gateway_deleted", NatGatewayIds=[nat])
    ec2.ReleaseAddress(AllocationId=address)
    for each in (table, other):
        ec2.DeleteRouteTable(RouteTableId=each)
    ec2.DetachInternetGateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.DeleteInternetGateway(InternetGatewayId=gateway)
    ec2.DeleteSubnet(SubnetId=subnet)
    ec2.DeleteVpc(VpcId=vpc)


@step("elastic addresses")
def _(aws):
    ec2 = aws.ec2
    address = ec2.AllocateAddress(Domain="vpc")
    found = ec2.DescribeAddresses(AllocationIds=[address["AllocationId"]])["Addresses"]
    assert found[0]["PublicIp"] == address["PublicIp"], found
    ec2.DescribeAddressesAttribute(AllocationIds=[address["AllocationId"]], Attribute="domain-name")
    ec2.ReleaseAddress(AllocationId=address["AllocationId"])
    aws.refused("InvalidAllocationID.NotFound", ec2.DescribeAddresses, AllocationIds=[address["AllocationId"]])


@step("security groups and their rules")
def _(aws):
    ec2 = aws.ec2
    vpc = new_vpc(ec2, "10.73.0.0/16")
    group = ec2.CreateSecurityGroup(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    web = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    rule = ec2.AuthorizeSecurityGroupIngress(GroupId=group, IpPermissions=[web])["SecurityGroupRules"][0]
    ec2.UpdateSecurityGroupRuleDescriptionsIngress(
        GroupId=group, IpPermissions=[{**web, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "everyone"}]}])
    rules = ec2.DescribeSecurityGroupRules(SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])["SecurityGroupRules"]
    assert rules[0]["Description"] == "everyone", rules
    changed = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "CidrIpv4": "10.0.0.0/8"}
    ec2.ModifySecurityGroupRules(GroupId=group, SecurityGroupRules=[
        {"SecurityGroupRuleId": rule["SecurityGroupRuleId"], "SecurityGroupRule": changed}])
    found = ec2.DescribeSecurityGroups(GroupIds=[group])["SecurityGroups"][0]
    assert found["IpPermissions"][0]["FromPort"] == 8080, found
    ec2.RevokeSecurityGroupIngress(GroupId=group, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])
    out = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    ec2.AuthorizeSecurityGroupEgress(GroupId=group, IpPermissions=[out])
    aws.refused("InvalidPermission.Duplicate", ec2.AuthorizeSecurityGroupEgress, GroupId=group, IpPermissions=[out])
    ec2.UpdateSecurityGroupRuleDescriptionsEgress(
        GroupId=group, IpPermissions=[{**out, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "store"}]}])
    ec2.RevokeSecurityGroupEgress(GroupId=group, IpPermissions=[out])
    ec2.DeleteSecurityGroup(GroupId=group)
    ec2.DeleteVpc(VpcId=vpc)


@step("VPC endpoints and prefix lists")
def _(aws):
    ec2 = aws.ec2
    vpc = new_vpc(ec2, "10.74.0.0/16")
    table = ec2.DescribeRouteTables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
    region = ec2.DescribeAvailabilityZones()["AvailabilityZones"][0]["RegionName"]
    service = f"com.amazonaws.{region}.s3"
    made = ec2.CreateVpcEndpoint(VpcId=vpc, ServiceName=service, VpcEndpointType="Gateway")["VpcEndpoint"]
    ec2.ModifyVpcEndpoint(VpcEndpointId=made["VpcEndpointId"], AddRouteTableIds=[table])
    found = ec2.DescribeVpcEndpoints(VpcEndpointIds=[made["VpcEndpointId"]])["VpcEndpoints"]
    assert found[0]["RouteTableIds"] == [table], found
    ec2.DescribePrefixLists()
    ec2.DescribeManagedPrefixLists()
    assert not ec2.DeleteVpcEndpoints(VpcEndpointIds=[made["VpcEndpointId"]]).get("Unsuccessful")
    ec2.DeleteVpc(VpcId=vpc)


@step("launch templates")
def _(aws):
    ec2 = aws.ec2
    image = ec2.DescribeImages(Owners=["amazon"])["Images"][0]["ImageId"]
    data = {"ImageId": image, "InstanceType": "t3.small"}
    made = ec2.CreateLaunchTemplate(LaunchTemplateName="suite", LaunchTemplateData=data)["LaunchTemplate"]
    ec2.CreateLaunchTemplateVersion(LaunchTemplateId=made["LaunchTemplateId"], SourceVersion="1",
                                    LaunchTemplateData={"InstanceType": "t3.large"})
    ec2.ModifyLaunchTemplate(LaunchTemplateId=made["LaunchTemplateId"], DefaultVersion="2")
    found = ec2.DescribeLaunchTemplates(LaunchTemplateNames=["suite"])["LaunchTemplates"][0]
    assert (found["DefaultVersionNumber"], found["LatestVersionNumber"]) == (2, 2), found
    versions = ec2.DescribeLaunchTemplateVersions(LaunchTemplateName="suite", Versions=["$Latest"])
    assert versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["ImageId"] == image, versions
    deleted = ec2.DeleteLaunchTemplateVersions(LaunchTemplateName="suite", Versions=["1"])
    assert len(deleted["SuccessfullyDeletedLaunchTemplateVersions"]) == 1, deleted
    ec2.DeleteLaunchTemplate(LaunchTemplateName="suite")
    ec2.DescribeKeyPairs()
