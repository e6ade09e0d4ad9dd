//! The installation's own certificate authority. It is made when the first certificate is requested;
//! its certificate lies in the data directory as `certificate-authority.pem`, for who wants to trust it.

use super::records::Authority;
use crate::api::{Ctx, Result};
use quarry_wire::ServiceError;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SerialNumber,
};
use std::path::Path;
use time::OffsetDateTime;

/// An issued certificate, PEM.
pub struct Issued {
    pub body: String,
    pub chain: String,
    pub key: String,
}

/// The authority's certificate in the data directory.
pub const FILE: &str = "certificate-authority.pem";

const CONTEXT: &str = "acm authority";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Thirteen months, as ACM's own.
const VALID_DAYS: i64 = 395;
const AUTHORITY_VALID_DAYS: i64 = 3650;

/// Issues a certificate for the names, the first of which is its common name, with a new key of
/// `algorithm` (`EC_prime256v1` or `EC_secp384r1`).
pub fn issue(ctx: &Ctx<'_>, names: &[String], algorithm: &str) -> Result<Issued> {
    let authority = authority(ctx)?;
    let sealed = ctx.platform.vault.open_sealed(CONTEXT, &authority.key);
    let key = sealed.and_then(|clear| clear.into_text()).map_err(|error| fault(&error))?;
    let issuer = Issuer::new(authority_params(ctx)?, KeyPair::from_pem(&key).map_err(|error| fault(&error))?);
    let mut params = CertificateParams::new(names.to_vec()).map_err(|error| fault(&error))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names.first().map(String::as_str).unwrap_or_default());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    valid(ctx, &mut params, VALID_DAYS)?;
    let algorithm = match algorithm {
        "EC_secp384r1" => &PKCS_ECDSA_P384_SHA384,
        _ => &PKCS_ECDSA_P256_SHA256,
    };
    let key = KeyPair::generate_for(algorithm).map_err(|error| fault(&error))?;
    let certificate = params.signed_by(&key, &issuer).map_err(|error| fault(&error))?;
    Ok(Issued { body: certificate.pem(), chain: authority.certificate, key: key.serialize_pem() })
}

fn authority(ctx: &Ctx<'_>) -> Result<Authority> {
    let authority = match ctx.tx.get::<Authority>("")? {
        Some(authority) => authority,
        None => {
            let key = KeyPair::generate().map_err(|error| fault(&error))?;
            let certificate = authority_params(ctx)?.self_signed(&key).map_err(|error| fault(&error))?;
            let key = ctx.platform.vault.seal(CONTEXT, key.serialize_pem().as_bytes());
            let authority = Authority { certificate: certificate.pem(), key };
            ctx.tx.put(&authority)?;
            authority
        }
    };
    // Written whenever something is issued: what is missing or was changed comes back.
    write(&ctx.platform.config.data_dir, &authority.certificate).map_err(|error| fault(&error))?;
    Ok(authority)
}

fn write(data_dir: &Path, certificate: &str) -> std::io::Result<()> {
    let path = data_dir.join(FILE);
    if std::fs::read_to_string(&path).is_ok_and(|text| text == certificate) {
        return Ok(());
    }
    let beside = data_dir.join(format!("{FILE}.new"));
    std::fs::write(&beside, certificate)?;
    std::fs::rename(beside, path)
}

fn authority_params(ctx: &Ctx<'_>) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let account = &ctx.platform.place().account;
    params.distinguished_name.push(DnType::CommonName, format!("Quarry local authority {account}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(ctx, &mut params, AUTHORITY_VALID_DAYS)?;
    Ok(params)
}

/// From an hour ago, as clocks differ.
fn valid(ctx: &Ctx<'_>, params: &mut CertificateParams, days: i64) -> Result<()> {
    let at = |ms: i64| OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).map_err(|error| fault(&error));
    let now = ctx.platform.now_ms();
    params.not_before = at(now - DAY_MS / 24)?;
    params.not_after = at(now + days * DAY_MS)?;
    let mut serial = [0u8; 16];
    ctx.platform.door.entropy.fill(&mut serial);
    // Positive, and of its full length.
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

fn fault(error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::new("InternalFailure", format!("the certificate authority failed: {error}"), 500)
}
