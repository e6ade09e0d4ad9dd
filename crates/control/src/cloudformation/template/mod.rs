//! CloudFormation templates, purely: text to sections, parameters, conditions, intrinsic functions,
//! and the order in which resources depend on each other. Nothing here reaches the platform.

pub mod graph;
pub mod intrinsic;
pub mod parameter;
pub mod rule;
pub mod text;

pub use intrinsic::{EvaluationError, Evaluator, Lookup, Pseudo};
pub use parameter::{Given, Parameter, Resolved};
pub use rule::Rule;

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A template that cannot be used, in CloudFormation's words. The API answers ValidationError.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// A template whose sections have their right form.
#[derive(Clone, Debug, Default)]
pub struct Template {
    pub description: Option<String>,
    pub metadata: Option<Value>,
    pub parameters: BTreeMap<String, Parameter>,
    pub rules: BTreeMap<String, Rule>,
    pub mappings: Mappings,
    pub conditions: BTreeMap<String, Value>,
    pub resources: BTreeMap<String, Resource>,
    pub outputs: BTreeMap<String, Output>,
}

/// Map name, first key, second key.
pub type Mappings = BTreeMap<String, BTreeMap<String, Map<String, Value>>>;

/// A resource as declared; intrinsic functions not yet evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// For example `AWS::EC2::VPC`.
    pub type_name: String,
    pub properties: Map<String, Value>,
    pub depends_on: Vec<String>,
    pub condition: Option<String>,
    pub deletion_policy: Option<String>,
    pub update_replace_policy: Option<String>,
    pub creation_policy: Option<Value>,
    pub update_policy: Option<Value>,
    pub metadata: Option<Value>,
}

/// An output as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub description: Option<String>,
    pub value: Value,
    pub export: Option<Value>,
    pub condition: Option<String>,
}

/// Quotas of CloudFormation.
const MAX_RESOURCES: usize = 500;
const MAX_OUTPUTS: usize = 200;
const MAX_PARAMETERS: usize = 200;
const MAX_MAPPINGS: usize = 200;

impl TemplateError {
    /// `Template format error: …`.
    pub fn format(message: impl std::fmt::Display) -> Self {
        Self(format!("Template format error: {message}"))
    }

    /// `Template error: …`, for what is well-formed but means nothing.
    pub fn meaning(message: impl std::fmt::Display) -> Self {
        Self(format!("Template error: {message}"))
    }
}

impl Template {
    /// Parses a template and checks all that can be checked without parameters: form of the
    /// sections, references, cycles.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let root = match text::parse(text)? {
            Value::Object(root) => root,
            _ => return Err(TemplateError::format("unsupported structure.")),
        };
        let mut template = Self::default();
        let mut unknown = Vec::new();
        for (section, value) in &root {
            match section.as_str() {
                "AWSTemplateFormatVersion" => match text_of(value).as_deref() {
                    Some("2010-09-09") => {}
                    _ => return Err(TemplateError::format("unsupported value for AWSTemplateFormatVersion.")),
                },
                "Description" => match value {
                    Value::String(text) if text.len() <= 1024 => template.description = Some(text.clone()),
                    Value::String(_) => {
                        return Err(TemplateError::format("'Description' length is greater than 1024."));
                    }
                    _ => return Err(TemplateError::format("Description must be a string.")),
                },
                "Metadata" => template.metadata = Some(value.clone()),
                "Parameters" => {
                    for (name, body) in section_of(section, value)? {
                        logical_name("Parameter", name)?;
                        template.parameters.insert(name.clone(), Parameter::parse(name, body)?);
                    }
                }
                "Mappings" => template.mappings = mappings(section_of(section, value)?)?,
                "Conditions" => {
                    for (name, body) in section_of(section, value)? {
                        logical_name("Condition", name)?;
                        if !body.is_object() {
                            return Err(TemplateError::format(
                                "Every Conditions member must be a map with a single condition function.",
                            ));
                        }
                        template.conditions.insert(name.clone(), body.clone());
                    }
                }
                "Resources" => {
                    for (name, body) in section_of(section, value)? {
                        logical_name("Resource", name)?;
                        template.resources.insert(name.clone(), resource(name, body)?);
                    }
                }
                "Outputs" => {
                    for (name, body) in section_of(section, value)? {
                        logical_name("Output", name)?;
                        template.outputs.insert(name.clone(), output(name, body)?);
                    }
                }
                "Rules" => {
                    for (name, body) in section_of(section, value)? {
                        logical_name("Rule", name)?;
                        template.rules.insert(name.clone(), Rule::parse(name, body)?);
                    }
                }
                "Transform" | "Hooks" => {
                    return Err(TemplateError::format(format!("The section {section} is not supported.")));
                }
                _ => unknown.push(section.as_str()),
            }
        }
        if !unknown.is_empty() {
            return Err(TemplateError::format(format!(
                "Invalid template property or properties [{}]",
                unknown.join(", ")
            )));
        }
        if template.resources.is_empty() {
            return Err(TemplateError::format("At least one Resources member must be defined."));
        }
        for (count, limit, what) in [
            (template.resources.len(), MAX_RESOURCES, "resources"),
            (template.outputs.len(), MAX_OUTPUTS, "outputs"),
            (template.parameters.len(), MAX_PARAMETERS, "parameters"),
            (template.mappings.len(), MAX_MAPPINGS, "mappings"),
        ] {
            if count > limit {
                return Err(TemplateError::format(format!(
                    "Number of {what}, {count}, is greater than maximum allowed, {limit}"
                )));
            }
        }
        if let Some(name) = template.parameters.keys().find(|name| template.resources.contains_key(*name)) {
            return Err(TemplateError::format(format!(
                "Duplicate logical name {name}: a parameter and a resource share it."
            )));
        }
        graph::check(&template)?;
        Ok(template)
    }
}

