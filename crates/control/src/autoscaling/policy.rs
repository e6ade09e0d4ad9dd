//! Scaling policies of groups: simple, step and target tracking. Their alarms are CloudWatch's; what an
//! alarm's state means for the size is decided as for services, by `quarry_domain::scaling`.

use super::error::{page, required, validation};
use super::process::is_suspended;
use super::records::{GroupRecord, find_active};
use crate::api::{Ctx, Result};
use crate::applicationautoscaling::alarms::{self, Role};
use crate::cloudwatch::records::Watched;
use crate::cloudwatch::store::Metric;
use crate::cloudwatch::{alarm_arn, configure_alarm, evaluate, remove_alarm};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::autoscaling::{
    Alarm, DeletePolicyType, DescribePoliciesType, PoliciesType, PolicyARNType, PutScalingPolicyType, ScalingPolicy,
    TargetTrackingConfiguration,
};
use quarry_domain::scaling::{
    Adjustment, Decision, HIGH_PERIODS, History, Interval, LOW, LOW_PERIODS, Signal, Situation, Step, Suspended,
    Tracking, plan,
};
use quarry_wire::Empty;
use serde::{Deserialize, Serialize};

/// Policies that a group may have, and steps that a policy may have.
const MOST: usize = 50;
const STEPS: usize = 20;

const SIMPLE: &str = "SimpleScaling";
const STEP: &str = "StepScaling";
const TRACKING: &str = "TargetTrackingScaling";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// As it is described, without its alarms.
    pub policy: ScalingPolicy,
    /// The alarms that a target tracking policy has made.
    pub high: Option<String>,
    pub low: Option<String>,
}

impl Item for PolicyRecord {
    const KIND: &'static str = "autoscaling.policy";
    fn key(&self) -> String {
        format!("{}/{}", self.parent(), self.name())
    }
    fn parent(&self) -> String {
        self.policy.auto_scaling_group_name.clone().unwrap_or_default()
    }
}

impl PolicyRecord {
    fn name(&self) -> &str {
        self.policy.policy_name.as_deref().unwrap_or_default()
    }

    fn kind(&self) -> &str {
        self.policy.policy_type.as_deref().unwrap_or(SIMPLE)
    }

    fn arn(&self) -> &str {
        self.policy.policy_arn.as_deref().unwrap_or_default()
    }
}

/// Whether an alarm's action is a policy of a group.
pub fn is_policy(action: &str) -> bool {
    action.contains(":scalingPolicy:") && action.contains(":autoScalingGroupName/")
}

