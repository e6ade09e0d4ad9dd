//! DiscoverInstances: by the names of namespace and service.

use super::find;
use super::instance::health;
use super::records::{Instance, Namespace, Service};
use crate::api::{Ctx, Result};
use quarry_aws::servicediscovery as aws;
use quarry_aws::servicediscovery::error;
use std::collections::BTreeMap;

/// Instances that one answer has unless fewer or more are asked for.
const USUAL: usize = 100;

pub fn instances(ctx: &mut Ctx<'_>, input: aws::DiscoverInstancesRequest) -> Result<aws::DiscoverInstancesResponse> {
    let (namespace, service) = named(ctx, input.namespace_name, input.service_name, input.owner_account)?;
    let mut found: Vec<Instance> = ctx.tx.children(&service.id)?;
    let matches = |instance: &Instance, wanted: &BTreeMap<String, String>| {
        wanted.iter().all(|(key, value)| instance.attributes.get(key) == Some(value))
    };
    found.retain(|instance| matches(instance, &input.query_parameters.clone().unwrap_or_default()));
    if service.custom_health {
        by_health(&mut found, input.health_status.as_deref());
    }
    if let Some(optional) = input.optional_parameters
        && found.iter().any(|instance| matches(instance, &optional))
    {
        found.retain(|instance| matches(instance, &optional));
    }
    shuffle(ctx, &mut found);
    found.truncate(input.max_results.map_or(USUAL, |most| most.max(1) as usize));
    let show = |instance: Instance| aws::HttpInstanceSummary {
        health_status: Some(health(&service, &instance).to_owned()),
        attributes: Some(instance.attributes),
        instance_id: Some(instance.id),
        namespace_name: Some(namespace.http_name.clone()),
        service_name: Some(service.name.clone()),
    };
    Ok(aws::DiscoverInstancesResponse {
        instances: Some(found.into_iter().map(show).collect()),
        instances_revision: Some(service.revision),
    })
}

pub fn revision(
    ctx: &mut Ctx<'_>,
    input: aws::DiscoverInstancesRevisionRequest,
) -> Result<aws::DiscoverInstancesRevisionResponse> {
    let (_, service) = named(ctx, input.namespace_name, input.service_name, input.owner_account)?;
    Ok(aws::DiscoverInstancesRevisionResponse { instances_revision: Some(service.revision) })
}

/// Without a filter the healthy ones, and all where none is: as in DNS.
fn by_health(found: &mut Vec<Instance>, wanted: Option<&str>) {
    match wanted {
        Some("ALL") => {}
        Some("HEALTHY") => found.retain(|instance| instance.healthy),
        Some("UNHEALTHY") => found.retain(|instance| !instance.healthy),
        Some(_) | None => {
            if found.iter().any(|instance| instance.healthy) {
                found.retain(|instance| instance.healthy);
            }
        }
    }
}

/// In an order of its own each time, so that callers who take the first spread their connections.
fn shuffle(ctx: &Ctx<'_>, items: &mut [Instance]) {
    for last in (1..items.len()).rev() {
        let mut bytes = [0; 8];
        ctx.platform.door.entropy.fill(&mut bytes);
        items.swap(last, (u64::from_le_bytes(bytes) % (last as u64 + 1)) as usize);
    }
}

fn named(
    ctx: &Ctx<'_>,
    namespace: Option<String>,
    service: Option<String>,
    owner: Option<String>,
) -> Result<(Namespace, Service)> {
    let (namespace, service) = (namespace.unwrap_or_default(), service.unwrap_or_default());
    let own = owner.is_none_or(|owner| owner == ctx.platform.place().account);
    let found = ctx.tx.all::<Namespace>()?.into_iter().find(|known| own && known.http_name == namespace);
    let found = found.ok_or_else(|| error::namespace_not_found(format!("Namespace {namespace} was not found.")))?;
    let known = ctx.tx.children::<Service>(&found.id)?.into_iter().find(|known| known.name == service);
    let known = known.ok_or_else(|| find::no_service(&service))?;
    Ok((found, known))
}
