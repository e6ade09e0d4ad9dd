//! Target groups.

use super::call::{call, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::op;
use serde_json::{Map, Value, json};

/// `AWS::ElasticLoadBalancingV2::TargetGroup`.
pub struct TargetGroup;

impl ResourceType for TargetGroup {
    fn name(&self) -> &'static str {
        "AWS::ElasticLoadBalancingV2::TargetGroup"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "HealthCheckEnabled",
            "HealthCheckIntervalSeconds",
            "HealthCheckPath",
            "HealthCheckPort",
            "HealthCheckProtocol",
            "HealthCheckTimeoutSeconds",
            "HealthyThresholdCount",
            "IpAddressType",
            "Matcher",
            "Name",
            "Port",
            "Protocol",
            "ProtocolVersion",
            "Tags",
            "TargetGroupAttributes",
            "TargetType",
            "Targets",
            "UnhealthyThresholdCount",
            "VpcId",
        ]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["TargetGroupArn", "TargetGroupFullName", "TargetGroupName", "LoadBalancerArns"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "HealthCheckEnabled",
            "HealthCheckIntervalSeconds",
            "HealthCheckPath",
            "HealthCheckPort",
            "HealthCheckProtocol",
            "HealthCheckTimeoutSeconds",
            "HealthyThresholdCount",
            "Matcher",
            "Tags",
            "TargetGroupAttributes",
            "Targets",
            "UnhealthyThresholdCount",
        ]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("Name")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["Name", "Tags", "TargetGroupAttributes", "Targets"]);
        input.insert("Name".into(), wanted.name("Name", 32).into());
        input.insert("Tags".into(), wanted.tags().into());
        let output = call::<op::CreateTargetGroup>(ctx, input.into())?;
        let arn = text(&output, "/TargetGroups/0/TargetGroupArn")?;
        if let Some(attributes) = wanted.properties.get("TargetGroupAttributes") {
            call::<op::ModifyTargetGroupAttributes>(ctx, json!({"TargetGroupArn": arn, "Attributes": attributes}))?;
        }
        if let Some(targets) = wanted.properties.get("Targets") {
            call::<op::RegisterTargets>(ctx, json!({"TargetGroupArn": arn, "Targets": targets}))?;
        }
        let full_name = arn.rsplit(':').next().unwrap_or_default().to_owned();
        let name = text(&output, "/TargetGroups/0/TargetGroupName")?;
        Ok(Made::new(&arn)
            .with("TargetGroupArn", arn)
            .with("TargetGroupFullName", full_name)
            .with("TargetGroupName", name)
            .with("LoadBalancerArns", json!([])))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let with = |more: Map<String, Value>| {
            let mut input = more;
            input.insert("TargetGroupArn".into(), made.physical_id.clone().into());
            Value::Object(input)
        };
        let checks = change.values(&[
            ("HealthCheckEnabled", true.into()),
            ("HealthCheckIntervalSeconds", 30.into()),
            ("HealthCheckPath", "/".into()),
            ("HealthCheckPort", "traffic-port".into()),
            ("HealthCheckProtocol", "HTTP".into()),
            ("HealthCheckTimeoutSeconds", 5.into()),
            ("HealthyThresholdCount", 5.into()),
            ("Matcher", json!({"HttpCode": "200"})),
            ("UnhealthyThresholdCount", 2.into()),
        ]);
        if !checks.is_empty() {
            call::<op::ModifyTargetGroup>(ctx, with(checks))?;
        }
        let attributes = change.attributes("TargetGroupAttributes", DEFAULTS)?;
        if !attributes.is_empty() {
            let input = with(Map::from_iter([("Attributes".to_owned(), attributes.into())]));
            call::<op::ModifyTargetGroupAttributes>(ctx, input)?;
        }
        let (came, went) = change.list("Targets");
        if !went.is_empty() {
            call::<op::DeregisterTargets>(ctx, with(Map::from_iter([("Targets".to_owned(), went.into())])))?;
        }
        if !came.is_empty() {
            call::<op::RegisterTargets>(ctx, with(Map::from_iter([("Targets".to_owned(), came.into())])))?;
        }
        let arns = json!({"ResourceArns": [made.physical_id]});
        retag::<op::AddTags, op::RemoveTags>(ctx, &change, &arns)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let arn = &made.physical_id;
        let output = call::<op::DescribeTargetGroups>(ctx, json!({"TargetGroupArns": [arn]}))?;
        let group = &output["TargetGroups"][0];
        let mut seen = members(group, self.properties());
        seen.insert("Name".into(), group["TargetGroupName"].clone());
        let output = call::<op::DescribeTargetGroupAttributes>(ctx, json!({"TargetGroupArn": arn}))?;
        seen.insert("TargetGroupAttributes".into(), output["Attributes"].clone());
        let output = call::<op::DescribeTags>(ctx, json!({"ResourceArns": [arn]}))?;
        seen.insert("Tags".into(), output["TagDescriptions"][0]["Tags"].clone());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteTargetGroup>(ctx, json!({"TargetGroupArn": made.physical_id})))
    }
}

/// What attributes are that nobody set.
const DEFAULTS: &[(&str, &str)] = &[
    ("deregistration_delay.timeout_seconds", "300"),
    ("load_balancing.algorithm.anomaly_mitigation", "off"),
    ("load_balancing.algorithm.type", "round_robin"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
    ("slow_start.duration_seconds", "0"),
    ("stickiness.app_cookie.duration_seconds", "86400"),
    ("stickiness.enabled", "false"),
    ("stickiness.lb_cookie.duration_seconds", "86400"),
    ("stickiness.type", "lb_cookie"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
];
