//! Managed policies: their versions, their tags, who holds them, and those of AWS.

use super::super::document::encoded;
use super::*;

const ARN: &str = "arn:aws:iam::000000000000:policy/deploy";

fn with_policy() -> World {
    let world = world();
    create(&world, "deploy", ALLOW).unwrap();
    world
}

fn create(world: &World, name: &str, document: &str) -> Result<Policy> {
    let input = CreatePolicyRequest {
        policy_name: Some(name.into()),
        policy_document: Some(document.into()),
        ..Default::default()
    };
    Ok(world.call::<CreatePolicy>(input)?.policy.unwrap())
}

fn policy(world: &World, arn: &str) -> Policy {
    world.call::<GetPolicy>(GetPolicyRequest { policy_arn: Some(arn.into()) }).unwrap().policy.unwrap()
}

fn new_version(world: &World, arn: &str, document: &str, default: bool) -> Result<PolicyVersion> {
    let input = CreatePolicyVersionRequest {
        policy_arn: Some(arn.into()),
        policy_document: Some(document.into()),
        set_as_default: Some(default),
    };
    Ok(world.call::<CreatePolicyVersion>(input)?.policy_version.unwrap())
}

fn delete_version(world: &World, id: &str) -> Result<()> {
    let input = DeletePolicyVersionRequest { policy_arn: Some(ARN.into()), version_id: Some(id.into()) };
    world.call::<DeletePolicyVersion>(input).map(|_| ())
}

fn set_default(world: &World, id: &str) -> Result<()> {
    let input = SetDefaultPolicyVersionRequest { policy_arn: Some(ARN.into()), version_id: Some(id.into()) };
    world.call::<SetDefaultPolicyVersion>(input).map(|_| ())
}

/// Ids and which of them is the default one.
fn versions(world: &World) -> Vec<(String, bool)> {
    let input = ListPolicyVersionsRequest { policy_arn: Some(ARN.into()), ..Default::default() };
    let versions = world.call::<ListPolicyVersions>(input).unwrap().versions.unwrap();
    versions.into_iter().map(|v| (v.version_id.unwrap(), v.is_default_version.unwrap())).collect()
}

fn document(world: &World, arn: &str, id: &str) -> Result<String> {
    let input = GetPolicyVersionRequest { policy_arn: Some(arn.into()), version_id: Some(id.into()) };
    Ok(world.call::<GetPolicyVersion>(input)?.policy_version.unwrap().document.unwrap())
}

#[test]
fn a_policy_has_five_versions_and_one_of_them_is_in_force() {
    let world = with_policy();
    let deny = ALLOW.replace("Allow", "Deny");
    let second = new_version(&world, ARN, &deny, true).unwrap();
    assert_eq!((second.version_id.as_deref(), second.is_default_version), (Some("v2"), Some(true)));
    assert_eq!(policy(&world, ARN).default_version_id.as_deref(), Some("v2"));
    assert_eq!(document(&world, ARN, "v2").unwrap(), encoded(&deny));
    assert_eq!(document(&world, ARN, "v1").unwrap(), encoded(ALLOW));
    assert_eq!(code(new_version(&world, ARN, "{}", true)), "MalformedPolicyDocument");
    for _ in 0..3 {
        new_version(&world, ARN, ALLOW, false).unwrap();
    }
    assert_eq!(
        refused(new_version(&world, ARN, ALLOW, false)),
        (
            "LimitExceeded".into(),
            "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version."
                .into()
        )
    );
    assert_eq!(
        refused(delete_version(&world, "v2")),
        ("DeleteConflict".into(), "Cannot delete the default version of a policy.".into())
    );
    delete_version(&world, "v4").unwrap();
    assert_eq!(code(delete_version(&world, "v4")), "NoSuchEntity");
    assert_eq!(code(set_default(&world, "v4")), "NoSuchEntity");
    set_default(&world, "v1").unwrap();
    new_version(&world, ARN, ALLOW, false).unwrap();
    let listed = versions(&world);
    let shown: Vec<(&str, bool)> = listed.iter().map(|(id, default)| (id.as_str(), *default)).collect();
    assert_eq!(shown, [("v6", false), ("v5", false), ("v3", false), ("v2", false), ("v1", true)]);

    let delete = || world.call::<DeletePolicy>(DeletePolicyRequest { policy_arn: Some(ARN.into()) });
    let (code, message) = refused(delete());
    assert!(code == "DeleteConflict" && message.starts_with("This policy has more than one version."), "{message}");
    for (id, _) in listed.iter().filter(|(_, default)| !default) {
        delete_version(&world, id).unwrap();
    }
    delete().unwrap();
}

