//! Evaluation of intrinsic functions.

use super::graph::{self, get_att};
use super::{Template, TemplateError, text_of};
use crate::cloudformation::dynamic::is_sealed;
use base64::Engine as _;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The functions that templates may use.
pub const FUNCTIONS: &[&str] = &[
    "Fn::And",
    "Fn::Base64",
    "Fn::Cidr",
    "Fn::Equals",
    "Fn::FindInMap",
    "Fn::GetAZs",
    "Fn::GetAtt",
    "Fn::If",
    "Fn::ImportValue",
    "Fn::Join",
    "Fn::Not",
    "Fn::Or",
    "Fn::Select",
    "Fn::Split",
    "Fn::Sub",
];

/// Where values come from that the template does not hold.
pub trait Lookup {
    /// What Ref of a resource gives; `None` while it is not made.
    fn reference(&self, logical: &str) -> Option<Value>;
    /// An attribute of a resource; `None` while it is not made, or has none of this name.
    fn attribute(&self, logical: &str, name: &str) -> Option<Value>;
    /// The value of another stack's export.
    fn import(&self, name: &str) -> Option<String>;
}

/// Values of the pseudo parameters.
#[derive(Clone, Debug, Default)]
pub struct Pseudo {
    pub account: String,
    pub region: String,
    pub zones: Vec<String>,
    pub stack_id: String,
    pub stack_name: String,
    pub notification_arns: Vec<String>,
}

/// Why a value cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// It hangs on a resource that is not made yet, or lacks the attribute.
    #[error("Attribute '{attribute}' of resource {logical} does not exist")]
    NotMade { logical: String, attribute: String },
    #[error(transparent)]
    Wrong(#[from] TemplateError),
}

/// Evaluates the values of one template with one set of parameters.
pub struct Evaluator<'a> {
    template: &'a Template,
    /// What Ref of each parameter gives.
    parameters: Map<String, Value>,
    pseudo: Pseudo,
    conditions: BTreeMap<String, bool>,
    lookup: &'a dyn Lookup,
    imports: RefCell<BTreeSet<String>>,
}

