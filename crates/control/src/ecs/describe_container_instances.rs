//! DescribeContainerInstances.

use super::{find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DescribeContainerInstancesRequest, DescribeContainerInstancesResponse, error};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: DescribeContainerInstancesRequest,
) -> Result<DescribeContainerInstancesResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let ids = input.container_instances.unwrap_or_default();
    if ids.is_empty() {
        return Err(error::invalid_parameter_exception("Container Instances cannot be empty."));
    }
    if ids.len() > 100 {
        return Err(error::invalid_parameter_exception("At most 100 container instances can be described at once."));
    }
    let with_tags = input.include.iter().flatten().any(|include| include == "TAGS");
    let (mut instances, mut failures) = (Vec::new(), Vec::new());
    for id in ids {
        match find::container_instance(ctx.tx, &cluster, &id)? {
            Some(instance) => instances.push(view::container_instance(ctx, &instance, with_tags)?),
            None => {
                let id = quarry_domain::arn::short_name(&id);
                let name = format!("container-instance/{}/{id}", cluster.name);
                failures.push(view::failure(&ctx.platform.place().arn("ecs", name), "MISSING"));
            }
        }
    }
    Ok(DescribeContainerInstancesResponse { container_instances: Some(instances), failures: Some(failures) })
}
