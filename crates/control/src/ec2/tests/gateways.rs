//! Interfaces, addresses, NAT gateways, endpoints and the routes to them.

use super::*;
use crate::ec2::network_interface::{self, NewInterface};

#[test]
fn services_attach_interfaces_and_hold_what_they_stand_on() {
    let world = world();
    let vpc = vpc(&world, "10.0.0.0/16");
    let (home, own) = (subnet(&world, &vpc, "10.0.1.0/24"), group(&world, &vpc, "tasks"));
    let attach = |change: &dyn Fn(&mut NewInterface)| {
        let mut new = NewInterface {
            subnet: home.clone(),
            security_groups: vec![own.clone()],
            description: "arn:aws:ecs:us-east-1:000000000000:attachment/1".into(),
            ..Default::default()
        };
        change(&mut new);
        world.transact(|ctx| network_interface::attach(ctx, new))
    };
    let first = attach(&|_| ()).unwrap();
    assert_eq!((first.address.to_string().as_str(), first.vpc.as_str()), ("10.0.1.4", vpc.as_str()));
    assert_eq!(first.private_dns_name, "ip-10-0-1-4.us-east-1.compute.internal");
    let second = attach(&|new| new.address = Some("10.0.1.77".parse().unwrap())).unwrap();
    assert_ne!(first.mac, second.mac);
    assert_eq!(code(attach(&|new| new.address = Some(first.address))), "InvalidIPAddress.InUse");
    assert_eq!(code(attach(&|new| new.address = Some("10.0.2.4".parse().unwrap()))), "InvalidParameterValue");
    assert_eq!(code(attach(&|new| new.subnet = "subnet-0".into())), "InvalidSubnetID.NotFound");
    let elsewhere = self::vpc(&world, "10.1.0.0/16");
    let foreign = group(&world, &elsewhere, "foreign");
    assert_eq!(code(attach(&|new| new.security_groups = vec![foreign.clone()])), "InvalidGroup.NotFound");

    let show = |name: &str, value: &str| {
        let input = DescribeNetworkInterfacesRequest { filters: filter(name, &[value]), ..Default::default() };
        world.call::<DescribeNetworkInterfaces>(input).unwrap().network_interfaces.unwrap()
    };
    assert_eq!(show("private-ip-address", "10.0.1.77")[0].network_interface_id, Some(second.id.clone()));
    assert_eq!(show("group-id", &own).len(), 2);
    // Neither an instance nor another task gets an address that is taken.
    let instance = launch(&world, &home, std::slice::from_ref(&own));
    assert_eq!(show("attachment.instance-id", &instance)[0].private_ip_address.as_deref(), Some("10.0.1.5"));
    world.transact(|ctx| instance::terminate(ctx, &instance)).unwrap();

    let delete_subnet = || {
        let input = DeleteSubnetRequest { subnet_id: Some(home.clone()), ..Default::default() };
        world.call::<DeleteSubnet>(input)
    };
    let delete_group = || {
        let input = DeleteSecurityGroupRequest { group_id: Some(own.clone()), ..Default::default() };
        world.call::<DeleteSecurityGroup>(input)
    };
    assert_eq!(code(delete_subnet()), "DependencyViolation");
    assert_eq!(code(delete_group()), "DependencyViolation");
    for id in [&first.id, &second.id, &second.id] {
        world.transact(|ctx| network_interface::detach(ctx, id)).unwrap();
    }
    delete_group().unwrap();
    delete_subnet().unwrap();
}

fn allocate(world: &World) -> String {
    world.call::<AllocateAddress>(Default::default()).unwrap().allocation_id.unwrap()
}

fn nat(world: &World, subnet: &str, allocation: &str) -> Result<NatGateway> {
    let input = CreateNatGatewayRequest {
        subnet_id: Some(subnet.into()),
        allocation_id: Some(allocation.into()),
        ..Default::default()
    };
    Ok(world.call::<CreateNatGateway>(input)?.nat_gateway.unwrap())
}

