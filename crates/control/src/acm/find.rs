//! Finding certificates, who uses them, and `DeleteCertificate`.

use super::records::Certificate;
use crate::api::{Ctx, Result};
use crate::elbv2::records::Listener;
use crate::store::{StoreError, Tx};
use quarry_aws::acm::{DeleteCertificateRequest, error};
use quarry_domain::snapshot::TlsCertificate;
use quarry_wire::Empty;
use std::collections::BTreeSet;

pub fn certificate(ctx: &Ctx<'_>, arn: Option<&str>) -> Result<Certificate> {
    let arn = arn.unwrap_or_default();
    if !arn.starts_with("arn:") || !quarry_domain::arn::resource_part(arn).starts_with("certificate/") {
        return Err(error::invalid_arn_exception(format!("Invalid certificate ARN: {arn}")));
    }
    ctx.tx.get(arn)?.ok_or_else(|| {
        let account = &ctx.platform.place().account;
        error::resource_not_found_exception(format!("Could not find certificate {arn} in account {account}."))
    })
}

/// What a listener shows to its clients: the certificate with its chain and its sealed key.
pub fn usable(tx: &Tx<'_>, arn: &str) -> Result<Option<TlsCertificate>, StoreError> {
    let Some(certificate) = tx.get::<Certificate>(arn)? else { return Ok(None) };
    Ok(Some(TlsCertificate {
        arn: certificate.arn.clone(),
        names: certificate.facts.names.clone(),
        chain: certificate.whole_chain(),
        key: certificate.key,
    }))
}

/// The ARNs of the load balancers that have a listener with the certificate.
pub fn in_use(tx: &Tx<'_>, arn: &str) -> Result<BTreeSet<String>, StoreError> {
    let listeners = tx.all::<Listener>()?;
    Ok(listeners
        .into_iter()
        .filter(|listener| listener.holds(arn))
        .map(|listener| listener.load_balancer_arn)
        .collect())
}

/// `DeleteCertificate`: not while a listener holds it.
pub fn delete(ctx: &mut Ctx<'_>, input: DeleteCertificateRequest) -> Result<Empty> {
    let certificate = certificate(ctx, input.certificate_arn.as_deref())?;
    if !in_use(ctx.tx, &certificate.arn)?.is_empty() {
        let account = &ctx.platform.place().account;
        return Err(error::resource_in_use_exception(format!(
            "Certificate {} in account {account} is in use.",
            certificate.arn
        )));
    }
    ctx.tx.delete::<Certificate>(&certificate.arn)?;
    Ok(Empty::default())
}
