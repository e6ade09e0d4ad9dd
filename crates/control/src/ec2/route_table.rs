//! Route tables, their routes and the subnets they are associated with.

use super::cidr::Block;
use super::resource::{Resource, error, find, new_id, page, required, select, tags_for};
use super::subnet::SubnetRecord;
use super::vpc::VpcRecord;
use super::{internet_gateway, nat_gateway, vpc_endpoint};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    AssociateRouteTableRequest, AssociateRouteTableResult, CreateRouteRequest, CreateRouteResult,
    CreateRouteTableRequest, CreateRouteTableResult, DeleteRouteRequest, DeleteRouteTableRequest,
    DescribeRouteTablesRequest, DescribeRouteTablesResult, DisassociateRouteTableRequest, ReplaceRouteRequest,
    ReplaceRouteTableAssociationRequest, ReplaceRouteTableAssociationResult, Route, RouteTable, RouteTableAssociation,
    RouteTableAssociationState, Tag,
};
use quarry_wire::Empty;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct RouteTableRecord {
    pub table: RouteTable,
}

impl Item for RouteTableRecord {
    const KIND: &'static str = "ec2.route-table";
    fn key(&self) -> String {
        self.table.route_table_id.clone().unwrap_or_default()
    }
    fn parent(&self) -> String {
        self.table.vpc_id.clone().unwrap_or_default()
    }
}

impl Resource for RouteTableRecord {
    const TYPE: &'static str = "route-table";
    const NOUN: &'static str = "routeTable ID";
    const NOT_FOUND: &'static str = "InvalidRouteTableID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.table.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.table.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let associations = self.table.associations.iter().flatten();
        Some(match name {
            "route-table-id" => vec![self.key()],
            "vpc-id" => vec![self.parent()],
            "owner-id" => self.table.owner_id.clone().into_iter().collect(),
            "association.main" => vec![self.is_main().to_string()],
            "association.route-table-association-id" => {
                associations.filter_map(|a| a.route_table_association_id.clone()).collect()
            }
            "association.subnet-id" => associations.filter_map(|a| a.subnet_id.clone()).collect(),
            "association.route-table-id" => associations.filter_map(|a| a.route_table_id.clone()).collect(),
            "route.destination-cidr-block" => {
                self.table.routes.iter().flatten().filter_map(|r| r.destination_cidr_block.clone()).collect()
            }
            "route.nat-gateway-id" => {
                self.table.routes.iter().flatten().filter_map(|r| r.nat_gateway_id.clone()).collect()
            }
            "route.origin" => self.table.routes.iter().flatten().filter_map(|r| r.origin.clone()).collect(),
            "route.gateway-id" => self.table.routes.iter().flatten().filter_map(|r| r.gateway_id.clone()).collect(),
            _ => return None,
        })
    }
}

impl RouteTableRecord {
    fn is_main(&self) -> bool {
        self.table.associations.iter().flatten().any(|a| a.main == Some(true))
    }

    fn associations(&mut self) -> &mut Vec<RouteTableAssociation> {
        self.table.associations.get_or_insert_default()
    }

    fn routes(&mut self) -> &mut Vec<Route> {
        self.table.routes.get_or_insert_default()
    }
}

/// The main table of a new VPC.
pub fn create_main(ctx: &mut Ctx<'_>, vpc: &str, block: &str) -> Result<()> {
    let mut record = new_table(ctx, vpc, block, Some(Vec::new()));
    let id = record.key();
    let association = association(ctx, &id, None);
    record.associations().push(association);
    ctx.tx.put(&record)?;
    Ok(())
}

pub fn has_more_than_main(ctx: &Ctx<'_>, vpc: &str) -> Result<bool> {
    Ok(ctx.tx.children::<RouteTableRecord>(vpc)?.iter().any(|t| !t.is_main()))
}

pub fn delete_main(ctx: &mut Ctx<'_>, vpc: &str) -> Result<()> {
    for table in ctx.tx.children::<RouteTableRecord>(vpc)? {
        ctx.tx.delete::<RouteTableRecord>(&table.key())?;
    }
    Ok(())
}