fn address(world: &World, id: &str) -> Address {
    let input = DescribeAddressesRequest { allocation_ids: Some(vec![id.into()]), ..Default::default() };
    world.call::<DescribeAddresses>(input).unwrap().addresses.unwrap().remove(0)
}

fn table(world: &World, vpc: &str) -> String {
    let input = CreateRouteTableRequest { vpc_id: Some(vpc.into()), ..Default::default() };
    world.call::<CreateRouteTable>(input).unwrap().route_table.unwrap().route_table_id.unwrap()
}

fn tables(world: &World, name: &str, value: &str) -> Vec<RouteTable> {
    let input = DescribeRouteTablesRequest { filters: filter(name, &[value]), ..Default::default() };
    world.call::<DescribeRouteTables>(input).unwrap().route_tables.unwrap()
}

#[test]
fn a_nat_gateway_holds_its_address_and_is_routed_to() {
    let world = world();
    let vpc = vpc(&world, "10.0.0.0/16");
    let public = subnet(&world, &vpc, "10.0.1.0/24");
    let allocation = allocate(&world);
    assert_eq!(code(nat(&world, &public, &allocation)), "Gateway.NotAttached");
    let gateway = gateway(&world);
    attach(&world, &gateway, &vpc).unwrap();
    assert_eq!(code(nat(&world, &public, "eipalloc-0")), "InvalidAllocationID.NotFound");
    let made = nat(&world, &public, &allocation).unwrap();
    let id = made.nat_gateway_id.unwrap();
    assert_eq!(made.state.as_deref(), Some("pending"));
    assert_eq!(code(nat(&world, &public, &allocation)), "Resource.AlreadyAssociated");
    let seen = |id: &str| {
        let input = DescribeNatGatewaysRequest { nat_gateway_ids: Some(vec![id.into()]), ..Default::default() };
        world.call::<DescribeNatGateways>(input).map(|output| output.nat_gateways.unwrap().remove(0))
    };
    let shown = seen(&id).unwrap();
    let held = &shown.nat_gateway_addresses.as_ref().unwrap()[0];
    assert_eq!(shown.state.as_deref(), Some("available"));
    assert_eq!(held.public_ip, address(&world, &allocation).public_ip);
    assert_eq!(address(&world, &allocation).network_interface_id, held.network_interface_id);

    // What is held cannot be taken away.
    let release = || {
        let input = ReleaseAddressRequest { allocation_id: Some(allocation.clone()), ..Default::default() };
        world.call::<ReleaseAddress>(input)
    };
    assert_eq!(code(release()), "InvalidIPAddress.InUse");
    let input = DisassociateAddressRequest { association_id: held.association_id.clone(), ..Default::default() };
    assert_eq!(code(world.call::<DisassociateAddress>(input)), "AuthFailure");
    let detach = || {
        let input = DetachInternetGatewayRequest {
            internet_gateway_id: Some(gateway.clone()),
            vpc_id: Some(vpc.clone()),
            ..Default::default()
        };
        world.call::<DetachInternetGateway>(input)
    };
    assert_eq!(code(detach()), "DependencyViolation");

    let table = table(&world, &vpc);
    let route = |target: &str| CreateRouteRequest {
        route_table_id: Some(table.clone()),
        destination_cidr_block: Some("0.0.0.0/0".into()),
        nat_gateway_id: Some(target.into()),
        ..Default::default()
    };
    world.call::<CreateRoute>(route(&id)).unwrap();
    assert_eq!(code(world.call::<CreateRoute>(route("nat-0"))), "NatGatewayNotFound");
    let state = || {
        let found = tables(&world, "route.nat-gateway-id", &id).remove(0).routes.unwrap().into_iter();
        found.filter(|r| r.nat_gateway_id.is_some()).find_map(|r| r.state).unwrap()
    };
    assert_eq!(state(), "active");

    let delete = DeleteNatGatewayRequest { nat_gateway_id: Some(id.clone()), ..Default::default() };
    world.call::<DeleteNatGateway>(delete.clone()).unwrap();
    world.call::<DeleteNatGateway>(delete).unwrap();
    assert_eq!((seen(&id).unwrap().state.as_deref(), state().as_str()), (Some("deleted"), "blackhole"));
    // The route is mended in place.
    let replace = ReplaceRouteRequest {
        route_table_id: Some(table.clone()),
        destination_cidr_block: Some("0.0.0.0/0".into()),
        gateway_id: Some(gateway.clone()),
        ..Default::default()
    };
    world.call::<ReplaceRoute>(replace.clone()).unwrap();
    let elsewhere = ReplaceRouteRequest { destination_cidr_block: Some("10.9.0.0/16".into()), ..replace.clone() };
    assert_eq!(code(world.call::<ReplaceRoute>(elsewhere)), "InvalidParameterValue");
    let local = ReplaceRouteRequest { destination_cidr_block: Some("10.0.0.0/16".into()), ..replace };
    assert_eq!(code(world.call::<ReplaceRoute>(local)), "InvalidParameterValue");
    assert_eq!(tables(&world, "route.gateway-id", &gateway).len(), 1);
    release().unwrap();
    detach().unwrap();
    assert_eq!(code(release()), "InvalidAllocationID.NotFound");
    world.door.advance(std::time::Duration::from_secs(3700));
    let listed = world.call::<DescribeNatGateways>(Default::default()).unwrap().nat_gateways;
    assert_eq!(listed, Some(Vec::new()), "forgotten after an hour");
}

