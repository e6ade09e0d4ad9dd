//! Change sets, found by id or by name and stack.

use super::intake;
use super::records::ChangeSet;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::error;

/// The change set that a request names.
pub fn find(ctx: &Ctx<'_>, name: Option<&str>, stack: Option<&str>) -> Result<ChangeSet> {
    let name = name.unwrap_or_default();
    if name.starts_with("arn:") {
        let set = ctx.tx.get::<ChangeSet>(name)?;
        return set.ok_or_else(|| missing(name));
    }
    let Some(stack) = stack else {
        return Err(super::world::refused("StackName must be specified if ChangeSetName is not specified as an ARN."));
    };
    let stack = intake::find(ctx, stack)?.ok_or_else(|| missing(name))?;
    let sets = ctx.tx.children::<ChangeSet>(&stack.id)?;
    sets.into_iter().find(|set| set.name == name).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> quarry_wire::ServiceError {
    error::change_set_not_found_exception(format!("ChangeSet [{name}] does not exist"))
}
