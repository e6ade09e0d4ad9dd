//! What the operations on target groups share: views and health check settings.

use super::errors::{self, in_range};
use super::listeners::protocol_name;
use super::records::{TargetGroup, TargetType};
use crate::api::Result;
use crate::store::tally::Tally;
use quarry_aws::elbv2 as aws;
use quarry_domain::snapshot::{HealthCheck, ListenerProtocol, ProtocolVersion};
use std::collections::{BTreeSet, HashMap};

/// Health check settings as a request names them; what is absent keeps its value.
#[derive(Default)]
pub struct HealthCheckInput {
    pub enabled: Option<bool>,
    pub protocol: Option<String>,
    pub port: Option<String>,
    pub path: Option<String>,
    pub interval: Option<i32>,
    pub timeout: Option<i32>,
    pub healthy: Option<i32>,
    pub unhealthy: Option<i32>,
    pub matcher: Option<aws::Matcher>,
}

/// AWS's defaults for HTTP target groups of instances and addresses.
pub fn default_health_check() -> HealthCheck {
    HealthCheck {
        enabled: true,
        protocol: ListenerProtocol::Http,
        path: "/".into(),
        port: None,
        interval: 30,
        timeout: 5,
        healthy_threshold: 5,
        unhealthy_threshold: 2,
        matcher: "200".into(),
    }
}

/// The ARNs of all target groups by their names.
#[derive(Default)]
pub struct Names(pub HashMap<String, String>);

impl Tally for Names {
    type Of = TargetGroup;
    fn add(&mut self, group: &TargetGroup) {
        self.0.insert(group.name.clone(), group.arn.clone());
    }
    fn remove(&mut self, group: &TargetGroup) {
        self.0.remove(&group.name);
    }
}

/// `balancers`: ARNs of those that use it.
pub fn show(group: &TargetGroup, balancers: BTreeSet<String>) -> aws::TargetGroup {
    let check = &group.health_check;
    aws::TargetGroup {
        target_group_arn: Some(group.arn.clone()),
        target_group_name: Some(group.name.clone()),
        protocol: Some(protocol_name(group.protocol).into()),
        protocol_version: Some(version_name(group.protocol_version).into()),
        port: Some(i32::from(group.port)),
        vpc_id: Some(group.vpc_id.clone()),
        health_check_protocol: Some(protocol_name(check.protocol).into()),
        health_check_port: Some(check.port.map_or_else(|| "traffic-port".into(), |port| port.to_string())),
        health_check_enabled: Some(check.enabled),
        health_check_interval_seconds: Some(check.interval as i32),
        health_check_timeout_seconds: Some(check.timeout as i32),
        healthy_threshold_count: Some(check.healthy_threshold as i32),
        unhealthy_threshold_count: Some(check.unhealthy_threshold as i32),
        health_check_path: Some(check.path.clone()),
        matcher: Some(aws::Matcher { http_code: Some(check.matcher.clone()), ..Default::default() }),
        load_balancer_arns: Some(balancers.into_iter().collect()),
        target_type: Some(group.target_type.name().into()),
        ip_address_type: Some("ipv4".into()),
        ..Default::default()
    }
}

fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::Http1 => "HTTP1",
        ProtocolVersion::Http2 => "HTTP2",
        ProtocolVersion::Grpc => "GRPC",
    }
}

