//! `StartImageScan` and `DescribeImageScanFindings`: no image is scanned here, in ECR's own words.

use super::{errors, images, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{
    DescribeImageScanFindingsRequest, DescribeImageScanFindingsResponse, ImageIdentifier, StartImageScanRequest,
    StartImageScanResponse,
};
use quarry_domain::image::ImageRecord;

pub fn start(ctx: &mut Ctx<'_>, input: StartImageScanRequest) -> Result<StartImageScanResponse> {
    let image = find(ctx, input.registry_id, input.repository_name, input.image_id)?;
    let message =
        format!("The image {} is of a type that cannot be scanned: no scanner is available here.", image.digest);
    Err(errors::refuse("UnsupportedImageTypeException", message))
}

pub fn findings(
    ctx: &mut Ctx<'_>,
    input: DescribeImageScanFindingsRequest,
) -> Result<DescribeImageScanFindingsResponse> {
    let name = input.repository_name.clone().unwrap_or_default();
    let image = find(ctx, input.registry_id, input.repository_name, input.image_id)?;
    let id = &ctx.platform.place().account;
    let message = format!(
        "Image scan does not exist for the image with '{{imageDigest:'{}'}}' in the repository with name '{name}' in the registry with id '{id}'",
        image.digest
    );
    Err(errors::refuse("ScanNotFoundException", message))
}

fn find(
    ctx: &Ctx<'_>,
    registry: Option<String>,
    repository: Option<String>,
    id: Option<ImageIdentifier>,
) -> Result<ImageRecord> {
    let repository = repositories::find(ctx, registry.as_deref(), repository.as_deref())?;
    let known = images::list(ctx, &repository)?;
    images::pick(&known, &id.unwrap_or_default()).cloned().map_err(|failure| {
        let code = match failure.failure_code.as_deref() {
            Some("ImageNotFound") => "ImageNotFoundException",
            _ => "InvalidParameterException",
        };
        errors::refuse(code, failure.failure_reason.unwrap_or_default())
    })
}
