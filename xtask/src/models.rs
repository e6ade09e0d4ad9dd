//! Extracts the shapes of the operations we serve from botocore's models,
//! without their documentation text.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::operations;

/// Enumerations with more values are kept as free text.
const MAX_ENUM: usize = 128;

const METADATA: &[&str] = &[
    "apiVersion",
    "awsQueryCompatible",
    "endpointPrefix",
    "globalEndpoint",
    "jsonVersion",
    "protocol",
    "protocols",
    "serviceFullName",
    "serviceId",
    "signatureVersion",
    "signingName",
    "targetPrefix",
    "xmlNamespace",
];
const OPERATION: &[&str] = &["endpoint", "http", "idempotent", "name"];
const SHAPE: &[&str] = &[
    "box",
    "document",
    "enum",
    "error",
    "event",
    "eventstream",
    "exception",
    "fault",
    "flattened",
    "locationName",
    "max",
    "min",
    "pattern",
    "payload",
    "required",
    "sensitive",
    "timestampFormat",
    "type",
    "union",
];
const REFERENCE: &[&str] = &[
    "box",
    "flattened",
    "hostLabel",
    "idempotencyToken",
    "location",
    "locationName",
    "queryName",
    "sensitive",
    "shape",
    "streaming",
    "timestampFormat",
];

/// Writes `models/<service>.json` for each service of `models/operations.toml`.
pub fn extract(root: &Path, botocore: &Path) -> Result<()> {
    for (service, names) in operations::read(root)? {
        let model = service_model(botocore, &service, &names).with_context(|| service.clone())?;
        let mut text = serde_json::to_string_pretty(&model)?;
        text.push('\n');
        let path = root.join(format!("models/{service}.json"));
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("{service}: {} operations, {} shapes", names.len(), object(&model["shapes"]).len());
    }
    Ok(())
}

fn service_model(botocore: &Path, service: &str, names: &[String]) -> Result<Value> {
    let data = if botocore.join("data").is_dir() { botocore.join("data") } else { botocore.to_path_buf() };
    let versions = fs::read_dir(data.join(service)).with_context(|| format!("no models of {service}"))?;
    let mut versions: Vec<_> = versions.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_dir()).collect();
    versions.sort();
    let newest = versions.last().context("no version")?;
    let full = read_json(&newest.join("service-2.json"))?;
    let pages = read_json(&newest.join("paginators-1.json"))?;

    let mut operations = Map::new();
    let mut paginators = Map::new();
    let mut wanted = Vec::new();
    for name in names {
        let operation = object(&full["operations"]).get(name);
        let operation = operation.with_context(|| format!("no operation {name}"))?;
        let mut kept = pick(operation, OPERATION);
        for side in ["input", "output"] {
            if let Some(shape) = operation[side]["shape"].as_str() {
                wanted.push(shape.to_owned());
                kept.insert(side.to_owned(), Value::Object(pick(&operation[side], &["shape", "resultWrapper"])));
            }
        }
        let errors: Vec<&str> =
            operation["errors"].as_array().into_iter().flatten().filter_map(|e| e["shape"].as_str()).collect();
        wanted.extend(errors.iter().map(|e| (*e).to_owned()));
        if !errors.is_empty() {
            kept.insert("errors".to_owned(), json!(errors));
        }
        operations.insert(name.clone(), Value::Object(kept));
        if let Some(page) = object(&pages["pagination"]).get(name) {
            let keys = ["input_token", "limit_key", "more_results", "output_token", "result_key"];
            paginators.insert(name.clone(), Value::Object(pick(page, &keys)));
        }
    }
    Ok(json!({
        "allOperations": object(&full["operations"]).keys().collect::<Vec<_>>(),
        "metadata": pick(&full["metadata"], METADATA),
        "operations": operations,
        "paginators": paginators,
        "shapes": reachable(object(&full["shapes"]), wanted)?,
    }))
}

fn reachable(shapes: &Map<String, Value>, mut wanted: Vec<String>) -> Result<Map<String, Value>> {
    let mut seen = BTreeSet::new();
    let mut out = Map::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let Some(shape) = shapes.get(&name) else { bail!("no shape {name}") };
        let mut kept = pick(shape, SHAPE);
        if shape["enum"].as_array().is_some_and(|values| values.len() > MAX_ENUM) {
            kept.remove("enum");
        }
        let mut reference = |reference: &Value| {
            wanted.extend(reference["shape"].as_str().map(str::to_owned));
            Value::Object(pick(reference, REFERENCE))
        };
        for part in ["member", "key", "value"] {
            if shape[part].is_object() {
                kept.insert(part.to_owned(), reference(&shape[part]));
            }
        }
        if shape["members"].is_object() {
            let members = object(&shape["members"]).iter().map(|(n, m)| (n.clone(), reference(m))).collect();
            kept.insert("members".to_owned(), Value::Object(members));
        }
        out.insert(name, Value::Object(kept));
    }
    Ok(out)
}

fn pick(from: &Value, keys: &[&str]) -> Map<String, Value> {
    let keys = keys.iter().filter_map(|k| Some(((*k).to_owned(), from.get(k)?.clone())));
    keys.collect()
}

/// The object, or an empty one.
pub fn object(value: &Value) -> &Map<String, Value> {
    static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    value.as_object().unwrap_or(&EMPTY)
}

/// Reads `path`, or `path` with `.gz`.
fn read_json(path: &Path) -> Result<Value> {
    let zipped = path.with_extension("json.gz");
    let text = if path.exists() {
        fs::read_to_string(path)?
    } else {
        let file = fs::File::open(&zipped).with_context(|| zipped.display().to_string())?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text)?;
        text
    };
    Ok(serde_json::from_str(&text)?)
}
