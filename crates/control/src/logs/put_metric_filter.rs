//! PutMetricFilter: makes a filter, or replaces it.

use super::records::MetricFilter;
use super::{events, find};
use crate::api::{Ctx, Result};
use quarry_aws::logs::{MetricTransformation, PutMetricFilterRequest, error};
use quarry_domain::log_pattern::{Pattern, Reference};
use quarry_wire::{Empty, ServiceError};

/// CloudWatch Logs' limits: of a group, of those with regular expressions in a group, of a filter.
const MAX_FILTERS: usize = 100;
const MAX_REGULAR: usize = 5;
const MAX_DIMENSIONS: usize = 3;

pub fn handle(ctx: &mut Ctx<'_>, input: PutMetricFilterRequest) -> Result<Empty> {
    let group = find::group(ctx.tx, find::group_name(input.log_group_name.as_deref())?)?;
    if input.apply_on_transformed_logs == Some(true) {
        return Err(invalid("applyOnTransformedLogs is not supported here: there are no log transformers."));
    }
    if input.field_selection_criteria.as_deref().is_some_and(|criteria| !criteria.is_empty()) {
        return Err(invalid("fieldSelectionCriteria is not supported here."));
    }
    if input.emit_system_field_dimensions.as_deref().is_some_and(|fields| !fields.is_empty()) {
        return Err(invalid("emitSystemFieldDimensions is not supported here."));
    }
    let text = input.filter_pattern.unwrap_or_default();
    let pattern = Pattern::parse(&text).map_err(|mistake| invalid(mistake.to_string()))?;
    let transformation = input.metric_transformations.into_iter().flatten().next().unwrap_or_default();
    check(&pattern, &transformation)?;
    let name = input.filter_name.unwrap_or_default();
    let others: Vec<MetricFilter> = ctx.tx.children(&group.name)?;
    let before = others.iter().find(|other| other.name == name).cloned();
    if before.is_none() && others.len() >= MAX_FILTERS {
        return Err(error::limit_exceeded_exception("Resource limit exceeded."));
    }
    let is_regular =
        |other: &&MetricFilter| Pattern::parse(&other.pattern).is_ok_and(|pattern| pattern.has_regular_expression());
    let regular = others.iter().filter(|other| other.name != name).filter(is_regular).count();
    if pattern.has_regular_expression() && regular >= MAX_REGULAR {
        return Err(error::limit_exceeded_exception(format!(
            "A log group has at most {MAX_REGULAR} filters with regular expressions."
        )));
    }
    ctx.tx.put(&MetricFilter {
        group: group.name,
        name,
        pattern: text,
        namespace: transformation.metric_namespace.unwrap_or_default(),
        metric: transformation.metric_name.unwrap_or_default(),
        value: transformation.metric_value.unwrap_or_default(),
        default_value: transformation.default_value,
        dimensions: transformation.dimensions.unwrap_or_default(),
        unit: transformation.unit,
        on_transformed: input.apply_on_transformed_logs,
        created_ms: before.map_or_else(|| ctx.platform.now_ms(), |before| before.created_ms),
        // Events of before are not looked at again.
        after: events::newest(ctx.tx)?,
    })?;
    Ok(Empty {})
}

fn check(pattern: &Pattern, transformation: &MetricTransformation) -> Result<()> {
    let namespace = transformation.metric_namespace.as_deref().unwrap_or_default();
    if namespace.is_empty() || namespace.starts_with("AWS/") {
        return Err(invalid(format!("Invalid metric transformation: the namespace '{namespace}' cannot be used")));
    }
    if transformation.metric_name.as_deref().unwrap_or_default().is_empty() {
        return Err(invalid("Invalid metric transformation: the metric has no name"));
    }
    let refers = |text: &str| {
        let reference = Reference::parse(text).map_err(|_| ());
        reference.and_then(|reference| if pattern.has(&reference) { Ok(()) } else { Err(()) })
    };
    let value = transformation.metric_value.as_deref().unwrap_or_default();
    let is_number = value.parse().is_ok_and(f64::is_finite);
    if !is_number && refers(value).is_err() {
        return Err(invalid(format!(
            "Invalid metric transformation: '{value}' is neither a number nor a field of the filter pattern"
        )));
    }
    if transformation.default_value.is_some_and(|value| !value.is_finite()) {
        return Err(invalid("Invalid metric transformation: the default value must be finite"));
    }
    let dimensions = transformation.dimensions.clone().unwrap_or_default();
    if dimensions.len() > MAX_DIMENSIONS {
        return Err(invalid(format!("Invalid metric transformation: at most {MAX_DIMENSIONS} dimensions are allowed")));
    }
    if !dimensions.is_empty() && transformation.default_value.is_some() {
        return Err(invalid("Invalid metric transformation: dimensions and default value are mutually exclusive"));
    }
    for (name, value) in &dimensions {
        if name.is_empty() || name.starts_with(':') || refers(value).is_err() {
            return Err(invalid(format!(
                "Invalid metric transformation: the value '{value}' of the dimension '{name}' is no field of the filter pattern"
            )));
        }
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}
