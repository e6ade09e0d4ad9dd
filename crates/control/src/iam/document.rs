//! Policy documents: their form is checked, and answers carry them percent-encoded (RFC 3986), as
//! IAM does.

use crate::api::Result;
use quarry_aws::iam::error::{limit_exceeded_exception, malformed_policy_document_exception};
use quarry_domain::policy::Policy;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// What a policy is for: that decides which elements a statement must and must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Who may assume a role.
    Trust,
    /// What an identity may do.
    Identity,
    /// The same, in a managed policy, which must be in the current version of the language.
    Managed,
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
    if purpose == Use::Managed && policy.get("Version").is_none_or(|version| version != "2012-10-17") {
        return Err(malformed("Policy document must be version 2012-10-17 or greater."));
    }
    let statements: Vec<&Value> = match policy.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.iter().collect(),
        Some(statement @ Value::Object(_)) => vec![statement],
        _ => return Err(syntax()),
    };
    let mut sids = HashSet::new();
    for statement in statements {
        let statement = statement.as_object().ok_or_else(syntax)?;
        self::statement(statement, purpose)?;
        let sid = statement.get("Sid").and_then(Value::as_str).filter(|sid| !sid.is_empty());
        if sid.is_some_and(|sid| !sids.insert(sid)) {
            return Err(malformed("Statement IDs (SID) in a single policy must be unique."));
        }
    }
    // What is taken can be evaluated.
    Policy::parse(text).map(drop).map_err(|_| syntax())
}

/// Refuses a document of more characters than a quota allows, white space aside.
pub fn check_size(text: &str, quota: usize, name: &str) -> Result<()> {
    if characters(text) > quota {
        return Err(limit_exceeded_exception(format!("Cannot exceed quota for {name}: {quota}")));
    }
    Ok(())
}

/// Characters that count against a quota: all but white space.
pub fn characters(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
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
    if let Some(conditions) = statement.get("Condition") {
        self::conditions(conditions)?;
    }
    match statement.get("Sid") {
        None => {}
        Some(Value::String(sid)) => {
            let free = matches!(purpose, Use::Resource | Use::Trust);
            let legal = free || sid.bytes().all(|b| b.is_ascii_alphanumeric());
            if !legal {
                return Err(malformed(
                    "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
                ));
            }
        }
        Some(_) => return Err(syntax()),
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
            actions.iter().try_for_each(|action| self::action(action))?;
        }
        Use::Identity | Use::Managed => {
            if principal.is_some() {
                return Err(malformed("Policy document should not specify a principal."));
            }
            let resources = resources.ok_or_else(|| malformed("Policy statement must contain resources."))?;
            actions.iter().try_for_each(|action| self::action(action))?;
            resources.iter().try_for_each(|arn| resource(arn))?;
        }
    }
    Ok(())
}

/// `*`, or a service's prefix, a colon and the name of an action or a pattern of names.
fn action(action: &str) -> Result<()> {
    if action == "*" {
        return Ok(());
    }
    let Some((vendor, name)) = action.split_once(':') else {
        return Err(malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."));
    };
    if name.contains(':') {
        return Err(malformed("Actions/Condition can contain only one colon."));
    }
    if vendor.is_empty() || !vendor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
        return Err(malformed(&format!("Vendor {vendor} is not valid")));
    }
    Ok(())
}

/// `*`, or an ARN or a pattern of ARNs.
fn resource(arn: &str) -> Result<()> {
    if arn == "*" {
        return Ok(());
    }
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    if fields[0] != "arn" || fields.len() == 1 {
        return Err(malformed(&format!("Resource {arn} must be in ARN format or \"*\".")));
    }
    let partition = fields[1];
    if !partition.starts_with("aws") && !partition.contains(['*', '?']) {
        return Err(malformed(&format!("Partition \"{partition}\" is not valid for resource \"{arn}\".")));
    }
    // A last field that ends in `*` stands for all that follow.
    if fields.len() < 6 && !arn.ends_with('*') {
        return Err(malformed("The policy failed legacy parsing"));
    }
    if fields[2] == "iam" && fields.get(3).is_some_and(|region| !region.is_empty() && *region != "*") {
        return Err(malformed(&format!("IAM resource {arn} cannot contain region information.")));
    }
    Ok(())
}

