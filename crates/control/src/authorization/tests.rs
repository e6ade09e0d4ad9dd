//! Which action and resource each call asks for, and calls that policies refuse, through the endpoint's own check.

use super::table::Actions;
use super::{Acting, Call, Circumstances, SessionPolicies, check, names};
use crate::start;
use crate::sts;
use crate::testing::World;
use quarry_aws::iam;
use quarry_wire::{Kind, Schema, ServiceError, Type};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

const ACCOUNT: &str = "000000000000";

fn world() -> World {
    World::new(|operations| *operations = start::operations())
}

/// A role that ECS tasks may assume, with an inline policy of these statements, and a session of it.
fn role(world: &World, name: &str, statements: Value) -> Acting {
    let trust = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let input = iam::CreateRoleRequest {
        role_name: Some(name.into()),
        assume_role_policy_document: Some(trust.to_string()),
        path: Some("/team/".into()),
        tags: Some(vec![iam::Tag { key: Some("team".into()), value: Some("shop".into()) }]),
        ..Default::default()
    };
    world.call::<iam::op::CreateRole>(input).unwrap();
    allow(world, name, statements);
    world.transact(|ctx| sts::acting(ctx.platform, ctx.tx, name, "s1")).unwrap()
}

fn allow(world: &World, name: &str, statements: Value) {
    let input = iam::PutRolePolicyRequest {
        role_name: Some(name.into()),
        policy_name: Some("inline".into()),
        policy_document: Some(json!({"Version": "2012-10-17", "Statement": statements}).to_string()),
    };
    world.call::<iam::op::PutRolePolicy>(input).unwrap();
}

/// Whether the session may do this: the endpoint's own check.
fn may(world: &World, acting: &Acting, service: &str, operation: &str, input: Value) -> Result<(), ServiceError> {
    let service = quarry_aws::SERVICES.iter().find(|s| s.id == service).unwrap();
    let mut shape = (service.operation(operation).unwrap().new_input)();
    quarry_wire::json::read(&mut *shape, &input).unwrap();
    let operation = service.operation(operation).unwrap().name;
    let call = Call { service, operation, protocol: service.protocol, input: &*shape };
    let circumstances = Circumstances { source: Some([127, 0, 0, 1].into()), ..Default::default() };
    world.platform.store.read(|tx| check(&world.platform, tx, acting, &call, circumstances))
}

fn refused(world: &World, acting: &Acting, service: &str, operation: &str, input: Value) -> (String, u16, String) {
    let error = may(world, acting, service, operation, input).unwrap_err();
    (error.code, error.status, error.message)
}

