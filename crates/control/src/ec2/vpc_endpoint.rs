//! VPC endpoints: gateway endpoints with their routes, interface endpoints with an interface in each
//! subnet. Tasks reach the AWS endpoint with or without them; their policies are kept, not enforced.

use super::network_interface::{self, NewInterface};
use super::prefix_list;
use super::resource::{Resource, error, find, new_id, page, required, select, tags_for};
use super::route_table::RouteTableRecord;
use super::subnet::SubnetRecord;
use super::vpc::VpcRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    CreateVpcEndpointRequest, CreateVpcEndpointResult, DeleteVpcEndpointsRequest, DeleteVpcEndpointsResult,
    DescribeVpcEndpointsRequest, DescribeVpcEndpointsResult, DnsEntry, DnsOptions, ModifyVpcEndpointRequest,
    ModifyVpcEndpointResult, Route, SecurityGroupIdentifier, Tag, UnsuccessfulItem, UnsuccessfulItemError, VpcEndpoint,
};
use quarry_wire::Timestamp;
use serde::{Deserialize, Serialize};

/// What has gateway endpoints.
pub const GATEWAY_SERVICES: [&str; 2] = ["s3", "dynamodb"];
/// The services here that AWS offers interface endpoints of.
const INTERFACE_SERVICES: [&str; 24] = [
    "application-autoscaling",
    "autoscaling",
    "cloudformation",
    "data-servicediscovery",
    "ec2",
    "ec2messages",
    "ecr.api",
    "ecr.dkr",
    "ecs",
    "ecs-agent",
    "ecs-telemetry",
    "elasticloadbalancing",
    "events",
    "kms",
    "logs",
    "monitoring",
    "s3",
    "secretsmanager",
    "servicediscovery",
    "sns",
    "sqs",
    "ssm",
    "ssmmessages",
    "sts",
];
/// What an endpoint without a policy of its own allows: everything.
const FULL_ACCESS: &str =
    r#"{"Statement":[{"Action":"*","Effect":"Allow","Principal":"*","Resource":"*"}],"Version":"2008-10-17"}"#;

#[derive(Clone, Serialize, Deserialize)]
pub struct EndpointRecord {
    pub endpoint: VpcEndpoint,
}

impl Item for EndpointRecord {
    const KIND: &'static str = "ec2.vpc-endpoint";
    fn key(&self) -> String {
        self.endpoint.vpc_endpoint_id.clone().unwrap_or_default()
    }
    fn parent(&self) -> String {
        self.endpoint.vpc_id.clone().unwrap_or_default()
    }
}

impl Resource for EndpointRecord {
    const TYPE: &'static str = "vpc-endpoint";
    const NOUN: &'static str = "Vpc Endpoint Id";
    const NOT_FOUND: &'static str = "InvalidVpcEndpointId.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.endpoint.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.endpoint.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        Some(match name {
            "vpc-endpoint-id" => vec![self.key()],
            "vpc-id" => one(&self.endpoint.vpc_id),
            "service-name" => one(&self.endpoint.service_name),
            "vpc-endpoint-type" => one(&self.endpoint.vpc_endpoint_type),
            "vpc-endpoint-state" => one(&self.endpoint.state),
            _ => return None,
        })
    }
}

