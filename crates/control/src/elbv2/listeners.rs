//! What the operations on listeners share.

use super::records::{Listener, ListenerTls};
use super::{actions, errors, ssl_policies};
use crate::acm;
use crate::api::Result;
use crate::store::{StoreError, Tx};
use quarry_aws::elbv2 as aws;
use quarry_domain::snapshot::{self, ListenerProtocol};

pub fn show(listener: &Listener) -> aws::Listener {
    aws::Listener {
        listener_arn: Some(listener.arn.clone()),
        load_balancer_arn: Some(listener.load_balancer_arn.clone()),
        port: Some(i32::from(listener.port)),
        protocol: Some(protocol_name(listener.protocol).into()),
        default_actions: Some(vec![actions::show(&listener.default_action)]),
        ssl_policy: listener.tls.as_ref().map(|tls| tls.policy.clone()),
        certificates: listener.tls.as_ref().map(|tls| {
            let certificate_arn = Some(tls.default_certificate.clone());
            vec![aws::Certificate { certificate_arn, is_default: None }]
        }),
        mutual_authentication: listener
            .tls
            .as_ref()
            .map(|_| aws::MutualAuthenticationAttributes { mode: Some("off".into()), ..Default::default() }),
        ..Default::default()
    }
}

pub fn protocol_name(protocol: ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Https => "HTTPS",
    }
}

/// Protocol, certificate and policy as a request names them; what it leaves out of HTTPS is as in `now`.
pub fn read_protocol(
    tx: &Tx<'_>,
    protocol: Option<&str>,
    certificates: Option<Vec<aws::Certificate>>,
    ssl_policy: Option<&str>,
    now: Option<&ListenerTls>,
) -> Result<(ListenerProtocol, Option<ListenerTls>)> {
    let arns: Vec<String> = read_certificates(certificates)?;
    match protocol {
        None => Err(errors::validation("A listener protocol must be specified")),
        Some("HTTP") if !arns.is_empty() => {
            Err(errors::validation("You cannot specify certificates for listeners with the HTTP protocol"))
        }
        Some("HTTP") if ssl_policy.is_some() => {
            Err(errors::validation("You cannot specify an SSL policy for listeners with the HTTP protocol"))
        }
        Some("HTTP") => Ok((ListenerProtocol::Http, None)),
        Some("HTTPS") => {
            let policy = ssl_policy.or(now.map(|now| now.policy.as_str())).unwrap_or(ssl_policies::DEFAULT);
            if ssl_policies::find(policy).is_none() {
                return Err(errors::ssl_policy_not_found(format!("SSL policy '{policy}' not found")));
            }
            let default_certificate = match (arns.as_slice(), now) {
                ([one], _) => one.clone(),
                ([], Some(now)) => now.default_certificate.clone(),
                ([], None) => return Err(errors::validation("A certificate must be specified for HTTPS listeners")),
                _ => {
                    return Err(errors::validation(
                        "Only one certificate can be specified. Use AddListenerCertificates to add more certificates to a listener",
                    ));
                }
            };
            check_certificate(tx, &default_certificate)?;
            let certificates = now.map(|now| now.certificates.clone()).unwrap_or_default();
            let tls = ListenerTls { policy: policy.to_owned(), default_certificate, certificates };
            Ok((ListenerProtocol::Https, Some(tls)))
        }
        Some(other) => Err(errors::validation(format!("Protocol '{other}' must be one of 'HTTPS, HTTP'"))),
    }
}

/// The ARNs of the certificates that a request names.
pub fn read_certificates(certificates: Option<Vec<aws::Certificate>>) -> Result<Vec<String>> {
    let mut arns = Vec::new();
    for certificate in certificates.unwrap_or_default() {
        if certificate.is_default.is_some() {
            return Err(errors::validation("You cannot specify the IsDefault field of a certificate"));
        }
        arns.push(
            certificate.certificate_arn.ok_or_else(|| errors::validation("A certificate ARN must be specified"))?,
        );
    }
    Ok(arns)
}

/// Refuses a certificate that is not there.
pub fn check_certificate(tx: &Tx<'_>, arn: &str) -> Result<()> {
    match acm::usable(tx, arn)? {
        Some(_) => Ok(()),
        None => Err(errors::certificate_not_found(format!("Certificate '{arn}' not found"))),
    }
}

/// How a listener speaks TLS, for the proxy.
pub fn tls(tx: &Tx<'_>, tls: &ListenerTls) -> Result<snapshot::Tls, StoreError> {
    let mut certificates = Vec::new();
    for arn in tls.all() {
        certificates.extend(acm::usable(tx, arn)?);
    }
    let policy = ssl_policies::find(&tls.policy);
    Ok(snapshot::Tls {
        policy: tls.policy.clone(),
        protocols: policy.iter().flat_map(|policy| policy.protocols).map(|&name| name.to_owned()).collect(),
        ciphers: policy.map(|policy| policy.ciphers()).unwrap_or_default(),
        certificates,
    })
}

/// What belongs to HTTPS or to other kinds of load balancers.
pub fn refuse_others(alpn: Option<Vec<String>>, mutual: Option<aws::MutualAuthenticationAttributes>) -> Result<()> {
    if alpn.is_some_and(|policies| !policies.is_empty()) {
        return Err(errors::validation("ALPN policies are only supported on TLS listeners"));
    }
    if mutual.is_some_and(|mutual| mutual.mode.as_deref().unwrap_or("off") != "off") {
        return Err(errors::invalid_configuration("Mutual authentication is not supported here; use the mode off"));
    }
    Ok(())
}
