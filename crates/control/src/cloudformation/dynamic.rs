//! Dynamic references: `{{resolve:ssm:…}}` and `{{resolve:secretsmanager:…}}`, whose values are read
//! when a resource is made or changed and are kept nowhere.
//!
//! An attribute that is a secret takes the same form, `{{resolve:sealed:…}}`, with the value sealed: so it goes through
//! properties and outputs, and is opened where it is used and where the owner is shown it. Templates cannot write one.

use super::resource::call::{call, refused};
use crate::api::{Ctx, Result};
use crate::platform::Platform;
use crate::vault::Sealed;
use quarry_aws::{secretsmanager, ssm};
use quarry_wire::ServiceError;
use serde_json::{Map, Value, json};

const OPENING: &str = "{{resolve:";
const SEALED: &str = "{{resolve:sealed:";
/// Under which attributes are sealed.
const CONTEXT: &str = "cloudformation attribute";
/// Most references in one template, as AWS has it.
const MOST: usize = 60;

/// The properties with the values of their references.
pub fn resolve(ctx: &mut Ctx<'_>, type_name: &str, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
    let mut resolved = Map::new();
    for (name, value) in properties {
        let place = format!("{type_name}/Properties/{name}");
        let value = if mentions(value) { within(ctx, &place, value)? } else { value.clone() };
        resolved.insert(name.clone(), value);
    }
    Ok(resolved)
}

/// A secret as an attribute, an output or a property keeps it.
pub fn sealed(ctx: &Ctx<'_>, secret: &str) -> String {
    format!("{SEALED}{}}}}}", ctx.platform.vault.seal(CONTEXT, secret.as_bytes()))
}

/// Whether a secret is in the text.
pub fn is_sealed(text: &str) -> bool {
    text.contains(SEALED)
}

/// A text with the secrets in it opened.
pub fn opened(platform: &Platform, text: &str) -> Result<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, inner)) = rest.split_once(SEALED) {
        let Some((sealed, after)) = inner.split_once("}}") else { break };
        out.push_str(before);
        out.push_str(&open(platform, sealed)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn open(platform: &Platform, sealed: &str) -> Result<String> {
    let sealed: Option<Sealed> = serde_json::from_value(sealed.into()).ok();
    let clear = sealed.and_then(|sealed| platform.vault.open_sealed(CONTEXT, &sealed).ok());
    let text = clear.and_then(|clear| clear.into_text().ok());
    text.ok_or_else(|| refused("Could not parse the dynamic reference to a sealed value"))
}

/// Checks the form of every reference in a template, and that there are not too many.
pub fn check<'a>(values: impl Iterator<Item = (String, &'a Value)>) -> Result<(), String> {
    let mut count = 0;
    for (place, value) in values {
        let mut found = Ok(());
        texts(value, &mut |text| {
            for reference in references(text) {
                count += 1;
                match Reference::parse(reference, &place) {
                    Ok(Reference::Sealed(_)) => found = Err(unparsable(reference)),
                    Ok(_) => {}
                    Err(error) => found = Err(error),
                }
            }
        });
        found?;
    }
    match count > MOST {
        true => Err(format!("Template error: the number of dynamic references is greater than {MOST}")),
        false => Ok(()),
    }
}

/// Where a value is read from.
#[derive(Debug, PartialEq, Eq)]
enum Reference<'a> {
    /// Name and version.
    Parameter {
        name: &'a str,
        version: Option<&'a str>,
    },
    Secret {
        id: String,
        key: &'a str,
        stage: &'a str,
        version: &'a str,
    },
    Sealed(&'a str),
}

