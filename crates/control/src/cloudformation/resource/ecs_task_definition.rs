//! ECS task definitions.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::op;
use serde_json::{Map, Value, json};

/// `AWS::ECS::TaskDefinition`.
pub struct TaskDefinition;

impl ResourceType for TaskDefinition {
    fn name(&self) -> &'static str {
        "AWS::ECS::TaskDefinition"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "ContainerDefinitions",
            "Cpu",
            "EphemeralStorage",
            "ExecutionRoleArn",
            "Family",
            "IpcMode",
            "Memory",
            "NetworkMode",
            "PidMode",
            "PlacementConstraints",
            "RequiresCompatibilities",
            "RuntimePlatform",
            "Tags",
            "TaskRoleArn",
            "Volumes",
        ]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["TaskDefinitionArn"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["Family", "Tags"]);
        let family = wanted.text("Family").unwrap_or_else(|| wanted.generated(255).replace('-', ""));
        input.insert("family".into(), family.into());
        input.insert("tags".into(), wanted.own_tags().into());
        let output = call::<op::RegisterTaskDefinition>(ctx, input.into())?;
        let arn = text(&output, "/taskDefinition/taskDefinitionArn")?;
        Ok(Made::new(&arn).with("TaskDefinitionArn", arn))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let input = json!({"taskDefinition": made.physical_id});
        match call::<op::DeregisterTaskDefinition>(ctx, input) {
            // Deregistered already: there is nothing left to do.
            Err(error) if error.code == "ClientException" || error.code == "InvalidParameterException" => {
                Ok(Progress::Done)
            }
            other => deleted(other),
        }
    }
}