#[test]
fn an_address_moves_between_instances_and_is_let_go() {
    let world = world();
    let vpc = vpc(&world, "10.0.0.0/16");
    let home = subnet(&world, &vpc, "10.0.1.0/24");
    let (one, two) = (launch(&world, &home, &[]), launch(&world, &home, &[]));
    let id = allocate(&world);
    let associate = |instance: &str, again: Option<bool>| {
        let input = AssociateAddressRequest {
            allocation_id: Some(id.clone()),
            instance_id: Some(instance.into()),
            allow_reassociation: again,
            ..Default::default()
        };
        world.call::<AssociateAddress>(input)
    };
    associate(&one, None).unwrap();
    assert_eq!(code(associate(&two, Some(false))), "Resource.AlreadyAssociated");
    associate(&two, None).unwrap();
    let shown = address(&world, &id);
    assert_eq!((shown.instance_id.as_ref(), shown.private_ip_address.as_deref()), (Some(&two), Some("10.0.1.5")));
    let input =
        DescribeNetworkInterfacesRequest { filters: filter("association.allocation-id", &[&id]), ..Default::default() };
    let holders = world.call::<DescribeNetworkInterfaces>(input).unwrap().network_interfaces.unwrap();
    assert_eq!(holders[0].association.as_ref().unwrap().public_ip, shown.public_ip);
    let input = TerminateInstancesRequest { instance_ids: Some(vec![two.clone()]), ..Default::default() };
    world.call::<TerminateInstances>(input).unwrap();
    assert_eq!(address(&world, &id).association_id, None);
    assert_eq!(code(associate(&two, None)), "IncorrectInstanceState");
    let other = AllocateAddressRequest { domain: Some("standard".into()), ..Default::default() };
    assert_eq!(code(world.call::<AllocateAddress>(other)), "InvalidParameterValue");
    let attributes = world.call::<DescribeAddressesAttribute>(Default::default()).unwrap().addresses.unwrap();
    assert_eq!(attributes[0].public_ip, shown.public_ip);
}

