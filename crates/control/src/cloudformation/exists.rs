//! Parameters of AWS's own types: their values must exist. As at AWS a stack whose parameter does not
//! is accepted and fails before any of its resources.

use super::resource::call::call;
use super::template::{Resolved, Template};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use quarry_aws::ssm;
use quarry_wire::{Operation, ServiceError};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Why the parameters cannot be used: one of them names what does not exist.
pub fn missing(
    ctx: &mut Ctx<'_>,
    template: &Template,
    parameters: &BTreeMap<String, Resolved>,
) -> Result<Option<String>> {
    let mut reasons = Vec::new();
    for (name, declared) in &template.parameters {
        let Some(resolved) = parameters.get(name) else { continue };
        let values = match &resolved.reference {
            Value::Array(values) => values.clone(),
            one => vec![one.clone()],
        };
        for value in values.iter().filter_map(Value::as_str) {
            if !exists(ctx, declared.inner_type(), value)? {
                reasons.push(format!("parameter value {value} for parameter name {name} does not exist"));
            }
        }
    }
    Ok((!reasons.is_empty()).then(|| format!("Parameter validation failed: {}.", reasons.join(", "))))
}

fn exists(ctx: &mut Ctx<'_>, type_name: &str, value: &str) -> Result<bool> {
    match type_name {
        "AWS::EC2::AvailabilityZone::Name" => Ok(ctx.platform.place().zones().iter().any(|zone| zone == value)),
        "AWS::EC2::Image::Id" => described::<op::DescribeImages>(ctx, json!({"ImageIds": [value]}), "/Images/0"),
        "AWS::EC2::Instance::Id" => {
            described::<op::DescribeInstances>(ctx, json!({"InstanceIds": [value]}), "/Reservations/0")
        }
        "AWS::EC2::KeyPair::KeyName" => {
            described::<op::DescribeKeyPairs>(ctx, json!({"KeyNames": [value]}), "/KeyPairs/0")
        }
        "AWS::EC2::SecurityGroup::Id" => {
            described::<op::DescribeSecurityGroups>(ctx, json!({"GroupIds": [value]}), "/SecurityGroups/0")
        }
        "AWS::EC2::SecurityGroup::GroupName" => {
            described::<op::DescribeSecurityGroups>(ctx, json!({"GroupNames": [value]}), "/SecurityGroups/0")
        }
        "AWS::EC2::Subnet::Id" => described::<op::DescribeSubnets>(ctx, json!({"SubnetIds": [value]}), "/Subnets/0"),
        "AWS::EC2::VPC::Id" => described::<op::DescribeVpcs>(ctx, json!({"VpcIds": [value]}), "/Vpcs/0"),
        "AWS::SSM::Parameter::Name" => {
            described::<ssm::op::GetParameter>(ctx, json!({"Name": value}), "/Parameter/Name")
        }
        // There is no such service here, so there is none of them.
        "AWS::EC2::Volume::Id" | "AWS::Route53::HostedZone::Id" => Ok(false),
        _ => Ok(true),
    }
}

fn described<O: Operation>(ctx: &mut Ctx<'_>, input: Value, first: &str) -> Result<bool> {
    match call::<O>(ctx, input) {
        Ok(output) => Ok(output.pointer(first).is_some_and(|found| !found.is_null())),
        Err(ServiceError { status, .. }) if status < 500 => Ok(false),
        Err(error) => Err(error),
    }
}
