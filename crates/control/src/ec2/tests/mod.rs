//! The network of a stack, made and taken down again through the operations.

use super::instance::{self, Launch};
use crate::api::Result;
use crate::testing::World;
use quarry_aws::ec2::op::*;
use quarry_aws::ec2::*;
use std::collections::BTreeSet;

mod gateways;
mod rules;
mod templates;

fn world() -> World {
    World::new(|operations| {
        super::register(operations);
        crate::elbv2::register(operations);
    })
}

fn code<T>(result: Result<T>) -> String {
    result.err().expect("the request is refused").code.to_string()
}

fn vpc(world: &World, cidr: &str) -> String {
    let input = CreateVpcRequest { cidr_block: Some(cidr.into()), ..Default::default() };
    world.call::<CreateVpc>(input).unwrap().vpc.unwrap().vpc_id.unwrap()
}

fn try_subnet(world: &World, vpc: &str, cidr: &str, zone: &str) -> Result<String> {
    let input = CreateSubnetRequest {
        vpc_id: Some(vpc.into()),
        cidr_block: Some(cidr.into()),
        availability_zone: Some(zone.into()),
        ..Default::default()
    };
    Ok(world.call::<CreateSubnet>(input)?.subnet.unwrap().subnet_id.unwrap())
}

fn subnet(world: &World, vpc: &str, cidr: &str) -> String {
    try_subnet(world, vpc, cidr, "us-east-1a").unwrap()
}

fn group(world: &World, vpc: &str, name: &str) -> String {
    let input = CreateSecurityGroupRequest {
        vpc_id: Some(vpc.into()),
        group_name: Some(name.into()),
        description: Some("for a test".into()),
        ..Default::default()
    };
    world.call::<CreateSecurityGroup>(input).unwrap().group_id.unwrap()
}

fn gateway(world: &World) -> String {
    let created = world.call::<CreateInternetGateway>(Default::default()).unwrap();
    created.internet_gateway.unwrap().internet_gateway_id.unwrap()
}

fn attach(world: &World, gateway: &str, vpc: &str) -> Result<()> {
    let input = AttachInternetGatewayRequest {
        internet_gateway_id: Some(gateway.into()),
        vpc_id: Some(vpc.into()),
        ..Default::default()
    };
    world.call::<AttachInternetGateway>(input).map(|_| ())
}

fn filter(name: &str, values: &[&str]) -> Option<Vec<Filter>> {
    let values = values.iter().map(|v| v.to_string()).collect();
    Some(vec![Filter { name: Some(name.into()), values: Some(values) }])
}

fn delete_vpc(world: &World, id: &str) -> Result<()> {
    let input = DeleteVpcRequest { vpc_id: Some(id.into()), ..Default::default() };
    world.call::<DeleteVpc>(input).map(|_| ())
}

fn launch(world: &World, subnet: &str, groups: &[String]) -> String {
    let wanted = || Launch {
        image_id: "ami-0123456789abcdef0",
        instance_type: "t2.micro",
        subnet,
        security_groups: groups,
        profile: None,
        key_name: None,
        user_data: None,
        tags: Vec::new(),
    };
    world.transact(|ctx| instance::launch(ctx, wanted())).unwrap().instance_id.unwrap()
}

