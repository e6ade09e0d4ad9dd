//! `CreateTargetGroup`: idempotent where the same settings are asked for again.

use super::load_balancers::check_name;
use super::records::{TargetGroup, TargetType};
use super::target_groups::{HealthCheckInput, Names, default_health_check, read_health_check, show};
use super::{errors, find, limits, tags, uses};
use crate::api::{Ctx, Result};
use quarry_aws::ec2;
use quarry_aws::elbv2::{CreateTargetGroupInput, CreateTargetGroupOutput};
use quarry_domain::snapshot::{ListenerProtocol, ProtocolVersion, TargetGroupAttributes};
use std::collections::{BTreeMap, BTreeSet};

pub fn handle(ctx: &mut Ctx<'_>, input: CreateTargetGroupInput) -> Result<CreateTargetGroupOutput> {
    let name = find::required(input.name, "name")?;
    check_name(&name, "Target group")?;
    let target_type = match input.target_type.as_deref() {
        None | Some("instance") => TargetType::Instance,
        Some("ip") => TargetType::Ip,
        Some(kind @ ("lambda" | "alb")) => {
            return Err(errors::invalid_configuration(format!("Target type '{kind}' is not supported here")));
        }
        Some(other) => {
            return Err(errors::constraint(other, "targetType", "satisfy enum value set: [instance, ip, lambda, alb]"));
        }
    };
    let protocol = match input.protocol.as_deref() {
        None => return Err(errors::validation("A protocol must be specified")),
        Some("HTTP") => ListenerProtocol::Http,
        Some("HTTPS") => ListenerProtocol::Https,
        Some(other @ ("TCP" | "TLS" | "UDP" | "TCP_UDP" | "GENEVE" | "QUIC" | "TCP_QUIC")) => {
            return Err(errors::invalid_configuration(format!(
                "Target groups with the {other} protocol are not supported here; use HTTP or HTTPS"
            )));
        }
        Some(other) => {
            return Err(errors::constraint(
                other,
                "protocol",
                "satisfy enum value set: [HTTP, HTTPS, TCP, TLS, UDP, TCP_UDP, GENEVE, QUIC, TCP_QUIC]",
            ));
        }
    };
    let protocol_version = match input.protocol_version.as_deref().filter(|version| !version.is_empty()) {
        None | Some("HTTP1") => ProtocolVersion::Http1,
        Some("HTTP2") => ProtocolVersion::Http2,
        Some(other @ "GRPC") => {
            return Err(errors::invalid_configuration(format!(
                "Protocol version '{other}' is not supported here; use HTTP1 or HTTP2"
            )));
        }
        Some(other) => {
            return Err(errors::validation(format!("Protocol version '{other}' must be one of 'HTTP1, HTTP2, GRPC'")));
        }
    };
    if input.ip_address_type.as_deref().unwrap_or("ipv4") != "ipv4" {
        return Err(errors::invalid_configuration("IPv6 target groups are not supported here; use ipv4"));
    }
    if input.target_control_port.is_some() {
        return Err(errors::invalid_configuration("Target control ports are not supported here"));
    }
    let port = input.port.ok_or_else(|| errors::validation("A port must be specified"))?;
    let port = errors::in_range(port, "port", 1, 65_535)? as u16;
    let vpc_id = input.vpc_id.ok_or_else(|| errors::validation("A VPC ID must be specified"))?;
    let mut health_check = default_health_check();
    health_check.protocol = protocol;
    let wanted = HealthCheckInput {
        enabled: input.health_check_enabled,
        protocol: input.health_check_protocol,
        port: input.health_check_port,
        path: input.health_check_path,
        interval: input.health_check_interval_seconds,
        timeout: input.health_check_timeout_seconds,
        healthy: input.healthy_threshold_count,
        unhealthy: input.unhealthy_threshold_count,
        matcher: input.matcher,
    };
    read_health_check(&mut health_check, wanted, target_type)?;
    let tags = tags::read(input.tags)?;

    let (others, named) = ctx.tx.tally(|names: &Names| (names.0.len(), names.0.get(&name).cloned()))?;
    let named: Option<TargetGroup> = named.map(|arn| ctx.tx.get(&arn)).transpose()?.flatten();
    if let Some(existing) = named {
        let same = existing.protocol == protocol
            && existing.protocol_version == protocol_version
            && existing.port == port
            && existing.vpc_id == vpc_id
            && existing.target_type == target_type
            && existing.health_check == health_check;
        if same {
            let shown = show(&existing, uses::users(ctx.tx, &existing.arn)?);
            return Ok(CreateTargetGroupOutput { target_groups: Some(vec![shown]) });
        }
        return Err(errors::duplicate_target_group_name(format!(
            "A target group with the same name '{name}' exists, but with different settings"
        )));
    }
    if others >= ctx.platform.config.quotas.of(limits::TARGET_GROUPS) {
        return Err(errors::too_many_target_groups("You've reached the limit on the number of target groups"));
    }
    let vpcs = ec2::DescribeVpcsRequest { vpc_ids: Some(vec![vpc_id.clone()]), ..Default::default() };
    match ctx.invoke::<ec2::op::DescribeVpcs>(vpcs) {
        Ok(output) if output.vpcs.as_ref().is_some_and(|vpcs| !vpcs.is_empty()) => {}
        Err(error) if error.status >= 500 => return Err(error),
        Ok(_) | Err(_) => return Err(errors::validation(format!("The VPC ID '{vpc_id}' is not found"))),
    }
    let id = ctx.platform.door.hex(16);
    let group = TargetGroup {
        arn: ctx.platform.place().arn("elasticloadbalancing", format_args!("targetgroup/{name}/{id}")),
        name,
        protocol,
        protocol_version,
        port,
        vpc_id,
        target_type,
        health_check,
        attributes: TargetGroupAttributes::default(),
        stickiness: BTreeMap::new(),
        equal: BTreeMap::new(),
        created_ms: ctx.platform.now_ms(),
    };
    ctx.tx.put(&group)?;
    tags::put(ctx.tx, &group.arn, tags)?;
    Ok(CreateTargetGroupOutput { target_groups: Some(vec![show(&group, BTreeSet::new())]) })
}