/// A scalar as text; `None` for lists, maps and null.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn section_of<'a>(section: &str, value: &'a Value) -> Result<&'a Map<String, Value>, TemplateError> {
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Err(TemplateError(format!("[/{section}] 'null' values are not allowed in templates"))),
        _ => Err(TemplateError::format(format!("{section} must be a map."))),
    }
}

fn logical_name(what: &str, name: &str) -> Result<(), TemplateError> {
    if !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(TemplateError::format(format!("{what} name {name} is non alphanumeric.")))
}

fn mappings(section: &Map<String, Value>) -> Result<Mappings, TemplateError> {
    let mut all = BTreeMap::new();
    for (name, first) in section {
        let first = first.as_object().ok_or_else(|| TemplateError::format("Every Mappings member must be a map."))?;
        let mut keys = BTreeMap::new();
        for (key, second) in first {
            let second = second.as_object().ok_or_else(|| {
                TemplateError::format(format!("Every Mappings attribute must be a map; {name}.{key} is not."))
            })?;
            for (leaf, value) in second {
                let scalar = |v: &Value| text_of(v).is_some();
                if !scalar(value) && !value.as_array().is_some_and(|list| list.iter().all(scalar)) {
                    return Err(TemplateError::format(format!(
                        "Every Mappings attribute must be a String or a List; {name}.{key}.{leaf} is not."
                    )));
                }
            }
            keys.insert(key.clone(), second.clone());
        }
        all.insert(name.clone(), keys);
    }
    Ok(all)
}

fn resource(name: &str, body: &Value) -> Result<Resource, TemplateError> {
    let Value::Object(body) = body else {
        return Err(TemplateError::format(format!("[/Resources/{name}] resource definition is malformed")));
    };
    let mut resource = Resource {
        type_name: String::new(),
        properties: Map::new(),
        depends_on: Vec::new(),
        condition: None,
        deletion_policy: None,
        update_replace_policy: None,
        creation_policy: None,
        update_policy: None,
        metadata: None,
    };
    for (key, value) in body {
        match (key.as_str(), value) {
            ("Type", Value::String(type_name)) => resource.type_name = type_name.clone(),
            ("Properties", Value::Object(properties)) => resource.properties = properties.clone(),
            ("Properties", Value::Null) => {}
            ("DependsOn", Value::String(one)) => resource.depends_on = vec![one.clone()],
            ("DependsOn", Value::Array(many)) => {
                for one in many {
                    match one {
                        Value::String(one) => resource.depends_on.push(one.clone()),
                        _ => {
                            return Err(TemplateError::format("DependsOn must be a string or list of strings."));
                        }
                    }
                }
            }
            ("DependsOn", _) => {
                return Err(TemplateError::format("DependsOn must be a string or list of strings."));
            }
            ("Condition", Value::String(condition)) => resource.condition = Some(condition.clone()),
            ("DeletionPolicy", Value::String(policy)) => {
                if !["Delete", "Retain", "RetainExceptOnCreate", "Snapshot"].contains(&policy.as_str()) {
                    return Err(TemplateError::format(format!(
                        "Unrecognized DeletionPolicy {policy} for resource {name}"
                    )));
                }
                resource.deletion_policy = Some(policy.clone());
            }
            ("UpdateReplacePolicy", Value::String(policy)) => {
                if !["Delete", "Retain", "Snapshot"].contains(&policy.as_str()) {
                    return Err(TemplateError::format(format!(
                        "Unrecognized UpdateReplacePolicy {policy} for resource {name}"
                    )));
                }
                resource.update_replace_policy = Some(policy.clone());
            }
            ("CreationPolicy", Value::Object(_)) => resource.creation_policy = Some(value.clone()),
            ("UpdatePolicy", Value::Object(_)) => resource.update_policy = Some(value.clone()),
            ("Metadata", _) => resource.metadata = Some(value.clone()),
            (_, Value::Null) => {
                return Err(TemplateError(format!(
                    "[/Resources/{name}/{key}] 'null' values are not allowed in templates"
                )));
            }
            (
                "Type"
                | "Properties"
                | "Condition"
                | "DeletionPolicy"
                | "UpdateReplacePolicy"
                | "CreationPolicy"
                | "UpdatePolicy",
                _,
            ) => {
                return Err(TemplateError::format(format!("[/Resources/{name}/{key}] has the wrong type")));
            }
            _ => {
                return Err(TemplateError(format!("Invalid template resource property '{key}'")));
            }
        }
    }
    if resource.type_name.is_empty() {
        return Err(TemplateError::format(format!(
            "[/Resources/{name}] Every Resources object must contain a Type member."
        )));
    }
    no_nulls(&Value::Object(resource.properties.clone()), &format!("/Resources/{name}/Properties"))?;
    Ok(resource)
}

