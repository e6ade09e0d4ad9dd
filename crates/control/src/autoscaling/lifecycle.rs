//! Lifecycle hooks: they hold an instance between its launch and its service (`Pending:Wait`), or
//! between its service and its end (`Terminating:Wait`), until each hook is completed or its time is
//! over.

use super::error::{required, validation};
use super::records::{GroupRecord, MemberRecord, find_active, find_group};
use crate::api::{Ctx, Result};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::autoscaling::{
    CompleteLifecycleActionAnswer, CompleteLifecycleActionType, DeleteLifecycleHookAnswer, DeleteLifecycleHookType,
    DescribeLifecycleHooksAnswer, DescribeLifecycleHooksType, LifecycleHook, LifecycleHookSpecification,
    PutLifecycleHookAnswer, PutLifecycleHookType, RecordLifecycleActionHeartbeatAnswer,
    RecordLifecycleActionHeartbeatType,
};
use serde::{Deserialize, Serialize};

pub const LAUNCHING: &str = "autoscaling:EC2_INSTANCE_LAUNCHING";
pub const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";
/// The longest that an instance may be held: 48 hours, or 100 heartbeat timeouts if that is less.
const LONGEST_S: i32 = 172_800;

#[derive(Clone, Serialize, Deserialize)]
pub struct HookRecord {
    pub hook: LifecycleHook,
}

/// A hook that an instance waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    pub hook: String,
    /// Names this action of this instance.
    pub token: String,
    /// When the hook takes its default result, unless a heartbeat comes.
    pub until_ms: i64,
    /// When no heartbeat helps any longer.
    pub at_most_ms: i64,
    heartbeat_ms: i64,
    abandon_by_default: bool,
}

/// What becomes of an instance whose hooks are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Continue,
    Abandon,
}

impl Item for HookRecord {
    const KIND: &'static str = "autoscaling.lifecycle-hook";
    fn key(&self) -> String {
        format!("{}/{}", self.parent(), self.name())
    }
    fn parent(&self) -> String {
        self.hook.auto_scaling_group_name.clone().unwrap_or_default()
    }
}

impl HookRecord {
    fn name(&self) -> String {
        self.hook.lifecycle_hook_name.clone().unwrap_or_default()
    }
}

/// What an instance of the group has to wait for at a transition.
pub fn waits(ctx: &Ctx<'_>, group: &GroupRecord, transition: &str) -> Result<Vec<Wait>> {
    let now = ctx.platform.now_ms();
    let mut waits = Vec::new();
    for record in ctx.tx.children::<HookRecord>(&group.key())? {
        if record.hook.lifecycle_transition.as_deref() != Some(transition) {
            continue;
        }
        let heartbeat_ms = i64::from(record.hook.heartbeat_timeout.unwrap_or(3600)) * 1000;
        waits.push(Wait {
            hook: record.name(),
            token: ctx.platform.door.uuid(),
            until_ms: now + heartbeat_ms,
            at_most_ms: now + i64::from(record.hook.global_timeout.unwrap_or(LONGEST_S)) * 1000,
            heartbeat_ms,
            abandon_by_default: record.hook.default_result.as_deref() != Some("CONTINUE"),
        });
    }
    Ok(waits)
}

/// Lets the hooks whose time is over take their default results. Whether there were any.
pub fn time_out(member: &mut MemberRecord, now_ms: i64) -> bool {
    let before = member.waits.len();
    let mut abandon = false;
    member.waits.retain(|wait| {
        let over = now_ms >= wait.until_ms.min(wait.at_most_ms);
        abandon |= over && wait.abandon_by_default;
        !over
    });
    let over = before - member.waits.len();
    if abandon {
        abandon_rest(member);
    }
    over > 0
}

/// Hooks that are removed hold nothing any longer; their waits end as completed.
fn forget(ctx: &mut Ctx<'_>, group: &str, hook: &str) -> Result<()> {
    for mut member in super::records::members(ctx.tx, group)? {
        member.waits.retain(|wait| wait.hook != hook);
        ctx.tx.put(&member)?;
    }
    Ok(())
}

/// The hooks of a group that goes.
pub fn remove_all(tx: &Tx<'_>, group: &str) -> Result<(), StoreError> {
    for hook in tx.children::<HookRecord>(group)? {
        tx.delete::<HookRecord>(&hook.key())?;
    }
    Ok(())
}

/// The hooks that a new group is given.
pub fn put_all(ctx: &mut Ctx<'_>, group: &str, specifications: Vec<LifecycleHookSpecification>) -> Result<()> {
    for s in specifications {
        let input = PutLifecycleHookType {
            auto_scaling_group_name: Some(group.into()),
            default_result: s.default_result,
            heartbeat_timeout: s.heartbeat_timeout,
            lifecycle_hook_name: s.lifecycle_hook_name,
            lifecycle_transition: s.lifecycle_transition,
            notification_metadata: s.notification_metadata,
            notification_target_arn: s.notification_target_arn,
            role_arn: s.role_arn,
        };
        put(ctx, input)?;
    }
    Ok(())
}

