//! The rules of security groups. Each is kept by itself with an id of its own; the permissions that
//! older operations take and show are rules put together.

use super::cidr::{Block, ipv6_block};
use super::prefix_list;
use super::resource::{Resource, choose, error, find, new_id, page, required, tags_for};
use super::security_group::SecurityGroupRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    AuthorizeSecurityGroupEgressRequest, AuthorizeSecurityGroupEgressResult, AuthorizeSecurityGroupIngressRequest,
    AuthorizeSecurityGroupIngressResult, DescribeSecurityGroupRulesRequest, DescribeSecurityGroupRulesResult,
    IpPermission, IpRange, Ipv6Range, ModifySecurityGroupRulesRequest, ModifySecurityGroupRulesResult, PrefixListId,
    ReferencedSecurityGroup, RevokeSecurityGroupEgressRequest, RevokeSecurityGroupEgressResult,
    RevokeSecurityGroupIngressRequest, RevokeSecurityGroupIngressResult, RevokedSecurityGroupRule, SecurityGroupRule,
    SecurityGroupRuleDescription, SecurityGroupRuleRequest, Tag, TagSpecification,
    UpdateSecurityGroupRuleDescriptionsEgressRequest, UpdateSecurityGroupRuleDescriptionsEgressResult,
    UpdateSecurityGroupRuleDescriptionsIngressRequest, UpdateSecurityGroupRuleDescriptionsIngressResult,
    UserIdGroupPair,
};
use serde::{Deserialize, Serialize};

/// Where a rule lets traffic come from or go to.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    Cidr(String),
    Cidr6(String),
    Group(String),
    PrefixList(String),
}

/// A rule as requested, before it has an id.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    protocol: String,
    from_port: Option<i32>,
    to_port: Option<i32>,
    peer: Peer,
    description: Option<String>,
}

/// A rule by itself, as it is described, filtered and tagged; it is kept with its group.
#[derive(Clone, Serialize, Deserialize)]
pub struct RuleView {
    pub rule: SecurityGroupRule,
}

/// The request's flat parameters: protocol, ports, block, group.
type Legacy = (Option<String>, Option<i32>, Option<i32>, Option<String>, Option<String>);

impl Item for RuleView {
    const KIND: &'static str = "ec2.security-group-rule";
    fn key(&self) -> String {
        self.rule.security_group_rule_id.clone().unwrap_or_default()
    }
}

impl Resource for RuleView {
    const TYPE: &'static str = "security-group-rule";
    const NOUN: &'static str = "security group rule ID";
    const NOT_FOUND: &'static str = "InvalidSecurityGroupRuleId.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.rule.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.rule.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "group-id" => self.rule.group_id.iter().cloned().collect(),
            "security-group-rule-id" => vec![self.key()],
            _ => return None,
        })
    }
}

impl Wanted {
    /// Everything to or from a peer.
    pub fn all(peer: Peer) -> Self {
        Self { protocol: "-1".into(), from_port: None, to_port: None, peer, description: None }
    }

    /// Whether a rule is this one; descriptions do not tell rules apart.
    fn is(&self, rule: &SecurityGroupRule) -> bool {
        let peer = match &self.peer {
            Peer::Cidr(cidr) => rule.cidr_ipv4.as_ref() == Some(cidr),
            Peer::Cidr6(cidr) => rule.cidr_ipv6.as_ref() == Some(cidr),
            Peer::Group(group) => refers_to(rule, group),
            Peer::PrefixList(list) => rule.prefix_list_id.as_ref() == Some(list),
        };
        let port = |port: Option<i32>| port.unwrap_or(-1);
        peer && rule.ip_protocol.as_ref() == Some(&self.protocol)
            && port(rule.from_port) == port(self.from_port)
            && port(rule.to_port) == port(self.to_port)
    }

    fn check_peer(&self, ctx: &Ctx<'_>) -> Result<()> {
        match &self.peer {
            Peer::Group(group) => find::<SecurityGroupRecord>(ctx, group).map(|_| ()),
            Peer::PrefixList(list) => prefix_list::check(ctx, list),
            Peer::Cidr(_) | Peer::Cidr6(_) => Ok(()),
        }
    }

