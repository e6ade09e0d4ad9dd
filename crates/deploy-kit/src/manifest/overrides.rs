//! `taskdef_overrides`: fields of the task definition that manifests have no field of their own for (Copilot's
//! documentation, "Task Definition Overrides").

use super::section::Section;
use super::yaml::{Kind, Node};

/// A rule: the value of a field of `AWS::ECS::TaskDefinition`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Of the manifest.
    pub line: usize,
    pub path: Vec<Step>,
    pub value: Tree,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    /// An item of a list, from 0; `None` is a new one behind the last.
    Item(Option<usize>),
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// A number or a truth value.
    Plain(String),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

pub(super) fn overrides(section: &Section<'_>) -> Vec<Override> {
    let mut all = Vec::new();
    for item in section.list("taskdef_overrides").unwrap_or_default() {
        let Some(rule) = Section::of(section.faults, "taskdef_overrides", item) else { continue };
        let text = rule.text("path");
        let path = text.as_ref().and_then(|text| path(&rule, text));
        if text.is_none() {
            rule.fault("path", "is missing: the field, as ContainerDefinitions[0].Ulimits[-]");
        }
        let value = rule.node("value").and_then(|node| tree(&rule, node));
        if rule.node("value").is_none() {
            rule.fault("value", "is missing");
        }
        if let (Some(path), Some(value)) = (path, value) {
            all.push(Override { line: rule.line, path, value });
        }
        rule.finish();
    }
    all
}

/// `ContainerDefinitions[0].Ulimits[-]`
fn path(rule: &Section<'_>, text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in text.split('.') {
        let (name, items) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            rule.fault("path", format!("{text:?} is no path: {part:?} is no name of a field"));
            return None;
        }
        steps.push(Step::Field(name.to_owned()));
        for item in items.split_terminator(']') {
            match item.strip_prefix('[').map(|number| (number, number.parse())) {
                Some(("-", _)) => steps.push(Step::Item(None)),
                Some((_, Ok(number))) if items.ends_with(']') => steps.push(Step::Item(Some(number))),
                _ => {
                    rule.fault(
                        "path",
                        format!("{text:?} is no path: an item is [0], [1] and so on, or [-] for a new one"),
                    );
                    return None;
                }
            }
        }
    }
    let field = |step: Option<&Step>, wanted: &str| matches!(step, Some(Step::Field(name)) if name == wanted);
    let name = field(steps.first(), "ContainerDefinitions")
        && matches!(steps.get(1), Some(Step::Item(Some(_))))
        && field(steps.get(2), "Name");
    if field(steps.first(), "Family") || name {
        rule.fault("path", format!("{text} cannot be changed: services are found by it"));
        return None;
    }
    Some(steps)
}

fn tree(rule: &Section<'_>, node: &Node) -> Option<Tree> {
    Some(match &node.kind {
        Kind::Null => return rule.faults.wrong(&rule.at("value"), node, "a value"),
        Kind::Scalar { text, plain } if *plain && is_plain(text) => Tree::Plain(text.clone()),
        Kind::Scalar { text, .. } => Tree::Text(text.clone()),
        Kind::List(items) => Tree::List(items.iter().map(|item| tree(rule, item)).collect::<Option<_>>()?),
        Kind::Map(entries) => {
            let entry = |(key, value): &(super::yaml::Key, Node)| Some((key.name.clone(), tree(rule, value)?));
            Tree::Map(entries.iter().map(entry).collect::<Option<_>>()?)
        }
    })
}

/// Whether a word without quotes is a number or a truth value.
fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = !digits.is_empty()
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && (digits == "0" || !digits.starts_with('0') || digits.starts_with("0."))
        && text.parse::<f64>().is_ok();
    number || matches!(text, "true" | "false")
}