fn output(name: &str, body: &Value) -> Result<Output, TemplateError> {
    let Value::Object(body) = body else {
        return Err(TemplateError::format("Every Outputs member must contain a Value object"));
    };
    let mut output = Output { description: None, value: Value::Null, export: None, condition: None };
    for (key, value) in body {
        match (key.as_str(), value) {
            ("Description", Value::String(text)) => output.description = Some(text.clone()),
            ("Value", value) => output.value = value.clone(),
            ("Export", Value::Object(export)) => {
                let name = export.get("Name").filter(|_| export.len() == 1).cloned();
                output.export =
                    Some(name.ok_or_else(|| {
                        TemplateError::format("Output Export must contain exactly one member, Name.")
                    })?);
            }
            ("Condition", Value::String(condition)) => output.condition = Some(condition.clone()),
            _ => {
                return Err(TemplateError::format(format!("Output {name} is malformed. Unexpected member {key}.")));
            }
        }
    }
    if output.value.is_null() {
        return Err(TemplateError::format("Every Outputs member must contain a Value object"));
    }
    no_nulls(&output.value, &format!("/Outputs/{name}/Value"))?;
    Ok(output)
}

fn no_nulls(value: &Value, path: &str) -> Result<(), TemplateError> {
    match value {
        Value::Null => Err(TemplateError(format!("[{path}] 'null' values are not allowed in templates"))),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(i, item)| no_nulls(item, &format!("{path}/{i}")))
        }
        Value::Object(map) => map.iter().try_for_each(|(key, item)| no_nulls(item, &format!("{path}/{key}"))),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Template::parse(text).unwrap_err().0
    }

    #[test]
    fn sections_are_checked() {
        assert_eq!(
            refusal("Description: nothing"),
            "Template format error: At least one Resources member must be defined."
        );
        assert_eq!(refusal("just text"), "Template format error: unsupported structure.");
        assert_eq!(
            refusal("Resourcez: {}"),
            "Template format error: Invalid template property or properties [Resourcez]"
        );
        assert_eq!(
            refusal("AWSTemplateFormatVersion: 2011-01-01\nResources: {A: {Type: T}}"),
            "Template format error: unsupported value for AWSTemplateFormatVersion."
        );
        assert_eq!(
            refusal("Resources: {A-b: {Type: T}}"),
            "Template format error: Resource name A-b is non alphanumeric."
        );
        assert_eq!(
            refusal("Resources: {A: {Properties: {}}}"),
            "Template format error: [/Resources/A] Every Resources object must contain a Type member."
        );
        assert_eq!(
            refusal("Resources: {A: {Type: T, Properties: {X: [1, null]}}}"),
            "[/Resources/A/Properties/X/1] 'null' values are not allowed in templates"
        );
        assert_eq!(refusal("Resources: {A: {Type: T, Colour: red}}"), "Invalid template resource property 'Colour'");
        assert_eq!(
            refusal("Resources: {A: {Type: T}}\nOutputs: {O: {Description: x}}"),
            "Template format error: Every Outputs member must contain a Value object"
        );
    }

    #[test]
    fn a_whole_template_is_read() {
        let template = Template::parse(
            "AWSTemplateFormatVersion: '2010-09-09'
Description: d
Parameters: {P: {Type: Number, Default: 2}}
Mappings: {M: {a: {b: c}}}
Conditions: {C: !Equals [!Ref P, '2']}
Resources:
  A: {Type: T, DependsOn: B, Condition: C, DeletionPolicy: Retain, CreationPolicy: {ResourceSignal: {Count: !Ref P}}}
  B: {Type: T}
Outputs: {O: {Value: !Ref B, Export: {Name: !Sub '${AWS::StackName}:O'}}}
",
        )
        .unwrap();
        assert_eq!(template.resources["A"].depends_on, ["B"]);
        assert_eq!(template.resources["A"].deletion_policy.as_deref(), Some("Retain"));
        assert!(template.outputs["O"].export.is_some());
    }
}
