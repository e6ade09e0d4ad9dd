//! CreateChangeSet: of type CREATE it makes a stack in REVIEW_IN_PROGRESS; of type UPDATE it finds out
//! what would change.

use super::changes::Changes;
use super::intake::{self, Asked};
use super::records::{Change, ChangeSet, ChangeSetStatus, OnFailure, Revision, Stack, StackStatus};
use super::world::{World, refused};
use super::{events, updating};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{CreateChangeSetInput, CreateChangeSetOutput, error};

const NO_CHANGES: &str =
    "The submitted information didn't contain changes. Submit different information to create a change set.";
const NO_UPDATES: &str = "No updates are to be performed.";

pub fn handle(ctx: &mut Ctx<'_>, input: CreateChangeSetInput) -> Result<CreateChangeSetOutput> {
    let name = intake::check_name(input.change_set_name, "changeSetName")?;
    let stack_name = input.stack_name.unwrap_or_default();
    let old = intake::find(ctx, &stack_name)?.filter(|stack| stack.deleted_ms.is_none());
    let creates = match input.change_set_type.as_deref() {
        Some("CREATE") => true,
        None | Some("UPDATE") => false,
        Some(other) => return Err(refused(format!("Change sets of type {other} are not supported"))),
    };
    let on_failure = match input.on_stack_failure.as_deref() {
        None | Some("ROLLBACK") => OnFailure::Rollback,
        Some("DO_NOTHING") => OnFailure::DoNothing,
        Some("DELETE") if creates => OnFailure::Delete,
        Some("DELETE") => {
            return Err(refused("OnStackFailure DELETE can only be used with change sets of type CREATE."));
        }
        Some(other) => {
            return Err(refused(format!(
                "1 validation error detected: Value '{other}' at 'onStackFailure' failed to satisfy constraint: Member must satisfy enum value set: [DELETE, ROLLBACK, DO_NOTHING]"
            )));
        }
    };
    if input.resources_to_import.is_some_and(|resources| !resources.is_empty())
        || input.import_existing_resources == Some(true)
    {
        return Err(refused("Resources cannot be imported into stacks here."));
    }
    if input.deployment_mode.is_some() {
        return Err(refused("DeploymentMode is not supported."));
    }
    intake::check_role(ctx, input.role_arn.as_deref())?;
    intake::check_rollback_configuration(input.rollback_configuration.as_ref())?;
    if let Some(stack) = &old
        && let Some(same) = ctx.tx.children::<ChangeSet>(&stack.id)?.into_iter().find(|set| set.name == name)
    {
        // The same request again, because its answer was lost.
        if input.client_token.is_some() && same.token == input.client_token {
            return Ok(CreateChangeSetOutput { id: Some(same.id), stack_id: Some(same.stack_id) });
        }
        return Err(error::already_exists_exception(format!("ChangeSet {name} already exists")));
    }
    match (&old, creates) {
        (Some(stack), true) if stack.status != StackStatus::ReviewInProgress => {
            return Err(refused(format!(
                "Stack [{}] already exists and cannot be created again with the changeSet [{name}].",
                stack.name
            )));
        }
        (Some(stack), false) => updating::check_state(stack)?,
        (None, false) => return Err(refused(format!("Stack [{stack_name}] does not exist"))),
        (_, true) => {}
    }
    let asked = Asked {
        template_body: input.template_body,
        template_url: input.template_url,
        use_previous_template: input.use_previous_template,
        parameters: input.parameters,
        capabilities: input.capabilities,
        tags: input.tags,
        notification_arns: input.notification_arns,
    };
    let previous = old.as_ref().filter(|_| !creates);
    let (revision, template) = intake::revise(ctx, asked, previous)?;
    intake::check_resource_types(&template, input.resource_types.as_ref())?;
    let place = ctx.platform.place();
    let id = place.arn("cloudformation", format!("changeSet/{name}/{}", ctx.platform.door.uuid()));
    let is_new = old.is_none();
    let mut stack = match old {
        Some(stack) => stack,
        None => {
            let stack_name = intake::check_name(Some(stack_name), "stackName")?;
            let stack_id = place.arn("cloudformation", format!("stack/{stack_name}/{}", ctx.platform.door.uuid()));
            // Nothing of the template is the stack's before the change set is executed.
            let revision = Revision { description: revision.description.clone(), ..Revision::default() };
            Stack {
                change_set_id: Some(id.clone()),
                ..Stack::new(stack_id, stack_name, revision, ctx.platform.now_ms())
            }
        }
    };
    if input.role_arn.is_some() && creates {
        stack.role_arn = input.role_arn;
    }
    let (revision, changes) = if creates {
        let mut new = Stack { revision, ..stack.clone() };
        intake::rehearse(ctx, &mut new, &template)?;
        let world = World::default();
        let evaluator = world.evaluator(ctx, &new, &template)?;
        let included = template.resources.iter().filter(|(_, r)| evaluator.holds(r.condition.as_deref()));
        let resources = included.map(|(id, r)| Change::add(id, &r.type_name)).collect();
        (new.revision, Changes { resources, ..Changes::default() })
    } else {
        let (new, changes) = updating::propose(ctx, &stack, revision, &template)?;
        (new.revision, changes)
    };
    let (status, status_reason) = if creates || !changes.is_empty() || stack.update.is_some() {
        (ChangeSetStatus::CreateComplete, None)
    } else if revision.template == stack.revision.template && revision.parameters == stack.revision.parameters {
        (ChangeSetStatus::Failed, Some(NO_CHANGES.to_owned()))
    } else {
        (ChangeSetStatus::Failed, Some(NO_UPDATES.to_owned()))
    };
    let set = ChangeSet {
        id: id.clone(),
        name,
        stack_id: stack.id.clone(),
        stack_name: stack.name.clone(),
        description: input.description,
        status,
        status_reason,
        executed: false,
        obsolete: false,
        creates,
        revision,
        on_failure,
        changes: changes.resources,
        removed: changes.removed,
        token: input.client_token,
        created_ms: ctx.platform.now_ms(),
    };
    ctx.tx.put(&set)?;
    let stack_id = stack.id.clone();
    if is_new {
        events::stack(ctx, &mut stack, StackStatus::ReviewInProgress, Some("User Initiated".into()))?;
    }
    Ok(CreateChangeSetOutput { id: Some(id), stack_id: Some(stack_id) })
}
