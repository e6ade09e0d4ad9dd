//! Targets: registering, deregistering and their state. Other modules register through this one.

use super::records::{Target, TargetGroup, TargetType};
use super::{errors, find, limits, uses};
use crate::api::{Ctx, Result};
use crate::platform::Platform;
use crate::store::{Item, StoreError, Tx};
use quarry_domain::address::is_of_tasks;
use quarry_domain::link::{TargetReason, TargetReport, TargetState};
use std::net::Ipv4Addr;

/// A target's health as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub state: TargetState,
    pub reason: Option<TargetReason>,
    pub description: Option<String>,
    /// Requests that it is answering.
    pub in_flight: u32,
}

/// Registers `(id, port)` pairs. What is registered already stays as it is; a draining target that
/// is registered again becomes a new one beside it.
pub fn register(ctx: &mut Ctx<'_>, group_arn: &str, targets: &[(String, u16)]) -> Result<()> {
    let group = find::target_group(ctx.tx, Some(group_arn))?;
    for (id, port) in targets {
        add(ctx.tx, &group, id, *port, None)?;
    }
    Ok(())
}

/// Deregisters `(id, port)` pairs; those that are not registered are no error. A target takes no
/// new request from then on and is gone once it is drained.
pub fn deregister(ctx: &mut Ctx<'_>, group_arn: &str, targets: &[(String, u16)]) -> Result<()> {
    let group = find::target_group(ctx.tx, Some(group_arn))?;
    for target in active(ctx.tx, &group.arn)? {
        if targets.iter().any(|(id, port)| target.id == *id && target.port == *port) {
            remove(ctx, target)?;
        }
    }
    Ok(())
}

/// Removes `(id, port)` at once, draining or not: what stood behind it is dead, so nothing can be
/// in flight.
pub fn deregister_dead(ctx: &mut Ctx<'_>, group_arn: &str, targets: &[(String, u16)]) -> Result<()> {
    for target in ctx.tx.children::<Target>(group_arn)? {
        if targets.iter().any(|(id, port)| target.id == *id && target.port == *port) {
            ctx.tx.delete::<Target>(&target.key())?;
        }
    }
    Ok(())
}

/// State and requests in flight of `(id, port)`; `None` once it is neither registered nor draining.
/// Where it is both, the registration counts.
pub fn state(
    platform: &Platform,
    tx: &Tx<'_>,
    group_arn: &str,
    id: &str,
    port: u16,
) -> Result<Option<(TargetState, u32)>, StoreError> {
    let mut targets: Vec<Target> = tx.children(group_arn)?;
    targets.retain(|target| target.id == id && target.port == port);
    let Some(target) = targets.iter().find(|target| !target.draining).or(targets.last()) else { return Ok(None) };
    let used = !uses::users(tx, group_arn)?.is_empty();
    let health = health(platform, target, used);
    Ok(Some((health.state, health.in_flight)))
}

/// What AWS shows of a target, from what is stored and what the proxies reported.
pub fn health(platform: &Platform, target: &Target, used: bool) -> Health {
    let report: Option<TargetReport> =
        platform.live().targets.get(&(target.target_group_arn.clone(), target.registration)).cloned();
    let in_flight = report.as_ref().map_or(0, |report| report.in_flight);
    let fixed = |state, reason, words: &str| Health {
        state,
        reason: Some(reason),
        description: Some(words.to_owned()),
        in_flight,
    };
    if target.draining {
        let words = "Target deregistration is in progress";
        return fixed(TargetState::Draining, TargetReason::DeregistrationInProgress, words);
    }
    if !used {
        let words = "Target group is not configured to receive traffic from the load balancer";
        return fixed(TargetState::Unused, TargetReason::NotInUse, words);
    }
    match report {
        Some(TargetReport {
            state:
                state @ (TargetState::Healthy | TargetState::Unhealthy | TargetState::Initial | TargetState::Unavailable),
            reason,
            description,
            ..
        }) => Health { state, reason, description, in_flight },
        // Nothing is known of it yet, or only from a time when it was in another state.
        Some(TargetReport { state: TargetState::Unused | TargetState::Draining, .. }) | None => {
            fixed(TargetState::Initial, TargetReason::RegistrationInProgress, "Target registration is in progress")
        }
    }
}

/// The registered targets that are not draining.
pub fn active(tx: &Tx<'_>, group_arn: &str) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = tx.children(group_arn)?;
    targets.retain(|target| !target.draining);
    Ok(targets)
}

/// Registers one target; one that is registered already stays.
pub fn add(tx: &Tx<'_>, group: &TargetGroup, id: &str, port: u16, zone: Option<String>) -> Result<()> {
    check_id(group, id)?;
    let registered = active(tx, &group.arn)?;
    if registered.iter().any(|target| target.id == id && target.port == port) {
        return Ok(());
    }
    if registered.len() >= limits::TARGETS_PER_GROUP {
        return Err(errors::too_many_targets(format!(
            "The maximum number of targets '{}' in target group '{}' has been reached",
            limits::TARGETS_PER_GROUP,
            group.arn
        )));
    }
    let registration = tx.next("elbv2.registration")?;
    let target = Target {
        target_group_arn: group.arn.clone(),
        registration,
        id: id.to_owned(),
        port,
        availability_zone: zone,
        draining: false,
    };
    Ok(tx.put(&target)?)
}

/// Makes a target drain, or removes it where no load balancer can be sending it anything.
pub fn remove(ctx: &Ctx<'_>, mut target: Target) -> Result<()> {
    let used = !uses::users(ctx.tx, &target.target_group_arn)?.is_empty();
    if !used && health(ctx.platform, &target, false).in_flight == 0 {
        ctx.tx.delete::<Target>(&target.key())?;
        return Ok(());
    }
    target.draining = true;
    Ok(ctx.tx.put(&target)?)
}

/// That the id is of the group's target type.
pub fn check_id(group: &TargetGroup, id: &str) -> Result<()> {
    match group.target_type {
        TargetType::Instance => {
            let digits = id.strip_prefix("i-").unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(errors::validation(format!("Instance ID '{id}' is not valid")));
            }
        }
        TargetType::Ip => {
            let Ok(address) = id.parse::<Ipv4Addr>() else {
                return Err(errors::validation(format!("The IP address '{id}' is not a valid IPv4 address")));
            };
            let shared = address.octets()[0] == 100 && (64..128).contains(&address.octets()[1]);
            // Loopback and the hub's range of private addresses are this machine's own.
            if !(address.is_private() || address.is_loopback() || shared || is_of_tasks(address)) {
                return Err(errors::validation(format!(
                    "The IP address '{id}' must be private (RFC 1918 or RFC 6598), a task's, or a loopback address of this machine"
                )));
            }
        }
    }
    Ok(())
}
