//! `GetDownloadUrlForLayer`: a URL of the registry that its bearer can read for an hour.

use super::auth::Tokens;
use super::{errors, layers, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{GetDownloadUrlForLayerRequest, GetDownloadUrlForLayerResponse};
use quarry_domain::image::DOWNLOAD_GRANT;
use quarry_wire::ServiceError;

pub fn handle(ctx: &mut Ctx<'_>, input: GetDownloadUrlForLayerRequest) -> Result<GetDownloadUrlForLayerResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let given = input.layer_digest.unwrap_or_default();
    if !layers::is_sha256(&given) {
        return Err(errors::invalid(format!(
            "Invalid parameter at 'layerDigest' failed to satisfy constraint: '{given} is no sha256 digest'"
        )));
    }
    let digest = given.to_ascii_lowercase();
    let record = ctx.platform.catalog.layer(&repository.name, &digest);
    let record = record.map_err(|error| layers::refusal(ctx, &repository, None, error))?;
    let Some(record) = record else {
        return Err(errors::refuse(
            "LayersNotFoundException",
            format!(
                "The layer with digest '{digest}' does not exist in the repository with name '{}' in registry with id '{}'",
                repository.name,
                ctx.platform.place().account
            ),
        ));
    };
    if !record.in_image {
        return Err(errors::refuse(
            "LayerInaccessibleException",
            format!("The layer with digest '{digest}' is not associated with an image"),
        ));
    }
    let tokens = Tokens::load(ctx.platform, ctx.tx)?.ok_or_else(|| {
        ServiceError::new("ServerException", "The registry's key is not made yet; try again in a moment", 500)
    })?;
    let url = format!(
        "http://localhost:{}/v2/{}/blobs/{digest}?{DOWNLOAD_GRANT}={}",
        ctx.platform.config.port,
        repository.name,
        tokens.grant(&repository.name, &digest)
    );
    Ok(GetDownloadUrlForLayerResponse { download_url: Some(url), layer_digest: Some(digest) })
}
