//! `DeregisterTargets`: without a port, every registration of the id.

use super::{errors, find, targets};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DeregisterTargetsInput, DeregisterTargetsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DeregisterTargetsInput) -> Result<DeregisterTargetsOutput> {
    let group = find::target_group(ctx.tx, input.target_group_arn.as_deref())?;
    let wanted = input.targets.unwrap_or_default();
    if wanted.is_empty() {
        return Err(errors::validation("At least one target must be specified"));
    }
    for target in wanted {
        let id = target.id.unwrap_or_default();
        targets::check_id(&group, &id)?;
        for registered in targets::active(ctx.tx, &group.arn)? {
            let named = target.port.is_none_or(|port| i32::from(registered.port) == port);
            if registered.id == id && named {
                targets::remove(ctx, registered)?;
            }
        }
    }
    Ok(DeregisterTargetsOutput::default())
}
