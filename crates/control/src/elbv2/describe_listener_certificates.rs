//! `DescribeListenerCertificates`: the default one first; one that is also added is shown twice.

use super::{find, page};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{Certificate, DescribeListenerCertificatesInput, DescribeListenerCertificatesOutput};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: DescribeListenerCertificatesInput,
) -> Result<DescribeListenerCertificatesOutput> {
    let listener = find::listener(ctx.tx, input.listener_arn.as_deref())?;
    let mut all: Vec<(String, Certificate)> = Vec::new();
    if let Some(tls) = listener.tls {
        let show = |arn: String, is_default: bool| {
            let key = format!("{is_default} {arn}");
            (key, Certificate { certificate_arn: Some(arn), is_default: Some(is_default) })
        };
        all.push(show(tls.default_certificate, true));
        all.extend(tls.certificates.into_iter().map(|arn| show(arn, false)));
    }
    let (all, next_marker) = page::page(all, |(key, _)| key, input.marker.as_deref(), input.page_size)?;
    let certificates = all.into_iter().map(|(_, certificate)| certificate).collect();
    Ok(DescribeListenerCertificatesOutput { certificates: Some(certificates), next_marker })
}
