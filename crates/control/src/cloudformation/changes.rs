//! What an update would change, found out before it is carried out: for change sets, and to know
//! whether there is anything to do.

use super::carry::{Parsed, declared, evaluated};
use super::decide::{self, Decision};
use super::records::{Change, ChangeDetail, DeletionPolicy, ResourceState, ResourceStatus, Stack, StackResource};
use super::resource::{self, ResourceType, Wanted};
use super::template::{Evaluator, Lookup, graph};
use super::world::{World, evaluator, refused};
use crate::api::{Ctx, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What stands for a value that is known only when the change is carried out.
const UNKNOWN: &str = "{{changeSet:KNOWN_AFTER_APPLY}}";

/// The difference between a stack and what it is to be.
#[derive(Debug, Default)]
pub struct Changes {
    pub resources: Vec<Change>,
    /// Logical ids of the resources that go.
    pub removed: BTreeSet<String>,
    /// Outputs, tags or exports are not the same.
    pub others: bool,
}

impl Changes {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && !self.others
    }
}

/// How much of a resource's values is unknown.
enum Doubt {
    /// Another physical resource may take its place, or certainly does.
    Whole,
    /// These attributes follow from properties that change.
    Attributes(BTreeSet<String>),
}

/// Values as they are now, except for those that the changes make others.
struct Prospect<'a> {
    world: &'a World,
    doubts: &'a BTreeMap<String, Doubt>,
}

impl Lookup for Prospect<'_> {
    fn reference(&self, logical: &str) -> Option<Value> {
        match self.doubts.get(logical) {
            Some(Doubt::Whole) => Some(UNKNOWN.into()),
            _ => self.world.reference(logical),
        }
    }

    fn attribute(&self, logical: &str, name: &str) -> Option<Value> {
        match self.doubts.get(logical) {
            Some(Doubt::Whole) => Some(UNKNOWN.into()),
            Some(Doubt::Attributes(names)) if names.contains(name) => Some(UNKNOWN.into()),
            _ => self.world.attribute(logical, name),
        }
    }

    fn import(&self, name: &str) -> Option<String> {
        self.world.import(name)
    }
}

/// What takes `old` to `new`, which is the same stack with another revision.
pub fn between(ctx: &Ctx<'_>, old: &Stack, new: &Stack) -> Result<Changes> {
    let parsed = Parsed::new(&new.revision.template)?;
    let world = World::read(ctx, &old.id)?;
    let records: BTreeMap<String, StackResource> = ctx
        .tx
        .children::<StackResource>(&old.id)?
        .into_iter()
        .filter(|r| !matches!(r.status, ResourceStatus::DeleteComplete | ResourceStatus::DeleteSkipped))
        .map(|r| (r.logical_id.clone(), r))
        .collect();
    let mut changes = Changes::default();
    let mut doubts = BTreeMap::new();
    let mut included = BTreeSet::new();
    let mut retyped = Vec::new();
    for id in graph::creation_order(&parsed.needs) {
        let prospect = Prospect { world: &world, doubts: &doubts };
        let evaluator = evaluator(ctx, new, &parsed.template, &prospect)?;
        let declared = &parsed.template.resources[&id];
        if !evaluator.holds(declared.condition.as_deref()) {
            continue;
        }
        included.insert(id.clone());
        let Some(record) = records.get(&id) else {
            let after = evaluator.map(&declared.properties).ok();
            changes.resources.push(Change { after, ..Change::add(&id, &declared.type_name) });
            doubts.insert(id, Doubt::Whole);
            continue;
        };
        if record.type_name != declared.type_name {
            retyped.push(id);
            continue;
        }
        let Some(kind) = resource::find(&record.type_name) else { continue };
        let looked = Looked { old, new, parsed: &parsed, record, kind, doubts: &doubts };
        let (change, doubt) = looked.modified(&evaluator, &id)?;
        changes.resources.extend(change);
        if let Some(doubt) = doubt {
            doubts.insert(id, doubt);
        }
    }
    if !retyped.is_empty() {
        return Err(refused(format!(
            "Update of resource type is not permitted. The new template modifies resource type of the following resources: [{}]",
            retyped.join(", ")
        )));
    }
    for record in records.values().filter(|r| !included.contains(&r.logical_id)) {
        changes.removed.insert(record.logical_id.clone());
        changes.resources.push(removed(record));
    }
    changes.resources.sort_by(|a, b| a.logical_id.cmp(&b.logical_id));
    let secret = |stack: &Stack| stack.revision.parameters.values().any(|p| p.no_echo);
    if secret(old) || secret(new) {
        changes.resources.iter_mut().for_each(|change| (change.before, change.after) = (None, None));
    }
    changes.others = others(ctx, old, new, &parsed, &world)?;
    Ok(changes)
}

