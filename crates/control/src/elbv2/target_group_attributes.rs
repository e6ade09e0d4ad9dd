//! A target group's attributes: those that the data plane can express are served, those that make
//! no difference are shown at AWS's default, and any other value is refused.

use super::errors;
use super::limits;
use super::load_balancer_attributes::{boolean, number, one_of, only_default};
use super::records::TargetGroup;
use crate::api::Result;
use quarry_aws::elbv2::TargetGroupAttribute;
use quarry_domain::snapshot::{Algorithm, Stickiness};

const FIXED: &[(&str, &str)] = &[("load_balancing.algorithm.anomaly_mitigation", "off")];

/// Attributes with AWS's defaults, of which several values mean the same here. Load balancers of applications
/// balance across zones, so that `true` and their own configuration are one. A load balancer has one address for
/// all its zones: it is answered whether the zones are healthy or all of them fail over.
const EQUAL: &[(&str, &str)] =
    &[(CROSS_ZONE, "use_load_balancer_configuration"), (DNS_COUNT, "1"), (DNS_PERCENTAGE, "off")];

const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
const DNS_COUNT: &str = "target_group_health.dns_failover.minimum_healthy_targets.count";
const DNS_PERCENTAGE: &str = "target_group_health.dns_failover.minimum_healthy_targets.percentage";

const MINIMUM_COUNT: &str = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count";
const MINIMUM_PERCENTAGE: &str = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage";

/// Settings of stickiness and AWS's defaults; which of them is in force depends on all.
const STICKINESS: &[(&str, &str)] = &[
    ("stickiness.app_cookie.cookie_name", ""),
    ("stickiness.app_cookie.duration_seconds", "86400"),
    ("stickiness.enabled", "false"),
    ("stickiness.lb_cookie.duration_seconds", "86400"),
    ("stickiness.type", "lb_cookie"),
];

const WEEK: u32 = 604_800;

/// All of them, sorted by key.
pub fn show(group: &TargetGroup) -> Vec<TargetGroupAttribute> {
    let mut all: Vec<(&str, String)> = FIXED.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    all.extend(STICKINESS.iter().map(|(key, _)| (*key, stickiness(group, key).to_owned())));
    all.extend(EQUAL.iter().map(|(key, default)| (*key, group.equal.get(*key).map_or(*default, |v| v).to_owned())));
    all.push(("deregistration_delay.timeout_seconds", group.attributes.deregistration_delay.to_string()));
    all.push(("load_balancing.algorithm.type", algorithm_name(group.attributes.algorithm).to_owned()));
    all.push(("slow_start.duration_seconds", group.attributes.slow_start.to_string()));
    let minimum = group.attributes.minimum_healthy_targets;
    all.push((MINIMUM_COUNT, minimum.count.to_string()));
    all.push((MINIMUM_PERCENTAGE, minimum.percentage.map_or("off".into(), |percentage| percentage.to_string())));
    all.sort();
    all.into_iter().map(|(key, value)| TargetGroupAttribute { key: Some(key.into()), value: Some(value) }).collect()
}

