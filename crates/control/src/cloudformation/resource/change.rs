//! What an update changes of a resource, and what is shared in carrying it out.

use super::call::{call, refused};
use super::{Made, Wanted};
use crate::api::{Ctx, Result};
use quarry_aws::ec2;
use quarry_wire::Operation;
use serde_json::{Map, Value, json};

/// A resource before and after an update in place.
pub struct Change<'a> {
    pub made: &'a Made,
    pub old: &'a Wanted,
    pub new: &'a Wanted,
}

/// Tags to be set and keys to be taken away.
#[derive(Debug, Default, PartialEq)]
pub struct TagChange {
    /// Each with `Key` and `Value`.
    pub set: Vec<Value>,
    pub gone: Vec<String>,
}

impl Change<'_> {
    /// Whether a property is another one than before.
    pub fn differs(&self, name: &str) -> bool {
        self.new.differs(self.old, name)
    }

    /// Whether any of these is.
    pub fn any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.differs(name))
    }

    /// A property's new value if it changed: the given default if it was taken away.
    pub fn value(&self, name: &str, default: impl Into<Value>) -> Option<Value> {
        self.differs(name).then(|| self.new.properties.get(name).cloned().unwrap_or_else(|| default.into()))
    }

    /// Like [`value`](Self::value), of a property that cannot be taken away once it is set.
    pub fn kept(&self, name: &str) -> Result<Option<Value>> {
        if !self.differs(name) {
            return Ok(None);
        }
        let value = self.new.properties.get(name).cloned();
        value.map(Some).ok_or_else(|| refused(format!("Property {name} cannot be removed from a resource that has it")))
    }

    /// The changed ones of several properties, with what becomes of each that was taken away.
    pub fn values(&self, names: &[(&str, Value)]) -> Map<String, Value> {
        let changed = names.iter().filter_map(|(n, default)| Some(((*n).to_owned(), self.value(n, default.clone())?)));
        changed.collect()
    }

    /// Attributes that are lists of `Key` and `Value`: those that changed, with the defaults of those
    /// that were taken away. Without a default, such a one cannot be taken away.
    pub fn attributes(&self, property: &str, defaults: &[(&str, &str)]) -> Result<Vec<Value>> {
        let list = |properties: &Map<String, Value>| {
            properties.get(property).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let (old, new) = (list(&self.old.properties), list(&self.new.properties));
        let mut changed: Vec<Value> = new.iter().filter(|attribute| !old.contains(attribute)).cloned().collect();
        for attribute in &old {
            if new.iter().all(|other| other["Key"] != attribute["Key"]) {
                let key = attribute["Key"].as_str().unwrap_or_default();
                let default = defaults.iter().find(|(name, _)| *name == key);
                let (_, value) =
                    default.ok_or_else(|| refused(format!("Attribute {key} of {property} cannot be removed")))?;
                changed.push(json!({"Key": key, "Value": value}));
            }
        }
        Ok(changed)
    }

    /// What of a list of plain values came, and what went.
    pub fn list(&self, property: &str) -> (Vec<Value>, Vec<Value>) {
        let list = |properties: &Map<String, Value>| {
            properties.get(property).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let (old, new) = (list(&self.old.properties), list(&self.new.properties));
        let came = new.iter().filter(|item| !old.contains(item)).cloned().collect();
        let went = old.iter().filter(|item| !new.contains(item)).cloned().collect();
        (came, went)
    }

    /// The tags of the resource and of the stack that changed. `None` when nothing did.
    pub fn tags(&self) -> Option<TagChange> {
        let (set, gone) = self.new.tag_changes(self.old);
        (!set.is_empty() || !gone.is_empty()).then_some(TagChange { set, gone })
    }
}

impl TagChange {
    /// The tags to be set as a map.
    pub fn map(&self) -> Value {
        let pairs = self.set.iter().filter_map(|tag| Some((tag["Key"].as_str()?.to_owned(), tag["Value"].clone())));
        Value::Object(pairs.collect())
    }
}

/// A resource's tags without CloudFormation's own: those of the property `Tags`, and those of the stack
/// that it does not name itself.
pub fn own_tags(properties: &Map<String, Value>, stack: &[(String, String)]) -> Vec<Value> {
    let mut tags: Vec<Value> = match properties.get("Tags") {
        Some(Value::Array(tags)) => tags.clone(),
        Some(Value::Object(tags)) => tags.iter().map(|(k, v)| json!({"Key": k, "Value": v})).collect(),
        _ => Vec::new(),
    };
    for (key, value) in stack {
        if tags.iter().all(|tag| tag["Key"] != key.as_str()) {
            tags.push(json!({"Key": key, "Value": value}));
        }
    }
    tags
}

/// Tags a resource anew by the service's two operations, which know it by the members of `target`.
pub fn retag<Set: Operation, Remove: Operation>(ctx: &mut Ctx<'_>, change: &Change<'_>, target: &Value) -> Result<()> {
    let Some(tags) = change.tags() else { return Ok(()) };
    let with = |member: &str, value: Value| {
        let mut input = target.clone();
        input[member] = value;
        input
    };
    if !tags.gone.is_empty() {
        call::<Remove>(ctx, with("TagKeys", tags.gone.into()))?;
    }
    if !tags.set.is_empty() {
        call::<Set>(ctx, with("Tags", tags.set.into()))?;
    }
    Ok(())
}

/// Tags an EC2 resource anew.
pub fn retag_ec2(ctx: &mut Ctx<'_>, change: &Change<'_>, id: &str) -> Result<()> {
    let Some(tags) = change.tags() else { return Ok(()) };
    if !tags.gone.is_empty() {
        let gone: Vec<Value> = tags.gone.iter().map(|key| json!({"Key": key})).collect();
        call::<ec2::op::DeleteTags>(ctx, json!({"Resources": [id], "Tags": gone}))?;
    }
    if !tags.set.is_empty() {
        call::<ec2::op::CreateTags>(ctx, json!({"Resources": [id], "Tags": tags.set}))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(properties: Value, stack_tags: &[(&str, &str)]) -> Wanted {
        Wanted {
            logical_id: "It".into(),
            stack_name: "s".into(),
            stack_id: "arn".into(),
            properties: properties.as_object().unwrap().clone(),
            stack_tags: stack_tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            physical_name: "s-It-X".into(),
            suffix: "X".into(),
            update_policy: None,
        }
    }

    fn with<T>(old: Value, new: Value, f: impl FnOnce(&Change<'_>) -> T) -> T {
        let (old, new) = (wanted(old, &[("team", "a"), ("cost", "1")]), wanted(new, &[("team", "a")]));
        f(&Change { made: &Made::new("id"), old: &old, new: &new })
    }

    #[test]
    fn tags_come_change_and_go() {
        let old = json!({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}]});
        let new = json!({"Tags": [{"Key": "a", "Value": "2"}, {"Key": "team", "Value": "b"}]});
        let tags = with(old, new, |change| change.tags()).unwrap();
        assert_eq!(tags.set, [json!({"Key": "a", "Value": "2"}), json!({"Key": "team", "Value": "b"})]);
        assert_eq!(tags.gone, ["b", "cost"]);
        assert_eq!(tags.map(), json!({"a": "2", "team": "b"}));
    }

    #[test]
    fn what_is_taken_away_gets_its_default() {
        let old = json!({"Path": "/x", "Port": 1, "A": [{"Key": "x", "Value": "1"}, {"Key": "y", "Value": "1"}]});
        let new = json!({"Port": 1, "A": [{"Key": "y", "Value": "2"}]});
        with(old, new, |change| {
            assert_eq!(change.value("Path", "/"), Some("/".into()));
            assert_eq!(change.value("Port", 80), None);
            let defaults = [("x", "0")];
            let expected = [json!({"Key": "y", "Value": "2"}), json!({"Key": "x", "Value": "0"})];
            assert_eq!(change.attributes("A", &defaults).unwrap(), expected);
            assert!(change.attributes("A", &[]).is_err());
            assert_eq!(
                change.kept("Path").unwrap_err().message,
                "Property Path cannot be removed from a resource that has it"
            );
        });
    }
}
