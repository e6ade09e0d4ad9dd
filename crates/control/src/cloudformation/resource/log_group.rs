//! Log groups of CloudWatch Logs.

use super::call::call;
use super::change::Change;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::logs::op;
use serde_json::{Map, Value, json};

/// `AWS::Logs::LogGroup`.
pub struct LogGroup;

impl ResourceType for LogGroup {
    fn name(&self) -> &'static str {
        "AWS::Logs::LogGroup"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["KmsKeyId", "LogGroupClass", "LogGroupName", "RetentionInDays", "Tags"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["RetentionInDays", "Tags"]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("LogGroupName")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let name = wanted.name("LogGroupName", 512);
        let mut input = wanted.pick(&["KmsKeyId", "LogGroupClass"]);
        input.insert("logGroupName".into(), name.clone().into());
        let tags = wanted
            .own_tags()
            .into_iter()
            .filter_map(|tag| Some((tag["Key"].as_str()?.to_owned(), tag["Value"].clone())));
        input.insert("tags".into(), Value::Object(tags.collect()));
        call::<op::CreateLogGroup>(ctx, input.into())?;
        if let Some(days) = wanted.properties.get("RetentionInDays") {
            call::<op::PutRetentionPolicy>(ctx, json!({"logGroupName": name, "retentionInDays": days}))?;
        }
        let arn = ctx.platform.place().arn("logs", format!("log-group:{name}:*"));
        Ok(Made::new(name).with("Arn", arn))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let name = &made.physical_id;
        match change.value("RetentionInDays", Value::Null) {
            None => {}
            Some(Value::Null) => drop(call::<op::DeleteRetentionPolicy>(ctx, json!({"logGroupName": name}))?),
            Some(days) => {
                call::<op::PutRetentionPolicy>(ctx, json!({"logGroupName": name, "retentionInDays": days}))?;
            }
        }
        if let Some(tags) = change.tags() {
            let arn = ctx.platform.place().arn("logs", format!("log-group:{name}"));
            if !tags.gone.is_empty() {
                call::<op::UntagResource>(ctx, json!({"resourceArn": arn, "tagKeys": tags.gone}))?;
            }
            if !tags.set.is_empty() {
                call::<op::TagResource>(ctx, json!({"resourceArn": arn, "tags": tags.map()}))?;
            }
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeLogGroups>(ctx, json!({"logGroupNamePrefix": made.physical_id}))?;
        let mut groups = output["logGroups"].as_array().into_iter().flatten();
        let group = groups.find(|group| group["logGroupName"] == made.physical_id.as_str());
        Ok(members(group.ok_or_else(|| absent("The log group is not there"))?, self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteLogGroup>(ctx, json!({"logGroupName": made.physical_id})))
    }
}
