//! What the operations on listeners share.

use super::actions;
use super::errors;
use super::records::Listener;
use crate::api::Result;
use quarry_aws::elbv2 as aws;
use quarry_domain::snapshot::ListenerProtocol;

pub fn show(listener: &Listener) -> aws::Listener {
    aws::Listener {
        listener_arn: Some(listener.arn.clone()),
        load_balancer_arn: Some(listener.load_balancer_arn.clone()),
        port: Some(i32::from(listener.port)),
        protocol: Some(protocol_name(listener.protocol).into()),
        default_actions: Some(vec![actions::show(&listener.default_action)]),
        ..Default::default()
    }
}

pub fn protocol_name(protocol: ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Https => "HTTPS",
    }
}

/// What of HTTPS a request may name: there is no certificate that it could, so HTTPS ends here in
/// AWS's own errors.
pub fn read_protocol(
    protocol: Option<&str>,
    certificates: Option<Vec<aws::Certificate>>,
    ssl_policy: Option<&str>,
) -> Result<ListenerProtocol> {
    let arns: Vec<String> = certificates.unwrap_or_default().into_iter().filter_map(|c| c.certificate_arn).collect();
    match protocol {
        None => Err(errors::validation("A listener protocol must be specified")),
        Some("HTTP") if !arns.is_empty() => {
            Err(errors::validation("You cannot specify certificates for listeners with the HTTP protocol"))
        }
        Some("HTTP") if ssl_policy.is_some() => {
            Err(errors::validation("You cannot specify an SSL policy for listeners with the HTTP protocol"))
        }
        Some("HTTP") => Ok(ListenerProtocol::Http),
        Some("HTTPS") if arns.is_empty() => {
            Err(errors::validation("A certificate must be specified for HTTPS listeners"))
        }
        Some("HTTPS") => Err(errors::certificate_not_found(format!("Certificate '{}' not found", arns.join(", ")))),
        Some(other) => Err(errors::validation(format!("Protocol '{other}' must be one of 'HTTPS, HTTP'"))),
    }
}

/// What belongs to HTTPS or to other kinds of load balancers.
pub fn refuse_others(alpn: Option<Vec<String>>, mutual: Option<aws::MutualAuthenticationAttributes>) -> Result<()> {
    if alpn.is_some_and(|policies| !policies.is_empty()) {
        return Err(errors::validation("ALPN policies are only supported on TLS listeners"));
    }
    if mutual.is_some_and(|mutual| mutual.mode.as_deref().unwrap_or("off") != "off") {
        return Err(errors::validation("Mutual authentication is only supported on HTTPS listeners"));
    }
    Ok(())
}
