//! Parameters: how they are declared, and what the values given for them become.

use super::{TemplateError, text_of};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A declared parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// For example `Number` or `AWS::SSM::Parameter::Value<String>`.
    pub type_name: String,
    pub default: Option<String>,
    pub description: Option<String>,
    pub no_echo: bool,
    pub allowed_values: Vec<String>,
    pub allowed_pattern: Option<String>,
    pub min_length: Option<f64>,
    pub max_length: Option<f64>,
    pub min_value: Option<f64>,
    pub max_value: Option<f64>,
    pub constraint_description: Option<String>,
}

/// What a request gives for a parameter.
pub type Given = BTreeMap<String, String>;

/// A parameter's value in a stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// As given, or the default.
    pub value: String,
    /// What an SSM parameter's name stands for.
    pub looked_up: Option<String>,
    /// The value Ref gives: a text or a list of texts.
    pub reference: Value,
    pub no_echo: bool,
}

const SSM: &str = "AWS::SSM::Parameter::Value<";

impl Parameter {
    pub(super) fn parse(name: &str, body: &Value) -> Result<Self, TemplateError> {
        let Value::Object(body) = body else {
            return Err(TemplateError::format(format!("Parameter {name} must be a map.")));
        };
        let text = |key: &str| -> Result<Option<String>, TemplateError> {
            match body.get(key) {
                None => Ok(None),
                Some(value) => text_of(value)
                    .map(Some)
                    .ok_or_else(|| TemplateError::format(format!("Every {key} member must be a string. ({name})"))),
            }
        };
        let number = |key: &str| -> Result<Option<f64>, TemplateError> {
            match text(key)? {
                None => Ok(None),
                Some(digits) => digits
                    .parse()
                    .map(Some)
                    .map_err(|_| TemplateError::format(format!("Every {key} member must be a number. ({name})"))),
            }
        };
        const KNOWN: &[&str] = &[
            "Type",
            "Default",
            "Description",
            "NoEcho",
            "AllowedValues",
            "AllowedPattern",
            "MinLength",
            "MaxLength",
            "MinValue",
            "MaxValue",
            "ConstraintDescription",
        ];
        if let Some(key) = body.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(TemplateError(format!("Invalid template parameter property '{key}'")));
        }
        let type_name = text("Type")?
            .ok_or_else(|| TemplateError::format("Every Parameters object must contain a Type member."))?;
        if !known_type(&type_name) {
            return Err(TemplateError::format(format!("Unrecognized parameter type: {type_name}")));
        }
        let default =
            match body.get("Default") {
                Some(Value::Array(items)) => Some(
                    items.iter().map(text_of).collect::<Option<Vec<_>>>().map(|items| items.join(",")).ok_or_else(
                        || TemplateError::format(format!("Every Default member must be a string. ({name})")),
                    )?,
                ),
                _ => text("Default")?,
            };
        let allowed_values = match body.get("AllowedValues") {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| {
                    text_of(item).ok_or_else(|| {
                        TemplateError::format(format!("Every AllowedValues value must be a string. ({name})"))
                    })
                })
                .collect::<Result<_, _>>()?,
            Some(_) => {
                return Err(TemplateError::format(format!("Every AllowedValues member must be a list. ({name})")));
            }
        };
        Ok(Self {
            type_name,
            default,
            description: text("Description")?,
            no_echo: text("NoEcho")?.is_some_and(|flag| flag == "true"),
            allowed_values,
            allowed_pattern: text("AllowedPattern")?,
            min_length: number("MinLength")?,
            max_length: number("MaxLength")?,
            min_value: number("MinValue")?,
            max_value: number("MaxValue")?,
            constraint_description: text("ConstraintDescription")?,
        })
    }

    /// The type of one value: without SSM's and without that of lists.
    pub fn inner_type(&self) -> &str {
        let inner = self.type_name.strip_prefix(SSM).and_then(|t| t.strip_suffix('>')).unwrap_or(&self.type_name);
        inner.strip_prefix("List<").and_then(|t| t.strip_suffix('>')).unwrap_or(inner)
    }

    fn is_list(&self) -> bool {
        let inner = self.type_name.strip_prefix(SSM).map_or(self.type_name.as_str(), |t| t.trim_end_matches('>'));
        inner == "CommaDelimitedList" || inner.starts_with("List<")
    }

    fn resolve(
        &self,
        name: &str,
        value: &str,
        look_up: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<Resolved, TemplateError> {
        let looked_up = if self.type_name.starts_with(SSM) {
            let found = look_up(value).ok_or_else(|| {
                TemplateError(format!("Unable to fetch parameters [{value}] from parameter store for this account."))
            })?;
            Some(found)
        } else {
            None
        };
        let used = looked_up.as_deref().unwrap_or(value);
        let items: Vec<&str> = if !self.is_list() {
            vec![used]
        } else if used.is_empty() {
            Vec::new()
        } else {
            used.split(',').map(str::trim).collect()
        };
        // Constraints are on what was given: an SSM parameter's name, not what it stands for.
        let constrained = if looked_up.is_some() { vec![value] } else { items.clone() };
        for item in constrained {
            self.check(name, item)?;
        }
        let reference =
            if self.is_list() { Value::Array(items.into_iter().map(Value::from).collect()) } else { Value::from(used) };
        Ok(Resolved { value: value.to_owned(), looked_up, reference, no_echo: self.no_echo })
    }

    fn check(&self, name: &str, value: &str) -> Result<(), TemplateError> {
        let refuse = |reason: String| {
            let reason = self.constraint_description.clone().unwrap_or(reason);
            Err(TemplateError(format!("Parameter '{name}' failed to satisfy constraint: {reason}")))
        };
        if matches!(self.type_name.as_str(), "Number" | "List<Number>") {
            let Some(number) = value.trim().parse::<f64>().ok().filter(|n| n.is_finite()) else {
                return Err(TemplateError(format!("Parameter '{name}' must be a number.")));
            };
            if let Some(min) = self.min_value.filter(|min| number < *min) {
                return refuse(format!("Parameter value {value} is less than MinValue {min}."));
            }
            if let Some(max) = self.max_value.filter(|max| number > *max) {
                return refuse(format!("Parameter value {value} is greater than MaxValue {max}."));
            }
        }
        let length = value.chars().count() as f64;
        if let Some(min) = self.min_length.filter(|min| length < *min) {
            return refuse(format!("Member must have length greater than or equal to {min}"));
        }
        if let Some(max) = self.max_length.filter(|max| length > *max) {
            return refuse(format!("Member must have length less than or equal to {max}"));
        }
        if !self.allowed_values.is_empty() && !self.allowed_values.iter().any(|allowed| allowed == value) {
            let allowed = self.allowed_values.join(", ");
            return match &self.constraint_description {
                Some(_) => refuse(String::new()),
                None => Err(TemplateError(format!("Parameter '{name}' must be one of AllowedValues [{allowed}]"))),
            };
        }
        if let Some(pattern) = &self.allowed_pattern {
            let matches = whole_match(pattern, value).map_err(|reason| {
                TemplateError::format(format!("AllowedPattern of parameter {name} cannot be used: {reason}"))
            })?;
            if !matches {
                return match &self.constraint_description {
                    Some(_) => refuse(String::new()),
                    None => Err(TemplateError(format!("Parameter '{name}' must match pattern {pattern}"))),
                };
            }
        }
        Ok(())
    }
}