/// Applies what is named to `check`, with AWS's bounds.
pub fn read_health_check(check: &mut HealthCheck, input: HealthCheckInput, target_type: TargetType) -> Result<()> {
    if input.enabled == Some(false) {
        return Err(errors::validation(format!(
            "Health check enabled must be true for target groups with target type '{}'",
            target_type.name()
        )));
    }
    match input.protocol.as_deref() {
        None => {}
        Some("HTTP") => check.protocol = ListenerProtocol::Http,
        Some("HTTPS") => check.protocol = ListenerProtocol::Https,
        Some(other) => {
            return Err(errors::validation(format!("Health check protocol '{other}' must be one of 'HTTP, HTTPS'")));
        }
    }
    match input.port.as_deref() {
        None => {}
        Some("traffic-port") => check.port = None,
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 => check.port = Some(number),
            _ => {
                return Err(errors::validation(format!(
                    "Health check port '{port}' must be 'traffic-port' or a number from 1 to 65535"
                )));
            }
        },
    }
    if let Some(path) = input.path {
        if path.is_empty() || path.len() > 1024 {
            return Err(errors::constraint(&path, "healthCheckPath", "have length from 1 to 1024"));
        }
        if !path.starts_with('/') {
            return Err(errors::validation(format!("Health check path '{path}' must begin with a '/' character")));
        }
        if path.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#') {
            return Err(errors::validation(format!(
                "Health check path '{path}' contains characters that are not valid"
            )));
        }
        check.path = path;
    }
    if let Some(seconds) = input.interval {
        check.interval = in_range(seconds, "healthCheckIntervalSeconds", 5, 300)?;
    }
    if let Some(seconds) = input.timeout {
        check.timeout = in_range(seconds, "healthCheckTimeoutSeconds", 2, 120)?;
    }
    if let Some(count) = input.healthy {
        check.healthy_threshold = in_range(count, "healthyThresholdCount", 2, 10)?;
    }
    if let Some(count) = input.unhealthy {
        check.unhealthy_threshold = in_range(count, "unhealthyThresholdCount", 2, 10)?;
    }
    if check.interval <= check.timeout {
        return Err(errors::validation("Health check interval must be greater than the timeout."));
    }
    if let Some(matcher) = input.matcher {
        if matcher.grpc_code.is_some() {
            return Err(errors::validation("You can only specify a gRPC code matcher with the GRPC protocol version"));
        }
        if let Some(codes) = matcher.http_code {
            check_codes(&codes)?;
            check.matcher = codes;
        }
    }
    Ok(())
}

/// `200`, `200,202` or `200-299`, within 200–499.
fn check_codes(codes: &str) -> Result<()> {
    let code = |text: &str| match text.as_bytes() {
        [a, b, c] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => text.parse::<u16>().ok(),
        _ => None,
    };
    for part in codes.split(',') {
        let range = match part.split_once('-') {
            Some((low, high)) => code(low).zip(code(high)),
            None => code(part).map(|one| (one, one)),
        };
        match range {
            Some((low, high)) if low <= high && low >= 200 && high <= 499 => {}
            Some((low, high)) if low <= high => {
                return Err(errors::validation(format!(
                    "Health check matcher HTTP code '{codes}' must be within '200-499' inclusive"
                )));
            }
            _ => {
                return Err(errors::validation(format!(
                    "Health check matcher HTTP code '{codes}' must be like 200 | 200-399 | 200,201"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_health_check_may_be() {
        let refused = |input: HealthCheckInput, words: &str| {
            let mut check = default_health_check();
            let error = read_health_check(&mut check, input, TargetType::Instance).expect_err(words);
            assert_eq!(error.code, "ValidationError");
            assert!(error.message.contains(words), "{}", error.message);
        };
        let base = HealthCheckInput::default;
        refused(HealthCheckInput { interval: Some(4), ..base() }, "greater than or equal to 5");
        refused(HealthCheckInput { interval: Some(600), ..base() }, "less than or equal to 300");
        refused(HealthCheckInput { timeout: Some(1), ..base() }, "greater than or equal to 2");
        refused(HealthCheckInput { interval: Some(5), ..base() }, "interval must be greater than the timeout");
        refused(HealthCheckInput { healthy: Some(11), ..base() }, "healthyThresholdCount");
        refused(HealthCheckInput { unhealthy: Some(1), ..base() }, "unhealthyThresholdCount");
        refused(HealthCheckInput { path: Some("health".into()), ..base() }, "must begin with a '/'");
        refused(HealthCheckInput { port: Some("http".into()), ..base() }, "traffic-port");
        refused(HealthCheckInput { enabled: Some(false), ..base() }, "must be true");
        refused(HealthCheckInput { protocol: Some("TCP".into()), ..base() }, "must be one of");
        for (codes, words) in
            [("500", "within '200-499'"), ("299-200", "must be like"), ("2xx", "must be like"), ("", "must be like")]
        {
            let matcher = Some(aws::Matcher { http_code: Some(codes.into()), ..Default::default() });
            refused(HealthCheckInput { matcher, ..base() }, words);
        }
        let mut check = default_health_check();
        let matcher = Some(aws::Matcher { http_code: Some("200-299,302".into()), ..Default::default() });
        let input = HealthCheckInput { matcher, interval: Some(6), port: Some("8080".into()), ..base() };
        read_health_check(&mut check, input, TargetType::Ip).unwrap();
        assert_eq!((check.matcher.as_str(), check.interval, check.port), ("200-299,302", 6, Some(8080)));
    }
}
