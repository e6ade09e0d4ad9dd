//! The tutorial's commands and what the service refuses, through `Operations` with a fake EC2.

use crate::api::Operations;
use crate::testing::World;
use quarry_aws::ec2;
use quarry_aws::elbv2::{self as aws, op};
use quarry_domain::snapshot::Stickiness;
use quarry_wire::ServiceError;

/// Two subnets in two zones and a third beside the first, one VPC, one running instance.
pub fn fake_ec2(operations: &mut Operations) {
    operations.serve::<ec2::op::DescribeSubnets>(|_, input| {
        let all = [("subnet-1", "us-east-1a"), ("subnet-2", "us-east-1b"), ("subnet-3", "us-east-1a")];
        let mut subnets = Vec::new();
        for id in input.subnet_ids.unwrap_or_default() {
            let found = all.iter().find(|(known, _)| *known == id).ok_or_else(|| {
                ServiceError::new("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist"), 400)
            })?;
            subnets.push(ec2::Subnet {
                subnet_id: Some(id),
                availability_zone: Some(found.1.into()),
                vpc_id: Some("vpc-1".into()),
                ..Default::default()
            });
        }
        Ok(ec2::DescribeSubnetsResult { subnets: Some(subnets), ..Default::default() })
    });
    operations.serve::<ec2::op::DescribeSecurityGroups>(|_, input| {
        let ids = input.group_ids.unwrap_or_else(|| vec!["sg-default".into()]);
        let groups = ids.into_iter().filter(|id| id.starts_with("sg-")).map(|id| ec2::SecurityGroup {
            group_id: Some(id),
            vpc_id: Some("vpc-1".into()),
            ..Default::default()
        });
        Ok(ec2::DescribeSecurityGroupsResult { security_groups: Some(groups.collect()), ..Default::default() })
    });
    operations.serve::<ec2::op::DescribeVpcs>(|_, input| {
        let vpcs = input.vpc_ids.unwrap_or_default().into_iter().filter(|id| id.starts_with("vpc-"));
        let vpcs = vpcs.map(|id| ec2::Vpc { vpc_id: Some(id), ..Default::default() }).collect();
        Ok(ec2::DescribeVpcsResult { vpcs: Some(vpcs), ..Default::default() })
    });
    operations.serve::<ec2::op::DescribeInstances>(|_, input| {
        let instances = input.instance_ids.unwrap_or_default().into_iter().map(|id| ec2::Instance {
            state: Some(ec2::InstanceState {
                name: Some(if id == "i-0dead" { "terminated" } else { "running" }.into()),
                ..Default::default()
            }),
            instance_id: Some(id),
            ..Default::default()
        });
        let reservation = ec2::Reservation { instances: Some(instances.collect()), ..Default::default() };
        Ok(ec2::DescribeInstancesResult { reservations: Some(vec![reservation]), ..Default::default() })
    });
}

pub fn world() -> World {
    world_with(|_| ())
}

/// With other services beside.
pub fn world_with(more: impl FnOnce(&mut Operations)) -> World {
    World::new(|operations| {
        super::register(operations);
        fake_ec2(operations);
        more(operations);
    })
}

pub fn balancer(world: &World, name: &str) -> aws::LoadBalancer {
    let output = world.call::<op::CreateLoadBalancer>(balancer_input(name)).unwrap();
    output.load_balancers.unwrap().remove(0)
}

fn balancer_input(name: &str) -> aws::CreateLoadBalancerInput {
    aws::CreateLoadBalancerInput {
        name: Some(name.into()),
        subnets: Some(vec!["subnet-1".into(), "subnet-2".into()]),
        ..Default::default()
    }
}

/// As the tutorial's `aws elbv2 create-target-group --name … --protocol HTTP --port 80 --vpc-id …
/// --healthy-threshold-count 2 --unhealthy-threshold-count 2 --health-check-timeout-seconds 5
/// --health-check-interval-seconds 6`.
pub fn group_input(name: &str) -> aws::CreateTargetGroupInput {
    aws::CreateTargetGroupInput {
        name: Some(name.into()),
        protocol: Some("HTTP".into()),
        port: Some(80),
        vpc_id: Some("vpc-1".into()),
        healthy_threshold_count: Some(2),
        unhealthy_threshold_count: Some(2),
        health_check_timeout_seconds: Some(5),
        health_check_interval_seconds: Some(6),
        ..Default::default()
    }
}