pub fn put(ctx: &mut Ctx<'_>, input: PutScalingPolicyType) -> Result<PolicyARNType> {
    let group = find_active(ctx, &required(input.auto_scaling_group_name.clone(), "autoScalingGroupName")?)?;
    let name = required(input.policy_name.clone(), "policyName")?;
    let kind = input.policy_type.clone().unwrap_or_else(|| SIMPLE.into());
    check(&kind, &input)?;
    let known: Option<PolicyRecord> = ctx.tx.get(&format!("{}/{name}", group.key()))?;
    if known.is_none() && ctx.tx.children::<PolicyRecord>(&group.key())?.len() >= MOST {
        return Err(validation(format!("A group can have at most {MOST} policies.")));
    }
    let arn = known.as_ref().map(|known| known.arn().to_owned()).unwrap_or_else(|| {
        let id = ctx.platform.door.uuid();
        let of = format_args!("scalingPolicy:{id}:autoScalingGroupName/{}:policyName/{name}", group.key()).to_string();
        ctx.platform.place().arn("autoscaling", of)
    });
    let alarm = |part: &str| format!("TargetTracking-{}-Alarm{part}-{}", group.key(), ctx.platform.door.uuid());
    let tracked = input.target_tracking_configuration.clone();
    let (old_high, old_low) = known.as_ref().map(|k| (k.high.clone(), k.low.clone())).unwrap_or_default();
    let shrinks = tracked.as_ref().is_some_and(|tracked| tracked.disable_scale_in != Some(true));
    let high = tracked.is_some().then(|| old_high.clone().unwrap_or_else(|| alarm("High")));
    let low = shrinks.then(|| old_low.clone().unwrap_or_else(|| alarm("Low")));
    for gone in [(&old_high, &high), (&old_low, &low)] {
        if let (Some(old), None) = gone {
            remove_alarm(ctx, old)?;
        }
    }
    let simple = kind == SIMPLE;
    let record = PolicyRecord {
        policy: ScalingPolicy {
            auto_scaling_group_name: Some(group.key()),
            policy_name: Some(name),
            policy_arn: Some(arn.clone()),
            adjustment_type: input.adjustment_type,
            min_adjustment_magnitude: input.min_adjustment_magnitude,
            scaling_adjustment: input.scaling_adjustment,
            cooldown: input.cooldown,
            step_adjustments: (!simple).then(|| input.step_adjustments.unwrap_or_default()),
            metric_aggregation_type: (kind == STEP)
                .then(|| input.metric_aggregation_type.unwrap_or_else(|| "Average".into())),
            estimated_instance_warmup: input.estimated_instance_warmup,
            target_tracking_configuration: tracked,
            enabled: Some(input.enabled.unwrap_or(true)),
            policy_type: Some(kind),
            ..Default::default()
        },
        high,
        low,
    };
    ctx.tx.put(&record)?;
    make_alarms(ctx, &record)?;
    let made = if record.kind() == TRACKING { shown(ctx, &record)? } else { Vec::new() };
    Ok(PolicyARNType { policy_arn: Some(arn), alarms: Some(made) })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribePoliciesType) -> Result<PoliciesType> {
    let mut all: Vec<PolicyRecord> = match &input.auto_scaling_group_name {
        Some(group) => ctx.tx.children(group)?,
        None => ctx.tx.all()?,
    };
    if let Some(names) = input.policy_names.filter(|names| !names.is_empty()) {
        let is_named = |record: &PolicyRecord| names.iter().any(|name| name == record.name() || name == record.arn());
        all.retain(is_named);
    }
    if let Some(types) = input.policy_types.filter(|types| !types.is_empty()) {
        all.retain(|record| types.iter().any(|wanted| wanted == record.kind()));
    }
    let (all, next_token) = page(all, input.max_records, input.next_token)?;
    let show = |record: PolicyRecord| {
        let alarms = shown(ctx, &record)?;
        Ok(ScalingPolicy { alarms: Some(alarms), ..record.policy })
    };
    Ok(PoliciesType { scaling_policies: Some(all.into_iter().map(show).collect::<Result<_>>()?), next_token })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeletePolicyType) -> Result<Empty> {
    let named = required(input.policy_name, "policyName")?;
    let all: Vec<PolicyRecord> = match &input.auto_scaling_group_name {
        Some(group) => ctx.tx.children(group)?,
        None => ctx.tx.all()?,
    };
    let is_it = |record: &PolicyRecord| {
        record.arn() == named || (input.auto_scaling_group_name.is_some() && record.name() == named)
    };
    let Some(record) = all.into_iter().find(is_it) else {
        return Err(validation(format!("PolicyName {named} not found.")));
    };
    remove(ctx, &record)?;
    Ok(Empty {})
}

/// The policies of a group that goes.
pub fn remove_all(ctx: &mut Ctx<'_>, group: &str) -> Result<()> {
    for record in ctx.tx.children::<PolicyRecord>(group)? {
        remove(ctx, &record)?;
    }
    Ok(())
}

/// A policy is told that one of its alarms is in the state that it acts on.
pub fn triggered(ctx: &mut Ctx<'_>, policy_arn: &str) -> Result<()> {
    let unknown = || validation(format!("No scaling policy found with the ARN {policy_arn}"));
    let (_, rest) = policy_arn.split_once(":autoScalingGroupName/").ok_or_else(unknown)?;
    let (name, _) = rest.split_once(":policyName/").ok_or_else(unknown)?;
    let all: Vec<PolicyRecord> = ctx.tx.children(name)?;
    let told = all.iter().find(|record| record.arn() == policy_arn).ok_or_else(unknown)?;
    let Some(mut group) = ctx.tx.get::<GroupRecord>(name)?.filter(|group| !group.deleting) else { return Ok(()) };
    if is_suspended(&group, "AlarmNotification") {
        return Ok(());
    }
    let now = ctx.platform.now_ms();
    if told.kind() == SIMPLE {
        return simple(ctx, &mut group, told, now);
    }
    // All of the others are looked at: the largest wins, and shrinking takes all.
    let mut signals = Vec::new();
    for record in all.iter().filter(|record| record.kind() != SIMPLE && record.policy.enabled == Some(true)) {
        signals.push(signal(ctx, &group, record)?);
    }
    if let Decision::Scale { to, cooldown_ms, .. } = decide(&group, &group.history, &signals, now) {
        group.history.note(now, capacity(&group), to, cooldown_ms);
        group.group.desired_capacity = Some(to as i32);
        ctx.tx.put(&group)?;
    }
    Ok(())
}

