//! `GetCallerIdentity`.

use super::credentials;
use crate::api::{Ctx, Result};
use quarry_aws::sts::{GetCallerIdentityRequest, GetCallerIdentityResponse};

pub fn handle(ctx: &mut Ctx<'_>, _: GetCallerIdentityRequest) -> Result<GetCallerIdentityResponse> {
    let account = ctx.platform.place().account.clone();
    let session = credentials(ctx.tx, &ctx.caller.access_key)?;
    Ok(GetCallerIdentityResponse {
        user_id: Some(session.map_or_else(|| account.clone(), |session| session.user_id)),
        account: Some(account),
        arn: Some(ctx.caller.arn.clone()),
    })
}
