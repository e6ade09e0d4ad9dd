//! Route tables, their routes and the subnets they are associated with.

use super::cidr::Block;
use super::internet_gateway;
use super::resource::{Resource, error, find, new_id, page, required, select, tags_for};
use super::subnet::SubnetRecord;
use super::vpc::VpcRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    AssociateRouteTableRequest, AssociateRouteTableResult, CreateRouteRequest, CreateRouteResult,
    CreateRouteTableRequest, CreateRouteTableResult, DeleteRouteRequest, DeleteRouteTableRequest,
    DescribeRouteTablesRequest, DescribeRouteTablesResult, DisassociateRouteTableRequest, Route, RouteTable,
    RouteTableAssociation, RouteTableAssociationState, Tag,
};
use quarry_wire::Empty;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
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
    Ok(DescribeRouteTablesResult { route_tables: Some(tables.into_iter().map(|r| r.table).collect()), next_token })
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
    ctx.tx.delete::<RouteTableRecord>(&id)?;
    Ok(Empty {})
}

pub fn create_route(ctx: &mut Ctx<'_>, input: CreateRouteRequest) -> Result<CreateRouteResult> {
    let mut record = find::<RouteTableRecord>(ctx, &required(input.route_table_id, "routeTableId")?)?;
    let destination = destination(input.destination_cidr_block)?;
    let others = [
        &input.nat_gateway_id,
        &input.network_interface_id,
        &input.transit_gateway_id,
        &input.vpc_endpoint_id,
        &input.vpc_peering_connection_id,
        &input.instance_id,
    ];
    if others.iter().any(|target| target.is_some()) {
        return Err(error("UnsupportedOperation", "Routes lead to internet gateways only."));
    }
    let gateway = required(input.gateway_id, "gatewayId")?;
    if !internet_gateway::serves(ctx, &gateway, &record.parent())? {
        return Err(error(
            "InvalidParameterValue",
            format!("route table {} and network gateway {gateway} belong to different networks", record.key()),
        ));
    }
    if record.routes().iter().any(|r| r.destination_cidr_block.as_deref() == Some(&destination)) {
        return Err(error("RouteAlreadyExists", format!("The route identified by {destination} already exists.")));
    }
    record.routes().push(Route {
        destination_cidr_block: Some(destination),
        gateway_id: Some(gateway),
        origin: Some("CreateRoute".into()),
        state: Some("active".into()),
        ..Default::default()
    });
    ctx.tx.put(&record)?;
    Ok(CreateRouteResult { r#return: Some(true) })
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
    Err(error("InvalidAssociationID.NotFound", format!("The association ID '{id}' does not exist")))
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
