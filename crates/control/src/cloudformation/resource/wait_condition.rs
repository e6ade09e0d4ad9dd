//! Wait conditions and their handles.

use super::call::refused;
use super::{Made, Progress, ResourceType, Wanted};
use crate::api::{Ctx, Result};
use crate::cloudformation::records::{ResourceStatus, StackResource};
use crate::cloudformation::template::text_of;
use crate::cloudformation::wait::{self, Signals};
use serde_json::{Map, Value};
use std::time::Duration;

/// `AWS::CloudFormation::WaitCondition`.
pub struct WaitCondition;

/// `AWS::CloudFormation::WaitConditionHandle`.
pub struct WaitConditionHandle;

/// Longest Timeout, in seconds.
const LONGEST: u64 = 43_200;

/// What a condition waits for.
struct Awaited {
    /// The handle's URL.
    handle: String,
    count: usize,
    timeout: Duration,
}

impl ResourceType for WaitCondition {
    fn name(&self) -> &'static str {
        "AWS::CloudFormation::WaitCondition"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Count", "Handle", "Timeout"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Data"]
    }

    /// Not to be changed, nor replaced: AWS's documentation, "Updates are not supported".
    fn mutable(&self) -> &'static [&'static str] {
        self.properties()
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let awaited = awaited(&wanted.properties)?;
        let Some(awaited) = awaited else {
            // It waits for the signals of its CreationPolicy.
            return Ok(Made::new(format!("{}/{}", wanted.stack_id, wanted.logical_id)));
        };
        let (stack_id, handle) =
            wait::parts(&awaited.handle).ok_or_else(|| refused("Handle must be a wait condition handle's URL"))?;
        let record = ctx.tx.get::<StackResource>(&StackResource::key_of(&stack_id, &handle))?;
        if record.is_none_or(|record| record.state.physical_id.as_ref() != Some(&awaited.handle)) {
            return Err(refused("Handle must be the URL of a wait condition handle that exists"));
        }
        Ok(Made::new(format!("{stack_id}/{handle}")))
    }

    fn settle(
        &self,
        ctx: &mut Ctx<'_>,
        made: &mut Made,
        properties: &Map<String, Value>,
        waited: Duration,
    ) -> Result<Progress> {
        let awaited = awaited(properties)?;
        let signals = awaited.as_ref().map(|awaited| wait::signals(ctx.tx, &awaited.handle)).transpose()?;
        let signals = signals.unwrap_or_default();
        if let Some(awaited) = awaited
            && progress(&awaited, &signals)? == Progress::Waiting
        {
            if waited < awaited.timeout {
                return Ok(Progress::Waiting);
            }
            return Err(refused(format!(
                "WaitCondition timed out. Received {} conditions when expecting {}",
                signals.succeeded.len(),
                awaited.count
            )));
        }
        let data: Map<String, Value> = signals.succeeded.into_iter().map(|(id, data)| (id, data.into())).collect();
        made.attributes.insert("Data".into(), Value::Object(data).to_string().into());
        Ok(Progress::Done)
    }

    fn update(&self, _ctx: &mut Ctx<'_>, _made: &Made, _old: &Wanted, _new: &Wanted) -> Result<Made> {
        Err(refused("Update to resource type AWS::CloudFormation::WaitCondition is not supported."))
    }

    fn updated(
        &self,
        _ctx: &mut Ctx<'_>,
        _made: &Made,
        _new: &Wanted,
        _ongoing: &mut super::Ongoing<'_>,
    ) -> Result<Progress> {
        Ok(Progress::Done)
    }

    fn delete(&self, _ctx: &mut Ctx<'_>, _made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        Ok(Progress::Done)
    }
}

impl ResourceType for WaitConditionHandle {
    fn name(&self) -> &'static str {
        "AWS::CloudFormation::WaitConditionHandle"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Id"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let id = format!("{}/{}", wanted.stack_id, wanted.logical_id);
        Ok(Made::new(wait::url(ctx, &wanted.stack_id, &wanted.logical_id)).with("Id", id))
    }

    fn delete(&self, _ctx: &mut Ctx<'_>, _made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        Ok(Progress::Done)
    }
}

/// For how long a look at this resource would change nothing, since it began to wait: a condition without all its
/// signals.
pub fn quiet_for(record: &StackResource, others: &[StackResource]) -> Option<Duration> {
    if record.type_name != WaitCondition.name() || record.status != ResourceStatus::CreateInProgress {
        return None;
    }
    let awaited = awaited(&record.state.properties).ok()??;
    let handle = others.iter().find(|other| other.state.physical_id.as_ref() == Some(&awaited.handle))?;
    let progress = progress(&awaited, &wait::of_record(handle)).ok()?;
    (progress == Progress::Waiting).then_some(awaited.timeout)
}

fn progress(awaited: &Awaited, signals: &Signals) -> Result<Progress> {
    if let Some((id, reason)) = signals.failed.first_key_value() {
        return Err(refused(format!("WaitCondition received failed message: '{reason}' for uniqueId: {id}")));
    }
    if signals.unparsable {
        return Err(refused("Unparsable WaitCondition data"));
    }
    Ok(if signals.succeeded.len() >= awaited.count { Progress::Done } else { Progress::Waiting })
}

/// What the properties say; `None` without a handle.
fn awaited(properties: &Map<String, Value>) -> Result<Option<Awaited>> {
    let text = |name: &str| properties.get(name).and_then(text_of);
    let Some(handle) = text("Handle") else { return Ok(None) };
    let number = |name: &str| -> Result<Option<u64>> {
        let Some(text) = text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| refused(format!("Value of property {name} must be of type Integer")))
    };
    let timeout = number("Timeout")?.ok_or_else(|| refused("Property Timeout cannot be empty."))?;
    if timeout > LONGEST {
        return Err(refused(format!("Timeout must be between 0 and {LONGEST} seconds")));
    }
    let count = number("Count")?.unwrap_or(1) as usize;
    Ok(Some(Awaited { handle, count, timeout: Duration::from_secs(timeout) }))
}
