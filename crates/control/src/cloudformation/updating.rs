//! The beginning of an update, however it was asked for.

use super::changes::Changes;
use super::records::{ChangeSet, Phase, ResourceStatus, Revision, Stack, StackResource, StackStatus, Update};
use super::template::Template;
use super::world::refused;
use super::{carry, changes, events, exists, intake, policy};
use crate::api::{Ctx, Result};

/// What an update is asked to do besides its revision.
#[derive(Default)]
pub struct Manner {
    /// A failure leaves everything as it is then.
    pub preserve: bool,
    pub delete_new: bool,
    /// A stack policy for this update alone.
    pub policy: Option<String>,
    pub token: Option<String>,
}

/// Refuses a stack that cannot be updated in its state.
pub fn check_state(stack: &Stack) -> Result<()> {
    match stack.status {
        StackStatus::CreateComplete
        | StackStatus::UpdateComplete
        | StackStatus::UpdateRollbackComplete
        | StackStatus::CreateFailed
        | StackStatus::UpdateFailed => Ok(()),
        other => Err(refused(format!("Stack:{} is in {} state and can not be updated.", stack.id, other.as_str()))),
    }
}

/// The stack as the update makes it, checked as far as can be before, and what it changes.
pub fn propose(ctx: &mut Ctx<'_>, stack: &Stack, revision: Revision, template: &Template) -> Result<(Stack, Changes)> {
    let mut new = Stack { revision, ..stack.clone() };
    intake::rehearse(ctx, &mut new, template)?;
    let changes = changes::between(ctx, stack, &new)?;
    Ok((new, changes))
}

/// Begins the update: the reconciler carries it out.
pub fn begin(
    ctx: &mut Ctx<'_>,
    mut stack: Stack,
    revision: Revision,
    template: &Template,
    changes: &Changes,
    manner: Manner,
) -> Result<()> {
    let before = match (&stack.status, stack.update.take()) {
        // The way back leads to what was complete at last.
        (StackStatus::UpdateFailed, Some(update)) => update.before,
        (StackStatus::CreateFailed, _) => None,
        _ => Some(stack.revision.clone()),
    };
    stack.update = Some(Update { before, policy: manner.policy, preserve: manner.preserve });
    stack.revision = revision;
    stack.delete_new = manner.delete_new;
    stack.token = manner.token;
    stack.updated_ms = Some(ctx.platform.now_ms());
    events::stack(ctx, &mut stack, StackStatus::UpdateInProgress, Some("User Initiated".into()))?;
    for mut set in ctx.tx.children::<ChangeSet>(&stack.id)? {
        if !set.executed && !set.obsolete {
            set.obsolete = true;
            ctx.tx.put(&set)?;
        }
    }
    for mut record in ctx.tx.children::<StackResource>(&stack.id)? {
        let gone = matches!(record.status, ResourceStatus::DeleteComplete | ResourceStatus::DeleteSkipped)
            || (record.status == ResourceStatus::CreateFailed
                && record.state.physical_id.is_none()
                && record.leftovers.is_empty());
        if gone {
            ctx.tx.delete::<StackResource>(&StackResource::key_of(&stack.id, &record.logical_id))?;
            continue;
        }
        if record.phase.take().is_some() || record.doomed {
            record.doomed = false;
            ctx.tx.put(&record)?;
        }
        if !changes.removed.contains(&record.logical_id) {
            continue;
        }
        if let Some(reason) = policy::denied(&stack, "Update:Delete", &record.logical_id, &record.type_name) {
            record.phase = Some(Phase::Done);
            record.doomed = true;
            events::resource(ctx, &stack, &mut record, ResourceStatus::UpdateFailed, Some(reason))?;
        }
    }
    intake::work(ctx, stack.id.clone())?;
    if let Some(reason) = exists::missing(ctx, template, &stack.revision.parameters)? {
        carry::finish::fail(ctx, &stack.id, reason)?;
    }
    Ok(())
}
