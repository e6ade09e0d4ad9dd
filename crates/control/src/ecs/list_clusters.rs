//! ListClusters.

use super::page::page;
use super::records::Cluster;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListClustersRequest, ListClustersResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: ListClustersRequest) -> Result<ListClustersResponse> {
    let active = ctx.tx.all::<Cluster>()?.into_iter().filter(|cluster| cluster.active).map(|cluster| cluster.arn);
    let (arns, next_token) =
        page(active.collect(), String::clone, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListClustersResponse { cluster_arns: Some(arns), next_token })
}