impl EndpointRecord {
    fn is_gateway(&self) -> bool {
        self.endpoint.vpc_endpoint_type.as_deref() == Some("Gateway")
    }
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateVpcEndpointRequest) -> Result<CreateVpcEndpointResult> {
    let vpc = find::<VpcRecord>(ctx, &required(input.vpc_id, "VpcId")?)?;
    let service = required(input.service_name, "ServiceName")?;
    let kind = input.vpc_endpoint_type.unwrap_or_else(|| "Gateway".into());
    let place = ctx.platform.place().clone();
    let offered = match kind.as_str() {
        "Gateway" => &GATEWAY_SERVICES[..],
        "Interface" => &INTERFACE_SERVICES[..],
        other => {
            let message = format!("VPC endpoints of type {other} are not supported.");
            return Err(error("UnsupportedOperation", message));
        }
    };
    let short = service.strip_prefix(&format!("com.amazonaws.{}.", place.region)).filter(|s| offered.contains(s));
    let short = short
        .ok_or_else(|| error("InvalidServiceName", format!("The Vpc Endpoint Service '{service}' does not exist")))?;
    if input.ip_address_type.as_deref().is_some_and(|kind| kind != "ipv4")
        || input.service_region.as_deref().is_some_and(|region| region != place.region)
        || input.subnet_configurations.as_ref().is_some_and(|given| !given.is_empty())
    {
        let message = "Endpoints are IPv4, in their own region, with addresses of their subnets' choice.";
        return Err(error("UnsupportedOperation", message));
    }
    let gateway = kind == "Gateway";
    let foreign = if gateway {
        input.subnet_ids.is_some() || input.security_group_ids.is_some() || input.private_dns_enabled == Some(true)
    } else {
        input.route_table_ids.is_some()
    };
    if foreign {
        let message = format!("Endpoint type ({kind}) does not match the parameters that are given.");
        return Err(error("InvalidParameter", message));
    }
    let private_dns = !gateway && input.private_dns_enabled.unwrap_or(true);
    if private_dns && !(vpc.dns_support && vpc.dns_hostnames) {
        let message = "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for the VPC.";
        return Err(error("InvalidParameter", message));
    }
    let id = new_id(ctx, "vpce");
    let mut record = EndpointRecord {
        endpoint: VpcEndpoint {
            vpc_endpoint_id: Some(id.clone()),
            vpc_endpoint_type: Some(kind),
            vpc_id: vpc.vpc.vpc_id.clone(),
            service_region: Some(place.region.clone()),
            state: Some("available".into()),
            policy_document: Some(policy(input.policy_document)?),
            route_table_ids: Some(Vec::new()),
            subnet_ids: Some(Vec::new()),
            groups: Some(Vec::new()),
            network_interface_ids: Some(Vec::new()),
            private_dns_enabled: Some(private_dns),
            requester_managed: Some(false),
            ip_address_type: Some("ipv4".into()),
            dns_options: Some(DnsOptions {
                dns_record_ip_type: Some(if gateway { "service-defined" } else { "ipv4" }.into()),
                ..Default::default()
            }),
            dns_entries: Some(Vec::new()),
            creation_timestamp: Some(Timestamp::from_millis(ctx.platform.now_ms())),
            owner_id: Some(place.account.clone()),
            tags: tags_for::<EndpointRecord>(input.tag_specifications)?,
            service_name: Some(service.clone()),
            ..Default::default()
        },
    };
    if gateway {
        add_route_tables(ctx, &mut record, input.route_table_ids.unwrap_or_default())?;
    } else {
        let groups = network_interface::groups(ctx, &vpc.key(), &input.security_group_ids.unwrap_or_default())?;
        let shown =
            groups.into_iter().map(|g| SecurityGroupIdentifier { group_id: g.group_id, group_name: g.group_name });
        record.endpoint.groups = Some(shown.collect());
        add_subnets(ctx, &mut record, input.subnet_ids.unwrap_or_default())?;
        let mut names = vec![format!("{id}-{}.{short}.{}.vpce.amazonaws.com", &id[5..13], place.region)];
        if private_dns {
            names.push(format!("{}.{}.amazonaws.com", short.rsplit('.').collect::<Vec<_>>().join("."), place.region));
        }
        let entries = names.into_iter().map(|name| DnsEntry { dns_name: Some(name), hosted_zone_id: None });
        record.endpoint.dns_entries = Some(entries.collect());
    }
    ctx.tx.put(&record)?;
    let state = if gateway { "available" } else { "pending" };
    let endpoint = VpcEndpoint { state: Some(state.into()), ..record.endpoint };
    Ok(CreateVpcEndpointResult { vpc_endpoint: Some(endpoint), client_token: input.client_token })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeVpcEndpointsRequest) -> Result<DescribeVpcEndpointsResult> {
    let found = select::<EndpointRecord>(ctx, input.vpc_endpoint_ids, input.filters)?;
    let (found, next_token) = page(found, input.max_results, input.next_token)?;
    let vpc_endpoints = Some(found.into_iter().map(|record| record.endpoint).collect());
    Ok(DescribeVpcEndpointsResult { vpc_endpoints, next_token })
}

