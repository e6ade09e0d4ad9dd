//! `DeleteParameter`.

use super::parameters::{plain_name, refuse};
use super::records::Parameter;
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{DeleteParameterRequest, DeleteParameterResult};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteParameterRequest) -> Result<DeleteParameterResult> {
    let name = plain_name(&input.name.unwrap_or_default());
    if !ctx.tx.delete::<Parameter>(&name)? {
        return Err(refuse("ParameterNotFound", ""));
    }
    Ok(DeleteParameterResult::default())
}
