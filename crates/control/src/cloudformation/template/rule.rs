//! The section Rules: what must hold of the parameters (AWS's documentation, "Rules syntax").

use super::{Evaluator, TemplateError, text_of};
use serde_json::{Map, Value};

/// Functions that only rules have.
pub const FUNCTIONS: &[&str] = &["Fn::Contains", "Fn::EachMemberEquals", "Fn::EachMemberIn"];

/// A rule as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Where it does not hold, nothing is asserted.
    pub condition: Option<Value>,
    /// What must hold, and what is said where it does not.
    pub assertions: Vec<(Value, Option<String>)>,
}

impl Rule {
    pub(super) fn parse(name: &str, body: &Value) -> Result<Self, TemplateError> {
        let wrong = |what: String| TemplateError::format(format!("Rule {name} is malformed: {what}"));
        let malformed = |what: &str| Err(wrong(what.to_owned()));
        let Value::Object(body) = body else { return malformed("it must be a map") };
        if let Some(key) = body.keys().find(|key| !["RuleCondition", "Assertions"].contains(&key.as_str())) {
            return malformed(&format!("unexpected member {key}"));
        }
        let Some(Value::Array(items)) = body.get("Assertions") else { return malformed("it needs Assertions") };
        let mut assertions = Vec::new();
        for item in items {
            let Value::Object(item) = item else { return malformed("an assertion must be a map") };
            let unknown = item.keys().find(|key| !["Assert", "AssertDescription"].contains(&key.as_str()));
            let (Some(assert), None) = (item.get("Assert"), unknown) else {
                return malformed("an assertion has Assert and AssertDescription");
            };
            check(assert).map_err(wrong)?;
            assertions.push((assert.clone(), item.get("AssertDescription").and_then(text_of)));
        }
        let condition = body.get("RuleCondition").cloned();
        condition.as_ref().map_or(Ok(()), check).map_err(wrong)?;
        Ok(Self { condition, assertions })
    }
}