/// Sets the attributes of one request; nothing is in force until all of them fit together.
pub fn set(group: &mut TargetGroup, wanted: Vec<TargetGroupAttribute>) -> Result<()> {
    for attribute in wanted {
        let key = attribute.key.ok_or_else(|| errors::validation("An attribute key must be specified"))?;
        let value = attribute.value.unwrap_or_default();
        match key.as_str() {
            "deregistration_delay.timeout_seconds" => {
                group.attributes.deregistration_delay = number(&key, &value, 0, 3600)?;
            }
            "slow_start.duration_seconds" => {
                group.attributes.slow_start = if value == "0" { 0 } else { number(&key, &value, 30, 900)? };
            }
            "load_balancing.algorithm.type" => {
                let all = [Algorithm::RoundRobin, Algorithm::LeastOutstandingRequests, Algorithm::WeightedRandom];
                group.attributes.algorithm = one_of(&key, &value, &all.map(|a| (algorithm_name(a), a)))?;
            }
            CROSS_ZONE => {
                if value == "false" {
                    return Err(errors::validation(format!(
                        "Target group attribute '{key}' cannot be set to 'false' here; only targets of all zones together can be used"
                    )));
                }
                one_of(&key, &value, &[("true", ()), ("use_load_balancer_configuration", ())])?;
                group.equal.insert(key, value);
            }
            DNS_COUNT => {
                if value != "off" {
                    number(&key, &value, 1, limits::TARGETS_PER_GROUP as u32)?;
                }
                group.equal.insert(key, value);
            }
            DNS_PERCENTAGE => {
                if value != "off" {
                    number(&key, &value, 1, 100)?;
                }
                group.equal.insert(key, value);
            }
            MINIMUM_COUNT => {
                group.attributes.minimum_healthy_targets.count =
                    number(&key, &value, 1, limits::TARGETS_PER_GROUP as u32)?;
            }
            MINIMUM_PERCENTAGE => {
                group.attributes.minimum_healthy_targets.percentage =
                    if value == "off" { None } else { Some(number(&key, &value, 1, 100)?) };
            }
            "stickiness.enabled" => {
                boolean(&key, &value)?;
                group.stickiness.insert(key, value);
            }
            "stickiness.type" => {
                one_of(&key, &value, &[("lb_cookie", ()), ("app_cookie", ())])?;
                group.stickiness.insert(key, value);
            }
            "stickiness.app_cookie.duration_seconds" | "stickiness.lb_cookie.duration_seconds" => {
                number(&key, &value, 1, WEEK)?;
                group.stickiness.insert(key, value);
            }
            "stickiness.app_cookie.cookie_name" => {
                check_cookie_name(&value)?;
                group.stickiness.insert(key, value);
            }
            _ => only_default("Target group", FIXED, &key, &value)?,
        }
    }
    if group.attributes.slow_start > 0 && group.attributes.algorithm != Algorithm::RoundRobin {
        return Err(errors::validation(format!(
            "Slow start mode cannot be enabled with the '{}' load balancing algorithm",
            algorithm_name(group.attributes.algorithm)
        )));
    }
    group.attributes.stickiness = in_force(group)?;
    Ok(())
}

fn in_force(group: &TargetGroup) -> Result<Option<Stickiness>> {
    let seconds = |key: &str| stickiness(group, key).parse().unwrap_or(86_400);
    match (stickiness(group, "stickiness.enabled"), stickiness(group, "stickiness.type")) {
        ("true", "app_cookie") => {
            let name = stickiness(group, "stickiness.app_cookie.cookie_name");
            if name.is_empty() {
                return Err(errors::validation(
                    "You must set an application cookie name to enable stickiness of type 'app_cookie'",
                ));
            }
            let seconds = seconds("stickiness.app_cookie.duration_seconds");
            Ok(Some(Stickiness::AppCookie { name: name.to_owned(), seconds }))
        }
        ("true", _) => {
            Ok(Some(Stickiness::LoadBalancerCookie { seconds: seconds("stickiness.lb_cookie.duration_seconds") }))
        }
        _ => Ok(None),
    }
}

fn stickiness<'a>(group: &'a TargetGroup, key: &str) -> &'a str {
    let default = STICKINESS.iter().find(|(known, _)| *known == key).map_or("", |(_, default)| *default);
    group.stickiness.get(key).map_or(default, String::as_str)
}

fn check_cookie_name(name: &str) -> Result<()> {
    if ["AWSALB", "AWSALBAPP", "AWSALBTG"].iter().any(|reserved| name.to_ascii_uppercase().starts_with(reserved)) {
        return Err(errors::validation(format!("The application cookie name '{name}' is reserved")));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) || name.len() > 256 {
        return Err(errors::validation(format!("The application cookie name '{name}' is not valid")));
    }
    Ok(())
}

fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RoundRobin => "round_robin",
        Algorithm::LeastOutstandingRequests => "least_outstanding_requests",
        Algorithm::WeightedRandom => "weighted_random",
    }
}