#[test]
fn every_served_operation_has_a_row_whose_words_mean_something() {
    let operations = start::operations();
    let missing: Vec<_> =
        operations.names().filter(|(service, name)| Actions::get().row(service, name).is_none()).collect();
    assert!(missing.is_empty(), "no row in models/actions.toml: {missing:?}");
    let mut wrong = Vec::new();
    for (service, name, row) in Actions::get().rows() {
        let model = quarry_aws::SERVICES.iter().find(|s| s.id == service).and_then(|s| s.operation(name));
        let Some(model) = model else {
            wrong.push(format!("{service} has no {name}"));
            continue;
        };
        let templates = row.resources.iter().chain(row.keys.iter().chain(&row.passed).map(|(_, template)| template));
        for template in templates {
            for expression in template.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()) {
                let paths = expression.split('|').next().unwrap();
                let (function, paths) = paths.split_once(':').unwrap_or(("", paths));
                if !function.is_empty() && !names::FUNCTIONS.contains(&function) {
                    wrong.push(format!("{service} {name}: no function {function}"));
                }
                for path in paths.split(',').filter(|path| !leads_somewhere(model.input, path)) {
                    wrong.push(format!("{service} {name}: no member {path}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn leads_somewhere(schema: &Schema, path: &str) -> bool {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(member) = schema.members.iter().find(|member| member.name == name) else { return false };
    let mut ty: &Type = member.ty;
    while let Kind::List(element) = &ty.kind {
        ty = element.ty;
    }
    match (&ty.kind, rest) {
        (Kind::Structure(schema), rest) if !rest.is_empty() => leads_somewhere(schema, rest),
        (Kind::String | Kind::Boolean | Kind::Integer | Kind::Long, "") => true,
        _ => false,
    }
}

#[test]
fn what_no_policy_allows_is_refused_in_the_words_of_each_service() {
    let world = world();
    let nobody = role(&world, "nobody", json!([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]));
    let said = |action: &str, resource: &str| {
        format!(
            "User: arn:aws:sts::{ACCOUNT}:assumed-role/nobody/s1 is not authorized to perform: {action} on resource: {resource} because no identity-based policy allows the {action} action"
        )
    };
    assert_eq!(
        refused(&world, &nobody, "ecs", "ListClusters", json!({})),
        ("AccessDeniedException".into(), 400, said("ecs:ListClusters", "*"))
    );
    assert_eq!(
        refused(&world, &nobody, "iam", "GetRole", json!({"RoleName": "nobody"})),
        ("AccessDenied".into(), 403, said("iam:GetRole", "arn:aws:iam::000000000000:role/team/nobody"))
    );
    let words = said("ec2:CreateVpc", "arn:aws:ec2:us-east-1:000000000000:vpc/*");
    assert_eq!(
        refused(&world, &nobody, "ec2", "CreateVpc", json!({"CidrBlock": "10.0.0.0/16"})),
        ("UnauthorizedOperation".into(), 403, format!("You are not authorized to perform this operation. {words}"))
    );
    let resource = |service, operation, input| refused(&world, &nobody, service, operation, input).2;
    for (service, operation, input, action, last) in [
        (
            "ecs",
            "StopTask",
            json!({"cluster": "demo", "task": "1"}),
            "ecs:StopTask",
            "ecs:us-east-1:000000000000:task/demo/1",
        ),
        (
            "ecs",
            "UpdateService",
            json!({"cluster": "arn:aws:ecs:us-east-1:000000000000:cluster/demo", "service": "api"}),
            "ecs:UpdateService",
            "ecs:us-east-1:000000000000:service/demo/api",
        ),
        (
            "ssm",
            "GetParameter",
            json!({"Name": "/a/b:3"}),
            "ssm:GetParameter",
            "ssm:us-east-1:000000000000:parameter/a/b",
        ),
        (
            "logs",
            "PutLogEvents",
            json!({"logGroupName": "g", "logStreamName": "s", "logEvents": []}),
            "logs:PutLogEvents",
            "logs:us-east-1:000000000000:log-group:g:log-stream:s",
        ),
        (
            "cloudformation",
            "CreateStack",
            json!({"StackName": "x"}),
            "cloudformation:CreateStack",
            "cloudformation:us-east-1:000000000000:stack/x/*",
        ),
        (
            "elbv2",
            "CreateLoadBalancer",
            json!({"Name": "web", "Type": "application"}),
            "elasticloadbalancing:CreateLoadBalancer",
            "elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/*",
        ),
        (
            "iam",
            "CreateRole",
            json!({"RoleName": "r", "Path": "/p/", "AssumeRolePolicyDocument": "{}"}),
            "iam:CreateRole",
            "iam::000000000000:role/p/r",
        ),
    ] {
        assert_eq!(resource(service, operation, input), said(action, &format!("arn:aws:{last}")));
    }
}

#[test]
fn resources_tags_conditions_and_passed_roles_count() {
    let world = world();
    let statements = json!([
        {"Effect": "Allow", "Action": "ssm:GetParameter*", "Resource": "arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/team}/*"},
        {"Effect": "Allow", "Action": ["ecs:RegisterTaskDefinition", "ecs:TagResource"], "Resource": "*"},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "arn:aws:iam::*:role/team/shop-*",
         "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}},
        {"Effect": "Allow", "Action": "ecs:StopTask", "Resource": "*",
         "Condition": {"ArnEquals": {"ecs:cluster": "arn:aws:ecs:us-east-1:000000000000:cluster/demo"}}},
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*",
         "Condition": {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}},
        {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}},
        {"Effect": "Allow", "Action": "ecs:CreateCluster", "Resource": "*",
         "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}, "StringEquals": {"aws:RequestTag/team": "shop"}}},
    ]);
    let shop = role(&world, "shop", statements);
    let may = |service, operation, input| may(&world, &shop, service, operation, input).map_err(|error| error.message);
    may("ssm", "GetParameter", json!({"Name": "/shop/url"})).unwrap();
    may("ssm", "GetParameters", json!({"Names": ["/shop/a", "/shop/b"]})).unwrap();
    let one = may("ssm", "GetParameters", json!({"Names": ["/shop/a", "/other/b"]})).unwrap_err();
    assert!(one.contains("parameter/other/b because"), "{one}");
    let define = |role: &str| {
        let role = format!("arn:aws:iam::{ACCOUNT}:role/team/{role}");
        may("ecs", "RegisterTaskDefinition", json!({"family": "f", "containerDefinitions": [], "taskRoleArn": role}))
    };
    define("shop-api").unwrap();
    let passed = define("admin").unwrap_err();
    assert!(
        passed.contains("perform: iam:PassRole on resource: arn:aws:iam::000000000000:role/team/admin because"),
        "{passed}"
    );
    may("ecs", "StopTask", json!({"cluster": "demo", "task": "1"})).unwrap();
    may("ecs", "StopTask", json!({"cluster": "other", "task": "1"})).unwrap_err();
    may("ecs", "CreateCluster", json!({"clusterName": "a", "tags": [{"key": "team", "value": "shop"}]})).unwrap();
    may("ecs", "CreateCluster", json!({"clusterName": "a", "tags": [{"key": "team", "value": "x"}]})).unwrap_err();
    may("ecs", "CreateCluster", json!({"clusterName": "a"})).unwrap_err();
    for (name, team) in [("mine", "shop"), ("theirs", "x")] {
        let input = json!({"Name": name, "SecretString": "s", "Tags": [{"Key": "team", "Value": team}]});
        let input = serde_json::from_value(input).unwrap();
        world.call::<quarry_aws::secretsmanager::op::CreateSecret>(input).unwrap();
    }
    may("secretsmanager", "GetSecretValue", json!({"SecretId": "mine"})).unwrap();
    may("secretsmanager", "GetSecretValue", json!({"SecretId": "theirs"})).unwrap_err();
    // A resource's own policy lets in, and keeps out.
    let policy = |effect: &str| {
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Resource": "*",
            "Principal": {"AWS": "arn:aws:iam::000000000000:role/team/shop"}, "Action": "secretsmanager:GetSecretValue"}]});
        let input = json!({"SecretId": "theirs", "ResourcePolicy": policy.to_string()});
        let input = serde_json::from_value(input).unwrap();
        world.call::<quarry_aws::secretsmanager::op::PutResourcePolicy>(input).unwrap();
    };
    policy("Allow");
    may("secretsmanager", "GetSecretValue", json!({"SecretId": "theirs"})).unwrap();
    policy("Deny");
    let denied = may("secretsmanager", "GetSecretValue", json!({"SecretId": "theirs"})).unwrap_err();
    assert!(denied.ends_with("with an explicit deny in a resource-based policy"), "{denied}");
}

