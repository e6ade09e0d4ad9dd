//! Drift: what is stored of a stack's resources against what exists.

use super::carry;
use super::records::{ResourceDrift, ResourceStatus, Stack, StackResource, StackStatus};
use super::resource::{self, Seen};
use super::world::refused;
use super::{decide, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation as shape;
use quarry_wire::Timestamp;
use serde_json::{Map, Value};

/// Refuses a stack that is on its way.
pub fn check_state(stack: &Stack) -> Result<()> {
    match stack.status {
        StackStatus::CreateComplete
        | StackStatus::UpdateComplete
        | StackStatus::UpdateRollbackComplete
        | StackStatus::UpdateRollbackFailed => Ok(()),
        other => Err(refused(format!(
            "Drift detection cannot be performed on stack [{}] while it is in {} state.",
            stack.id,
            other.as_str()
        ))),
    }
}

/// Looks at a resource, and records what was found.
pub fn detect(ctx: &mut Ctx<'_>, stack: &Stack, record: &mut StackResource) -> Result<()> {
    let mut drift = ResourceDrift {
        status: "NOT_CHECKED".into(),
        expected: Map::new(),
        actual: None,
        differences: Vec::new(),
        at_ms: ctx.platform.now_ms(),
    };
    let made = !matches!(record.status, ResourceStatus::CreateFailed | ResourceStatus::DeleteComplete);
    if let Some(kind) = resource::find(&record.type_name).filter(|_| made && record.state.physical_id.is_some()) {
        let wanted = carry::wanted(ctx, stack, &record.logical_id, &record.type_name, &record.state)?;
        drift.expected.clone_from(&record.state.properties);
        match kind.read(ctx, &carry::made_of(&record.state), &wanted.properties)? {
            Seen::Unreadable => drift.expected.clear(),
            Seen::Gone => drift.status = "DELETED".into(),
            Seen::Exists(mut actual) => {
                // What the template leaves to the service is no drift, whatever it is.
                actual.retain(|name, _| wanted.properties.contains_key(name));
                if let (Some(should), Some(is)) = (wanted.properties.get("Tags"), actual.get_mut("Tags")) {
                    own_tags(should, is, &record.state.stack_tags);
                }
                for (name, is) in &actual {
                    compare(&format!("/{name}"), wanted.properties.get(name), Some(is), &mut drift.differences);
                }
                // A secret that a dynamic reference stands for is not shown.
                let shown = actual.into_iter().map(|(name, is)| match wanted.properties.get(&name) {
                    Some(should) if decide::same(should, &is) => {
                        let kept = record.state.properties.get(&name).cloned();
                        (name, kept.unwrap_or(is))
                    }
                    _ => (name, is),
                });
                drift.actual = Some(shown.collect());
                drift.expected.retain(|name, _| drift.actual.as_ref().is_some_and(|actual| actual.contains_key(name)));
                drift.status = if drift.differences.is_empty() { "IN_SYNC" } else { "MODIFIED" }.into();
            }
        }
    }
    record.drift = Some(drift);
    Ok(ctx.tx.put(record)?)
}

/// Whether what was found is a drift.
pub fn is_drifted(record: &StackResource) -> bool {
    record.drift.as_ref().is_some_and(|drift| drift.status == "MODIFIED" || drift.status == "DELETED")
}

/// Takes the tags away that the stack gave, and puts the others into the template's order.
fn own_tags(should: &Value, is: &mut Value, stack_tags: &[(String, String)]) {
    let given = |key: &str| key.starts_with("aws:") || stack_tags.iter().any(|(tag, _)| tag == key);
    match (should, is) {
        (Value::Array(should), Value::Array(is)) => {
            let place = |tag: &Value| should.iter().position(|s| s["Key"] == tag["Key"]);
            is.retain(|tag| place(tag).is_some() || !tag["Key"].as_str().is_some_and(given));
            is.sort_by_key(|tag| place(tag).unwrap_or(should.len()));
        }
        (Value::Object(should), Value::Object(is)) => is.retain(|key, _| should.contains_key(key) || !given(key)),
        _ => {}
    }
}

type Differences = Vec<(String, Option<Value>, Option<Value>)>;

fn compare(path: &str, should: Option<&Value>, is: Option<&Value>, found: &mut Differences) {
    match (should, is) {
        (Some(Value::Object(should)), Some(Value::Object(is))) => {
            let more = is.keys().filter(|key| !should.contains_key(*key));
            for key in should.keys().chain(more) {
                compare(&format!("{path}/{key}"), should.get(key), is.get(key), found);
            }
        }
        (Some(Value::Array(should)), Some(Value::Array(is))) if should.len() == is.len() => {
            for (i, (should, is)) in should.iter().zip(is).enumerate() {
                compare(&format!("{path}/{i}"), Some(should), Some(is), found);
            }
        }
        (Some(should), Some(is)) if decide::same(should, is) => {}
        (None, None) => {}
        _ => found.push((path.to_owned(), should.cloned(), is.cloned())),
    }
}

/// A text without the values of the parameters that are not to be shown.
fn masked(stack: &Stack, text: String) -> String {
    let secret = stack.revision.parameters.values().filter(|p| p.no_echo && !p.value.is_empty());
    secret.fold(text, |text, parameter| text.replace(&parameter.value, "****"))
}

/// A resource's drift as the API shows it.
pub fn shown(stack: &Stack, record: &StackResource) -> Option<shape::StackResourceDrift> {
    let drift = record.drift.as_ref()?;
    let json = |map: &Map<String, Value>| masked(stack, serde_json::to_string(map).unwrap_or_default());
    let text = |value: &Option<Value>| {
        let text = value.as_ref().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        text.map(|text| masked(stack, text))
    };
    let difference = |(path, should, is): &(String, Option<Value>, Option<Value>)| shape::PropertyDifference {
        property_path: Some(path.clone()),
        expected_value: text(should).or(Some("null".into())),
        actual_value: text(is).or(Some("null".into())),
        difference_type: Some(match (should, is) {
            (None, _) => "ADD".into(),
            (_, None) => "REMOVE".into(),
            _ => "NOT_EQUAL".into(),
        }),
    };
    Some(shape::StackResourceDrift {
        stack_id: Some(stack.id.clone()),
        logical_resource_id: Some(record.logical_id.clone()),
        physical_resource_id: record.state.physical_id.clone(),
        resource_type: Some(record.type_name.clone()),
        expected_properties: Some(json(&drift.expected)),
        actual_properties: drift.actual.as_ref().map(json),
        property_differences: Some(drift.differences.iter().map(difference).collect()),
        stack_resource_drift_status: Some(show::resource_drift(record).to_owned()),
        timestamp: Some(Timestamp::from_millis(drift.at_ms)),
        ..Default::default()
    })
}
