//! `RequestCertificate`, answered by the installation's own authority, and `UpdateCertificateOptions`.

use super::records::{Certificate, Origin};
use super::tags::add_tags;
use super::{authority, certificate, find};
use crate::api::{Ctx, Result};
use quarry_aws::acm::{RequestCertificateRequest, RequestCertificateResponse, UpdateCertificateOptionsRequest, error};
use quarry_domain::snapshot::TlsCertificate;
use quarry_wire::Empty;
use std::collections::BTreeMap;

/// How long a token means the same request.
const TOKEN_MS: i64 = 60 * 60 * 1000;
/// Names of one certificate, ACM's default quota.
const NAMES: usize = 10;

pub fn handle(ctx: &mut Ctx<'_>, input: RequestCertificateRequest) -> Result<RequestCertificateResponse> {
    let domain = input.domain_name.unwrap_or_default().to_ascii_lowercase();
    let mut names = vec![domain.clone()];
    for name in input.subject_alternative_names.unwrap_or_default() {
        let name = name.to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for name in &names {
        check_domain(name)?;
    }
    if names.len() > NAMES {
        return Err(error::limit_exceeded_exception(format!("A certificate can have at most {NAMES} domain names.")));
    }
    let unsupported = [
        (input.certificate_authority_arn.is_some(), "Private certificate authorities are not supported here."),
        (
            !matches!(input.validation_method.as_deref(), None | Some("DNS")),
            "Only the validation method DNS is supported here; nothing is really validated.",
        ),
        (input.managed_by.is_some(), "Certificates managed by other services are not supported here."),
        (
            input.options.as_ref().is_some_and(|options| options.export.as_deref() == Some("ENABLED")),
            "Exportable certificates are not supported here.",
        ),
    ];
    if let Some((_, message)) = unsupported.into_iter().find(|(given, _)| *given) {
        return Err(error::invalid_parameter_exception(message));
    }
    for option in input.domain_validation_options.unwrap_or_default() {
        let (of, by) = (option.domain_name.unwrap_or_default(), option.validation_domain.unwrap_or_default());
        let bare = of.trim_start_matches("*.").to_ascii_lowercase();
        if !names.contains(&of.to_ascii_lowercase()) || !(bare == by || bare.ends_with(&format!(".{by}"))) {
            return Err(error::invalid_domain_validation_options_exception(format!(
                "The validation domain {by} is not the domain {of} or a superdomain of it."
            )));
        }
    }
    let algorithm = match input.key_algorithm.as_deref() {
        None => "EC_prime256v1",
        Some(known @ ("EC_prime256v1" | "EC_secp384r1")) => known,
        Some(other) => {
            return Err(error::validation_exception(format!(
                "Keys of the algorithm {other} are not made here. Use EC_prime256v1 or EC_secp384r1, or import a certificate."
            )));
        }
    };
    let origin = Origin::Issued {
        token: input.idempotency_token,
        domain,
        alternatives: names[1..].to_vec(),
        algorithm: algorithm.to_owned(),
    };
    let now = ctx.platform.now_ms();
    if matches!(&origin, Origin::Issued { token: Some(_), .. }) {
        let same = |one: &Certificate| one.origin == origin && now - one.created_ms < TOKEN_MS;
        if let Some(known) = ctx.tx.all::<Certificate>()?.into_iter().find(same) {
            return Ok(RequestCertificateResponse { certificate_arn: Some(known.arn) });
        }
    }
    let mut tags = BTreeMap::new();
    add_tags(&mut tags, input.tags)?;
    let issued = authority::issue(ctx, &names, algorithm)?;
    let facts = certificate::facts(&certificate::one(issued.body.as_bytes())?)?;
    let arn = ctx.platform.place().arn("acm", format_args!("certificate/{}", ctx.platform.door.uuid()));
    let logged = input.options.and_then(|options| options.certificate_transparency_logging_preference);
    ctx.tx.put(&Certificate {
        key: ctx.platform.vault.seal(&TlsCertificate::key_context(&arn), issued.key.as_bytes()),
        arn: arn.clone(),
        origin,
        body: issued.body,
        chain: Some(issued.chain),
        facts,
        created_ms: now,
        transparency: logged.as_deref() != Some("DISABLED"),
        tags,
    })?;
    Ok(RequestCertificateResponse { certificate_arn: Some(arn) })
}

/// `UpdateCertificateOptions`: the preference for transparency logs, of issued certificates.
pub fn update_options(ctx: &mut Ctx<'_>, input: UpdateCertificateOptionsRequest) -> Result<Empty> {
    let mut certificate = find::certificate(ctx, input.certificate_arn.as_deref())?;
    if !matches!(certificate.origin, Origin::Issued { .. }) {
        return Err(error::invalid_state_exception("Options of an imported certificate cannot be updated."));
    }
    let options = input.options.unwrap_or_default();
    if options.export.as_deref() == Some("ENABLED") {
        return Err(error::validation_exception("Exportable certificates are not supported here."));
    }
    if let Some(preference) = options.certificate_transparency_logging_preference {
        certificate.transparency = preference != "DISABLED";
    }
    ctx.tx.put(&certificate)?;
    Ok(Empty::default())
}

/// At least two labels of letters, digits and inner hyphens, the first of which may be `*`.
fn check_domain(name: &str) -> Result<()> {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !bare.contains('.') || !bare.split('.').all(label) {
        return Err(error::validation_exception(format!("The domain name {name} is not valid.")));
    }
    Ok(())
}