#[test]
fn a_vpc_comes_with_its_defaults_and_goes_with_them() {
    let world = world();
    let id = vpc(&world, "10.0.0.0/16");
    let shown = world.call::<DescribeVpcs>(Default::default()).unwrap().vpcs.unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].state.as_deref(), Some("available"));
    assert_eq!(id.len(), "vpc-".len() + 17);

    let in_vpc = filter("vpc-id", &[&id]);
    let input = DescribeRouteTablesRequest { filters: in_vpc.clone(), ..Default::default() };
    let tables = world.call::<DescribeRouteTables>(input).unwrap().route_tables.unwrap();
    assert_eq!(tables.len(), 1);
    assert_eq!(tables[0].associations.as_ref().unwrap()[0].main, Some(true));
    assert_eq!(tables[0].routes.as_ref().unwrap()[0].gateway_id.as_deref(), Some("local"));

    let input = DescribeSecurityGroupsRequest { filters: in_vpc.clone(), ..Default::default() };
    let groups = world.call::<DescribeSecurityGroups>(input).unwrap().security_groups.unwrap();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].group_name.as_deref(), Some("default"));
    let inward = &groups[0].ip_permissions.as_ref().unwrap()[0];
    assert_eq!(inward.user_id_group_pairs.as_ref().unwrap()[0].group_id, groups[0].group_id);
    let input = DeleteSecurityGroupRequest { group_id: groups[0].group_id.clone(), ..Default::default() };
    assert_eq!(code(world.call::<DeleteSecurityGroup>(input)), "CannotDelete");

    let input = DescribeNetworkAclsRequest { filters: in_vpc, ..Default::default() };
    let acls = world.call::<DescribeNetworkAcls>(input).unwrap().network_acls.unwrap();
    assert_eq!(acls.len(), 1);
    assert_eq!(acls[0].is_default, Some(true));

    delete_vpc(&world, &id).unwrap();
    assert_eq!(code(delete_vpc(&world, &id)), "InvalidVpcID.NotFound");
    assert_eq!(world.call::<DescribeRouteTables>(Default::default()).unwrap().route_tables, Some(Vec::new()));
    assert_eq!(world.call::<DescribeSecurityGroups>(Default::default()).unwrap().security_groups, Some(Vec::new()));
}

#[test]
fn a_vpc_s_attributes_are_set_and_shown() {
    let world = world();
    let id = vpc(&world, "10.0.0.0/16");
    let show = |attribute: &str| {
        let input = DescribeVpcAttributeRequest {
            vpc_id: Some(id.clone()),
            attribute: Some(attribute.into()),
            ..Default::default()
        };
        world.call::<DescribeVpcAttribute>(input)
    };
    assert_eq!(show("enableDnsSupport").unwrap().enable_dns_support.unwrap().value, Some(true));
    assert_eq!(show("enableDnsHostnames").unwrap().enable_dns_hostnames.unwrap().value, Some(false));
    let input = ModifyVpcAttributeRequest {
        vpc_id: Some(id.clone()),
        enable_dns_hostnames: Some(AttributeBooleanValue { value: Some(true) }),
        ..Default::default()
    };
    world.call::<ModifyVpcAttribute>(input).unwrap();
    assert_eq!(show("enableDnsHostnames").unwrap().enable_dns_hostnames.unwrap().value, Some(true));
    assert_eq!(code(show("colour")), "InvalidParameterValue");
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    let world = world();
    for (bad, expected) in [("ten", "InvalidParameterValue"), ("10.0.0.0/8", "InvalidVpc.Range")] {
        let input = CreateVpcRequest { cidr_block: Some(bad.into()), ..Default::default() };
        assert_eq!(code(world.call::<CreateVpc>(input)), expected);
    }
    assert_eq!(code(world.call::<CreateVpc>(Default::default())), "MissingParameter");
    let id = vpc(&world, "10.0.0.0/16");
    subnet(&world, &id, "10.0.0.0/24");
    let refused = [
        (id.as_str(), "10.0.0.128/25", "us-east-1b", "InvalidSubnet.Conflict"),
        (&id, "10.1.0.0/24", "us-east-1b", "InvalidSubnet.Range"),
        (&id, "10.0.1.0/30", "us-east-1b", "InvalidSubnet.Range"),
        (&id, "10.0.1.0/24", "us-east-1z", "InvalidParameterValue"),
        ("vpc-none", "10.0.1.0/24", "us-east-1b", "InvalidVpcID.NotFound"),
    ];
    for (vpc, cidr, zone, expected) in refused {
        assert_eq!(code(try_subnet(&world, vpc, cidr, zone)), expected, "{cidr}");
    }
    let shown = world.call::<DescribeSubnets>(Default::default()).unwrap().subnets.unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].available_ip_address_count, Some(251));
}