#[test]
fn a_managed_policy_s_document_is_checked() {
    let world = world();
    let refusal = |document: &str| {
        let (code, message) = refused(create(&world, "p", document));
        assert_eq!(code, "MalformedPolicyDocument");
        message
    };
    let old = ALLOW.replace("2012-10-17", "2008-10-17");
    assert_eq!(refusal(&old), "Policy document must be version 2012-10-17 or greater.");
    assert_eq!(
        refusal(&ALLOW.replace("ecs:*", "ecs")),
        "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
    );
    let long = ALLOW.replace("ecs:*", &format!("ecs:{}", "x".repeat(6144)));
    assert_eq!(
        refused(create(&world, "p", &long)),
        ("LimitExceeded".into(), "Cannot exceed quota for PolicySize: 6144".into())
    );
    create(&world, "p", ALLOW).unwrap();
}

#[test]
fn a_policy_s_tags_change() {
    let world = with_policy();
    let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
    let set = |arn: &str, tags: Vec<Tag>| {
        world.call::<TagPolicy>(TagPolicyRequest { policy_arn: Some(arn.into()), tags: Some(tags) })
    };
    set(ARN, vec![tag("a", "1"), tag("b", "2")]).unwrap();
    set(ARN, vec![tag("A", "3")]).unwrap();
    let input = UntagPolicyRequest { policy_arn: Some(ARN.into()), tag_keys: Some(vec!["b".into()]) };
    world.call::<UntagPolicy>(input).unwrap();
    let list = |arn: &str| {
        let input = ListPolicyTagsRequest { policy_arn: Some(arn.into()), ..Default::default() };
        world.call::<ListPolicyTags>(input)
    };
    assert_eq!(list(ARN).unwrap().tags, Some(vec![tag("A", "3")]));
    assert_eq!(policy(&world, ARN).tags, Some(vec![tag("A", "3")]));
    let many = (0..50).map(|n| tag(&n.to_string(), "")).collect();
    assert_eq!(code(set(ARN, many)), "LimitExceeded");
    assert_eq!(list(ARN).unwrap().tags.unwrap().len(), 1);
    assert_eq!(code(set(MANAGED, vec![tag("a", "1")])), "AccessDenied");
    assert_eq!(list(MANAGED).unwrap().tags, Some(vec![]));
    assert_eq!(code(list("arn:aws:iam::000000000000:policy/none")), "NoSuchEntity");
}

