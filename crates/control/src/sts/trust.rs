//! Whether a role's trust policy lets an IAM principal assume it. Only what can be decided here
//! counts: a statement with a condition other than `sts:ExternalId` lets nobody in.

use quarry_domain::rule::Pattern;
use serde_json::Value;

/// `policy`: JSON, URL-encoded as IAM shows it or not.
pub fn allows(policy: &str, account: &str, caller_arn: &str, external_id: Option<&str>) -> bool {
    let decoded = if policy.trim_start().starts_with('%') { percent_decode(policy) } else { policy.to_owned() };
    let Ok(policy) = serde_json::from_str::<Value>(&decoded) else { return false };
    let statements = list(policy.get("Statement"));
    let matching = |effect: &str| {
        statements.iter().any(|statement| {
            statement.get("Effect").and_then(Value::as_str) == Some(effect)
                && list(statement.get("Action")).iter().filter_map(|a| a.as_str()).any(is_assume_role)
                && is_principal(statement, account, caller_arn)
                // A denial counts whatever its condition: it may apply.
                && (effect == "Deny" || condition_holds(statement.get("Condition"), external_id))
        })
    };
    matching("Allow") && !matching("Deny") && !statements.iter().any(|statement| is_unclear_denial(statement))
}

/// Whether the policy lets an AWS service, such as `ecs-tasks.amazonaws.com`, assume the role for a
/// resource of `account`. Conditions other than on the account and the resource let nobody in.
pub fn allows_service(policy: &str, service: &str, account: &str, source_arn: &str) -> bool {
    let decoded = if policy.trim_start().starts_with('%') { percent_decode(policy) } else { policy.to_owned() };
    let Ok(policy) = serde_json::from_str::<Value>(&decoded) else { return false };
    let statements = list(policy.get("Statement"));
    let named = |statement: &Value| {
        list(statement.get("Action")).iter().filter_map(|a| a.as_str()).any(is_assume_role)
            && list(statement.get("Principal").and_then(|p| p.get("Service"))).iter().any(|p| *p == service)
    };
    let holds = |condition: &Value| {
        condition.as_object().is_some_and(|operators| {
            operators.iter().all(|(operator, keys)| {
                keys.as_object().is_some_and(|keys| {
                    keys.iter().all(|(key, wanted)| {
                        let patterns = list(Some(wanted));
                        let mut patterns = patterns.iter().filter_map(|wanted| wanted.as_str());
                        match (operator.as_str(), key.to_ascii_lowercase().as_str()) {
                            ("StringEquals", "aws:sourceaccount") => patterns.any(|wanted| wanted == account),
                            ("ArnLike" | "ArnEquals" | "StringLike", "aws:sourcearn") => {
                                patterns.any(|wanted| Pattern::case_sensitive(wanted).matches(source_arn.as_bytes()))
                            }
                            _ => false,
                        }
                    })
                })
            })
        })
    };
    let applies = |effect: &str, statement: &Value| statement.get("Effect").and_then(Value::as_str) == Some(effect);
    statements.iter().any(|s| applies("Allow", s) && named(s) && s.get("Condition").is_none_or(holds))
        && !statements.iter().any(|s| applies("Deny", s) && (named(s) || s.get("Condition").is_none()))
}

/// A denial by what it leaves out, or by a pattern that is not known here, may apply, too.
fn is_unclear_denial(statement: &Value) -> bool {
    let wild = |action: &Value| action.as_str().is_some_and(|a| a.contains(['*', '?']) && !is_assume_role(a));
    statement.get("Effect").and_then(Value::as_str) == Some("Deny")
        && (statement.get("NotAction").is_some()
            || statement.get("NotPrincipal").is_some()
            || list(statement.get("Action")).into_iter().any(wild))
}

fn is_assume_role(action: &str) -> bool {
    ["*", "sts:*", "sts:assumerole", "sts:assumerole*", "sts:assume*"].contains(&action.to_ascii_lowercase().as_str())
}