/// Values for all declared parameters, from those given and the defaults. `look_up` reads the SSM
/// parameter store.
pub fn resolve(
    declared: &BTreeMap<String, Parameter>,
    given: &Given,
    look_up: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<BTreeMap<String, Resolved>, TemplateError> {
    let unknown: Vec<&str> = given.keys().filter(|name| !declared.contains_key(*name)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(TemplateError(format!("Parameters: [{}] do not exist in the template", unknown.join(", "))));
    }
    let missing: Vec<&str> = declared
        .iter()
        .filter(|(name, parameter)| parameter.default.is_none() && !given.contains_key(*name))
        .map(|(name, _)| name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(TemplateError(format!("Parameters: [{}] must have values", missing.join(", "))));
    }
    let mut resolved = BTreeMap::new();
    for (name, parameter) in declared {
        let Some(value) = given.get(name).or(parameter.default.as_ref()) else { continue };
        resolved.insert(name.clone(), parameter.resolve(name, value, look_up)?);
    }
    Ok(resolved)
}

/// Whether the pattern matches the whole value. In linear time, so that no pattern can hang a request.
fn whole_match(pattern: &str, value: &str) -> Result<bool, regex::Error> {
    let pattern = regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(1 << 20).build()?;
    Ok(pattern.is_match(value))
}

/// What Ref of each parameter gives.
pub fn references(resolved: &BTreeMap<String, Resolved>) -> Map<String, Value> {
    resolved.iter().map(|(name, r)| (name.clone(), r.reference.clone())).collect()
}

fn known_type(name: &str) -> bool {
    let aws = |name: &str| {
        let known = [
            "AWS::EC2::AvailabilityZone::Name",
            "AWS::EC2::Image::Id",
            "AWS::EC2::Instance::Id",
            "AWS::EC2::KeyPair::KeyName",
            "AWS::EC2::SecurityGroup::GroupName",
            "AWS::EC2::SecurityGroup::Id",
            "AWS::EC2::Subnet::Id",
            "AWS::EC2::Volume::Id",
            "AWS::EC2::VPC::Id",
            "AWS::Route53::HostedZone::Id",
        ];
        known.contains(&name)
    };
    let plain = |name: &str| {
        let list = name.strip_prefix("List<").and_then(|n| n.strip_suffix('>'));
        aws(name)
            || matches!(name, "String" | "Number" | "CommaDelimitedList" | "AWS::SSM::Parameter::Name")
            || list.is_some_and(|n| matches!(n, "String" | "Number") || aws(n))
    };
    match name.strip_prefix(SSM) {
        Some(inner) => inner.strip_suffix('>').is_some_and(plain),
        None => plain(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn declared(body: Value) -> BTreeMap<String, Parameter> {
        BTreeMap::from([("P".to_owned(), Parameter::parse("P", &body).unwrap())])
    }

    fn value(body: Value, given: &str) -> Result<Value, String> {
        let given = Given::from([("P".to_owned(), given.to_owned())]);
        let mut ssm = |name: &str| (name == "/ami").then(|| "ami-1".to_owned());
        resolve(&declared(body), &given, &mut ssm).map(|r| r["P"].reference.clone()).map_err(|e| e.0)
    }

    #[test]
    fn values_are_checked_and_converted() {
        assert_eq!(value(json!({"Type": "Number", "MinValue": 1}), "2"), Ok(json!("2")));
        assert_eq!(value(json!({"Type": "Number"}), "two"), Err("Parameter 'P' must be a number.".into()));
        assert_eq!(
            value(json!({"Type": "String", "AllowedValues": ["a", "b"]}), "c"),
            Err("Parameter 'P' must be one of AllowedValues [a, b]".into())
        );
        assert_eq!(
            value(json!({"Type": "String", "MaxLength": "2", "ConstraintDescription": "short"}), "abc"),
            Err("Parameter 'P' failed to satisfy constraint: short".into())
        );
        assert_eq!(
            value(json!({"Type": "String", "AllowedPattern": "[a-z]+[0-9]{2}"}), "ab1"),
            Err("Parameter 'P' must match pattern [a-z]+[0-9]{2}".into())
        );
        assert_eq!(value(json!({"Type": "String", "AllowedPattern": "^[a-z]+[0-9]{2}$"}), "ab12"), Ok(json!("ab12")));
        assert_eq!(value(json!({"Type": "CommaDelimitedList"}), "a, b"), Ok(json!(["a", "b"])));
        assert_eq!(value(json!({"Type": "AWS::SSM::Parameter::Value<String>"}), "/ami"), Ok(json!("ami-1")));
        assert_eq!(
            value(json!({"Type": "AWS::SSM::Parameter::Value<String>"}), "/no"),
            Err("Unable to fetch parameters [/no] from parameter store for this account.".into())
        );
    }

    #[test]
    fn missing_and_unknown_are_named() {
        let mut none = |_: &str| None;
        let all = declared(json!({"Type": "String"}));
        assert_eq!(resolve(&all, &Given::new(), &mut none).unwrap_err().0, "Parameters: [P] must have values");
        let given = Given::from([("P".into(), "x".into()), ("Q".into(), "y".into())]);
        assert_eq!(resolve(&all, &given, &mut none).unwrap_err().0, "Parameters: [Q] do not exist in the template");
        assert!(Parameter::parse("P", &json!({"Type": "Colour"})).is_err());
        assert!(Parameter::parse("P", &json!({})).is_err());
    }
}
