//! Application Auto Scaling for a service with a range of tasks.

use super::routing::target_group_name;
use super::yaml::{Out, attribute, import, list, map, reference, sub, when};
use crate::manifest::{Goal, Scaling};

/// The resources, by logical id.
pub(super) fn resources(scaling: &Scaling) -> Vec<(&'static str, Out)> {
    let range = scaling.range;
    let target = map! {
        "Type" => "AWS::ApplicationAutoScaling::ScalableTarget",
        "Properties" => map! {
            "ServiceNamespace" => "ecs",
            "ScalableDimension" => "ecs:service:DesiredCount",
            "ResourceId" => map! {"Fn::Join" => list!["/", list!["service", import("ClusterId"), attribute("Service.Name")]]},
            "MinCapacity" => when("IsPaused", 0u64, range.min),
            "MaxCapacity" => when("IsPaused", 0u64, range.max),
        },
    };
    let mut all = vec![("ScalableTarget", target)];
    let predefined = |name: &str| map! {"PredefinedMetricSpecification" => map! {"PredefinedMetricType" => name}};
    if let Some(goal) = scaling.cpu {
        all.push((
            "ScaleByCPU",
            policy("cpu", goal, goal.value.to_string(), predefined("ECSServiceAverageCPUUtilization")),
        ));
    }
    if let Some(goal) = scaling.memory {
        let metric = predefined("ECSServiceAverageMemoryUtilization");
        all.push(("ScaleByMemory", policy("memory", goal, goal.value.to_string(), metric)));
    }
    if let Some(goal) = scaling.requests {
        let label = map! {"Fn::Join" => list!["/", list![import("PublicLoadBalancerFullName"), target_group_name()]]};
        let metric = map! {"PredefinedMetricSpecification" => map! {
            "PredefinedMetricType" => "ALBRequestCountPerTarget",
            "ResourceLabel" => label,
        }};
        all.push(("ScaleByRequests", policy("requests", goal, goal.value.to_string(), metric)));
    }
    if let Some(goal) = scaling.response_time {
        let metric = map! {"CustomizedMetricSpecification" => map! {
            "Namespace" => "AWS/ApplicationELB",
            "MetricName" => "TargetResponseTime",
            "Statistic" => "Average",
            "Dimensions" => list![
                map! {"Name" => "LoadBalancer", "Value" => import("PublicLoadBalancerFullName")},
                map! {"Name" => "TargetGroup", "Value" => target_group_name()},
            ],
        }};
        let value = format!("{}.{:03}", goal.value / 1000, goal.value % 1000);
        all.push((
            "ScaleByResponseTime",
            policy("response-time", goal, value.trim_end_matches('0').trim_end_matches('.').into(), metric),
        ));
    }
    all
}

fn policy(name: &str, goal: Goal, value: String, metric: Out) -> Out {
    let mut configuration = map! {
        "TargetValue" => Out::Raw(value),
        "ScaleInCooldown" => goal.cooldown.scale_in,
        "ScaleOutCooldown" => goal.cooldown.scale_out,
    };
    if let (Out::Map(entries), Out::Map(more)) = (&mut configuration, metric) {
        entries.extend(more);
    }
    map! {
        "Type" => "AWS::ApplicationAutoScaling::ScalingPolicy",
        "Properties" => map! {
            "PolicyName" => sub(&format!("${{AppName}}-${{EnvName}}-${{WorkloadName}}-{name}")),
            "PolicyType" => "TargetTrackingScaling",
            "ScalingTargetId" => reference("ScalableTarget"),
            "TargetTrackingScalingPolicyConfiguration" => configuration,
        },
    }
}
