//! `ListCertificates`. Certificates of every key algorithm are listed unless some are asked for.

use super::records::{Certificate, Origin};
use super::{find, view};
use crate::api::{Ctx, Result};
use crate::page;
use quarry_aws::acm::{CertificateSummary, ListCertificatesRequest, ListCertificatesResponse, error};
use quarry_wire::Timestamp;

pub fn list(ctx: &mut Ctx<'_>, input: ListCertificatesRequest) -> Result<ListCertificatesResponse> {
    let now = ctx.platform.now_ms();
    let mut found: Vec<Certificate> = ctx.tx.all()?;
    if let Some(statuses) = input.certificate_statuses.filter(|statuses| !statuses.is_empty()) {
        found.retain(|one| statuses.iter().any(|status| status == view::status(one, now)));
    }
    let filters = input.includes.unwrap_or_default();
    let some = |wanted: Option<Vec<String>>| wanted.filter(|wanted| !wanted.is_empty());
    if let Some(types) = some(filters.key_types) {
        found.retain(|one| types.contains(&one.facts.key_algorithm));
    }
    if let Some(usages) = some(filters.key_usage) {
        found.retain(|one| usages.iter().any(|usage| usage == "ANY" || one.facts.key_usages.contains(usage)));
    }
    if let Some(usages) = some(filters.extended_key_usage) {
        let has =
            |one: &Certificate, usage: &String| one.facts.extended_key_usages.iter().any(|(name, _)| name == usage);
        found.retain(|one| usages.iter().any(|usage| usage == "ANY" || has(one, usage)));
    }
    if filters.export_option.as_deref() == Some("ENABLED") || filters.managed_by.is_some() {
        found.clear();
    }
    match (input.sort_by.as_deref(), input.sort_order.as_deref()) {
        (None, None) => {}
        (Some("CREATED_AT"), Some(order)) => {
            found.sort_by_key(|one| one.created_ms);
            if order == "DESCENDING" {
                found.reverse();
            }
        }
        _ => return Err(error::validation_exception("SortBy and SortOrder must be specified together.")),
    }
    let size = input.max_items.unwrap_or(1000).clamp(1, 1000) as usize;
    let (found, next_token) = page::after(found, |one| one.arn.clone(), input.next_token.as_deref(), size)
        .ok_or_else(|| error::validation_exception("The NextToken is not valid."))?;
    let summaries = found.into_iter().map(|one| summary(ctx, one, now)).collect::<Result<_>>()?;
    Ok(ListCertificatesResponse { certificate_summary_list: Some(summaries), next_token })
}

fn summary(ctx: &Ctx<'_>, certificate: Certificate, now: i64) -> Result<CertificateSummary> {
    let created = Timestamp::from_millis(certificate.created_ms);
    let (imported_at, issued_at) = match certificate.origin {
        Origin::Imported { at_ms } => (Some(Timestamp::from_millis(at_ms)), None),
        Origin::Issued { .. } => (None, Some(created)),
    };
    Ok(CertificateSummary {
        certificate_arn: Some(certificate.arn.clone()),
        domain_name: Some(view::domain(&certificate)),
        status: Some(view::status(&certificate, now).into()),
        r#type: Some(view::kind(&certificate).into()),
        in_use: Some(!find::in_use(ctx.tx, &certificate.arn)?.is_empty()),
        created_at: Some(created),
        imported_at,
        issued_at,
        not_before: Some(Timestamp::from_millis(certificate.facts.not_before_ms)),
        not_after: Some(Timestamp::from_millis(certificate.facts.not_after_ms)),
        key_algorithm: Some(certificate.facts.key_algorithm),
        key_usages: Some(certificate.facts.key_usages),
        extended_key_usages: Some(certificate.facts.extended_key_usages.into_iter().map(|(name, _)| name).collect()),
        has_additional_subject_alternative_names: Some(false),
        subject_alternative_name_summaries: Some(certificate.facts.names),
        renewal_eligibility: Some("INELIGIBLE".into()),
        export_option: Some("DISABLED".into()),
        exported: Some(false),
        ..Default::default()
    })
}
