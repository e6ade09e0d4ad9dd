//! `GetParameters`: of up to ten; those that are not there are listed beside.

use super::parameters::{get, validation};
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{GetParametersRequest, GetParametersResult};

pub fn handle(ctx: &mut Ctx<'_>, input: GetParametersRequest) -> Result<GetParametersResult> {
    let decrypt = input.with_decryption.unwrap_or(false);
    let names = input.names.unwrap_or_default();
    if !(1..=10).contains(&names.len()) {
        return Err(validation("From 1 to 10 parameter names must be specified"));
    }
    let (mut parameters, mut invalid) = (Vec::new(), Vec::new());
    for name in names {
        match get(ctx.platform, ctx.tx, &name, decrypt) {
            Ok(parameter) => parameters.push(parameter),
            Err(error) if error.status < 500 => invalid.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(GetParametersResult { parameters: Some(parameters), invalid_parameters: Some(invalid) })
}