    fn duplicate(&self) -> quarry_wire::ServiceError {
        let (Peer::Cidr(peer) | Peer::Cidr6(peer) | Peer::Group(peer) | Peer::PrefixList(peer)) = &self.peer;
        let (protocol, port) = (self.protocol.to_uppercase(), |port: Option<i32>| port.unwrap_or(-1));
        let (from, to) = (port(self.from_port), port(self.to_port));
        let ports = if self.protocol == "-1" { String::new() } else { format!(", from port: {from}, to port: {to}") };
        let protocol = if self.protocol == "-1" { "ALL".to_owned() } else { protocol };
        error(
            "InvalidPermission.Duplicate",
            format!("the specified rule \"peer: {peer}, {protocol}{ports}, ALLOW\" already exists"),
        )
    }
}

/// The value of a rule for a filter such as `ip-permission.cidr`, without its `egress.`.
pub fn permission_field(name: &str) -> Option<fn(&SecurityGroupRule) -> Option<String>> {
    Some(match name {
        "ip-permission.cidr" => |rule| rule.cidr_ipv4.clone(),
        "ip-permission.ipv6-cidr" => |rule| rule.cidr_ipv6.clone(),
        "ip-permission.group-id" => |rule| rule.referenced_group_info.as_ref()?.group_id.clone(),
        "ip-permission.prefix-list-id" => |rule| rule.prefix_list_id.clone(),
        "ip-permission.protocol" => |rule| rule.ip_protocol.clone(),
        "ip-permission.from-port" => |rule| rule.from_port.map(|port| port.to_string()),
        "ip-permission.to-port" => |rule| rule.to_port.map(|port| port.to_string()),
        _ => return None,
    })
}

pub fn refers_to(rule: &SecurityGroupRule, group: &str) -> bool {
    rule.referenced_group_info.as_ref().is_some_and(|i| i.group_id.as_deref() == Some(group))
}

/// A new rule of a group, with its id.
pub fn made(
    ctx: &Ctx<'_>,
    group: &SecurityGroupRecord,
    wanted: Wanted,
    egress: bool,
    tags: Vec<Tag>,
) -> SecurityGroupRule {
    let id = new_id(ctx, "sgr");
    let rule = SecurityGroupRule {
        security_group_rule_arn: Some(ctx.platform.place().arn("ec2", format_args!("security-group-rule/{id}"))),
        security_group_rule_id: Some(id),
        group_id: Some(group.id.clone()),
        group_owner_id: Some(group.owner.clone()),
        is_egress: Some(egress),
        tags: Some(tags),
        ..Default::default()
    };
    become_wanted(rule, wanted)
}

/// Rules of one protocol and port range share a permission, as EC2 shows them.
pub fn put_together(rules: &[SecurityGroupRule], egress: bool) -> Vec<IpPermission> {
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
        let description = rule.description.clone();
        if let Some(cidr) = &rule.cidr_ipv4 {
            permission.ip_ranges.get_or_insert_default().push(IpRange { cidr_ip: Some(cidr.clone()), description });
        } else if let Some(cidr) = &rule.cidr_ipv6 {
            let range = Ipv6Range { cidr_ipv6: Some(cidr.clone()), description };
            permission.ipv6_ranges.get_or_insert_default().push(range);
        } else if let Some(list) = &rule.prefix_list_id {
            let list = PrefixListId { prefix_list_id: Some(list.clone()), description };
            permission.prefix_list_ids.get_or_insert_default().push(list);
        } else if let Some(info) = &rule.referenced_group_info {
            permission.user_id_group_pairs.get_or_insert_default().push(UserIdGroupPair {
                group_id: info.group_id.clone(),
                user_id: info.user_id.clone(),
                description,
                ..Default::default()
            });
        }
    }
    permissions
}

/// Changes the tags of a rule, which is kept with its group.
pub fn change_tags(ctx: &mut Ctx<'_>, id: &str, f: &dyn Fn(&mut Vec<Tag>)) -> Result<()> {
    for mut group in ctx.tx.all::<SecurityGroupRecord>()? {
        if let Some(rule) = group.rules.iter_mut().find(|rule| rule.security_group_rule_id.as_deref() == Some(id)) {
            f(rule.tags.get_or_insert_default());
            ctx.tx.put(&group)?;
            return Ok(());
        }
    }
    Err(unknown(id))
}