fn is_principal(statement: &Value, account: &str, caller_arn: &str) -> bool {
    let root = format!("arn:aws:iam::{account}:root");
    let principals = match statement.get("Principal") {
        Some(Value::String(all)) => return all == "*",
        Some(principal) => list(principal.get("AWS")),
        None => return false,
    };
    principals.iter().filter_map(|p| p.as_str()).any(|p| p == "*" || p == account || p == root || p == caller_arn)
}

fn condition_holds(condition: Option<&Value>, external_id: Option<&str>) -> bool {
    let Some(condition) = condition.and_then(Value::as_object) else { return condition.is_none() };
    condition.iter().all(|(operator, keys)| {
        operator == "StringEquals"
            && keys.as_object().is_some_and(|keys| {
                keys.iter().all(|(key, wanted)| {
                    key.eq_ignore_ascii_case("sts:ExternalId")
                        && list(Some(wanted))
                            .iter()
                            .any(|wanted| wanted.as_str() == external_id && external_id.is_some())
                })
            })
    })
}

/// A list, or the one value that may stand in its place.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(values)) => values.iter().collect(),
        Some(value) => vec![value],
        None => Vec::new(),
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_let_in() {
        let account = "000000000000";
        let root = "arn:aws:iam::000000000000:root";
        let policy = |principal: &str, rest: &str| {
            format!(r#"{{"Statement":[{{"Effect":"Allow","Principal":{principal},"Action":"sts:AssumeRole"{rest}}}]}}"#)
        };
        let cases = [
            (policy(r#"{"AWS":"arn:aws:iam::000000000000:root"}"#, ""), None, true),
            (policy(r#"{"AWS":["000000000000"]}"#, ""), None, true),
            (policy(r#""*""#, ""), None, true),
            (policy(r#"{"Service":"ecs-tasks.amazonaws.com"}"#, ""), None, false),
            (policy(r#"{"AWS":"arn:aws:iam::111111111111:root"}"#, ""), None, false),
            (policy(r#""*""#, r#","Condition":{"StringEquals":{"sts:ExternalId":"x"}}"#), None, false),
            (policy(r#""*""#, r#","Condition":{"StringEquals":{"sts:ExternalId":"x"}}"#), Some("x"), true),
            (policy(r#""*""#, r#","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}"#), None, false),
            ("not json".to_owned(), None, false),
        ];
        for (policy, external_id, allowed) in cases {
            assert_eq!(allows(&policy, account, root, external_id), allowed, "{policy}");
        }
        let to_service = |principal: &str, rest: &str| {
            let task = "arn:aws:ecs:us-east-1:000000000000:task/demo/1";
            allows_service(&policy(principal, rest), "ecs-tasks.amazonaws.com", account, task)
        };
        let service = r#"{"Service":["ec2.amazonaws.com","ecs-tasks.amazonaws.com"]}"#;
        assert!(to_service(service, ""));
        assert!(!to_service(r#"{"Service":"ec2.amazonaws.com"}"#, "") && !to_service(r#""*""#, ""));
        let condition = |arn: &str| {
            format!(
                r#","Condition":{{"ArnLike":{{"aws:SourceArn":"{arn}"}},"StringEquals":{{"aws:SourceAccount":"{account}"}}}}"#
            )
        };
        assert!(to_service(service, &condition("arn:aws:ecs:us-east-1:000000000000:*")));
        assert!(!to_service(service, &condition("arn:aws:ecs:eu-west-1:000000000000:*")));
        assert!(!to_service(service, r#","Condition":{"Bool":{"aws:SecureTransport":"true"}}"#));
        let allow = r#"{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}"#;
        for deny in [
            r#""Principal":"*","Action":"sts:AssumeRole""#,
            r#""Principal":"*","NotAction":"sts:TagSession""#,
            r#""NotPrincipal":{"AWS":"arn:aws:iam::000000000000:role/other"},"Action":"sts:*""#,
            r#""Principal":"*","Action":"sts:Ass?meRole""#,
            r#""Principal":"*","Action":"sts:A*""#,
        ] {
            let policy = format!(r#"{{"Statement":[{allow},{{"Effect":"Deny",{deny}}}]}}"#);
            assert!(!allows(&policy, account, root, None), "{policy}");
        }
        let encoded = "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%22%2A%22%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%7D";
        assert!(allows(encoded, account, root, None));
    }
}
