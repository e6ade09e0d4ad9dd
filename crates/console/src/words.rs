//! Rules of load balancers in words.

use crate::api::Data;
use serde_json::Value;

/// A rule's conditions, each in words; none for the default rule.
pub fn conditions(rule: &Value) -> Vec<String> {
    rule.list("Conditions").iter().map(condition).collect()
}

/// What a condition's values are, whichever way they were given.
pub fn values(condition: &Value) -> Vec<String> {
    let typed = [
        "PathPatternConfig.Values",
        "PathPatternConfig.RegexValues",
        "HostHeaderConfig.Values",
        "HostHeaderConfig.RegexValues",
        "HttpHeaderConfig.Values",
        "HttpHeaderConfig.RegexValues",
        "HttpRequestMethodConfig.Values",
        "SourceIpConfig.Values",
    ];
    let mut all: Vec<String> = typed.iter().flat_map(|path| condition.texts(path)).map(str::to_owned).collect();
    for pair in condition.list("QueryStringConfig.Values") {
        let value = pair.text("Value");
        all.push(if pair.text("Key").is_empty() { value.into() } else { format!("{}={value}", pair.text("Key")) });
    }
    if all.is_empty() {
        all.extend(condition.texts("Values").into_iter().map(str::to_owned));
    }
    all
}

fn condition(condition: &Value) -> String {
    let name = match condition.text("Field") {
        "path-pattern" => "path".to_owned(),
        "host-header" => "host".to_owned(),
        "http-request-method" => "method".to_owned(),
        "query-string" => "query".to_owned(),
        "source-ip" => "source".to_owned(),
        "http-header" => format!("header {}", condition.text("HttpHeaderConfig.HttpHeaderName")),
        other => other.to_owned(),
    };
    format!("{name} {}", values(condition).join(" or "))
}

/// The target groups an action forwards to, with their weights.
pub fn groups(action: &Value) -> Vec<(String, i64)> {
    let tuples = action.list("ForwardConfig.TargetGroups");
    let mut all: Vec<_> =
        tuples.iter().map(|t| (t.text("TargetGroupArn").to_owned(), t.at("Weight").as_i64().unwrap_or(1))).collect();
    if all.is_empty() && !action.text("TargetGroupArn").is_empty() {
        all.push((action.text("TargetGroupArn").to_owned(), 1));
    }
    all
}

/// An action in words.
pub fn action(action: &Value) -> String {
    match action.text("Type") {
        "forward" => {
            let groups = groups(action);
            let weighted = groups.len() > 1;
            let names: Vec<String> = groups
                .iter()
                .map(|(arn, weight)| match weighted {
                    true => format!("{} ({weight})", group_name(arn)),
                    false => group_name(arn).to_owned(),
                })
                .collect();
            format!("forward to {}", names.join(", "))
        }
        "fixed-response" => format!("answer {}", action.text("FixedResponseConfig.StatusCode")),
        "redirect" => {
            let to = action.at("RedirectConfig");
            let part =
                |name: &str, usual: &str| Some(to.text(name)).filter(|t| !t.is_empty()).unwrap_or(usual).to_owned();
            format!(
                "redirect {} to {}://{}:{}{}",
                to.text("StatusCode"),
                part("Protocol", "#{protocol}"),
                part("Host", "#{host}"),
                part("Port", "#{port}"),
                part("Path", "/#{path}")
            )
        }
        other => other.to_owned(),
    }
}

/// The name in `arn:aws:elasticloadbalancing:…:targetgroup/<name>/<id>`.
pub fn group_name(arn: &str) -> &str {
    arn.split('/').nth(1).unwrap_or(arn)
}

/// Rules in the order in which they are tried: the default one last.
pub fn in_order(mut rules: Vec<Value>) -> Vec<Value> {
    rules.sort_by_key(|rule| rule.text("Priority").parse::<u32>().unwrap_or(u32::MAX));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const USERS: &str = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/users/0123456789abcdef";

    #[test]
    fn conditions_are_told_in_words() {
        let rule = json!({"Conditions": [
            {"Field": "path-pattern", "Values": ["/", "/api"], "PathPatternConfig": {"Values": ["/", "/api"]}},
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Beta", "Values": ["1"]}},
            {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "version", "Value": "1*"}, {"Value": "x"}]}},
        ]});
        assert_eq!(conditions(&rule), ["path / or /api", "header X-Beta 1", "query version=1* or x"]);
    }

    #[test]
    fn every_kind_of_action_names_what_it_does() {
        let one = json!({"Type": "forward", "TargetGroupArn": USERS});
        assert_eq!(action(&one), "forward to users");
        let tuple = |weight: i64| json!({"TargetGroupArn": USERS, "Weight": weight});
        let two = json!({"Type": "forward", "ForwardConfig": {"TargetGroups": [tuple(9), tuple(1)]}});
        assert_eq!(action(&two), "forward to users (9), users (1)");
        assert_eq!(
            action(&json!({"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}})),
            "answer 503"
        );
        let redirect = json!({"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}});
        assert_eq!(action(&redirect), "redirect HTTP_301 to HTTPS://#{host}:443/#{path}");
    }

    #[test]
    fn the_default_rule_comes_last() {
        let rules = ["default", "10", "2"].map(|p| json!({"Priority": p}));
        let order: Vec<_> = in_order(rules.to_vec()).iter().map(|r| r.text("Priority").to_owned()).collect();
        assert_eq!(order, ["2", "10", "default"]);
    }
}
