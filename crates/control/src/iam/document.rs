//! Policy documents: their form is checked, and answers carry them percent-encoded (RFC 3986), as
//! IAM does.

use crate::api::Result;
use quarry_aws::iam::error::malformed_policy_document_exception;
use serde_json::{Map, Value};

/// What a policy is for: that decides which elements a statement must and must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Who may assume a role.
    Trust,
    /// What an identity may do.
    Identity,
    /// Who may do something with the resource it is attached to.
    Resource,
}

/// Refuses a document that is no policy of the IAM policy grammar (AWS's "Grammar of the IAM JSON
/// policy language"), with `MalformedPolicyDocument`.
pub fn check(text: &str, purpose: Use) -> Result<()> {
    let policy: Value = serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    let policy = policy.as_object().ok_or_else(syntax)?;
    if policy.keys().any(|key| !["Version", "Id", "Statement"].contains(&key.as_str())) {
        return Err(syntax());
    }
    match policy.get("Version") {
        None => {}
        Some(Value::String(version)) if version == "2012-10-17" || version == "2008-10-17" => {}
        Some(_) => return Err(syntax()),
    }
    let statements = match policy.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.iter().collect(),
        Some(statement @ Value::Object(_)) => vec![statement],
        _ => return Err(syntax()),
    };
    statements.into_iter().try_for_each(|statement| self::statement(statement.as_object().ok_or_else(syntax)?, purpose))
}

/// Every byte but letters, digits and `-._~` as `%XX`.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn statement(statement: &Map<String, Value>, purpose: Use) -> Result<()> {
    const ELEMENTS: [&str; 9] =
        ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    if statement.keys().any(|key| !ELEMENTS.contains(&key.as_str())) {
        return Err(syntax());
    }
    if !matches!(statement.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
        return Err(syntax());
    }
    if statement.get("Condition").is_some_and(|condition| !condition.is_object()) {
        return Err(syntax());
    }
    let actions =
        one_of(statement, "Action", "NotAction")?.ok_or_else(|| malformed("Policy statement must contain actions."))?;
    let resources = one_of(statement, "Resource", "NotResource")?;
    let principal = statement.get("Principal").or_else(|| statement.get("NotPrincipal"));
    match purpose {
        Use::Trust => {
            if resources.is_some() {
                return Err(malformed("Has prohibited field Resource"));
            }
            match principal {
                None => return Err(malformed("Missing required field Principal")),
                Some(Value::Object(principals)) if !principals.is_empty() => {}
                Some(Value::String(everyone)) if everyone == "*" => {}
                Some(_) => return Err(malformed("Invalid principal in policy")),
            }
            if actions.iter().any(|action| !action.to_ascii_lowercase().starts_with("sts:")) {
                return Err(malformed("AssumeRole policy may only specify STS AssumeRole actions."));
            }
        }
        Use::Resource => {
            match principal {
                None => return Err(malformed("Missing required field Principal")),
                Some(Value::Object(principals)) if !principals.is_empty() => {}
                Some(Value::String(everyone)) if everyone == "*" => {}
                Some(_) => return Err(malformed("Invalid principal in policy")),
            }
            if actions.iter().any(|action| *action != "*" && !action.contains(':')) {
                return Err(malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."));
            }
        }
        Use::Identity => {
            if principal.is_some() {
                return Err(malformed("Policy document should not specify a principal."));
            }
            if resources.is_none() {
                return Err(malformed("Policy statement must contain resources."));
            }
            if actions.iter().any(|action| *action != "*" && !action.contains(':')) {
                return Err(malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."));
            }
        }
    }
    Ok(())
}

/// The strings of one of two elements that exclude each other.
fn one_of<'a>(statement: &'a Map<String, Value>, a: &str, b: &str) -> Result<Option<Vec<&'a str>>> {
    let value = match (statement.get(a), statement.get(b)) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(syntax()),
        (Some(value), None) | (None, Some(value)) => value,
    };
    let strings = match value {
        Value::String(one) => Some(vec![one.as_str()]),
        Value::Array(many) => many.iter().map(Value::as_str).collect(),
        _ => None,
    };
    strings.filter(|strings| !strings.is_empty()).map(Some).ok_or_else(syntax)
}

fn malformed(message: &str) -> quarry_wire::ServiceError {
    malformed_policy_document_exception(message)
}

fn syntax() -> quarry_wire::ServiceError {
    malformed("Syntax errors in policy.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn documents_are_checked_for_their_form() {
        let trust = r#"{"Statement":[{"Effect":"Allow","Principal":{"Service":["ecs.amazonaws.com"]},"Action":["sts:AssumeRole"]}]}"#;
        check(trust, Use::Trust).unwrap();
        let identity = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecs:*","Resource":"*"}}"#;
        check(identity, Use::Identity).unwrap();
        check(r#"{"Statement":{"Effect":"Deny","NotAction":["iam:*"],"NotResource":["a"]}}"#, Use::Identity).unwrap();
        let refused = [
            ("{", Use::Trust, "This policy contains invalid Json"),
            ("[]", Use::Trust, "Syntax errors in policy."),
            ("{}", Use::Identity, "Syntax errors in policy."),
            (r#"{"Version":"2020-01-01","Statement":[]}"#, Use::Identity, "Syntax errors in policy."),
            (identity, Use::Trust, "Has prohibited field Resource"),
            (trust, Use::Identity, "Policy document should not specify a principal."),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"a:b"}}"#,
                Use::Identity,
                "Policy statement must contain resources.",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Resource":"*"}}"#,
                Use::Identity,
                "Policy statement must contain actions.",
            ),
            (
                r#"{"Statement":{"Effect":"allow","Action":"a:b","Resource":"*"}}"#,
                Use::Identity,
                "Syntax errors in policy.",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole"}}"#,
                Use::Trust,
                "Missing required field Principal",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"x"},"Action":"s3:Get"}}"#,
                Use::Trust,
                "AssumeRole policy may only specify STS AssumeRole actions.",
            ),
        ];
        for (text, purpose, message) in refused {
            let error = check(text, purpose).unwrap_err();
            assert_eq!((error.code.as_ref(), error.message.as_str()), ("MalformedPolicyDocument", message), "{text}");
        }
    }

    #[test]
    fn documents_are_shown_percent_encoded() {
        assert_eq!(encoded(r#"{"a": "b_c~"}"#), "%7B%22a%22%3A%20%22b_c~%22%7D");
    }

    proptest! {
        #[test]
        fn any_text_is_accepted_or_refused(text in ".{0,200}") {
            let _ = check(&text, Use::Trust);
        }
    }
}
