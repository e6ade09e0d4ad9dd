//! Attributes of services.

use super::check;
use super::find;
use crate::api::{Ctx, Result};
use quarry_aws::servicediscovery as aws;
use quarry_aws::servicediscovery::error;

/// Attributes that one service can have.
const MOST: usize = 30;

pub fn get(ctx: &mut Ctx<'_>, input: aws::GetServiceAttributesRequest) -> Result<aws::GetServiceAttributesResponse> {
    let service = find::service(ctx, input.service_id.as_deref())?;
    Ok(aws::GetServiceAttributesResponse {
        service_attributes: Some(aws::ServiceAttributes {
            attributes: Some(service.attributes),
            resource_owner: Some(ctx.platform.place().account.clone()),
            service_arn: Some(service.arn),
        }),
    })
}

pub fn update(
    ctx: &mut Ctx<'_>,
    input: aws::UpdateServiceAttributesRequest,
) -> Result<aws::UpdateServiceAttributesResponse> {
    let mut service = find::service(ctx, input.service_id.as_deref())?;
    service.attributes.extend(input.attributes.unwrap_or_default());
    if service.attributes.len() > MOST {
        return Err(error::service_attributes_limit_exceeded_exception(format!(
            "A service can have at most {MOST} attributes."
        )));
    }
    check::attributes(&service.attributes)?;
    ctx.tx.put(&service)?;
    Ok(aws::UpdateServiceAttributesResponse {})
}

pub fn delete(
    ctx: &mut Ctx<'_>,
    input: aws::DeleteServiceAttributesRequest,
) -> Result<aws::DeleteServiceAttributesResponse> {
    let mut service = find::service(ctx, input.service_id.as_deref())?;
    let keys = input.attributes.unwrap_or_default();
    service.attributes.retain(|key, _| !keys.contains(key));
    ctx.tx.put(&service)?;
    Ok(aws::DeleteServiceAttributesResponse {})
}
