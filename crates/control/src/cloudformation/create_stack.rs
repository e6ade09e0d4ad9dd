//! CreateStack: checks everything, records the stack as CREATE_IN_PROGRESS; the reconciler makes it.

use super::intake::Asked;
use super::records::{OnFailure, Stack, StackStatus};
use super::world::refused;
use super::{carry, events, exists, intake, policy};
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
    intake::check_role(ctx, input.role_arn.as_deref())?;
    intake::check_rollback_configuration(input.rollback_configuration.as_ref())?;
    let policy = policy::given(input.stack_policy_body, input.stack_policy_url)?;
    if let Some(old) = intake::find(ctx, &name)? {
        // The same request again, because its answer was lost.
        let same = input.template_body.as_ref() == Some(&old.revision.template);
        if input.client_request_token.is_some() && old.token == input.client_request_token && same {
            return Ok(CreateStackOutput { stack_id: Some(old.id), ..Default::default() });
        }
        return Err(error::already_exists_exception(format!("Stack [{name}] already exists")));
    }
    let asked = Asked {
        template_body: input.template_body,
        template_url: input.template_url,
        use_previous_template: None,
        parameters: input.parameters,
        capabilities: input.capabilities,
        tags: input.tags,
        notification_arns: input.notification_arns,
    };
    let (revision, template) = intake::revise(ctx, asked, None)?;
    intake::check_resource_types(&template, input.resource_types.as_ref())?;
    let id = ctx.platform.place().arn("cloudformation", format!("stack/{name}/{}", ctx.platform.door.uuid()));
    let mut stack = Stack {
        on_failure,
        timeout_minutes: input.timeout_in_minutes,
        role_arn: input.role_arn,
        termination_protection: input.enable_termination_protection.unwrap_or(false),
        token: input.client_request_token,
        delete_new: input.retain_except_on_create.unwrap_or(false),
        policy,
        ..Stack::new(id.clone(), name, revision, ctx.platform.now_ms())
    };
    intake::rehearse(ctx, &mut stack, &template)?;
    events::stack(ctx, &mut stack, StackStatus::CreateInProgress, Some("User Initiated".into()))?;
    intake::work(ctx, id.clone())?;
    if let Some(reason) = exists::missing(ctx, &template, &stack.revision.parameters)? {
        carry::finish::fail(ctx, &id, reason)?;
    }
    Ok(CreateStackOutput { stack_id: Some(id), ..Default::default() })
}
