//! Security groups. Each rule is kept by itself; the permissions that older operations show are
//! rules put together.

use super::cidr::Block;
use super::network_interface;
use super::resource::{Resource, error, find, load_balancers, new_id, page, required, select, tags_for};
use super::vpc::VpcRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    AuthorizeSecurityGroupEgressRequest, AuthorizeSecurityGroupEgressResult, AuthorizeSecurityGroupIngressRequest,
    AuthorizeSecurityGroupIngressResult, CreateSecurityGroupRequest, CreateSecurityGroupResult,
    DeleteSecurityGroupRequest, DeleteSecurityGroupResult, DescribeSecurityGroupRulesRequest,
    DescribeSecurityGroupRulesResult, DescribeSecurityGroupsRequest, DescribeSecurityGroupsResult, IpPermission,
    IpRange, ReferencedSecurityGroup, RevokeSecurityGroupEgressRequest, RevokeSecurityGroupEgressResult,
    RevokeSecurityGroupIngressRequest, RevokeSecurityGroupIngressResult, RevokedSecurityGroupRule, SecurityGroup,
    SecurityGroupRule, Tag, UserIdGroupPair,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct SecurityGroupRecord {
    pub id: String,
    pub name: String,
    pub description: String,
    pub vpc: String,
    pub owner: String,
    pub arn: String,
    pub tags: Option<Vec<Tag>>,
    pub rules: Vec<SecurityGroupRule>,
}

impl Item for SecurityGroupRecord {
    const KIND: &'static str = "ec2.security-group";
    fn key(&self) -> String {
        self.id.clone()
    }
    fn parent(&self) -> String {
        self.vpc.clone()
    }
}

impl Resource for SecurityGroupRecord {
    const TYPE: &'static str = "security-group";
    const NOUN: &'static str = "security group";
    const NOT_FOUND: &'static str = "InvalidGroup.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "group-id" => vec![self.id.clone()],
            "group-name" => vec![self.name.clone()],
            "description" => vec![self.description.clone()],
            "vpc-id" => vec![self.vpc.clone()],
            "owner-id" => vec![self.owner.clone()],
            _ => return None,
        })
    }
}

/// Where a rule lets traffic come from or go to.
#[derive(Clone, PartialEq)]
enum Peer {
    Cidr(String),
    Group(String),
}

/// A rule as requested, before it has an id.
struct Wanted {
    protocol: String,
    from_port: Option<i32>,
    to_port: Option<i32>,
    peer: Peer,
    description: Option<String>,
}

/// The default group of a new VPC: everything out, everything in from itself.
pub fn create_default(ctx: &mut Ctx<'_>, vpc: &str) -> Result<()> {
    let mut record = new_group(ctx, "default".into(), "default VPC security group".into(), vpc, Some(Vec::new()));
    let from_itself = Wanted {
        protocol: "-1".into(),
        from_port: None,
        to_port: None,
        peer: Peer::Group(record.id.clone()),
        description: None,
    };
    let rule = made(ctx, &record, from_itself, false);
    record.rules.push(rule);
    ctx.tx.put(&record)?;
    Ok(())
}

pub fn has_more_than_default(ctx: &Ctx<'_>, vpc: &str) -> Result<bool> {
    Ok(ctx.tx.children::<SecurityGroupRecord>(vpc)?.iter().any(|g| g.name != "default"))
}