/// Refuses functions that rules have not, or that we cannot carry out.
fn check(value: &Value) -> Result<(), String> {
    const KNOWN: &[&str] = &["Ref", "Fn::And", "Fn::Equals", "Fn::Not", "Fn::Or", "Fn::If"];
    match value {
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(map) => map.iter().try_for_each(|(name, argument)| {
            if KNOWN.contains(&name.as_str()) || FUNCTIONS.contains(&name.as_str()) {
                check(argument)
            } else {
                Err(format!("{name} is not supported in rules"))
            }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Refuses parameters that break a rule of the template.
pub fn assert_all<'a>(
    rules: impl Iterator<Item = (&'a String, &'a Rule)>,
    evaluator: &Evaluator<'_>,
) -> Result<(), TemplateError> {
    for (name, rule) in rules {
        if let Some(condition) = &rule.condition
            && !holds(evaluator, condition)?
        {
            continue;
        }
        for (assertion, description) in &rule.assertions {
            if !holds(evaluator, assertion)? {
                let told = description.as_deref().unwrap_or("the assertion does not hold");
                return Err(TemplateError::meaning(format!("Rule {name} failed: {told}")));
            }
        }
    }
    Ok(())
}

fn holds(evaluator: &Evaluator<'_>, value: &Value) -> Result<bool, TemplateError> {
    let wrong = || TemplateError::meaning("rules can only be made of the rule functions on parameters");
    let Value::Object(map) = value else { return value.as_bool().ok_or_else(wrong) };
    let (name, argument) = only(map).ok_or_else(wrong)?;
    let items = argument.as_array().ok_or_else(wrong)?;
    let pair = || match items.as_slice() {
        [left, right] => Ok((left, right)),
        _ => Err(wrong()),
    };
    match name {
        "Fn::And" => items.iter().try_fold(true, |all, item| Ok(holds(evaluator, item)? && all)),
        "Fn::Or" => items.iter().try_fold(false, |any, item| Ok(holds(evaluator, item)? || any)),
        "Fn::Not" => match items.as_slice() {
            [one] => Ok(!holds(evaluator, one)?),
            _ => Err(wrong()),
        },
        "Fn::Equals" => {
            let (left, right) = pair()?;
            Ok(texts(evaluator, left)? == texts(evaluator, right)?)
        }
        "Fn::Contains" => {
            let (list, one) = pair()?;
            let (list, one) = (texts(evaluator, list)?, texts(evaluator, one)?);
            Ok(one.len() == 1 && list.contains(&one[0]))
        }
        "Fn::EachMemberEquals" => {
            let (list, one) = pair()?;
            let (list, one) = (texts(evaluator, list)?, texts(evaluator, one)?);
            Ok(one.len() == 1 && list.iter().all(|item| *item == one[0]))
        }
        "Fn::EachMemberIn" => {
            let (list, all) = pair()?;
            let (list, all) = (texts(evaluator, list)?, texts(evaluator, all)?);
            Ok(list.iter().all(|item| all.contains(item)))
        }
        _ => Err(wrong()),
    }
}

fn only(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    map.iter().next().filter(|_| map.len() == 1).map(|(name, argument)| (name.as_str(), argument))
}

/// A text, or all texts of a list.
fn texts(evaluator: &Evaluator<'_>, value: &Value) -> Result<Vec<String>, TemplateError> {
    let value = evaluator.value(value).map_err(|error| TemplateError(error.to_string()))?.unwrap_or_default();
    let texts = match &value {
        Value::Array(items) => items.iter().map(text_of).collect(),
        one => text_of(one).map(|text| vec![text]),
    };
    texts.ok_or_else(|| TemplateError::meaning("rules compare texts and lists of texts"))
}

#[cfg(test)]
mod tests {
    use super::super::{Lookup, Pseudo, Template};
    use super::*;
    use serde_json::json;

    struct Nothing;

    impl Lookup for Nothing {
        fn reference(&self, _: &str) -> Option<Value> {
            None
        }
        fn attribute(&self, _: &str, _: &str) -> Option<Value> {
            None
        }
        fn import(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn judged(rule: Value) -> Result<(), String> {
        let text = json!({
            "Parameters": {"P": {"Type": "String"}, "L": {"Type": "CommaDelimitedList"}},
            "Rules": {"R": rule},
            "Resources": {"A": {"Type": "T"}},
        });
        let template = Template::parse(&text.to_string()).map_err(|e| e.0)?;
        let parameters = json!({"P": "6", "L": ["a", "b"]}).as_object().unwrap().clone();
        let evaluator = Evaluator::new(&template, parameters, Pseudo::default(), &Nothing).unwrap();
        assert_all(template.rules.iter(), &evaluator).map_err(|e| e.0)
    }

    fn asserted(assert: Value) -> Result<(), String> {
        judged(json!({"Assertions": [{"Assert": assert, "AssertDescription": "no good"}]}))
    }

    #[test]
    fn rules_are_judged() {
        // As CDK writes it.
        let bootstrap = json!({"Fn::Not": [{"Fn::Contains": [["1", "2", "3", "4", "5"], {"Ref": "P"}]}]});
        assert_eq!(asserted(bootstrap), Ok(()));
        let failed = Err("Template error: Rule R failed: no good".to_owned());
        assert_eq!(asserted(json!({"Fn::Contains": [["1"], {"Ref": "P"}]})), failed);
        assert_eq!(asserted(json!({"Fn::EachMemberIn": [{"Ref": "L"}, ["a", "b", "c"]]})), Ok(()));
        assert_eq!(asserted(json!({"Fn::EachMemberIn": [{"Ref": "L"}, ["a"]]})), failed);
        assert_eq!(asserted(json!({"Fn::EachMemberEquals": [["6", "6"], {"Ref": "P"}]})), Ok(()));
        assert_eq!(asserted(json!({"Fn::And": [true, {"Fn::Equals": [{"Ref": "P"}, "7"]}]})), failed);
        assert_eq!(asserted(json!({"Fn::Or": [false, {"Fn::Equals": [{"Ref": "P"}, 6]}]})), Ok(()));
        let spared = json!({"RuleCondition": {"Fn::Equals": [{"Ref": "P"}, "7"]}, "Assertions": [{"Assert": false}]});
        assert_eq!(judged(spared), Ok(()));
        assert_eq!(
            asserted(json!({"Fn::EachMemberIn": [{"Fn::RefAll": "AWS::EC2::VPC::Id"}, ["a"]]})),
            Err("Template format error: Rule R is malformed: Fn::RefAll is not supported in rules".to_owned())
        );
    }
}