/// A deleted subnet is associated with nothing.
pub fn forget_subnet(ctx: &mut Ctx<'_>, subnet: &str) -> Result<()> {
    for mut table in ctx.tx.all::<RouteTableRecord>()? {
        table.associations().retain(|a| a.subnet_id.as_deref() != Some(subnet));
        ctx.tx.put(&table)?;
    }
    Ok(())
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateRouteTableRequest) -> Result<CreateRouteTableResult> {
    let vpc = find::<VpcRecord>(ctx, &required(input.vpc_id, "vpcId")?)?;
    let tags = tags_for::<RouteTableRecord>(input.tag_specifications)?;
    let record = new_table(ctx, &vpc.key(), vpc.vpc.cidr_block.as_deref().unwrap_or_default(), tags);
    ctx.tx.put(&record)?;
    Ok(CreateRouteTableResult { route_table: Some(record.table), client_token: input.client_token })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeRouteTablesRequest) -> Result<DescribeRouteTablesResult> {
    let found = select::<RouteTableRecord>(ctx, input.route_table_ids, input.filters)?;
    let (tables, next_token) = page(found, input.max_results, input.next_token)?;
    let tables = tables.into_iter().map(|record| shown(ctx, record)).collect::<Result<_>>()?;
    Ok(DescribeRouteTablesResult { route_tables: Some(tables), next_token })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteRouteTableRequest) -> Result<Empty> {
    let id = required(input.route_table_id, "routeTableId")?;
    let record = find::<RouteTableRecord>(ctx, &id)?;
    if record.table.associations.iter().flatten().next().is_some() {
        return Err(error(
            "DependencyViolation",
            format!("The routeTable '{id}' has dependencies and cannot be deleted."),
        ));
    }
    vpc_endpoint::forget_route_table(ctx, &id, &record.parent())?;
    ctx.tx.delete::<RouteTableRecord>(&id)?;
    Ok(Empty {})
}

