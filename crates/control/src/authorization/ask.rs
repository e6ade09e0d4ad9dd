//! From a call to the actions, resources and condition keys that IAM is asked about.

use super::names;
use super::table::{Actions, Row, prefix};
use crate::api::Result;
use crate::platform::Platform;
use crate::store::Tx;
use quarry_domain::policy::Context;
use quarry_wire::{Protocol, ServiceModel, Structure, View};

/// A call of an operation.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub service: &'static ServiceModel,
    pub operation: &'static str,
    pub protocol: Protocol,
    pub input: &'a dyn Structure,
}

/// One action on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// For example `ecs:RunTask`.
    pub action: String,
    /// An ARN or `*`.
    pub resource: String,
    /// Condition keys of the service and of the request's tags.
    pub keys: Vec<(String, Vec<String>)>,
}

impl Asked {
    pub fn new(action: &str, resource: &str) -> Self {
        Self { action: action.to_owned(), resource: resource.to_owned(), keys: Vec::new() }
    }

    pub fn add_to(&self, context: &mut Context) {
        for (key, values) in &self.keys {
            context.set_all(key, values.clone());
        }
    }
}

/// What a call asks for; `None` where the operation decides by itself. An operation without a row is asked about on `*`.
pub fn asked(platform: &Platform, tx: &Tx<'_>, call: &Call<'_>) -> Result<Option<Vec<Asked>>> {
    let none = Row::default();
    let row = Actions::get().row(call.service.id, call.operation).unwrap_or(&none);
    if row.own {
        return Ok(None);
    }
    let service = prefix(call.service.id);
    let filling = Filling { platform, tx, service, input: call.input };
    let mut keys = Vec::new();
    for (key, template) in &row.keys {
        let values = filling.texts(template, key.starts_with("ecs:"))?;
        if !values.is_empty() {
            keys.push(((*key).to_owned(), values));
        }
    }
    let (tags, tag_keys) = tags(call.input);
    keys.extend(tags.into_iter().map(|(key, value)| (format!("aws:requesttag/{key}"), vec![value])));
    let tagged = !tag_keys.is_empty();
    if tagged {
        keys.push(("aws:tagkeys".to_owned(), tag_keys));
    }
    let mut resources = Vec::new();
    for template in &row.resources {
        resources.extend(filling.texts(template, true)?);
    }
    if resources.is_empty() {
        resources.push("*".to_owned());
    }
    let mut asked = Vec::new();
    let actions = [Some(call.operation), row.tagging.filter(|_| tagged)];
    for action in actions.into_iter().flatten() {
        let action = format!("{service}:{action}");
        asked.extend(resources.iter().map(|resource| Asked {
            action: action.clone(),
            resource: resource.clone(),
            keys: keys.clone(),
        }));
    }
    for (to, template) in &row.passed {
        for role in (Filling { service: "iam", ..filling }).texts(template, true)? {
            let keys = vec![("iam:passedtoservice".to_owned(), vec![(*to).to_owned()])];
            let passed = Asked { action: "iam:PassRole".to_owned(), resource: role, keys };
            if !asked.contains(&passed) {
                asked.push(passed);
            }
        }
    }
    Ok(Some(asked))
}

/// The texts, numbers and flags at a path of member names; lists on the way are gone through.
pub fn values(input: &dyn Structure, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(View::Structure(input), path, &mut found);
    found
}

/// The tags of a request, and the keys of those that it sets or takes away.
fn tags(input: &dyn Structure) -> (Vec<(String, String)>, Vec<String>) {
    let (mut tags, mut keys) = (Vec::new(), Vec::new());
    for name in ["Tags", "tags", "TagSpecifications", "TagKeys", "tagKeys"] {
        let Some(view) = member(input, name) else { continue };
        if name.ends_with("Keys") {
            collect(view, "", &mut keys);
            continue;
        }
        let pairs = |view: View<'_>, [key, value]: [&str; 2]| {
            let (mut found, mut of) = (Vec::new(), Vec::new());
            collect(view, key, &mut found);
            collect(view, value, &mut of);
            of.resize(found.len(), String::new());
            found.into_iter().zip(of).collect::<Vec<_>>()
        };
        if let View::Map(map) = view {
            for (key, value) in map.entries() {
                if let View::String(value) = value.view() {
                    tags.push((key.to_owned(), value.to_owned()));
                }
            }
            continue;
        }
        let names = [["Key", "Value"], ["key", "value"], ["TagKey", "TagValue"]];
        match name {
            "TagSpecifications" => tags.extend(pairs(view, ["Tags.Key", "Tags.Value"])),
            _ => tags.extend(names.into_iter().flat_map(|names| pairs(view, names))),
        }
    }
    keys.extend(tags.iter().map(|(key, _)| key.clone()));
    (tags, keys)
}

