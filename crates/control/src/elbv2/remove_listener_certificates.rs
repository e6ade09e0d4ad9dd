//! `RemoveListenerCertificates`: never the default one, which ModifyListener replaces.

use super::{errors, find, listeners};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{RemoveListenerCertificatesInput, RemoveListenerCertificatesOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: RemoveListenerCertificatesInput) -> Result<RemoveListenerCertificatesOutput> {
    let mut listener = find::listener(ctx.tx, input.listener_arn.as_deref())?;
    let arns = listeners::read_certificates(Some(find::required(input.certificates, "certificates")?))?;
    let Some(tls) = listener.tls.as_mut() else {
        return Err(errors::validation("Certificates can be removed only from listeners with the HTTPS protocol"));
    };
    for arn in arns {
        let before = tls.certificates.len();
        tls.certificates.retain(|own| *own != arn);
        if tls.certificates.len() == before {
            return Err(match arn == tls.default_certificate {
                true => errors::operation_not_permitted("The default certificate of a listener cannot be removed"),
                false => errors::certificate_not_found(format!("Certificate '{arn}' not found")),
            });
        }
    }
    ctx.tx.put(&listener)?;
    Ok(RemoveListenerCertificatesOutput::default())
}
