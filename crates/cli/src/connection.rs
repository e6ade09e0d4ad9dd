//! Which endpoint a command speaks to, and as whom.

use anyhow::{Context, Result, bail};
use quarry_client::{Client, Credentials};
use std::path::Path;

/// An endpoint with the credentials for it.
#[derive(Clone)]
pub struct Connection {
    pub endpoint: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl Connection {
    /// The data directory's Quarry if one is named; else the environment's endpoint if it is a local
    /// one; else the default data directory's. Never AWS itself.
    pub fn choose(data_dir: Option<&Path>, local: impl Fn(Option<&Path>) -> Result<Self>) -> Result<Self> {
        if data_dir.is_some() {
            return local(data_dir);
        }
        match std::env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty()) {
            Some(endpoint) => Self::from_env(endpoint),
            None => local(None),
        }
    }

    pub fn client(&self) -> Result<Client> {
        let credentials = Credentials::new(&self.access_key_id, &self.secret_access_key, None);
        Ok(Client::new(&self.endpoint, &self.region, credentials)?)
    }

    fn from_env(endpoint: String) -> Result<Self> {
        if !endpoint.starts_with("http://") {
            bail!(
                "AWS_ENDPOINT_URL is {endpoint}: the endpoint of this machine's Quarry starts with http://. Take it out \
                 of this shell, or name the Quarry by --data-dir"
            );
        }
        let variable = |name: &str| {
            std::env::var(name).with_context(|| {
                format!("AWS_ENDPOINT_URL is set but {name} is not: run `eval \"$(quarry env)\"` in this shell")
            })
        };
        Ok(Self {
            endpoint,
            region: variable("AWS_REGION")?,
            access_key_id: variable("AWS_ACCESS_KEY_ID")?,
            secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
        })
    }
}