#[test]
fn gateway_endpoints_add_routes_and_interface_endpoints_interfaces() {
    let world = world();
    let vpc = vpc(&world, "10.0.0.0/16");
    let home = subnet(&world, &vpc, "10.0.1.0/24");
    let (first, second) = (table(&world, &vpc), table(&world, &vpc));
    let create = |service: &str, change: &dyn Fn(&mut CreateVpcEndpointRequest)| {
        let mut input = CreateVpcEndpointRequest {
            vpc_id: Some(vpc.clone()),
            service_name: Some(format!("com.amazonaws.us-east-1.{service}")),
            ..Default::default()
        };
        change(&mut input);
        Ok(world.call::<CreateVpcEndpoint>(input)?.vpc_endpoint.unwrap())
    };
    assert_eq!(code(create("ecr.api", &|_| ())), "InvalidServiceName");
    assert_eq!(code(create("s3", &|i| i.subnet_ids = Some(vec![home.clone()]))), "InvalidParameter");
    let s3 = create("s3", &|i| i.route_table_ids = Some(vec![first.clone()])).unwrap().vpc_endpoint_id.unwrap();
    let input = DescribePrefixListsRequest {
        filters: filter("prefix-list-name", &["com.amazonaws.us-east-1.s3"]),
        ..Default::default()
    };
    let list = world.call::<DescribePrefixLists>(input).unwrap().prefix_lists.unwrap().remove(0);
    let through = |table: &str| {
        let found = tables(&world, "route-table-id", table).remove(0).routes.unwrap();
        found.into_iter().find(|r| r.gateway_id.as_ref() == Some(&s3)).map(|r| r.destination_prefix_list_id)
    };
    assert_eq!((through(&first), through(&second)), (Some(list.prefix_list_id), None));
    let input = ModifyVpcEndpointRequest {
        vpc_endpoint_id: Some(s3.clone()),
        add_route_table_ids: Some(vec![second.clone()]),
        remove_route_table_ids: Some(vec![first.clone()]),
        ..Default::default()
    };
    world.call::<ModifyVpcEndpoint>(input).unwrap();
    assert!(through(&first).is_none() && through(&second).is_some());

    let interface = |i: &mut CreateVpcEndpointRequest| {
        i.vpc_endpoint_type = Some("Interface".into());
        i.subnet_ids = Some(vec![home.clone()]);
    };
    assert_eq!(code(create("logs", &interface)), "InvalidParameter", "private DNS needs host names");
    let logs = create("logs", &|i| {
        interface(i);
        i.private_dns_enabled = Some(false);
    });
    let logs = logs.unwrap();
    let own = &logs.network_interface_ids.as_ref().unwrap()[0];
    let input =
        DescribeNetworkInterfacesRequest { network_interface_ids: Some(vec![own.clone()]), ..Default::default() };
    let shown = world.call::<DescribeNetworkInterfaces>(input.clone()).unwrap().network_interfaces.unwrap().remove(0);
    assert_eq!(shown.interface_type.as_deref(), Some("vpc_endpoint"));
    assert_eq!(code(delete_vpc(&world, &vpc)), "DependencyViolation");
    let all = vec![s3, logs.vpc_endpoint_id.unwrap(), "vpce-0".into()];
    let delete = DeleteVpcEndpointsRequest { vpc_endpoint_ids: Some(all), ..Default::default() };
    let left = world.call::<DeleteVpcEndpoints>(delete).unwrap().unsuccessful.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].error.as_ref().unwrap().code.as_deref(), Some("InvalidVpcEndpointId.NotFound"));
    assert_eq!(code(world.call::<DescribeNetworkInterfaces>(input)), "InvalidNetworkInterfaceID.NotFound");
}

#[test]
fn an_association_moves_to_another_table() {
    let world = world();
    let vpc = vpc(&world, "10.0.0.0/16");
    let main = tables(&world, "association.main", "true").remove(0);
    let other = table(&world, &vpc);
    let association = main.associations.unwrap().remove(0).route_table_association_id.unwrap();
    let replace = |association: &str, table: &str| {
        let input = ReplaceRouteTableAssociationRequest {
            association_id: Some(association.into()),
            route_table_id: Some(table.into()),
            ..Default::default()
        };
        world.call::<ReplaceRouteTableAssociation>(input).map(|output| output.new_association_id.unwrap())
    };
    let moved = replace(&association, &other).unwrap();
    let now_main = tables(&world, "association.main", "true");
    assert_eq!(now_main.iter().map(|t| t.route_table_id.as_ref()).collect::<Vec<_>>(), [Some(&other)]);
    assert_eq!(code(replace(&association, &other)), "InvalidAssociationID.NotFound");
    replace(&moved, &main.route_table_id.unwrap()).unwrap();
}

