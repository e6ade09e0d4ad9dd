//! A listener's attributes: headers that are added to answers, the balancer's own `Server` header, and the names
//! of the TLS headers of requests. Client certificates are not asked for, so their headers keep their names.

use super::errors;
use super::load_balancer_attributes::{boolean, only_default};
use super::records::Listener;
use crate::api::Result;
use quarry_aws::elbv2::ListenerAttribute;
use quarry_domain::snapshot::{ListenerAttributes, ListenerProtocol};

const SERVER: &str = "routing.http.response.server.enabled";
const TLS_VERSION: &str = "routing.http.request.x_amzn_tls_version.header_name";
const TLS_CIPHER: &str = "routing.http.request.x_amzn_tls_cipher_suite.header_name";

/// Headers of answers by their attributes, each with the values it may have; none: any.
const RESPONSE: &[(&str, &str, &[&str])] = &[
    (
        "routing.http.response.access_control_allow_credentials.header_value",
        "Access-Control-Allow-Credentials",
        &["true"],
    ),
    ("routing.http.response.access_control_allow_headers.header_value", "Access-Control-Allow-Headers", &[]),
    ("routing.http.response.access_control_allow_methods.header_value", "Access-Control-Allow-Methods", &[]),
    ("routing.http.response.access_control_allow_origin.header_value", "Access-Control-Allow-Origin", &[]),
    ("routing.http.response.access_control_expose_headers.header_value", "Access-Control-Expose-Headers", &[]),
    (MAX_AGE, "Access-Control-Max-Age", &[]),
    ("routing.http.response.content_security_policy.header_value", "Content-Security-Policy", &[]),
    ("routing.http.response.strict_transport_security.header_value", "Strict-Transport-Security", &[]),
    ("routing.http.response.x_content_type_options.header_value", "X-Content-Type-Options", &["nosniff"]),
    ("routing.http.response.x_frame_options.header_value", "X-Frame-Options", &["DENY", "SAMEORIGIN"]),
];

const MAX_AGE: &str = "routing.http.response.access_control_max_age.header_value";

/// Of HTTPS listeners; none of these headers is sent, as no client certificate is asked for.
const CERTIFICATES: &[(&str, &str)] = &[
    ("routing.http.request.x_amzn_mtls_clientcert.header_name", "X-Amzn-Mtls-Clientcert"),
    ("routing.http.request.x_amzn_mtls_clientcert_issuer.header_name", "X-Amzn-Mtls-Clientcert-Issuer"),
    ("routing.http.request.x_amzn_mtls_clientcert_leaf.header_name", "X-Amzn-Mtls-Clientcert-Leaf"),
    ("routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name", "X-Amzn-Mtls-Clientcert-Serial-Number"),
    ("routing.http.request.x_amzn_mtls_clientcert_subject.header_name", "X-Amzn-Mtls-Clientcert-Subject"),
    ("routing.http.request.x_amzn_mtls_clientcert_validity.header_name", "X-Amzn-Mtls-Clientcert-Validity"),
];

/// Bytes of a header value, and of a header name.
const MAX_VALUE: usize = 1024;
const MAX_NAME: usize = 40;

/// All of them, sorted by key.
pub fn show(listener: &Listener) -> Vec<ListenerAttribute> {
    let attributes = &listener.attributes;
    let mut all: Vec<(&str, String)> = vec![(SERVER, attributes.server.to_string())];
    for (key, name, _) in RESPONSE {
        let set = attributes.response_headers.iter().find(|(known, _)| known == name);
        all.push((key, set.map(|(_, value)| value.clone()).unwrap_or_default()));
    }
    if listener.protocol == ListenerProtocol::Https {
        all.push((TLS_VERSION, attributes.tls_version_header.clone()));
        all.push((TLS_CIPHER, attributes.tls_cipher_header.clone()));
        all.extend(CERTIFICATES.iter().map(|(key, name)| (*key, (*name).to_owned())));
    }
    all.sort();
    all.into_iter().map(|(key, value)| ListenerAttribute { key: Some(key.into()), value: Some(value) }).collect()
}

/// Sets one attribute.
pub fn set(listener: &mut Listener, key: &str, value: &str) -> Result<()> {
    let attributes = &mut listener.attributes;
    if let Some((_, name, allowed)) = RESPONSE.iter().find(|(known, ..)| *known == key) {
        check_value(key, value, allowed)?;
        attributes.response_headers.retain(|(known, _)| known != name);
        if !value.is_empty() {
            attributes.response_headers.push(((*name).to_owned(), value.to_owned()));
            attributes.response_headers.sort();
        }
        return Ok(());
    }
    if key.starts_with("routing.http.request.") && listener.protocol != ListenerProtocol::Https {
        return Err(errors::validation(format!("Listener attribute '{key}' is supported by HTTPS listeners only")));
    }
    let default = ListenerAttributes::default();
    match key {
        SERVER => attributes.server = boolean(key, value)?,
        TLS_VERSION => attributes.tls_version_header = header_name(key, value, default.tls_version_header)?,
        TLS_CIPHER => attributes.tls_cipher_header = header_name(key, value, default.tls_cipher_header)?,
        _ => return only_default("Listener", CERTIFICATES, key, value),
    }
    Ok(())
}

/// What a listener that changes its protocol keeps.
pub fn retain(listener: &mut Listener) {
    if listener.protocol != ListenerProtocol::Https {
        let default = ListenerAttributes::default();
        listener.attributes.tls_version_header = default.tls_version_header;
        listener.attributes.tls_cipher_header = default.tls_cipher_header;
    }
}

/// An empty name brings the default back.
fn header_name(key: &str, value: &str, default: String) -> Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    // What else the balancer itself writes would come twice.
    let taken = ["host", "connection", "content-length", "transfer-encoding", "x-amzn-trace-id"];
    let lower = value.to_ascii_lowercase();
    if value.is_empty() {
        return Ok(default);
    }
    if value.len() > MAX_NAME
        || !value.bytes().all(plain)
        || taken.contains(&lower.as_str())
        || lower.starts_with("x-forwarded-")
    {
        return Err(errors::validation(format!("'{key}' value '{value}' is not a valid header name")));
    }
    Ok(value.to_owned())
}

fn check_value(key: &str, value: &str, allowed: &[&str]) -> Result<()> {
    if value.is_empty() {
        return Ok(());
    }
    if !allowed.is_empty() && !allowed.iter().any(|known| known.eq_ignore_ascii_case(value)) {
        return Err(errors::validation(format!("'{key}' value '{value}' must be one of [{}]", allowed.join(", "))));
    }
    let printable = |b: u8| (b' '..=b'~').contains(&b);
    let number = key != MAX_AGE || value.parse::<u32>().is_ok();
    if value.len() > MAX_VALUE || !value.bytes().all(printable) || value.trim() != value || !number {
        return Err(errors::validation(format!("'{key}' value '{value}' is not a valid header value")));
    }
    Ok(())
}
