//! `DescribeListenerCertificates`: HTTP listeners have none.

use super::find;
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeListenerCertificatesInput, DescribeListenerCertificatesOutput};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: DescribeListenerCertificatesInput,
) -> Result<DescribeListenerCertificatesOutput> {
    find::listener(ctx.tx, input.listener_arn.as_deref())?;
    Ok(DescribeListenerCertificatesOutput { certificates: Some(Vec::new()), next_marker: None })
}