impl<'a> Reference<'a> {
    /// `text` is what stands between `{{resolve:` and `}}`.
    fn parse(text: &'a str, place: &str) -> Result<Self, String> {
        let wrong = || unparsable(text);
        let (service, rest) = text.split_once(':').ok_or_else(wrong)?;
        match service {
            "ssm" => {
                let (name, version) = match rest.split_once(':') {
                    Some((name, version)) => (name, Some(version)),
                    None => (rest, None),
                };
                let number = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit());
                if name.is_empty() || !version.is_none_or(number) {
                    return Err(wrong());
                }
                Ok(Self::Parameter { name, version })
            }
            // None of the properties that AWS lists for it belongs to a type we have.
            "ssm-secure" => Err(format!("SSM Secure reference is not supported in: [{place}]")),
            "secretsmanager" => {
                let mut parts = rest.split(':');
                let mut id = parts.next().unwrap_or_default().to_owned();
                if id == "arn" {
                    for _ in 0..6 {
                        id.push(':');
                        id.push_str(parts.next().ok_or_else(wrong)?);
                    }
                }
                let string = parts.next().unwrap_or_default();
                let mut part = || parts.next().unwrap_or_default();
                let (key, stage, version) = (part(), part(), part());
                let both = !stage.is_empty() && !version.is_empty();
                if id.is_empty() || !matches!(string, "" | "SecretString") || both || parts.next().is_some() {
                    return Err(wrong());
                }
                Ok(Self::Secret { id, key, stage, version })
            }
            "sealed" => Ok(Self::Sealed(rest)),
            _ => Err(wrong()),
        }
    }

    fn value(&self, ctx: &mut Ctx<'_>) -> Result<String> {
        match self {
            Self::Sealed(sealed) => open(ctx.platform, sealed),
            Self::Parameter { name, version } => {
                let full = version.map_or_else(|| (*name).to_owned(), |version| format!("{name}:{version}"));
                let output = call::<ssm::op::GetParameter>(ctx, json!({"Name": full}))
                    .map_err(|error| unread(error, format!("Parameters: [ssm:{full}] cannot be found.")))?;
                if output.pointer("/Parameter/Type").is_some_and(|t| t == "SecureString") {
                    return Err(refused(format!(
                        "Parameters: [ssm:{full}] is a SecureString and cannot be read by ssm"
                    )));
                }
                super::resource::call::text(&output, "/Parameter/Value")
            }
            Self::Secret { id, key, stage, version } => {
                let mut input = json!({"SecretId": id});
                for (member, value) in [("VersionStage", stage), ("VersionId", version)] {
                    if !value.is_empty() {
                        input[member] = json!(value);
                    }
                }
                let output = call::<secretsmanager::op::GetSecretValue>(ctx, input)
                    .map_err(|error| unread(error, format!("Secrets Manager can't find the specified secret {id}.")))?;
                let text = super::resource::call::text(&output, "/SecretString")
                    .map_err(|_| refused(format!("The secret {id} has no SecretString")))?;
                if key.is_empty() {
                    return Ok(text);
                }
                let object: Option<Value> = serde_json::from_str(&text).ok();
                let found = object.as_ref().and_then(|o| o.get(*key)).and_then(super::template::text_of);
                found.ok_or_else(|| {
                    refused(format!("Could not find a value associated with JSONKey in SecretString: {key}"))
                })
            }
        }
    }
}

fn unparsable(reference: &str) -> String {
    format!("Could not parse the dynamic reference {OPENING}{reference}}}}}")
}

fn unread(error: ServiceError, message: String) -> ServiceError {
    if error.status >= 500 { error } else { refused(message) }
}

fn within(ctx: &mut Ctx<'_>, place: &str, value: &Value) -> Result<Value> {
    Ok(match value {
        Value::String(text) => Value::String(in_text(ctx, place, text)?),
        Value::Array(items) => items.iter().map(|item| within(ctx, place, item)).collect::<Result<_>>()?,
        Value::Object(map) => {
            let pair = |(key, item): (&String, &Value)| Ok((key.clone(), within(ctx, place, item)?));
            Value::Object(map.iter().map(pair).collect::<Result<_>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

fn in_text(ctx: &mut Ctx<'_>, place: &str, text: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPENING) {
        let inner = &rest[start + OPENING.len()..];
        let Some(end) = inner.find("}}") else { break };
        out.push_str(&rest[..start]);
        let reference = Reference::parse(&inner[..end], place).map_err(refused)?;
        out.push_str(&reference.value(ctx)?);
        rest = &inner[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split(OPENING).skip(1).filter_map(|rest| rest.split_once("}}").map(|(reference, _)| reference))
}

fn mentions(value: &Value) -> bool {
    let mut found = false;
    texts(value, &mut |text| found |= text.contains(OPENING));
    found
}

fn texts<'a>(value: &'a Value, see: &mut dyn FnMut(&'a str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, see)),
        Value::Object(map) => map.values().for_each(|item| texts(item, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let parse = |text| Reference::parse(text, "AWS::EC2::VPC/Properties/CidrBlock");
        assert_eq!(parse("ssm:/a/b:3"), Ok(Reference::Parameter { name: "/a/b", version: Some("3") }));
        let secret = Reference::Secret { id: "db".into(), key: "password", stage: "", version: "" };
        assert_eq!(parse("secretsmanager:db:SecretString:password"), Ok(secret));
        let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf";
        let text = format!("secretsmanager:{arn}:SecretString:password:AWSPREVIOUS");
        let secret = Reference::Secret { id: arn.into(), key: "password", stage: "AWSPREVIOUS", version: "" };
        assert_eq!(parse(&text), Ok(secret));
        for bad in [
            "ssm",
            "ssm:",
            "ssm:a:b",
            "s3:x",
            "secretsmanager:",
            "secretsmanager:a:SecretBinary",
            "secretsmanager:a:SecretString:k:s:v",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse("ssm-secure:a:1"),
            Err("SSM Secure reference is not supported in: [AWS::EC2::VPC/Properties/CidrBlock]".into())
        );
    }
}
