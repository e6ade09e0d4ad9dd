//! Security groups and their rules.

use super::call::{call, refused, text};
use super::change::{Change, retag_ec2};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use crate::cloudformation::records::StackResource;
use crate::cloudformation::template::text_of;
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

    fn mutable(&self) -> &'static [&'static str] {
        &["SecurityGroupEgress", "SecurityGroupIngress", "Tags"]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("GroupName")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["VpcId"]);
        input.insert("GroupName".into(), wanted.name("GroupName", 255).into());
        input.insert("Description".into(), wanted.needed("GroupDescription")?.into());
        input.insert("TagSpecifications".into(), wanted.tag_specifications("security-group"));
        let output = call::<op::CreateSecurityGroup>(ctx, input.into())?;
        let id = text(&output, "/GroupId")?;
        allow(ctx, &id, &rules(&wanted.properties, "SecurityGroupIngress"), Way::In)?;
        if wanted.properties.contains_key("SecurityGroupEgress") {
            forbid(ctx, &id, &[everything()], Way::Out)?;
            allow(ctx, &id, &rules(&wanted.properties, "SecurityGroupEgress"), Way::Out)?;
        }
        let vpc = wanted.text("VpcId").unwrap_or_default();
        Ok(Made::new(&id).with("GroupId", id.clone()).with("Id", id).with("VpcId", vpc))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let id = &made.physical_id;
        for (property, way) in [("SecurityGroupIngress", Way::In), ("SecurityGroupEgress", Way::Out)] {
            let list = |properties: &Map<String, Value>| match way {
                // Without the property, everything may go out.
                Way::Out if !properties.contains_key(property) => vec![everything()],
                Way::In | Way::Out => rules(properties, property),
            };
            let (old, new) = (list(&old.properties), list(&new.properties));
            let gone: Vec<Value> = old.iter().filter(|rule| !new.contains(rule)).cloned().collect();
            let added: Vec<Value> = new.iter().filter(|rule| !old.contains(rule)).cloned().collect();
            forbid(ctx, id, &gone, way)?;
            allow(ctx, id, &added, way)?;
        }
        retag_ec2(ctx, &change, id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeSecurityGroups>(ctx, json!({"GroupIds": [made.physical_id]}))?;
        let group = &output["SecurityGroups"][0];
        let mut seen = members(group, &["GroupName", "VpcId", "Tags"]);
        seen.insert("GroupDescription".into(), group["Description"].clone());
        let input = json!({"Filters": [{"Name": "group-id", "Values": [made.physical_id]}]});
        let output = call::<op::DescribeSecurityGroupRules>(ctx, input)?;
        let all = output["SecurityGroupRules"].as_array().cloned().unwrap_or_default();
        for (property, egress) in [("SecurityGroupIngress", false), ("SecurityGroupEgress", true)] {
            let mut found: Vec<Value> =
                all.iter().filter(|rule| rule["IsEgress"] == egress).map(|rule| as_declared(rule).into()).collect();
            // Rules have no order: those that are declared stand where they are declared.
            let declared = rules(properties, property);
            let place = |rule: &Value| declared.iter().position(|other| same_rule(other, rule)).unwrap_or(usize::MAX);
            found.sort_by_key(place);
            seen.insert(property.into(), found.into());
        }
        Ok(seen)
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

    fn mutable(&self) -> &'static [&'static str] {
        &["Description"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let rule = Value::Object(wanted.without(&["GroupId"]));
        let id = allow(ctx, &wanted.needed("GroupId")?, &[rule], Way::In)?;
        Ok(Made::new(&id).with("Id", id))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        redescribe(ctx, &change, Way::In)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        read_rule(ctx, made)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let input = json!({"GroupId": properties.get("GroupId"), "SecurityGroupRuleIds": [made.physical_id]});
        deleted(call::<op::RevokeSecurityGroupIngress>(ctx, input))
    }
}

/// `AWS::EC2::SecurityGroupEgress`.
pub struct Egress;

