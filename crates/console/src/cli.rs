//! A call as a line of the aws CLI.

use quarry_wire::Operation;
use serde_json::Value;

/// The line that makes the same call: options by their names.
pub fn line<O: Operation>(input: &Value) -> String {
    let mut words = vec!["aws".to_owned(), O::service().id.to_owned(), kebab(O::NAME)];
    for member in O::model().input.members {
        match &input[member.name] {
            Value::Null => {}
            Value::Bool(true) => words.push(format!("--{}", kebab(member.name))),
            Value::Bool(false) => words.push(format!("--no-{}", kebab(member.name))),
            value => {
                words.push(format!("--{}", kebab(member.name)));
                words.extend(values(value));
            }
        }
    }
    words.join(" ")
}

fn values(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![quoted(text)],
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).map(quoted).collect()
        }
        other => vec![quoted(&other.to_string())],
    }
}

/// As the aws CLI names members and operations: `desiredCount` → `desired-count`, `SSLPolicy` → `ssl-policy`.
fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| letters[i]);
        let after_small = before.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let begins_word = before.is_some() && letters.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && (after_small || begins_word) {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// As one word of a POSIX shell.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_aws::ecs::op::UpdateService;
    use quarry_aws::elbv2::op::{CreateRule, DescribeSSLPolicies};
    use serde_json::json;

    #[test]
    fn a_line_says_what_the_call_says() {
        let input = json!({"service": "posts", "cluster": "my cluster", "desiredCount": 3, "forceNewDeployment": true});
        assert_eq!(
            line::<UpdateService>(&input),
            "aws ecs update-service --cluster 'my cluster' --desired-count 3 --force-new-deployment --service posts"
        );
        let input = json!({
            "ListenerArn": "arn:x", "Priority": 2,
            "Conditions": [{"Field": "path-pattern", "Values": ["/it's*"]}],
        });
        assert_eq!(
            line::<CreateRule>(&input),
            r#"aws elbv2 create-rule --conditions '[{"Field":"path-pattern","Values":["/it'\''s*"]}]' --listener-arn arn:x --priority 2"#
        );
        assert_eq!(
            line::<DescribeSSLPolicies>(&json!({"Names": ["a", "b"]})),
            "aws elbv2 describe-ssl-policies --names a b"
        );
    }
}
