//! Instances: registered, deregistered, shown; how they are.

use super::find::{self, invalid, page};
use super::records::{
    Change, Instance, NamespaceKind, OperationType, RecordType, RoutingPolicy, Service, instance_key,
};
use super::{check, operation};
use crate::api::{Ctx, Result};
use crate::elbv2::records::LoadBalancer;
use crate::store::{StoreError, Tx};
use quarry_aws::ec2;
use quarry_aws::servicediscovery as aws;
use quarry_aws::servicediscovery::error;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

pub const IPV4: &str = "AWS_INSTANCE_IPV4";
pub const IPV6: &str = "AWS_INSTANCE_IPV6";
pub const PORT: &str = "AWS_INSTANCE_PORT";
pub const CNAME: &str = "AWS_INSTANCE_CNAME";
pub const ALIAS: &str = "AWS_ALIAS_DNS_NAME";
pub const INIT_HEALTH: &str = "AWS_INIT_HEALTH_STATUS";
const EC2_INSTANCE: &str = "AWS_EC2_INSTANCE_ID";

/// Instances that one service can have.
const MOST_INSTANCES: usize = 1000;

type Attributes = BTreeMap<String, String>;

pub fn register(ctx: &mut Ctx<'_>, input: aws::RegisterInstanceRequest) -> Result<aws::RegisterInstanceResponse> {
    let service = find::service(ctx, input.service_id.as_deref())?;
    let id = input.instance_id.unwrap_or_default();
    check::instance_id(&id)?;
    let mut attributes = input.attributes.unwrap_or_default();
    check::attributes(&attributes)?;
    let in_http_namespace = find::namespace(ctx, Some(&service.namespace_id))?.kind == NamespaceKind::Http;
    ec2_address(ctx, &mut attributes, in_http_namespace)?;
    check_attributes(&service, &attributes)?;
    nothing_under_way(ctx, &service, &id)?;
    let known: Option<Instance> = ctx.tx.get(&instance_key(&service.id, &id))?;
    if known.is_none() && ctx.tx.children::<Instance>(&service.id)?.len() >= MOST_INSTANCES {
        return Err(error::resource_limit_exceeded(format!(
            "The limit of {MOST_INSTANCES} instances in service {} has been reached.",
            service.id
        )));
    }
    let targets = [("INSTANCE", id.clone()), ("SERVICE", service.id.clone()), ("NAMESPACE", service.namespace_id)];
    let request = input.creator_request_id;
    let healthy = attributes.get(INIT_HEALTH).is_none_or(|health| health == "HEALTHY");
    let creator_request_id = request.clone();
    let instance = Instance { service_id: service.id, id, attributes, creator_request_id, healthy, task: None };
    let change = Change::RegisterInstance(Box::new(instance));
    let operation_id = Some(operation::begin(ctx, OperationType::RegisterInstance, targets, change, request)?);
    Ok(aws::RegisterInstanceResponse { operation_id })
}

fn nothing_under_way(ctx: &Ctx<'_>, service: &Service, id: &str) -> Result<()> {
    find::not_under_way(ctx, |change| match change {
        Change::RegisterInstance(other) => other.service_id == service.id && other.id == id,
        Change::DeregisterInstance { service_id, instance_id } => *service_id == service.id && instance_id == id,
        Change::CreateNamespace(_)
        | Change::UpdateNamespace { .. }
        | Change::DeleteNamespace { .. }
        | Change::UpdateService { .. } => false,
    })
}

/// Fills in the address of an EC2 instance that is named.
fn ec2_address(ctx: &mut Ctx<'_>, attributes: &mut Attributes, in_http_namespace: bool) -> Result<()> {
    let Some(id) = attributes.get(EC2_INSTANCE).cloned() else { return Ok(()) };
    if !in_http_namespace {
        return Err(invalid(format!("{EC2_INSTANCE} is valid in HTTP namespaces only.")));
    }
    if let Some(other) = attributes.keys().find(|key| ![EC2_INSTANCE, INIT_HEALTH].contains(&key.as_str())) {
        return Err(invalid(format!("{other} cannot be specified with {EC2_INSTANCE}.")));
    }
    let input = ec2::DescribeInstancesRequest { instance_ids: Some(vec![id.clone()]), ..Default::default() };
    let missing = || invalid(format!("The EC2 instance {id} was not found."));
    let found = match ctx.invoke::<ec2::op::DescribeInstances>(input) {
        Ok(found) => found.reservations.into_iter().flatten().flat_map(|r| r.instances.unwrap_or_default()).next(),
        Err(error) if error.status >= 500 => return Err(error),
        Err(_) => None,
    };
    let address = found.and_then(|instance| instance.private_ip_address).ok_or_else(missing)?;
    attributes.insert(IPV4.to_owned(), address);
    Ok(())
}

