//! A resource type for tests, which can fail and take its time wherever it is told to.

use super::call::refused;
use super::{Made, Progress, ResourceType, Seen, Wanted};
use crate::api::{Ctx, Result};
use crate::store::Item;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `Test::Thing`.
pub struct Thing;

/// What exists of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Existing {
    pub id: String,
    pub properties: Map<String, Value>,
    pub tags: Vec<Value>,
}

impl Item for Existing {
    const KIND: &'static str = "test.thing";
    fn key(&self) -> String {
        self.id.clone()
    }
}

/// While it is there, things whose `Slow` is `yes` do not become ready.
#[derive(Clone, Serialize, Deserialize)]
pub struct Hold;

impl Item for Hold {
    const KIND: &'static str = "test.hold";
    fn key(&self) -> String {
        "hold".into()
    }
}

fn fails(properties: &Map<String, Value>, at: &str) -> Result<()> {
    match properties.get("Fail").and_then(Value::as_str) {
        Some(text) if text.split(' ').any(|word| word == at) => Err(refused(format!("told to fail at {at}"))),
        _ => Ok(()),
    }
}

impl ResourceType for Thing {
    fn name(&self) -> &'static str {
        "Test::Thing"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Fail", "Fixed", "Name", "Slow", "Tags", "Uses", "Value"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Value"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Fail", "Slow", "Tags", "Uses", "Value"]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("Name")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        fails(&wanted.properties, "create")?;
        let id = wanted.name("Name", 200);
        if ctx.tx.get::<Existing>(&id)?.is_some() {
            return Err(refused(format!("{id} exists already")));
        }
        ctx.tx.put(&Existing { id: id.clone(), properties: wanted.properties.clone(), tags: wanted.own_tags() })?;
        Ok(Made::new(id).with("Value", wanted.text("Value").unwrap_or_default()))
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        let Some(there) = ctx.tx.get::<Existing>(&made.physical_id)? else { return Ok(Progress::Done) };
        fails(&there.properties, "settle")?;
        let held = ctx.tx.get::<Hold>("hold")?.is_some() && there.properties.get("Slow").is_some_and(|s| s == "yes");
        Ok(if held { Progress::Waiting } else { Progress::Done })
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        fails(&new.properties, "update")?;
        if ctx.tx.get::<Hold>("hold")?.is_some() {
            fails(&old.properties, "back")?;
        }
        let there = ctx.tx.get::<Existing>(&made.physical_id)?;
        let mut there = there.ok_or_else(|| refused(format!("{} is not there", made.physical_id)))?;
        assert!(there.properties == old.properties && there.tags == old.own_tags(), "changed from what it is");
        there.properties.clone_from(&new.properties);
        there.tags = new.own_tags();
        ctx.tx.put(&there)?;
        Ok(Made::new(&made.physical_id).with("Value", new.text("Value").unwrap_or_default()))
    }

    fn read(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Seen> {
        Ok(match ctx.tx.get::<Existing>(&made.physical_id)? {
            None => Seen::Gone,
            Some(there) => {
                let read = there.properties.into_iter().filter(|(name, _)| properties.contains_key(name));
                Seen::Exists(read.collect())
            }
        })
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        fails(properties, "delete")?;
        ctx.tx.delete::<Existing>(&made.physical_id)?;
        Ok(Progress::Done)
    }
}
