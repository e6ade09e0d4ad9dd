//! The alarms of policies: those that a target tracking policy makes, and what alarms say.

use super::error::{split, validation};
use super::records::{Kind, Policy};
use crate::api::{Ctx, Result};
use crate::cloudwatch::evaluate::{newest, with_action};
use crate::cloudwatch::query::{Query, Source};
use crate::cloudwatch::records::{Alarm, Watched};
use crate::cloudwatch::store::Metric;
use crate::cloudwatch::{alarm_arn, configure_alarm, remove_alarm};
use crate::platform::Platform;
use crate::store::StoreError;
use quarry_aws::application_autoscaling::{
    self as aws, CustomizedMetricSpecification, PredefinedMetricSpecification, TargetTrackingScalingPolicyConfiguration,
};
use quarry_domain::metric::alarm::State;
use quarry_domain::scaling::{HIGH_PERIODS, LOW, LOW_PERIODS};

/// By how much an alarm's metric is off its threshold.
pub struct StepBreach {
    pub alarm: String,
    pub by: f64,
}

/// The value that an alarm's metric has, if the alarm is in ALARM.
pub fn in_alarm(ctx: &Ctx<'_>, name: &str) -> Result<Option<f64>> {
    let alarm: Option<Alarm> = ctx.tx.get(name)?;
    Ok(alarm.filter(|alarm| alarm.state == State::Alarm).and_then(|alarm| newest(ctx.platform, &alarm)))
}

/// The alarms in whose present state this policy is an action.
pub fn breaches(ctx: &Ctx<'_>, policy_arn: &str) -> Result<Vec<StepBreach>> {
    let mut alarms = with_action(ctx.tx, policy_arn)?;
    alarms.retain(|alarm| alarm.actions_enabled && alarm.actions().iter().any(|action| action == policy_arn));
    let breach =
        |alarm: Alarm| Some(StepBreach { by: newest(ctx.platform, &alarm)? - alarm.threshold, alarm: alarm.name });
    Ok(alarms.into_iter().filter_map(breach).collect())
}

/// Makes or changes the alarms of a target tracking policy, named as AWS names them.
pub fn make(ctx: &mut Ctx<'_>, policy: &Policy) -> Result<()> {
    let Kind::Tracking { configuration, high, low } = &policy.kind else { return Ok(()) };
    let watched = watched(&policy.resource_id, configuration)?;
    let target = configuration.target_value.unwrap_or_default();
    let mut put = |name: &str, role: Role| {
        configure_alarm(ctx, tracking_alarm(ctx.platform, name, &policy.arn, watched.clone(), role))
    };
    put(high, Role { comparison: "GreaterThanThreshold", threshold: target, periods: HIGH_PERIODS })?;
    match low {
        Some(low) => put(low, Role { comparison: "LessThanThreshold", threshold: target * LOW, periods: LOW_PERIODS }),
        None => Ok(()),
    }
}

/// What an alarm of a target tracking policy is for.
pub struct Role {
    pub comparison: &'static str,
    pub threshold: f64,
    /// Of a minute each.
    pub periods: u32,
}

/// An alarm that a target tracking policy makes.
pub fn tracking_alarm(platform: &Platform, name: &str, policy_arn: &str, watched: Watched, role: Role) -> Alarm {
    Alarm {
        name: name.to_owned(),
        arn: alarm_arn(platform, name),
        description: Some(format!("DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy_arn}.")),
        actions_enabled: true,
        ok_actions: Vec::new(),
        alarm_actions: vec![policy_arn.to_owned()],
        insufficient_data_actions: Vec::new(),
        watched,
        evaluation_periods: role.periods,
        datapoints_to_alarm: None,
        threshold: role.threshold,
        comparison: role.comparison.to_owned(),
        treat_missing_data: None,
        state: State::InsufficientData,
        reason: String::new(),
        reason_data: None,
        state_updated_ms: 0,
        state_transitioned_ms: 0,
        configured_ms: 0,
        acted_ms: None,
        tags: Default::default(),
    }
}

/// Takes away the alarms that a policy has made.
pub fn delete(ctx: &mut Ctx<'_>, policy: &Policy) -> Result<(), StoreError> {
    if let Kind::Tracking { high, low, .. } = &policy.kind {
        for name in std::iter::once(high).chain(low) {
            remove_alarm(ctx, name)?;
        }
    }
    Ok(())
}

/// Names and ARNs, as policies show them.
pub fn shown(ctx: &Ctx<'_>, policy: &Policy) -> Result<Vec<aws::Alarm>, StoreError> {
    let names: Vec<String> = match &policy.kind {
        Kind::Tracking { high, low, .. } => std::iter::once(high.clone()).chain(low.clone()).collect(),
        Kind::Step(_) => with_action(ctx.tx, &policy.arn)?.into_iter().map(|alarm| alarm.name).collect(),
    };
    let show = |name: String| aws::Alarm { alarm_arn: Some(alarm_arn(ctx.platform, &name)), alarm_name: Some(name) };
    Ok(names.into_iter().map(show).collect())
}

