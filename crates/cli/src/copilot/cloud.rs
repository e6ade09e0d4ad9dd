//! Stacks: made, changed and deleted through CloudFormation's API, and watched until they stand still.

use super::say::{Say, Step};
use anyhow::{Result, bail};
use quarry_aws::cloudformation::op::{
    CreateStack, DeleteStack, DescribeStackEvents, DescribeStackResource, DescribeStacks, UpdateStack,
};
use quarry_aws::cloudformation::{
    CreateStackInput, DeleteStackInput, DescribeStackEventsInput, DescribeStackResourceInput, DescribeStacksInput,
    Parameter, Stack, StackEvent, Tag, UpdateStackInput,
};
use quarry_client::{CallError, Client};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often a stack is asked how far it is.
const PAUSE: Duration = Duration::from_millis(250);
/// What a template may have, in bytes, when it is sent and not fetched (CloudFormation's quotas).
const TEMPLATE: usize = 51_200;

/// The stacks of an endpoint.
pub struct Cloud<'a> {
    pub aws: &'a Client,
    pub say: Say,
}

/// What a stack is to be like.
pub struct Wanted<'a> {
    pub name: &'a str,
    /// What is printed: "the service posts".
    pub what: &'a str,
    /// `None` keeps the template that is there.
    pub template: Option<String>,
    pub parameters: BTreeMap<String, String>,
    pub tags: &'a [(&'a str, &'a str)],
    /// Whether a failure leaves everything as it is then, to be looked at.
    pub no_rollback: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Updated,
    Unchanged,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Names of stacks, as Copilot makes them.
pub fn regional_stack(app: &str) -> String {
    format!("{app}-infrastructure")
}

pub fn environment_stack(app: &str, environment: &str) -> String {
    format!("{app}-{environment}")
}

pub fn service_stack(app: &str, environment: &str, service: &str) -> String {
    format!("{app}-{environment}-{service}")
}

pub fn task_stack(name: &str) -> String {
    format!("task-{name}")
}

pub fn parameter(stack: &Stack, name: &str) -> Option<String> {
    let all = stack.parameters.iter().flatten();
    all.into_iter().find(|p| p.parameter_key.as_deref() == Some(name))?.parameter_value.clone()
}

pub fn output(stack: &Stack, name: &str) -> Option<String> {
    let all = stack.outputs.iter().flatten();
    all.into_iter().find(|o| o.output_key.as_deref() == Some(name))?.output_value.clone()
}

