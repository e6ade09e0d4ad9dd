//! A load balancer's attributes: those that the data plane can express are served, those that make
//! no difference are shown at AWS's default, and any other value is refused.

use super::errors;
use super::records::LoadBalancer;
use crate::api::Result;
use quarry_aws::elbv2::LoadBalancerAttribute;
use quarry_domain::snapshot::{DesyncMode, XffMode};

/// Attributes with one possible value here, AWS's default.
const FIXED: &[(&str, &str)] = &[
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.prefix", ""),
    ("connection_logs.s3.bucket", ""),
    ("connection_logs.s3.enabled", "false"),
    ("connection_logs.s3.prefix", ""),
    ("health_check_logs.s3.bucket", ""),
    ("health_check_logs.s3.enabled", "false"),
    ("health_check_logs.s3.prefix", ""),
    ("ipv6.deny_all_igw_traffic", "false"),
    ("load_balancing.cross_zone.enabled", "true"),
    ("waf.fail_open.enabled", "false"),
    ("zonal_shift.config.enabled", "false"),
];

/// All of them, sorted by key.
pub fn show(balancer: &LoadBalancer) -> Vec<LoadBalancerAttribute> {
    let a = &balancer.attributes;
    let mut all: Vec<(&str, String)> = FIXED.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    all.extend([
        ("client_keep_alive.seconds", a.client_keep_alive.to_string()),
        ("deletion_protection.enabled", balancer.deletion_protection.to_string()),
        ("idle_timeout.timeout_seconds", a.idle_timeout.to_string()),
        ("routing.http.desync_mitigation_mode", desync_name(a.desync_mode).to_owned()),
        ("routing.http.drop_invalid_header_fields.enabled", a.drop_invalid_header_fields.to_string()),
        ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", a.tls_headers.to_string()),
        ("routing.http2.enabled", a.http2.to_string()),
        ("routing.http.preserve_host_header.enabled", a.preserve_host_header.to_string()),
        ("routing.http.xff_client_port.enabled", a.xff_client_port.to_string()),
        ("routing.http.xff_header_processing.mode", xff_name(a.xff_mode).to_owned()),
    ]);
    all.sort();
    all.into_iter().map(|(key, value)| LoadBalancerAttribute { key: Some(key.into()), value: Some(value) }).collect()
}

/// Sets one attribute.
pub fn set(balancer: &mut LoadBalancer, key: &str, value: &str) -> Result<()> {
    let a = &mut balancer.attributes;
    match key {
        "client_keep_alive.seconds" => a.client_keep_alive = number(key, value, 60, 604_800)?,
        "deletion_protection.enabled" => balancer.deletion_protection = boolean(key, value)?,
        "idle_timeout.timeout_seconds" => a.idle_timeout = number(key, value, 1, 4000)?,
        "routing.http.desync_mitigation_mode" => {
            a.desync_mode = one_of(
                key,
                value,
                &[DesyncMode::Monitor, DesyncMode::Defensive, DesyncMode::Strictest].map(|m| (desync_name(m), m)),
            )?;
        }
        "routing.http.drop_invalid_header_fields.enabled" => a.drop_invalid_header_fields = boolean(key, value)?,
        "routing.http.preserve_host_header.enabled" => a.preserve_host_header = boolean(key, value)?,
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled" => a.tls_headers = boolean(key, value)?,
        "routing.http2.enabled" => a.http2 = boolean(key, value)?,
        "routing.http.xff_client_port.enabled" => a.xff_client_port = boolean(key, value)?,
        "routing.http.xff_header_processing.mode" => {
            a.xff_mode =
                one_of(key, value, &[XffMode::Append, XffMode::Preserve, XffMode::Remove].map(|m| (xff_name(m), m)))?;
        }
        _ => return only_default("Load balancer", FIXED, key, value),
    }
    Ok(())
}

/// The refusal of every value but the default, and of unknown keys.
pub fn only_default(what: &str, fixed: &[(&str, &str)], key: &str, value: &str) -> Result<()> {
    match fixed.iter().find(|(known, _)| *known == key) {
        Some((_, default)) if *default == value => Ok(()),
        Some((_, default)) => Err(errors::validation(format!(
            "{what} attribute '{key}' cannot be set to '{value}' here; only '{default}' is supported"
        ))),
        None => Err(errors::validation(format!("{what} attribute key '{key}' is not recognized"))),
    }
}

pub fn number(key: &str, value: &str, min: u32, max: u32) -> Result<u32> {
    value
        .parse()
        .ok()
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| errors::validation(format!("'{key}' value '{value}' must be between '{min}-{max}' inclusive")))
}

pub fn boolean(key: &str, value: &str) -> Result<bool> {
    one_of(key, value, &[("true", true), ("false", false)])
}

pub fn one_of<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T> {
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        errors::validation(format!("'{key}' value '{value}' must be one of [{}]", names.join(", ")))
    })
}

fn desync_name(mode: DesyncMode) -> &'static str {
    match mode {
        DesyncMode::Monitor => "monitor",
        DesyncMode::Defensive => "defensive",
        DesyncMode::Strictest => "strictest",
    }
}

fn xff_name(mode: XffMode) -> &'static str {
    match mode {
        XffMode::Append => "append",
        XffMode::Preserve => "preserve",
        XffMode::Remove => "remove",
    }
}
