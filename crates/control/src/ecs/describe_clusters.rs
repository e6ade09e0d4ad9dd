//! DescribeClusters.

use super::{find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DescribeClustersRequest, DescribeClustersResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeClustersRequest) -> Result<DescribeClustersResponse> {
    let names = input.clusters.filter(|names| !names.is_empty()).unwrap_or_else(|| vec!["default".into()]);
    if names.len() > 100 {
        return Err(error::invalid_parameter_exception("At most 100 clusters can be described at once."));
    }
    let include = input.include.unwrap_or_default();
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match find::cluster_or_inactive(ctx, &name)? {
            Some(cluster) => clusters.push(view::cluster(ctx.tx, &cluster, &include)?),
            None => {
                let arn = find::cluster_arn(ctx, quarry_domain::arn::short_name(&name));
                failures.push(view::failure(&arn, "MISSING"));
            }
        }
    }
    Ok(DescribeClustersResponse { clusters: Some(clusters), failures: Some(failures) })
}
