//! `SetSecurityGroups`.

use super::load_balancers::resolve_security_groups;
use super::{errors, find};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{SetSecurityGroupsInput, SetSecurityGroupsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: SetSecurityGroupsInput) -> Result<SetSecurityGroupsOutput> {
    let mut balancer = find::load_balancer(ctx.tx, input.load_balancer_arn.as_deref())?;
    let groups = input.security_groups.unwrap_or_default();
    if groups.is_empty() {
        return Err(errors::validation("At least one security group must be specified"));
    }
    balancer.security_groups = resolve_security_groups(ctx, Some(groups), &balancer.vpc_id)?;
    ctx.tx.put(&balancer)?;
    Ok(SetSecurityGroupsOutput { security_group_ids: Some(balancer.security_groups), ..Default::default() })
}
