//! `ImportCertificate`: a certificate of one's own, new or in the place of one imported before.

use super::records::{Certificate, Origin};
use super::tags::add_tags;
use super::{certificate, find};
use crate::api::{Ctx, Result};
use quarry_aws::acm::{ImportCertificateRequest, ImportCertificateResponse, error};
use quarry_domain::snapshot::TlsCertificate;
use std::collections::BTreeMap;

pub fn handle(ctx: &mut Ctx<'_>, input: ImportCertificateRequest) -> Result<ImportCertificateResponse> {
    let body = input.certificate.unwrap_or_default().0;
    let key = input.private_key.unwrap_or_default().0;
    let chain = input.certificate_chain.map(|chain| chain.0).filter(|chain| !chain.is_empty());
    let own = certificate::one(&body)?;
    let chained = match &chain {
        Some(chain) => certificate::certificates(chain, "certificate chain")?,
        None => Vec::new(),
    };
    let facts = certificate::facts(&own)?;
    certificate::check_chain(&own, &chained)?;
    certificate::check_key(&own, &key)?;
    let now = ctx.platform.now_ms();
    if facts.not_after_ms <= now {
        return Err(error::validation_exception("The certificate has expired."));
    }
    if facts.not_before_ms > now {
        return Err(error::validation_exception("The certificate is not yet valid."));
    }
    let replaced = match input.certificate_arn.as_deref() {
        None => None,
        Some(arn) => {
            let old = find::certificate(ctx, Some(arn))?;
            if !matches!(old.origin, Origin::Imported { .. }) {
                return Err(error::validation_exception(
                    "A certificate that was not imported cannot be replaced by an import.",
                ));
            }
            if input.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
                return Err(error::invalid_tag_exception("You can't apply tags when you reimport a certificate."));
            }
            if old.facts.key_algorithm != facts.key_algorithm {
                return Err(error::validation_exception(
                    "The key algorithm of a reimported certificate must stay the same.",
                ));
            }
            Some(old)
        }
    };
    let (arn, created_ms, tags) = match replaced {
        Some(old) => (old.arn, old.created_ms, old.tags),
        None => {
            let mut tags = BTreeMap::new();
            add_tags(&mut tags, input.tags)?;
            (ctx.platform.place().arn("acm", format_args!("certificate/{}", ctx.platform.door.uuid())), now, tags)
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let certificate = Certificate {
        key: ctx.platform.vault.seal(&TlsCertificate::key_context(&arn), &key),
        origin: Origin::Imported { at_ms: now },
        body: text(body),
        chain: chain.map(text),
        facts,
        created_ms,
        transparency: false,
        tags,
        arn: arn.clone(),
    };
    ctx.tx.put(&certificate)?;
    Ok(ImportCertificateResponse { certificate_arn: Some(arn) })
}
