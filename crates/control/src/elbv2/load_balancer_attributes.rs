//! A load balancer's attributes: those that the data plane can express are served, those that make
//! no difference are shown at AWS's default, and any other value is refused.

use super::errors;
use super::records::LoadBalancer;
use crate::api::Result;
use quarry_aws::elbv2::LoadBalancerAttribute;
use quarry_domain::snapshot::{DesyncMode, LogDestination, XffMode};

/// Attributes with one possible value here, AWS's default.
const FIXED: &[(&str, &str)] = &[
    ("health_check_logs.s3.bucket", ""),
    ("health_check_logs.s3.enabled", "false"),
    ("health_check_logs.s3.prefix", ""),
    ("ipv6.deny_all_igw_traffic", "false"),
    ("load_balancing.cross_zone.enabled", "true"),
    ("waf.fail_open.enabled", "false"),
    ("zonal_shift.config.enabled", "false"),
];

/// Settings of logs and AWS's defaults; which of them is in force depends on all.
const LOGS: &[(&str, &str)] = &[
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.prefix", ""),
    ("connection_logs.s3.bucket", ""),
    ("connection_logs.s3.enabled", "false"),
    ("connection_logs.s3.prefix", ""),
];

/// All of them, sorted by key.
pub fn show(balancer: &LoadBalancer) -> Vec<LoadBalancerAttribute> {
    let a = &balancer.attributes;
    let mut all: Vec<(&str, String)> = FIXED.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    all.extend(LOGS.iter().map(|(key, _)| (*key, log_setting(balancer, key).to_owned())));
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

/// Sets the attributes of one request; nothing is in force until all of them fit together.
pub fn set(balancer: &mut LoadBalancer, wanted: Vec<LoadBalancerAttribute>) -> Result<()> {
    for attribute in wanted {
        let key = attribute.key.ok_or_else(|| errors::validation("An attribute key must be specified"))?;
        set_one(balancer, &key, attribute.value.as_deref().unwrap_or_default())?;
    }
    balancer.attributes.access_logs = log_in_force(balancer, "access_logs")?;
    balancer.attributes.connection_logs = log_in_force(balancer, "connection_logs")?;
    Ok(())
}

fn set_one(balancer: &mut LoadBalancer, key: &str, value: &str) -> Result<()> {
    if LOGS.iter().any(|(known, _)| *known == key) {
        match key.rsplit('.').next() {
            Some("enabled") => {
                boolean(key, value)?;
            }
            Some("bucket") => check_bucket(key, value)?,
            _ => check_prefix(key, value)?,
        }
        balancer.logs.insert(key.to_owned(), value.to_owned());
        return Ok(());
    }
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

fn log_setting<'a>(balancer: &'a LoadBalancer, key: &str) -> &'a str {
    let default = LOGS.iter().find(|(known, _)| *known == key).map_or("", |(_, default)| *default);
    balancer.logs.get(key).map_or(default, String::as_str)
}

/// Where the logs of one kind go, if they are written.
fn log_in_force(balancer: &LoadBalancer, kind: &str) -> Result<Option<LogDestination>> {
    let setting = |name: &str| log_setting(balancer, &format!("{kind}.s3.{name}"));
    if setting("enabled") != "true" {
        return Ok(None);
    }
    if setting("bucket").is_empty() {
        return Err(errors::validation(format!(
            "You must specify '{kind}.s3.bucket' when '{kind}.s3.enabled' is 'true'"
        )));
    }
    let prefix = setting("prefix").trim_matches('/').to_owned();
    Ok(Some(LogDestination { bucket: setting("bucket").to_owned(), prefix }))
}

/// A bucket's name by S3's rules; it becomes the name of a folder.
fn check_bucket(key: &str, name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let valid = (3..=63).contains(&name.len())
        && name.bytes().all(|b| plain(b) || b == b'.' || b == b'-')
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
        && !name.contains("..");
    if name.is_empty() || valid {
        return Ok(());
    }
    Err(errors::validation(format!("'{key}' value '{name}' is not a valid bucket name")))
}

/// A prefix becomes folders, so it may not lead elsewhere.
fn check_prefix(key: &str, prefix: &str) -> Result<()> {
    if prefix.contains("AWSLogs") {
        return Err(errors::validation(format!("'{key}' value '{prefix}' must not contain 'AWSLogs'")));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()/".contains(&b);
    let parts = || prefix.trim_matches('/').split('/');
    let leads_elsewhere = parts().any(|part| matches!(part, "." | "..") || (part.is_empty() && !prefix.is_empty()));
    if prefix.len() > 512 || !prefix.bytes().all(plain) || leads_elsewhere {
        return Err(errors::validation(format!("'{key}' value '{prefix}' is not a valid prefix")));
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
