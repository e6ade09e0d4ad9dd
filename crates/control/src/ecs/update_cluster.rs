//! UpdateCluster.

use super::{create_cluster, find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{UpdateClusterRequest, UpdateClusterResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: UpdateClusterRequest) -> Result<UpdateClusterResponse> {
    let mut cluster = find::cluster(ctx, input.cluster.as_deref())?;
    if input.service_connect_defaults.is_some() {
        return Err(error::client_exception("Service Connect (serviceConnectDefaults) is not supported here."));
    }
    if let Some(settings) = input.settings {
        cluster.settings = create_cluster::settings(settings)?;
    }
    if input.configuration.is_some() {
        cluster.configuration = input.configuration;
    }
    ctx.tx.put(&cluster)?;
    let include = ["SETTINGS", "CONFIGURATIONS", "TAGS"].map(str::to_owned);
    Ok(UpdateClusterResponse { cluster: Some(view::cluster(ctx.tx, &cluster, &include)?) })
}