/// What the planner of scaling makes of these signals, within the group's bounds.
fn decide(group: &GroupRecord, history: &History, signals: &[Signal], now_ms: i64) -> Decision {
    let bound = |size: Option<i32>| size.unwrap_or_default().max(0).unsigned_abs();
    plan(&Situation {
        now_ms,
        capacity: capacity(group),
        min: bound(group.group.min_size),
        max: bound(group.group.max_size),
        suspended: Suspended::default(),
        history,
        signals,
    })
}

fn capacity(group: &GroupRecord) -> u32 {
    group.desired().max(0).unsigned_abs()
}

/// A simple policy changes the size once, and nothing simple happens until its cooldown is over.
fn simple(ctx: &Ctx<'_>, group: &mut GroupRecord, record: &PolicyRecord, now: i64) -> Result<()> {
    if now < group.cooldown_until_ms || record.policy.enabled != Some(true) {
        return Ok(());
    }
    let everything =
        vec![Interval { lower: None, upper: None, adjustment: record.policy.scaling_adjustment.unwrap_or(0) }];
    let step = Step {
        adjustment: adjustment(&record.policy.adjustment_type).unwrap_or(Adjustment::Change),
        min_magnitude: record.policy.min_adjustment_magnitude.unwrap_or(0).max(0).unsigned_abs(),
        cooldown_ms: 0,
        steps: everything,
    };
    let signals = [Signal::Step { policy: step, breaches: vec![0.0] }];
    if let Decision::Scale { to, .. } = decide(group, &Default::default(), &signals, now) {
        let seconds = record.policy.cooldown.or(group.group.default_cooldown).unwrap_or(300);
        group.cooldown_until_ms = now + milliseconds(ctx, seconds);
        group.group.desired_capacity = Some(to as i32);
        ctx.tx.put(group)?;
    }
    Ok(())
}

fn signal(ctx: &Ctx<'_>, group: &GroupRecord, record: &PolicyRecord) -> Result<Signal> {
    let policy = &record.policy;
    // What is launched counts as part of the size until it is warm.
    let warmup = policy.estimated_instance_warmup.or(group.group.default_instance_warmup);
    let warmup = milliseconds(ctx, warmup.or(group.group.default_cooldown).unwrap_or(300));
    if let Some(configuration) = &policy.target_tracking_configuration {
        let state = |name: &Option<String>| match name {
            Some(name) => alarms::in_alarm(ctx, name),
            None => Ok(None),
        };
        return Ok(Signal::Tracking {
            policy: Tracking {
                target: configuration.target_value.unwrap_or(f64::MAX),
                disable_scale_in: configuration.disable_scale_in == Some(true),
                scale_out_cooldown_ms: warmup,
                scale_in_cooldown_ms: warmup,
            },
            high: state(&record.high)?,
            low: state(&record.low)?,
        });
    }
    let steps = policy.step_adjustments.iter().flatten().map(|step| Interval {
        lower: step.metric_interval_lower_bound,
        upper: step.metric_interval_upper_bound,
        adjustment: step.scaling_adjustment.unwrap_or_default(),
    });
    Ok(Signal::Step {
        policy: Step {
            adjustment: adjustment(&policy.adjustment_type).unwrap_or(Adjustment::Change),
            min_magnitude: policy.min_adjustment_magnitude.unwrap_or(0).max(0).unsigned_abs(),
            cooldown_ms: warmup,
            steps: steps.collect(),
        },
        breaches: alarms::breaches(ctx, record.arn())?.into_iter().map(|breach| breach.by).collect(),
    })
}

/// At the speed that this installation scales with.
fn milliseconds(ctx: &Ctx<'_>, seconds: i32) -> i64 {
    i64::from(seconds.max(0)) * 1000 / i64::from(ctx.platform.config.scaling_speed.max(1))
}

