//! CreateChangeSet: of type CREATE it makes a stack in REVIEW_IN_PROGRESS; of type UPDATE it finds out
//! whether anything would change.

use super::records::{ChangeSet, ChangeSetStatus, OnFailure, Stack, StackStatus};
use super::world::{World, refused};
use super::{events, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{CreateChangeSetInput, CreateChangeSetOutput, error};

const NO_CHANGES: &str =
    "The submitted information didn't contain changes. Submit different information to create a change set.";

pub fn handle(ctx: &mut Ctx<'_>, input: CreateChangeSetInput) -> Result<CreateChangeSetOutput> {
    let name = intake::check_name(input.change_set_name, "changeSetName")?;
    let stack_name = input.stack_name.unwrap_or_default();
    let old = intake::find(ctx, &stack_name)?.filter(|stack| stack.deleted_ms.is_none());
    let creates = match input.change_set_type.as_deref() {
        Some("CREATE") => true,
        None | Some("UPDATE") => false,
        Some(other) => return Err(refused(format!("Change sets of type {other} are not supported"))),
    };
    let text = if input.use_previous_template == Some(true) {
        old.as_ref().map(|s| s.template.clone()).ok_or_else(|| intake::missing(&stack_name))?
    } else {
        intake::template_text(input.template_body, input.template_url)?
    };
    let template = intake::parse(&text)?;
    let capabilities = input.capabilities.unwrap_or_default();
    let previous = old.as_ref().map(|s| &s.parameters);
    let parameters = intake::parameters(ctx, &template, input.parameters, previous)?;
    intake::check_capabilities(&template, &capabilities)?;
    let tags = intake::tags(input.tags)?;
    let place = ctx.platform.place();
    let id = place.arn("cloudformation", format!("changeSet/{name}/{}", ctx.platform.door.uuid()));
    let mut stack = match (creates, old) {
        (true, None) => {
            let stack_name = intake::check_name(Some(stack_name), "stackName")?;
            Stack {
                id: place.arn("cloudformation", format!("stack/{stack_name}/{}", ctx.platform.door.uuid())),
                name: stack_name,
                status: StackStatus::ReviewInProgress,
                status_reason: None,
                description: template.description.clone(),
                template: text.clone(),
                parameters: Default::default(),
                capabilities: Vec::new(),
                tags: Vec::new(),
                on_failure: OnFailure::Rollback,
                timeout_minutes: None,
                role_arn: input.role_arn,
                notification_arns: input.notification_arns.unwrap_or_default(),
                termination_protection: false,
                created_ms: ctx.platform.now_ms(),
                deleted_ms: None,
                outputs: Vec::new(),
                imports: Default::default(),
                token: None,
                change_set_id: Some(id.clone()),
                retained: Default::default(),
            }
        }
        (true, Some(stack)) if stack.status == StackStatus::ReviewInProgress => stack,
        (true, Some(stack)) => {
            return Err(refused(format!(
                "Stack [{}] already exists and cannot be created again with the changeSet [{name}].",
                stack.name
            )));
        }
        (false, None) => return Err(refused(format!("Stack [{stack_name}] does not exist"))),
        (false, Some(stack)) if stack.status == StackStatus::CreateComplete => stack,
        (false, Some(stack)) => {
            return Err(refused(format!(
                "Stack:{} is in {} state and can not be updated.",
                stack.id,
                stack.status.as_str()
            )));
        }
    };
    if ctx.tx.children::<ChangeSet>(&stack.id)?.iter().any(|set| set.name == name) {
        return Err(error::already_exists_exception(format!(
            "ChangeSet {name} cannot be created due to a mismatch with existing attribute Name"
        )));
    }
    let (status, status_reason) = if creates {
        (ChangeSetStatus::CreateComplete, None)
    } else if text == stack.template && parameters == stack.parameters && tags == stack.tags {
        (ChangeSetStatus::Failed, Some(NO_CHANGES.to_owned()))
    } else {
        return Err(refused("Updates of stacks are not supported; delete the stack and create it again."));
    };
    let mut rehearsed = Stack { parameters: parameters.clone(), ..stack.clone() };
    if creates {
        intake::rehearse(ctx, &mut rehearsed, &template)?;
    }
    let world = World::default();
    let evaluator = world.evaluator(ctx, &rehearsed, &template)?;
    let added = template.resources.iter().filter(|(_, r)| creates && evaluator.holds(r.condition.as_deref()));
    let added = added.map(|(id, r)| (id.clone(), r.type_name.clone())).collect();
    let set = ChangeSet {
        id: id.clone(),
        name,
        stack_id: stack.id.clone(),
        stack_name: stack.name.clone(),
        description: input.description,
        status,
        status_reason,
        executed: false,
        template: text,
        parameters,
        capabilities,
        tags,
        on_failure: match input.on_stack_failure.as_deref() {
            Some("DELETE") => OnFailure::Delete,
            Some("DO_NOTHING") => OnFailure::DoNothing,
            _ => OnFailure::Rollback,
        },
        imports: rehearsed.imports,
        added,
        created_ms: ctx.platform.now_ms(),
    };
    ctx.tx.put(&set)?;
    let stack_id = stack.id.clone();
    if creates && ctx.tx.get::<Stack>(&stack_id)?.is_none() {
        events::stack(ctx, &mut stack, StackStatus::ReviewInProgress, Some("User Initiated".into()))?;
    }
    Ok(CreateChangeSetOutput { id: Some(id), stack_id: Some(stack_id) })
}
