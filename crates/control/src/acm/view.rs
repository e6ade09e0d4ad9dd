//! `DescribeCertificate` and `GetCertificate`.

use super::find;
use super::records::{Certificate, Origin};
use crate::api::{Ctx, Result};
use quarry_aws::acm::{
    CertificateDetail, CertificateOptions, DescribeCertificateRequest, DescribeCertificateResponse, DomainValidation,
    ExtendedKeyUsage, GetCertificateRequest, GetCertificateResponse, KeyUsage, ResourceRecord,
};
use quarry_domain::hash::sha256;
use quarry_wire::Timestamp;

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeCertificateRequest) -> Result<DescribeCertificateResponse> {
    let certificate = find::certificate(ctx, input.certificate_arn.as_deref())?;
    let in_use: Vec<String> = find::in_use(ctx.tx, &certificate.arn)?.into_iter().collect();
    let facts = &certificate.facts;
    let created = Timestamp::from_millis(certificate.created_ms);
    let mut detail = CertificateDetail {
        certificate_arn: Some(certificate.arn.clone()),
        domain_name: Some(domain(&certificate)),
        subject_alternative_names: Some(facts.names.clone()),
        status: Some(status(&certificate, ctx.platform.now_ms()).into()),
        r#type: Some(kind(&certificate).into()),
        created_at: Some(created),
        not_before: Some(Timestamp::from_millis(facts.not_before_ms)),
        not_after: Some(Timestamp::from_millis(facts.not_after_ms)),
        subject: Some(facts.subject.clone()),
        issuer: Some(facts.issuer.clone()),
        serial: Some(facts.serial.clone()),
        key_algorithm: Some(facts.key_algorithm.clone()),
        signature_algorithm: Some(facts.signature_algorithm.clone()),
        key_usages: Some(facts.key_usages.iter().map(|name| KeyUsage { name: Some(name.clone()) }).collect()),
        extended_key_usages: Some(
            facts
                .extended_key_usages
                .iter()
                .map(|(name, oid)| ExtendedKeyUsage { name: Some(name.clone()), oid: Some(oid.clone()) })
                .collect(),
        ),
        in_use_by: Some(in_use),
        renewal_eligibility: Some("INELIGIBLE".into()),
        options: Some(CertificateOptions {
            certificate_transparency_logging_preference: Some(
                if certificate.transparency { "ENABLED" } else { "DISABLED" }.into(),
            ),
            export: Some("DISABLED".into()),
        }),
        ..Default::default()
    };
    match &certificate.origin {
        Origin::Imported { at_ms } => detail.imported_at = Some(Timestamp::from_millis(*at_ms)),
        Origin::Issued { domain, alternatives, .. } => {
            detail.issued_at = Some(created);
            let account = &ctx.platform.place().account;
            let names = std::iter::once(domain).chain(alternatives);
            detail.domain_validation_options = Some(names.map(|name| validation(account, name)).collect());
        }
    }
    Ok(DescribeCertificateResponse { certificate: Some(detail) })
}

pub fn get(ctx: &mut Ctx<'_>, input: GetCertificateRequest) -> Result<GetCertificateResponse> {
    let certificate = find::certificate(ctx, input.certificate_arn.as_deref())?;
    Ok(GetCertificateResponse { certificate: Some(certificate.body), certificate_chain: certificate.chain })
}

pub fn status(certificate: &Certificate, now_ms: i64) -> &'static str {
    if certificate.facts.not_after_ms <= now_ms { "EXPIRED" } else { "ISSUED" }
}

pub fn kind(certificate: &Certificate) -> &'static str {
    match certificate.origin {
        Origin::Imported { .. } => "IMPORTED",
        Origin::Issued { .. } => "AMAZON_ISSUED",
    }
}

/// The main name; an imported certificate may have none.
pub fn domain(certificate: &Certificate) -> String {
    match &certificate.origin {
        Origin::Issued { domain, .. } => domain.clone(),
        Origin::Imported { .. } => certificate.facts.names.first().cloned().unwrap_or_default(),
    }
}

/// The record by which AWS would see that a domain is the account's: the same for every request.
fn validation(account: &str, name: &str) -> DomainValidation {
    let bare = name.trim_start_matches("*.");
    let hash = sha256(format!("{account} {bare}").as_bytes());
    DomainValidation {
        domain_name: Some(name.to_owned()),
        validation_domain: Some(name.to_owned()),
        validation_method: Some("DNS".into()),
        validation_status: Some("SUCCESS".into()),
        resource_record: Some(ResourceRecord {
            name: Some(format!("_{}.{bare}.", &hash[..32])),
            r#type: Some("CNAME".into()),
            value: Some(format!("_{}.{}.acm-validations.aws.", &hash[32..], &hash[8..18])),
        }),
        ..Default::default()
    }
}
