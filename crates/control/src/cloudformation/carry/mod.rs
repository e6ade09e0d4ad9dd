//! The steps of a stack, each carried out inside one transaction.

pub mod change;
pub mod create;
pub mod delete;
pub mod finish;
pub mod restore;

use super::decide;
use super::plan::Target;
use super::records::{DeletionPolicy, Phase, ResourceState, ResourceStatus, Stack, StackResource, StackStatus};
use super::resource::call::REFUSED;
use super::resource::{self, Made, ResourceType, Wanted};
use super::template::{EvaluationError, Evaluator, Template, graph};
use super::world::refused;
use super::{dynamic, events};
use crate::api::{Ctx, Result};
use quarry_wire::ServiceError;

/// A template, read.
#[derive(Default)]
pub struct Parsed {
    pub text: String,
    pub template: Template,
    pub needs: graph::Dependencies,
}

impl Parsed {
    pub fn new(text: &str) -> Result<Self> {
        let template = Template::parse(text).map_err(|e| refused(e.0))?;
        let needs = graph::dependencies(&template).map_err(|e| refused(e.0))?;
        Ok(Self { text: text.to_owned(), template, needs })
    }
}

/// Records that a step about a resource failed; its own transaction was undone.
pub fn record_failure(
    ctx: &mut Ctx<'_>,
    stack: &Stack,
    parsed: &Parsed,
    target: &Target,
    error: &ServiceError,
) -> Result<()> {
    let reason = if error.code == REFUSED {
        error.message.clone()
    } else {
        format!(
            "Resource handler returned message: \"{} (Status Code: {})\" (HandlerErrorCode: {})",
            error.message, error.status, error.code
        )
    };
    let id = &target.logical_id;
    let found = ctx.tx.get::<StackResource>(&StackResource::key_of(&stack.id, id))?;
    let mut record = match found {
        Some(record) => record,
        None => {
            let mut record = fresh(ctx, stack, id, &parsed.template.resources[id].type_name);
            record.state = declared(parsed, id);
            events::note(ctx, stack, &record, None)?;
            record
        }
    };
    if let Some(physical) = &target.replaced {
        return delete::leftover_failed(ctx, stack, &mut record, physical, reason);
    }
    let creating = record.born || record.status == ResourceStatus::CreateInProgress;
    let status = match stack.status {
        StackStatus::CreateInProgress => ResourceStatus::CreateFailed,
        StackStatus::UpdateInProgress if creating => ResourceStatus::CreateFailed,
        StackStatus::UpdateInProgress | StackStatus::UpdateRollbackInProgress => {
            if record.status != ResourceStatus::UpdateInProgress {
                events::resource(ctx, stack, &mut record, ResourceStatus::UpdateInProgress, None)?;
            }
            ResourceStatus::UpdateFailed
        }
        _ => {
            if record.status != ResourceStatus::DeleteInProgress {
                events::resource(ctx, stack, &mut record, ResourceStatus::DeleteInProgress, None)?;
            }
            ResourceStatus::DeleteFailed
        }
    };
    record.phase = Some(Phase::Done);
    events::resource(ctx, stack, &mut record, status, Some(reason))
}

fn existing(ctx: &Ctx<'_>, stack: &Stack, id: &str) -> Result<StackResource> {
    let record = ctx.tx.get::<StackResource>(&StackResource::key_of(&stack.id, id))?;
    record.ok_or_else(|| ServiceError::new("InternalFailure", format!("{id} is not recorded"), 500))
}

fn kind_of(type_name: &str) -> Result<&'static dyn ResourceType> {
    resource::find(type_name).ok_or_else(|| refused(format!("Unrecognized resource type {type_name}")))
}

/// A resource's record as it is before its creation.
fn fresh(ctx: &Ctx<'_>, stack: &Stack, id: &str, type_name: &str) -> StackResource {
    let updates = stack.status == StackStatus::UpdateInProgress;
    StackResource {
        stack_id: stack.id.clone(),
        logical_id: id.to_owned(),
        type_name: type_name.to_owned(),
        status: ResourceStatus::CreateInProgress,
        status_reason: None,
        state: ResourceState::default(),
        before: None,
        phase: updates.then_some(Phase::Done),
        born: updates,
        doomed: false,
        leftovers: Vec::new(),
        awaited: None,
        signals: Default::default(),
        ongoing: Default::default(),
        drift: None,
        updated_ms: ctx.platform.now_ms(),
    }
}

/// What the template says about a resource, without values.
pub fn declared(parsed: &Parsed, id: &str) -> ResourceState {
    let resource = &parsed.template.resources[id];
    ResourceState {
        needs: parsed.needs[id].clone(),
        deletion_policy: DeletionPolicy::parse(resource.deletion_policy.as_deref()),
        replace_policy: DeletionPolicy::parse(resource.update_replace_policy.as_deref()),
        metadata: resource.metadata.clone(),
        ..ResourceState::default()
    }
}

/// What the template says about a resource, with its values; what exists of it is not in it.
pub fn evaluated(evaluator: &Evaluator<'_>, stack: &Stack, parsed: &Parsed, id: &str) -> Result<ResourceState> {
    let resource = &parsed.template.resources[id];
    let value = |policy: &Option<serde_json::Value>| -> Result<Option<serde_json::Value>> {
        Ok(policy.as_ref().map(|p| evaluator.value(p)).transpose().map_err(wrong)?.flatten())
    };
    Ok(ResourceState {
        properties: evaluator.map(&resource.properties).map_err(wrong)?,
        stack_tags: stack.revision.tags.clone(),
        update_policy: value(&resource.update_policy)?,
        creation_policy: value(&resource.creation_policy)?,
        metadata: value(&resource.metadata)?,
        ..declared(parsed, id)
    })
}

/// What a type is asked for: dynamic references have their values.
pub fn wanted(ctx: &mut Ctx<'_>, stack: &Stack, id: &str, type_name: &str, state: &ResourceState) -> Result<Wanted> {
    let mut wanted = decide::unresolved(stack, id, state);
    wanted.properties = dynamic::resolve(ctx, type_name, &state.properties)?;
    Ok(wanted)
}

pub fn made_of(state: &ResourceState) -> Made {
    Made {
        physical_id: state.physical_id.clone().unwrap_or_default(),
        reference: state.reference.clone(),
        attributes: state.attributes.clone(),
    }
}

fn take_over(state: &mut ResourceState, made: Made) {
    state.physical_id = Some(made.physical_id);
    state.reference = made.reference;
    state.attributes = made.attributes;
}

fn random_suffix(ctx: &Ctx<'_>) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ123456";
    let mut bytes = [0u8; 13];
    ctx.platform.door.entropy.fill(&mut bytes);
    bytes.iter().map(|b| ALPHABET[usize::from(b % 32)] as char).collect()
}

fn wrong(error: EvaluationError) -> ServiceError {
    refused_here(error.to_string())
}

/// A failure that CloudFormation itself found.
fn refused_here(message: impl Into<String>) -> ServiceError {
    ServiceError::new(REFUSED, message, 400)
}
