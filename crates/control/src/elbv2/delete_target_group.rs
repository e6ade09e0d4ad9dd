//! `DeleteTargetGroup`: refused while a listener or a rule forwards to it; one that is gone already
//! is no error.

use super::records::{Target, TargetGroup};
use super::{errors, find, tags, uses};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::elbv2::{DeleteTargetGroupInput, DeleteTargetGroupOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteTargetGroupInput) -> Result<DeleteTargetGroupOutput> {
    let arn = find::required(input.target_group_arn, "targetGroupArn")?;
    find::check(&arn, "targetgroup/", "target group")?;
    if !uses::users(ctx.tx, &arn)?.is_empty() {
        return Err(errors::resource_in_use(format!(
            "Target group '{arn}' is currently in use by a listener or a rule"
        )));
    }
    for target in ctx.tx.children::<Target>(&arn)? {
        ctx.tx.delete::<Target>(&target.key())?;
    }
    ctx.tx.delete::<TargetGroup>(&arn)?;
    tags::forget(ctx.tx, &arn)?;
    Ok(DeleteTargetGroupOutput::default())
}