/// Whether outputs, or what hangs on the whole stack, are not the same.
fn others(ctx: &Ctx<'_>, old: &Stack, new: &Stack, parsed: &Parsed, world: &World) -> Result<bool> {
    let (before, after) = (&old.revision, &new.revision);
    if before.tags != after.tags || before.notification_arns != after.notification_arns {
        return Ok(true);
    }
    let evaluator = world.evaluator(ctx, new, &parsed.template)?;
    let mut seen = 0;
    for (key, output) in &parsed.template.outputs {
        if !evaluator.holds(output.condition.as_deref()) {
            continue;
        }
        seen += 1;
        let there = before.outputs.iter().find(|o| o.key == *key);
        let same = there.is_some_and(|there| {
            let export = output.export.as_ref().map(|name| evaluator.text(name, "").ok());
            evaluator.text(&output.value, "").ok().as_ref() == Some(&there.value)
                && there.description == output.description
                && export.is_none_or(|name| name == there.export)
                && output.export.is_some() == there.export.is_some()
        });
        if !same {
            return Ok(true);
        }
    }
    Ok(seen != before.outputs.len())
}

/// A resource that both have.
struct Looked<'a> {
    old: &'a Stack,
    new: &'a Stack,
    parsed: &'a Parsed,
    record: &'a StackResource,
    kind: &'static dyn ResourceType,
    doubts: &'a BTreeMap<String, Doubt>,
}

