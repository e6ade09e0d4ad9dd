//! Reading X.509 certificates and private keys, and whether they belong together.

use super::records::Facts;
use quarry_aws::acm::error::validation_exception;
use quarry_wire::ServiceError;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    RsaKeyPair,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// Reads the one certificate of a PEM text.
pub fn one(text: &[u8]) -> Result<Pem, ServiceError> {
    let mut all = certificates(text, "certificate")?;
    if all.len() != 1 {
        return Err(refuse(
            "The certificate field contains more than one certificate. You can specify only one certificate in this field.",
        ));
    }
    Ok(all.remove(0))
}

/// Reads the certificates of a PEM text, at least one. `field`: for the message.
pub fn certificates(text: &[u8], field: &str) -> Result<Vec<Pem>, ServiceError> {
    let malformed = || refuse(format!("Could not parse {field}: it must be PEM-encoded X.509."));
    let all: Vec<Pem> = Pem::iter_from_buffer(text).collect::<Result<_, _>>().map_err(|_| malformed())?;
    let fine = |pem: &Pem| pem.label == "CERTIFICATE" && parsed(pem).is_some();
    if all.is_empty() || !all.iter().all(fine) {
        return Err(malformed());
    }
    Ok(all)
}

/// What the certificate says; `Err` where it is of a kind that cannot be served.
pub fn facts(pem: &Pem) -> Result<Facts, ServiceError> {
    let certificate = parsed(pem).ok_or_else(|| refuse("Could not parse certificate."))?;
    let common_name = |name: &x509_parser::x509::X509Name<'_>| {
        name.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
    };
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        let name = name.to_ascii_lowercase();
        if name.contains('.') && !name.contains(char::is_whitespace) && !names.contains(&name) {
            names.push(name);
        }
    };
    add(&common_name(certificate.subject()));
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                add(name);
            }
        }
    }
    let validity = certificate.validity();
    let (key_usages, extended_key_usages) = usages(&certificate);
    let subject: Vec<String> = certificate
        .subject()
        .iter_attributes()
        .map(|attribute| {
            let name = x509_parser::objects::oid2abbrev(attribute.attr_type(), x509_parser::objects::oid_registry());
            let name = name.map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
            format!("{name}={}", attribute.as_str().unwrap_or_default())
        })
        .collect();
    let serial: Vec<String> = certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Facts {
        names,
        subject: subject.join(","),
        issuer: common_name(certificate.issuer()),
        serial: serial.join(":"),
        not_before_ms: validity.not_before.timestamp() * 1000,
        not_after_ms: validity.not_after.timestamp() * 1000,
        key_algorithm: key_algorithm(&certificate)?,
        signature_algorithm: signature_algorithm(&certificate),
        key_usages,
        extended_key_usages,
    })
}

/// Refuses a chain that does not lead from the certificate upwards; without one it must have signed
/// itself.
pub fn check_chain(certificate: &Pem, chain: &[Pem]) -> Result<(), ServiceError> {
    let signed_by = |child: &Pem, parent: &Pem| {
        let (Some(child), Some(parent)) = (parsed(child), parsed(parent)) else { return false };
        child.issuer() == parent.subject() && child.verify_signature(Some(parent.public_key())).is_ok()
    };
    if chain.is_empty() {
        return match signed_by(certificate, certificate) {
            true => Ok(()),
            false => Err(refuse(
                "Provided certificate is not a valid self signed. Please provide either a valid self-signed certificate or certificate chain.",
            )),
        };
    }
    let mut child = certificate;
    for parent in chain {
        if !signed_by(child, parent) {
            return Err(refuse("Could not validate the certificate with the certificate chain."));
        }
        child = parent;
    }
    Ok(())
}

/// Refuses a private key that is not the certificate's.
pub fn check_key(certificate: &Pem, key: &[u8]) -> Result<(), ServiceError> {
    let certificate = parsed(certificate).ok_or_else(|| refuse("Could not parse certificate."))?;
    let pems: Vec<Pem> = Pem::iter_from_buffer(key)
        .collect::<Result<_, _>>()
        .map_err(|_| refuse("Could not parse private key: it must be PEM-encoded and not encrypted."))?;
    // OpenSSL writes an EC key's parameters before it.
    let mut keys = pems.iter().filter(|pem| pem.label != "EC PARAMETERS");
    let (Some(pem), None) = (keys.next(), keys.next()) else {
        return Err(refuse("The private key field must contain exactly one private key."));
    };
    let public = certificate.public_key().subject_public_key.data.as_ref();
    let mismatch = || refuse("The private key does not match the public key of the certificate.");
    let random = SystemRandom::new();
    let ec = |algorithm: &'static EcdsaSigningAlgorithm| match pem.label.as_str() {
        "EC PRIVATE KEY" => scalar(&pem.contents).is_some_and(|scalar| {
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, public, &random).is_ok()
        }),
        "PRIVATE KEY" => EcdsaKeyPair::from_pkcs8(algorithm, &pem.contents, &random)
            .is_ok_and(|pair| pair.public_key().as_ref() == public),
        _ => false,
    };
    let matches = match key_algorithm(&certificate)?.as_str() {
        "EC_prime256v1" => ec(&ECDSA_P256_SHA256_ASN1_SIGNING),
        "EC_secp384r1" => ec(&ECDSA_P384_SHA384_ASN1_SIGNING),
        _ => {
            let pair = match pem.label.as_str() {
                "RSA PRIVATE KEY" => RsaKeyPair::from_der(&pem.contents).ok(),
                "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&pem.contents).ok(),
                _ => None,
            };
            pair.is_some_and(|pair| pair.public_key().as_ref() == public)
        }
    };
    if matches { Ok(()) } else { Err(mismatch()) }
}

