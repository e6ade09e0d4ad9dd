//! Listeners and their rules.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::op;
use serde_json::{Map, Value, json};

/// `AWS::ElasticLoadBalancingV2::Listener`.
pub struct Listener;

impl ResourceType for Listener {
    fn name(&self) -> &'static str {
        "AWS::ElasticLoadBalancingV2::Listener"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["AlpnPolicy", "Certificates", "DefaultActions", "LoadBalancerArn", "Port", "Protocol", "SslPolicy"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["DefaultActions", "LoadBalancerArn"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["ListenerArn"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let output = call::<op::CreateListener>(ctx, Value::Object(wanted.properties.clone()))?;
        let arn = text(&output, "/Listeners/0/ListenerArn")?;
        Ok(Made::new(&arn).with("ListenerArn", arn))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteListener>(ctx, json!({"ListenerArn": made.physical_id})))
    }
}

/// `AWS::ElasticLoadBalancingV2::ListenerRule`.
pub struct ListenerRule;

impl ResourceType for ListenerRule {
    fn name(&self) -> &'static str {
        "AWS::ElasticLoadBalancingV2::ListenerRule"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Actions", "Conditions", "ListenerArn", "Priority"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["Actions", "Conditions", "Priority", "ListenerArn"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["RuleArn", "IsDefault"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let output = call::<op::CreateRule>(ctx, Value::Object(wanted.properties.clone()))?;
        let arn = text(&output, "/Rules/0/RuleArn")?;
        Ok(Made::new(&arn).with("RuleArn", arn).with("IsDefault", false))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteRule>(ctx, json!({"RuleArn": made.physical_id})))
    }
}
