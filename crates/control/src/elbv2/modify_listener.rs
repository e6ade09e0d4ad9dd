//! `ModifyListener`: what is not named stays.

use super::records::{Listener, LoadBalancer};
use super::{actions, errors, find, listener_attributes, listeners};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{ModifyListenerInput, ModifyListenerOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ModifyListenerInput) -> Result<ModifyListenerOutput> {
    let mut listener = find::listener(ctx.tx, input.listener_arn.as_deref())?;
    let balancer: LoadBalancer = find::load_balancer(ctx.tx, Some(&listener.load_balancer_arn))?;
    listeners::refuse_others(input.alpn_policy, input.mutual_authentication)?;
    if let Some(port) = input.port {
        let port = errors::in_range(port, "port", 1, 65_535)? as u16;
        let others: Vec<Listener> = ctx.tx.children(&balancer.arn)?;
        if others.iter().any(|other| other.port == port && other.arn != listener.arn) {
            return Err(errors::duplicate_listener(format!(
                "A listener already exists on this port for this load balancer '{}'",
                balancer.arn
            )));
        }
        listener.port = port;
    }
    let protocol = input.protocol.as_deref().unwrap_or(listeners::protocol_name(listener.protocol));
    let (protocol, tls) = listeners::read_protocol(
        ctx.tx,
        Some(protocol),
        input.certificates,
        input.ssl_policy.as_deref(),
        listener.tls.as_ref(),
    )?;
    (listener.protocol, listener.tls) = (protocol, tls);
    listener_attributes::retain(&mut listener);
    if let Some(actions) = input.default_actions.filter(|actions| !actions.is_empty()) {
        listener.default_action = actions::read(ctx.tx, &balancer, Some(actions), "defaultActions")?;
    }
    ctx.tx.put(&listener)?;
    Ok(ModifyListenerOutput { listeners: Some(vec![listeners::show(&listener)]) })
}
