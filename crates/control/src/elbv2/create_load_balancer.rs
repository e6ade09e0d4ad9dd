//! `CreateLoadBalancer`: idempotent where the same settings are asked for again.

use super::load_balancers::{
    addresses, check_ip_address_type, check_name, resolve_security_groups, resolve_subnets, shape,
};
use super::records::LoadBalancer;
use super::{errors, find, limits, tags};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{CreateLoadBalancerInput, CreateLoadBalancerOutput};
use quarry_domain::snapshot::LoadBalancerAttributes;
use std::collections::BTreeMap;

pub fn handle(ctx: &mut Ctx<'_>, input: CreateLoadBalancerInput) -> Result<CreateLoadBalancerOutput> {
    let name = find::required(input.name, "name")?;
    check_name(&name, "Load balancer")?;
    match input.r#type.as_deref() {
        None | Some("application") => {}
        Some(kind @ ("network" | "gateway")) => {
            return Err(errors::invalid_configuration(format!(
                "Load balancers with type '{kind}' are not supported here"
            )));
        }
        Some(other) => {
            return Err(errors::constraint(other, "type", "satisfy enum value set: [application, network, gateway]"));
        }
    }
    let scheme = input.scheme.unwrap_or_else(|| "internet-facing".into());
    if !matches!(scheme.as_str(), "internet-facing" | "internal") {
        return Err(errors::constraint(&scheme, "scheme", "satisfy enum value set: [internet-facing, internal]"));
    }
    check_ip_address_type(input.ip_address_type.as_deref())?;
    if input.customer_owned_ipv4_pool.is_some() || input.ipam_pools.is_some() {
        return Err(errors::invalid_configuration("Address pools are not supported here"));
    }
    let tags = tags::read(input.tags)?;
    let (zones, vpc_id) = resolve_subnets(ctx, input.subnets, input.subnet_mappings)?;
    let security_groups = resolve_security_groups(ctx, input.security_groups, &vpc_id)?;

    let others: Vec<LoadBalancer> = ctx.tx.all()?;
    if let Some(existing) = others.iter().find(|other| other.name == name) {
        let same = existing.zones == zones && existing.scheme == scheme && existing.security_groups == security_groups;
        if same {
            let shown = super::load_balancers::show(ctx.platform, ctx.tx, existing)?;
            return Ok(CreateLoadBalancerOutput { load_balancers: Some(vec![shown]) });
        }
        return Err(errors::duplicate_load_balancer_name(format!(
            "A load balancer with the same name '{name}' exists, but with different settings"
        )));
    }
    let quota = ctx.platform.config.quotas.of(limits::LOAD_BALANCERS);
    if others.len() >= quota {
        return Err(errors::too_many_load_balancers(format!(
            "The maximum number of load balancers '{quota}' has been reached"
        )));
    }
    let id = ctx.platform.door.hex(16);
    let place = ctx.platform.place();
    // Like AWS's, the name's number is not the ARN's.
    let number: u32 = u32::from_str_radix(&ctx.platform.door.hex(8), 16).unwrap_or(0);
    let prefix = if scheme == "internal" { "internal-" } else { "" };
    let (address, hub_address) = addresses(ctx, &others)?;
    let balancer = LoadBalancer {
        arn: place.arn("elasticloadbalancing", format_args!("loadbalancer/app/{name}/{id}")),
        dns_name: format!("{prefix}{name}-{number}.{}.elb.localhost", place.region).to_ascii_lowercase(),
        name,
        scheme,
        vpc_id,
        zones,
        security_groups,
        created_ms: ctx.platform.now_ms(),
        address,
        hub_address,
        attributes: LoadBalancerAttributes::default(),
        logs: BTreeMap::new(),
        deletion_protection: false,
    };
    ctx.tx.put(&balancer)?;
    tags::put(ctx.tx, &balancer.arn, tags)?;
    Ok(CreateLoadBalancerOutput { load_balancers: Some(vec![shape(&balancer, "provisioning", None)]) })
}
