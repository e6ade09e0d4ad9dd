//! `BatchCheckLayerAvailability`: which of these layers need not be uploaded again.

use super::{layers, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{BatchCheckLayerAvailabilityRequest, BatchCheckLayerAvailabilityResponse, Layer, LayerFailure};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: BatchCheckLayerAvailabilityRequest,
) -> Result<BatchCheckLayerAvailabilityResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for digest in input.layer_digests.unwrap_or_default() {
        let failure = match digest.as_str() {
            "" => Some(("MissingLayerDigest", "Invalid request parameters: layer digest cannot be empty")),
            other if !layers::is_sha256(other) => {
                Some(("InvalidLayerDigest", "Invalid request parameters: layer digest is no sha256 digest"))
            }
            _ => None,
        };
        if let Some((code, reason)) = failure {
            failures.push(LayerFailure {
                failure_code: Some(code.into()),
                failure_reason: Some(reason.into()),
                layer_digest: Some(digest),
            });
            continue;
        }
        let record = ctx.platform.catalog.layer(&repository.name, &digest.to_ascii_lowercase());
        let record = record.map_err(|error| layers::refusal(ctx, &repository, None, error))?;
        let availability = if record.is_some() { "AVAILABLE" } else { "UNAVAILABLE" };
        found.push(Layer {
            layer_availability: Some(availability.into()),
            layer_digest: Some(digest),
            layer_size: record.and_then(|record| i64::try_from(record.size).ok()),
            media_type: None,
        });
    }
    Ok(BatchCheckLayerAvailabilityResponse { layers: Some(found), failures: Some(failures) })
}