pub fn create_route(ctx: &mut Ctx<'_>, input: CreateRouteRequest) -> Result<CreateRouteResult> {
    let mut record = find::<RouteTableRecord>(ctx, &required(input.route_table_id, "routeTableId")?)?;
    let destination = destination(input.destination_cidr_block)?;
    let others = [
        &input.carrier_gateway_id,
        &input.core_network_arn,
        &input.destination_ipv6_cidr_block,
        &input.destination_prefix_list_id,
        &input.egress_only_internet_gateway_id,
        &input.instance_id,
        &input.local_gateway_id,
        &input.network_interface_id,
        &input.odb_network_arn,
        &input.transit_gateway_id,
        &input.vpc_endpoint_id,
        &input.vpc_peering_connection_id,
    ];
    let route = route(ctx, &record, &destination, (input.gateway_id, input.nat_gateway_id), &others)?;
    if record.routes().iter().any(|r| r.destination_cidr_block.as_deref() == Some(&destination)) {
        return Err(error("RouteAlreadyExists", format!("The route identified by {destination} already exists.")));
    }
    record.routes().push(route);
    ctx.tx.put(&record)?;
    Ok(CreateRouteResult { r#return: Some(true) })
}

pub fn replace_route(ctx: &mut Ctx<'_>, input: ReplaceRouteRequest) -> Result<Empty> {
    let id = required(input.route_table_id, "routeTableId")?;
    let mut record = find::<RouteTableRecord>(ctx, &id)?;
    let destination = destination(input.destination_cidr_block)?;
    let others = [
        &input.carrier_gateway_id,
        &input.core_network_arn,
        &input.destination_ipv6_cidr_block,
        &input.destination_prefix_list_id,
        &input.egress_only_internet_gateway_id,
        &input.instance_id,
        &input.local_gateway_id,
        &input.network_interface_id,
        &input.odb_network_arn,
        &input.transit_gateway_id,
        &input.vpc_endpoint_id,
        &input.vpc_peering_connection_id,
    ];
    if input.local_target == Some(true) {
        return Err(error("UnsupportedOperation", "The local route always has its local target."));
    }
    let route = route(ctx, &record, &destination, (input.gateway_id, input.nat_gateway_id), &others)?;
    let same = |r: &&mut Route| r.destination_cidr_block.as_deref() == Some(&destination);
    let Some(held) = record.routes().iter_mut().find(same) else {
        let message =
            format!("There is no route defined for '{destination}' in the route table. Use CreateRoute instead.");
        return Err(error("InvalidParameterValue", message));
    };
    if held.origin.as_deref() == Some("CreateRouteTable") {
        return Err(error("InvalidParameterValue", "The local route of a route table cannot be replaced."));
    }
    *held = route;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

/// A route to an internet gateway or a NAT gateway of the table's VPC.
fn route(
    ctx: &Ctx<'_>,
    table: &RouteTableRecord,
    destination: &str,
    (gateway_id, nat_gateway_id): (Option<String>, Option<String>),
    others: &[&Option<String>],
) -> Result<Route> {
    if others.iter().any(|target| target.is_some()) {
        return Err(error("UnsupportedOperation", "Routes lead to internet gateways and NAT gateways only."));
    }
    let (target, serves) = match (&gateway_id, &nat_gateway_id) {
        (Some(gateway), None) => (gateway, internet_gateway::serves(ctx, gateway, &table.parent())?),
        (None, Some(nat)) => (nat, nat_gateway::serves(ctx, nat, &table.parent())?),
        (None, None) => {
            let message = "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, vpcPeeringConnectionId, egressOnlyInternetGatewayId, transitGatewayId, localGatewayId, carrierGatewayId, vpcEndpointId or instanceId";
            return Err(error("MissingParameter", message));
        }
        _ => {
            let message = "The request must contain exactly one of gatewayId and natGatewayId";
            return Err(error("InvalidParameterCombination", message));
        }
    };
    if !serves {
        return Err(error(
            "InvalidParameterValue",
            format!("route table {} and network gateway {target} belong to different networks", table.key()),
        ));
    }
    Ok(Route {
        destination_cidr_block: Some(destination.into()),
        gateway_id,
        nat_gateway_id,
        origin: Some("CreateRoute".into()),
        state: Some("active".into()),
        ..Default::default()
    })
}

/// A table as it is shown: routes to what is gone are black holes; gateway endpoints add theirs.
fn shown(ctx: &Ctx<'_>, record: RouteTableRecord) -> Result<RouteTable> {
    let (id, vpc) = (record.key(), record.parent());
    let mut table = record.table;
    for route in table.routes.iter_mut().flatten() {
        let leads = match (&route.gateway_id, &route.nat_gateway_id) {
            (Some(gateway), _) if gateway != "local" => internet_gateway::serves(ctx, gateway, &vpc),
            (_, Some(nat)) => nat_gateway::serves(ctx, nat, &vpc),
            _ => Ok(true),
        };
        if !leads.unwrap_or(false) {
            route.state = Some("blackhole".into());
        }
    }
    table.routes.get_or_insert_default().extend(vpc_endpoint::routes(ctx, &id, &vpc)?);
    Ok(table)
}

pub fn delete_route(ctx: &mut Ctx<'_>, input: DeleteRouteRequest) -> Result<Empty> {
    let id = required(input.route_table_id, "routeTableId")?;
    let mut record = find::<RouteTableRecord>(ctx, &id)?;
    let destination = destination(input.destination_cidr_block)?;
    let routes = record.routes();
    let before = routes.len();
    routes.retain(|r| {
        r.destination_cidr_block.as_deref() != Some(&destination) || r.origin.as_deref() == Some("CreateRouteTable")
    });
    if routes.len() == before {
        return Err(error(
            "InvalidRoute.NotFound",
            format!("no route with destination-cidr-block {destination} in route table {id}"),
        ));
    }
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn associate(ctx: &mut Ctx<'_>, input: AssociateRouteTableRequest) -> Result<AssociateRouteTableResult> {
    let mut record = find::<RouteTableRecord>(ctx, &required(input.route_table_id, "routeTableId")?)?;
    let subnet = find::<SubnetRecord>(ctx, &required(input.subnet_id, "subnetId")?)?;
    if subnet.parent() != record.parent() {
        return Err(error(
            "InvalidParameterValue",
            format!("Route table {} and subnet {} belong to different networks", record.key(), subnet.key()),
        ));
    }
    for table in ctx.tx.children::<RouteTableRecord>(&record.parent())? {
        if table.table.associations.iter().flatten().any(|a| a.subnet_id == subnet.subnet.subnet_id) {
            return Err(error(
                "Resource.AlreadyAssociated",
                "the specified association for route table already exists.",
            ));
        }
    }
    let id = record.key();
    let made = association(ctx, &id, Some(subnet.key()));
    let association_id = made.route_table_association_id.clone();
    let association_state = made.association_state.clone();
    record.associations().push(made);
    ctx.tx.put(&record)?;
    Ok(AssociateRouteTableResult { association_id, association_state })
}

/// Moves an association to another table; of a main association, that table becomes the main one.
pub fn replace_association(
    ctx: &mut Ctx<'_>,
    input: ReplaceRouteTableAssociationRequest,
) -> Result<ReplaceRouteTableAssociationResult> {
    let id = required(input.association_id, "associationId")?;
    let to = find::<RouteTableRecord>(ctx, &required(input.route_table_id, "routeTableId")?)?;
    let of_id = |a: &RouteTableAssociation| a.route_table_association_id.as_deref() == Some(&id);
    let from = ctx.tx.all::<RouteTableRecord>()?.into_iter();
    let mut from = from.map(|mut table| (table.associations().iter().position(of_id), table));
    let Some((at, mut from)) = from.find_map(|(at, table)| Some((at?, table))) else {
        return Err(no_association(&id));
    };
    if from.parent() != to.parent() {
        return Err(error(
            "InvalidParameterValue",
            format!("Route table {} and association {id} belong to different networks", to.key()),
        ));
    }
    let gone = from.associations().remove(at);
    ctx.tx.put(&from)?;
    // Read again: it may be the same table.
    let mut to = find::<RouteTableRecord>(ctx, &to.key())?;
    let made = association(ctx, &to.key(), gone.subnet_id);
    let new_association_id = made.route_table_association_id.clone();
    let association_state = made.association_state.clone();
    to.associations().push(made);
    ctx.tx.put(&to)?;
    Ok(ReplaceRouteTableAssociationResult { new_association_id, association_state })
}

pub fn disassociate(ctx: &mut Ctx<'_>, input: DisassociateRouteTableRequest) -> Result<Empty> {
    let id = required(input.association_id, "associationId")?;
    for mut table in ctx.tx.all::<RouteTableRecord>()? {
        let Some(at) = table.associations().iter().position(|a| a.route_table_association_id.as_deref() == Some(&id))
        else {
            continue;
        };
        if table.associations()[at].main == Some(true) {
            return Err(error("InvalidParameterValue", "cannot disassociate the main route table association"));
        }
        table.associations().remove(at);
        ctx.tx.put(&table)?;
        return Ok(Empty {});
    }
    Err(no_association(&id))
}

fn no_association(id: &str) -> quarry_wire::ServiceError {
    error("InvalidAssociationID.NotFound", format!("The association ID '{id}' does not exist"))
}

fn new_table(ctx: &Ctx<'_>, vpc: &str, block: &str, tags: Option<Vec<Tag>>) -> RouteTableRecord {
    RouteTableRecord {
        table: RouteTable {
            route_table_id: Some(new_id(ctx, "rtb")),
            vpc_id: Some(vpc.into()),
            owner_id: Some(ctx.platform.place().account.clone()),
            associations: Some(Vec::new()),
            propagating_vgws: Some(Vec::new()),
            routes: Some(vec![Route {
                destination_cidr_block: Some(block.into()),
                gateway_id: Some("local".into()),
                origin: Some("CreateRouteTable".into()),
                state: Some("active".into()),
                ..Default::default()
            }]),
            tags,
        },
    }
}

/// With a subnet, or as the VPC's main association.
fn association(ctx: &Ctx<'_>, table: &str, subnet: Option<String>) -> RouteTableAssociation {
    RouteTableAssociation {
        route_table_association_id: Some(new_id(ctx, "rtbassoc")),
        route_table_id: Some(table.into()),
        main: Some(subnet.is_none()),
        subnet_id: subnet,
        association_state: Some(RouteTableAssociationState { state: Some("associated".into()), ..Default::default() }),
        ..Default::default()
    }
}

fn destination(cidr: Option<String>) -> Result<String> {
    let text = required(cidr, "destinationCidrBlock")?;
    let block = Block::parse(&text).ok_or_else(|| {
        error(
            "InvalidParameterValue",
            format!("Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."),
        )
    })?;
    Ok(block.to_string())
}
