//! DescribeCapacityProviders: the two of Fargate, which every account has.

use super::{capacity, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{self as aws, DescribeCapacityProvidersRequest, DescribeCapacityProvidersResponse};
use quarry_domain::arn::short_name;

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeCapacityProvidersRequest) -> Result<DescribeCapacityProvidersResponse> {
    let asked = input.capacity_providers.unwrap_or_default();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| short_name(asked) == name);
    let arn = |name: &str| ctx.platform.place().arn("ecs", format_args!("capacity-provider/{name}"));
    let show = |name: &str| aws::CapacityProvider {
        capacity_provider_arn: Some(arn(name)),
        name: Some(name.to_owned()),
        status: Some("ACTIVE".into()),
        tags: Some(Vec::new()),
        ..Default::default()
    };
    let found = capacity::FARGATE.into_iter().filter(|name| wanted(name)).map(show).collect();
    let missing = asked.iter().map(|name| short_name(name)).filter(|name| !capacity::is_fargate(name));
    Ok(DescribeCapacityProvidersResponse {
        capacity_providers: Some(found),
        failures: Some(missing.map(|name| view::failure(&arn(name), "MISSING")).collect()),
        next_token: None,
    })
}