#[test]
fn what_is_in_use_is_not_deleted() {
    let world = world();
    let id = vpc(&world, "10.0.0.0/16");
    let subnet = subnet(&world, &id, "10.0.1.0/24");
    let group = group(&world, &id, "hosts");
    let instance = launch(&world, &subnet, std::slice::from_ref(&group));
    let delete_subnet =
        || world.call::<DeleteSubnet>(DeleteSubnetRequest { subnet_id: Some(subnet.clone()), ..Default::default() });
    let delete_group = || {
        let input = DeleteSecurityGroupRequest { group_id: Some(group.clone()), ..Default::default() };
        world.call::<DeleteSecurityGroup>(input)
    };
    assert_eq!(code(delete_vpc(&world, &id)), "DependencyViolation");
    assert_eq!(code(delete_subnet()), "DependencyViolation");
    assert_eq!(code(delete_group()), "DependencyViolation");
    let shown = world.call::<DescribeSubnets>(Default::default()).unwrap().subnets.unwrap();
    assert_eq!(shown[0].available_ip_address_count, Some(250));

    world.transact(|ctx| instance::terminate(ctx, &instance)).unwrap();
    delete_subnet().unwrap();
    delete_group().unwrap();
    delete_vpc(&world, &id).unwrap();

    // The terminated instance stays visible for an hour.
    let shown = world.call::<DescribeInstances>(Default::default()).unwrap().reservations.unwrap();
    let state = shown[0].instances.as_ref().unwrap()[0].state.clone().unwrap();
    assert_eq!((state.code, state.name.as_deref()), (Some(48), Some("terminated")));
    world.door.advance(std::time::Duration::from_secs(3601));
    assert_eq!(world.call::<DescribeInstances>(Default::default()).unwrap().reservations, Some(Vec::new()));
}

#[test]
fn instances_have_addresses_of_their_own() {
    let world = world();
    let id = vpc(&world, "10.0.0.0/16");
    let subnet = subnet(&world, &id, "10.0.1.0/28");
    let first = launch(&world, &subnet, &[]);
    let addresses: BTreeSet<_> = (0..10)
        .map(|_| launch(&world, &subnet, &[]))
        .map(|id| {
            let input = DescribeInstancesRequest { instance_ids: Some(vec![id]), ..Default::default() };
            let found = world.call::<DescribeInstances>(input).unwrap().reservations.unwrap();
            found[0].instances.as_ref().unwrap()[0].private_ip_address.clone().unwrap()
        })
        .collect();
    assert_eq!(addresses.len(), 10);
    assert!(!addresses.contains("10.0.1.4"), "the first instance has it");
    // Sixteen addresses less the four lowest and the last leave eleven.
    let full = world.transact(|ctx| {
        let wanted = Launch {
            image_id: "ami-0",
            instance_type: "t2.micro",
            subnet: &subnet,
            security_groups: &[],
            profile: None,
            key_name: None,
            user_data: None,
            tags: Vec::new(),
        };
        instance::launch(ctx, wanted)
    });
    assert_eq!(code(full), "InsufficientFreeAddressesInSubnet");
    world.transact(|ctx| instance::terminate(ctx, &first)).unwrap();
    let again = launch(&world, &subnet, &[]);
    let input = DescribeInstancesRequest { filters: filter("private-ip-address", &["10.0.1.4"]), ..Default::default() };
    let found = world.call::<DescribeInstances>(input).unwrap().reservations.unwrap();
    assert_eq!(found[0].instances.as_ref().unwrap()[0].instance_id, Some(again));
}