pub fn modify(ctx: &mut Ctx<'_>, input: ModifyVpcEndpointRequest) -> Result<ModifyVpcEndpointResult> {
    let mut record = find::<EndpointRecord>(ctx, &required(input.vpc_endpoint_id, "VpcEndpointId")?)?;
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let tables = given(&input.add_route_table_ids) || given(&input.remove_route_table_ids);
    let interfaces = [
        &input.add_subnet_ids,
        &input.remove_subnet_ids,
        &input.add_security_group_ids,
        &input.remove_security_group_ids,
    ];
    if if record.is_gateway() { interfaces.into_iter().any(given) } else { tables } {
        let kind = record.endpoint.vpc_endpoint_type.unwrap_or_default();
        let message = format!("Endpoint type ({kind}) does not match the parameters that are given.");
        return Err(error("InvalidParameter", message));
    }
    if input.ip_address_type.as_deref().is_some_and(|kind| kind != "ipv4")
        || input.subnet_configurations.as_ref().is_some_and(|given| !given.is_empty())
    {
        let message = "Endpoints are IPv4, with addresses of their subnets' choice.";
        return Err(error("UnsupportedOperation", message));
    }
    if let Some(document) = input.policy_document {
        record.endpoint.policy_document = Some(policy(Some(document))?);
    } else if input.reset_policy == Some(true) {
        record.endpoint.policy_document = Some(policy(None)?);
    }
    let gone = input.remove_route_table_ids.unwrap_or_default();
    record.endpoint.route_table_ids.get_or_insert_default().retain(|id| !gone.contains(id));
    add_route_tables(ctx, &mut record, input.add_route_table_ids.unwrap_or_default())?;
    change_groups(
        ctx,
        &mut record,
        input.add_security_group_ids.unwrap_or_default(),
        &input.remove_security_group_ids.unwrap_or_default(),
    )?;
    remove_subnets(ctx, &mut record, &input.remove_subnet_ids.unwrap_or_default())?;
    add_subnets(ctx, &mut record, input.add_subnet_ids.unwrap_or_default())?;
    if let Some(private) = input.private_dns_enabled {
        record.endpoint.private_dns_enabled = Some(private);
    }
    ctx.tx.put(&record)?;
    Ok(ModifyVpcEndpointResult { r#return: Some(true) })
}

/// Those that do not exist are told in the answer.
pub fn delete(ctx: &mut Ctx<'_>, input: DeleteVpcEndpointsRequest) -> Result<DeleteVpcEndpointsResult> {
    let mut unsuccessful = Vec::new();
    for id in required(input.vpc_endpoint_ids, "VpcEndpointId")? {
        match find::<EndpointRecord>(ctx, &id) {
            Ok(record) => {
                for interface in record.endpoint.network_interface_ids.iter().flatten() {
                    network_interface::detach(ctx, interface)?;
                }
                ctx.tx.delete::<EndpointRecord>(&id)?;
            }
            Err(refusal) => unsuccessful.push(UnsuccessfulItem {
                resource_id: Some(id),
                error: Some(UnsuccessfulItemError {
                    code: Some(refusal.code.to_string()),
                    message: Some(refusal.message),
                }),
            }),
        }
    }
    Ok(DeleteVpcEndpointsResult { unsuccessful: Some(unsuccessful) })
}

/// The routes that gateway endpoints add to a route table.
pub fn routes(ctx: &Ctx<'_>, table: &str, vpc: &str) -> Result<Vec<Route>> {
    let through = |record: EndpointRecord| {
        let there = record.endpoint.route_table_ids.iter().flatten().any(|id| id == table);
        there.then(|| Route {
            destination_prefix_list_id: record.endpoint.service_name.as_deref().map(prefix_list::id_of),
            gateway_id: record.endpoint.vpc_endpoint_id,
            origin: Some("CreateRoute".into()),
            state: Some("active".into()),
            ..Default::default()
        })
    };
    Ok(ctx.tx.children::<EndpointRecord>(vpc)?.into_iter().filter_map(through).collect())
}

/// A deleted route table has no routes.
pub fn forget_route_table(ctx: &mut Ctx<'_>, table: &str, vpc: &str) -> Result<()> {
    for mut record in ctx.tx.children::<EndpointRecord>(vpc)? {
        record.endpoint.route_table_ids.get_or_insert_default().retain(|id| id != table);
        ctx.tx.put(&record)?;
    }
    Ok(())
}

fn add_route_tables(ctx: &Ctx<'_>, record: &mut EndpointRecord, ids: Vec<String>) -> Result<()> {
    let vpc = record.parent();
    let tables = record.endpoint.route_table_ids.get_or_insert_default();
    for id in ids {
        if find::<RouteTableRecord>(ctx, &id)?.parent() != vpc {
            let message = format!("Route table {id} belongs to a different network than the endpoint");
            return Err(error("InvalidParameter", message));
        }
        if !tables.contains(&id) {
            tables.push(id);
        }
    }
    Ok(())
}

fn add_subnets(ctx: &mut Ctx<'_>, record: &mut EndpointRecord, ids: Vec<String>) -> Result<()> {
    for id in ids {
        if record.endpoint.subnet_ids.iter().flatten().any(|held| *held == id) {
            continue;
        }
        if find::<SubnetRecord>(ctx, &id)?.parent() != record.parent() {
            let message = format!("The subnet ID '{id}' is not in the VPC of the endpoint");
            return Err(error("InvalidSubnetId", message));
        }
        let groups = record.endpoint.groups.iter().flatten().filter_map(|group| group.group_id.clone());
        let new = NewInterface {
            subnet: id.clone(),
            security_groups: groups.collect(),
            description: format!("VPC Endpoint Interface {}", record.key()),
            interface_type: "vpc_endpoint".into(),
            ..Default::default()
        };
        let interface = network_interface::attach(ctx, new)?;
        record.endpoint.subnet_ids.get_or_insert_default().push(id);
        record.endpoint.network_interface_ids.get_or_insert_default().push(interface.id);
    }
    Ok(())
}

fn remove_subnets(ctx: &mut Ctx<'_>, record: &mut EndpointRecord, ids: &[String]) -> Result<()> {
    for interface in record.endpoint.network_interface_ids.clone().unwrap_or_default() {
        let subnet = network_interface::named(ctx, &interface)?.parent();
        if ids.contains(&subnet) {
            network_interface::detach(ctx, &interface)?;
            record.endpoint.network_interface_ids.get_or_insert_default().retain(|id| *id != interface);
            record.endpoint.subnet_ids.get_or_insert_default().retain(|id| *id != subnet);
        }
    }
    Ok(())
}

fn change_groups(ctx: &mut Ctx<'_>, record: &mut EndpointRecord, add: Vec<String>, remove: &[String]) -> Result<()> {
    if add.is_empty() && remove.is_empty() {
        return Ok(());
    }
    let mut ids: Vec<String> = record.endpoint.groups.iter().flatten().filter_map(|g| g.group_id.clone()).collect();
    ids.retain(|id| !remove.contains(id));
    for id in add {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() {
        let message = "An interface endpoint must have at least one security group.";
        return Err(error("InvalidParameter", message));
    }
    let groups = network_interface::groups(ctx, &record.parent(), &ids)?;
    for interface in record.endpoint.network_interface_ids.iter().flatten() {
        network_interface::set_groups(ctx, interface, groups.clone())?;
    }
    let shown = groups.into_iter().map(|g| SecurityGroupIdentifier { group_id: g.group_id, group_name: g.group_name });
    record.endpoint.groups = Some(shown.collect());
    Ok(())
}

fn policy(given: Option<String>) -> Result<String> {
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(FULL_ACCESS.into()) };
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(document) if document.get("Statement").is_some() => Ok(text),
        _ => Err(error("InvalidPolicyDocument", "The Policy Document is not valid.")),
    }
}