/// A piece of the text of Fn::Sub.
#[derive(Debug, PartialEq, Eq)]
pub enum SubPart<'a> {
    Text(&'a str),
    Variable(&'a str),
}

type Evaluation<T> = Result<T, EvaluationError>;

/// Longest text that a function may give, so that a template cannot grow without bounds.
const MAX_TEXT: usize = 4 << 20;

impl<'a> Evaluator<'a> {
    /// Evaluates the conditions at once.
    pub fn new(
        template: &'a Template,
        parameters: Map<String, Value>,
        pseudo: Pseudo,
        lookup: &'a dyn Lookup,
    ) -> Evaluation<Self> {
        let mut evaluator =
            Self { template, parameters, pseudo, conditions: BTreeMap::new(), lookup, imports: RefCell::default() };
        for name in graph::condition_order(template)? {
            let value = evaluator.test(&template.conditions[&name])?;
            evaluator.conditions.insert(name, value);
        }
        Ok(evaluator)
    }

    /// Whether a resource or output with this `Condition` is there.
    pub fn holds(&self, condition: Option<&str>) -> bool {
        condition.is_none_or(|name| self.conditions.get(name).copied().unwrap_or(false))
    }

    /// Exports that the values evaluated so far import.
    pub fn imports(&self) -> BTreeSet<String> {
        self.imports.borrow().clone()
    }

    /// A value with its functions carried out; `None` is `AWS::NoValue`.
    pub fn value(&self, value: &Value) -> Evaluation<Option<Value>> {
        match value {
            Value::Array(items) => {
                let items: Vec<Value> =
                    items.iter().filter_map(|item| self.value(item).transpose()).collect::<Evaluation<_>>()?;
                Ok(Some(Value::Array(items)))
            }
            Value::Object(map) => match function(map) {
                Some((name, argument)) => self.function(name, argument),
                None => self.map(map).map(|map| Some(Value::Object(map))),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Some(value.clone())),
        }
    }

    /// A map, each of its values evaluated.
    pub fn map(&self, map: &Map<String, Value>) -> Evaluation<Map<String, Value>> {
        let mut evaluated = Map::new();
        for (key, value) in map {
            if let Some(value) = self.value(value)? {
                evaluated.insert(key.clone(), value);
            }
        }
        Ok(evaluated)
    }

    /// A value that must come out as text.
    pub fn text(&self, value: &Value, place: &str) -> Evaluation<String> {
        let text = self.value(value)?.as_ref().and_then(text_of);
        text.ok_or_else(|| wrong(format!("{place} must be a string.")))
    }

    /// Looks for what must fail whatever the resources will be, before any is made: evaluates all that
    /// hangs on no resource.
    pub fn rehearse(&self, value: &Value) -> Result<(), TemplateError> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.rehearse(item)),
            Value::Object(map) => {
                if let Some((name, argument)) = function(map) {
                    match self.function(name, argument) {
                        Ok(_) => Ok(()),
                        Err(EvaluationError::Wrong(error)) => Err(error),
                        // The branch of an If that is not taken need not make sense.
                        Err(EvaluationError::NotMade { .. }) if name == "Fn::If" => Ok(()),
                        Err(EvaluationError::NotMade { .. }) => self.rehearse(argument),
                    }
                } else {
                    map.values().try_for_each(|inner| self.rehearse(inner))
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn function(&self, name: &str, argument: &Value) -> Evaluation<Option<Value>> {
        let value = match name {
            "Ref" => match argument {
                Value::String(name) => return self.reference(name),
                _ => return Err(TemplateError::format("All Ref values must be strings").into()),
            },
            "Fn::GetAtt" => {
                let (logical, attribute) = get_att(argument)?;
                self.attribute(&logical, &attribute)?
            }
            "Fn::Sub" => Value::String(self.sub(argument)?),
            "Fn::Join" => {
                let [delimiter, items] = self.arguments(name, argument)?;
                let delimiter = text_of(&delimiter).ok_or_else(|| usage(name))?;
                let items = items.as_array().ok_or_else(|| usage(name))?;
                let items: Option<Vec<String>> = items.iter().map(text_of).collect();
                bounded(items.ok_or_else(|| usage(name))?.join(&delimiter))?
            }
            "Fn::Split" => {
                let [delimiter, text] = self.arguments(name, argument)?;
                match (delimiter.as_str(), text_of(&text)) {
                    (Some(delimiter), Some(text)) if !delimiter.is_empty() => {
                        text.split(delimiter).map(Value::from).collect()
                    }
                    _ => return Err(usage(name)),
                }
            }
            "Fn::Select" => {
                let [index, items] = self.arguments(name, argument)?;
                let index = text_of(&index).and_then(|i| i.trim().parse::<usize>().ok()).ok_or_else(|| usage(name))?;
                let items = items.as_array().ok_or_else(|| usage(name))?;
                items
                    .get(index)
                    .cloned()
                    .ok_or_else(|| wrong(format!("Fn::Select cannot select nonexistent value at index {index}")))?
            }
            "Fn::Base64" => {
                let text = self.value(argument)?.as_ref().and_then(text_of).ok_or_else(|| usage(name))?;
                if is_sealed(&text) {
                    return Err(wrong("Fn::Base64 cannot encode an attribute that is a secret"));
                }
                bounded(base64::engine::general_purpose::STANDARD.encode(text))?
            }
            "Fn::GetAZs" => {
                let region = self.value(argument)?.as_ref().and_then(text_of).ok_or_else(|| usage(name))?;
                if !region.is_empty() && region != self.pseudo.region {
                    return Err(wrong(format!("Fn::GetAZs: region {region} is not the region of this stack")));
                }
                self.pseudo.zones.iter().cloned().map(Value::from).collect()
            }
            "Fn::FindInMap" => self.find_in_map(argument)?,
            "Fn::ImportValue" => {
                let export = self.value(argument)?.as_ref().and_then(text_of).ok_or_else(|| usage(name))?;
                let Some(value) = self.lookup.import(&export) else {
                    return Err(TemplateError(format!("No export named {export} found")).into());
                };
                self.imports.borrow_mut().insert(export);
                Value::String(value)
            }
            "Fn::Cidr" => self.cidr(argument)?,
            "Fn::If" => {
                let Value::Array(items) = argument else { return Err(usage(name)) };
                let [Value::String(condition), yes, no] = items.as_slice() else { return Err(usage(name)) };
                let Some(holds) = self.conditions.get(condition) else {
                    return Err(wrong(format!("unresolved condition dependency {condition} in Fn::If")));
                };
                return self.value(if *holds { yes } else { no });
            }
            "Fn::And" | "Fn::Or" | "Fn::Not" | "Fn::Equals" => Value::Bool(self.truth(name, argument)?),
            _ => return Err(wrong(format!("{name} is not a valid intrinsic function here."))),
        };
        Ok(Some(value))
    }

    fn reference(&self, name: &str) -> Evaluation<Option<Value>> {
        let pseudo = &self.pseudo;
        let value = match name {
            "AWS::NoValue" => return Ok(None),
            "AWS::AccountId" => pseudo.account.clone().into(),
            "AWS::Region" => pseudo.region.clone().into(),
            "AWS::Partition" => "aws".into(),
            "AWS::URLSuffix" => "amazonaws.com".into(),
            "AWS::StackId" => pseudo.stack_id.clone().into(),
            "AWS::StackName" => pseudo.stack_name.clone().into(),
            "AWS::NotificationARNs" => pseudo.notification_arns.clone().into(),
            _ => match self.parameters.get(name) {
                Some(value) => value.clone(),
                None => self.lookup.reference(name).ok_or_else(|| EvaluationError::NotMade {
                    logical: name.to_owned(),
                    attribute: "Ref".to_owned(),
                })?,
            },
        };
        Ok(Some(value))
    }

    fn attribute(&self, logical: &str, attribute: &str) -> Evaluation<Value> {
        self.lookup
            .attribute(logical, attribute)
            .ok_or_else(|| EvaluationError::NotMade { logical: logical.to_owned(), attribute: attribute.to_owned() })
    }

    fn arguments<const N: usize>(&self, name: &str, argument: &Value) -> Evaluation<[Value; N]> {
        let Some(Value::Array(items)) = self.value(argument)? else { return Err(usage(name)) };
        items.try_into().map_err(|_| usage(name))
    }

    fn sub(&self, argument: &Value) -> Evaluation<String> {
        let (text, variables) = match argument {
            Value::String(text) => (text, None),
            Value::Array(items) => match items.as_slice() {
                [Value::String(text), Value::Object(variables)] => (text, Some(variables)),
                [Value::String(text)] => (text, None),
                _ => return Err(usage("Fn::Sub")),
            },
            _ => return Err(usage("Fn::Sub")),
        };
        let mut out = String::new();
        for part in sub_parts(text)? {
            match part {
                SubPart::Text(text) => out.push_str(text),
                SubPart::Variable(name) => {
                    let value = match variables.and_then(|v| v.get(name)) {
                        Some(value) => self.value(value)?,
                        None => match name.split_once('.') {
                            Some((logical, attribute)) => Some(self.attribute(logical, attribute)?),
                            None => self.reference(name)?,
                        },
                    };
                    let text = value
                        .as_ref()
                        .and_then(text_of)
                        .ok_or_else(|| wrong(format!("Fn::Sub: the value of ${{{name}}} is not a string")))?;
                    out.push_str(&text);
                }
            }
            if out.len() > MAX_TEXT {
                return Err(wrong("Fn::Sub: the result is too long"));
            }
        }
        Ok(out)
    }

    fn find_in_map(&self, argument: &Value) -> Evaluation<Value> {
        let [map, first, second] = self.arguments("Fn::FindInMap", argument)?;
        match (text_of(&map), text_of(&first), text_of(&second)) {
            (Some(map), Some(first), Some(second)) => {
                let found = self.template.mappings.get(&map).and_then(|m| m.get(&first)).and_then(|m| m.get(&second));
                found.cloned().ok_or_else(|| wrong(format!("Unable to get mapping for {map}::{first}::{second}")))
            }
            _ => Err(usage("Fn::FindInMap")),
        }
    }

    /// `[ipBlock, count, cidrBits]`: the first `count` blocks of 2^cidrBits addresses. IPv4.
    fn cidr(&self, argument: &Value) -> Evaluation<Value> {
        let Some(Value::Array(items)) = self.value(argument)? else { return Err(usage("Fn::Cidr")) };
        let texts: Option<Vec<String>> = items.iter().map(text_of).collect();
        let texts = texts.ok_or_else(|| usage("Fn::Cidr"))?;
        let (block, count, bits) = match texts.as_slice() {
            [block, count, bits] => (block, count, bits.as_str()),
            [block, count] => (block, count, "8"),
            _ => return Err(usage("Fn::Cidr")),
        };
        let parsed = block.split_once('/').and_then(|(address, prefix)| {
            Some((address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u32>().ok().filter(|p| *p <= 32)?))
        });
        let (Some((address, prefix)), Ok(count), Ok(bits)) = (parsed, count.parse::<u64>(), bits.parse::<u32>()) else {
            return Err(usage("Fn::Cidr"));
        };
        let room = 32 - prefix;
        if !(1..=256).contains(&count) || bits > room || count > 1 << (room - bits) {
            return Err(wrong(format!("Fn::Cidr: {count} blocks of {bits} bits do not fit into {block}")));
        }
        let base = u64::from(u32::from(address)) >> room << room;
        Ok((0..count)
            .map(|i| Value::from(format!("{}/{}", Ipv4Addr::from((base + (i << bits)) as u32), 32 - bits)))
            .collect())
    }

    /// A named condition; those that others need are evaluated before them.
    fn condition(&self, name: &str) -> Evaluation<bool> {
        let known = self.conditions.get(name).copied();
        known.ok_or_else(|| wrong(format!("Unresolved condition dependency {name}")))
    }

    fn test(&self, value: &Value) -> Evaluation<bool> {
        match value {
            Value::Object(map) => match function(map) {
                Some(("Condition", Value::String(name))) => self.condition(name),
                Some((name @ ("Fn::And" | "Fn::Or" | "Fn::Not" | "Fn::Equals"), argument)) => {
                    self.truth(name, argument)
                }
                _ => Err(TemplateError::format(
                    "Conditions can only be boolean operations on parameters and other conditions",
                )
                .into()),
            },
            Value::Bool(flag) => Ok(*flag),
            _ => Err(TemplateError::format(
                "Conditions can only be boolean operations on parameters and other conditions",
            )
            .into()),
        }
    }

    fn truth(&self, name: &str, argument: &Value) -> Evaluation<bool> {
        let Value::Array(items) = argument else { return Err(usage(name)) };
        match (name, items.as_slice()) {
            ("Fn::Not", [one]) => Ok(!self.test(one)?),
            ("Fn::Equals", [left, right]) => {
                let side = |v: &Value| -> Evaluation<Option<Value>> {
                    let value = self.value(v)?;
                    // Numbers and booleans compare as the text that stands for them.
                    Ok(value.map(|v| text_of(&v).map_or(v, Value::String)))
                };
                Ok(side(left)? == side(right)?)
            }
            ("Fn::And", items) if (2..=10).contains(&items.len()) => {
                items.iter().try_fold(true, |all, item| Ok(self.test(item)? && all))
            }
            ("Fn::Or", items) if (2..=10).contains(&items.len()) => {
                items.iter().try_fold(false, |any, item| Ok(self.test(item)? || any))
            }
            _ => Err(usage(name)),
        }
    }
}

/// The function that a map with a single member is.
fn function(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = map.iter().next().filter(|_| map.len() == 1)?;
    let is = name == "Ref" || name.starts_with("Fn::") || (name == "Condition" && argument.is_string());
    is.then_some((name.as_str(), argument))
}

/// Cuts the text of Fn::Sub at its variables. `${!Name}` stands for the text `${Name}`.
pub fn sub_parts(text: &str) -> Result<Vec<SubPart<'_>>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        parts.push(SubPart::Text(&rest[..start]));
        let Some(end) = rest[start..].find('}').map(|end| start + end) else {
            return Err(TemplateError::meaning(
                "variable names in Fn::Sub syntax must contain only alphanumeric characters, underscores, periods, and colons",
            ));
        };
        let name = &rest[start + 2..end];
        if let Some(literal) = name.strip_prefix('!') {
            parts.push(SubPart::Text("${"));
            parts.push(SubPart::Text(literal));
            parts.push(SubPart::Text("}"));
        } else {
            let name = name.trim();
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':');
            if name.is_empty() || !name.bytes().all(allowed) {
                return Err(TemplateError::meaning(
                    "variable names in Fn::Sub syntax must contain only alphanumeric characters, underscores, periods, and colons",
                ));
            }
            parts.push(SubPart::Variable(name));
        }
        rest = &rest[end + 1..];
    }
    parts.push(SubPart::Text(rest));
    Ok(parts)
}