fn remove(ctx: &mut Ctx<'_>, record: &PolicyRecord) -> Result<()> {
    for name in record.high.iter().chain(&record.low) {
        remove_alarm(ctx, name)?;
    }
    ctx.tx.delete::<PolicyRecord>(&record.key())?;
    Ok(())
}

fn make_alarms(ctx: &mut Ctx<'_>, record: &PolicyRecord) -> Result<()> {
    let Some(configuration) = &record.policy.target_tracking_configuration else { return Ok(()) };
    let target = configuration.target_value.unwrap_or_default();
    let watched = watched(&record.parent(), configuration)?;
    for (name, role) in [
        (&record.high, Role { comparison: "GreaterThanThreshold", threshold: target, periods: HIGH_PERIODS }),
        (&record.low, Role { comparison: "LessThanThreshold", threshold: target * LOW, periods: LOW_PERIODS }),
    ] {
        if let Some(name) = name {
            let alarm = alarms::tracking_alarm(ctx.platform, name, record.arn(), watched.clone(), role);
            configure_alarm(ctx, alarm)?;
        }
    }
    Ok(())
}

fn shown(ctx: &Ctx<'_>, record: &PolicyRecord) -> Result<Vec<Alarm>, StoreError> {
    let names: Vec<String> = match record.kind() {
        TRACKING => record.high.iter().chain(&record.low).cloned().collect(),
        _ => alarms_of(ctx.tx, record.arn())?,
    };
    let show = |name: String| Alarm { alarm_arn: Some(alarm_arn(ctx.platform, &name)), alarm_name: Some(name) };
    Ok(names.into_iter().map(show).collect())
}

fn alarms_of(tx: &Tx<'_>, arn: &str) -> Result<Vec<String>, StoreError> {
    Ok(evaluate::with_action(tx, arn)?.into_iter().map(|alarm| alarm.name).collect())
}

fn adjustment(name: &Option<String>) -> Option<Adjustment> {
    crate::applicationautoscaling::records::adjustment(name.as_deref()?)
}

fn check(kind: &str, input: &PutScalingPolicyType) -> Result<()> {
    let given = [
        ("ScalingAdjustment", input.scaling_adjustment.is_some(), SIMPLE),
        ("Cooldown", input.cooldown.is_some(), SIMPLE),
        ("StepAdjustments", input.step_adjustments.as_ref().is_some_and(|steps| !steps.is_empty()), STEP),
        ("MetricAggregationType", input.metric_aggregation_type.is_some(), STEP),
        ("TargetTrackingConfiguration", input.target_tracking_configuration.is_some(), TRACKING),
    ];
    if let Some((member, ..)) = given.iter().find(|(_, given, of)| *given && *of != kind) {
        return Err(validation(format!("{member} is not supported for the policy type {kind}.")));
    }
    if input.predictive_scaling_configuration.is_some() || input.min_adjustment_step.is_some() {
        return Err(validation("Predictive scaling and MinAdjustmentStep are not supported here."));
    }
    if input.cooldown.is_some_and(|n| n < 0) || input.estimated_instance_warmup.is_some_and(|n| n < 0) {
        return Err(validation("Cooldowns and warm-up times must not be negative."));
    }
    if kind == TRACKING {
        let configuration = input.target_tracking_configuration.as_ref();
        let configuration =
            configuration.ok_or_else(|| validation("TargetTrackingConfiguration must be specified."))?;
        let target = configuration.target_value.unwrap_or_default();
        if !target.is_finite() || target <= 0.0 {
            return Err(validation("TargetValue must be greater than 0."));
        }
        if input.adjustment_type.is_some() {
            return Err(validation(format!("AdjustmentType is not supported for the policy type {kind}.")));
        }
        return watched("", configuration).map(drop);
    }
    let adjustment = adjustment(&input.adjustment_type).ok_or_else(|| {
        validation("AdjustmentType must be ChangeInCapacity, ExactCapacity or PercentChangeInCapacity.")
    })?;
    if input.min_adjustment_magnitude.is_some_and(|n| n < 1 || adjustment != Adjustment::PercentChange) {
        return Err(validation("MinAdjustmentMagnitude needs PercentChangeInCapacity and must be at least 1."));
    }
    match kind {
        SIMPLE if input.scaling_adjustment.is_none() => Err(validation("ScalingAdjustment must be specified.")),
        SIMPLE if adjustment == Adjustment::Exact && input.scaling_adjustment.is_some_and(|n| n < 0) => {
            Err(validation("An exact capacity cannot be negative."))
        }
        SIMPLE => Ok(()),
        STEP => check_steps(input, adjustment),
        other => Err(validation(format!("The policy type {other} is not supported."))),
    }
}