/// Whether the attributes say what the service's records need.
fn check_attributes(service: &Service, attributes: &Attributes) -> Result<()> {
    let has = |key: &str| attributes.contains_key(key);
    let needs = |key: &str, kind: RecordType| match has(key) {
        true => Ok(()),
        false => Err(invalid(format!("The attribute {key} is required for a service with {} records.", kind.as_str()))),
    };
    let form = |key: &str, valid: fn(&str) -> bool| match attributes.get(key) {
        Some(value) if !valid(value) => Err(invalid(format!("The value '{value}' of {key} is not valid."))),
        Some(_) | None => Ok(()),
    };
    form(IPV4, |text| text.parse::<Ipv4Addr>().is_ok())?;
    form(IPV6, |text| text.parse::<Ipv6Addr>().is_ok())?;
    form(PORT, |text| text.parse::<u16>().is_ok_and(|port| port > 0))?;
    form(CNAME, check::is_domain_name)?;
    form(INIT_HEALTH, |text| matches!(text, "HEALTHY" | "UNHEALTHY"))?;
    if has(INIT_HEALTH) && !service.custom_health {
        return Err(invalid(format!("{INIT_HEALTH} needs a service with HealthCheckCustomConfig.")));
    }
    let Some(dns) = &service.dns else { return Ok(()) };
    let is = |kind| service.record(kind).is_some();
    if has(ALIAS) {
        if dns.policy != RoutingPolicy::Weighted {
            return Err(invalid("ALIAS instance can be registered only in services with WEIGHTED routing policy"));
        }
        if !is(RecordType::A) && !is(RecordType::Aaaa) {
            return Err(invalid("ALIAS instance can be registered only in services with A or AAAA records"));
        }
        return match attributes.keys().find(|key| key.starts_with("AWS_INSTANCE_")) {
            Some(other) => Err(invalid(format!("{other} cannot be specified with {ALIAS}."))),
            None => Ok(()),
        };
    }
    for record in &dns.records {
        match record.kind {
            RecordType::A => needs(IPV4, record.kind)?,
            RecordType::Aaaa => needs(IPV6, record.kind)?,
            RecordType::Cname => needs(CNAME, record.kind)?,
            RecordType::Srv => {
                needs(PORT, record.kind)?;
                if !has(IPV6) {
                    needs(IPV4, record.kind)?;
                }
            }
        }
    }
    Ok(())
}

/// Registers it; the other way is a code of `Operation.ErrorCode` and its message.
pub fn make(tx: &Tx<'_>, instance: &Instance) -> Result<Result<(), (String, String)>> {
    let found: Option<Service> = tx.get(&instance.service_id)?;
    let Some(mut service) = found else {
        return Ok(Err(("INTERNAL_FAILURE".into(), format!("Service {} is gone.", instance.service_id))));
    };
    if let Some(name) = instance.attributes.get(ALIAS).filter(|_| service.dns.is_some())
        && load_balancer(tx, name)?.is_none()
    {
        let message = format!("The alias target {name} is not a load balancer of this account.");
        return Ok(Err(("INVALID_CHANGE_BATCH".into(), message)));
    }
    service.revision += 1;
    tx.put(&service)?;
    tx.put(instance)?;
    Ok(Ok(()))
}

/// The load balancer with this DNS name.
fn load_balancer(tx: &Tx<'_>, name: &str) -> Result<Option<LoadBalancer>, StoreError> {
    let wanted = alias_target(name);
    Ok(tx.all::<LoadBalancer>()?.into_iter().find(|balancer| balancer.dns_name.to_ascii_lowercase() == wanted))
}

/// A load balancer's name as an alias gives it, in lower case, without what Route 53 puts before it.
pub fn alias_target(name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.strip_prefix("dualstack.").map(str::to_owned).unwrap_or(name)
}

