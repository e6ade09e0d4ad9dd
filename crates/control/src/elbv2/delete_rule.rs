//! `DeleteRule`.

use super::records::Rule;
use super::{find, tags};
use crate::api::{Ctx, Result};
use crate::cut;
use quarry_aws::elbv2::{DeleteRuleInput, DeleteRuleOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteRuleInput) -> Result<DeleteRuleOutput> {
    let rule = find::rule(ctx.tx, input.rule_arn.as_deref(), "deleted")?;
    cut::rule::guard_rule(ctx.tx, &rule.arn, "deleted")?;
    ctx.tx.delete::<Rule>(&rule.arn)?;
    tags::forget(ctx.tx, &rule.arn)?;
    Ok(DeleteRuleOutput::default())
}
