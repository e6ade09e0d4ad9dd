//! `DeleteListener`: with its rules.

use super::records::{Listener, Rule};
use super::{find, tags};
use crate::api::{Ctx, Result};
use crate::cut;
use quarry_aws::elbv2::{DeleteListenerInput, DeleteListenerOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteListenerInput) -> Result<DeleteListenerOutput> {
    let listener = find::listener(ctx.tx, input.listener_arn.as_deref())?;
    delete(ctx, &listener)?;
    Ok(DeleteListenerOutput::default())
}

/// Removes the listener with its rules and all their tags.
pub fn delete(ctx: &Ctx<'_>, listener: &Listener) -> Result<()> {
    cut::rule::guard_listener(ctx.tx, &listener.arn)?;
    for rule in ctx.tx.children::<Rule>(&listener.arn)? {
        ctx.tx.delete::<Rule>(&rule.arn)?;
        tags::forget(ctx.tx, &rule.arn)?;
    }
    ctx.tx.delete::<Listener>(&listener.arn)?;
    tags::forget(ctx.tx, &listener.default_rule_arn)?;
    tags::forget(ctx.tx, &listener.arn)
}
