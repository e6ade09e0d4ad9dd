//! Stack policies: which updates of which resources are allowed (AWS's documentation, "Prevent updates
//! to stack resources").

use super::records::Stack;
use super::template::text_of;
use super::world::refused;
use crate::api::Result;
use serde_json::{Map, Value};

const ACTIONS: &[&str] = &["Update:Modify", "Update:Replace", "Update:Delete", "Update:*"];
/// Longest policy, in bytes.
const LONGEST: usize = 16_384;

/// Why the policy in force forbids an action, if it does.
pub fn denied(stack: &Stack, action: &str, logical_id: &str, type_name: &str) -> Option<String> {
    let during = stack.update.as_ref().and_then(|update| update.policy.as_ref());
    let text = during.or(stack.policy.as_ref())?;
    let policy: Value = serde_json::from_str(text).ok()?;
    let resource = format!("LogicalResourceId/{logical_id}");
    let statements = list(policy.get("Statement"));
    let mut allowed = false;
    for (index, statement) in statements.iter().enumerate() {
        let Value::Object(statement) = statement else { continue };
        let applies = one_of(statement, "Action", action)
            && one_of(statement, "Resource", &resource)
            && condition_holds(statement, type_name);
        if !applies {
            continue;
        }
        if statement.get("Effect").is_some_and(|effect| effect == "Deny") {
            let told = |key: &str| {
                let items: Vec<String> = list(statement.get(key)).iter().filter_map(text_of).collect();
                items.join(", ")
            };
            return Some(format!(
                "Action denied by stack policy: Statement [#{}] does not allow [{}] for resource [{}];",
                index + 1,
                if statement.contains_key("Action") { told("Action") } else { action.to_owned() },
                if statement.contains_key("Resource") { told("Resource") } else { resource },
            ));
        }
        allowed = true;
    }
    (!allowed).then(|| "Action not allowed by stack policy".to_owned())
}

/// The policy of a request, checked. `None` if it has none.
pub fn given(body: Option<String>, url: Option<String>) -> Result<Option<String>> {
    match (body, url) {
        (Some(_), Some(_)) => Err(refused("You cannot specify both StackPolicyURL and StackPolicyBody.")),
        (None, Some(_)) => Err(refused("StackPolicyURL must be a supported URL.")),
        (None, None) => Ok(None),
        (Some(text), None) => check(&text).map(|()| Some(text)),
    }
}

fn check(text: &str) -> Result<()> {
    let wrong = |what: &str| Err(refused(format!("Error validating stack policy: {what}")));
    if text.len() > LONGEST {
        return wrong("the policy is too long");
    }
    let Ok(Value::Object(policy)) = serde_json::from_str::<Value>(text) else {
        return wrong("Invalid stack policy");
    };
    if let Some(key) = policy.keys().find(|key| !["Version", "Id", "Statement"].contains(&key.as_str())) {
        return wrong(&format!("Unknown element {key}"));
    }
    let statements = list(policy.get("Statement"));
    if statements.is_empty() {
        return wrong("Invalid stack policy");
    }
    for statement in &statements {
        let Value::Object(statement) = statement else { return wrong("Invalid stack policy") };
        for key in statement.keys() {
            let known = ["Sid", "Effect", "Action", "NotAction", "Principal", "Resource", "NotResource", "Condition"];
            if !known.contains(&key.as_str()) {
                return wrong(&format!("Unknown element {key}"));
            }
        }
        if !matches!(statement.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
            return wrong("Invalid effect");
        }
        let principal = match statement.get("Principal") {
            Some(Value::Object(map)) => map.get("AWS").cloned(),
            other => other.cloned(),
        };
        if principal.as_ref().and_then(Value::as_str) != Some("*") {
            return wrong("Invalid principal: only * is allowed");
        }
        for (key, opposite) in [("Action", "NotAction"), ("Resource", "NotResource")] {
            if statement.contains_key(key) == statement.contains_key(opposite) {
                return wrong(&format!("a statement must have either {key} or {opposite}"));
            }
        }
        let actions = list(statement.get("Action").or(statement.get("NotAction")));
        if let Some(action) = actions.iter().find(|a| !a.as_str().is_some_and(|a| ACTIONS.contains(&a))) {
            return wrong(&format!("Invalid action {action}"));
        }
        let resources = list(statement.get("Resource").or(statement.get("NotResource")));
        let good = |r: &Value| r.as_str().is_some_and(|r| r == "*" || r.starts_with("LogicalResourceId/"));
        if !resources.iter().all(good) {
            return wrong("Invalid resource");
        }
        for (operator, keys) in statement.get("Condition").and_then(Value::as_object).into_iter().flatten() {
            let type_only = keys.as_object().is_some_and(|keys| keys.keys().all(|key| key == "ResourceType"));
            if !["StringEquals", "StringLike"].contains(&operator.as_str()) || !type_only {
                return wrong("Invalid condition");
            }
        }
    }
    Ok(())
}

fn one_of(statement: &Map<String, Value>, key: &str, text: &str) -> bool {
    let any = |patterns: &Value| list(Some(patterns)).iter().any(|p| p.as_str().is_some_and(|p| like(p, text)));
    match (statement.get(key), statement.get(&format!("Not{key}"))) {
        (Some(patterns), _) => any(patterns),
        (None, Some(patterns)) => !any(patterns),
        (None, None) => false,
    }
}

fn condition_holds(statement: &Map<String, Value>, type_name: &str) -> bool {
    let conditions = statement.get("Condition").and_then(Value::as_object);
    conditions.into_iter().flatten().all(|(operator, keys)| {
        list(keys.get("ResourceType")).iter().filter_map(Value::as_str).any(|wanted| match operator.as_str() {
            "StringLike" => like(wanted, type_name),
            _ => wanted == type_name,
        })
    })
}

fn list(value: Option<&Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(one) => vec![one.clone()],
    }
}

/// `*` stands for any text and `?` for any character.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, seen)) => {
                    star = Some((at, seen + 1));
                    p = at + 1;
                    t = seen + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("Update:*", "Update:Modify", true),
            ("LogicalResourceId/Prod*", "LogicalResourceId/ProdDb", true),
            ("LogicalResourceId/Prod?", "LogicalResourceId/ProdDb", false),
            ("AWS::*::VPC", "AWS::EC2::VPC", true),
            ("AWS::EC2::VPC", "AWS::EC2::VPCs", false),
        ] {
            assert_eq!(like(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn bad_policies_are_refused() {
        for bad in [
            "no json",
            "{}",
            r#"{"Statement":[{"Effect":"Allow","Action":"Update:*","Resource":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Action":"Delete:*","Principal":"*","Resource":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Maybe","Action":"Update:*","Principal":"*","Resource":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Action":"Update:*","Principal":"me","Resource":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Action":"Update:*","Principal":"*","Resource":"Vpc"}]}"#,
        ] {
            let error = given(Some(bad.to_owned()), None).unwrap_err();
            assert!(error.message.starts_with("Error validating stack policy: "), "{error}");
        }
        let good = r#"{"Statement":{"Effect":"Deny","NotAction":["Update:Modify"],"Principal":"*","Resource":"*","Condition":{"StringLike":{"ResourceType":"AWS::EC2::*"}}}}"#;
        assert!(given(Some(good.to_owned()), None).unwrap().is_some());
    }
}