impl Looked<'_> {
    fn modified(&self, evaluator: &Evaluator<'_>, id: &str) -> Result<(Option<Change>, Option<Doubt>)> {
        let record = self.record;
        let mut state =
            evaluated(evaluator, self.new, self.parsed, id).or_else(|_| self.evaluated_singly(evaluator, id))?;
        super::carry::create::same_thing(&record.state, &mut state);
        let before = decide::unresolved(self.old, id, &record.state);
        let after = decide::unresolved(self.new, id, &state);
        let changed = decide::changed_properties(&before, &after);
        let mut details: Vec<ChangeDetail> = Vec::new();
        for name in &changed {
            details.extend(self.property(id, name, after.properties.get(name)));
        }
        let tags = decide::tags_change(self.kind, &before, &after);
        let mut scope = BTreeSet::new();
        if !changed.is_empty() {
            scope.insert("Properties");
        }
        if tags {
            scope.insert("Tags");
            details.push(plain("Tags"));
        }
        let (was, is) = (&record.state, &state);
        for (attribute, differs) in [
            ("Metadata", was.metadata != is.metadata),
            ("DeletionPolicy", was.deletion_policy != is.deletion_policy),
            ("UpdateReplacePolicy", was.replace_policy != is.replace_policy),
            ("CreationPolicy", was.creation_policy != is.creation_policy),
            ("UpdatePolicy", was.update_policy != is.update_policy),
        ] {
            if differs {
                scope.insert(attribute);
                details.push(plain(attribute));
            }
        }
        let again = matches!(record.status, ResourceStatus::UpdateFailed | ResourceStatus::CreateFailed);
        if scope.is_empty() && !again {
            return Ok((None, None));
        }
        let replacement = self.replacement(&before, &after, &changed, &details);
        let doubt = match replacement {
            "False" if changed.is_empty() => None,
            "False" => Some(Doubt::Attributes(changed.clone())),
            _ => Some(Doubt::Whole),
        };
        let policy_action = (replacement != "False").then(|| match record.state.replace_policy {
            DeletionPolicy::Delete => "ReplaceAndDelete".to_owned(),
            DeletionPolicy::Retain | DeletionPolicy::RetainExceptOnCreate => "ReplaceAndRetain".to_owned(),
        });
        let change = Change {
            action: "Modify".into(),
            logical_id: id.to_owned(),
            physical_id: record.state.physical_id.clone(),
            type_name: record.type_name.clone(),
            replacement: Some(replacement.to_owned()),
            policy_action,
            scope: scope.into_iter().map(str::to_owned).collect(),
            details,
            before: Some(before.properties),
            after: Some(after.properties),
        };
        Ok((Some(change), doubt))
    }

    /// Properties one by one: what a function makes of an unknown value is unknown.
    fn evaluated_singly(&self, evaluator: &Evaluator<'_>, id: &str) -> Result<ResourceState> {
        let old = &self.record.state;
        let mut state = ResourceState {
            stack_tags: self.new.revision.tags.clone(),
            update_policy: old.update_policy.clone(),
            creation_policy: old.creation_policy.clone(),
            ..declared(self.parsed, id)
        };
        for (name, value) in &self.parsed.template.resources[id].properties {
            match evaluator.value(value) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    state.properties.insert(name.clone(), value);
                }
                Err(_) => {
                    state.properties.insert(name.clone(), UNKNOWN.into());
                }
            }
        }
        Ok(state)
    }

    fn replacement(
        &self,
        before: &Wanted,
        after: &Wanted,
        changed: &BTreeSet<String>,
        details: &[ChangeDetail],
    ) -> &'static str {
        if self.record.status == ResourceStatus::CreateFailed {
            return "True";
        }
        let known = |name: &String| after.properties.get(name).is_none_or(|value| !doubtful(value));
        let always = |name: &&String| !self.kind.mutable().contains(&name.as_str());
        if changed.iter().filter(always).any(known) {
            return "True";
        }
        if changed.iter().all(known) && decide::decide(self.kind, before, after) == Decision::Replace {
            return "True";
        }
        let conditional = details.iter().any(|d| d.recreation != "Never");
        if conditional { "Conditional" } else { "False" }
    }

    /// Why a property changes.
    fn property(&self, id: &str, name: &str, value: Option<&Value>) -> Vec<ChangeDetail> {
        let recreation = if !self.kind.mutable().contains(&name) {
            "Always"
        } else if self.kind.conditional().contains(&name) {
            "Conditionally"
        } else {
            "Never"
        };
        let detail = |evaluation: &str, source: &str, cause: Option<String>| ChangeDetail {
            attribute: "Properties".into(),
            name: Some(name.to_owned()),
            recreation: recreation.into(),
            evaluation: evaluation.into(),
            source: source.into(),
            cause,
        };
        let written = self.parsed.template.resources[id].properties.get(name);
        let (names, attributes) = written.and_then(|v| graph::references(v).ok()).unwrap_or_default();
        let mut details = Vec::new();
        for parameter in &names {
            let (before, after) =
                (self.old.revision.parameters.get(parameter), self.new.revision.parameters.get(parameter));
            if after.is_some() && before.map(|p| &p.reference) != after.map(|p| &p.reference) {
                details.push(detail("Static", "ParameterReference", Some(parameter.clone())));
            }
        }
        if !details.is_empty() {
            details.push(detail("Dynamic", "DirectModification", None));
        }
        if value.is_some_and(doubtful) {
            for resource in names.iter().filter(|name| matches!(self.doubts.get(*name), Some(Doubt::Whole))) {
                details.push(detail("Dynamic", "ResourceReference", Some(resource.clone())));
            }
            for (resource, attribute) in attributes.iter().filter(|(resource, _)| self.doubts.contains_key(resource)) {
                details.push(detail("Dynamic", "ResourceAttribute", Some(format!("{resource}.{attribute}"))));
            }
        }
        if details.is_empty() {
            details.push(detail("Static", "DirectModification", None));
        }
        details
    }
}

fn removed(record: &StackResource) -> Change {
    let policy = match record.state.deletion_policy {
        DeletionPolicy::Delete => "Delete",
        DeletionPolicy::Retain | DeletionPolicy::RetainExceptOnCreate => "Retain",
    };
    Change {
        action: "Remove".into(),
        physical_id: record.state.physical_id.clone(),
        policy_action: Some(policy.into()),
        before: Some(record.state.properties.clone()),
        ..Change::add(&record.logical_id, &record.type_name)
    }
}

fn plain(attribute: &str) -> ChangeDetail {
    ChangeDetail {
        attribute: attribute.into(),
        name: None,
        recreation: "Never".into(),
        evaluation: "Static".into(),
        source: "DirectModification".into(),
        cause: None,
    }
}

fn doubtful(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(UNKNOWN),
        Value::Array(items) => items.iter().any(doubtful),
        Value::Object(map) => map.values().any(doubtful),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
