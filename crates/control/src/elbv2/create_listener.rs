//! `CreateListener`: idempotent where the same settings are asked for again.

use super::records::{Listener, LoadBalancer};
use super::{actions, errors, find, limits, listeners, tags};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{CreateListenerInput, CreateListenerOutput};
use quarry_domain::arn::resource_part;
use quarry_domain::snapshot::ListenerAttributes;

pub fn handle(ctx: &mut Ctx<'_>, input: CreateListenerInput) -> Result<CreateListenerOutput> {
    let balancer: LoadBalancer = find::load_balancer(ctx.tx, input.load_balancer_arn.as_deref())?;
    let port = input.port.ok_or_else(|| errors::validation("A listener port must be specified"))?;
    let port = errors::in_range(port, "port", 1, 65_535)? as u16;
    listeners::refuse_others(input.alpn_policy, input.mutual_authentication)?;
    let policy = input.ssl_policy.as_deref();
    let (protocol, tls) =
        listeners::read_protocol(ctx.tx, input.protocol.as_deref(), input.certificates, policy, None)?;
    let tags = tags::read(input.tags)?;
    let default_action = actions::read(ctx.tx, &balancer, input.default_actions, "defaultActions")?;

    let others: Vec<Listener> = ctx.tx.children(&balancer.arn)?;
    if let Some(existing) = others.iter().find(|other| other.port == port) {
        let same_tls = match (&existing.tls, &tls) {
            (Some(old), Some(new)) => old.policy == new.policy && old.default_certificate == new.default_certificate,
            (old, new) => old == new,
        };
        if existing.protocol == protocol && same_tls && existing.default_action == default_action {
            return Ok(CreateListenerOutput { listeners: Some(vec![listeners::show(existing)]) });
        }
        return Err(errors::duplicate_listener(format!(
            "A listener already exists on this port for this load balancer '{}'",
            balancer.arn
        )));
    }
    let quota = ctx.platform.config.quotas.of(limits::LISTENERS_PER_LOAD_BALANCER);
    if others.len() >= quota {
        return Err(errors::too_many_listeners(format!(
            "The maximum number of listeners '{quota}' on load balancer '{}' has been reached",
            balancer.arn
        )));
    }
    let place = ctx.platform.place();
    let id = ctx.platform.door.hex(16);
    let within = resource_part(&balancer.arn).trim_start_matches("loadbalancer/").to_owned();
    let listener = Listener {
        arn: place.arn("elasticloadbalancing", format_args!("listener/{within}/{id}")),
        default_rule_arn: place
            .arn("elasticloadbalancing", format_args!("listener-rule/{within}/{id}/{}", ctx.platform.door.hex(16))),
        load_balancer_arn: balancer.arn,
        port,
        protocol,
        tls,
        default_action,
        attributes: ListenerAttributes::default(),
    };
    ctx.tx.put(&listener)?;
    tags::put(ctx.tx, &listener.arn, tags)?;
    Ok(CreateListenerOutput { listeners: Some(vec![listeners::show(&listener)]) })
}
