//! Services: what names and health their instances have.

use super::find::{self, invalid, new_id, page};
use super::records::{
    Change, Dns, DnsRecord, Instance, Namespace, NamespaceKind, OperationType, RecordType, RoutingPolicy, Service,
};
use super::{check, filter, operation};
use crate::api::{Ctx, Result};
use crate::store::{StoreError, Tx};
use quarry_aws::servicediscovery as aws;
use quarry_aws::servicediscovery::error;
use quarry_wire::Timestamp;

pub fn create(ctx: &mut Ctx<'_>, input: aws::CreateServiceRequest) -> Result<aws::CreateServiceResponse> {
    let name = input.name.unwrap_or_default();
    check::service_name(&name)?;
    let inner = input.dns_config.as_ref().and_then(|dns| dns.namespace_id.clone());
    let namespace = match (&input.namespace_id, &inner) {
        (None, None) => return Err(invalid("A namespace ID is required.")),
        (Some(outer), Some(inner)) if find::id_of(Some(outer), "namespace/") != inner => {
            return Err(invalid("NamespaceId and DnsConfig.NamespaceId must be the same."));
        }
        (outer, inner) => find::namespace(ctx, outer.as_deref().or(inner.as_deref()))?,
    };
    find::not_under_way(ctx, |change| matches!(change, Change::DeleteNamespace { id } if *id == namespace.id))?;
    let api_only = input.r#type.is_some();
    let dns = match (input.dns_config, &namespace.kind) {
        (Some(_), NamespaceKind::Http) => {
            return Err(invalid("A service in an HTTP namespace cannot have a DNS configuration."));
        }
        (Some(_), NamespaceKind::DnsPrivate { .. }) if api_only => {
            return Err(invalid("A service of type HTTP cannot have a DNS configuration."));
        }
        (None, NamespaceKind::DnsPrivate { .. }) if !api_only => {
            return Err(invalid("A service in a DNS namespace must have a DNS configuration, or be of type HTTP."));
        }
        (Some(dns), NamespaceKind::DnsPrivate { .. }) => Some(dns_config(dns)?),
        (None, NamespaceKind::Http | NamespaceKind::DnsPrivate { .. }) => None,
    };
    no_route53_health_check(&namespace, input.health_check_config.as_ref())?;
    let same_name = |other: &Service| match dns {
        Some(_) => other.name.eq_ignore_ascii_case(&name),
        None => other.name == name,
    };
    if let Some(other) = ctx.tx.children::<Service>(&namespace.id)?.into_iter().find(same_name) {
        let error = error::service_already_exists("Service already exists.")
            .with("ServiceId", other.id)
            .with("ServiceArn", other.arn);
        return Err(match other.creator_request_id {
            Some(id) => error.with("CreatorRequestId", id),
            None => error,
        });
    }
    let id = new_id(ctx, "srv-");
    let service = Service {
        arn: ctx.platform.place().arn("servicediscovery", format_args!("service/{id}")),
        id,
        name,
        namespace_id: namespace.id,
        description: input.description,
        dns,
        custom_health: input.health_check_custom_config.is_some(),
        creator_request_id: input.creator_request_id,
        created_ms: ctx.platform.now_ms(),
        attributes: Default::default(),
        tags: check::tags(input.tags, "service")?,
        revision: 1,
    };
    ctx.tx.put(&service)?;
    Ok(aws::CreateServiceResponse { service: Some(show(ctx, service)?) })
}

fn dns_config(given: aws::DnsConfig) -> Result<Dns> {
    let records = records(given.dns_records)?;
    let is = |kind| records.iter().any(|record| record.kind == kind);
    let policy = match given.routing_policy.as_deref() {
        Some("WEIGHTED") => RoutingPolicy::Weighted,
        _ => RoutingPolicy::Multivalue,
    };
    if records.is_empty() {
        return Err(invalid("A DNS configuration must have at least one DNS record."));
    }
    if is(RecordType::Cname) && records.len() > 1 {
        return Err(invalid("A DNS record of type CNAME cannot be combined with other types."));
    }
    if is(RecordType::Cname) && policy != RoutingPolicy::Weighted {
        return Err(invalid("A DNS record of type CNAME needs the routing policy WEIGHTED."));
    }
    Ok(Dns { policy, records })
}