fn member<'a>(input: &'a dyn Structure, name: &str) -> Option<View<'a>> {
    let at = input.schema().members.iter().position(|member| member.name == name)?;
    match input.member(at).view() {
        View::Absent => None,
        view => Some(view),
    }
}

fn collect(view: View<'_>, path: &str, found: &mut Vec<String>) {
    match view {
        View::List(list) => {
            for element in (0..list.len()).filter_map(|at| list.get(at)) {
                collect(element.view(), path, found);
            }
        }
        View::Structure(structure) => {
            let (name, rest) = path.split_once('.').unwrap_or((path, ""));
            if let Some(view) = member(structure, name) {
                collect(view, rest, found);
            }
        }
        View::String(text) if path.is_empty() => found.push(text.to_owned()),
        View::Boolean(flag) if path.is_empty() => found.push(flag.to_string()),
        View::Integer(number) if path.is_empty() => found.push(number.to_string()),
        View::Long(number) if path.is_empty() => found.push(number.to_string()),
        _ => {}
    }
}

/// Fills templates for one call.
#[derive(Clone, Copy)]
struct Filling<'a> {
    platform: &'a Platform,
    tx: &'a Tx<'a>,
    service: &'a str,
    input: &'a dyn Structure,
}

impl Filling<'_> {
    /// A template with each of its values; none if a value is absent. `arn`: as ARNs of the service, unless the template
    /// is all one value that is none.
    fn texts(&self, template: &str, arn: bool) -> Result<Vec<String>> {
        let (mut texts, mut rest) = (vec![String::new()], template);
        let mut whole: Vec<String> = Vec::new();
        while let Some((before, after)) = rest.split_once('{') {
            let Some((expression, after)) = after.split_once('}') else { break };
            let mut values = self.resolve(expression)?;
            if after.is_empty() {
                // An ARN is the resource itself.
                (whole, values) = values.into_iter().partition(|value| value.starts_with("arn:"));
            } else {
                values.truncate(1);
            }
            texts = texts
                .iter()
                .flat_map(|text| values.iter().map(move |value| format!("{text}{before}{value}")))
                .collect();
            rest = after;
        }
        for text in &mut texts {
            text.push_str(rest);
        }
        if arn && !(template.starts_with('{') && template.ends_with('}')) {
            texts = texts.iter().map(|text| self.arn(text)).collect();
        }
        texts.extend(whole);
        Ok(texts)
    }

    fn arn(&self, resource: &str) -> String {
        match self.service {
            "iam" => self.platform.place().global_arn("iam", resource),
            service => self.platform.place().arn(service, resource),
        }
    }

    /// The values of `function:path,path|default`.
    fn resolve(&self, expression: &str) -> Result<Vec<String>> {
        let (expression, default) = match expression.split_once('|') {
            Some((expression, default)) => (expression, Some(default)),
            None => (expression, None),
        };
        let (function, paths) = match expression.split_once(':') {
            Some((function, paths)) => (Some(function), paths),
            None => (None, expression),
        };
        let found = paths.split(',').map(|path| values(self.input, path)).find(|found| !found.is_empty());
        let found = found.or_else(|| default.map(|default| vec![default.to_owned()])).unwrap_or_default();
        let Some(function) = function else { return Ok(found) };
        let mut named = Vec::new();
        for value in found {
            named.extend(names::call(self.platform, self.tx, function, value)?);
        }
        Ok(named)
    }
}
