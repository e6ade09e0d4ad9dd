//! The access key a client signs with.

use quarry_wire::sigv4;

/// An access key. Its secret parts are not printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials(sigv4::Credentials);

/// The environment names no access key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set; `quarry env` prints them")]
pub struct NoCredentials;

impl Credentials {
    pub fn new(
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
        session_token: Option<String>,
    ) -> Self {
        Credentials(sigv4::Credentials {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token,
        })
    }

    /// From `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub fn from_env() -> Result<Self, NoCredentials> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// The access key id, which is not secret.
    pub fn access_key_id(&self) -> &str {
        &self.0.access_key_id
    }

    pub(crate) fn signing(&self) -> &sigv4::Credentials {
        &self.0
    }

    pub(crate) fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Self, NoCredentials> {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => Ok(Self::new(id, secret, set("AWS_SESSION_TOKEN"))),
            _ => Err(NoCredentials),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_are_needed_and_secrets_stay_unprinted() {
        let half = |name: &str| (name == "AWS_ACCESS_KEY_ID").then(|| "AKIAEXAMPLE".to_owned());
        assert_eq!(Credentials::from_lookup(half), Err(NoCredentials));
        let both = |name: &str| (name != "AWS_SESSION_TOKEN").then(|| format!("value-of-{name}"));
        let credentials = Credentials::from_lookup(both).expect("both are set");
        assert_eq!(credentials.access_key_id(), "value-of-AWS_ACCESS_KEY_ID");
        assert!(!format!("{credentials:?}").contains("SECRET"));
    }
}
