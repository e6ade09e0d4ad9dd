//! `GetCallerIdentity`.

use super::credentials;
use crate::api::{Ctx, Result};
use quarry_aws::sts::{GetCallerIdentityRequest, GetCallerIdentityResponse};

pub fn handle(ctx: &mut Ctx<'_>, _: GetCallerIdentityRequest) -> Result<GetCallerIdentityResponse> {
    let account = ctx.platform.place().account.clone();
    let acting = ctx.caller.acting.as_ref().map(|acting| acting.user_id.clone());
    let session = credentials(ctx.tx, &ctx.caller.access_key)?;
    Ok(GetCallerIdentityResponse {
        user_id: Some(session.map(|session| session.user_id).or(acting).unwrap_or_else(|| account.clone())),
        account: Some(account),
        arn: Some(ctx.caller.arn.clone()),
    })
}
