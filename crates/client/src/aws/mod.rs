//! AWS itself, as the environment and the shared files describe it: credentials, region, endpoints, certificates.
//!
//! Profiles may hold an access key, or the ARN of a role with a `source_profile`, which is assumed. What needs another
//! program or another person (single sign-on, credential processes, MFA, web identities) is refused with what to do.

mod files;

use std::collections::BTreeMap;
use std::path::PathBuf;

use quarry_aws::sts;

use crate::call::{CallError, Client};
use crate::credentials::Credentials;
use crate::http::{InvalidEndpoint, Transport};
use crate::regions::{Instead, Regional, UnknownRegion, check};
use files::Files;

/// Which of an account's many faces is meant.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// A profile of the shared files. Without one: the access key in the environment, then `AWS_PROFILE`, then `default`.
    pub profile: Option<String>,
    /// Without one that of the profile that is named, then `AWS_REGION` and `AWS_DEFAULT_REGION`, then the profile's.
    pub region: Option<String>,
    /// An endpoint in the environment that is not meant, though it is named there: Quarry's own.
    pub not_endpoint: Option<String>,
    /// An access key in the environment that is not meant: Quarry's own.
    pub not_key: Option<String>,
}

/// A client of AWS, and what it was made of.
#[derive(Clone, Debug)]
pub struct Aws {
    pub client: Client,
    pub region: String,
    /// The profile that the credentials are from; `None`: from the environment.
    pub profile: Option<String>,
    /// The endpoint that stands for all of AWS's, where one does.
    pub endpoint: Option<String>,
    /// The file of certificates that servers are believed by, where one is named.
    pub bundle: Option<PathBuf>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    #[error(
        "there are no credentials of AWS: name a profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
         (`aws configure` writes the files)"
    )]
    NoCredentials,
    #[error("there is no profile {0} in ~/.aws/config or ~/.aws/credentials")]
    NoProfile(String),
    #[error("the profile {profile} has {what}: {instead}")]
    Unsupported { profile: String, what: String, instead: String },
    #[error("the profile {0} takes its credentials from itself by its source_profile")]
    Circle(String),
    #[error("no region: name one, or set AWS_REGION")]
    NoRegion,
    #[error(transparent)]
    Region(#[from] UnknownRegion),
    #[error("{0}")]
    Certificates(String),
    #[error("cannot read {path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("the role {role} was not given: {source}")]
    Role { role: String, source: Box<CallError> },
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    #[error("{0} is not supported: name the endpoints with AWS_ENDPOINT_URL_<SERVICE>")]
    Setting(&'static str),
}

impl Aws {
    /// The account of a choice; a role is assumed by a call to STS.
    pub async fn open(choice: &Choice) -> Result<Self, AwsError> {
        let settings = Settings::from_environment()?;
        settings.open(choice).await
    }
}

/// For fuzzing: whatever stands in the two files, their profiles can be written down as one file of credentials that says
/// the same, and each comes to a key or to why it does not.
pub fn check_files(config: &str, credentials: &str) {
    let files = Files::parse(config, credentials);
    let mut written = String::new();
    for (name, values) in files.profiles() {
        written.push_str(&format!("[{name}]\n"));
        values.iter().for_each(|(key, value)| written.push_str(&format!("{key}={value}\n")));
    }
    let again = Files::parse("", &written);
    assert!(again.profiles().eq(files.profiles()), "{written:?}: {again:?}, but it was {files:?}");
    let settings = Settings { variables: BTreeMap::new(), files };
    for (name, _) in again.profiles() {
        let choice = Choice { profile: Some(name.to_owned()), ..Choice::default() };
        match settings.source(&choice) {
            Ok((_, profile)) => assert_eq!(profile.as_deref(), Some(name)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        let _ = (settings.region(&choice), settings.instead(&choice));
    }
}

/// The environment and the shared files.
struct Settings {
    variables: BTreeMap<String, String>,
    files: Files,
}

/// Where credentials come from, before any call is made.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Key(Credentials),
    Role { arn: String, session: String, external_id: Option<String>, seconds: Option<i32>, by: Box<Source> },
}

impl Settings {
    fn from_environment() -> Result<Self, AwsError> {
        let variables: BTreeMap<String, String> =
            std::env::vars().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty()).collect();
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let text = |variable: &str, name: &str| {
            let path = variables.get(variable).map_or_else(|| home.join(".aws").join(name), PathBuf::from);
            match std::fs::read_to_string(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(AwsError::File { path: path.display().to_string(), source })
                }
                read => Ok(read.unwrap_or_default()),
            }
        };
        let files =
            Files::parse(&text("AWS_CONFIG_FILE", "config")?, &text("AWS_SHARED_CREDENTIALS_FILE", "credentials")?);
        Ok(Self { variables, files })
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    fn profile_name(&self, choice: &Choice) -> String {
        let named = choice.profile.as_deref().or(self.variable("AWS_PROFILE"));
        named.unwrap_or("default").to_owned()
    }

    async fn open(&self, choice: &Choice) -> Result<Aws, AwsError> {
        for name in ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"] {
            if self.variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
                return Err(AwsError::Setting(name));
            }
        }
        let (source, profile) = self.source(choice)?;
        let region = self.region(choice)?;
        let instead = self.instead(choice);
        if instead.all.is_none() {
            check(&region)?;
        }
        let values = self.files.profile(&self.profile_name(choice));
        let bundle = self.variable("AWS_CA_BUNDLE").or(values.and_then(|v| v.get("ca_bundle")).map(String::as_str));
        let bundle = bundle.map(PathBuf::from);
        let transport = Transport::trusting(bundle.as_deref()).map_err(AwsError::Certificates)?;
        let endpoint = instead.all.clone();
        let regional = Regional::new(transport, &region, instead);
        let credentials = credentials(source, &regional).await?;
        Ok(Aws { client: Client::regional(regional, credentials), region, profile, endpoint, bundle })
    }

    fn region(&self, choice: &Choice) -> Result<String, AwsError> {
        let of_profile = self.files.profile(&self.profile_name(choice)).and_then(|p| p.get("region"));
        let of_profile = of_profile.map(String::as_str);
        // What stands in the environment is not about a profile that is named on the command line.
        let named = choice.profile.as_ref().and(of_profile);
        let all = [
            choice.region.as_deref(),
            named,
            self.variable("AWS_REGION"),
            self.variable("AWS_DEFAULT_REGION"),
            of_profile,
        ];
        all.into_iter().flatten().next().map(str::to_owned).ok_or(AwsError::NoRegion)
    }

    /// Endpoints by the environment, then by the profile (AWS SDKs and Tools Reference Guide).
    fn instead(&self, choice: &Choice) -> Instead {
        let values = self.files.profile(&self.profile_name(choice));
        let ignored = |value: Option<&str>| value.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let of_profile = values.and_then(|v| v.get("ignore_configured_endpoint_urls")).map(String::as_str);
        if ignored(self.variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").or(of_profile)) {
            return Instead::default();
        }
        let meant = |url: &str| {
            choice.not_endpoint.as_deref().is_none_or(|own| own.trim_end_matches('/') != url.trim_end_matches('/'))
        };
        let mut one = values.map(|values| self.files.endpoints(values)).unwrap_or_default();
        for (name, url) in &self.variables {
            if let Some(service) = name.strip_prefix("AWS_ENDPOINT_URL_") {
                one.insert(service.to_ascii_lowercase(), url.clone());
            }
        }
        one.retain(|_, url| meant(url));
        let all = self.variable("AWS_ENDPOINT_URL").filter(|url| meant(url));
        let all = all.or_else(|| values.and_then(|v| v.get("endpoint_url")).map(String::as_str));
        Instead { all: all.map(str::to_owned), one }
    }

    /// Whose credentials are meant, and the profile they are of.
    fn source(&self, choice: &Choice) -> Result<(Source, Option<String>), AwsError> {
        if choice.profile.is_none()
            && let Ok(key) = Credentials::from_lookup(|name| self.variables.get(name).cloned())
            && choice.not_key.as_deref() != Some(key.access_key_id())
        {
            return Ok((Source::Key(key), None));
        }
        let name = self.profile_name(choice);
        if self.files.profile(&name).is_none() && choice.profile.is_none() && self.variable("AWS_PROFILE").is_none() {
            return Err(AwsError::NoCredentials);
        }
        Ok((self.of_profile(&name, &mut Vec::new())?, Some(name)))
    }

    fn of_profile(&self, name: &str, seen: &mut Vec<String>) -> Result<Source, AwsError> {
        let values = self.files.profile(name).ok_or_else(|| AwsError::NoProfile(name.to_owned()))?;
        let get = |key: &str| values.get(key).filter(|value| !value.is_empty()).cloned();
        let unsupported = |what: &str, instead: &str| AwsError::Unsupported {
            profile: name.to_owned(),
            what: what.to_owned(),
            instead: instead.to_owned(),
        };
        let export = format!(
            "run `eval \"$(aws configure export-credentials --profile {name} --format env)\"` in this shell, and name no \
             profile (`quarry env init --aws`)"
        );
        let key = match (get("aws_access_key_id"), get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Some(Credentials::new(id, secret, get("aws_session_token"))),
            _ => None,
        };
        let Some(arn) = get("role_arn") else {
            if let Some(key) = key {
                return Ok(Source::Key(key));
            }
            for (setting, what) in [
                ("sso_session", "single sign-on"),
                ("sso_start_url", "single sign-on"),
                ("login_session", "a login of the console"),
                ("credential_process", "a program that gives its credentials"),
            ] {
                if get(setting).is_some() {
                    return Err(unsupported(&format!("{what} ({setting}), which is not done here"), &export));
                }
            }
            return Err(unsupported("no access key", "run `aws configure --profile` for it, or name another profile"));
        };
        for setting in ["mfa_serial", "web_identity_token_file"] {
            if get(setting).is_some() {
                return Err(unsupported(&format!("{setting}, which is not done here"), &export));
            }
        }
        // A profile may be its own source, by the access key in it.
        let by = match (get("source_profile"), get("credential_source")) {
            (Some(source), _) if source == name => Source::Key(key.ok_or_else(|| AwsError::Circle(name.to_owned()))?),
            (Some(source), _) => {
                seen.push(name.to_owned());
                if seen.contains(&source) {
                    return Err(AwsError::Circle(name.to_owned()));
                }
                self.of_profile(&source, seen)?
            }
            (None, Some(source)) if source == "Environment" => {
                let found = Credentials::from_lookup(|name| self.variables.get(name).cloned());
                Source::Key(found.map_err(|_| AwsError::NoCredentials)?)
            }
            (None, Some(_)) => return Err(unsupported("a credential_source other than Environment", &export)),
            (None, None) => {
                return Err(unsupported("a role_arn without a source_profile", "name whose key assumes it"));
            }
        };
        let seconds = match get("duration_seconds").map(|text| text.parse()) {
            Some(Err(_)) => return Err(unsupported("a duration_seconds that is no number", "write 3600")),
            parsed => parsed.and_then(Result::ok),
        };
        let session = get("role_session_name").unwrap_or_else(|| "quarry".into());
        Ok(Source::Role { arn, session, external_id: get("external_id"), seconds, by: Box::new(by) })
    }
}

/// The key of a source; roles are assumed one after the other, the innermost first.
async fn credentials(mut source: Source, to: &Regional) -> Result<Credentials, AwsError> {
    let mut roles = Vec::new();
    let mut key = loop {
        match source {
            Source::Key(key) => break key,
            Source::Role { arn, session, external_id, seconds, by } => {
                let input = sts::AssumeRoleRequest {
                    role_arn: Some(arn),
                    role_session_name: Some(session),
                    external_id,
                    duration_seconds: seconds,
                    ..Default::default()
                };
                roles.push(input);
                source = *by;
            }
        }
    };
    while let Some(input) = roles.pop() {
        let role = input.role_arn.clone().unwrap_or_default();
        let answer = Client::regional(to.clone(), key).call::<sts::op::AssumeRole>(input).await;
        let answer = answer.map_err(|source| AwsError::Role { role: role.clone(), source: Box::new(source) })?;
        let given = answer.credentials.unwrap_or_default();
        let text = |text: Option<String>| text.unwrap_or_default();
        key = Credentials::new(text(given.access_key_id), text(given.secret_access_key), given.session_token);
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_https;
