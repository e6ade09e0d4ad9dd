//! Load balancers, listeners and their rules in words.

use crate::gather::{Answer, short};
use crate::view::{Listener, LoadBalancer, Part, Rule, Target, TargetGroup};
use quarry_aws::elbv2::op::{
    DescribeListeners, DescribeLoadBalancers, DescribeRules, DescribeTargetGroups, DescribeTargetHealth,
};
use quarry_aws::elbv2::{self, DescribeListenersInput, DescribeRulesInput, DescribeTargetHealthInput};
use quarry_client::Client;
use quarry_client::status::ListenerView;

pub async fn load_balancers(client: &Client, bound: &[ListenerView]) -> Part<LoadBalancer> {
    let pages = client.paginate::<DescribeLoadBalancers>(Default::default()).await.told()?;
    let mut all = Vec::new();
    for balancer in pages.into_iter().flat_map(|p| p.load_balancers.unwrap_or_default()) {
        let input =
            DescribeListenersInput { load_balancer_arn: balancer.load_balancer_arn.clone(), ..Default::default() };
        let pages = client.paginate::<DescribeListeners>(input).await.told()?;
        let mut listeners = Vec::new();
        for listener in pages.into_iter().flat_map(|p| p.listeners.unwrap_or_default()) {
            listeners.push(one_listener(client, bound, listener).await?);
        }
        all.push(LoadBalancer {
            name: balancer.load_balancer_name.unwrap_or_default(),
            state: balancer.state.and_then(|s| s.code).unwrap_or_default(),
            dns_name: balancer.dns_name.unwrap_or_default(),
            listeners,
        });
    }
    Ok(all)
}

async fn one_listener(client: &Client, bound: &[ListenerView], listener: elbv2::Listener) -> Result<Listener, String> {
    let input = DescribeRulesInput { listener_arn: listener.listener_arn.clone(), ..Default::default() };
    let pages = client.paginate::<DescribeRules>(input).await.told()?;
    let mut rules: Vec<_> = pages.into_iter().flat_map(|p| p.rules.unwrap_or_default()).collect();
    rules.sort_by_key(|rule| rule.priority.as_deref().and_then(|p| p.parse::<u32>().ok()).unwrap_or(u32::MAX));
    let protocol = listener.protocol.unwrap_or_default();
    let view = bound.iter().find(|view| Some(&view.listener_arn) == listener.listener_arn.as_ref());
    Ok(Listener {
        name: format!("{protocol} {}", listener.port.unwrap_or_default()),
        urls: view.map(|view| urls(view, &protocol)).unwrap_or_default(),
        error: view.and_then(|view| view.error.clone()),
        rules: rules.into_iter().map(rule).collect(),
    })
}

/// By name where the address is the load balancer's own, then by number.
fn urls(view: &ListenerView, protocol: &str) -> Vec<String> {
    let (scheme, usual) = if protocol == "HTTPS" { ("https", 443) } else { ("http", 80) };
    let url = |host: &str, port: u16| {
        if port == usual { format!("{scheme}://{host}/") } else { format!("{scheme}://{host}:{port}/") }
    };
    let named = view.bound.first().map(|a| url(&view.dns_name, a.port()));
    let numbered = view.bound.iter().map(|a| url(&a.ip().to_string(), a.port()));
    named.into_iter().chain(numbered).collect()
}

fn rule(rule: elbv2::Rule) -> Rule {
    let conditions = rule.conditions.unwrap_or_default();
    let actions = rule.actions.unwrap_or_default();
    Rule {
        priority: rule.priority.unwrap_or_default(),
        conditions: conditions.into_iter().map(condition).collect(),
        actions: actions.into_iter().map(action).collect(),
    }
}

