//! CreateStack: checks everything, records the stack as CREATE_IN_PROGRESS; the reconciler makes it.

use super::records::{OnFailure, Stack, StackStatus, Work};
use super::world::refused;
use super::{events, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{CreateStackInput, CreateStackOutput, error};

pub fn handle(ctx: &mut Ctx<'_>, input: CreateStackInput) -> Result<CreateStackOutput> {
    let name = intake::check_name(input.stack_name, "stackName")?;
    let on_failure = match (input.on_failure.as_deref(), input.disable_rollback) {
        (Some(_), Some(_)) => {
            return Err(refused("You can specify only one of DisableRollback or OnFailure."));
        }
        (None, Some(true)) | (Some("DO_NOTHING"), None) => OnFailure::DoNothing,
        (Some("DELETE"), None) => OnFailure::Delete,
        (None, None | Some(false)) | (Some("ROLLBACK"), None) => OnFailure::Rollback,
        (Some(other), None) => {
            return Err(refused(format!(
                "1 validation error detected: Value '{other}' at 'onFailure' failed to satisfy constraint: Member must satisfy enum value set: [DO_NOTHING, ROLLBACK, DELETE]"
            )));
        }
    };
    if input.timeout_in_minutes.is_some_and(|minutes| minutes < 1) {
        return Err(refused(
            "1 validation error detected: Value at 'timeoutInMinutes' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ));
    }
    let text = intake::template_text(input.template_body, input.template_url)?;
    if let Some(old) = intake::find(ctx, &name)? {
        // The same request again, because its answer was lost.
        if input.client_request_token.is_some() && old.token == input.client_request_token && old.template == text {
            return Ok(CreateStackOutput { stack_id: Some(old.id), ..Default::default() });
        }
        return Err(error::already_exists_exception(format!("Stack [{name}] already exists")));
    }
    let template = intake::parse(&text)?;
    let capabilities = input.capabilities.unwrap_or_default();
    let parameters = intake::parameters(ctx, &template, input.parameters, None)?;
    intake::check_capabilities(&template, &capabilities)?;
    let id = ctx.platform.place().arn("cloudformation", format!("stack/{name}/{}", ctx.platform.door.uuid()));
    let mut stack = Stack {
        id: id.clone(),
        name,
        status: StackStatus::CreateInProgress,
        status_reason: None,
        description: template.description.clone(),
        template: text,
        parameters,
        capabilities,
        tags: intake::tags(input.tags)?,
        on_failure,
        timeout_minutes: input.timeout_in_minutes,
        role_arn: input.role_arn,
        notification_arns: input.notification_arns.unwrap_or_default(),
        termination_protection: input.enable_termination_protection.unwrap_or(false),
        created_ms: ctx.platform.now_ms(),
        deleted_ms: None,
        outputs: Vec::new(),
        imports: Default::default(),
        token: input.client_request_token,
        change_set_id: None,
        retained: Default::default(),
    };
    intake::rehearse(ctx, &mut stack, &template)?;
    events::stack(ctx, &mut stack, StackStatus::CreateInProgress, Some("User Initiated".into()))?;
    ctx.tx.put(&Work { stack_id: id.clone() })?;
    Ok(CreateStackOutput { stack_id: Some(id), ..Default::default() })
}