impl ResourceType for Egress {
    fn name(&self) -> &'static str {
        "AWS::EC2::SecurityGroupEgress"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "CidrIp",
            "CidrIpv6",
            "Description",
            "DestinationSecurityGroupId",
            "FromPort",
            "GroupId",
            "IpProtocol",
            "ToPort",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["GroupId", "IpProtocol"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Id"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Description"]
    }

    /// The rule that lets everything out, which a new group has, goes with the first rule that is given.
    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let group = wanted.needed("GroupId")?;
        let stack = ctx.tx.children::<StackResource>(&wanted.stack_id)?;
        let open = |r: &StackResource| {
            r.state.physical_id.as_deref() == Some(&group) && !r.state.properties.contains_key("SecurityGroupEgress")
        };
        let rule = Value::Object(wanted.without(&["GroupId"]));
        if stack.iter().any(open) {
            match forbid(ctx, &group, &[everything()], Way::Out) {
                Err(error) if !super::is_absent(&error) => return Err(error),
                _ => {}
            }
        }
        let id = allow(ctx, &group, &[rule], Way::Out)?;
        Ok(Made::new(&id).with("Id", id))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        redescribe(ctx, &change, Way::Out)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        read_rule(ctx, made)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let input = json!({"GroupId": properties.get("GroupId"), "SecurityGroupRuleIds": [made.physical_id]});
        deleted(call::<op::RevokeSecurityGroupEgress>(ctx, input))
    }
}

/// The direction of a rule.
#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

/// What a group lets out that nobody said anything about.
fn everything() -> Value {
    json!({"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"})
}

fn rules(properties: &Map<String, Value>, property: &str) -> Vec<Value> {
    properties.get(property).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Adds rules; the id of the first.
fn allow(ctx: &mut Ctx<'_>, group: &str, rules: &[Value], way: Way) -> Result<String> {
    if rules.is_empty() {
        return Ok(String::new());
    }
    let permissions = rules.iter().map(permission).collect::<Result<Vec<_>>>()?;
    let input = json!({"GroupId": group, "IpPermissions": permissions});
    let output = match way {
        Way::In => call::<op::AuthorizeSecurityGroupIngress>(ctx, input)?,
        Way::Out => call::<op::AuthorizeSecurityGroupEgress>(ctx, input)?,
    };
    text(&output, "/SecurityGroupRules/0/SecurityGroupRuleId")
}

fn forbid(ctx: &mut Ctx<'_>, group: &str, rules: &[Value], way: Way) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let permissions = rules.iter().map(permission).collect::<Result<Vec<_>>>()?;
    let input = json!({"GroupId": group, "IpPermissions": permissions});
    match way {
        Way::In => call::<op::RevokeSecurityGroupIngress>(ctx, input)?,
        Way::Out => call::<op::RevokeSecurityGroupEgress>(ctx, input)?,
    };
    Ok(())
}

/// Changes the description of a rule, which keeps its id.
fn redescribe(ctx: &mut Ctx<'_>, change: &Change<'_>, way: Way) -> Result<Made> {
    if let Some(description) = change.value("Description", "") {
        let described = json!({"SecurityGroupRuleId": change.made.physical_id, "Description": description});
        let input = json!({"GroupId": change.new.needed("GroupId")?, "SecurityGroupRuleDescriptions": [described]});
        match way {
            Way::In => call::<op::UpdateSecurityGroupRuleDescriptionsIngress>(ctx, input)?,
            Way::Out => call::<op::UpdateSecurityGroupRuleDescriptionsEgress>(ctx, input)?,
        };
    }
    Ok(change.made.clone())
}

fn read_rule(ctx: &mut Ctx<'_>, made: &Made) -> Result<Map<String, Value>> {
    let input = json!({"SecurityGroupRuleIds": [made.physical_id]});
    let output = call::<op::DescribeSecurityGroupRules>(ctx, input)?;
    let rule = output.pointer("/SecurityGroupRules/0").ok_or_else(|| absent("The rule is not there"))?;
    Ok(as_declared(rule))
}

/// A rule as EC2 shows it, as CloudFormation writes it.
fn as_declared(rule: &Value) -> Map<String, Value> {
    let mut seen = members(rule, &["Description", "FromPort", "GroupId", "IpProtocol", "ToPort"]);
    let peer = &rule["ReferencedGroupInfo"]["GroupId"];
    let side = if rule["IsEgress"] == true { "DestinationSecurityGroupId" } else { "SourceSecurityGroupId" };
    for (name, value) in [("CidrIp", &rule["CidrIpv4"]), ("CidrIpv6", &rule["CidrIpv6"]), (side, peer)] {
        if !value.is_null() {
            seen.insert(name.into(), value.clone());
        }
    }
    seen
}

/// Whether a declared rule and a seen one let the same through.
fn same_rule(declared: &Value, seen: &Value) -> bool {
    let names = [
        "IpProtocol",
        "FromPort",
        "ToPort",
        "CidrIp",
        "CidrIpv6",
        "SourceSecurityGroupId",
        "DestinationSecurityGroupId",
    ];
    names.iter().all(|name| match &declared[name] {
        Value::Null => true,
        value => text_of(value) == text_of(&seen[name]),
    })
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
