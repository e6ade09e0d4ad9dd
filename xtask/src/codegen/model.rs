//! A service's model with the names its shapes get in Rust.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::names;
use crate::models::object;

/// A service, ready to be emitted.
pub struct Service {
    pub id: String,
    pub metadata: Value,
    pub operations: Map<String, Value>,
    /// The names of all operations that AWS's model has.
    pub all: Vec<String>,
    pub paginators: Map<String, Value>,
    pub shapes: Map<String, Value>,
    /// The name of each shape's static table.
    pub tables: BTreeMap<String, String>,
    /// Shapes that a member, a list or a map refers to.
    pub referenced: BTreeSet<String>,
    /// Shapes that become structs: structures that are not errors.
    pub structs: BTreeSet<String>,
    /// Structures that hold themselves without a list or map between.
    pub boxed: BTreeSet<String>,
}

/// Names that a struct must not shadow in the generated modules.
const TAKEN: &[&str] =
    &["Option", "String", "Vec", "Box", "BTreeMap", "Blob", "Document", "Timestamp", "Schema", "Type", "Member"];

impl Service {
    pub fn new(id: &str, model: Value) -> Result<Self> {
        let shapes = object(&model["shapes"]).clone();
        let operations = object(&model["operations"]).clone();
        let mut structs = BTreeSet::new();
        let mut pending: Vec<String> = operations
            .values()
            .flat_map(|o| [&o["input"]["shape"], &o["output"]["shape"]])
            .filter_map(|s| s.as_str().map(str::to_owned))
            .collect();
        let mut reached = BTreeSet::new();
        let mut referenced = BTreeSet::new();
        while let Some(name) = pending.pop() {
            if !reached.insert(name.clone()) {
                continue;
            }
            let shape = shapes.get(&name).with_context(|| format!("no shape {name}"))?;
            if shape["type"] == "structure" && shape["document"] != true {
                if TAKEN.contains(&names::type_name(&name).as_str()) {
                    bail!("the structure {name} shadows a name of Rust");
                }
                structs.insert(name.clone());
            }
            let parts = ["member", "key", "value"].map(|part| &shape[part]);
            let parts = parts.into_iter().chain(object(&shape["members"]).values());
            for target in parts.filter_map(|r| r["shape"].as_str()) {
                referenced.insert(target.to_owned());
                pending.push(target.to_owned());
            }
        }
        let mut tables = BTreeMap::new();
        let mut used = BTreeSet::new();
        for name in &reached {
            let base = names::constant(name);
            let mut table = base.clone();
            for i in 2.. {
                if used.insert(table.clone()) {
                    break;
                }
                table = format!("{base}_{i}");
            }
            tables.insert(name.clone(), table);
        }
        let boxed = structs.iter().filter(|s| holds(&shapes, s, s, &mut BTreeSet::new())).cloned().collect();
        Ok(Service {
            id: id.to_owned(),
            metadata: model["metadata"].clone(),
            operations,
            all: model["allOperations"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            paginators: object(&model["paginators"]).clone(),
            shapes,
            tables,
            referenced,
            structs,
            boxed,
        })
    }

    pub fn meta(&self, key: &str) -> &str {
        self.metadata[key].as_str().unwrap_or_default()
    }

    pub fn is_json(&self) -> bool {
        let protocols = self.metadata["protocols"].as_array();
        protocols.is_some_and(|protocols| protocols.iter().any(|protocol| protocol == "json"))
    }

    /// Each operation has a path of its own.
    pub fn is_rest(&self) -> bool {
        self.meta("protocol") == "rest-json"
    }

    pub fn shape(&self, name: &str) -> &Value {
        self.shapes.get(name).unwrap_or(&Value::Null)
    }
}

/// Whether a value of `from` can directly contain a value of `target`.
fn holds(shapes: &Map<String, Value>, from: &str, target: &str, seen: &mut BTreeSet<String>) -> bool {
    let Some(shape) = shapes.get(from) else { return false };
    object(&shape["members"]).values().filter_map(|m| m["shape"].as_str()).any(|next| {
        shapes.get(next).is_some_and(|s| s["type"] == "structure")
            && (next == target || (seen.insert(next.to_owned()) && holds(shapes, next, target, seen)))
    })
}
