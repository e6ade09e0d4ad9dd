//! The events of a service, in ECS's words; the newest 100 are kept.

use super::records::{Service, ServiceEvent, ServiceEvents};
use crate::api::Ctx;
use crate::store::{StoreError, Tx};

const KEPT: usize = 100;

/// How long the same message is not repeated by [`repeat`], in milliseconds.
const QUIET_MS: i64 = 5 * 60 * 1000;

/// Adds `(service <name>) <message>`.
pub fn add(ctx: &Ctx<'_>, service: &Service, message: impl std::fmt::Display) -> Result<(), StoreError> {
    let mut events = all(ctx.tx, &service.arn)?;
    push(ctx, &mut events, service, message);
    ctx.tx.put(&events)
}

/// As [`add`], unless the same was said a short time ago. Returns whether it was added.
pub fn repeat(ctx: &Ctx<'_>, service: &Service, message: impl std::fmt::Display) -> Result<bool, StoreError> {
    let mut events = all(ctx.tx, &service.arn)?;
    let text = format!("(service {}) {message}", service.name);
    let since = ctx.platform.now_ms() - QUIET_MS;
    if events.events.iter().take_while(|event| event.at_ms > since).any(|event| event.message == text) {
        return Ok(false);
    }
    push(ctx, &mut events, service, message);
    ctx.tx.put(&events)?;
    Ok(true)
}

pub fn all(tx: &Tx<'_>, service_arn: &str) -> Result<ServiceEvents, StoreError> {
    let found: Option<ServiceEvents> = tx.get(service_arn)?;
    Ok(found.unwrap_or_else(|| ServiceEvents { service_arn: service_arn.to_owned(), ..ServiceEvents::default() }))
}

fn push(ctx: &Ctx<'_>, events: &mut ServiceEvents, service: &Service, message: impl std::fmt::Display) {
    events.events.push_front(ServiceEvent {
        id: ctx.platform.door.uuid(),
        at_ms: ctx.platform.now_ms(),
        message: format!("(service {}) {message}", service.name),
    });
    events.events.truncate(KEPT);
}
