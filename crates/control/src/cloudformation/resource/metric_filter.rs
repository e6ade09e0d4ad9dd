//! Metric filters of CloudWatch Logs.

use super::call::call;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::logs::op;
use serde_json::{Map, Value, json};

/// `AWS::Logs::MetricFilter`.
pub struct MetricFilter;

impl ResourceType for MetricFilter {
    fn name(&self) -> &'static str {
        "AWS::Logs::MetricFilter"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "ApplyOnTransformedLogs",
            "EmitSystemFieldDimensions",
            "FieldSelectionCriteria",
            "FilterName",
            "FilterPattern",
            "LogGroupName",
            "MetricTransformations",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["FilterPattern", "LogGroupName", "MetricTransformations"]
    }

    // Its name alone does not name it: with another log group it is another filter.
    fn mutable(&self) -> &'static [&'static str] {
        &[
            "ApplyOnTransformedLogs",
            "EmitSystemFieldDimensions",
            "FieldSelectionCriteria",
            "FilterPattern",
            "MetricTransformations",
        ]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let name = wanted.name("FilterName", 512);
        put(ctx, wanted, &name)?;
        Ok(Made::new(name))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        // A filter is put as a whole: what is not named goes.
        put(ctx, new, &made.physical_id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({"logGroupName": properties["LogGroupName"], "filterNamePrefix": made.physical_id});
        let output = call::<op::DescribeMetricFilters>(ctx, input)?;
        let mut filters = output["metricFilters"].as_array().into_iter().flatten();
        let filter = filters.find(|filter| filter["filterName"] == made.physical_id.as_str());
        let mut seen = members(filter.ok_or_else(|| absent("The metric filter is not there"))?, self.properties());
        if let Some(dimensions) = seen.get_mut("MetricTransformations").and_then(|of| of.pointer_mut("/0/dimensions")) {
            let pairs = dimensions.as_object().into_iter().flatten();
            *dimensions = pairs.map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        }
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let input = json!({"logGroupName": properties["LogGroupName"], "filterName": made.physical_id});
        deleted(call::<op::DeleteMetricFilter>(ctx, input))
    }
}

fn put(ctx: &mut Ctx<'_>, wanted: &Wanted, name: &str) -> Result<()> {
    let mut input = wanted.without(&["FilterName"]);
    input.insert("filterName".into(), name.into());
    let transformations = input.get_mut("MetricTransformations").and_then(Value::as_array_mut);
    for transformation in transformations.into_iter().flatten() {
        // A list of keys and values here, a map in the API.
        if let Some(dimensions) = transformation.get_mut("Dimensions")
            && let Some(pairs) = dimensions.as_array()
        {
            let pair = |pair: &Value| Some((pair["Key"].as_str()?.to_owned(), pair["Value"].clone()));
            *dimensions = Value::Object(pairs.iter().filter_map(pair).collect());
        }
    }
    call::<op::PutMetricFilter>(ctx, input.into())?;
    Ok(())
}
