//! Inputs and outputs as records show them: CloudTrail's names, and nothing secret.

use super::HIDDEN;
use quarry_wire::{Kind, Structure, Type, View};
use serde_json::{Map, Value};

/// An input as a record shows it.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    /// An object; null for no members.
    pub shown: Value,
    /// The texts that were hidden, so that no message repeats them.
    hidden: Vec<String>,
}

/// Members that are hidden though the model does not mark them, in lower case: templates and their parameters may hold
/// secrets, and so may user data and the variables of containers.
const NAMES: [&str; 13] = [
    "authorizationtoken",
    "clientsecret",
    "layerpartblob",
    "logevents",
    "parametervalue",
    "privatekey",
    "secretaccesskey",
    "secretbinary",
    "secretstring",
    "sessiontoken",
    "stackpolicybody",
    "templatebody",
    "userdata",
];

/// ECS's shape of an environment variable.
const VARIABLE: &str = "KeyValuePair";

/// Texts shorter than this say nothing.
const SHORTEST: usize = 4;

impl Parameters {
    pub fn of(input: &dyn Structure) -> Self {
        let mut parameters = Self::default();
        let members = structure(input, &mut parameters.hidden);
        if !members.is_empty() {
            parameters.shown = Value::Object(members);
        }
        parameters
    }

    /// What holds nothing to hide.
    pub fn shown(shown: Value) -> Self {
        Self { shown, hidden: Vec::new() }
    }

    /// A message, with what was hidden of the input hidden in it.
    pub fn without_hidden(&self, message: &str) -> String {
        let mut clean = message.to_owned();
        for secret in &self.hidden {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), HIDDEN);
            }
        }
        clean
    }
}

fn structure(shape: &dyn Structure, hidden: &mut Vec<String>) -> Map<String, Value> {
    let schema = shape.schema();
    let mut members = Map::new();
    for (at, member) in schema.members.iter().enumerate() {
        let view = shape.member(at).view();
        if matches!(view, View::Absent) {
            continue;
        }
        let secret = member.ty.sensitive
            || NAMES.contains(&member.name.to_ascii_lowercase().as_str())
            || (schema.name == VARIABLE && member.name == "value");
        let value = match secret {
            true => hide(view, hidden),
            false => value(view, member.ty, hidden),
        };
        members.insert(camel(member.name), value);
    }
    members
}

fn value(view: View<'_>, ty: &Type, hidden: &mut Vec<String>) -> Value {
    if ty.sensitive {
        return hide(view, hidden);
    }
    match (view, &ty.kind) {
        (View::Absent, _) => Value::Null,
        (View::Boolean(v), _) => v.into(),
        (View::Integer(v), _) => v.into(),
        (View::Long(v), _) => v.into(),
        (View::Double(v), _) => v.into(),
        (View::String(v), _) => v.into(),
        (View::Timestamp(v), _) => v.to_string().into(),
        (View::Blob(_), _) => hide(view, hidden),
        (View::Document(v), _) => v.clone(),
        (View::List(list), Kind::List(element)) => {
            let items = (0..list.len()).filter_map(|at| list.get(at));
            items.map(|item| value(item.view(), element.ty, hidden)).collect()
        }
        (View::Map(map), Kind::Map(_, of)) => Value::Object(
            map.entries().into_iter().map(|(key, item)| (key.to_owned(), value(item.view(), of.ty, hidden))).collect(),
        ),
        (View::Structure(shape), _) => Value::Object(structure(shape, hidden)),
        (View::List(_) | View::Map(_), _) => HIDDEN.into(),
    }
}

/// Remembers the texts in a value that is not shown.
fn hide(view: View<'_>, hidden: &mut Vec<String>) -> Value {
    match view {
        View::String(text) if text.len() >= SHORTEST => hidden.push(text.to_owned()),
        View::Blob(bytes) => {
            hidden.extend(std::str::from_utf8(bytes).ok().filter(|t| t.len() >= SHORTEST).map(str::to_owned))
        }
        View::List(list) => {
            for item in (0..list.len()).filter_map(|at| list.get(at)) {
                hide(item.view(), hidden);
            }
        }
        View::Map(map) => {
            for (_, item) in map.entries() {
                hide(item.view(), hidden);
            }
        }
        View::Structure(shape) => {
            for at in 0..shape.schema().members.len() {
                hide(shape.member(at).view(), hidden);
            }
        }
        _ => {}
    }
    HIDDEN.into()
}

/// `ClusterName` as `clusterName`; `IPAddress` as `iPAddress`, as CloudTrail has it.
fn camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + letters.as_str())
}
