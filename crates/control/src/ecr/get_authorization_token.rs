//! `GetAuthorizationToken`.

use super::auth::Tokens;
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{AuthorizationData, GetAuthorizationTokenRequest, GetAuthorizationTokenResponse};
use quarry_wire::{ServiceError, Timestamp};

pub fn handle(ctx: &mut Ctx<'_>, input: GetAuthorizationTokenRequest) -> Result<GetAuthorizationTokenResponse> {
    for id in input.registry_ids.iter().flatten() {
        super::repositories::check_registry(ctx.platform.place(), Some(id))?;
    }
    let tokens = Tokens::load(ctx.platform, ctx.tx)?.ok_or_else(|| {
        ServiceError::new("ServerException", "The registry's key is not made yet; try again in a moment", 500)
    })?;
    let (token, expires_at_ms) = tokens.issue(ctx.caller.acting.as_ref());
    let data = AuthorizationData {
        authorization_token: Some(token),
        expires_at: Some(Timestamp::from_millis(expires_at_ms)),
        proxy_endpoint: Some(format!("http://localhost:{}", ctx.platform.config.port)),
    };
    Ok(GetAuthorizationTokenResponse { authorization_data: Some(vec![data]) })
}
