//! Alarms of CloudWatch.

use super::call::{call, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::cloudwatch::op;
use serde_json::{Map, Value, json};

/// `AWS::CloudWatch::Alarm`.
pub struct Alarm;

impl ResourceType for Alarm {
    fn name(&self) -> &'static str {
        "AWS::CloudWatch::Alarm"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "ActionsEnabled",
            "AlarmActions",
            "AlarmDescription",
            "AlarmName",
            "ComparisonOperator",
            "DatapointsToAlarm",
            "Dimensions",
            "EvaluateLowSampleCountPercentile",
            "EvaluationPeriods",
            "ExtendedStatistic",
            "InsufficientDataActions",
            "MetricName",
            "Metrics",
            "Namespace",
            "OKActions",
            "Period",
            "Statistic",
            "Tags",
            "Threshold",
            "ThresholdMetricId",
            "TreatMissingData",
            "Unit",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["ComparisonOperator", "EvaluationPeriods"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "ActionsEnabled",
            "AlarmActions",
            "AlarmDescription",
            "ComparisonOperator",
            "DatapointsToAlarm",
            "Dimensions",
            "EvaluateLowSampleCountPercentile",
            "EvaluationPeriods",
            "ExtendedStatistic",
            "InsufficientDataActions",
            "MetricName",
            "Metrics",
            "Namespace",
            "OKActions",
            "Period",
            "Statistic",
            "Tags",
            "Threshold",
            "ThresholdMetricId",
            "TreatMissingData",
            "Unit",
        ]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("AlarmName")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let name = wanted.name("AlarmName", 255);
        let mut input = wanted.without(&["AlarmName", "Tags"]);
        input.insert("AlarmName".into(), name.clone().into());
        input.insert("Tags".into(), wanted.own_tags().into());
        call::<op::PutMetricAlarm>(ctx, input.into())?;
        let seen = describe(ctx, &name)?;
        Ok(Made::new(name).with("Arn", text(&seen, "/AlarmArn")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        // An alarm is put as a whole: what is not named goes.
        let mut input = new.without(&["AlarmName", "Tags"]);
        input.insert("AlarmName".into(), made.physical_id.clone().into());
        call::<op::PutMetricAlarm>(ctx, input.into())?;
        retag::<op::TagResource, op::UntagResource>(ctx, &change, &json!({"ResourceARN": made.attributes["Arn"]}))?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        Ok(members(&describe(ctx, &made.physical_id)?, self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteAlarms>(ctx, json!({"AlarmNames": [made.physical_id]})))
    }
}

fn describe(ctx: &mut Ctx<'_>, name: &str) -> Result<Value> {
    let output = call::<op::DescribeAlarms>(ctx, json!({"AlarmNames": [name]}))?;
    output.pointer("/MetricAlarms/0").cloned().ok_or_else(|| absent("The alarm is not there"))
}