pub fn deregister(ctx: &mut Ctx<'_>, input: aws::DeregisterInstanceRequest) -> Result<aws::DeregisterInstanceResponse> {
    let service = find::service(ctx, input.service_id.as_deref())?;
    let id = input.instance_id.unwrap_or_default();
    nothing_under_way(ctx, &service, &id)?;
    find::instance(ctx, &service, &id)?;
    let targets = [("INSTANCE", id.clone()), ("SERVICE", service.id.clone()), ("NAMESPACE", service.namespace_id)];
    let change = Change::DeregisterInstance { service_id: service.id, instance_id: id };
    let operation_id = Some(operation::begin(ctx, OperationType::DeregisterInstance, targets, change, None)?);
    Ok(aws::DeregisterInstanceResponse { operation_id })
}

/// Takes an instance away; returns whether there was one.
pub fn remove(tx: &Tx<'_>, service_id: &str, id: &str) -> Result<bool, StoreError> {
    let removed = tx.delete::<Instance>(&instance_key(service_id, id))?;
    if removed && let Some(mut service) = tx.get::<Service>(service_id)? {
        service.revision += 1;
        tx.put(&service)?;
    }
    Ok(removed)
}

pub fn get(ctx: &mut Ctx<'_>, input: aws::GetInstanceRequest) -> Result<aws::GetInstanceResponse> {
    let service = find::service(ctx, input.service_id.as_deref())?;
    let instance = find::instance(ctx, &service, input.instance_id.as_deref().unwrap_or_default())?;
    let account = &ctx.platform.place().account;
    Ok(aws::GetInstanceResponse {
        instance: Some(aws::Instance {
            attributes: Some(instance.attributes),
            created_by_account: Some(account.clone()),
            creator_request_id: instance.creator_request_id,
            id: Some(instance.id),
        }),
        resource_owner: Some(account.clone()),
    })
}

pub fn list(ctx: &mut Ctx<'_>, input: aws::ListInstancesRequest) -> Result<aws::ListInstancesResponse> {
    let service = find::service(ctx, input.service_id.as_deref())?;
    let found: Vec<Instance> = ctx.tx.children(&service.id)?;
    let (found, next_token) = page(found, |i| i.id.clone(), input.next_token.as_deref(), input.max_results)?;
    let account = &ctx.platform.place().account;
    let show = |instance: Instance| aws::InstanceSummary {
        attributes: Some(instance.attributes),
        created_by_account: Some(account.clone()),
        id: Some(instance.id),
    };
    Ok(aws::ListInstancesResponse {
        instances: Some(found.into_iter().map(show).collect()),
        next_token,
        resource_owner: Some(account.clone()),
    })
}

/// `HealthStatus` of an instance: unknown where the service has no health check.
pub fn health(service: &Service, instance: &Instance) -> &'static str {
    match (service.custom_health, instance.healthy) {
        (false, _) => "UNKNOWN",
        (true, true) => "HEALTHY",
        (true, false) => "UNHEALTHY",
    }
}

pub fn health_status(
    ctx: &mut Ctx<'_>,
    input: aws::GetInstancesHealthStatusRequest,
) -> Result<aws::GetInstancesHealthStatusResponse> {
    let service = find::service(ctx, input.service_id.as_deref())?;
    let found: Vec<Instance> = match input.instances {
        Some(ids) => ids.iter().map(|id| find::instance(ctx, &service, id)).collect::<Result<_>>()?,
        None => ctx.tx.children(&service.id)?,
    };
    let (found, next_token) = page(found, |i| i.id.clone(), input.next_token.as_deref(), input.max_results)?;
    let status = found.iter().map(|instance| (instance.id.clone(), health(&service, instance).to_owned()));
    Ok(aws::GetInstancesHealthStatusResponse { next_token, status: Some(status.collect()) })
}

/// Takes effect at once; AWS waits about 30 seconds.
pub fn update_custom_health(
    ctx: &mut Ctx<'_>,
    input: aws::UpdateInstanceCustomHealthStatusRequest,
) -> Result<quarry_wire::Empty> {
    let service = find::service(ctx, input.service_id.as_deref())?;
    let instance = find::instance(ctx, &service, input.instance_id.as_deref().unwrap_or_default())?;
    if !service.custom_health {
        return Err(error::custom_health_not_found(format!(
            "Service {} has no custom health check configuration.",
            service.id
        )));
    }
    set_health(ctx.tx, service, instance, input.status.as_deref() == Some("HEALTHY"))?;
    Ok(quarry_wire::Empty {})
}

pub fn set_health(tx: &Tx<'_>, mut service: Service, mut instance: Instance, healthy: bool) -> Result<(), StoreError> {
    if instance.healthy != healthy {
        instance.healthy = healthy;
        service.revision += 1;
        tx.put(&instance)?;
        tx.put(&service)?;
    }
    Ok(())
}
