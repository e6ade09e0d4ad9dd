//! `AddListenerCertificates`: more certificates, chosen by the client's server name. One that is there
//! already is no error.

use super::{errors, find, limits, listeners};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{AddListenerCertificatesInput, AddListenerCertificatesOutput, Certificate};

pub fn handle(ctx: &mut Ctx<'_>, input: AddListenerCertificatesInput) -> Result<AddListenerCertificatesOutput> {
    let mut listener = find::listener(ctx.tx, input.listener_arn.as_deref())?;
    let arns = listeners::read_certificates(Some(find::required(input.certificates, "certificates")?))?;
    if arns.is_empty() {
        return Err(errors::validation("A certificate must be specified"));
    }
    let Some(tls) = listener.tls.as_mut() else {
        return Err(errors::validation("Certificates can be added only to listeners with the HTTPS protocol"));
    };
    for arn in &arns {
        listeners::check_certificate(ctx.tx, arn)?;
        if !tls.certificates.contains(arn) {
            tls.certificates.push(arn.clone());
        }
    }
    if tls.certificates.len() > limits::CERTIFICATES_PER_LISTENER {
        return Err(errors::too_many_certificates(format!(
            "The maximum number of certificates '{}' on listener '{}' has been reached",
            limits::CERTIFICATES_PER_LISTENER,
            listener.arn
        )));
    }
    ctx.tx.put(&listener)?;
    let show = |arn: String| Certificate { certificate_arn: Some(arn), is_default: Some(false) };
    Ok(AddListenerCertificatesOutput { certificates: Some(arns.into_iter().map(show).collect()) })
}
