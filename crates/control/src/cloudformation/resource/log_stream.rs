//! Log streams of CloudWatch Logs.

use super::call::call;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::logs::op;
use serde_json::{Map, Value, json};

/// `AWS::Logs::LogStream`.
pub struct LogStream;

impl ResourceType for LogStream {
    fn name(&self) -> &'static str {
        "AWS::Logs::LogStream"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["LogGroupName", "LogStreamName"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["LogGroupName"]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("LogStreamName")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let name = wanted.name("LogStreamName", 512);
        let input = json!({"logGroupName": wanted.needed("LogGroupName")?, "logStreamName": name});
        call::<op::CreateLogStream>(ctx, input)?;
        Ok(Made::new(name))
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({"logGroupName": properties["LogGroupName"], "logStreamNamePrefix": made.physical_id});
        let output = call::<op::DescribeLogStreams>(ctx, input)?;
        let mut streams = output["logStreams"].as_array().into_iter().flatten();
        let stream = streams.find(|stream| stream["logStreamName"] == made.physical_id.as_str());
        Ok(members(stream.ok_or_else(|| absent("The log stream is not there"))?, &["LogStreamName"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let input = json!({"logGroupName": properties["LogGroupName"], "logStreamName": made.physical_id});
        deleted(call::<op::DeleteLogStream>(ctx, input))
    }
}
