//! DescribeCapacityProviders: none exists here, so each one that is named is missing.

use super::view;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DescribeCapacityProvidersRequest, DescribeCapacityProvidersResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeCapacityProvidersRequest) -> Result<DescribeCapacityProvidersResponse> {
    let missing = |name: &String| {
        let name = quarry_domain::arn::short_name(name);
        view::failure(&ctx.platform.place().arn("ecs", format_args!("capacity-provider/{name}")), "MISSING")
    };
    let failures = input.capacity_providers.iter().flatten().map(missing).collect();
    Ok(DescribeCapacityProvidersResponse {
        capacity_providers: Some(Vec::new()),
        failures: Some(failures),
        next_token: None,
    })
}
