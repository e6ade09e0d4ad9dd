//! DescribeServices.

use super::{find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DescribeServicesRequest, DescribeServicesResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeServicesRequest) -> Result<DescribeServicesResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let names = input.services.unwrap_or_default();
    if names.is_empty() {
        return Err(error::invalid_parameter_exception("Services cannot be empty."));
    }
    if names.len() > 10 {
        return Err(error::invalid_parameter_exception("At most 10 services can be described at once."));
    }
    let with_tags = input.include.iter().flatten().any(|include| include == "TAGS");
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match find::service(ctx, &cluster, &name)? {
            Some(service) => services.push(view::service(ctx.tx, &service, with_tags)?),
            None => {
                let arn = find::service_arn(ctx, &cluster, quarry_domain::arn::short_name(&name));
                failures.push(view::failure(&arn, "MISSING"));
            }
        }
    }
    Ok(DescribeServicesResponse { services: Some(services), failures: Some(failures) })
}