/// `path /api/users*`; several values are alternatives.
fn condition(condition: elbv2::RuleCondition) -> String {
    let field = condition.field.unwrap_or_default();
    let mut name = field.clone();
    let mut values = condition.values.unwrap_or_default();
    values.extend(condition.regex_values.unwrap_or_default());
    // The old member `values` says the same as the typed one.
    let mut typed: Vec<String> = Vec::new();
    if let Some(config) = condition.path_pattern_config {
        typed.extend(config.values.into_iter().chain(config.regex_values).flatten());
    }
    if let Some(config) = condition.host_header_config {
        typed.extend(config.values.into_iter().chain(config.regex_values).flatten());
    }
    if let Some(config) = condition.http_header_config {
        name = format!("header {}", config.http_header_name.unwrap_or_default());
        typed.extend(config.values.into_iter().chain(config.regex_values).flatten());
    }
    typed.extend(condition.http_request_method_config.and_then(|c| c.values).unwrap_or_default());
    typed.extend(condition.source_ip_config.and_then(|c| c.values).unwrap_or_default());
    for pair in condition.query_string_config.and_then(|c| c.values).unwrap_or_default() {
        let value = pair.value.unwrap_or_default();
        typed.push(pair.key.map_or(value.clone(), |key| format!("{key}={value}")));
    }
    let values = if typed.is_empty() { values } else { typed };
    let name = match name.as_str() {
        "path-pattern" => "path",
        "host-header" => "host",
        "http-request-method" => "method",
        "query-string" => "query",
        "source-ip" => "source",
        other => other,
    };
    format!("{name} {}", values.join(" or "))
}

fn action(action: elbv2::Action) -> String {
    let kind = action.r#type.unwrap_or_default();
    match kind.as_str() {
        "forward" => {
            let groups = action.forward_config.and_then(|c| c.target_groups).unwrap_or_default();
            let mut names: Vec<String> = groups
                .iter()
                .map(|group| {
                    let name = group_name(group.target_group_arn.as_deref().unwrap_or_default());
                    match group.weight {
                        Some(weight) if groups.len() > 1 => format!("{name} ({weight})"),
                        _ => name.to_owned(),
                    }
                })
                .collect();
            if names.is_empty() {
                names.extend(action.target_group_arn.as_deref().map(|arn| group_name(arn).to_owned()));
            }
            format!("forward to {}", names.join(", "))
        }
        "fixed-response" => {
            format!("answer {}", action.fixed_response_config.and_then(|c| c.status_code).unwrap_or_default())
        }
        "redirect" => {
            let to = action.redirect_config.unwrap_or_default();
            let part = |text: Option<String>, usual: &str| text.unwrap_or_else(|| usual.to_owned());
            format!(
                "redirect {} to {}://{}:{}{}",
                to.status_code.clone().unwrap_or_default(),
                part(to.protocol, "#{protocol}"),
                part(to.host, "#{host}"),
                part(to.port, "#{port}"),
                part(to.path, "/#{path}")
            )
        }
        _ => kind,
    }
}

/// The name in `arn:aws:elasticloadbalancing:…:targetgroup/<name>/<id>`.
fn group_name(arn: &str) -> &str {
    arn.split('/').nth(1).unwrap_or(arn)
}

pub async fn target_groups(client: &Client) -> Part<TargetGroup> {
    let pages = client.paginate::<DescribeTargetGroups>(Default::default()).await.told()?;
    let mut all = Vec::new();
    for group in pages.into_iter().flat_map(|p| p.target_groups.unwrap_or_default()) {
        let input =
            DescribeTargetHealthInput { target_group_arn: group.target_group_arn.clone(), ..Default::default() };
        let health = client.call::<DescribeTargetHealth>(input).await.told()?;
        let targets = health.target_health_descriptions.unwrap_or_default().into_iter().map(target).collect();
        let text = |value: Option<String>| value.unwrap_or_default();
        all.push(TargetGroup {
            name: text(group.target_group_name),
            kind: format!(
                "{} {}, {} targets",
                text(group.protocol),
                group.port.unwrap_or_default(),
                group.target_type.as_deref().unwrap_or("instance")
            ),
            health_check: format!(
                "{} every {} s",
                text(group.health_check_path),
                group.health_check_interval_seconds.unwrap_or_default()
            ),
            targets,
        });
    }
    Ok(all)
}