/// All rules of all groups.
pub fn all(ctx: &Ctx<'_>) -> Result<Vec<RuleView>> {
    let groups = ctx.tx.all::<SecurityGroupRecord>()?;
    Ok(groups.into_iter().flat_map(|group| group.rules).map(|rule| RuleView { rule }).collect())
}

pub fn describe(
    ctx: &mut Ctx<'_>,
    input: DescribeSecurityGroupRulesRequest,
) -> Result<DescribeSecurityGroupRulesResult> {
    let rules = choose(all(ctx)?, input.security_group_rule_ids, input.filters)?;
    let (rules, next_token) = page(rules, input.max_results, input.next_token)?;
    let security_group_rules = Some(rules.into_iter().map(|view| view.rule).collect());
    Ok(DescribeSecurityGroupRulesResult { security_group_rules, next_token })
}

pub fn authorize_ingress(
    ctx: &mut Ctx<'_>,
    input: AuthorizeSecurityGroupIngressRequest,
) -> Result<AuthorizeSecurityGroupIngressResult> {
    let legacy = (input.ip_protocol, input.from_port, input.to_port, input.cidr_ip, input.source_security_group_name);
    let permissions = permissions(input.ip_permissions, legacy)?;
    let rules = authorize(ctx, input.group_id, permissions, false, input.tag_specifications)?;
    Ok(AuthorizeSecurityGroupIngressResult { r#return: Some(true), security_group_rules: Some(rules) })
}

pub fn authorize_egress(
    ctx: &mut Ctx<'_>,
    input: AuthorizeSecurityGroupEgressRequest,
) -> Result<AuthorizeSecurityGroupEgressResult> {
    let legacy = (input.ip_protocol, input.from_port, input.to_port, input.cidr_ip, input.source_security_group_name);
    let permissions = permissions(input.ip_permissions, legacy)?;
    let rules = authorize(ctx, input.group_id, permissions, true, input.tag_specifications)?;
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

/// Replaces rules, which keep their ids, direction and tags.
pub fn modify(ctx: &mut Ctx<'_>, input: ModifySecurityGroupRulesRequest) -> Result<ModifySecurityGroupRulesResult> {
    let mut group = find::<SecurityGroupRecord>(ctx, &required(input.group_id, "GroupId")?)?;
    for update in required(input.security_group_rules, "SecurityGroupRules")? {
        let id = required(update.security_group_rule_id, "SecurityGroupRuleId")?;
        let wanted = one(required(update.security_group_rule, "SecurityGroupRule")?)?;
        wanted.check_peer(ctx)?;
        let of_id = |rule: &SecurityGroupRule| rule.security_group_rule_id.as_deref() == Some(&id);
        let at = group.rules.iter().position(of_id).ok_or_else(|| unknown(&id))?;
        let egress = group.rules[at].is_egress;
        if group.rules.iter().any(|rule| !of_id(rule) && rule.is_egress == egress && wanted.is(rule)) {
            return Err(wanted.duplicate());
        }
        let rule = std::mem::take(&mut group.rules[at]);
        group.rules[at] = become_wanted(rule, wanted);
    }
    ctx.tx.put(&group)?;
    Ok(ModifySecurityGroupRulesResult { r#return: Some(true) })
}

pub fn update_ingress_descriptions(
    ctx: &mut Ctx<'_>,
    input: UpdateSecurityGroupRuleDescriptionsIngressRequest,
) -> Result<UpdateSecurityGroupRuleDescriptionsIngressResult> {
    describe_anew(ctx, input.group_id, input.ip_permissions, input.security_group_rule_descriptions, false)?;
    Ok(UpdateSecurityGroupRuleDescriptionsIngressResult { r#return: Some(true) })
}

pub fn update_egress_descriptions(
    ctx: &mut Ctx<'_>,
    input: UpdateSecurityGroupRuleDescriptionsEgressRequest,
) -> Result<UpdateSecurityGroupRuleDescriptionsEgressResult> {
    describe_anew(ctx, input.group_id, input.ip_permissions, input.security_group_rule_descriptions, true)?;
    Ok(UpdateSecurityGroupRuleDescriptionsEgressResult { r#return: Some(true) })
}

fn describe_anew(
    ctx: &mut Ctx<'_>,
    group: Option<String>,
    ip_permissions: Option<Vec<IpPermission>>,
    descriptions: Option<Vec<SecurityGroupRuleDescription>>,
    egress: bool,
) -> Result<()> {
    let mut group = find::<SecurityGroupRecord>(ctx, &required(group, "GroupId")?)?;
    let mut set = |description, which: &dyn Fn(&SecurityGroupRule) -> bool| {
        let rule = group.rules.iter_mut().find(|rule| rule.is_egress == Some(egress) && which(rule))?;
        rule.description = description;
        Some(())
    };
    match descriptions.filter(|given| !given.is_empty()) {
        Some(descriptions) => {
            for given in descriptions {
                let id = required(given.security_group_rule_id, "SecurityGroupRuleId")?;
                set(given.description, &|rule| rule.security_group_rule_id.as_deref() == Some(&id))
                    .ok_or_else(|| unknown(&id))?;
            }
        }
        None => {
            for wanted in permissions(ip_permissions, Legacy::default())? {
                set(wanted.description.clone(), &|rule| wanted.is(rule)).ok_or_else(no_such_permission)?;
            }
        }
    }
    ctx.tx.put(&group)?;
    Ok(())
}

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
        let traffic = (permission.ip_protocol, permission.from_port, permission.to_port);
        let mut add = |peer, description| -> Result<()> {
            wanted.push(rule(traffic.clone(), peer, description)?);
            Ok(())
        };
        for range in permission.ip_ranges.into_iter().flatten() {
            add(cidr_peer(&required(range.cidr_ip, "cidrIp")?)?, range.description)?;
        }
        for range in permission.ipv6_ranges.into_iter().flatten() {
            add(cidr6_peer(&required(range.cidr_ipv6, "cidrIpv6")?)?, range.description)?;
        }
        for pair in permission.user_id_group_pairs.into_iter().flatten() {
            add(Peer::Group(required(pair.group_id.or(pair.group_name), "groupId")?), pair.description)?;
        }
        for list in permission.prefix_list_ids.into_iter().flatten() {
            add(Peer::PrefixList(required(list.prefix_list_id, "prefixListId")?), list.description)?;
        }
    }
    if wanted.is_empty() {
        return Err(error("MissingParameter", "The request must contain the parameter ipPermissions or ipProtocol"));
    }
    Ok(wanted)
}

/// The form of `ModifySecurityGroupRules`: one peer.
fn one(request: SecurityGroupRuleRequest) -> Result<Wanted> {
    let peers = [
        request.cidr_ipv4.map(|text| cidr_peer(&text)),
        request.cidr_ipv6.map(|text| cidr6_peer(&text)),
        request.referenced_group_id.map(|id| Ok(Peer::Group(id))),
        request.prefix_list_id.map(|id| Ok(Peer::PrefixList(id))),
    ];
    let mut peers = peers.into_iter().flatten();
    let (Some(peer), None) = (peers.next(), peers.next()) else {
        return Err(error(
            "InvalidParameterCombination",
            "Exactly one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId must be given.",
        ));
    };
    rule((request.ip_protocol, request.from_port, request.to_port), peer?, request.description)
}

/// A rule for protocol and ports, checked.
fn rule(
    (name, from_port, to_port): (Option<String>, Option<i32>, Option<i32>),
    peer: Peer,
    description: Option<String>,
) -> Result<Wanted> {
    let protocol = protocol(&required(name, "ipProtocol")?)?;
    let ported = matches!(protocol.as_str(), "tcp" | "udp");
    let range = matches!((from_port, to_port), (Some(a), Some(b)) if (0..=65535).contains(&a) && a <= b && b <= 65535);
    if ported && !range {
        return Err(error(
            "InvalidParameterValue",
            "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.",
        ));
    }
    if description.as_ref().is_some_and(|text| text.chars().count() > 255) {
        return Err(error("InvalidParameterValue", "Invalid rule description. Must be at most 255 characters long."));
    }
    let (from_port, to_port) = if protocol == "-1" { (None, None) } else { (from_port, to_port) };
    Ok(Wanted { protocol, from_port, to_port, peer, description })
}

fn cidr_peer(text: &str) -> Result<Peer> {
    let block = Block::parse(text);
    let block = block.ok_or_else(|| error("InvalidParameterValue", format!("CIDR block {text} is malformed")))?;
    Ok(Peer::Cidr(block.to_string()))
}

fn cidr6_peer(text: &str) -> Result<Peer> {
    let block = ipv6_block(text);
    Ok(Peer::Cidr6(block.ok_or_else(|| error("InvalidParameterValue", format!("CIDR block {text} is malformed")))?))
}

fn protocol(text: &str) -> Result<String> {
    Ok(match text {
        "-1" | "all" => "-1".into(),
        "tcp" | "6" => "tcp".into(),
        "udp" | "17" => "udp".into(),
        "icmp" | "1" => "icmp".into(),
        "icmpv6" | "58" => "icmpv6".into(),
        other => {
            let number: Option<u8> = other.parse().ok();
            number.map(|n| n.to_string()).ok_or_else(|| {
                error("InvalidParameterValue", format!("Invalid value '{other}' for IP protocol. Unknown protocol."))
            })?
        }
    })
}

fn authorize(
    ctx: &mut Ctx<'_>,
    group: Option<String>,
    wanted: Vec<Wanted>,
    egress: bool,
    tags: Option<Vec<TagSpecification>>,
) -> Result<Vec<SecurityGroupRule>> {
    let mut record = find::<SecurityGroupRecord>(ctx, &required(group, "groupId")?)?;
    let tags = tags_for::<RuleView>(tags)?.unwrap_or_default();
    let mut added = Vec::new();
    for wanted in wanted {
        wanted.check_peer(ctx)?;
        if record.rules.iter().any(|rule| rule.is_egress == Some(egress) && wanted.is(rule)) {
            return Err(wanted.duplicate());
        }
        let rule = made(ctx, &record, wanted, egress, tags.clone());
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
                take(&mut record, &|r| r.security_group_rule_id.as_deref() == Some(&id)).ok_or_else(|| unknown(&id))?;
            }
        }
        None => {
            for wanted in permissions(ip_permissions, legacy)? {
                take(&mut record, &|rule| wanted.is(rule)).ok_or_else(no_such_permission)?;
            }
        }
    }
    ctx.tx.put(&record)?;
    Ok(revoked)
}

fn become_wanted(rule: SecurityGroupRule, wanted: Wanted) -> SecurityGroupRule {
    let owner = rule.group_owner_id.clone();
    let (mut cidr_ipv4, mut cidr_ipv6, mut prefix_list_id, mut referenced_group_info) = (None, None, None, None);
    match wanted.peer {
        Peer::Cidr(cidr) => cidr_ipv4 = Some(cidr),
        Peer::Cidr6(cidr) => cidr_ipv6 = Some(cidr),
        Peer::PrefixList(list) => prefix_list_id = Some(list),
        Peer::Group(group_id) => {
            let info = ReferencedSecurityGroup { group_id: Some(group_id), user_id: owner, ..Default::default() };
            referenced_group_info = Some(info);
        }
    }
    SecurityGroupRule {
        ip_protocol: Some(wanted.protocol),
        from_port: Some(wanted.from_port.unwrap_or(-1)),
        to_port: Some(wanted.to_port.unwrap_or(-1)),
        cidr_ipv4,
        cidr_ipv6,
        prefix_list_id,
        referenced_group_info,
        description: wanted.description,
        ..rule
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
        cidr_ipv6: rule.cidr_ipv6,
        prefix_list_id: rule.prefix_list_id,
        referenced_group_id: rule.referenced_group_info.and_then(|i| i.group_id),
        description: rule.description,
    }
}

fn unknown(id: &str) -> quarry_wire::ServiceError {
    error(RuleView::NOT_FOUND, format!("The {} '{id}' does not exist", RuleView::NOUN))
}

fn no_such_permission() -> quarry_wire::ServiceError {
    error("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
}