#[test]
fn a_gateway_is_attached_to_one_vpc() {
    let world = world();
    let (one, two) = (vpc(&world, "10.0.0.0/16"), vpc(&world, "10.1.0.0/16"));
    let (a, b) = (gateway(&world), gateway(&world));
    attach(&world, &a, &one).unwrap();
    assert_eq!(code(attach(&world, &a, &two)), "Resource.AlreadyAssociated");
    assert_eq!(code(attach(&world, &b, &one)), "InvalidParameterValue");
    assert_eq!(code(attach(&world, "igw-none", &one)), "InvalidInternetGatewayID.NotFound");
    let input = DescribeInternetGatewaysRequest { filters: filter("attachment.vpc-id", &[&one]), ..Default::default() };
    let found = world.call::<DescribeInternetGateways>(input).unwrap().internet_gateways.unwrap();
    assert_eq!(found.iter().map(|g| g.internet_gateway_id.as_deref().unwrap()).collect::<Vec<_>>(), [a.as_str()]);

    let delete = || {
        let input = DeleteInternetGatewayRequest { internet_gateway_id: Some(a.clone()), ..Default::default() };
        world.call::<DeleteInternetGateway>(input)
    };
    assert_eq!(code(delete()), "DependencyViolation");
    assert_eq!(code(delete_vpc(&world, &one)), "DependencyViolation");
    let detach = |vpc: &str| {
        let input = DetachInternetGatewayRequest {
            internet_gateway_id: Some(a.clone()),
            vpc_id: Some(vpc.into()),
            ..Default::default()
        };
        world.call::<DetachInternetGateway>(input)
    };
    assert_eq!(code(detach(&two)), "Gateway.NotAttached");
    detach(&one).unwrap();
    delete().unwrap();
    delete_vpc(&world, &one).unwrap();
}

