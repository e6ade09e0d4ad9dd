//! DeleteChangeSet. The stack in REVIEW_IN_PROGRESS stays, as at AWS.

use super::change_set;
use super::records::ChangeSet;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{DeleteChangeSetInput, DeleteChangeSetOutput, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteChangeSetInput) -> Result<DeleteChangeSetOutput> {
    match change_set::find(ctx, input.change_set_name.as_deref(), input.stack_name.as_deref()) {
        Ok(set) if set.executed => Err(error::invalid_change_set_status_exception(format!(
            "ChangeSet [{}] cannot be deleted in its current status of [EXECUTE_COMPLETE]",
            set.id
        ))),
        Ok(set) => {
            ctx.tx.delete::<ChangeSet>(&set.id)?;
            Ok(DeleteChangeSetOutput {})
        }
        // What is not there is deleted.
        Err(error) if error.code == "ChangeSetNotFound" => Ok(DeleteChangeSetOutput {}),
        Err(error) => Err(error),
    }
}
