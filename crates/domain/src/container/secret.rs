//! `secrets` of a container definition: variables whose values come from Secrets Manager or the
//! Parameter Store (AWS's "Pass sensitive data to an Amazon ECS container").

use super::Invalid;
use quarry_aws::ecs::ContainerDefinition;
use std::collections::BTreeSet;

/// Where a value comes from, from `valueFrom`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A parameter's name or ARN.
    Parameter(String),
    /// `arn:…:secret:<name>[:json-key:version-stage:version-id]`.
    Secret { arn: String, json_key: Option<String>, version_stage: Option<String>, version_id: Option<String> },
}

/// Reads a `valueFrom`. `Err`: what is wrong with it.
pub fn source(value_from: &str) -> Result<SecretSource, Invalid> {
    let invalid = || Invalid(format!("Invalid secret valueFrom '{value_from}'."));
    if !value_from.starts_with("arn:") {
        return Ok(SecretSource::Parameter(value_from.to_owned()));
    }
    let parts: Vec<&str> = value_from.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "ssm", _, _, name] if name.starts_with("parameter/") => {
            Ok(SecretSource::Parameter(value_from.to_owned()))
        }
        ["arn", _, "secretsmanager", _, _, "secret", name, selectors @ ..]
            if !name.is_empty() && matches!(selectors.len(), 0 | 3) =>
        {
            let selector = |at: usize| selectors.get(at).filter(|text| !text.is_empty()).map(|&text| text.to_owned());
            Ok(SecretSource::Secret {
                arn: parts[..7].join(":"),
                json_key: selector(0),
                version_stage: selector(1),
                version_id: selector(2),
            })
        }
        _ => Err(invalid()),
    }
}

/// The names of all secrets of a container and where they come from.
pub fn secrets(container: &ContainerDefinition) -> impl Iterator<Item = (&str, Result<SecretSource, Invalid>)> {
    container.secrets.iter().flatten().map(|secret| {
        (secret.name.as_deref().unwrap_or_default(), source(secret.value_from.as_deref().unwrap_or_default()))
    })
}

/// The checks of RegisterTaskDefinition.
pub(super) fn check(name: &str, container: &ContainerDefinition, execution_role: Option<&str>) -> Result<(), Invalid> {
    let mut seen: BTreeSet<&str> =
        container.environment.iter().flatten().filter_map(|variable| variable.name.as_deref()).collect();
    for secret in container.secrets.iter().flatten() {
        let variable = secret.name.as_deref().unwrap_or_default();
        if variable.is_empty() || variable.contains(['=', '\0']) {
            return Err(Invalid(format!("Invalid secret name '{variable}' for container '{name}'.")));
        }
        if !seen.insert(variable) {
            return Err(Invalid(format!(
                "The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '{variable}'."
            )));
        }
        match secret.value_from.as_deref().unwrap_or_default() {
            "" => return Err(Invalid(format!("The valueFrom of the secret '{variable}' must not be empty."))),
            value_from => source(value_from)?,
        };
    }
    if container.secrets.as_ref().is_some_and(|secrets| !secrets.is_empty())
        && execution_role.is_none_or(|role| role.is_empty())
    {
        return Err(Invalid(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.".into(),
        ));
    }
    Ok(())
}

/// Sensitive data by ways that are not served.
pub(super) fn refuse_others(name: &str, container: &ContainerDefinition) -> Result<(), Invalid> {
    let files = container.environment_files.as_ref().is_some_and(|files| !files.is_empty());
    let logs = container.log_configuration.as_ref().and_then(|logs| logs.secret_options.as_ref());
    let refused = [
        (files, "environmentFiles", "they are read from Amazon S3, which is not served"),
        (container.repository_credentials.is_some(), "repositoryCredentials", "images come from the registry here"),
        (
            logs.is_some_and(|options| !options.is_empty()),
            "logConfiguration.secretOptions",
            "no log driver here needs one",
        ),
    ];
    match refused.into_iter().find(|(given, ..)| *given) {
        None => Ok(()),
        Some((_, member, why)) => {
            Err(Invalid(format!("The parameter '{member}' of container '{name}' is not supported here: {why}.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_from_names_a_parameter_or_a_secret() {
        let secret = |json_key: Option<&str>, stage: Option<&str>, id: Option<&str>| SecretSource::Secret {
            arn: "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf".into(),
            json_key: json_key.map(str::to_owned),
            version_stage: stage.map(str::to_owned),
            version_id: id.map(str::to_owned),
        };
        let base = "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf";
        assert_eq!(source(base).unwrap(), secret(None, None, None));
        assert_eq!(source(&format!("{base}:password::")).unwrap(), secret(Some("password"), None, None));
        assert_eq!(source(&format!("{base}::AWSPREVIOUS:")).unwrap(), secret(None, Some("AWSPREVIOUS"), None));
        assert_eq!(
            source(&format!("{base}:p:AWSCURRENT:v1")).unwrap(),
            secret(Some("p"), Some("AWSCURRENT"), Some("v1"))
        );
        let parameter = "arn:aws:ssm:us-east-1:000000000000:parameter/board/db";
        for name in ["db", "/board/db", parameter] {
            assert_eq!(source(name).unwrap(), SecretSource::Parameter(name.into()));
        }
        let wrong = [
            &format!("{base}:password"),
            "arn:aws:secretsmanager:us-east-1:000000000000:secret:",
            "arn:aws:s3:::bucket/key",
            "arn:aws:ssm:us-east-1:000000000000:document/x",
        ];
        for text in wrong {
            assert!(source(text).is_err(), "{text}");
        }
    }
}
