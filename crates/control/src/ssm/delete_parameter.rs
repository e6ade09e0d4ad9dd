//! `DeleteParameter` and `DeleteParameters`.

use super::parameters::{plain_name, refuse, validation};
use super::records::Parameter;
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{DeleteParameterRequest, DeleteParameterResult, DeleteParametersRequest, DeleteParametersResult};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteParameterRequest) -> Result<DeleteParameterResult> {
    let name = plain_name(&input.name.unwrap_or_default());
    if !ctx.tx.delete::<Parameter>(&name)? {
        return Err(refuse("ParameterNotFound", ""));
    }
    Ok(DeleteParameterResult::default())
}

/// `DeleteParameters`: those that are not there are listed beside.
pub fn handle_many(ctx: &mut Ctx<'_>, input: DeleteParametersRequest) -> Result<DeleteParametersResult> {
    let names = input.names.unwrap_or_default();
    if !(1..=10).contains(&names.len()) {
        return Err(validation("From 1 to 10 parameter names must be specified"));
    }
    let (mut deleted, mut invalid) = (Vec::new(), Vec::new());
    for name in names {
        match ctx.tx.delete::<Parameter>(&plain_name(&name))? {
            true => deleted.push(name),
            false => invalid.push(name),
        }
    }
    Ok(DeleteParametersResult { deleted_parameters: Some(deleted), invalid_parameters: Some(invalid) })
}
