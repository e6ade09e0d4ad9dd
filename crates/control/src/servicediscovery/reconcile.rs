//! Carries operations out: SUBMITTED → PENDING → SUCCESS or FAIL.

use super::records::{Change, Namespace, NamespaceKind, Operation, OperationStatus, Service};
use super::{find, instance, namespace, operation, service};
use crate::api::{Ctx, Operations, Result, internally};
use crate::platform::Platform;
use crate::wake::Woken;
use std::sync::Arc;
use std::time::Duration;

/// Between looks when no signal comes.
const IDLE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until the platform stops. Blocks.
pub fn run(platform: Arc<Platform>, operations: Arc<Operations>) {
    // From the level before the first pass: what was left by the run before is taken up at once.
    let mut level = platform.store.changed.level();
    loop {
        let wait = match pass(&platform, &operations) {
            Ok(()) => IDLE,
            Err(error) => {
                tracing::error!(%error, "Cloud Map's operations cannot be carried out; it is tried again");
                AGAIN
            }
        };
        if platform.store.changed.wait(&mut level, wait) == Woken::Stop {
            return;
        }
    }
}

/// Finishes everything that is under way.
pub fn pass(platform: &Platform, operations: &Operations) -> Result<()> {
    let waiting = platform.store.read(|tx| tx.children::<Operation>(super::records::UNFINISHED))?;
    if waiting.is_empty() {
        return Ok(());
    }
    internally(platform, operations, |ctx| {
        for mut operation in find::unfinished(ctx)? {
            operation.status = OperationStatus::Pending;
            operation.updated_ms = ctx.platform.now_ms();
            ctx.tx.put(&operation)?;
        }
        Ok(())
    })?;
    internally(platform, operations, |ctx| {
        for mut operation in find::unfinished(ctx)? {
            let outcome = match operation.change.take() {
                Some(change) => carry_out(ctx, &change)?,
                None => Ok(()),
            };
            operation.status = if outcome.is_ok() { OperationStatus::Success } else { OperationStatus::Fail };
            operation.error = outcome.err();
            operation.updated_ms = ctx.platform.now_ms();
            ctx.tx.put(&operation)?;
        }
        operation::forget_old(ctx)
    })
}

/// What is done may have been overtaken by another operation; what is gone needs no change.
fn carry_out(ctx: &mut Ctx<'_>, change: &Change) -> Result<Result<(), (String, String)>> {
    match change {
        Change::CreateNamespace(made) => return namespace::make(ctx, made),
        Change::RegisterInstance(made) => return instance::make(ctx.tx, made),
        Change::UpdateNamespace { id, description, soa_ttl } => {
            if let Some(mut known) = ctx.tx.get::<Namespace>(id)? {
                if description.is_some() {
                    known.description = description.clone();
                }
                if let (NamespaceKind::DnsPrivate { soa_ttl: old, .. }, Some(new)) = (&mut known.kind, soa_ttl) {
                    *old = *new;
                }
                ctx.tx.put(&known)?;
            }
        }
        Change::DeleteNamespace { id } => {
            if !ctx.tx.children::<Service>(id)?.is_empty() {
                return Ok(Err(("INTERNAL_FAILURE".into(), format!("Namespace {id} has services."))));
            }
            ctx.tx.delete::<Namespace>(id)?;
        }
        Change::UpdateService { id, change } => service::change(ctx.tx, id, change)?,
        Change::DeregisterInstance { service_id, instance_id } => {
            instance::remove(ctx.tx, service_id, instance_id)?;
        }
    }
    Ok(Ok(()))
}
