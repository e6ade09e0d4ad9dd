//! UpdateStack: checks everything, finds out whether there is anything to do, and begins the update.

use super::intake::{self, Asked};
use super::policy;
use super::updating::{self, Manner};
use super::world::refused;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{UpdateStackInput, UpdateStackOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: UpdateStackInput) -> Result<UpdateStackOutput> {
    let name = input.stack_name.unwrap_or_default();
    let stack = intake::find(ctx, &name)?.filter(|stack| stack.deleted_ms.is_none());
    let mut stack = stack.ok_or_else(|| refused(format!("Stack [{name}] does not exist")))?;
    let answer = UpdateStackOutput { stack_id: Some(stack.id.clone()), ..Default::default() };
    // The same request again, because its answer was lost.
    if input.client_request_token.is_some() && stack.token == input.client_request_token && stack.updated_ms.is_some() {
        return Ok(answer);
    }
    updating::check_state(&stack)?;
    intake::check_role(ctx, input.role_arn.as_deref())?;
    intake::check_rollback_configuration(input.rollback_configuration.as_ref())?;
    let lasting = policy::given(input.stack_policy_body, input.stack_policy_url)?;
    let during = policy::given(input.stack_policy_during_update_body, input.stack_policy_during_update_url)?;
    let asked = Asked {
        template_body: input.template_body,
        template_url: input.template_url,
        use_previous_template: input.use_previous_template,
        parameters: input.parameters,
        capabilities: input.capabilities,
        tags: input.tags,
        notification_arns: input.notification_arns,
    };
    let (revision, template) = intake::revise(ctx, asked, Some(&stack))?;
    intake::check_resource_types(&template, input.resource_types.as_ref())?;
    let (new, changes) = updating::propose(ctx, &stack, revision, &template)?;
    if changes.is_empty() && stack.update.is_none() {
        return Err(refused("No updates are to be performed."));
    }
    if input.role_arn.is_some() {
        stack.role_arn = input.role_arn;
    }
    if lasting.is_some() {
        stack.policy = lasting;
    }
    let manner = Manner {
        preserve: input.disable_rollback.unwrap_or(false),
        delete_new: input.retain_except_on_create.unwrap_or(false),
        policy: during,
        token: input.client_request_token,
    };
    updating::begin(ctx, stack, new.revision, &template, &changes, manner)?;
    Ok(answer)
}
