//! References between the parts of a template: that each leads somewhere, and in which order
//! resources depend on each other.

use super::intrinsic::{SubPart, sub_parts};
use super::{Resource, Template, TemplateError};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Names that Ref knows besides parameters and resources.
pub const PSEUDO: &[&str] = &[
    "AWS::AccountId",
    "AWS::NotificationARNs",
    "AWS::NoValue",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
];

/// What a value of a template refers to.
#[derive(Default)]
struct References {
    /// By Ref or Sub: parameters, pseudo parameters or resources.
    names: BTreeSet<String>,
    /// By GetAtt or Sub with a dot: resources.
    attributes: BTreeSet<(String, String)>,
    conditions: BTreeSet<String>,
    maps: BTreeSet<String>,
    unknown_functions: BTreeSet<String>,
}

impl References {
    fn of(value: &Value) -> Result<Self, TemplateError> {
        let mut found = Self::default();
        found.collect(value, &BTreeSet::new())?;
        Ok(found)
    }

    fn collect(&mut self, value: &Value, local: &BTreeSet<&str>) -> Result<(), TemplateError> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.collect(item, local)),
            Value::Object(map) => self.collect_map(map, local),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn collect_map(&mut self, map: &Map<String, Value>, local: &BTreeSet<&str>) -> Result<(), TemplateError> {
        if let (1, Some((function, argument))) = (map.len(), map.iter().next()) {
            match (function.as_str(), argument) {
                ("Ref", Value::String(name)) => {
                    self.names.insert(name.clone());
                    return Ok(());
                }
                ("Ref", _) => return Err(TemplateError::format("All Ref values must be strings")),
                ("Condition", Value::String(name)) => {
                    self.conditions.insert(name.clone());
                    return Ok(());
                }
                ("Fn::GetAtt", argument) => {
                    let (resource, attribute) = get_att(argument)?;
                    self.attributes.insert((resource, attribute));
                    return Ok(());
                }
                ("Fn::Sub", argument) => return self.collect_sub(argument, local),
                ("Fn::If", Value::Array(items)) => {
                    if let Some(Value::String(condition)) = items.first() {
                        self.conditions.insert(condition.clone());
                    }
                }
                ("Fn::FindInMap", Value::Array(items)) => {
                    if let Some(Value::String(name)) = items.first() {
                        self.maps.insert(name.clone());
                    }
                }
                (name, _) if name.starts_with("Fn::") && !super::intrinsic::FUNCTIONS.contains(&name) => {
                    self.unknown_functions.insert(name.to_owned());
                }
                _ => {}
            }
        }
        map.values().try_for_each(|inner| self.collect(inner, local))
    }

    fn collect_sub(&mut self, argument: &Value, local: &BTreeSet<&str>) -> Result<(), TemplateError> {
        let wrong = || {
            TemplateError::meaning(
                "One or more Fn::Sub intrinsic functions don't specify expected arguments. Specify a string as first \
                 argument, and an optional second argument to specify a mapping of values to replace in the string",
            )
        };
        let (text, variables) = match argument {
            Value::String(text) => (text, None),
            Value::Array(items) => match items.as_slice() {
                [Value::String(text), Value::Object(variables)] => (text, Some(variables)),
                [Value::String(text)] => (text, None),
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        for part in sub_parts(text)? {
            let SubPart::Variable(name) = part else { continue };
            if variables.is_some_and(|v| v.contains_key(name)) || local.contains(name) {
                continue;
            }
            match name.split_once('.') {
                Some((resource, attribute)) => {
                    self.attributes.insert((resource.to_owned(), attribute.to_owned()));
                }
                None => {
                    self.names.insert(name.to_owned());
                }
            }
        }
        variables.into_iter().flat_map(Map::values).try_for_each(|value| self.collect(value, local))
    }

    /// The resources of the template among them.
    fn resources<'a>(&'a self, template: &'a Template) -> impl Iterator<Item = &'a String> {
        let attributes = self.attributes.iter().map(|(resource, _)| resource);
        self.names.iter().chain(attributes).filter(|name| template.resources.contains_key(*name))
    }
}

/// The resources each resource needs first.
pub type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// Which resources each resource needs: by Ref, GetAtt, Sub and DependsOn. Branches of Fn::If that
/// are not taken count as well, as in CloudFormation.
pub fn dependencies(template: &Template) -> Result<Dependencies, TemplateError> {
    let mut all = Dependencies::new();
    for (name, resource) in &template.resources {
        let references = of_resource(resource)?;
        let mut needs: BTreeSet<String> = references.resources(template).cloned().collect();
        needs.extend(resource.depends_on.iter().cloned());
        all.insert(name.clone(), needs);
    }
    Ok(all)
}

/// The resources, each after those that it needs.
pub fn creation_order(needs: &Dependencies) -> Vec<String> {
    order(needs).0.into_iter().map(str::to_owned).collect()
}

/// Names, and resources with attributes.
pub type Referred = (BTreeSet<String>, BTreeSet<(String, String)>);

/// What a value refers to.
pub fn references(value: &Value) -> Result<Referred, TemplateError> {
    let found = References::of(value)?;
    Ok((found.names, found.attributes))
}

/// Every attribute that a template asks of its resources: logical name, attribute.
pub fn attributes(template: &Template) -> Result<BTreeSet<(String, String)>, TemplateError> {
    let mut all = BTreeSet::new();
    for resource in template.resources.values() {
        all.append(&mut of_resource(resource)?.attributes);
    }
    for output in template.outputs.values() {
        all.append(&mut References::of(&output.value)?.attributes);
    }
    Ok(all)
}

/// Checks that every reference leads somewhere and that no resource needs itself.
pub(super) fn check(template: &Template) -> Result<(), TemplateError> {
    let mut everywhere = References::default();
    let mut unresolved = BTreeSet::new();
    for (logical, resource) in &template.resources {
        let mut references = of_resource(resource)?;
        let names = references.names.iter().chain(references.attributes.iter().map(|(resource, _)| resource));
        for name in names {
            if !known(template, name) {
                unresolved.insert(name.clone());
            }
        }
        if let Some(condition) = &resource.condition
            && !template.conditions.contains_key(condition)
        {
            return Err(TemplateError::format(format!(
                "Unresolved condition dependency {condition} in the Resources block of the template"
            )));
        }
        for need in &resource.depends_on {
            if !template.resources.contains_key(need) {
                unresolved.insert(need.clone());
            }
        }
        if let Some((name, _)) = references.attributes.iter().find(|(name, _)| template.parameters.contains_key(name)) {
            return Err(TemplateError::meaning(format!(
                "instance of Fn::GetAtt references undefined resource {name} (in {logical})"
            )));
        }
        everywhere.conditions.append(&mut references.conditions);
        everywhere.maps.append(&mut references.maps);
        everywhere.unknown_functions.append(&mut references.unknown_functions);
    }
    refuse_unresolved(&unresolved, "Resources")?;
    for output in template.outputs.values() {
        let mut references = References::of(&output.value)?;
        if let Some(export) = &output.export {
            let of_export = References::of(export)?;
            references.names.extend(of_export.names);
            references.attributes.extend(of_export.attributes);
        }
        let names = references.names.iter().chain(references.attributes.iter().map(|(resource, _)| resource));
        unresolved.extend(names.filter(|name| !known(template, name)).cloned());
        everywhere.conditions.extend(references.conditions);
        everywhere.conditions.extend(output.condition.clone());
        everywhere.maps.extend(references.maps);
        everywhere.unknown_functions.extend(references.unknown_functions);
    }
    refuse_unresolved(&unresolved, "Outputs")?;
    for body in template.conditions.values() {
        let references = References::of(body)?;
        if let Some((resource, _)) = references.attributes.first() {
            return Err(TemplateError::format(format!(
                "Unresolved dependencies [{resource}]. Cannot reference resources in the Conditions block of the template"
            )));
        }
        let resources: Vec<_> = references
            .names
            .iter()
            .filter(|name| !template.parameters.contains_key(*name) && !PSEUDO.contains(&name.as_str()))
            .map(String::as_str)
            .collect();
        if !resources.is_empty() {
            return Err(TemplateError::format(format!(
                "Unresolved dependencies [{}]. Cannot reference resources in the Conditions block of the template",
                resources.join(", ")
            )));
        }
        everywhere.conditions.extend(references.conditions);
        everywhere.maps.extend(references.maps);
        everywhere.unknown_functions.extend(references.unknown_functions);
    }
    for (name, rule) in &template.rules {
        let values = rule.condition.iter().chain(rule.assertions.iter().map(|(assert, _)| assert));
        for value in values {
            // Rules have functions of their own, which are checked with them.
            let references = References::of(value)?;
            let unknown = |n: &&String| !template.parameters.contains_key(*n) && !PSEUDO.contains(&n.as_str());
            if let Some(unknown) = references.names.iter().find(unknown) {
                return Err(TemplateError::format(format!(
                    "Unresolved dependencies [{unknown}]. Rule {name} can only reference parameters"
                )));
            }
            everywhere.conditions.extend(references.conditions);
        }
    }
    if let Some(name) = everywhere.conditions.iter().find(|name| !template.conditions.contains_key(*name)) {
        return Err(TemplateError::meaning(format!("Unresolved condition dependency {name}")));
    }
    if let Some(name) = everywhere.maps.iter().find(|name| !template.mappings.contains_key(*name)) {
        return Err(TemplateError::meaning(format!(
            "Mapping named '{name}' is not present in the 'Mappings' section of template."
        )));
    }
    if let Some(name) = everywhere.unknown_functions.first() {
        return Err(TemplateError::meaning(format!("{name} is not a valid intrinsic function here.")));
    }
    refuse_cycles(&condition_needs(template)?, "conditions")?;
    refuse_cycles(&dependencies(template)?, "resources")
}

/// What each condition needs of the others.
fn condition_needs(template: &Template) -> Result<Dependencies, TemplateError> {
    template.conditions.iter().map(|(name, body)| Ok((name.clone(), References::of(body)?.conditions))).collect()
}

/// The conditions, each after those that it needs.
pub(super) fn condition_order(template: &Template) -> Result<Vec<String>, TemplateError> {
    let needs = condition_needs(template)?;
    let (order, left) = order(&needs);
    if !left.is_empty() {
        return Err(TemplateError::meaning("conditions need each other"));
    }
    Ok(order.into_iter().map(str::to_owned).collect())
}

/// All names, each after those that it needs, and those for which there is no such order. Takes time
/// in proportion to the needs.
fn order(needs: &Dependencies) -> (Vec<&str>, BTreeSet<&str>) {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, needs_of) in needs {
        open.insert(name, needs_of.len());
        for need in needs_of {
            needed_by.entry(need).or_default().push(name);
        }
    }
    let mut order: Vec<&str> = open.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    let mut next = 0;
    while let Some(name) = order.get(next).copied() {
        next += 1;
        for dependant in needed_by.get(name).into_iter().flatten() {
            if let Some(count) = open.get_mut(dependant) {
                *count -= 1;
                if *count == 0 {
                    order.push(dependant);
                }
            }
        }
    }
    let left = open.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name).collect();
    (order, left)
}