fn parsed(pem: &Pem) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(&pem.contents).ok().map(|(_, certificate)| certificate)
}

/// The private scalar of a SEC1 `ECPrivateKey`: the first octet string after the version.
fn scalar(der: &[u8]) -> Option<&[u8]> {
    // SEQUENCE (short or one-byte long form), INTEGER 1, OCTET STRING.
    let body = match der {
        [0x30, 0x81, _, rest @ ..] => rest,
        [0x30, length, rest @ ..] if *length < 0x80 => rest,
        _ => return None,
    };
    match body {
        [0x02, 0x01, 0x01, 0x04, length, rest @ ..] => rest.get(..usize::from(*length)),
        _ => None,
    }
}

fn key_algorithm(certificate: &X509Certificate<'_>) -> Result<String, ServiceError> {
    let key = certificate.public_key();
    let unsupported =
        || refuse("The key algorithm of the certificate is not supported: RSA of 2048 to 4096 bits, P-256 or P-384.");
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => match rsa.key_size() {
            bits @ (2048 | 3072 | 4096) => Ok(format!("RSA_{bits}")),
            _ => Err(unsupported()),
        },
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => Ok("EC_prime256v1".into()),
                Some("1.3.132.0.34") => Ok("EC_secp384r1".into()),
                _ => Err(unsupported()),
            }
        }
        _ => Err(unsupported()),
    }
}

fn signature_algorithm(certificate: &X509Certificate<'_>) -> String {
    match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.5" => "SHA1WITHRSA".into(),
        "1.2.840.113549.1.1.11" => "SHA256WITHRSA".into(),
        "1.2.840.113549.1.1.12" => "SHA384WITHRSA".into(),
        "1.2.840.113549.1.1.13" => "SHA512WITHRSA".into(),
        "1.2.840.10045.4.3.2" => "SHA256WITHECDSA".into(),
        "1.2.840.10045.4.3.3" => "SHA384WITHECDSA".into(),
        other => other.into(),
    }
}

/// Key usages and extended ones, by ACM's names.
fn usages(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<(String, String)>) {
    let (mut usages, mut extended) = (Vec::new(), Vec::new());
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => {
                let named = [
                    (usage.digital_signature(), "DIGITAL_SIGNATURE"),
                    (usage.non_repudiation(), "NON_REPUDIATION"),
                    (usage.key_encipherment(), "KEY_ENCIPHERMENT"),
                    (usage.data_encipherment(), "DATA_ENCIPHERMENT"),
                    (usage.key_agreement(), "KEY_AGREEMENT"),
                    (usage.key_cert_sign(), "CERTIFICATE_SIGNING"),
                    (usage.crl_sign(), "CRL_SIGNING"),
                ];
                usages.extend(named.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()));
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let named = [
                    (usage.server_auth, "TLS_WEB_SERVER_AUTHENTICATION", "1.3.6.1.5.5.7.3.1"),
                    (usage.client_auth, "TLS_WEB_CLIENT_AUTHENTICATION", "1.3.6.1.5.5.7.3.2"),
                    (usage.code_signing, "CODE_SIGNING", "1.3.6.1.5.5.7.3.3"),
                    (usage.email_protection, "EMAIL_PROTECTION", "1.3.6.1.5.5.7.3.4"),
                    (usage.time_stamping, "TIME_STAMPING", "1.3.6.1.5.5.7.3.8"),
                    (usage.ocsp_signing, "OCSP_SIGNING", "1.3.6.1.5.5.7.3.9"),
                ];
                extended.extend(
                    named.into_iter().filter(|(set, ..)| *set).map(|(_, name, oid)| (name.to_owned(), oid.to_owned())),
                );
            }
            _ => {}
        }
    }
    (usages, extended)
}

fn refuse(message: impl Into<String>) -> ServiceError {
    validation_exception(message)
}
