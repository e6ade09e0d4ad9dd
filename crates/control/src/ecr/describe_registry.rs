//! `DescribeRegistry`: the account's own, replicated nowhere.

use crate::api::{Ctx, Result};
use quarry_aws::ecr::{DescribeRegistryRequest, DescribeRegistryResponse, ReplicationConfiguration};

pub fn handle(ctx: &mut Ctx<'_>, _: DescribeRegistryRequest) -> Result<DescribeRegistryResponse> {
    Ok(DescribeRegistryResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        replication_configuration: Some(ReplicationConfiguration { rules: Some(Vec::new()) }),
    })
}
