//! ECR repositories.

use super::call::{call, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, deleted, document, members};
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

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "EmptyOnDelete",
            "ImageScanningConfiguration",
            "ImageTagMutability",
            "LifecyclePolicy",
            "RepositoryPolicyText",
            "Tags",
        ]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("RepositoryName")
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
            let policy = document(policy);
            call::<op::SetRepositoryPolicy>(ctx, json!({"repositoryName": name, "policyText": policy}))?;
        }
        let repository = &output["repository"];
        Ok(Made::new(name)
            .with("Arn", text(repository, "/repositoryArn")?)
            .with("RepositoryUri", text(repository, "/repositoryUri")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let name = json!({"repositoryName": made.physical_id});
        let with = |more: Value| {
            let mut input = name.clone();
            input
                .as_object_mut()
                .into_iter()
                .for_each(|input| input.extend(more.as_object().cloned().unwrap_or_default()));
            input
        };
        if let Some(configuration) = change.value("ImageScanningConfiguration", json!({"scanOnPush": false})) {
            let input = with(json!({"imageScanningConfiguration": configuration}));
            call::<op::PutImageScanningConfiguration>(ctx, input)?;
        }
        if let Some(mutability) = change.value("ImageTagMutability", "MUTABLE") {
            call::<op::PutImageTagMutability>(ctx, with(json!({"imageTagMutability": mutability})))?;
        }
        match change.value("LifecyclePolicy", Value::Null) {
            None => {}
            Some(Value::Null) => drop(call::<op::DeleteLifecyclePolicy>(ctx, name.clone())?),
            Some(policy) => {
                let input = with(json!({"lifecyclePolicyText": policy["LifecyclePolicyText"]}));
                call::<op::PutLifecyclePolicy>(ctx, input)?;
            }
        }
        match change.value("RepositoryPolicyText", Value::Null) {
            None => {}
            Some(Value::Null) => drop(call::<op::DeleteRepositoryPolicy>(ctx, name.clone())?),
            Some(policy) => {
                call::<op::SetRepositoryPolicy>(ctx, with(json!({"policyText": document(&policy)})))?;
            }
        }
        let arn = json!({"resourceArn": made.attributes["Arn"]});
        retag::<op::TagResource, op::UntagResource>(ctx, &change, &arn)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeRepositories>(ctx, json!({"repositoryNames": [made.physical_id]}))?;
        Ok(members(&output["repositories"][0], &["ImageScanningConfiguration", "ImageTagMutability", "RepositoryName"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let force = properties.get("EmptyOnDelete").and_then(text_of).is_some_and(|flag| flag == "true");
        deleted(call::<op::DeleteRepository>(ctx, json!({"repositoryName": made.physical_id, "force": force})))
    }
}
