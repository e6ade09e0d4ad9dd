//! Target groups and rules: from the environment's load balancer to a service.

use super::service::Making;
use super::yaml::{Out, attribute, import, list, map, reference};
use crate::manifest::{Protocol, Rule};

/// The suffix of the logical ids of a rule: none for the first.
pub(super) fn suffix(index: usize) -> String {
    if index == 0 { String::new() } else { index.to_string() }
}

pub(super) fn target_group(making: &Making<'_>, rule: &Rule) -> Out {
    let (_, port) = making.service.target(rule);
    let secure = |port: u16| if port == 443 { "HTTPS" } else { "HTTP" };
    let mut properties = map! {
        "VpcId" => import("VpcId"),
        "TargetType" => "ip",
        "Port" => port,
        "Protocol" => secure(port),
    };
    if rule.protocol == Protocol::Http2 {
        properties.set("ProtocolVersion", "HTTP2");
    }
    let check = &rule.check;
    properties.set("HealthCheckPath", &check.path);
    if let Some(at) = check.port {
        properties.set("HealthCheckPort", at.to_string());
    }
    properties.set("HealthCheckProtocol", secure(check.port.unwrap_or(port)));
    properties.set_some("HealthCheckIntervalSeconds", check.interval);
    properties.set_some("HealthCheckTimeoutSeconds", check.timeout);
    properties.set_some("HealthyThresholdCount", check.healthy_threshold);
    properties.set_some("UnhealthyThresholdCount", check.unhealthy_threshold);
    properties.set_some("Matcher", check.success_codes.as_ref().map(|codes| map! {"HttpCode" => codes}));
    let attribute = |key: &str, value: String| map! {"Key" => key, "Value" => value};
    properties.set(
        "TargetGroupAttributes",
        list![
            attribute("deregistration_delay.timeout_seconds", rule.deregistration_delay.to_string()),
            attribute("stickiness.enabled", rule.stickiness.to_string()),
        ],
    );
    map! {"Type" => "AWS::ElasticLoadBalancingV2::TargetGroup", "Properties" => properties}
}

/// The rule of the listener for HTTP, or with `https` of the one for HTTPS.
pub(super) fn rule(making: &Making<'_>, index: usize, rule: &Rule, https: bool) -> Out {
    let redirected = !https && rule.redirect_to_https && making.deployed.https && !rule.aliases.is_empty();
    let action = if redirected {
        map! {
            "Type" => "redirect",
            "RedirectConfig" => map! {"Protocol" => "HTTPS", "Port" => "443", "StatusCode" => "HTTP_301"},
        }
    } else {
        map! {"Type" => "forward", "TargetGroupArn" => reference(&format!("TargetGroup{}", suffix(index)))}
    };
    let paths = match rule.path.as_str() {
        "" => list!["/*"],
        path => list![format!("/{path}"), format!("/{path}/*")],
    };
    let mut conditions = list![map! {
        "Field" => "path-pattern",
        "PathPatternConfig" => map! {"Values" => paths},
    }];
    if !rule.aliases.is_empty() {
        let names: Out = rule.aliases.iter().collect();
        conditions.push(map! {"Field" => "host-header", "HostHeaderConfig" => map! {"Values" => names}});
    }
    if !rule.allowed_source_ips.is_empty() {
        let blocks: Out = rule.allowed_source_ips.iter().collect();
        conditions.push(map! {"Field" => "source-ip", "SourceIpConfig" => map! {"Values" => blocks}});
    }
    map! {
        "Type" => "AWS::ElasticLoadBalancingV2::ListenerRule",
        "Properties" => map! {
            "ListenerArn" => import(if https { "HTTPSListenerArn" } else { "HTTPListenerArn" }),
            "Priority" => reference(&format!("RulePriority{}", suffix(index))),
            "Conditions" => conditions,
            "Actions" => list![action],
        },
    }
}

/// What the service registers its tasks with.
pub(super) fn load_balancers(making: &Making<'_>) -> Option<Out> {
    let http = making.service.http.as_ref()?;
    let one = |(i, rule): (usize, &Rule)| {
        let (name, port) = making.service.target(rule);
        let name = if name == making.service.main.name { reference("WorkloadName") } else { name.into() };
        map! {
            "ContainerName" => name,
            "ContainerPort" => port,
            "TargetGroupArn" => reference(&format!("TargetGroup{}", suffix(i))),
        }
    };
    Some(http.rules.iter().enumerate().map(one).collect())
}

/// The name of the first target group, as metrics have it.
pub(super) fn target_group_name() -> Out {
    attribute("TargetGroup.TargetGroupFullName")
}
