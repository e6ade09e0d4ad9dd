//! Load balancers.

use super::call::{call, refused, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, deleted, members};
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

    fn mutable(&self) -> &'static [&'static str] {
        &["IpAddressType", "LoadBalancerAttributes", "SecurityGroups", "SubnetMappings", "Subnets", "Tags"]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("Name")
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
        made(&output["LoadBalancers"][0])
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let arn = &made.physical_id;
        if let Some(groups) = change.value("SecurityGroups", json!([])) {
            call::<op::SetSecurityGroups>(ctx, json!({"LoadBalancerArn": arn, "SecurityGroups": groups}))?;
        }
        if change.any(&["Subnets", "SubnetMappings"]) {
            let mut input = new.pick(&["Subnets", "SubnetMappings"]);
            input.insert("LoadBalancerArn".into(), arn.clone().into());
            call::<op::SetSubnets>(ctx, input.into())?;
        }
        if let Some(kind) = change.value("IpAddressType", "ipv4") {
            call::<op::SetIpAddressType>(ctx, json!({"LoadBalancerArn": arn, "IpAddressType": kind}))?;
        }
        let attributes = change.attributes("LoadBalancerAttributes", DEFAULTS)?;
        if !attributes.is_empty() {
            let input = json!({"LoadBalancerArn": arn, "Attributes": attributes});
            call::<op::ModifyLoadBalancerAttributes>(ctx, input)?;
        }
        retag::<op::AddTags, op::RemoveTags>(ctx, &change, &json!({"ResourceArns": [arn]}))?;
        let output = call::<op::DescribeLoadBalancers>(ctx, json!({"LoadBalancerArns": [arn]}))?;
        self::made(&output["LoadBalancers"][0])
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let arn = &made.physical_id;
        let output = call::<op::DescribeLoadBalancers>(ctx, json!({"LoadBalancerArns": [arn]}))?;
        let balancer = &output["LoadBalancers"][0];
        let mut seen = members(balancer, &["IpAddressType", "Scheme", "SecurityGroups", "Type"]);
        seen.insert("Name".into(), balancer["LoadBalancerName"].clone());
        let output = call::<op::DescribeLoadBalancerAttributes>(ctx, json!({"LoadBalancerArn": arn}))?;
        seen.insert("LoadBalancerAttributes".into(), output["Attributes"].clone());
        let output = call::<op::DescribeTags>(ctx, json!({"ResourceArns": [arn]}))?;
        seen.insert("Tags".into(), output["TagDescriptions"][0]["Tags"].clone());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteLoadBalancer>(ctx, json!({"LoadBalancerArn": made.physical_id})))
    }
}

/// What attributes are that nobody set.
const DEFAULTS: &[(&str, &str)] = &[
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.prefix", ""),
    ("client_keep_alive.seconds", "3600"),
    ("connection_logs.s3.bucket", ""),
    ("connection_logs.s3.enabled", "false"),
    ("connection_logs.s3.prefix", ""),
    ("deletion_protection.enabled", "false"),
    ("health_check_logs.s3.bucket", ""),
    ("health_check_logs.s3.enabled", "false"),
    ("health_check_logs.s3.prefix", ""),
    ("idle_timeout.timeout_seconds", "60"),
    ("routing.http.desync_mitigation_mode", "defensive"),
    ("routing.http.drop_invalid_header_fields.enabled", "false"),
    ("routing.http.preserve_host_header.enabled", "false"),
    ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false"),
    ("routing.http.xff_client_port.enabled", "false"),
    ("routing.http.xff_header_processing.mode", "append"),
    ("routing.http2.enabled", "true"),
    ("waf.fail_open.enabled", "false"),
];

fn made(balancer: &Value) -> Result<Made> {
    let arn = text(balancer, "/LoadBalancerArn")?;
    let full_name = arn.split_once("loadbalancer/").map_or(arn.as_str(), |(_, name)| name).to_owned();
    Ok(Made::new(&arn)
        .with("LoadBalancerArn", arn)
        .with("LoadBalancerFullName", full_name)
        .with("CanonicalHostedZoneID", balancer["CanonicalHostedZoneId"].clone())
        .with("DNSName", text(balancer, "/DNSName")?)
        .with("LoadBalancerName", text(balancer, "/LoadBalancerName")?)
        .with("SecurityGroups", balancer["SecurityGroups"].clone()))
}