#[test]
fn routes_and_associations() {
    let world = world();
    let id = vpc(&world, "10.0.0.0/16");
    let subnet = subnet(&world, &id, "10.0.1.0/24");
    let gateway = gateway(&world);
    let input = CreateRouteTableRequest { vpc_id: Some(id.clone()), ..Default::default() };
    let table = world.call::<CreateRouteTable>(input).unwrap().route_table.unwrap().route_table_id.unwrap();
    let route = |destination: &str| {
        let input = CreateRouteRequest {
            route_table_id: Some(table.clone()),
            destination_cidr_block: Some(destination.into()),
            gateway_id: Some(gateway.clone()),
            ..Default::default()
        };
        world.call::<CreateRoute>(input)
    };
    assert_eq!(code(route("0.0.0.0/0")), "InvalidParameterValue");
    attach(&world, &gateway, &id).unwrap();
    assert_eq!(route("0.0.0.0/0").unwrap().r#return, Some(true));
    assert_eq!(code(route("0.0.0.0/0")), "RouteAlreadyExists");

    let associate = || {
        let input = AssociateRouteTableRequest {
            route_table_id: Some(table.clone()),
            subnet_id: Some(subnet.clone()),
            ..Default::default()
        };
        world.call::<AssociateRouteTable>(input)
    };
    let association = associate().unwrap().association_id.unwrap();
    assert_eq!(code(associate()), "Resource.AlreadyAssociated");
    let delete_table = || {
        let input = DeleteRouteTableRequest { route_table_id: Some(table.clone()), ..Default::default() };
        world.call::<DeleteRouteTable>(input)
    };
    assert_eq!(code(delete_table()), "DependencyViolation");
    let input =
        DescribeRouteTablesRequest { filters: filter("association.subnet-id", &[&subnet]), ..Default::default() };
    let found = world.call::<DescribeRouteTables>(input).unwrap().route_tables.unwrap();
    assert_eq!(found[0].route_table_id.as_ref(), Some(&table));
    assert_eq!(found[0].routes.as_ref().unwrap().len(), 2);

    let delete_route = |destination: &str| {
        let input = DeleteRouteRequest {
            route_table_id: Some(table.clone()),
            destination_cidr_block: Some(destination.into()),
            ..Default::default()
        };
        world.call::<DeleteRoute>(input)
    };
    assert_eq!(code(delete_route("10.0.0.0/16")), "InvalidRoute.NotFound", "the local route stays");
    delete_route("0.0.0.0/0").unwrap();
    assert_eq!(code(delete_route("0.0.0.0/0")), "InvalidRoute.NotFound");
    let disassociate = || {
        let input = DisassociateRouteTableRequest { association_id: Some(association.clone()), ..Default::default() };
        world.call::<DisassociateRouteTable>(input)
    };
    disassociate().unwrap();
    assert_eq!(code(disassociate()), "InvalidAssociationID.NotFound");
    delete_table().unwrap();
}

fn tcp(from: i32, to: i32, cidr: &str) -> Option<Vec<IpPermission>> {
    Some(vec![IpPermission {
        ip_protocol: Some("tcp".into()),
        from_port: Some(from),
        to_port: Some(to),
        ip_ranges: Some(vec![IpRange { cidr_ip: Some(cidr.into()), ..Default::default() }]),
        ..Default::default()
    }])
}

#[test]
fn rules_of_a_security_group() {
    let world = world();
    let id = vpc(&world, "10.0.0.0/16");
    let (hosts, balancer) = (group(&world, &id, "hosts"), group(&world, &id, "balancer"));
    let allow = |ip_permissions| {
        let input = AuthorizeSecurityGroupIngressRequest {
            group_id: Some(hosts.clone()),
            ip_permissions,
            ..Default::default()
        };
        world.call::<AuthorizeSecurityGroupIngress>(input)
    };
    allow(tcp(80, 80, "0.0.0.0/0")).unwrap();
    assert_eq!(code(allow(tcp(80, 80, "0.0.0.0/0"))), "InvalidPermission.Duplicate");
    assert_eq!(code(allow(tcp(90, 80, "0.0.0.0/0"))), "InvalidParameterValue");
    assert_eq!(code(allow(tcp(80, 80, "everywhere"))), "InvalidParameterValue");
    assert_eq!(code(allow(None)), "MissingParameter");
    let from_balancer = UserIdGroupPair { group_id: Some(balancer.clone()), ..Default::default() };
    let pair = IpPermission {
        ip_protocol: Some("tcp".into()),
        from_port: Some(31000),
        to_port: Some(61000),
        user_id_group_pairs: Some(vec![from_balancer]),
        ..Default::default()
    };
    let added = allow(Some(vec![pair.clone()])).unwrap().security_group_rules.unwrap();
    assert_eq!(added[0].referenced_group_info.as_ref().unwrap().group_id.as_ref(), Some(&balancer));

    let describe = || {
        let input = DescribeSecurityGroupsRequest { group_ids: Some(vec![hosts.clone()]), ..Default::default() };
        world.call::<DescribeSecurityGroups>(input).unwrap().security_groups.unwrap().remove(0)
    };
    assert_eq!(describe().ip_permissions.unwrap().len(), 2);
    assert_eq!(describe().ip_permissions_egress.unwrap()[0].ip_protocol.as_deref(), Some("-1"));
    let input = DescribeSecurityGroupRulesRequest { filters: filter("group-id", &[&hosts]), ..Default::default() };
    assert_eq!(world.call::<DescribeSecurityGroupRules>(input).unwrap().security_group_rules.unwrap().len(), 3);

    // A group that another one's rule names stays until the rule goes.
    let delete = |id: &str| {
        world
            .call::<DeleteSecurityGroup>(DeleteSecurityGroupRequest { group_id: Some(id.into()), ..Default::default() })
    };
    assert_eq!(code(delete(&balancer)), "DependencyViolation");
    let revoke = || {
        let input = RevokeSecurityGroupIngressRequest {
            group_id: Some(hosts.clone()),
            ip_permissions: Some(vec![pair.clone()]),
            ..Default::default()
        };
        world.call::<RevokeSecurityGroupIngress>(input)
    };
    revoke().unwrap();
    assert_eq!(code(revoke()), "InvalidPermission.NotFound");
    delete(&balancer).unwrap();
    assert_eq!(code(delete(&balancer)), "InvalidGroup.NotFound");
    let again = CreateSecurityGroupRequest {
        vpc_id: Some(id.clone()),
        group_name: Some("hosts".into()),
        description: Some("again".into()),
        ..Default::default()
    };
    assert_eq!(code(world.call::<CreateSecurityGroup>(again)), "InvalidGroup.Duplicate");
    assert_eq!(code(delete_vpc(&world, &id)), "DependencyViolation");
    delete(&hosts).unwrap();
    delete_vpc(&world, &id).unwrap();
}

#[test]
fn tags_filters_and_pages() {
    let world = world();
    let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
    let input = CreateVpcRequest {
        cidr_block: Some("10.0.0.0/16".into()),
        tag_specifications: Some(vec![TagSpecification {
            resource_type: Some("vpc".into()),
            tags: Some(vec![tag("Name", "demo")]),
        }]),
        ..Default::default()
    };
    let tagged = world.call::<CreateVpc>(input.clone()).unwrap().vpc.unwrap().vpc_id.unwrap();
    let plain = vpc(&world, "10.1.0.0/16");
    let mut wrong = input;
    wrong.tag_specifications.as_mut().unwrap()[0].resource_type = Some("subnet".into());
    assert_eq!(code(world.call::<CreateVpc>(wrong)), "InvalidParameterValue");

    let found = |name: &str, value: &str| -> Result<Vec<String>> {
        let input = DescribeVpcsRequest { filters: filter(name, &[value]), ..Default::default() };
        let vpcs = world.call::<DescribeVpcs>(input)?.vpcs.unwrap();
        Ok(vpcs.into_iter().map(|v| v.vpc_id.unwrap()).collect())
    };
    assert_eq!(found("tag:Name", "de*").unwrap(), std::slice::from_ref(&tagged));
    assert_eq!(found("tag-key", "Name").unwrap(), std::slice::from_ref(&tagged));
    assert_eq!(found("cidr", "10.1.0.0/16").unwrap(), std::slice::from_ref(&plain));
    assert_eq!(code(found("colour", "red")), "InvalidParameterValue");

    let input = CreateTagsRequest {
        resources: Some(vec![tagged.clone(), plain.clone()]),
        tags: Some(vec![tag("Name", "new"), tag("env", "test")]),
        ..Default::default()
    };
    world.call::<CreateTags>(input).unwrap();
    assert_eq!(found("tag:Name", "new").unwrap().len(), 2);
    // With a value only a tag of that value goes.
    let gone = |value: Option<&str>| DeleteTagsRequest {
        resources: Some(vec![plain.clone()]),
        tags: Some(vec![Tag { key: Some("Name".into()), value: value.map(str::to_owned) }]),
        ..Default::default()
    };
    world.call::<DeleteTags>(gone(Some("other"))).unwrap();
    assert_eq!(found("tag:Name", "new").unwrap().len(), 2);
    world.call::<DeleteTags>(gone(None)).unwrap();
    assert_eq!(found("tag:Name", "new").unwrap(), std::slice::from_ref(&tagged));
    // One unknown resource and nothing is tagged.
    let input = CreateTagsRequest {
        resources: Some(vec![plain.clone(), "vpc-none".into()]),
        tags: Some(vec![tag("half", "done")]),
        ..Default::default()
    };
    assert_eq!(code(world.call::<CreateTags>(input)), "InvalidVpcID.NotFound");
    assert!(found("tag-key", "half").unwrap().is_empty());

    let input = DescribeVpcsRequest { max_results: Some(1), ..Default::default() };
    let first = world.call::<DescribeVpcs>(input).unwrap();
    assert_eq!(first.vpcs.unwrap()[0].vpc_id, Some(tagged));
    let input =
        DescribeVpcsRequest { max_results: Some(1), next_token: first.next_token.clone(), ..Default::default() };
    let second = world.call::<DescribeVpcs>(input).unwrap();
    assert_eq!(second.vpcs.unwrap()[0].vpc_id, Some(plain));
    assert!(first.next_token.is_some() && second.next_token.is_none());
}

#[test]
fn the_region_has_three_zones() {
    let world = world();
    let shown = world.call::<DescribeAvailabilityZones>(Default::default()).unwrap().availability_zones.unwrap();
    let names: Vec<_> =
        shown.iter().map(|z| (z.zone_name.as_deref().unwrap(), z.zone_id.as_deref().unwrap())).collect();
    assert_eq!(names, [("us-east-1a", "use1-az1"), ("us-east-1b", "use1-az2"), ("us-east-1c", "use1-az3")]);
    let input = DescribeAvailabilityZonesRequest { zone_names: Some(vec!["mars-1a".into()]), ..Default::default() };
    assert_eq!(code(world.call::<DescribeAvailabilityZones>(input)), "InvalidParameterValue");
}

#[test]
fn a_dry_run_checks_and_changes_nothing() {
    let world = world();
    let dry =
        |cidr: &str| CreateVpcRequest { cidr_block: Some(cidr.into()), dry_run: Some(true), ..Default::default() };
    assert_eq!(code(world.call::<CreateVpc>(dry("10.0.0.0/16"))), "DryRunOperation");
    assert_eq!(code(world.call::<CreateVpc>(dry("10.0.0.0/4"))), "InvalidVpc.Range");
    assert_eq!(world.call::<DescribeVpcs>(Default::default()).unwrap().vpcs, Some(Vec::new()));
}

#[test]
fn interfaces_tags_and_attributes_are_shown() {
    let world = world();
    let vpc = vpc(&world, "10.0.0.0/16");
    let subnet = subnet(&world, &vpc, "10.0.1.0/24");
    let hosts = group(&world, &vpc, "hosts");
    let instance = launch(&world, &subnet, std::slice::from_ref(&hosts));
    let interfaces = |name: &str, value: &str| {
        let input = DescribeNetworkInterfacesRequest { filters: filter(name, &[value]), ..Default::default() };
        world.call::<DescribeNetworkInterfaces>(input).map(|output| output.network_interfaces.unwrap())
    };
    let found = interfaces("group-id", &hosts).unwrap();
    assert_eq!(found[0].attachment.as_ref().unwrap().instance_id.as_ref(), Some(&instance));
    assert_eq!(found[0].private_ip_address.as_deref(), Some("10.0.1.4"));
    assert_eq!(interfaces("description", "AWS Lambda VPC ENI*").unwrap(), Vec::new());
    assert_eq!(code(interfaces("colour", "red")), "InvalidParameterValue");
    world.transact(|ctx| instance::terminate(ctx, &instance)).unwrap();
    assert_eq!(interfaces("group-id", &hosts).unwrap(), Vec::new());

    let input = CreateTagsRequest {
        resources: Some(vec![vpc, subnet.clone()]),
        tags: Some(vec![Tag { key: Some("env".into()), value: Some("test".into()) }]),
        ..Default::default()
    };
    world.call::<CreateTags>(input).unwrap();
    let input = DescribeTagsRequest { filters: filter("resource-type", &["subnet"]), ..Default::default() };
    let tags = world.call::<DescribeTags>(input).unwrap().tags.unwrap();
    assert_eq!((tags.len(), tags[0].resource_id.as_ref()), (1, Some(&subnet)));

    let shown = world.call::<DescribeAccountAttributes>(Default::default()).unwrap().account_attributes.unwrap();
    assert!(shown.iter().any(|a| a.attribute_name.as_deref() == Some("default-vpc")));
    let input = DescribeAccountAttributesRequest {
        attribute_names: Some(vec!["max-elastic-ips".into()]),
        ..Default::default()
    };
    assert_eq!(code(world.call::<DescribeAccountAttributes>(input)), "InvalidParameterValue");
}
