//! DescribeMetricFilters, in the order of their names.

use super::find;
use super::records::MetricFilter;
use crate::api::{Ctx, Result};
use crate::page;
use crate::store::Item;
use quarry_aws::logs::{
    self, DescribeMetricFiltersRequest, DescribeMetricFiltersResponse, MetricTransformation, error,
};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeMetricFiltersRequest) -> Result<DescribeMetricFiltersResponse> {
    let limit = find::limit(input.limit, 50)?;
    if input.metric_name.is_some() != input.metric_namespace.is_some() {
        return Err(error::invalid_parameter_exception("metricName and metricNamespace are only used together."));
    }
    let mut filters: Vec<MetricFilter> = match &input.log_group_name {
        Some(name) => {
            let prefix = input.filter_name_prefix.as_deref().unwrap_or_default();
            let mut filters: Vec<MetricFilter> = ctx.tx.children(&find::group(ctx.tx, name)?.name)?;
            filters.retain(|filter| filter.name.starts_with(prefix));
            filters
        }
        // The prefix counts only together with a group, says AWS.
        None => ctx.tx.all()?,
    };
    let wanted = |given: &Option<String>, has: &str| given.as_ref().is_none_or(|given| given == has);
    filters.retain(|filter| {
        wanted(&input.metric_name, &filter.metric) && wanted(&input.metric_namespace, &filter.namespace)
    });
    filters.sort_by(|a, b| (&a.name, &a.group).cmp(&(&b.name, &b.group)));
    let (filters, next_token) = page::after(filters, Item::key, input.next_token.as_deref(), limit)
        .ok_or_else(|| error::invalid_parameter_exception("The specified nextToken is invalid."))?;
    Ok(DescribeMetricFiltersResponse { metric_filters: Some(filters.into_iter().map(shown).collect()), next_token })
}

fn shown(filter: MetricFilter) -> logs::MetricFilter {
    let transformation = MetricTransformation {
        metric_name: Some(filter.metric),
        metric_namespace: Some(filter.namespace),
        metric_value: Some(filter.value),
        default_value: filter.default_value,
        dimensions: Some(filter.dimensions).filter(|dimensions| !dimensions.is_empty()),
        unit: filter.unit,
    };
    logs::MetricFilter {
        filter_name: Some(filter.name),
        filter_pattern: Some(filter.pattern),
        metric_transformations: Some(vec![transformation]),
        creation_time: Some(filter.created_ms),
        log_group_name: Some(filter.group),
        apply_on_transformed_logs: filter.on_transformed,
        ..logs::MetricFilter::default()
    }
}
