//! ECR repositories.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use crate::cloudformation::template::text_of;
use quarry_aws::ecr::op;
use serde_json::{Map, Value, json};

/// `AWS::ECR::Repository`.
pub struct Repository;

impl ResourceType for Repository {
    fn name(&self) -> &'static str {
        "AWS::ECR::Repository"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "EmptyOnDelete",
            "EncryptionConfiguration",
            "ImageScanningConfiguration",
            "ImageTagMutability",
            "LifecyclePolicy",
            "RepositoryName",
            "RepositoryPolicyText",
            "Tags",
        ]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn", "RepositoryUri"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["EncryptionConfiguration", "ImageScanningConfiguration", "ImageTagMutability"]);
        let name = wanted.text("RepositoryName").unwrap_or_else(|| wanted.generated(256).to_lowercase());
        input.insert("repositoryName".into(), name.clone().into());
        input.insert("tags".into(), wanted.own_tags().into());
        let output = call::<op::CreateRepository>(ctx, input.into())?;
        if let Some(policy) = wanted.properties.get("LifecyclePolicy") {
            let input = json!({"repositoryName": name, "lifecyclePolicyText": policy["LifecyclePolicyText"]});
            call::<op::PutLifecyclePolicy>(ctx, input)?;
        }
        if let Some(policy) = wanted.properties.get("RepositoryPolicyText") {
            let policy = policy.as_str().map_or_else(|| policy.to_string(), str::to_owned);
            call::<op::SetRepositoryPolicy>(ctx, json!({"repositoryName": name, "policyText": policy}))?;
        }
        let repository = &output["repository"];
        Ok(Made::new(name)
            .with("Arn", text(repository, "/repositoryArn")?)
            .with("RepositoryUri", text(repository, "/repositoryUri")?))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let force = properties.get("EmptyOnDelete").and_then(text_of).is_some_and(|flag| flag == "true");
        deleted(call::<op::DeleteRepository>(ctx, json!({"repositoryName": made.physical_id, "force": force})))
    }
}