impl Cloud<'_> {
    pub async fn stack(&self, name: &str) -> Result<Option<Stack>> {
        let input = DescribeStacksInput { stack_name: Some(name.into()), ..Default::default() };
        match self.aws.call::<DescribeStacks>(input).await {
            Ok(found) => Ok(found.stacks.unwrap_or_default().pop()),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The id of what a stack made under a logical id.
    pub async fn resource(&self, stack: &str, logical: &str) -> Result<Option<String>> {
        let input =
            DescribeStackResourceInput { stack_name: Some(stack.into()), logical_resource_id: Some(logical.into()) };
        match self.aws.call::<DescribeStackResource>(input).await {
            Ok(found) => {
                let there =
                    found.stack_resource_detail.filter(|d| d.resource_status.as_deref() != Some("DELETE_COMPLETE"));
                Ok(there.and_then(|detail| detail.physical_resource_id))
            }
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes or changes a stack and waits until that is done.
    pub async fn deploy(&self, wanted: Wanted<'_>) -> Result<Outcome> {
        if let Some(length) = wanted.template.as_ref().map(String::len).filter(|length| *length > TEMPLATE) {
            bail!("the template of {} has {length} bytes, and CloudFormation takes {TEMPLATE}", wanted.what);
        }
        let mut there = self.stack(wanted.name).await?;
        // A stack of this name that is somebody else's, Copilot's own for example, is not overwritten.
        let ours =
            wanted.template.as_ref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("Description: ")));
        let theirs = there.as_ref().map(|stack| stack.description.as_deref().unwrap_or("without a description"));
        if let (Some(ours), Some(theirs)) = (ours, theirs)
            && ours.trim_matches('\'') != theirs
        {
            bail!(
                "the stack {} is there and was not made by these commands ({theirs}): take another name of the application \
                 or the environment",
                wanted.name
            );
        }
        match there.as_ref().and_then(|stack| stack.stack_status.as_deref()) {
            // What never came to be can only be made anew.
            Some("ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "CREATE_FAILED" | "DELETE_FAILED") => {
                self.delete(wanted.name, wanted.what).await?;
                there = None;
            }
            Some(status) if status.ends_with("_IN_PROGRESS") && status != "REVIEW_IN_PROGRESS" => {
                bail!("the stack {} is {status}: wait until that is over", wanted.name)
            }
            _ => {}
        }
        let verb = if there.is_some() { "Update" } else { "Create" };
        let step = self.say.step(format!("{verb} {} with stack {}", wanted.what, wanted.name));
        let before = if there.is_some() { self.events(wanted.name).await? } else { Vec::new() };
        let seen: BTreeSet<_> = before.into_iter().filter_map(|event| event.event_id).collect();
        if !self.begin(&wanted, there.is_some()).await? {
            step.end("no changes");
            return Ok(Outcome::Unchanged);
        }
        let reasons = self.watch(wanted.name, &step, seen).await?;
        let status = self.stack(wanted.name).await?.and_then(|stack| stack.stack_status).unwrap_or_default();
        match (status.as_str(), there.is_some()) {
            ("CREATE_COMPLETE", false) => {
                step.end("succeeded");
                Ok(Outcome::Created)
            }
            ("UPDATE_COMPLETE", true) => {
                step.end("succeeded");
                Ok(Outcome::Updated)
            }
            _ => {
                step.end("failed");
                bail!("the stack {} is {status}\n{}", wanted.name, reasons.join("\n"))
            }
        }
    }

    /// Whether there is anything to do.
    async fn begin(&self, wanted: &Wanted<'_>, there: bool) -> Result<bool> {
        let parameters = wanted.parameters.iter().map(|(name, value)| Parameter {
            parameter_key: Some(name.clone()),
            parameter_value: Some(value.clone()),
            ..Default::default()
        });
        let (name, parameters) = (Some(wanted.name.to_owned()), Some(parameters.collect()));
        let capabilities = Some(vec!["CAPABILITY_IAM".to_owned()]);
        let tags = wanted.tags.iter().map(|(k, v)| Tag { key: Some((*k).into()), value: Some((*v).into()) });
        let tags = Some(tags.collect());
        if !there {
            self.aws
                .call::<CreateStack>(CreateStackInput {
                    stack_name: name,
                    template_body: wanted.template.clone(),
                    parameters,
                    capabilities,
                    tags,
                    disable_rollback: wanted.no_rollback.then_some(true),
                    ..Default::default()
                })
                .await?;
            return Ok(true);
        }
        let input = UpdateStackInput {
            stack_name: name,
            use_previous_template: wanted.template.is_none().then_some(true),
            template_body: wanted.template.clone(),
            parameters,
            capabilities,
            tags,
            disable_rollback: wanted.no_rollback.then_some(true),
            ..Default::default()
        };
        match self.aws.call::<UpdateStack>(input).await {
            Ok(_) => Ok(true),
            Err(CallError::Service(error)) if error.message.contains("No updates are to be performed") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Shows what happens until the stack stands still; why something failed.
    async fn watch(&self, name: &str, step: &Step, mut seen: BTreeSet<String>) -> Result<Vec<String>> {
        let mut reasons = Vec::new();
        loop {
            let stack = self.stack(name).await?;
            let status = stack.and_then(|stack| stack.stack_status).unwrap_or_default();
            let mut events = self.events(name).await?;
            events.reverse();
            for event in events {
                if !seen.insert(event.event_id.clone().unwrap_or_default()) {
                    continue;
                }
                let of = |text: &Option<String>| text.clone().unwrap_or_default();
                let (id, status) = (of(&event.logical_resource_id), of(&event.resource_status));
                step.progress(format!("{id} {}", status.to_ascii_lowercase().replace('_', " ")));
                let reason = of(&event.resource_status_reason);
                // What was called off because of another failure is none itself.
                if status.ends_with("_FAILED") && !reason.is_empty() && !reason.contains("cancelled") {
                    reasons.push(format!("  {id} ({}): {reason}", of(&event.resource_type)));
                }
            }
            if !status.ends_with("_IN_PROGRESS") {
                return Ok(reasons);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn events(&self, name: &str) -> Result<Vec<StackEvent>> {
        let input = DescribeStackEventsInput { stack_name: Some(name.into()), ..Default::default() };
        match self.aws.call::<DescribeStackEvents>(input).await {
            Ok(page) => Ok(page.stack_events.unwrap_or_default()),
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a stack, if it is there, and waits until it is gone.
    pub async fn delete(&self, name: &str, what: &str) -> Result<()> {
        let Some(stack) = self.stack(name).await? else { return Ok(()) };
        let step = self.say.step(format!("Delete {what} with stack {name}"));
        let id = stack.stack_id.unwrap_or_else(|| name.to_owned());
        let seen = self.events(&id).await?.into_iter().filter_map(|event| event.event_id).collect();
        let input = DeleteStackInput { stack_name: Some(name.into()), ..Default::default() };
        self.aws.call::<DeleteStack>(input).await?;
        let reasons = self.watch(&id, &step, seen).await?;
        match self.stack(&id).await?.and_then(|stack| stack.stack_status).as_deref() {
            None | Some("DELETE_COMPLETE") => {
                step.end("succeeded");
                Ok(())
            }
            Some(status) => {
                step.end("failed");
                bail!("the stack {name} is {status}\n{}", reasons.join("\n"))
            }
        }
    }
}

/// The stack, or the resource of it, is not there.
fn is_absent(error: &CallError) -> bool {
    matches!(error, CallError::Service(error) if error.code == "ValidationError" && error.message.contains("does not exist"))
}
