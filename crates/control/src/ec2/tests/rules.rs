//! Security group rules by their ids.

use super::*;

fn rule(world: &World, group: &str, change: impl FnOnce(&mut IpPermission)) -> Result<SecurityGroupRule> {
    let mut permission =
        IpPermission { ip_protocol: Some("tcp".into()), from_port: Some(80), to_port: Some(80), ..Default::default() };
    change(&mut permission);
    let tag = Tag { key: Some("Name".into()), value: Some("web".into()) };
    let input = AuthorizeSecurityGroupIngressRequest {
        group_id: Some(group.into()),
        ip_permissions: Some(vec![permission]),
        tag_specifications: Some(vec![TagSpecification {
            resource_type: Some("security-group-rule".into()),
            tags: Some(vec![tag]),
        }]),
        ..Default::default()
    };
    Ok(world.call::<AuthorizeSecurityGroupIngress>(input)?.security_group_rules.unwrap().remove(0))
}

fn everywhere(permission: &mut IpPermission) {
    permission.ip_ranges = Some(vec![IpRange { cidr_ip: Some("0.0.0.0/0".into()), description: None }]);
}

fn seen(world: &World, id: &str) -> Result<SecurityGroupRule> {
    let input =
        DescribeSecurityGroupRulesRequest { security_group_rule_ids: Some(vec![id.into()]), ..Default::default() };
    Ok(world.call::<DescribeSecurityGroupRules>(input)?.security_group_rules.unwrap().remove(0))
}

#[test]
fn a_rule_keeps_its_id_and_tags_while_it_changes() {
    let world = world();
    let vpc = vpc(&world, "10.0.0.0/16");
    let (web, other) = (group(&world, &vpc, "web"), group(&world, &vpc, "other"));
    let first = rule(&world, &web, everywhere).unwrap();
    let id = first.security_group_rule_id.clone().unwrap();
    let tagged = |value: &str| {
        let input = DescribeSecurityGroupRulesRequest { filters: filter("tag:Name", &[value]), ..Default::default() };
        world.call::<DescribeSecurityGroupRules>(input).unwrap().security_group_rules.unwrap().len()
    };
    assert_eq!((tagged("web"), tagged("db")), (1, 0));
    let input = CreateTagsRequest {
        resources: Some(vec![id.clone()]),
        tags: Some(vec![Tag { key: Some("Name".into()), value: Some("db".into()) }]),
        ..Default::default()
    };
    world.call::<CreateTags>(input).unwrap();
    assert_eq!((tagged("web"), tagged("db")), (0, 1));

    let modify = |id: &str, request: SecurityGroupRuleRequest| {
        let input = ModifySecurityGroupRulesRequest {
            group_id: Some(web.clone()),
            security_group_rules: Some(vec![SecurityGroupRuleUpdate {
                security_group_rule_id: Some(id.into()),
                security_group_rule: Some(request),
            }]),
            ..Default::default()
        };
        world.call::<ModifySecurityGroupRules>(input).map(|_| ())
    };
    let to_other = SecurityGroupRuleRequest {
        ip_protocol: Some("tcp".into()),
        from_port: Some(443),
        to_port: Some(444),
        referenced_group_id: Some(other.clone()),
        description: Some("from the other".into()),
        ..Default::default()
    };
    modify(&id, to_other.clone()).unwrap();
    let changed = seen(&world, &id).unwrap();
    assert_eq!((changed.from_port, changed.to_port, changed.cidr_ipv4.as_ref()), (Some(443), Some(444), None));
    assert_eq!((changed.tags.unwrap().len(), changed.is_egress), (1, Some(false)));
    let second = rule(&world, &web, everywhere).unwrap().security_group_rule_id.unwrap();
    assert_eq!(code(modify(&second, to_other.clone())), "InvalidPermission.Duplicate");
    assert_eq!(code(modify("sgr-0", to_other.clone())), "InvalidSecurityGroupRuleId.NotFound");
    let both = SecurityGroupRuleRequest { cidr_ipv4: Some("10.0.0.0/8".into()), ..to_other };
    assert_eq!(code(modify(&id, both)), "InvalidParameterCombination");

    let input = UpdateSecurityGroupRuleDescriptionsIngressRequest {
        group_id: Some(web.clone()),
        security_group_rule_descriptions: Some(vec![SecurityGroupRuleDescription {
            security_group_rule_id: Some(id.clone()),
            description: Some("anew".into()),
        }]),
        ..Default::default()
    };
    world.call::<UpdateSecurityGroupRuleDescriptionsIngress>(input).unwrap();
    assert_eq!(seen(&world, &id).unwrap().description.as_deref(), Some("anew"));
    let input = RevokeSecurityGroupIngressRequest {
        group_id: Some(web),
        security_group_rule_ids: Some(vec![id.clone()]),
        ..Default::default()
    };
    world.call::<RevokeSecurityGroupIngress>(input).unwrap();
    assert_eq!(code(seen(&world, &id)), "InvalidSecurityGroupRuleId.NotFound");
}

#[test]
fn peers_of_every_kind_are_kept_and_shown() {
    let world = world();
    let vpc = vpc(&world, "10.0.0.0/16");
    let web = group(&world, &vpc, "web");
    let six = |text: &str| {
        let text = text.to_owned();
        move |p: &mut IpPermission| {
            p.ipv6_ranges = Some(vec![Ipv6Range { cidr_ipv6: Some(text), description: None }]);
        }
    };
    let list = |id: &str| {
        let id = id.to_owned();
        move |p: &mut IpPermission| {
            p.prefix_list_ids = Some(vec![PrefixListId { prefix_list_id: Some(id), description: None }]);
        }
    };
    rule(&world, &web, six("::/0")).unwrap();
    assert_eq!(code(rule(&world, &web, six("0::0/0"))), "InvalidPermission.Duplicate");
    assert_eq!(code(rule(&world, &web, six("::/200"))), "InvalidParameterValue");
    assert_eq!(code(rule(&world, &web, list("pl-0"))), "InvalidPrefixListID.NotFound");
    let lists = world.call::<DescribeManagedPrefixLists>(Default::default()).unwrap().prefix_lists.unwrap();
    rule(&world, &web, list(lists[0].prefix_list_id.as_ref().unwrap())).unwrap();
    let input =
        DescribeSecurityGroupsRequest { filters: filter("ip-permission.ipv6-cidr", &["::/0"]), ..Default::default() };
    let found = world.call::<DescribeSecurityGroups>(input).unwrap().security_groups.unwrap();
    let permissions = found[0].ip_permissions.clone().unwrap();
    assert_eq!((found.len(), permissions.len()), (1, 1));
    assert_eq!(permissions[0].ipv6_ranges.as_ref().unwrap().len(), 1);
    assert_eq!(permissions[0].prefix_list_ids.as_ref().unwrap().len(), 1);
}
