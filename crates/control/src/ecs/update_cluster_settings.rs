//! UpdateClusterSettings.

use super::{create_cluster, find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{UpdateClusterSettingsRequest, UpdateClusterSettingsResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: UpdateClusterSettingsRequest) -> Result<UpdateClusterSettingsResponse> {
    let mut cluster = find::cluster(ctx, input.cluster.as_deref())?;
    cluster.settings = create_cluster::settings(input.settings.unwrap_or_default())?;
    ctx.tx.put(&cluster)?;
    Ok(UpdateClusterSettingsResponse { cluster: Some(view::cluster(ctx.tx, &cluster, &["SETTINGS".to_owned()])?) })
}
