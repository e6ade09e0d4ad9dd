//! The rules of `taskdef_overrides`, laid on the task definition one after the other.

use super::yaml::Out;
use crate::manifest::{Service, Step, Tree};

/// A rule that fits nothing in the task definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "copilot/{service}/manifest.yml:{line}: taskdef_overrides: {path}: {message}; `taskdef_overrides` count from 0"
)]
pub struct Misplaced {
    pub service: String,
    pub line: usize,
    /// As far as it could be followed.
    pub path: String,
    pub message: String,
}

/// Lays a service's rules on the properties of its task definition.
pub(super) fn apply(service: &Service, properties: &mut Out) -> Result<(), Misplaced> {
    for rule in &service.overrides {
        let misplaced = |(path, message)| Misplaced { service: service.name.clone(), line: rule.line, path, message };
        lay(properties, &rule.path, &rule.value, "").map_err(misplaced)?;
    }
    Ok(())
}

fn lay(at: &mut Out, path: &[Step], value: &Tree, done: &str) -> Result<(), (String, String)> {
    let Some((step, rest)) = path.split_first() else {
        *at = out(value);
        return Ok(());
    };
    match step {
        Step::Field(name) => {
            let here = if done.is_empty() { name.clone() } else { format!("{done}.{name}") };
            match at.field(name, || new(rest)) {
                Some(field) => lay(field, rest, value, &here),
                None => Err((here, "there is no map of fields there".into())),
            }
        }
        Step::Item(which) => {
            let here = format!("{done}[{}]", which.map_or("-".to_owned(), |number| number.to_string()));
            let Some(items) = at.items() else { return Err((here, "there is no list there".into())) };
            let length = items.len();
            match which {
                None => {
                    items.push(new(rest));
                    lay(&mut items[length], rest, value, &here)
                }
                Some(number) => match items.get_mut(*number) {
                    Some(item) => lay(item, rest, value, &here),
                    None => Err((here, format!("the list has {length} items; [-] adds one"))),
                },
            }
        }
    }
}

/// What a path goes on in, where there is nothing yet.
fn new(rest: &[Step]) -> Out {
    match rest.first() {
        Some(Step::Item(_)) => Out::List(Vec::new()),
        _ => Out::Map(Vec::new()),
    }
}

fn out(value: &Tree) -> Out {
    match value {
        Tree::Plain(text) => Out::Raw(text.clone()),
        Tree::Text(text) => Out::Text(text.clone()),
        Tree::List(items) => Out::List(items.iter().map(out).collect()),
        Tree::Map(entries) => {
            Out::Map(entries.iter().map(|(name, value)| super::yaml::entry(name, out(value))).collect())
        }
    }
}