fn of_resource(resource: &Resource) -> Result<References, TemplateError> {
    let mut references = References::default();
    let none = BTreeSet::new();
    resource.properties.values().try_for_each(|value| references.collect(value, &none))?;
    let others = [&resource.creation_policy, &resource.update_policy, &resource.metadata];
    others.into_iter().flatten().try_for_each(|value| references.collect(value, &none))?;
    Ok(references)
}

fn known(template: &Template, name: &str) -> bool {
    template.parameters.contains_key(name) || template.resources.contains_key(name) || PSEUDO.contains(&name)
}

fn refuse_unresolved(names: &BTreeSet<String>, block: &str) -> Result<(), TemplateError> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Err(TemplateError::format(format!(
        "Unresolved resource dependencies [{}] in the {block} block of the template",
        names.join(", ")
    )))
}

/// Refuses what is on a cycle, and names it.
fn refuse_cycles(needs: &Dependencies, what: &str) -> Result<(), TemplateError> {
    let (_, left) = order(needs);
    if left.is_empty() {
        return Ok(());
    }
    // What is left is on a cycle or behind one. What is on a cycle stays in the reverse order too.
    let mut reverse: Dependencies = left.iter().map(|name| ((*name).to_owned(), BTreeSet::new())).collect();
    for name in &left {
        for need in &needs[*name] {
            if let Some(needed_by) = reverse.get_mut(need) {
                needed_by.insert((*name).to_owned());
            }
        }
    }
    let (_, cycle) = order(&reverse);
    let names: Vec<&str> = cycle.into_iter().collect();
    Err(TemplateError(format!("Circular dependency between {what}: [{}]", names.join(", "))))
}

