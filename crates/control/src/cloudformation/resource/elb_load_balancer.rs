//! Load balancers.

use super::call::{call, refused, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::op;
use serde_json::{Map, Value, json};

/// `AWS::ElasticLoadBalancingV2::LoadBalancer`.
pub struct LoadBalancer;

impl ResourceType for LoadBalancer {
    fn name(&self) -> &'static str {
        "AWS::ElasticLoadBalancingV2::LoadBalancer"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "IpAddressType",
            "LoadBalancerAttributes",
            "Name",
            "Scheme",
            "SecurityGroups",
            "SubnetMappings",
            "Subnets",
            "Tags",
            "Type",
        ]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &[
            "LoadBalancerArn",
            "LoadBalancerFullName",
            "CanonicalHostedZoneID",
            "DNSName",
            "LoadBalancerName",
            "SecurityGroups",
        ]
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        let output = call::<op::DescribeLoadBalancers>(ctx, json!({"LoadBalancerArns": [made.physical_id]}))?;
        match text(&output, "/LoadBalancers/0/State/Code")?.as_str() {
            "active" | "active_impaired" => Ok(Progress::Done),
            "failed" => Err(refused("Load balancer failed to become active")),
            _ => Ok(Progress::Waiting),
        }
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["LoadBalancerAttributes", "Name", "Tags"]);
        input.insert("Name".into(), wanted.name("Name", 32).into());
        input.insert("Tags".into(), wanted.tags().into());
        let output = call::<op::CreateLoadBalancer>(ctx, input.into())?;
        let arn = text(&output, "/LoadBalancers/0/LoadBalancerArn")?;
        if let Some(attributes) = wanted.properties.get("LoadBalancerAttributes") {
            let input = json!({"LoadBalancerArn": arn, "Attributes": attributes});
            call::<op::ModifyLoadBalancerAttributes>(ctx, input)?;
        }
        let balancer = &output["LoadBalancers"][0];
        let full_name = arn.split_once("loadbalancer/").map_or(arn.as_str(), |(_, name)| name).to_owned();
        Ok(Made::new(&arn)
            .with("LoadBalancerArn", arn)
            .with("LoadBalancerFullName", full_name)
            .with("CanonicalHostedZoneID", balancer["CanonicalHostedZoneId"].clone())
            .with("DNSName", text(balancer, "/DNSName")?)
            .with("LoadBalancerName", text(balancer, "/LoadBalancerName")?)
            .with("SecurityGroups", balancer["SecurityGroups"].clone()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteLoadBalancer>(ctx, json!({"LoadBalancerArn": made.physical_id})))
    }
}