pub fn delete_default(ctx: &mut Ctx<'_>, vpc: &str) -> Result<()> {
    for group in ctx.tx.children::<SecurityGroupRecord>(vpc)? {
        ctx.tx.delete::<SecurityGroupRecord>(&group.id)?;
    }
    Ok(())
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateSecurityGroupRequest) -> Result<CreateSecurityGroupResult> {
    let name = required(input.group_name, "GroupName")?;
    let description = required(input.description, "GroupDescription")?;
    let vpc = required(input.vpc_id, "VpcId")?;
    find::<VpcRecord>(ctx, &vpc)?;
    if name.starts_with("sg-") || name.len() > 255 || name.is_empty() {
        return Err(error(
            "InvalidParameterValue",
            format!(
                "Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*, empty or longer than 255 characters."
            ),
        ));
    }
    if ctx.tx.children::<SecurityGroupRecord>(&vpc)?.iter().any(|g| g.name == name) {
        return Err(error(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    let tags = tags_for::<SecurityGroupRecord>(input.tag_specifications)?;
    let record = new_group(ctx, name, description, &vpc, tags);
    ctx.tx.put(&record)?;
    Ok(CreateSecurityGroupResult { group_id: Some(record.id), security_group_arn: Some(record.arn), tags: record.tags })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeSecurityGroupsRequest) -> Result<DescribeSecurityGroupsResult> {
    let mut found = select::<SecurityGroupRecord>(ctx, input.group_ids, input.filters)?;
    if let Some(names) = input.group_names.filter(|names| !names.is_empty()) {
        found.retain(|g| names.contains(&g.name));
    }
    let (groups, next_token) = page(found, input.max_results, input.next_token)?;
    let security_groups = Some(groups.into_iter().map(shown).collect());
    Ok(DescribeSecurityGroupsResult { security_groups, next_token })
}

pub fn describe_rules(
    ctx: &mut Ctx<'_>,
    input: DescribeSecurityGroupRulesRequest,
) -> Result<DescribeSecurityGroupRulesResult> {
    let mut groups = ctx.tx.all::<SecurityGroupRecord>()?;
    let ids = input.security_group_rule_ids.unwrap_or_default();
    let mut rules: Vec<_> = Vec::new();
    for filter in input.filters.iter().flatten() {
        let values: Vec<_> = filter.values.iter().flatten().cloned().collect();
        match filter.name.as_deref().unwrap_or_default() {
            "group-id" => groups.retain(|g| values.contains(&g.id)),
            "security-group-rule-id" => {
                for group in &mut groups {
                    group.rules.retain(|r| r.security_group_rule_id.as_ref().is_some_and(|id| values.contains(id)));
                }
            }
            other => return Err(error("InvalidParameterValue", format!("The filter '{other}' is invalid"))),
        }
    }
    rules.extend(groups.into_iter().flat_map(|g| g.rules));
    if !ids.is_empty() {
        rules.retain(|r| r.security_group_rule_id.as_ref().is_some_and(|id| ids.contains(id)));
        if let Some(missing) =
            ids.iter().find(|id| !rules.iter().any(|r| r.security_group_rule_id.as_ref() == Some(id)))
        {
            return Err(error(
                "InvalidSecurityGroupRuleId.NotFound",
                format!("The security group rule ID '{missing}' does not exist"),
            ));
        }
    }
    let (security_group_rules, next_token) = page(rules, input.max_results, input.next_token)?;
    Ok(DescribeSecurityGroupRulesResult { security_group_rules: Some(security_group_rules), next_token })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteSecurityGroupRequest) -> Result<DeleteSecurityGroupResult> {
    let id = required(input.group_id, "GroupId")?;
    let record = find::<SecurityGroupRecord>(ctx, &id)?;
    if record.name == "default" {
        return Err(error(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let interfaces = network_interface::all(ctx)?;
    let worn =
        interfaces.iter().any(|i| i.interface.groups.iter().flatten().any(|g| g.group_id.as_deref() == Some(&id)));
    let balancers = load_balancers(ctx)?;
    let worn = worn || balancers.iter().any(|b| b.security_groups.iter().flatten().any(|g| *g == id));
    let others = ctx.tx.children::<SecurityGroupRecord>(&record.vpc)?;
    let referenced = others.iter().filter(|g| g.id != id).flat_map(|g| &g.rules).any(|r| refers_to(r, &id));
    if worn || referenced {
        return Err(error("DependencyViolation", format!("resource {id} has a dependent object")));
    }
    ctx.tx.delete::<SecurityGroupRecord>(&id)?;
    Ok(DeleteSecurityGroupResult { r#return: Some(true), group_id: Some(id) })
}

pub fn authorize_ingress(
    ctx: &mut Ctx<'_>,
    input: AuthorizeSecurityGroupIngressRequest,
) -> Result<AuthorizeSecurityGroupIngressResult> {
    let permissions = permissions(
        input.ip_permissions,
        (input.ip_protocol, input.from_port, input.to_port, input.cidr_ip, input.source_security_group_name),
    )?;
    let rules = authorize(ctx, &required(input.group_id, "groupId")?, permissions, false)?;
    Ok(AuthorizeSecurityGroupIngressResult { r#return: Some(true), security_group_rules: Some(rules) })
}

pub fn authorize_egress(
    ctx: &mut Ctx<'_>,
    input: AuthorizeSecurityGroupEgressRequest,
) -> Result<AuthorizeSecurityGroupEgressResult> {
    let permissions = permissions(
        input.ip_permissions,
        (input.ip_protocol, input.from_port, input.to_port, input.cidr_ip, input.source_security_group_name),
    )?;
    let rules = authorize(ctx, &required(input.group_id, "groupId")?, permissions, true)?;
    Ok(AuthorizeSecurityGroupEgressResult { r#return: Some(true), security_group_rules: Some(rules) })
}

pub fn revoke_ingress(
    ctx: &mut Ctx<'_>,
    input: RevokeSecurityGroupIngressRequest,
) -> Result<RevokeSecurityGroupIngressResult> {
    let legacy = (input.ip_protocol, input.from_port, input.to_port, input.cidr_ip, input.source_security_group_name);
    let group = required(input.group_id, "groupId")?;
    let revoked = revoke(ctx, &group, input.security_group_rule_ids, input.ip_permissions, legacy, false)?;
    Ok(RevokeSecurityGroupIngressResult {
        r#return: Some(true),
        revoked_security_group_rules: Some(revoked),
        ..Default::default()
    })
}

pub fn revoke_egress(
    ctx: &mut Ctx<'_>,
    input: RevokeSecurityGroupEgressRequest,
) -> Result<RevokeSecurityGroupEgressResult> {
    let legacy = (input.ip_protocol, input.from_port, input.to_port, input.cidr_ip, input.source_security_group_name);
    let group = required(input.group_id, "groupId")?;
    let revoked = revoke(ctx, &group, input.security_group_rule_ids, input.ip_permissions, legacy, true)?;
    Ok(RevokeSecurityGroupEgressResult {
        r#return: Some(true),
        revoked_security_group_rules: Some(revoked),
        ..Default::default()
    })
}

/// The request's flat parameters: protocol, ports, block, group.
type Legacy = (Option<String>, Option<i32>, Option<i32>, Option<String>, Option<String>);

/// Either form of a request, as rules.
fn permissions(permissions: Option<Vec<IpPermission>>, legacy: Legacy) -> Result<Vec<Wanted>> {
    let mut all = permissions.unwrap_or_default();
    let (ip_protocol, from_port, to_port, cidr, group) = legacy;
    if ip_protocol.is_some() {
        all.push(IpPermission {
            ip_protocol,
            from_port,
            to_port,
            ip_ranges: cidr.map(|c| vec![IpRange { cidr_ip: Some(c), ..Default::default() }]),
            user_id_group_pairs: group.map(|g| vec![UserIdGroupPair { group_id: Some(g), ..Default::default() }]),
            ..Default::default()
        });
    }
    let mut wanted = Vec::new();
    for permission in all {
        let protocol = protocol(&required(permission.ip_protocol, "ipProtocol")?)?;
        let ported = matches!(protocol.as_str(), "tcp" | "udp");
        if ported
            && !matches!((permission.from_port, permission.to_port), (Some(a), Some(b)) if (0..=65535).contains(&a) && a <= b && b <= 65535)
        {
            return Err(error(
                "InvalidParameterValue",
                "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.",
            ));
        }
        let unsupported =
            permission.ipv6_ranges.iter().flatten().count() + permission.prefix_list_ids.iter().flatten().count();
        if unsupported > 0 {
            return Err(error("UnsupportedOperation", "IPv6 ranges and prefix lists are not supported."));
        }
        let (from_port, to_port) =
            if protocol == "-1" { (None, None) } else { (permission.from_port, permission.to_port) };
        let mut add = |peer, description| {
            wanted.push(Wanted { protocol: protocol.clone(), from_port, to_port, peer, description });
        };
        for range in permission.ip_ranges.into_iter().flatten() {
            let text = required(range.cidr_ip, "cidrIp")?;
            let block = Block::parse(&text)
                .ok_or_else(|| error("InvalidParameterValue", format!("CIDR block {text} is malformed")))?;
            add(Peer::Cidr(block.to_string()), range.description);
        }
        for pair in permission.user_id_group_pairs.into_iter().flatten() {
            add(Peer::Group(required(pair.group_id.or(pair.group_name), "groupId")?), pair.description);
        }
    }
    if wanted.is_empty() {
        return Err(error("MissingParameter", "The request must contain the parameter ipPermissions or ipProtocol"));
    }
    Ok(wanted)
}

fn protocol(text: &str) -> Result<String> {
    Ok(match text {
        "-1" | "all" => "-1".into(),
        "tcp" | "6" => "tcp".into(),
        "udp" | "17" => "udp".into(),
        "icmp" | "1" => "icmp".into(),
        other => {
            let number: Option<u8> = other.parse().ok();
            number.map(|n| n.to_string()).ok_or_else(|| {
                error("InvalidParameterValue", format!("Invalid value '{other}' for IP protocol. Unknown protocol."))
            })?
        }
    })
}

fn authorize(ctx: &mut Ctx<'_>, group: &str, wanted: Vec<Wanted>, egress: bool) -> Result<Vec<SecurityGroupRule>> {
    let mut record = find::<SecurityGroupRecord>(ctx, group)?;
    let mut added = Vec::new();
    for wanted in wanted {
        if let Peer::Group(peer) = &wanted.peer {
            find::<SecurityGroupRecord>(ctx, peer)?;
        }
        if record.rules.iter().any(|r| r.is_egress == Some(egress) && is(r, &wanted)) {
            return Err(error(
                "InvalidPermission.Duplicate",
                format!(
                    "the specified rule \"peer: {}, {}, from port: {}, to port: {}, ALLOW\" already exists",
                    match &wanted.peer {
                        Peer::Cidr(text) | Peer::Group(text) => text,
                    },
                    wanted.protocol.to_uppercase(),
                    wanted.from_port.unwrap_or(-1),
                    wanted.to_port.unwrap_or(-1)
                ),
            ));
        }
        let rule = made(ctx, &record, wanted, egress);
        record.rules.push(rule.clone());
        added.push(rule);
    }
    ctx.tx.put(&record)?;
    Ok(added)
}

fn revoke(
    ctx: &mut Ctx<'_>,
    group: &str,
    rule_ids: Option<Vec<String>>,
    ip_permissions: Option<Vec<IpPermission>>,
    legacy: Legacy,
    egress: bool,
) -> Result<Vec<RevokedSecurityGroupRule>> {
    let mut record = find::<SecurityGroupRecord>(ctx, group)?;
    let mut revoked = Vec::new();
    let mut take = |record: &mut SecurityGroupRecord, which: &dyn Fn(&SecurityGroupRule) -> bool| {
        let at = record.rules.iter().position(|r| r.is_egress == Some(egress) && which(r))?;
        revoked.push(as_revoked(record.rules.remove(at)));
        Some(())
    };
    match rule_ids.filter(|ids| !ids.is_empty()) {
        Some(ids) => {
            for id in ids {
                take(&mut record, &|r| r.security_group_rule_id.as_deref() == Some(&id)).ok_or_else(|| {
                    error(
                        "InvalidSecurityGroupRuleId.NotFound",
                        format!("The security group rule ID '{id}' does not exist"),
                    )
                })?;
            }
        }
        None => {
            for wanted in permissions(ip_permissions, legacy)? {
                take(&mut record, &|r| is(r, &wanted)).ok_or_else(|| {
                    error("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
                })?;
            }
        }
    }
    ctx.tx.put(&record)?;
    Ok(revoked)
}

fn is(rule: &SecurityGroupRule, wanted: &Wanted) -> bool {
    let peer = match &wanted.peer {
        Peer::Cidr(cidr) => rule.cidr_ipv4.as_ref() == Some(cidr),
        Peer::Group(group) => refers_to(rule, group),
    };
    let port = |port: Option<i32>| port.unwrap_or(-1);
    peer && rule.ip_protocol.as_ref() == Some(&wanted.protocol)
        && port(rule.from_port) == port(wanted.from_port)
        && port(rule.to_port) == port(wanted.to_port)
}

fn refers_to(rule: &SecurityGroupRule, group: &str) -> bool {
    rule.referenced_group_info.as_ref().is_some_and(|i| i.group_id.as_deref() == Some(group))
}

fn new_group(
    ctx: &Ctx<'_>,
    name: String,
    description: String,
    vpc: &str,
    tags: Option<Vec<Tag>>,
) -> SecurityGroupRecord {
    let place = ctx.platform.place();
    let id = new_id(ctx, "sg");
    let arn = place.arn("ec2", format_args!("security-group/{id}"));
    let owner = place.account.clone();
    let mut record =
        SecurityGroupRecord { id, name, description, vpc: vpc.into(), owner, arn, tags, rules: Vec::new() };
    let everywhere = Wanted {
        protocol: "-1".into(),
        from_port: None,
        to_port: None,
        peer: Peer::Cidr("0.0.0.0/0".into()),
        description: None,
    };
    let rule = made(ctx, &record, everywhere, true);
    record.rules.push(rule);
    record
}

fn made(ctx: &Ctx<'_>, group: &SecurityGroupRecord, wanted: Wanted, egress: bool) -> SecurityGroupRule {
    let id = new_id(ctx, "sgr");
    let (cidr_ipv4, referenced_group_info) = match wanted.peer {
        Peer::Cidr(cidr) => (Some(cidr), None),
        Peer::Group(group_id) => (
            None,
            Some(ReferencedSecurityGroup {
                group_id: Some(group_id),
                user_id: Some(group.owner.clone()),
                ..Default::default()
            }),
        ),
    };
    SecurityGroupRule {
        security_group_rule_arn: Some(ctx.platform.place().arn("ec2", format_args!("security-group-rule/{id}"))),
        security_group_rule_id: Some(id),
        group_id: Some(group.id.clone()),
        group_owner_id: Some(group.owner.clone()),
        is_egress: Some(egress),
        ip_protocol: Some(wanted.protocol),
        from_port: Some(wanted.from_port.unwrap_or(-1)),
        to_port: Some(wanted.to_port.unwrap_or(-1)),
        cidr_ipv4,
        referenced_group_info,
        description: wanted.description,
        tags: Some(Vec::new()),
        ..Default::default()
    }
}

fn as_revoked(rule: SecurityGroupRule) -> RevokedSecurityGroupRule {
    RevokedSecurityGroupRule {
        security_group_rule_id: rule.security_group_rule_id,
        group_id: rule.group_id,
        is_egress: rule.is_egress,
        ip_protocol: rule.ip_protocol,
        from_port: rule.from_port,
        to_port: rule.to_port,
        cidr_ipv4: rule.cidr_ipv4,
        referenced_group_id: rule.referenced_group_info.and_then(|i| i.group_id),
        description: rule.description,
        ..Default::default()
    }
}

fn shown(record: SecurityGroupRecord) -> SecurityGroup {
    SecurityGroup {
        ip_permissions: Some(put_together(&record.rules, false)),
        ip_permissions_egress: Some(put_together(&record.rules, true)),
        group_id: Some(record.id),
        group_name: Some(record.name),
        description: Some(record.description),
        vpc_id: Some(record.vpc),
        owner_id: Some(record.owner),
        security_group_arn: Some(record.arn),
        tags: record.tags,
    }
}

/// Rules of one protocol and port range share a permission, as EC2 shows them.
fn put_together(rules: &[SecurityGroupRule], egress: bool) -> Vec<IpPermission> {
    let mut permissions: Vec<IpPermission> = Vec::new();
    for rule in rules.iter().filter(|r| r.is_egress == Some(egress)) {
        let ported = |port: Option<i32>| port.filter(|_| rule.ip_protocol.as_deref() != Some("-1"));
        let (from_port, to_port) = (ported(rule.from_port), ported(rule.to_port));
        let same =
            |p: &IpPermission| p.ip_protocol == rule.ip_protocol && p.from_port == from_port && p.to_port == to_port;
        let at = permissions.iter().position(same).unwrap_or_else(|| {
            permissions.push(IpPermission {
                ip_protocol: rule.ip_protocol.clone(),
                from_port,
                to_port,
                ip_ranges: Some(Vec::new()),
                ipv6_ranges: Some(Vec::new()),
                prefix_list_ids: Some(Vec::new()),
                user_id_group_pairs: Some(Vec::new()),
            });
            permissions.len() - 1
        });
        let permission = &mut permissions[at];
        if let Some(cidr) = &rule.cidr_ipv4 {
            let range = IpRange { cidr_ip: Some(cidr.clone()), description: rule.description.clone() };
            permission.ip_ranges.get_or_insert_default().push(range);
        }
        if let Some(info) = &rule.referenced_group_info {
            permission.user_id_group_pairs.get_or_insert_default().push(UserIdGroupPair {
                group_id: info.group_id.clone(),
                user_id: info.user_id.clone(),
                description: rule.description.clone(),
                ..Default::default()
            });
        }
    }
    permissions
}