#[test]
fn what_exists_by_name_is_shown() {
    let world = world();
    vpc(&world, "10.0.0.0/16");
    let dhcp = world.call::<DescribeVpcs>(Default::default()).unwrap().vpcs.unwrap()[0].dhcp_options_id.clone();
    let input = DescribeDhcpOptionsRequest { dhcp_options_ids: dhcp.map(|id| vec![id]), ..Default::default() };
    assert_eq!(world.call::<DescribeDhcpOptions>(input).unwrap().dhcp_options.unwrap().len(), 1);
    let regions = world.call::<DescribeRegions>(Default::default()).unwrap().regions.unwrap();
    assert_eq!(regions[0].region_name.as_deref(), Some("us-east-1"));
    let named = DescribeKeyPairsRequest { key_names: Some(vec!["mine".into()]), ..Default::default() };
    assert_eq!(code(world.call::<DescribeKeyPairs>(named)), "InvalidKeyPair.NotFound");
    let image = crate::ssm::public::images().remove(1);
    let input = DescribeImagesRequest {
        owners: Some(vec!["amazon".into()]),
        filters: filter("name", &["amzn2-ami-ecs-hvm-*"]),
        ..Default::default()
    };
    let images = world.call::<DescribeImages>(input).unwrap().images.unwrap();
    assert_eq!(images.iter().map(|i| i.image_id.as_ref()).collect::<Vec<_>>(), [Some(&image.id)]);
    let own = DescribeImagesRequest { owners: Some(vec!["self".into()]), ..Default::default() };
    assert_eq!(world.call::<DescribeImages>(own).unwrap().images, Some(Vec::new()));
    let unknown = DescribeImagesRequest { image_ids: Some(vec!["ami-0".into()]), ..Default::default() };
    assert_eq!(code(world.call::<DescribeImages>(unknown)), "InvalidAMIID.NotFound");
}

#[test]
fn instances_have_status_and_attributes() {
    let world = world();
    let vpc = vpc(&world, "10.0.0.0/16");
    let home = subnet(&world, &vpc, "10.0.1.0/24");
    let instance = launch(&world, &home, &[]);
    let statuses = |every: bool| {
        let input = DescribeInstanceStatusRequest { include_all_instances: Some(every), ..Default::default() };
        let found = world.call::<DescribeInstanceStatus>(input).unwrap().instance_statuses.unwrap();
        found.into_iter().map(|s| s.instance_status.unwrap().status.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(statuses(false), ["ok"]);
    let attribute = |name: &str| {
        let input = DescribeInstanceAttributeRequest {
            instance_id: Some(instance.clone()),
            attribute: Some(name.into()),
            ..Default::default()
        };
        world.call::<DescribeInstanceAttribute>(input)
    };
    assert_eq!(attribute("instanceType").unwrap().instance_type.unwrap().value.as_deref(), Some("t2.micro"));
    assert_eq!(attribute("disableApiTermination").unwrap().disable_api_termination.unwrap().value, Some(false));
    assert_eq!(code(attribute("colour")), "InvalidParameterValue");
    let input = TerminateInstancesRequest { instance_ids: Some(vec![instance.clone()]), ..Default::default() };
    let change = world.call::<TerminateInstances>(input.clone()).unwrap().terminating_instances.unwrap().remove(0);
    assert_eq!(change.previous_state.unwrap().name.as_deref(), Some("running"));
    assert_eq!(change.current_state.unwrap().name.as_deref(), Some("shutting-down"));
    assert_eq!((statuses(false), statuses(true)), (vec![], vec!["not-applicable".to_owned()]));
    let change = world.call::<TerminateInstances>(input).unwrap().terminating_instances.unwrap().remove(0);
    assert_eq!(change.current_state.unwrap().name.as_deref(), Some("terminated"));
    let unknown = TerminateInstancesRequest { instance_ids: Some(vec!["i-0".into()]), ..Default::default() };
    assert_eq!(code(world.call::<TerminateInstances>(unknown)), "InvalidInstanceID.NotFound");
}