#[test]
fn a_change_of_policies_counts_at_once_and_boundaries_and_sessions_bound() {
    let world = world();
    let all = json!([{"Effect": "Allow", "Action": "ecs:*", "Resource": "*"}]);
    let mut session = role(&world, "api", all.clone());
    let list = |session: &Acting| may(&world, session, "ecs", "ListClusters", json!({})).map_err(|error| error.message);
    list(&session).unwrap();
    allow(&world, "api", json!([{"Effect": "Deny", "Action": "ecs:List*", "Resource": "*"}]));
    assert!(list(&session).unwrap_err().ends_with("with an explicit deny in an identity-based policy"));
    allow(&world, "api", all.clone());
    list(&session).unwrap();
    let boundary = |arn: &str| {
        let input = iam::PutRolePermissionsBoundaryRequest {
            role_name: Some("api".into()),
            permissions_boundary: Some(arn.into()),
        };
        world.call::<iam::op::PutRolePermissionsBoundary>(input).unwrap();
    };
    boundary("arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess");
    assert!(
        list(&session).unwrap_err().ends_with("because no permissions boundary allows the ecs:ListClusters action")
    );
    boundary("arn:aws:iam::aws:policy/AdministratorAccess");
    session.issued_ms = 1;
    session.session = Some(SessionPolicies { inline: Some(json!({"Statement": []}).to_string()), managed: vec![] });
    assert!(list(&session).unwrap_err().ends_with("because no session policy allows the ecs:ListClusters action"));
    session.issued_ms = 2;
    let managed = vec!["arn:aws:iam::aws:policy/AdministratorAccess".to_owned()];
    session.session = Some(SessionPolicies { inline: None, managed });
    list(&session).unwrap();
    // The same name made again is another role.
    let gone = Acting { user_id: "AROAOTHER:s1".into(), tags: BTreeMap::new(), ..session };
    assert!(list(&gone).unwrap_err().contains("because no identity-based policy"));
}