/// Resource and attribute of a Fn::GetAtt.
pub(super) fn get_att(argument: &Value) -> Result<(String, String), TemplateError> {
    let pair = match argument {
        Value::String(path) => path.split_once('.').map(|(r, a)| (r.to_owned(), a.to_owned())),
        Value::Array(items) => match items.as_slice() {
            [Value::String(resource), Value::String(attribute)] => Some((resource.clone(), attribute.clone())),
            _ => None,
        },
        _ => None,
    };
    pair.filter(|(resource, attribute)| !resource.is_empty() && !attribute.is_empty()).ok_or_else(|| {
        TemplateError::meaning(
            "every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Template::parse(text).unwrap_err().0
    }

    #[test]
    fn dependencies_come_from_every_kind_of_reference() {
        let template = Template::parse(
            "Resources:
  A: {Type: T}
  B: {Type: T, Properties: {X: !Ref A}}
  C: {Type: T, Properties: {X: ['a', !GetAtt B.Arn]}}
  D: {Type: T, Properties: {X: !Sub ['${C}-${A.Id}-${L}-${!B}', {L: !Ref AWS::Region}]}}
  E: {Type: T, DependsOn: [D]}
",
        )
        .unwrap();
        let needs = dependencies(&template).unwrap();
        let of = |name: &str| needs[name].iter().map(String::as_str).collect::<Vec<_>>().join(",");
        assert_eq!([of("A"), of("B"), of("C"), of("D"), of("E")], ["", "A", "B", "A,C", "D"]);
    }

    #[test]
    fn dangling_references_are_named() {
        assert_eq!(
            refusal("Resources: {A: {Type: T, Properties: {X: !Ref Nope}}}"),
            "Template format error: Unresolved resource dependencies [Nope] in the Resources block of the template"
        );
        assert_eq!(
            refusal("Resources: {A: {Type: T, DependsOn: [Nope]}}"),
            "Template format error: Unresolved resource dependencies [Nope] in the Resources block of the template"
        );
        assert_eq!(
            refusal("Resources: {A: {Type: T}}\nOutputs: {O: {Value: !Sub '${Nope.Arn}'}}"),
            "Template format error: Unresolved resource dependencies [Nope] in the Outputs block of the template"
        );
        assert_eq!(
            refusal("Resources: {A: {Type: T, Properties: {X: !FindInMap [M, a, b]}}}"),
            "Template error: Mapping named 'M' is not present in the 'Mappings' section of template."
        );
        assert!(refusal("Resources: {A: {Type: T, Condition: Nope}}").contains("Nope"));
        assert!(refusal("Resources: {A: {Type: T, Properties: {X: {'Fn::Nope': 1}}}}").contains("Fn::Nope"));
        assert!(refusal("Conditions: {C: !Equals [!Ref A, x]}\nResources: {A: {Type: T}}").contains("[A]"));
    }

    #[test]
    fn cycles_are_named_without_what_hangs_on_them() {
        assert_eq!(
            refusal(
                "Resources:
  A: {Type: T, DependsOn: C}
  B: {Type: T, Properties: {X: !Ref A}}
  C: {Type: T, Properties: {X: !GetAtt B.Y}}
  Behind: {Type: T, DependsOn: A}
  Free: {Type: T}
"
            ),
            "Circular dependency between resources: [A, B, C]"
        );
        assert_eq!(
            refusal("Resources: {A: {Type: T, Properties: {X: !Ref A}}}"),
            "Circular dependency between resources: [A]"
        );
        assert!(refusal("Conditions: {C: !Not [!Condition C]}\nResources: {A: {Type: T}}").contains("[C]"));
    }
}
