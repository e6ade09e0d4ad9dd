//! Target groups.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
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

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteTargetGroup>(ctx, json!({"TargetGroupArn": made.physical_id})))
    }
}
