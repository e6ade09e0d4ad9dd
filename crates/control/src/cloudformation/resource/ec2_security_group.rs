//! Security groups and their rules.

use super::call::{call, refused, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use serde_json::{Map, Value, json};

/// `AWS::EC2::SecurityGroup`.
pub struct SecurityGroup;

impl ResourceType for SecurityGroup {
    fn name(&self) -> &'static str {
        "AWS::EC2::SecurityGroup"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["GroupDescription", "GroupName", "SecurityGroupEgress", "SecurityGroupIngress", "Tags", "VpcId"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["GroupDescription"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["GroupId", "Id", "VpcId"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["VpcId"]);
        input.insert("GroupName".into(), wanted.name("GroupName", 255).into());
        input.insert("Description".into(), wanted.needed("GroupDescription")?.into());
        input.insert("TagSpecifications".into(), wanted.tag_specifications("security-group"));
        let output = call::<op::CreateSecurityGroup>(ctx, input.into())?;
        let id = text(&output, "/GroupId")?;
        if let Some(Value::Array(rules)) = wanted.properties.get("SecurityGroupIngress") {
            let permissions = rules.iter().map(permission).collect::<Result<Vec<_>>>()?;
            if !permissions.is_empty() {
                let input = json!({"GroupId": id, "IpPermissions": permissions});
                call::<op::AuthorizeSecurityGroupIngress>(ctx, input)?;
            }
        }
        if let Some(Value::Array(rules)) = wanted.properties.get("SecurityGroupEgress") {
            let everything = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
            call::<op::RevokeSecurityGroupEgress>(ctx, json!({"GroupId": id, "IpPermissions": everything}))?;
            let permissions = rules.iter().map(permission).collect::<Result<Vec<_>>>()?;
            if !permissions.is_empty() {
                let input = json!({"GroupId": id, "IpPermissions": permissions});
                call::<op::AuthorizeSecurityGroupEgress>(ctx, input)?;
            }
        }
        let vpc = wanted.text("VpcId").unwrap_or_default();
        Ok(Made::new(&id).with("GroupId", id.clone()).with("Id", id).with("VpcId", vpc))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteSecurityGroup>(ctx, json!({"GroupId": made.physical_id})))
    }
}

/// `AWS::EC2::SecurityGroupIngress`.
pub struct Ingress;

impl ResourceType for Ingress {
    fn name(&self) -> &'static str {
        "AWS::EC2::SecurityGroupIngress"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "CidrIp",
            "CidrIpv6",
            "Description",
            "FromPort",
            "GroupId",
            "IpProtocol",
            "SourceSecurityGroupId",
            "SourceSecurityGroupOwnerId",
            "ToPort",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["GroupId", "IpProtocol"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Id"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let permission = permission(&Value::Object(wanted.without(&["GroupId"])))?;
        let input = json!({"GroupId": wanted.needed("GroupId")?, "IpPermissions": [permission]});
        let output = call::<op::AuthorizeSecurityGroupIngress>(ctx, input)?;
        let id = text(&output, "/SecurityGroupRules/0/SecurityGroupRuleId")?;
        Ok(Made::new(&id).with("Id", id))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let input = json!({"GroupId": properties.get("GroupId"), "SecurityGroupRuleIds": [made.physical_id]});
        deleted(call::<op::RevokeSecurityGroupIngress>(ctx, input))
    }
}

/// A rule as CloudFormation writes it, as the permission that EC2 takes.
fn permission(rule: &Value) -> Result<Value> {
    let mut permission = Map::new();
    let description = rule.get("Description");
    let described = |key: &str, value: &Value| {
        let mut range = Map::from_iter([(key.to_owned(), value.clone())]);
        if let Some(description) = description {
            range.insert("Description".into(), description.clone());
        }
        range
    };
    let mut pair = None;
    for (name, value) in rule.as_object().into_iter().flatten() {
        match name.as_str() {
            "IpProtocol" | "FromPort" | "ToPort" => {
                permission.insert(name.clone(), value.clone());
            }
            "CidrIp" => {
                permission.insert("IpRanges".into(), json!([described("CidrIp", value)]));
            }
            "CidrIpv6" => {
                permission.insert("Ipv6Ranges".into(), json!([described("CidrIpv6", value)]));
            }
            "SourceSecurityGroupId" | "DestinationSecurityGroupId" => pair = Some(described("GroupId", value)),
            "Description" | "SourceSecurityGroupOwnerId" => {}
            _ => return Err(refused(format!("Encountered unsupported property {name}"))),
        }
    }
    if let Some(mut pair) = pair {
        if let Some(owner) = rule.get("SourceSecurityGroupOwnerId") {
            pair.insert("UserId".into(), owner.clone());
        }
        permission.insert("UserIdGroupPairs".into(), json!([pair]));
    }
    Ok(Value::Object(permission))
}
