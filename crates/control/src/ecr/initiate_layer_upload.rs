//! `InitiateLayerUpload`.

use super::{layers, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{InitiateLayerUploadRequest, InitiateLayerUploadResponse};

/// The size of parts that clients are told to send, in bytes, as AWS's answers have it.
const PART_SIZE: i64 = 10 << 20;

pub fn handle(ctx: &mut Ctx<'_>, input: InitiateLayerUploadRequest) -> Result<InitiateLayerUploadResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let begun = ctx.platform.catalog.begin_layer(&repository.name);
    let upload_id = begun.map_err(|error| layers::refusal(ctx, &repository, None, error))?;
    Ok(InitiateLayerUploadResponse { upload_id: Some(upload_id), part_size: Some(PART_SIZE) })
}
