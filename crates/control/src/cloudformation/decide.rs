//! What a change of a resource's properties leads to, purely.

use super::records::{ResourceState, Stack};
use super::resource::{ResourceType, Wanted};
use super::template::text_of;
use serde_json::Value;
use std::collections::BTreeSet;

/// What becomes of a resource, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    Same,
    /// It is changed where it is.
    Modify,
    /// Another takes its place.
    Replace,
}

/// What takes a resource from one state to another.
pub fn decide(kind: &dyn ResourceType, old: &Wanted, new: &Wanted) -> Decision {
    let changed = changed_properties(old, new);
    if changed.is_empty() && !tags_change(kind, old, new) {
        return Decision::Same;
    }
    if changed.iter().any(|name| !kind.mutable().contains(&name.as_str())) || kind.replaces(old, new) {
        return Decision::Replace;
    }
    Decision::Modify
}

/// The properties that are not the same.
pub fn changed_properties(old: &Wanted, new: &Wanted) -> BTreeSet<String> {
    let names = old.properties.keys().chain(new.properties.keys());
    names
        .filter(|name| match (old.properties.get(*name), new.properties.get(*name)) {
            (Some(old), Some(new)) => !same(old, new),
            _ => true,
        })
        .cloned()
        .collect()
}

/// Whether other tags of the stack reach the resource.
pub fn tags_change(kind: &dyn ResourceType, old: &Wanted, new: &Wanted) -> bool {
    old.stack_tags != new.stack_tags && kind.mutable().contains(&"Tags")
}

/// Whether two values are the same; a number is the text that stands for it.
pub fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len() && left.iter().all(|(key, l)| right.get(key).is_some_and(|r| same(l, r)))
        }
        _ => left == right || text_of(left).is_some_and(|l| Some(l) == text_of(right)),
    }
}

/// What a type is asked for, with dynamic references as they are written.
pub fn unresolved(stack: &Stack, logical_id: &str, state: &ResourceState) -> Wanted {
    Wanted {
        logical_id: logical_id.to_owned(),
        stack_name: stack.name.clone(),
        stack_id: stack.id.clone(),
        properties: state.properties.clone(),
        stack_tags: state.stack_tags.clone(),
        physical_name: format!("{}-{logical_id}-{}", stack.name, state.suffix),
        suffix: state.suffix.clone(),
        update_policy: state.update_policy.clone(),
    }
}