fn records(given: Option<Vec<aws::DnsRecord>>) -> Result<Vec<DnsRecord>> {
    let mut records: Vec<DnsRecord> = Vec::new();
    for record in given.unwrap_or_default() {
        let kind = record.r#type.unwrap_or_default();
        let parsed = RecordType::parse(&kind);
        let parsed = parsed.ok_or_else(|| invalid(format!("The record type '{kind}' is not valid.")))?;
        if records.iter().any(|other| other.kind == parsed) {
            return Err(invalid(format!("The record type {kind} is given twice.")));
        }
        let ttl = record.ttl.and_then(|ttl| u32::try_from(ttl).ok());
        records.push(DnsRecord { kind: parsed, ttl: ttl.ok_or_else(|| invalid("A DNS record needs a TTL."))? });
    }
    Ok(records)
}

/// Health checks of Route 53 are for what the internet reaches; nothing here is such.
fn no_route53_health_check(namespace: &Namespace, given: Option<&aws::HealthCheckConfig>) -> Result<()> {
    match (given, &namespace.kind) {
        (None, _) => Ok(()),
        (Some(_), NamespaceKind::DnsPrivate { .. }) => {
            Err(invalid("HealthCheckConfig is not valid in a private DNS namespace; use HealthCheckCustomConfig."))
        }
        (Some(_), NamespaceKind::Http) => Err(invalid(
            "Route 53 health checks (HealthCheckConfig) are not supported here; use HealthCheckCustomConfig.",
        )),
    }
}

pub fn get(ctx: &mut Ctx<'_>, input: aws::GetServiceRequest) -> Result<aws::GetServiceResponse> {
    let service = find::service(ctx, input.id.as_deref())?;
    Ok(aws::GetServiceResponse { service: Some(show(ctx, service)?) })
}

pub fn list(ctx: &mut Ctx<'_>, input: aws::ListServicesRequest) -> Result<aws::ListServicesResponse> {
    let mut found: Vec<Service> = ctx.tx.all()?;
    for given in input.filters.unwrap_or_default() {
        let filter = filter::Filter::new(given.name, given.condition, given.values);
        filter.check(&[("NAMESPACE_ID", &["EQ"]), ("RESOURCE_OWNER", &["EQ"])])?;
        found.retain(|service| match filter.name.as_str() {
            "NAMESPACE_ID" => find::id_of(Some(&filter.values[0]), "namespace/") == service.namespace_id,
            _ => filter.passes("SELF"),
        });
    }
    let (found, next_token) = page(found, |s| s.id.clone(), input.next_token.as_deref(), input.max_results)?;
    let mut services = Vec::new();
    for service in found {
        let shown = show(ctx, service)?;
        services.push(aws::ServiceSummary {
            arn: shown.arn,
            create_date: shown.create_date,
            created_by_account: shown.created_by_account,
            description: shown.description,
            dns_config: shown.dns_config,
            health_check_config: shown.health_check_config,
            health_check_custom_config: shown.health_check_custom_config,
            id: shown.id,
            instance_count: shown.instance_count,
            name: shown.name,
            resource_owner: shown.resource_owner,
            r#type: shown.r#type,
        });
    }
    Ok(aws::ListServicesResponse { next_token, services: Some(services) })
}