fn target(description: elbv2::TargetHealthDescription) -> Target {
    let target = description.target.unwrap_or_default();
    let health = description.target_health.unwrap_or_default();
    let port = target.port.map_or(String::new(), |port| format!(":{port}"));
    Target {
        name: format!("{}{port}", short(&target.id.unwrap_or_default())),
        state: health.state.unwrap_or_default(),
        why: [health.reason, health.description].into_iter().flatten().collect::<Vec<_>>().join(": "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_aws::elbv2::{
        Action, FixedResponseActionConfig, ForwardActionConfig, PathPatternConditionConfig, QueryStringConditionConfig,
        QueryStringKeyValuePair, RedirectActionConfig, RuleCondition, TargetGroupTuple,
    };

    const USERS: &str = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/users/0123456789abcdef";

    #[test]
    fn rules_are_told_in_words() {
        let forward =
            Action { r#type: Some("forward".into()), target_group_arn: Some(USERS.into()), ..Default::default() };
        let paths = vec!["/".to_owned(), "/api".to_owned()];
        let condition = RuleCondition {
            field: Some("path-pattern".into()),
            values: Some(paths.clone()),
            path_pattern_config: Some(PathPatternConditionConfig { values: Some(paths), ..Default::default() }),
            ..Default::default()
        };
        let told = rule(elbv2::Rule {
            priority: Some("2".into()),
            conditions: Some(vec![condition]),
            actions: Some(vec![forward]),
            ..Default::default()
        });
        let expected = Rule {
            priority: "2".into(),
            conditions: vec!["path / or /api".into()],
            actions: vec!["forward to users".into()],
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn every_kind_of_action_names_what_it_does() {
        let tuple = |weight| TargetGroupTuple { target_group_arn: Some(USERS.into()), weight: Some(weight) };
        let weighted = Action {
            r#type: Some("forward".into()),
            forward_config: Some(ForwardActionConfig {
                target_groups: Some(vec![tuple(9), tuple(1)]),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(action(weighted), "forward to users (9), users (1)");
        let fixed = Action {
            r#type: Some("fixed-response".into()),
            fixed_response_config: Some(FixedResponseActionConfig {
                status_code: Some("503".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(action(fixed), "answer 503");
        let redirect = Action {
            r#type: Some("redirect".into()),
            redirect_config: Some(RedirectActionConfig {
                protocol: Some("HTTPS".into()),
                port: Some("443".into()),
                status_code: Some("HTTP_301".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(action(redirect), "redirect HTTP_301 to HTTPS://#{host}:443/#{path}");
    }

    #[test]
    fn query_conditions_show_key_and_value() {
        let pair = QueryStringKeyValuePair { key: Some("version".into()), value: Some("1*".into()) };
        let told = condition(RuleCondition {
            field: Some("query-string".into()),
            query_string_config: Some(QueryStringConditionConfig { values: Some(vec![pair]) }),
            ..Default::default()
        });
        assert_eq!(told, "query version=1*");
    }

    #[test]
    fn urls_name_the_port_that_was_really_bound() {
        let view = |port: u16| ListenerView {
            listener_arn: String::new(),
            load_balancer_name: "demo".into(),
            dns_name: "demo-1.us-east-1.elb.localhost".into(),
            port: 80,
            bound: vec![([127, 80, 0, 1], port).into(), ([127, 0, 0, 1], port).into()],
            error: None,
        };
        let expected = ["http://demo-1.us-east-1.elb.localhost/", "http://127.80.0.1/", "http://127.0.0.1/"];
        assert_eq!(urls(&view(80), "HTTP"), expected);
        assert_eq!(urls(&view(8080), "HTTP")[0], "http://demo-1.us-east-1.elb.localhost:8080/");
        assert_eq!(urls(&view(8443), "HTTPS")[1], "https://127.80.0.1:8443/");
    }
}