/// Operators, under each of them keys, and of each of those one value or several.
fn conditions(conditions: &Value) -> Result<()> {
    let scalar = |value: &Value| value.is_string() || value.is_boolean() || value.is_number();
    for (operator, keys) in conditions.as_object().ok_or_else(syntax)? {
        if !is_operator(operator) {
            return Err(syntax());
        }
        for value in keys.as_object().ok_or_else(syntax)?.values() {
            let legal = scalar(value) || value.as_array().is_some_and(|values| values.iter().all(scalar));
            if !legal {
                return Err(syntax());
            }
        }
    }
    Ok(())
}

/// Whether a condition may compare so (AWS's "IAM JSON policy elements: Condition operators").
fn is_operator(operator: &str) -> bool {
    let operator = operator.strip_prefix("ForAllValues:").or(operator.strip_prefix("ForAnyValue:")).unwrap_or(operator);
    let operator = operator.strip_suffix("IfExists").unwrap_or(operator);
    const ORDERED: [&str; 6] =
        ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"];
    let of_kind = |kind: &str, ways: &[&str]| operator.strip_prefix(kind).is_some_and(|way| ways.contains(&way));
    of_kind("String", &["Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase", "Like", "NotLike"])
        || of_kind("Numeric", &ORDERED)
        || of_kind("Date", &ORDERED)
        || of_kind("Arn", &["Equals", "NotEquals", "Like", "NotLike"])
        || ["Bool", "BinaryEquals", "IpAddress", "NotIpAddress", "Null"].contains(&operator)
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
        check(
            r#"{"Statement":{"Effect":"Deny","NotAction":["iam:*"],"NotResource":["arn:aws:s3:::a"]}}"#,
            Use::Identity,
        )
        .unwrap();
        let guarded = r#"{"Version":"2012-10-17","Statement":[
            {"Sid":"","Effect":"Allow","Action":"*","Resource":["arn:aws:s3:::${aws:username}/*","arn:aws:ecs:*"]},
            {"Sid":"","Effect":"Deny","Action":"iam:PassRole","Resource":"arn:*:iam::*:role/*",
             "Condition":{"ForAnyValue:StringLikeIfExists":{"aws:TagKeys":["a*"]},"Bool":{"aws:SecureTransport":false}}}
        ]}"#;
        check(guarded, Use::Managed).unwrap();
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
                r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"bucket"}}"#,
                Use::Identity,
                r#"Resource bucket must be in ARN format or "*"."#,
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":["*","arn:aws:s3"]}}"#,
                Use::Identity,
                "The policy failed legacy parsing",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"arn:amazon:s3:::a"}}"#,
                Use::Identity,
                r#"Partition "amazon" is not valid for resource "arn:amazon:s3:::a"."#,
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"arn:aws:iam:eu-west-1:1:role/r"}}"#,
                Use::Identity,
                "IAM resource arn:aws:iam:eu-west-1:1:role/r cannot contain region information.",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"a:b:c","Resource":"*"}}"#,
                Use::Identity,
                "Actions/Condition can contain only one colon.",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"a_b:c","Resource":"*"}}"#,
                Use::Identity,
                "Vendor a_b is not valid",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"Equal":{"k":"v"}}}}"#,
                Use::Identity,
                "Syntax errors in policy.",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"Bool":{"k":{}}}}}"#,
                Use::Identity,
                "Syntax errors in policy.",
            ),
            (
                r#"{"Statement":{"Sid":"a-b","Effect":"Allow","Action":"a:b","Resource":"*"}}"#,
                Use::Identity,
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
            ),
            (
                r#"{"Statement":[{"Sid":"a","Effect":"Allow","Action":"a:b","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"a:c","Resource":"*"}]}"#,
                Use::Identity,
                "Statement IDs (SID) in a single policy must be unique.",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*"}}"#,
                Use::Managed,
                "Policy document must be version 2012-10-17 or greater.",
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