pub fn update(ctx: &mut Ctx<'_>, input: aws::UpdateServiceRequest) -> Result<aws::UpdateServiceResponse> {
    let service = find::service(ctx, input.id.as_deref())?;
    let change = input.service.unwrap_or_default();
    let namespace = find::namespace(ctx, Some(&service.namespace_id))?;
    if namespace.kind == NamespaceKind::Http {
        return Err(invalid("A service in an HTTP namespace cannot be updated."));
    }
    no_route53_health_check(&namespace, change.health_check_config.as_ref())?;
    if let Some(dns) = &change.dns_config {
        let mut new: Vec<_> = records(dns.dns_records.clone())?.iter().map(|record| record.kind).collect();
        let mut old: Vec<_> = service.dns.iter().flat_map(|dns| &dns.records).map(|record| record.kind).collect();
        new.sort_unstable();
        old.sort_unstable();
        // None at all takes the records away; other types need another service.
        if !new.is_empty() && new != old {
            return Err(invalid("The record types of a service cannot be changed."));
        }
    }
    find::not_under_way(ctx, |change| matches!(change, Change::UpdateService { id, .. } if *id == service.id))?;
    let targets = [("SERVICE", service.id.clone())];
    let change = Change::UpdateService { id: service.id, change: Box::new(change) };
    let operation_id = Some(operation::begin(ctx, OperationType::UpdateService, targets, change, None)?);
    Ok(aws::UpdateServiceResponse { operation_id })
}

/// Carries out an update that was checked. What is left out of it goes: AWS's documentation of UpdateService
/// says so of DnsRecords.
pub fn change(tx: &Tx<'_>, id: &str, change: &aws::ServiceChange) -> Result<()> {
    let found: Option<Service> = tx.get(id)?;
    let Some(mut service) = found else { return Ok(()) };
    if change.description.is_some() {
        service.description = change.description.clone();
    }
    if let Some(dns) = &mut service.dns {
        dns.records = records(change.dns_config.as_ref().and_then(|dns| dns.dns_records.clone()))?;
    }
    Ok(tx.put(&service)?)
}

pub fn delete(ctx: &mut Ctx<'_>, input: aws::DeleteServiceRequest) -> Result<aws::DeleteServiceResponse> {
    let service = find::service(ctx, input.id.as_deref())?;
    let registering = find::unfinished(ctx)?.iter().any(|operation| {
        matches!(&operation.change, Some(Change::RegisterInstance(instance)) if instance.service_id == service.id)
    });
    if registering || !ctx.tx.children::<Instance>(&service.id)?.is_empty() {
        return Err(error::resource_in_use(
            "Service contains registered instances; delete the instances before deleting the service",
        ));
    }
    ctx.tx.delete::<Service>(&service.id)?;
    Ok(aws::DeleteServiceResponse {})
}

fn show(ctx: &Ctx<'_>, service: Service) -> Result<aws::Service, StoreError> {
    let account = ctx.platform.place().account.clone();
    let instances = ctx.tx.children::<Instance>(&service.id)?.len();
    let record = |record: &DnsRecord| aws::DnsRecord {
        r#type: Some(record.kind.as_str().to_owned()),
        ttl: Some(i64::from(record.ttl)),
    };
    Ok(aws::Service {
        arn: Some(service.arn),
        create_date: Some(Timestamp::from_millis(service.created_ms)),
        created_by_account: Some(account.clone()),
        creator_request_id: service.creator_request_id,
        description: service.description,
        r#type: Some(if service.dns.is_some() { "DNS_HTTP" } else { "HTTP" }.to_owned()),
        dns_config: service.dns.map(|dns| aws::DnsConfig {
            dns_records: Some(dns.records.iter().map(record).collect()),
            namespace_id: Some(service.namespace_id.clone()),
            routing_policy: Some(dns.policy.as_str().to_owned()),
        }),
        health_check_config: None,
        // The threshold is always 1, whatever was asked for: AWS's documentation of HealthCheckCustomConfig.
        health_check_custom_config: service
            .custom_health
            .then_some(aws::HealthCheckCustomConfig { failure_threshold: Some(1) }),
        id: Some(service.id),
        instance_count: Some(instances as i32),
        name: Some(service.name),
        namespace_id: Some(service.namespace_id),
        resource_owner: Some(account),
    })
}