pub fn put(ctx: &mut Ctx<'_>, input: PutLifecycleHookType) -> Result<PutLifecycleHookAnswer> {
    let group = find_active(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let name = required(input.lifecycle_hook_name, "lifecycleHookName")?;
    if let Some(target) = input.notification_target_arn.filter(|target| !target.is_empty()) {
        return Err(validation(format!(
            "Unable to publish test message to notification target {target}. Please check your target and role configuration and try to put lifecycle hook again."
        )));
    }
    let known = ctx.tx.get::<HookRecord>(&format!("{}/{name}", group.key()))?.map(|record| record.hook);
    let new = known.is_none();
    let known = known.unwrap_or_default();
    let transition = input.lifecycle_transition.or(known.lifecycle_transition).ok_or_else(|| {
        validation(format!("LifecycleTransition is a required parameter when creating lifecycle hook {name}."))
    })?;
    if !matches!(transition.as_str(), LAUNCHING | TERMINATING) {
        return Err(validation(format!("The lifecycle transition {transition} is not valid.")));
    }
    let result = input.default_result.or(known.default_result).unwrap_or_else(|| "ABANDON".into());
    outcome(&result)?;
    let heartbeat = input.heartbeat_timeout.or(known.heartbeat_timeout).unwrap_or(3600);
    if !(30..=7200).contains(&heartbeat) {
        return Err(validation("HeartbeatTimeout must be between 30 and 7200 seconds."));
    }
    if new && ctx.tx.children::<HookRecord>(&group.key())?.len() >= 50 {
        return Err(quarry_aws::autoscaling::error::limit_exceeded_fault(
            "Lifecycle hooks limit exceeded: a group can have at most 50.",
        ));
    }
    let hook = LifecycleHook {
        auto_scaling_group_name: Some(group.key()),
        lifecycle_hook_name: Some(name),
        lifecycle_transition: Some(transition),
        default_result: Some(result),
        heartbeat_timeout: Some(heartbeat),
        global_timeout: Some((heartbeat.saturating_mul(100)).min(LONGEST_S)),
        notification_metadata: input.notification_metadata.or(known.notification_metadata),
        role_arn: input.role_arn.or(known.role_arn),
        notification_target_arn: None,
    };
    ctx.tx.put(&HookRecord { hook })?;
    Ok(PutLifecycleHookAnswer {})
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeLifecycleHooksType) -> Result<DescribeLifecycleHooksAnswer> {
    let group = find_group(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let mut hooks = ctx.tx.children::<HookRecord>(&group.key())?;
    if let Some(names) = input.lifecycle_hook_names.filter(|names| !names.is_empty()) {
        hooks.retain(|hook| names.contains(&hook.name()));
    }
    Ok(DescribeLifecycleHooksAnswer { lifecycle_hooks: Some(hooks.into_iter().map(|record| record.hook).collect()) })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteLifecycleHookType) -> Result<DeleteLifecycleHookAnswer> {
    let group = find_group(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let name = required(input.lifecycle_hook_name, "lifecycleHookName")?;
    if !ctx.tx.delete::<HookRecord>(&format!("{}/{name}", group.key()))? {
        return Err(validation(format!("No Lifecycle Hook found with name {name}")));
    }
    forget(ctx, &group.key(), &name)?;
    Ok(DeleteLifecycleHookAnswer {})
}

pub fn complete(ctx: &mut Ctx<'_>, input: CompleteLifecycleActionType) -> Result<CompleteLifecycleActionAnswer> {
    let result = required(input.lifecycle_action_result, "lifecycleActionResult")?;
    let outcome = outcome(&result)?;
    let (group, hook) = (input.auto_scaling_group_name, input.lifecycle_hook_name);
    let (mut member, at) = held(ctx, group, hook, input.instance_id, input.lifecycle_action_token)?;
    member.waits.remove(at);
    if outcome == Outcome::Abandon {
        abandon_rest(&mut member);
    }
    ctx.tx.put(&member)?;
    Ok(CompleteLifecycleActionAnswer {})
}

pub fn heartbeat(
    ctx: &mut Ctx<'_>,
    input: RecordLifecycleActionHeartbeatType,
) -> Result<RecordLifecycleActionHeartbeatAnswer> {
    let now = ctx.platform.now_ms();
    let (group, hook) = (input.auto_scaling_group_name, input.lifecycle_hook_name);
    let (mut member, at) = held(ctx, group, hook, input.instance_id, input.lifecycle_action_token)?;
    let wait = &mut member.waits[at];
    wait.until_ms = (now + wait.heartbeat_ms).min(wait.at_most_ms);
    ctx.tx.put(&member)?;
    Ok(RecordLifecycleActionHeartbeatAnswer {})
}

/// The instance that waits for a hook, by its id or by the action's token.
fn held(
    ctx: &Ctx<'_>,
    group: Option<String>,
    hook: Option<String>,
    instance: Option<String>,
    token: Option<String>,
) -> Result<(MemberRecord, usize)> {
    let group = find_group(ctx, &required(group, "autoScalingGroupName")?)?;
    let hook = required(hook, "lifecycleHookName")?;
    if instance.is_none() && token.is_none() {
        return Err(validation("Either InstanceId or LifecycleActionToken must be specified."));
    }
    for member in super::records::members(ctx.tx, &group.key())? {
        let own = instance.as_ref().is_none_or(|id| *id == member.key());
        let is_it = |wait: &Wait| wait.hook == hook && token.as_ref().is_none_or(|token| *token == wait.token);
        if let (true, Some(at)) = (own, member.waits.iter().position(is_it)) {
            return Ok((member, at));
        }
    }
    let wanted = match (instance, token) {
        (Some(id), _) => format!("instance ID: {id}"),
        (None, token) => format!("token: {}", token.unwrap_or_default()),
    };
    Err(validation(format!("No active Lifecycle Action found with {wanted}")))
}

/// ABANDON ends the other hooks' waits, too; a launch is given up, a termination goes on.
fn abandon_rest(member: &mut MemberRecord) {
    member.waits.clear();
    member.abandoned = true;
}

fn outcome(text: &str) -> Result<Outcome> {
    match text {
        "CONTINUE" => Ok(Outcome::Continue),
        "ABANDON" => Ok(Outcome::Abandon),
        other => Err(validation(format!("The lifecycle action result {other} is neither CONTINUE nor ABANDON."))),
    }
}