#[test]
fn the_roles_that_a_policy_concerns_are_listed() {
    let world = with_policy();
    for (name, path) in [("holder", None), ("bounded", Some("/team/")), ("neither", None)] {
        try_role(&world, name, path).unwrap();
    }
    let input = AttachRolePolicyRequest { role_name: Some("holder".into()), policy_arn: Some(ARN.into()) };
    world.call::<AttachRolePolicy>(input).unwrap();
    let input =
        PutRolePermissionsBoundaryRequest { role_name: Some("bounded".into()), permissions_boundary: Some(ARN.into()) };
    world.call::<PutRolePermissionsBoundary>(input).unwrap();
    let shown = policy(&world, ARN);
    assert_eq!((shown.attachment_count, shown.permissions_boundary_usage_count), (Some(1), Some(1)));

    let names = |filter: Option<&str>, usage: Option<&str>, path: Option<&str>| {
        let input = ListEntitiesForPolicyRequest {
            policy_arn: Some(ARN.into()),
            entity_filter: filter.map(str::to_owned),
            policy_usage_filter: usage.map(str::to_owned),
            path_prefix: path.map(str::to_owned),
            ..Default::default()
        };
        let found = world.call::<ListEntitiesForPolicy>(input).unwrap();
        assert_eq!((found.policy_users, found.policy_groups), (Some(vec![]), Some(vec![])));
        found.policy_roles.unwrap().into_iter().map(|role| role.role_name.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, None, None), ["bounded", "holder"]);
    assert_eq!(names(Some("Role"), Some("PermissionsPolicy"), None), ["holder"]);
    assert_eq!(names(None, Some("PermissionsBoundary"), None), ["bounded"]);
    assert_eq!(names(None, None, Some("/team/")), ["bounded"]);
    assert!(names(Some("User"), None, None).is_empty());
    let input = ListEntitiesForPolicyRequest {
        policy_arn: Some("arn:aws:iam::000000000000:policy/none".into()),
        ..Default::default()
    };
    assert_eq!(code(world.call::<ListEntitiesForPolicy>(input)), "NoSuchEntity");

    let listed = |usage: &str| {
        let input = ListPoliciesRequest {
            only_attached: Some(true),
            policy_usage_filter: Some(usage.into()),
            ..Default::default()
        };
        world.call::<ListPolicies>(input).unwrap().policies.unwrap().len()
    };
    assert_eq!((listed("PermissionsPolicy"), listed("PermissionsBoundary")), (1, 1));
    let input = DetachRolePolicyRequest { role_name: Some("holder".into()), policy_arn: Some(ARN.into()) };
    world.call::<DetachRolePolicy>(input).unwrap();
    let delete = || world.call::<DeletePolicy>(DeletePolicyRequest { policy_arn: Some(ARN.into()) });
    assert_eq!(code(delete()), "DeleteConflict", "it is still a boundary");
    delete_role(&world, "bounded").unwrap();
    delete().unwrap();
}

#[test]
fn aws_s_policies_have_documents_and_belong_to_aws() {
    let world = world();
    let shown = policy(&world, MANAGED);
    assert_eq!(shown.policy_name.as_deref(), Some("AmazonECSTaskExecutionRolePolicy"));
    assert_eq!((shown.path.as_deref(), shown.attachment_count), (Some("/service-role/"), Some(0)));
    let id = shown.default_version_id.unwrap();
    let text = document(&world, MANAGED, &id).unwrap();
    assert!(text.contains("ecr%3AGetDownloadUrlForLayer") && text.contains("logs%3APutLogEvents"), "{text}");
    assert_eq!(code(document(&world, MANAGED, "v99")), "NoSuchEntity");
    let list = ListPoliciesRequest { scope: Some("AWS".into()), ..Default::default() };
    for listed in world.call::<ListPolicies>(list).unwrap().policies.unwrap() {
        let id = listed.default_version_id.unwrap();
        assert!(document(&world, &listed.arn.unwrap(), &id).unwrap().starts_with("%7B"));
    }

    assert_eq!(
        refused(new_version(&world, MANAGED, ALLOW, true)),
        (
            "AccessDenied".into(),
            format!(
                "User: arn:aws:iam::000000000000:root is not authorized to perform: iam:CreatePolicyVersion on resource: policy {MANAGED}"
            )
        )
    );
    let delete = DeletePolicyRequest { policy_arn: Some(MANAGED.into()) };
    assert_eq!(code(world.call::<DeletePolicy>(delete)), "AccessDenied");

    let other = "arn:aws:iam::aws:policy/AmazonSQSFullAccess";
    assert_eq!(policy(&world, other).policy_name.as_deref(), Some("AmazonSQSFullAccess"));
    assert_eq!(code(document(&world, other, "v1")), "NoSuchEntity", "its document is not here");
}
