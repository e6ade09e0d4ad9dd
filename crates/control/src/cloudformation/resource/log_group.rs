//! Log groups of CloudWatch Logs.

use super::call::call;
use super::{Made, Progress, ResourceType, Wanted, deleted};
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

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteLogGroup>(ctx, json!({"logGroupName": made.physical_id})))
    }
}
