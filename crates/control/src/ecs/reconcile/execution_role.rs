//! What a task's execution role must allow before its containers start: the image, the logs and the secrets are
//! fetched and written with its rights.

use crate::api::{Ctx, Result};
use crate::authorization::{self, Acting};
use crate::platform::Platform;
use crate::store::Tx;
use crate::{secretsmanager, ssm, sts};
use quarry_aws::ecs::{ContainerDefinition, TaskDefinition, TaskOverride};
use quarry_domain::arn::short_name;
use quarry_domain::container::{self, SecretSource};
use quarry_domain::image::repository_of;
use quarry_wire::ServiceError;

/// The execution role of a task, if it has one.
pub fn of(definition: &TaskDefinition, overrides: &TaskOverride) -> Option<String> {
    let given = |role: &Option<String>| role.clone().filter(|role| !role.is_empty());
    given(&overrides.execution_role_arn).or(given(&definition.execution_role_arn))
}

/// Refuses, as the text of the stopped reason, a task whose execution role may not pull its images or write its logs.
pub fn check(
    platform: &Platform,
    tx: &Tx<'_>,
    definition: &TaskDefinition,
    overrides: &TaskOverride,
    task_arn: &str,
) -> Result<(), String> {
    let Some(role) = of(definition, overrides) else { return Ok(()) };
    let acting = sts::acting(platform, tx, &role, short_name(task_arn)).map_err(|error| error.to_string())?;
    let may = |action: &str, resource: &str| authorization::may(platform, tx, &acting, action, resource);
    for one in container::containers(definition) {
        logs(platform, &may, one, short_name(task_arn))?;
    }
    for one in container::containers(definition) {
        image(platform, &may, one.image.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// Whether the role may read what a secret comes from.
pub fn may_read(ctx: &Ctx<'_>, acting: &Acting, source: &SecretSource) -> Result<()> {
    let place = ctx.platform.place();
    let (action, resource) = match source {
        SecretSource::Parameter(name) => {
            let name = ssm::plain_name(name);
            let name = name.split(':').next().unwrap_or_default().trim_start_matches('/');
            ("ssm:GetParameters", place.arn("ssm", format_args!("parameter/{name}")))
        }
        SecretSource::Secret { arn, .. } => {
            let known = secretsmanager::arn_of(ctx.platform, ctx.tx, arn)?;
            ("secretsmanager:GetSecretValue", known.unwrap_or_else(|| arn.clone()))
        }
    };
    authorization::may(ctx.platform, ctx.tx, acting, action, &resource)
}

type May<'a> = dyn Fn(&str, &str) -> Result<(), ServiceError> + 'a;

fn logs(platform: &Platform, may: &May<'_>, one: &ContainerDefinition, task: &str) -> Result<(), String> {
    let Some(logs) = container::aws_logs(one) else { return Ok(()) };
    let stream = match &logs.prefix {
        Some(prefix) => format!("{prefix}/{}/{task}", one.name.as_deref().unwrap_or_default()),
        None => task.to_owned(),
    };
    let arn = |stream: &str| platform.place().arn("logs", format_args!("log-group:{}:log-stream:{stream}", logs.group));
    let failed = |what: &str, error: ServiceError| {
        format!(
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log {what}: {error}"
        )
    };
    if logs.create_group {
        may("logs:CreateLogGroup", &arn("")).map_err(|error| failed("group", error))?;
    }
    may("logs:CreateLogStream", &arn(&stream)).map_err(|error| failed("stream", error))?;
    may("logs:PutLogEvents", &arn(&stream)).map_err(|error| failed("stream", error))
}

fn image(platform: &Platform, may: &May<'_>, image: &str) -> Result<(), String> {
    // Whether it is of this registry is the image store's to say.
    let Some(repository) = repository_of(image) else { return Ok(()) };
    may("ecr:GetAuthorizationToken", "*").map_err(|error| {
        format!(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 1 time(s): {error}"
        )
    })?;
    let arn = platform.place().arn("ecr", format_args!("repository/{repository}"));
    for action in ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] {
        may(action, &arn).map_err(|error| {
            format!("CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: {error}")
        })?;
    }
    Ok(())
}
