//! The secrets of a task's containers, read at its start with the right of its execution role.
//!
//! They are handed to the runtime and kept nowhere; what goes wrong is said without any value.

use super::execution_role;
use crate::api::{Ctx, Operations, internally};
use crate::authorization::Acting;
use crate::platform::Platform;
use crate::{secretsmanager, ssm, sts};
use quarry_aws::ecs::{TaskDefinition, TaskOverride};
use quarry_domain::arn::short_name;
use quarry_domain::container::{self, SecretSource};
use quarry_domain::task::SecretEnv;
use quarry_wire::ServiceError;
use std::collections::BTreeMap;

const SERVICE: &str = "ecs-tasks.amazonaws.com";

/// By container name; the error is the text of the task's stopped reason.
pub fn resolve(
    platform: &Platform,
    operations: &Operations,
    definition: &TaskDefinition,
    overrides: &TaskOverride,
    task_arn: &str,
) -> Result<BTreeMap<String, SecretEnv>, String> {
    let wanted = container::containers(definition).iter().flat_map(|one| {
        let name = one.name.clone().unwrap_or_default();
        container::secrets(one).map(move |(variable, source)| (name.clone(), variable, source))
    });
    let wanted: Vec<_> = wanted.collect();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let role = execution_role::of(definition, overrides).unwrap_or_default();
    let resolved = internally(platform, operations, |ctx| {
        if !sts::service_may_assume(ctx, &role, SERVICE, task_arn)? {
            return Ok(Err(format!(
                "ECS was unable to assume the role '{role}' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role."
            )));
        }
        let acting = sts::acting(ctx.platform, ctx.tx, &role, short_name(task_arn))?;
        let mut secrets: BTreeMap<String, SecretEnv> = BTreeMap::new();
        for (container, variable, source) in wanted {
            match source.map_err(|invalid| invalid.0).and_then(|source| read(ctx, &acting, &source)) {
                Ok(value) => secrets.entry(container).or_default().0.push(format!("{variable}={value}")),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(secrets))
    });
    match resolved {
        Ok(Ok(secrets)) => Ok(secrets),
        Ok(Err(reason)) => {
            Err(format!("ResourceInitializationError: unable to pull secrets or registry auth: {reason}"))
        }
        Err(error) => Err(format!("ResourceInitializationError: {error}")),
    }
}

fn read(ctx: &mut Ctx<'_>, acting: &Acting, source: &SecretSource) -> Result<String, String> {
    let said = |error: &ServiceError| match error.message.as_str() {
        "" => error.code.to_string(),
        message => format!("{}: {message}", error.code),
    };
    let may = execution_role::may_read(ctx, acting, source);
    let value = match source {
        SecretSource::Parameter(name) => may.and_then(|()| ssm::read_for_task(ctx, name)).map_err(|error| {
            format!(
                "execution resource retrieval failed: unable to retrieve secrets from ssm: {name}: {}",
                said(&error)
            )
        })?,
        SecretSource::Secret { arn, json_key, version_stage, version_id } => {
            let failed = |reason: String| {
                format!("execution resource retrieval failed: unable to retrieve secret from asm: {arn}: {reason}")
            };
            let text = may
                .and_then(|()| secretsmanager::read_for_task(ctx, arn, version_stage.as_deref(), version_id.as_deref()))
                .map_err(|error| failed(said(&error)))?;
            match json_key {
                None => text,
                Some(key) => member(&text, key).map_err(failed)?,
            }
        }
    };
    match value.contains('\0') {
        true => Err("a secret with a NUL byte cannot be a variable".into()),
        false => Ok(value),
    }
}

/// The value under a key of a secret that is a JSON object: text as it is, anything else as JSON.
fn member(text: &str, key: &str) -> Result<String, String> {
    let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(text);
    // What the parser says could tell of the value.
    let parsed = parsed.map_err(|_| "the secret is not a JSON object of keys and values".to_owned())?;
    match parsed.get(key) {
        None => Err(format!("retrieved secret did not contain json key {key}")),
        Some(serde_json::Value::String(value)) => Ok(value.clone()),
        Some(other) => Ok(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::member;

    #[test]
    fn a_member_of_a_secret_is_text_or_json_and_no_error_shows_the_secret() {
        let text = r#"{"user":"api","port":5432,"tls":true,"hosts":["a"]}"#;
        let read = |key| member(text, key).unwrap();
        assert_eq!(
            (read("user"), read("port"), read("tls"), read("hosts")),
            ("api".into(), "5432".into(), "true".into(), r#"["a"]"#.into())
        );
        for (text, key) in [(text, "gone"), ("hunter2 api 5432", "user"), (r#""hunter2""#, "user"), ("[5432]", "user")]
        {
            let error = member(text, key).unwrap_err();
            assert!(!error.contains("hunter2") && !error.contains("5432"), "{error}");
        }
    }
}