fn check_steps(input: &PutScalingPolicyType, adjustment: Adjustment) -> Result<()> {
    if !matches!(input.metric_aggregation_type.as_deref(), None | Some("Average")) {
        return Err(validation("The only MetricAggregationType here is Average."));
    }
    let steps = input.step_adjustments.as_deref().unwrap_or_default();
    if steps.is_empty() || steps.len() > STEPS {
        return Err(validation(format!("A step scaling policy has 1 to {STEPS} StepAdjustments.")));
    }
    if adjustment == Adjustment::Exact && steps.iter().any(|step| step.scaling_adjustment.is_some_and(|n| n < 0)) {
        return Err(validation("An exact capacity cannot be negative."));
    }
    let bounds = steps.iter().map(|step| {
        let lower = step.metric_interval_lower_bound.unwrap_or(f64::NEG_INFINITY);
        (lower, step.metric_interval_upper_bound.unwrap_or(f64::INFINITY))
    });
    let mut bounds: Vec<(f64, f64)> = bounds.collect();
    if bounds.iter().any(|(lower, upper)| lower >= upper) {
        return Err(validation("The upper bound of a step adjustment must be greater than its lower bound."));
    }
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    if bounds.windows(2).any(|pair| pair[0].1 != pair[1].0) {
        return Err(validation("StepAdjustment intervals can't overlap or have gaps between them."));
    }
    Ok(())
}

/// What a target tracking policy of a group follows.
fn watched(group: &str, configuration: &TargetTrackingConfiguration) -> Result<Watched> {
    let metric = match (&configuration.predefined_metric_specification, &configuration.customized_metric_specification)
    {
        (Some(predefined), None) => {
            let kind = predefined.predefined_metric_type.as_deref().unwrap_or_default();
            match (kind, predefined.resource_label.as_deref()) {
                ("ASGAverageCPUUtilization", None) => {
                    let metric = Metric::new("AWS/EC2", "CPUUtilization", &[("AutoScalingGroupName", group)]);
                    return Ok(Watched::Metric { metric, statistic: "Average".into(), unit: None, period: 60 });
                }
                ("ALBRequestCountPerTarget", Some(label)) => {
                    let at = label.find("/targetgroup/").filter(|_| label.starts_with("app/"));
                    let at = at.ok_or_else(|| validation(format!("Invalid resource label: {label}")))?;
                    let dimensions = [("LoadBalancer", &label[..at]), ("TargetGroup", &label[at + 1..])];
                    let metric = Metric::new("AWS/ApplicationELB", "RequestCountPerTarget", &dimensions);
                    return Ok(Watched::Metric { metric, statistic: "Sum".into(), unit: None, period: 60 });
                }
                _ => return Err(validation(format!("The predefined metric {kind} is not supported here."))),
            }
        }
        (None, Some(customized)) => customized,
        _ => return Err(validation("Either a predefined or a customized metric must be specified.")),
    };
    if metric.metrics.as_ref().is_some_and(|metrics| !metrics.is_empty()) || metric.period.is_some() {
        return Err(validation("Metrics and Period of a customized metric are not supported here."));
    }
    let named = |value: &Option<String>, name: &str| {
        value.clone().filter(|v| !v.is_empty()).ok_or_else(|| validation(format!("{name} must be specified.")))
    };
    let dimensions = metric.dimensions.iter().flatten();
    Ok(Watched::Metric {
        metric: Metric {
            namespace: named(&metric.namespace, "Namespace")?,
            name: named(&metric.metric_name, "MetricName")?,
            dimensions: dimensions
                .map(|d| (d.name.clone().unwrap_or_default(), d.value.clone().unwrap_or_default()))
                .collect(),
        },
        statistic: named(&metric.statistic, "Statistic")?,
        unit: metric.unit.clone(),
        period: 60,
    })
}
