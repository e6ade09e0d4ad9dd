//! ECS task definitions.

use super::call::{call, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
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

    fn mutable(&self) -> &'static [&'static str] {
        &["Tags"]
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

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let arn = json!({"resourceArn": made.physical_id});
        retag::<op::TagResource, op::UntagResource>(ctx, &change, &arn)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({"taskDefinition": made.physical_id, "include": ["TAGS"]});
        let output = call::<op::DescribeTaskDefinition>(ctx, input)?;
        if output["taskDefinition"]["status"] != "ACTIVE" {
            return Err(absent("The task definition is not active"));
        }
        let mut seen = members(&output["taskDefinition"], self.properties());
        seen.extend(members(&output, &["Tags"]));
        Ok(seen)
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
