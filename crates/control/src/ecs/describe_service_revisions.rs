//! DescribeServiceRevisions.

use super::deployment_records::ServiceRevision;
use super::view;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeServiceRevisionsRequest) -> Result<DescribeServiceRevisionsResponse> {
    let arns = input.service_revision_arns.unwrap_or_default();
    if arns.is_empty() {
        return Err(error::invalid_parameter_exception("serviceRevisionArns cannot be empty."));
    }
    if arns.len() > 20 {
        return Err(error::invalid_parameter_exception("At most 20 service revisions can be described at once."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        match ctx.tx.get::<ServiceRevision>(&arn)? {
            Some(revision) => found.push(revision.shown),
            None => failures.push(view::failure(&arn, "MISSING")),
        }
    }
    Ok(DescribeServiceRevisionsResponse { service_revisions: Some(found), failures: Some(failures) })
}