fn wrong(message: impl std::fmt::Display) -> EvaluationError {
    TemplateError::meaning(message).into()
}

fn bounded(text: String) -> Evaluation<Value> {
    if text.len() > MAX_TEXT { Err(wrong("the result of a function is too long")) } else { Ok(Value::String(text)) }
}

fn usage(name: &str) -> EvaluationError {
    let wanted = match name {
        "Fn::Join" => {
            "two parameters, (1) a string delimiter and (2) a list of strings to be joined or a function that returns a list of strings (such as Fn::GetAZs) to be joined"
        }
        "Fn::Select" => "a list argument with two elements: an integer index and a list",
        "Fn::Split" => {
            "two parameters, (1) a string delimiter and (2) a string to be split or a function that returns a string to be split"
        }
        "Fn::FindInMap" => "three parameters, the map name, map key and the attribute for return value",
        "Fn::If" => "a list argument with three elements, of which the first is the name of a condition",
        "Fn::Equals" => "a list argument with two elements",
        "Fn::Not" => "a list argument with one element",
        "Fn::And" | "Fn::Or" => "a list argument with 2 to 10 elements",
        "Fn::Base64" => "a string",
        "Fn::GetAZs" => "a single string or an empty string",
        "Fn::Cidr" => "an IP block, a count and, optionally, a number of bits",
        _ => "other arguments",
    };
    wrong(format!("{name} requires {wanted}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    struct World;

    impl Lookup for World {
        fn reference(&self, logical: &str) -> Option<Value> {
            (logical == "Made").then(|| "made-1".into())
        }
        fn attribute(&self, logical: &str, name: &str) -> Option<Value> {
            (logical == "Made" && name == "Arn").then(|| "arn:made".into())
        }
        fn import(&self, name: &str) -> Option<String> {
            (name == "other:Vpc").then(|| "vpc-1".into())
        }
    }

    fn template() -> Template {
        Template::parse(
            "Parameters: {P: {Type: String}, L: {Type: CommaDelimitedList}}
Mappings: {M: {us-east-1: {Cidr: 10.0.0.0/16, Zones: [x, y]}}}
Conditions: {Prod: !Equals [!Ref P, prod], Both: !And [!Condition Prod, !Not [!Condition Dev]], Dev: !Equals [!Ref P, dev]}
Resources: {Made: {Type: T}, Unmade: {Type: T}}",
        )
        .unwrap()
    }

    fn evaluate(value: Value) -> Result<Option<Value>, String> {
        let template = template();
        let parameters = json!({"P": "prod", "L": ["a", "b"]}).as_object().unwrap().clone();
        let pseudo = Pseudo {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            zones: vec!["us-east-1a".into(), "us-east-1b".into()],
            stack_name: "demo".into(),
            ..Pseudo::default()
        };
        let evaluator = Evaluator::new(&template, parameters, pseudo, &World).unwrap();
        evaluator.value(&value).map_err(|e| e.to_string())
    }

    #[test]
    fn functions_give_what_they_should() {
        for (value, expected) in [
            (json!({"Ref": "P"}), json!("prod")),
            (json!({"Ref": "L"}), json!(["a", "b"])),
            (json!({"Ref": "Made"}), json!("made-1")),
            (json!({"Fn::GetAtt": ["Made", "Arn"]}), json!("arn:made")),
            (json!({"Fn::Sub": "${AWS::StackName}-${Made.Arn}-${!x}-${P}"}), json!("demo-arn:made-${x}-prod")),
            (json!({"Fn::Sub": ["${v}$", {"v": {"Ref": "Made"}}]}), json!("made-1$")),
            (json!({"Fn::Join": [":", ["a", 1, {"Ref": "P"}, {"Ref": "AWS::NoValue"}]]}), json!("a:1:prod")),
            (json!({"Fn::Select": ["1", {"Fn::GetAZs": {"Ref": "AWS::Region"}}]}), json!("us-east-1b")),
            (json!({"Fn::Split": ["|", "a|b"]}), json!(["a", "b"])),
            (json!({"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "Cidr"]}), json!("10.0.0.0/16")),
            (json!({"Fn::If": ["Both", {"A": 1}, 2]}), json!({"A": 1})),
            (json!({"Fn::If": ["Dev", {"Ref": "Unmade"}, 2]}), json!(2)),
            (json!({"Fn::ImportValue": "other:Vpc"}), json!("vpc-1")),
            (json!({"Fn::Base64": "hello"}), json!("aGVsbG8=")),
            (json!({"Fn::Cidr": ["10.0.0.0/16", 2, 8]}), json!(["10.0.0.0/24", "10.0.1.0/24"])),
            (json!({"A": {"Ref": "AWS::NoValue"}, "B": [{"Ref": "AWS::NoValue"}, 1]}), json!({"B": [1]})),
        ] {
            assert_eq!(evaluate(value.clone()), Ok(Some(expected)), "{value}");
        }
    }

    #[test]
    fn conditions_that_multiply_cost_no_more_than_their_text() {
        let mut text = String::from("Resources: {Made: {Type: T}}\nConditions:\n  C999: !Equals [a, a]\n");
        for i in (0..999).rev() {
            let next = format!("C{:03}", i + 1);
            text.push_str(&format!("  C{i:03}: !And [!Condition {next}, !Condition {next}]\n"));
        }
        let template = Template::parse(&text).unwrap();
        let evaluator = Evaluator::new(&template, Map::new(), Pseudo::default(), &World).unwrap();
        assert!(evaluator.holds(Some("C000")));
    }

    #[test]
    fn wrong_uses_are_told() {
        for (value, expected) in [
            (
                json!({"Fn::FindInMap": ["M", "eu-west-1", "Cidr"]}),
                "Template error: Unable to get mapping for M::eu-west-1::Cidr",
            ),
            (
                json!({"Fn::Select": [9, ["a"]]}),
                "Template error: Fn::Select cannot select nonexistent value at index 9",
            ),
            (json!({"Fn::ImportValue": "nope"}), "No export named nope found"),
            (json!({"Ref": "Unmade"}), "Attribute 'Ref' of resource Unmade does not exist"),
            (
                json!({"Fn::Cidr": ["10.0.0.0/30", 200, 2]}),
                "Template error: Fn::Cidr: 200 blocks of 2 bits do not fit into 10.0.0.0/30",
            ),
        ] {
            assert_eq!(evaluate(value.clone()), Err(expected.into()), "{value}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-zA-Z.$\\{\\}!:/0-9]{0,12}".prop_map(Value::from),
            Just(json!("Made")),
            Just(json!("10.0.0.0/8")),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                (proptest::sample::select(FUNCTIONS), inner.clone())
                    .prop_map(|(name, argument)| json!({name: argument})),
                inner.prop_map(|argument| json!({"Ref": argument})),
            ]
        })
    }

    proptest! {
        #[test]
        fn evaluation_never_panics(value in any_value()) {
            let _ = evaluate(value);
        }
    }
}