#[test]
fn the_simulator_says_what_would_be_decided() {
    let world = world();
    let session = role(
        &world,
        "api",
        json!([
            {"Effect": "Allow", "Action": "ecs:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "ecs:Delete*", "Resource": "*"},
            {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/team}/*",
             "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
        ]),
    );
    assert_eq!(session.role(), Some("api"));
    let role = "arn:aws:iam::000000000000:role/team/api";
    let parameter = "arn:aws:ssm:us-east-1:000000000000:parameter/shop/url";
    let simulate = |input: Value| {
        let output = world.call::<iam::op::SimulatePrincipalPolicy>(serde_json::from_value(input).unwrap())?;
        let results = output.evaluation_results.unwrap();
        Ok::<_, ServiceError>(
            results
                .into_iter()
                .map(|one| {
                    (
                        one.eval_decision.unwrap(),
                        one.matched_statements.unwrap().len(),
                        one.missing_context_values.unwrap(),
                    )
                })
                .collect::<Vec<_>>(),
        )
    };
    let missing = vec!["aws:sourceip".to_owned()];
    let found =
        simulate(json!({"PolicySourceArn": role, "ActionNames": ["ecs:RunTask", "ecs:DeleteCluster", "iam:PassRole"]}))
            .unwrap();
    assert_eq!(
        found,
        [
            ("allowed".into(), 1, missing.clone()),
            ("explicitDeny".into(), 1, missing.clone()),
            ("implicitDeny".into(), 0, missing)
        ]
    );
    let from = |address: &str| {
        let entry = json!({"ContextKeyName": "aws:SourceIp", "ContextKeyType": "ip", "ContextKeyValues": [address]});
        simulate(json!({"PolicySourceArn": role, "ActionNames": ["ssm:GetParameter"], "ResourceArns": [parameter], "ContextEntries": [entry]})).unwrap()
    };
    assert_eq!(from("10.1.2.3"), [("allowed".into(), 1, vec![])]);
    assert_eq!(from("192.0.2.1"), [("implicitDeny".into(), 0, vec![])]);
    let bounded = json!({"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}).to_string();
    let found = simulate(json!({"PolicySourceArn": role, "ActionNames": ["ecs:RunTask"], "PermissionsBoundaryPolicyInputList": [bounded]})).unwrap();
    assert_eq!(found[0].0, "implicitDeny");
    assert_eq!(
        simulate(json!({"PolicySourceArn": format!("{role}x"), "ActionNames": ["a:b"]})).unwrap_err().code,
        "NoSuchEntity"
    );
    assert_eq!(simulate(json!({"PolicySourceArn": role, "ActionNames": ["x"]})).unwrap_err().code, "InvalidInput");
    let keys = world
        .call::<iam::op::GetContextKeysForPrincipalPolicy>(
            serde_json::from_value(json!({"PolicySourceArn": role})).unwrap(),
        )
        .unwrap();
    assert_eq!(keys.context_key_names.unwrap(), ["aws:principaltag/team", "aws:sourceip"]);
    let custom = json!({"PolicyInputList": [json!({"Statement": {"Effect": "Allow", "Action": "a:*", "Resource": "*"}}).to_string()], "ActionNames": ["a:b", "c:d"]});
    let found = world.call::<iam::op::SimulateCustomPolicy>(serde_json::from_value(custom).unwrap()).unwrap();
    let decided: Vec<_> = found.evaluation_results.unwrap().into_iter().map(|one| one.eval_decision.unwrap()).collect();
    assert_eq!(decided, ["allowed", "implicitDeny"]);
}

#[test]
fn evaluation_costs_little() {
    let world = world();
    let session = role(&world, "api", json!([{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}]));
    for policy in ["service-role/AmazonECSTaskExecutionRolePolicy", "ReadOnlyAccess", "PowerUserAccess"] {
        let input = iam::AttachRolePolicyRequest {
            role_name: Some("api".into()),
            policy_arn: Some(format!("arn:aws:iam::aws:policy/{policy}")),
        };
        world.call::<iam::op::AttachRolePolicy>(input).unwrap();
    }
    let ask = || may(&world, &session, "ecs", "DescribeServices", json!({"cluster": "demo", "services": ["a"]}));
    ask().unwrap();
    let (begun, rounds) = (Instant::now(), 500);
    for _ in 0..rounds {
        ask().unwrap();
    }
    let each = begun.elapsed() / rounds;
    println!("one evaluation with four policies: {each:?}");
    // Generous: not optimised, on a machine that does other things.
    assert!(each.as_micros() < 5000, "{each:?}");
}

#[test]
fn a_registry_token_has_the_rights_of_whoever_asked_for_it() {
    use quarry_domain::image::{RegistryAccess, RegistryAuth, RegistryUse};
    let world = world();
    crate::ecr::reconcile(&world.platform, &world.operations);
    let session = role(
        &world,
        "puller",
        json!([
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {"Effect": "Allow", "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
             "Resource": "arn:aws:ecr:*:*:repository/shop/*"},
        ]),
    );
    let token = |acting: Option<Acting>| {
        let output = world.transact(|ctx| {
            ctx.caller.acting = acting;
            ctx.invoke::<quarry_aws::ecr::op::GetAuthorizationToken>(Default::default())
        });
        let data = output.unwrap().authorization_data.unwrap();
        format!("Basic {}", data[0].authorization_token.as_deref().unwrap())
    };
    let (own, roots) = (token(Some(session)), token(None));
    let auth = crate::ecr::TokenAuth::new(world.platform.clone());
    let asked = |token: &str, action, repository| {
        auth.allows(Some(token), Some(RegistryUse { action, repository: Some(repository) }))
    };
    assert_eq!(asked(&own, "ecr:BatchGetImage", "shop/api"), RegistryAccess::Allowed);
    assert_eq!(auth.allows(Some(&own), None), RegistryAccess::Allowed);
    for (action, repository) in [("ecr:BatchGetImage", "board"), ("ecr:PutImage", "shop/api")] {
        let RegistryAccess::Denied(message) = asked(&own, action, repository) else { panic!("{action} {repository}") };
        let words = format!(
            "is not authorized to perform: {action} on resource: arn:aws:ecr:us-east-1:{ACCOUNT}:repository/{repository} because"
        );
        assert!(message.contains(&words), "{message}");
        assert_eq!(asked(&roots, action, repository), RegistryAccess::Allowed);
    }
    assert_eq!(auth.allows(None, None), RegistryAccess::Unknown);
}

#[test]
fn a_stack_is_made_with_the_rights_of_who_asked_or_of_its_role() {
    use quarry_aws::cloudformation::op;
    let world = world();
    let template =
        json!({"Resources": {"Cluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": "made"}}}});
    let create = |name: &str, acting: &Acting, role_arn: Option<&str>| {
        let mut input = json!({"StackName": name, "TemplateBody": template.to_string()});
        if let Some(role) = role_arn {
            input["RoleARN"] = role.into();
        }
        world.transact(|ctx| {
            ctx.caller.acting = Some(acting.clone());
            ctx.invoke::<op::CreateStack>(serde_json::from_value(input).unwrap())
        })
    };
    let settle = |name: &str| {
        for _ in 0..200 {
            crate::cloudformation::reconcile::Reconciler::default().pass(&world.platform, &world.operations);
            let input = serde_json::from_value(json!({"StackName": name})).unwrap();
            let stacks = world.call::<op::DescribeStacks>(input).unwrap().stacks.unwrap();
            let status = stacks[0].stack_status.clone().unwrap();
            if !status.ends_with("IN_PROGRESS") {
                return status;
            }
        }
        panic!("{name} does not settle");
    };
    let weak = role(&world, "weak", json!([{"Effect": "Allow", "Action": "cloudformation:*", "Resource": "*"}]));
    let strong =
        role(&world, "strong", json!([{"Effect": "Allow", "Action": ["cloudformation:*", "ecs:*"], "Resource": "*"}]));
    let settled = |made: quarry_aws::cloudformation::CreateStackOutput| settle(&made.stack_id.unwrap());
    assert_eq!(settled(create("a", &weak, None).unwrap()), "ROLLBACK_COMPLETE");
    let events =
        world.call::<op::DescribeStackEvents>(serde_json::from_value(json!({"StackName": "a"})).unwrap()).unwrap();
    let reasons: Vec<_> = events.stack_events.unwrap().into_iter().filter_map(|e| e.resource_status_reason).collect();
    let words = "assumed-role/weak/s1 is not authorized to perform: ecs:CreateCluster on resource: arn:aws:ecs:us-east-1:000000000000:cluster/made because";
    assert!(reasons.iter().any(|reason| reason.contains(words)), "{reasons:?}");
    let made = create("b", &strong, None).unwrap();
    let stack = made.stack_id.clone().unwrap();
    assert_eq!(settled(made), "CREATE_COMPLETE");
    world.call::<op::DeleteStack>(serde_json::from_value(json!({"StackName": "b"})).unwrap()).unwrap();
    assert_eq!(settle(&stack), "DELETE_COMPLETE");
    // A role that CloudFormation may not assume.
    let arn = "arn:aws:iam::000000000000:role/team/strong";
    assert_eq!(create("c", &weak, Some(arn)).unwrap_err().code, "ValidationError");
    let trust = json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "cloudformation.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let input = json!({"RoleName": "strong", "PolicyDocument": trust.to_string()});
    world.call::<iam::op::UpdateAssumeRolePolicy>(serde_json::from_value(input).unwrap()).unwrap();
    assert_eq!(settled(create("c", &weak, Some(arn)).unwrap()), "CREATE_COMPLETE");
}