pub fn group(world: &World, name: &str) -> String {
    let output = world.call::<op::CreateTargetGroup>(group_input(name)).unwrap();
    output.target_groups.unwrap().remove(0).target_group_arn.unwrap()
}

pub fn forward(arn: &str) -> Option<Vec<aws::Action>> {
    Some(vec![aws::Action { r#type: Some("forward".into()), target_group_arn: Some(arn.into()), ..Default::default() }])
}

pub fn listener(world: &World, balancer: &aws::LoadBalancer, group: &str) -> String {
    let input = listener_input(balancer, 80, forward(group));
    world.call::<op::CreateListener>(input).unwrap().listeners.unwrap().remove(0).listener_arn.unwrap()
}

pub fn listener_input(
    balancer: &aws::LoadBalancer,
    port: i32,
    actions: Option<Vec<aws::Action>>,
) -> aws::CreateListenerInput {
    aws::CreateListenerInput {
        load_balancer_arn: balancer.load_balancer_arn.clone(),
        port: Some(port),
        protocol: Some("HTTP".into()),
        default_actions: actions,
        ..Default::default()
    }
}

pub fn rule_input(listener: &str, priority: i32, path: &str, group: &str) -> aws::CreateRuleInput {
    aws::CreateRuleInput {
        listener_arn: Some(listener.into()),
        priority: Some(priority),
        conditions: Some(vec![aws::RuleCondition {
            field: Some("path-pattern".into()),
            values: Some(vec![path.into()]),
            ..Default::default()
        }]),
        actions: forward(group),
        ..Default::default()
    }
}

pub fn refused<T: std::fmt::Debug>(result: Result<T, ServiceError>, code: &str, words: &str) {
    let error = result.expect_err(words);
    assert_eq!(error.code, code, "{}", error.message);
    assert!(error.message.contains(words), "{:?} lacks {words:?}", error.message);
    assert_eq!(error.status, 400);
}

#[test]
fn the_tutorials_path_from_the_monolith_to_the_services() {
    let world = world();
    let demo = balancer(&world, "demo");
    let arn = demo.load_balancer_arn.clone().unwrap();
    assert!(arn.starts_with("arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/demo/"));
    assert_eq!(arn.rsplit('/').next().unwrap().len(), 16);
    assert_eq!(demo.state.clone().unwrap().code.as_deref(), Some("provisioning"));
    assert_eq!(demo.vpc_id.as_deref(), Some("vpc-1"));
    assert_eq!(demo.security_groups, Some(vec!["sg-default".to_owned()]));
    let dns = demo.dns_name.clone().unwrap();
    assert!(dns.starts_with("demo-") && dns.ends_with(".us-east-1.elb.localhost"), "{dns}");

    let (api, drop_traffic) = (group(&world, "api"), group(&world, "drop-traffic"));
    let http = listener(&world, &demo, &api);
    assert!(http.contains(":listener/app/demo/"));
    let services = ["users", "threads", "posts"].map(|name| (name, group(&world, name)));
    let monolith = world.call::<op::CreateRule>(rule_input(&http, 1, "/api*", &api)).unwrap().rules.unwrap().remove(0);
    for (n, (name, arn)) in services.iter().enumerate() {
        world.call::<op::CreateRule>(rule_input(&http, n as i32 + 2, &format!("/api/{name}*"), arn)).unwrap();
    }
    let describe = |world: &World| {
        let input = aws::DescribeRulesInput { listener_arn: Some(http.clone()), ..Default::default() };
        world.call::<op::DescribeRules>(input).unwrap().rules.unwrap()
    };
    let rules = describe(&world);
    let priorities: Vec<_> = rules.iter().map(|rule| rule.priority.clone().unwrap()).collect();
    assert_eq!(priorities, ["1", "2", "3", "4", "default"]);
    let users = &rules[1];
    assert!(users.rule_arn.as_ref().unwrap().contains(":listener-rule/app/demo/"));
    let condition = &users.conditions.as_ref().unwrap()[0];
    assert_eq!(condition.values, Some(vec!["/api/users*".to_owned()]));
    assert_eq!(condition.path_pattern_config.as_ref().unwrap().values, condition.values);
    let action = &users.actions.as_ref().unwrap()[0];
    assert_eq!(action.target_group_arn.as_ref(), Some(&services[0].1));
    let config = action.forward_config.as_ref().unwrap();
    let weighted = &config.target_groups.as_ref().unwrap()[0];
    assert_eq!((weighted.target_group_arn.as_ref(), weighted.weight), (Some(&services[0].1), Some(1)));
    assert_eq!(config.target_group_stickiness_config.as_ref().unwrap().enabled, Some(false));
    assert_eq!(rules[4].is_default, Some(true));

    world.call::<op::DeleteRule>(aws::DeleteRuleInput { rule_arn: monolith.rule_arn }).unwrap();
    let modify = aws::ModifyListenerInput {
        listener_arn: Some(http.clone()),
        default_actions: forward(&drop_traffic),
        ..Default::default()
    };
    world.call::<op::ModifyListener>(modify).unwrap();
    let default = describe(&world).pop().unwrap().actions.unwrap().remove(0);
    assert_eq!(default.target_group_arn, Some(drop_traffic.clone()));

    // The documents' clean-up: a group in use is refused, one that is free goes, twice is no error.
    let delete = |arn: &str| {
        world.call::<op::DeleteTargetGroup>(aws::DeleteTargetGroupInput { target_group_arn: Some(arn.into()) })
    };
    refused(delete(&drop_traffic), "ResourceInUse", "is currently in use by a listener or a rule");
    refused(delete(&services[2].1), "ResourceInUse", "is currently in use by a listener or a rule");
    delete(&api).unwrap();
    delete(&api).unwrap();
    world.call::<op::DeleteListener>(aws::DeleteListenerInput { listener_arn: Some(http.clone()) }).unwrap();
    for (_, arn) in &services {
        delete(arn).unwrap();
    }
    delete(&drop_traffic).unwrap();
    world.call::<op::DeleteLoadBalancer>(aws::DeleteLoadBalancerInput { load_balancer_arn: Some(arn) }).unwrap();
    let left = world.call::<op::DescribeTargetGroups>(Default::default()).unwrap().target_groups.unwrap();
    assert!(left.is_empty());
    let gone = world.call::<op::DescribeLoadBalancers>(aws::DescribeLoadBalancersInput {
        names: Some(vec!["demo".into()]),
        ..Default::default()
    });
    refused(gone, "LoadBalancerNotFound", "Load balancers '[demo]' not found");
}

#[test]
fn what_a_load_balancer_may_be() {
    let world = world();
    let with = |change: &dyn Fn(&mut aws::CreateLoadBalancerInput)| {
        let mut input = balancer_input("demo");
        change(&mut input);
        world.call::<op::CreateLoadBalancer>(input)
    };
    let subnets = |ids: &[&str]| Some(ids.iter().map(|id| id.to_string()).collect::<Vec<_>>());
    refused(with(&|i| i.name = None), "ValidationError", "must not be null");
    refused(with(&|i| i.name = Some("a".repeat(33))), "ValidationError", "cannot be longer than '32'");
    refused(with(&|i| i.name = Some("de_mo".into())), "ValidationError", "alphanumeric");
    refused(with(&|i| i.name = Some("-demo".into())), "ValidationError", "cannot begin or end with '-'");
    refused(with(&|i| i.name = Some("internal-x".into())), "ValidationError", "internal-");
    refused(with(&|i| i.subnets = None), "ValidationError", "At least two subnets in two different");
    refused(with(&|i| i.subnets = subnets(&["subnet-1"])), "ValidationError", "At least two subnets");
    refused(
        with(&|i| i.subnets = subnets(&["subnet-1", "subnet-3"])),
        "InvalidConfigurationRequest",
        "multiple subnets in the same Availability Zone",
    );
    refused(with(&|i| i.subnets = subnets(&["subnet-1", "subnet-9"])), "SubnetNotFound", "'subnet-9' does not exist");
    refused(with(&|i| i.security_groups = subnets(&["bad"])), "InvalidSecurityGroup", "bad");
    refused(with(&|i| i.scheme = Some("public".into())), "ValidationError", "enum value set");
    refused(with(&|i| i.r#type = Some("network".into())), "InvalidConfigurationRequest", "network");
    refused(with(&|i| i.ip_address_type = Some("dualstack".into())), "InvalidConfigurationRequest", "dualstack");
    let tag = |key: &str| aws::Tag { key: Some(key.into()), value: None };
    refused(with(&|i| i.tags = Some(vec![tag("a"), tag("a")])), "DuplicateTagKeys", "a");
    let none = world.call::<op::DescribeLoadBalancers>(Default::default()).unwrap().load_balancers.unwrap();
    assert!(none.is_empty(), "a refused request changes nothing");

    let first = with(&|_| {}).unwrap().load_balancers.unwrap().remove(0);
    let again = with(&|_| {}).unwrap().load_balancers.unwrap().remove(0);
    assert_eq!(first.load_balancer_arn, again.load_balancer_arn, "the same settings again are no error");
    assert_eq!(again.state.unwrap().code.as_deref(), Some("active"));
    refused(with(&|i| i.scheme = Some("internal".into())), "DuplicateLoadBalancerName", "different settings");
    let other = with(&|i| i.name = Some("other".into())).unwrap().load_balancers.unwrap().remove(0);
    let stored: Vec<super::records::LoadBalancer> =
        world.transact(|ctx| Ok(ctx.tx.all::<super::records::LoadBalancer>()?)).unwrap();
    assert_ne!(stored[0].address, stored[1].address);
    assert_ne!(stored[0].hub_address, stored[1].hub_address);
    assert!(stored.iter().all(|b| b.address.octets()[..2] == [127, 80] && b.hub_address.octets()[..3] == [198, 19, 1]));
    let page = |marker: Option<String>| {
        let input = aws::DescribeLoadBalancersInput { page_size: Some(1), marker, ..Default::default() };
        world.call::<op::DescribeLoadBalancers>(input).unwrap()
    };
    let one = page(None);
    assert_eq!(one.load_balancers.unwrap()[0].load_balancer_arn, first.load_balancer_arn);
    let two = page(one.next_marker);
    assert_eq!(two.load_balancers.unwrap()[0].load_balancer_arn, other.load_balancer_arn);
    assert_eq!(two.next_marker, None);
}

#[test]
fn attributes_act_or_are_refused() {
    let world = world();
    let demo = balancer(&world, "demo");
    let set = |key: &str, value: &str| {
        world.call::<op::ModifyLoadBalancerAttributes>(aws::ModifyLoadBalancerAttributesInput {
            load_balancer_arn: demo.load_balancer_arn.clone(),
            attributes: Some(vec![aws::LoadBalancerAttribute { key: Some(key.into()), value: Some(value.into()) }]),
        })
    };
    refused(set("idle_timeout.timeout_seconds", "0"), "ValidationError", "between '1-4000'");
    refused(set("no.such.attribute", "1"), "ValidationError", "not recognized");
    refused(set("routing.http.xff_header_processing.mode", "keep"), "ValidationError", "append, preserve, remove");
    set("access_logs.s3.enabled", "false").unwrap();
    set("deletion_protection.enabled", "true").unwrap();
    let shown = set("idle_timeout.timeout_seconds", "4000").unwrap().attributes.unwrap();
    assert!(
        shown.iter().any(|a| {
            a.key.as_deref() == Some("idle_timeout.timeout_seconds") && a.value.as_deref() == Some("4000")
        })
    );
    let delete = || {
        world.call::<op::DeleteLoadBalancer>(aws::DeleteLoadBalancerInput {
            load_balancer_arn: demo.load_balancer_arn.clone(),
        })
    };
    refused(delete(), "OperationNotPermitted", "deletion protection is enabled");
    set("deletion_protection.enabled", "false").unwrap();
    delete().unwrap();

    let api = group(&world, "api");
    let set = |pairs: &[(&str, &str)]| {
        let attributes = pairs
            .iter()
            .map(|(k, v)| aws::TargetGroupAttribute { key: Some(k.to_string()), value: Some(v.to_string()) });
        world.call::<op::ModifyTargetGroupAttributes>(aws::ModifyTargetGroupAttributesInput {
            target_group_arn: Some(api.clone()),
            attributes: Some(attributes.collect()),
        })
    };
    refused(set(&[("deregistration_delay.timeout_seconds", "3601")]), "ValidationError", "between '0-3600'");
    refused(set(&[("slow_start.duration_seconds", "10")]), "ValidationError", "between '30-900'");
    refused(
        set(&[("slow_start.duration_seconds", "30"), ("load_balancing.algorithm.type", "weighted_random")]),
        "ValidationError",
        "Slow start",
    );
    let minimum = "target_group_health.unhealthy_state_routing.minimum_healthy_targets";
    refused(set(&[(&format!("{minimum}.percentage"), "101")]), "ValidationError", "between '1-100'");
    refused(
        set(&[("stickiness.enabled", "true"), ("stickiness.type", "app_cookie")]),
        "ValidationError",
        "application cookie name",
    );
    // What the data plane does not do is not taken for set.
    refused(set(&[("load_balancing.cross_zone.enabled", "false")]), "ValidationError", "only");
    set(&[("deregistration_delay.timeout_seconds", "5"), ("stickiness.enabled", "true")]).unwrap();
    let stored = world.transact(|ctx| super::find::target_group(ctx.tx, Some(&api))).unwrap();
    assert_eq!(stored.attributes.deregistration_delay, 5);
    assert_eq!(stored.attributes.stickiness, Some(Stickiness::LoadBalancerCookie { seconds: 86_400 }));
    let app_cookie = [("stickiness.type", "app_cookie"), ("stickiness.app_cookie.cookie_name", "s")];
    set(&app_cookie).unwrap();
    set(&[("slow_start.duration_seconds", "30"), (&format!("{minimum}.count"), "2")]).unwrap();
    let stored = world.transact(|ctx| super::find::target_group(ctx.tx, Some(&api))).unwrap().attributes;
    assert_eq!(stored.stickiness, Some(Stickiness::AppCookie { name: "s".into(), seconds: 86_400 }));
    assert_eq!((stored.slow_start, stored.minimum_healthy_targets.count), (30, 2));
}

#[test]
fn target_groups_and_who_may_use_them() {
    let world = world();
    let api = group(&world, "api");
    assert_eq!(group(&world, "api"), api, "the same settings again are no error");
    let with = |change: &dyn Fn(&mut aws::CreateTargetGroupInput)| {
        let mut input = group_input("api");
        change(&mut input);
        world.call::<op::CreateTargetGroup>(input)
    };
    refused(with(&|i| i.port = Some(81)), "DuplicateTargetGroupName", "different settings");
    refused(with(&|i| i.port = None), "ValidationError", "A port must be specified");
    refused(with(&|i| i.protocol = None), "ValidationError", "A protocol must be specified");
    refused(with(&|i| i.vpc_id = None), "ValidationError", "A VPC ID must be specified");
    refused(with(&|i| i.name = Some("new_".into())), "ValidationError", "alphanumeric");
    refused(with(&|i| i.target_type = Some("lambda".into())), "InvalidConfigurationRequest", "lambda");
    refused(with(&|i| i.protocol_version = Some("GRPC".into())), "InvalidConfigurationRequest", "GRPC");
    let missing = |i: &mut aws::CreateTargetGroupInput| {
        i.name = Some("new".into());
        i.vpc_id = Some("gone".into());
    };
    refused(with(&missing), "ValidationError", "The VPC ID 'gone' is not found");

    let (one, two) = (balancer(&world, "one"), balancer(&world, "two"));
    listener(&world, &one, &api);
    let taken = world.call::<op::CreateListener>(listener_input(&two, 80, forward(&api)));
    refused(taken, "TargetGroupAssociationLimit", "cannot be associated with more than one load balancer");
    let shown = world.call::<op::DescribeTargetGroups>(aws::DescribeTargetGroupsInput {
        names: Some(vec!["api".into()]),
        ..Default::default()
    });
    let shown = shown.unwrap().target_groups.unwrap().remove(0);
    assert_eq!(shown.load_balancer_arns, Some(vec![one.load_balancer_arn.unwrap()]));
    assert_eq!(shown.health_check_interval_seconds, Some(6));
    assert_eq!(shown.matcher.unwrap().http_code.as_deref(), Some("200"));
    assert_eq!(shown.health_check_port.as_deref(), Some("traffic-port"));
}

#[test]
fn listeners_and_actions_that_are_refused() {
    let world = world();
    let (demo, api) = (balancer(&world, "demo"), group(&world, "api"));
    let elsewhere = world
        .call::<op::CreateTargetGroup>(aws::CreateTargetGroupInput {
            vpc_id: Some("vpc-2".into()),
            ..group_input("elsewhere")
        })
        .unwrap()
        .target_groups
        .unwrap()
        .remove(0);
    let with = |change: &dyn Fn(&mut aws::CreateListenerInput)| {
        let mut input = listener_input(&demo, 80, forward(&api));
        change(&mut input);
        world.call::<op::CreateListener>(input)
    };
    let act = |action: aws::Action| with(&move |i| i.default_actions = Some(vec![action.clone()]));
    let kind = |kind: &str| aws::Action { r#type: Some(kind.into()), ..Default::default() };
    let gone = format!("{}x", api);
    refused(with(&|i| i.port = Some(0)), "ValidationError", "greater than or equal to 1");
    refused(with(&|i| i.port = None), "ValidationError", "A listener port must be specified");
    refused(with(&|i| i.protocol = Some("TCP".into())), "ValidationError", "must be one of 'HTTPS, HTTP'");
    refused(with(&|i| i.protocol = Some("HTTPS".into())), "ValidationError", "certificate must be specified");
    refused(with(&|i| i.load_balancer_arn = Some("demo".into())), "ValidationError", "not a valid load balancer ARN");
    refused(with(&|i| i.default_actions = forward(&gone)), "TargetGroupNotFound", "not found");
    refused(with(&|i| i.default_actions = forward("api")), "ValidationError", "not a valid target group ARN");
    refused(
        with(&|i| i.default_actions = forward(elsewhere.target_group_arn.as_deref().unwrap())),
        "InvalidConfigurationRequest",
        "different VPC",
    );
    refused(act(kind("reject")), "ValidationError", "enum value set");
    refused(act(kind("authenticate-oidc")), "InvalidLoadBalancerAction", "only supported on HTTPS listeners");
    refused(act(kind("forward")), "ValidationError", "A target group ARN must be specified");
    let fixed = |status: &str, content_type: &str, body: usize| aws::Action {
        fixed_response_config: Some(aws::FixedResponseActionConfig {
            status_code: Some(status.into()),
            content_type: Some(content_type.into()),
            message_body: Some("x".repeat(body)),
        }),
        ..kind("fixed-response")
    };
    refused(act(fixed("301", "text/plain", 0)), "ValidationError", "(2|4|5)");
    refused(act(fixed("200", "image/png", 0)), "ValidationError", "ContentType must be one of");
    refused(act(fixed("200", "text/plain", 1025)), "ValidationError", "at most 1024");
    let redirect = |change: &dyn Fn(&mut aws::RedirectActionConfig)| {
        let mut config = aws::RedirectActionConfig { status_code: Some("HTTP_301".into()), ..Default::default() };
        change(&mut config);
        aws::Action { redirect_config: Some(config), ..kind("redirect") }
    };
    refused(act(redirect(&|_| {})), "InvalidLoadBalancerAction", "loop");
    refused(act(redirect(&|c| c.status_code = Some("HTTP_307".into()))), "ValidationError", "HTTP_301, HTTP_302");
    refused(act(redirect(&|c| c.port = Some("0".into()))), "ValidationError", "from 1 to 65535");
    refused(act(redirect(&|c| c.path = Some("x".into()))), "ValidationError", "start with a '/'");
    refused(act(redirect(&|c| c.host = Some("#{domain}".into()))), "ValidationError", "unknown keyword");

    let created = act(redirect(&|c| c.host = Some("other.example".into()))).unwrap().listeners.unwrap().remove(0);
    let shown = created.default_actions.unwrap().remove(0).redirect_config.unwrap();
    assert_eq!((shown.path.as_deref(), shown.query.as_deref()), (Some("/#{path}"), Some("#{query}")));
    refused(with(&|_| {}), "DuplicateListener", "already exists on this port");
    let delete_default = world.call::<op::DescribeRules>(aws::DescribeRulesInput {
        listener_arn: created.listener_arn.clone(),
        ..Default::default()
    });
    let default = delete_default.unwrap().rules.unwrap().remove(0).rule_arn;
    refused(
        world.call::<op::DeleteRule>(aws::DeleteRuleInput { rule_arn: default }),
        "OperationNotPermitted",
        "cannot be deleted",
    );
}

#[test]
fn priorities_are_unique_and_change_together() {
    let world = world();
    let (demo, api) = (balancer(&world, "demo"), group(&world, "api"));
    let http = listener(&world, &demo, &api);
    let make = |priority: i32| {
        let made = world.call::<op::CreateRule>(rule_input(&http, priority, "/x", &api));
        made.map(|made| made.rules.unwrap().remove(0).rule_arn.unwrap())
    };
    let (a, b, c) = (make(1).unwrap(), make(2).unwrap(), make(3).unwrap());
    refused(make(2), "PriorityInUse", "Priority '2' is currently in use");
    refused(make(0), "ValidationError", "priority");
    refused(make(50_001), "ValidationError", "priority");
    let set = |pairs: &[(&str, i32)]| {
        let pairs =
            pairs.iter().map(|(arn, n)| aws::RulePriorityPair { rule_arn: Some(arn.to_string()), priority: Some(*n) });
        world.call::<op::SetRulePriorities>(aws::SetRulePrioritiesInput { rule_priorities: Some(pairs.collect()) })
    };
    refused(set(&[(&a, 2)]), "PriorityInUse", "Priority '2'");
    refused(set(&[(&a, 7), (&b, 3)]), "PriorityInUse", "Priority '3'");
    refused(set(&[(&a, 7), (&b, 7)]), "ValidationError", "multiple times");
    refused(set(&[(&a, 7), ("nonsense", 8)]), "ValidationError", "not a valid listener rule ARN");
    let order = |world: &World| -> Vec<String> {
        let input = aws::DescribeRulesInput { listener_arn: Some(http.clone()), ..Default::default() };
        let rules = world.call::<op::DescribeRules>(input).unwrap().rules.unwrap();
        rules.into_iter().filter(|r| r.is_default == Some(false)).filter_map(|r| r.rule_arn).collect()
    };
    assert_eq!(order(&world), [a.clone(), b.clone(), c.clone()], "a refused request changes nothing");
    set(&[(&a, 2), (&b, 1)]).unwrap();
    assert_eq!(order(&world), [b, a, c]);
    for priority in 4..=100 {
        make(priority).unwrap();
    }
    refused(make(101), "TooManyRules", "100");
}

#[test]
fn tags_of_every_kind_of_resource() {
    let world = world();
    let (demo, api) = (balancer(&world, "demo"), group(&world, "api"));
    let http = listener(&world, &demo, &api);
    let arns = vec![demo.load_balancer_arn.unwrap(), api, http];
    let tag = |key: &str, value: &str| aws::Tag { key: Some(key.into()), value: Some(value.into()) };
    let add = |arns: Vec<String>, tags: Vec<aws::Tag>| {
        world.call::<op::AddTags>(aws::AddTagsInput { resource_arns: Some(arns), tags: Some(tags) })
    };
    add(arns.clone(), vec![tag("team", "board"), tag("stage", "demo")]).unwrap();
    add(arns.clone(), vec![tag("team", "posts")]).unwrap();
    world
        .call::<op::RemoveTags>(aws::RemoveTagsInput {
            resource_arns: Some(arns.clone()),
            tag_keys: Some(vec!["stage".into()]),
        })
        .unwrap();
    let shown = world.call::<op::DescribeTags>(aws::DescribeTagsInput { resource_arns: Some(arns) }).unwrap();
    for description in shown.tag_descriptions.unwrap() {
        assert_eq!(description.tags, Some(vec![tag("team", "posts")]));
    }
    refused(add(vec!["x".into()], vec![]), "ValidationError", "not a valid ARN");
    let many = (0..51).map(|n| tag(&n.to_string(), "")).collect();
    refused(add(vec![], many), "TooManyTags", "50");
}
