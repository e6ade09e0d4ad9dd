//! Which applications, environments and services there are: parameters of Systems Manager under
//! `/copilot/applications`, in Copilot's form, so that others see the same.

use anyhow::{Context as _, Result, bail};
use quarry_aws::ssm::op::{DeleteParameter, GetParameter, GetParametersByPath, PutParameter};
use quarry_aws::ssm::{
    DeleteParameterRequest, GetParameterRequest, GetParametersByPathRequest, PutParameterRequest, Tag,
};
use quarry_client::Client;
use serde::{Deserialize, Serialize};

const ROOT: &str = "/copilot/applications";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Application {
    pub name: String,
    #[serde(default)]
    pub account: String,
    #[serde(default)]
    pub domain: String,
    #[serde(default)]
    pub version: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnvironmentRecord {
    pub app: String,
    pub name: String,
    pub region: String,
    #[serde(rename = "accountID")]
    pub account: String,
    /// The name of the profile with credentials for another account than the one this is kept in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default, rename = "registryURL")]
    pub registry_url: String,
    #[serde(default, rename = "executionRoleARN")]
    pub execution_role: String,
    #[serde(default, rename = "managerRoleARN")]
    pub manager_role: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceRecord {
    pub app: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// The records at an endpoint.
pub struct State<'a> {
    pub aws: &'a Client,
}

impl State<'_> {
    pub async fn applications(&self) -> Result<Vec<Application>> {
        self.below(ROOT).await
    }

    pub async fn application(&self, name: &str) -> Result<Application> {
        match self.get(&format!("{ROOT}/{name}")).await? {
            Some(app) => Ok(app),
            None => bail!("there is no application {name}: make it with `quarry app init {name}`"),
        }
    }

    pub async fn put_application(&self, app: &Application) -> Result<()> {
        self.put(&format!("{ROOT}/{}", app.name), &app.name, app).await
    }

    pub async fn delete_application(&self, name: &str) -> Result<()> {
        self.delete(&format!("{ROOT}/{name}")).await
    }

    pub async fn environments(&self, app: &str) -> Result<Vec<EnvironmentRecord>> {
        self.below(&format!("{ROOT}/{app}/environments")).await
    }

    pub async fn environment(&self, app: &str, name: &str) -> Result<EnvironmentRecord> {
        match self.get(&format!("{ROOT}/{app}/environments/{name}")).await? {
            Some(environment) => Ok(environment),
            None => bail!(
                "the application {app} has no environment {name}: make it with `quarry env init --app {app} --name {name}`"
            ),
        }
    }

    pub async fn put_environment(&self, record: &EnvironmentRecord) -> Result<()> {
        self.put(&format!("{ROOT}/{}/environments/{}", record.app, record.name), &record.app, record).await
    }

    pub async fn delete_environment(&self, app: &str, name: &str) -> Result<()> {
        self.delete(&format!("{ROOT}/{app}/environments/{name}")).await
    }

    pub async fn services(&self, app: &str) -> Result<Vec<ServiceRecord>> {
        self.below(&format!("{ROOT}/{app}/components")).await
    }

    pub async fn put_service(&self, record: &ServiceRecord) -> Result<()> {
        self.put(&format!("{ROOT}/{}/components/{}", record.app, record.name), &record.app, record).await
    }

    pub async fn delete_service(&self, app: &str, name: &str) -> Result<()> {
        self.delete(&format!("{ROOT}/{app}/components/{name}")).await
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>> {
        let input = GetParameterRequest { name: Some(name.into()), ..Default::default() };
        match self.aws.call::<GetParameter>(input).await {
            Ok(found) => {
                let value = found.parameter.and_then(|p| p.value).unwrap_or_default();
                Ok(Some(serde_json::from_str(&value).with_context(|| format!("the parameter {name} is damaged"))?))
            }
            Err(error) if error.code() == Some("ParameterNotFound") => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The records directly below a path, by name. Copilot keeps nothing else there.
    async fn below<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<Vec<T>> {
        let input = GetParametersByPathRequest { path: Some(path.into()), ..Default::default() };
        let pages = self.aws.paginate::<GetParametersByPath>(input).await?;
        let mut all: Vec<_> = pages.into_iter().flat_map(|page| page.parameters.unwrap_or_default()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let read = |value: Option<String>| serde_json::from_str(&value.unwrap_or_default());
        all.into_iter()
            .map(|p| read(p.value).with_context(|| format!("the parameter {} is damaged", p.name.unwrap_or_default())))
            .collect()
    }

    async fn put(&self, name: &str, app: &str, value: &impl Serialize) -> Result<()> {
        let input = PutParameterRequest {
            name: Some(name.into()),
            r#type: Some("String".into()),
            value: Some(serde_json::to_string(value)?),
            ..Default::default()
        };
        let tag = Tag { key: Some("copilot-application".into()), value: Some(app.into()) };
        let new = PutParameterRequest { tags: Some(vec![tag]), ..input.clone() };
        match self.aws.call::<PutParameter>(new).await {
            Err(error) if error.code() == Some("ParameterAlreadyExists") => {
                self.aws.call::<PutParameter>(PutParameterRequest { overwrite: Some(true), ..input }).await?;
            }
            outcome => {
                outcome?;
            }
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.aws.call::<DeleteParameter>(DeleteParameterRequest { name: Some(name.into()) }).await {
            Err(error) if error.code() == Some("ParameterNotFound") => Ok(()),
            outcome => Ok(outcome.map(|_| ())?),
        }
    }
}
