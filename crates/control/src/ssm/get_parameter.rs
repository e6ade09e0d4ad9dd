//! `GetParameter`.

use super::parameters::{get, validation};
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{GetParameterRequest, GetParameterResult};

pub fn handle(ctx: &mut Ctx<'_>, input: GetParameterRequest) -> Result<GetParameterResult> {
    let name = input.name.ok_or_else(|| validation("A parameter name must be specified"))?;
    Ok(GetParameterResult {
        parameter: Some(get(ctx.platform, ctx.tx, &name, input.with_decryption.unwrap_or(false))?),
    })
}