/// What a target tracking policy follows.
pub fn watched(resource_id: &str, configuration: &TargetTrackingScalingPolicyConfiguration) -> Result<Watched> {
    match (&configuration.predefined_metric_specification, &configuration.customized_metric_specification) {
        (Some(predefined), None) => self::predefined(resource_id, predefined),
        (None, Some(customized)) => self::customized(customized),
        _ => Err(validation(
            "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be specified",
        )),
    }
}

fn predefined(resource_id: &str, specification: &PredefinedMetricSpecification) -> Result<Watched> {
    let (cluster, service) = split(resource_id).unwrap_or_default();
    let kind = specification.predefined_metric_type.as_deref().unwrap_or_default();
    let label = specification.resource_label.as_deref();
    let dimensions = [("ClusterName", cluster), ("ServiceName", service)];
    let (metric, statistic) = match (kind, label) {
        ("ECSServiceAverageCPUUtilization", None) => (Metric::new("AWS/ECS", "CPUUtilization", &dimensions), "Average"),
        ("ECSServiceAverageMemoryUtilization", None) => {
            (Metric::new("AWS/ECS", "MemoryUtilization", &dimensions), "Average")
        }
        ("ALBRequestCountPerTarget", Some(label)) => {
            // `app/<name>/<id>/targetgroup/<name>/<id>`
            let at = label.find("/targetgroup/").filter(|_| label.starts_with("app/"));
            let at = at.ok_or_else(|| validation(format!("Invalid resource label: {label}")))?;
            let dimensions = [("LoadBalancer", &label[..at]), ("TargetGroup", &label[at + 1..])];
            (Metric::new("AWS/ApplicationELB", "RequestCountPerTarget", &dimensions), "Sum")
        }
        ("ALBRequestCountPerTarget", None) => {
            return Err(validation("ResourceLabel must be specified for the metric ALBRequestCountPerTarget"));
        }
        ("ECSServiceAverageCPUUtilization" | "ECSServiceAverageMemoryUtilization", Some(_)) => {
            return Err(validation(format!("ResourceLabel must not be specified for the metric {kind}")));
        }
        _ => return Err(validation(format!("Invalid predefined metric type {kind} for service namespace ecs"))),
    };
    Ok(Watched::Metric { metric, statistic: statistic.into(), unit: None, period: 60 })
}

fn customized(specification: &CustomizedMetricSpecification) -> Result<Watched> {
    let required = |value: &Option<String>, name: &str| {
        value.clone().filter(|v| !v.is_empty()).ok_or_else(|| validation(format!("{name} must be specified")))
    };
    let Some(queries) = specification.metrics.as_ref().filter(|queries| !queries.is_empty()) else {
        let dimensions = specification.dimensions.iter().flatten();
        let metric = Metric {
            namespace: required(&specification.namespace, "Namespace")?,
            name: required(&specification.metric_name, "MetricName")?,
            dimensions: dimensions
                .map(|d| (d.name.clone().unwrap_or_default(), d.value.clone().unwrap_or_default()))
                .collect(),
        };
        let statistic = required(&specification.statistic, "Statistic")?;
        return Ok(Watched::Metric { metric, statistic, unit: specification.unit.clone(), period: 60 });
    };
    if specification.metric_name.is_some() || specification.namespace.is_some() || specification.statistic.is_some() {
        return Err(validation("Metrics cannot be specified together with MetricName, Namespace and Statistic"));
    }
    let parsed = queries.iter().map(|query| {
        let source = match (&query.expression, &query.metric_stat) {
            (Some(expression), None) => Source::Expression(expression.clone()),
            (None, Some(stat)) => {
                let metric = stat.metric.clone().unwrap_or_default();
                let dimensions = metric.dimensions.into_iter().flatten();
                Source::Metric {
                    metric: Metric {
                        namespace: required(&metric.namespace, "Namespace")?,
                        name: required(&metric.metric_name, "MetricName")?,
                        dimensions: dimensions
                            .map(|d| (d.name.unwrap_or_default(), d.value.unwrap_or_default()))
                            .collect(),
                    },
                    statistic: required(&stat.stat, "Stat")?,
                    unit: stat.unit.clone(),
                }
            }
            _ => return Err(validation("Each metric has either an Expression or a MetricStat")),
        };
        let id = query.id.clone().unwrap_or_default();
        let returned = query.return_data.unwrap_or(true);
        Ok(Query { id, label: query.label.clone(), returned, source, period: Some(60) })
    });
    let parsed: Vec<Query> = parsed.collect::<Result<_>>()?;
    crate::cloudwatch::check_queries(&parsed).map_err(validation)?;
    if parsed.iter().filter(|query| query.returned).count() != 1 {
        return Err(validation("Exactly one of the metrics must have ReturnData true"));
    }
    Ok(Watched::Queries(parsed))
}
