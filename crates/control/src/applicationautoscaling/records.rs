//! What is stored of scalable targets, policies, scheduled actions and activities.

use crate::store::Item;
use quarry_aws::application_autoscaling as aws;
use quarry_domain::scaling::{Adjustment, DEFAULT_COOLDOWN, History, Interval, Step, Suspended, Tracking};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub resource_id: String,
    pub arn: String,
    pub min: u32,
    pub max: u32,
    pub suspended: Suspended,
    pub created_ms: i64,
    pub history: History,
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub resource_id: String,
    pub name: String,
    pub arn: String,
    pub kind: Kind,
    pub created_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    Tracking {
        configuration: aws::TargetTrackingScalingPolicyConfiguration,
        /// Names of the alarms that it has made.
        high: String,
        low: Option<String>,
    },
    Step(aws::StepScalingPolicyConfiguration),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scheduled {
    pub resource_id: String,
    pub name: String,
    pub arn: String,
    pub schedule: String,
    pub timezone: Option<String>,
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub created_ms: i64,
    /// When it runs next.
    pub next_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivityRecord {
    pub activity: aws::ScalingActivity,
    /// What the capacity was set to, until ECS has so many tasks.
    pub waits_for: Option<u32>,
    /// Nothing was scaled: it is shown only to those who ask for such.
    pub not_scaled: bool,
}

/// The key of what a target has by its name.
pub fn key(resource_id: &str, name: &str) -> String {
    format!("{resource_id}|{name}")
}

macro_rules! item {
    ($type:ty, $kind:literal, $self:ident, $key:expr, $parent:expr) => {
        impl Item for $type {
            const KIND: &'static str = $kind;
            fn key(&$self) -> String {
                $key
            }
            fn parent(&$self) -> String {
                $parent
            }
        }
    };
}

item!(Target, "application-autoscaling.target", self, self.resource_id.clone(), String::new());
item!(Policy, "application-autoscaling.policy", self, key(&self.resource_id, &self.name), self.resource_id.clone());
item!(
    Scheduled,
    "application-autoscaling.scheduled-action",
    self,
    key(&self.resource_id, &self.name),
    self.resource_id.clone()
);
item!(
    ActivityRecord,
    "application-autoscaling.activity",
    self,
    self.activity.activity_id.clone().unwrap_or_default(),
    self.activity.resource_id.clone().unwrap_or_default()
);

/// As the planner takes it; cooldowns last as long as they do at this speed.
pub fn tracking(configuration: &aws::TargetTrackingScalingPolicyConfiguration, speed: u32) -> Tracking {
    Tracking {
        target: configuration.target_value.unwrap_or(f64::MAX),
        disable_scale_in: configuration.disable_scale_in.unwrap_or(false),
        scale_out_cooldown_ms: cooldown_ms(configuration.scale_out_cooldown, speed),
        scale_in_cooldown_ms: cooldown_ms(configuration.scale_in_cooldown, speed),
    }
}

/// As the planner takes it. Its adjustment type was checked when it was put.
pub fn step(configuration: &aws::StepScalingPolicyConfiguration, speed: u32) -> Step {
    let adjustment = configuration.adjustment_type.as_deref().and_then(adjustment);
    let steps = configuration.step_adjustments.iter().flatten().map(|step| Interval {
        lower: step.metric_interval_lower_bound,
        upper: step.metric_interval_upper_bound,
        adjustment: step.scaling_adjustment.unwrap_or_default(),
    });
    Step {
        adjustment: adjustment.unwrap_or(Adjustment::Change),
        min_magnitude: configuration.min_adjustment_magnitude.unwrap_or(0).max(0) as u32,
        cooldown_ms: cooldown_ms(configuration.cooldown, speed),
        steps: steps.collect(),
    }
}

pub fn adjustment(name: &str) -> Option<Adjustment> {
    Some(match name {
        "ChangeInCapacity" => Adjustment::Change,
        "ExactCapacity" => Adjustment::Exact,
        "PercentChangeInCapacity" => Adjustment::PercentChange,
        _ => return None,
    })
}

fn cooldown_ms(seconds: Option<i32>, speed: u32) -> i64 {
    i64::from(seconds.unwrap_or(DEFAULT_COOLDOWN).max(0)) * 1000 / i64::from(speed.max(1))
}
