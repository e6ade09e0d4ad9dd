//! Roles, policies and instance profiles through the operations.

mod group;
mod policy;
mod role;
mod service_linked_role;
mod user;

use crate::api::Result;
use crate::testing::World;
use quarry_aws::iam::op::*;
use quarry_aws::iam::*;

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["ecs.amazonaws.com"]},"Action":["sts:AssumeRole"]}]}"#;
const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecs:*","logs:PutLogEvents"],"Resource":"*"}]}"#;
const MANAGED: &str = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy";

fn world() -> World {
    World::new(super::register)
}

fn refused<T>(result: Result<T>) -> (String, String) {
    let error = result.err().expect("the request is refused");
    (error.code.to_string(), error.message)
}

fn code<T>(result: Result<T>) -> String {
    refused(result).0
}

fn try_role(world: &World, name: &str, path: Option<&str>) -> Result<Role> {
    let input = CreateRoleRequest {
        role_name: Some(name.into()),
        path: path.map(str::to_owned),
        assume_role_policy_document: Some(TRUST.into()),
        ..Default::default()
    };
    Ok(world.call::<CreateRole>(input)?.role.unwrap())
}

fn get_role(world: &World, name: &str) -> Result<Role> {
    Ok(world.call::<GetRole>(GetRoleRequest { role_name: Some(name.into()) })?.role.unwrap())
}

fn delete_role(world: &World, name: &str) -> Result<()> {
    world.call::<DeleteRole>(DeleteRoleRequest { role_name: Some(name.into()) }).map(|_| ())
}

#[test]
fn a_role_is_created_shown_and_deleted() {
    let world = world();
    let role = try_role(&world, "ecs-service", Some("/demo/")).unwrap();
    assert_eq!(role.arn.as_deref(), Some("arn:aws:iam::000000000000:role/demo/ecs-service"));
    let id = role.role_id.clone().unwrap();
    assert!(id.starts_with("AROA") && id.len() == 21, "{id}");
    assert!(role.assume_role_policy_document.as_deref().unwrap().starts_with("%7B%22Version%22%3A"));
    let got = get_role(&world, "ecs-service").unwrap();
    assert_eq!((got.role_id, got.max_session_duration), (role.role_id, Some(3600)));

    assert_eq!(
        refused(try_role(&world, "ECS-Service", None)),
        ("EntityAlreadyExists".into(), "Role with name ECS-Service already exists.".into())
    );
    assert_eq!(code(try_role(&world, "not a name", None)), "ValidationError");
    assert_eq!(code(try_role(&world, "other", Some("demo"))), "ValidationError");
    let input = CreateRoleRequest {
        role_name: Some("other".into()),
        assume_role_policy_document: Some(ALLOW.into()),
        ..Default::default()
    };
    assert_eq!(code(world.call::<CreateRole>(input)), "MalformedPolicyDocument");

    delete_role(&world, "ecs-service").unwrap();
    assert_eq!(
        refused(delete_role(&world, "ecs-service")),
        ("NoSuchEntity".into(), "The role with name ecs-service cannot be found.".into())
    );
}

#[test]
fn a_role_s_trust_policy_and_tags_change() {
    let world = world();
    try_role(&world, "r", None).unwrap();
    let update = |document: &str| {
        let input =
            UpdateAssumeRolePolicyRequest { role_name: Some("r".into()), policy_document: Some(document.into()) };
        world.call::<UpdateAssumeRolePolicy>(input)
    };
    assert_eq!(code(update("{}")), "MalformedPolicyDocument");
    update(&TRUST.replace("ecs.amazonaws", "ec2.amazonaws")).unwrap();
    assert!(get_role(&world, "r").unwrap().assume_role_policy_document.unwrap().contains("ec2.amazonaws.com"));

    let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
    let input = TagRoleRequest { role_name: Some("r".into()), tags: Some(vec![tag("a", "1"), tag("b", "2")]) };
    world.call::<TagRole>(input).unwrap();
    let input = TagRoleRequest { role_name: Some("r".into()), tags: Some(vec![tag("a", "3")]) };
    world.call::<TagRole>(input).unwrap();
    let input = UntagRoleRequest { role_name: Some("r".into()), tag_keys: Some(vec!["b".into()]) };
    world.call::<UntagRole>(input).unwrap();
    let input = ListRoleTagsRequest { role_name: Some("r".into()), ..Default::default() };
    assert_eq!(world.call::<ListRoleTags>(input).unwrap().tags, Some(vec![tag("a", "3")]));
}

#[test]
fn policies_keep_their_role_from_being_deleted() {
    let world = world();
    try_role(&world, "r", None).unwrap();
    let put = |document: &str| {
        let input = PutRolePolicyRequest {
            role_name: Some("r".into()),
            policy_name: Some("inline".into()),
            policy_document: Some(document.into()),
        };
        world.call::<PutRolePolicy>(input)
    };
    assert_eq!(code(put(TRUST)), "MalformedPolicyDocument");
    put(ALLOW).unwrap();
    let get = GetRolePolicyRequest { role_name: Some("r".into()), policy_name: Some("inline".into()) };
    let shown = world.call::<GetRolePolicy>(get.clone()).unwrap();
    assert_eq!(shown.policy_document, Some(super::document::encoded(ALLOW)));
    let attach = |arn: &str| {
        let input = AttachRolePolicyRequest { role_name: Some("r".into()), policy_arn: Some(arn.into()) };
        world.call::<AttachRolePolicy>(input)
    };
    assert_eq!(code(attach("arn:aws:iam::000000000000:policy/none")), "NoSuchEntity");
    attach(MANAGED).unwrap();
    attach(MANAGED).unwrap();
    let list = ListAttachedRolePoliciesRequest { role_name: Some("r".into()), ..Default::default() };
    let attached = world.call::<ListAttachedRolePolicies>(list).unwrap().attached_policies.unwrap();
    assert_eq!(attached.len(), 1);
    assert_eq!(attached[0].policy_name.as_deref(), Some("AmazonECSTaskExecutionRolePolicy"));

    let conflict = |message: &str| ("DeleteConflict".to_owned(), message.to_owned());
    assert_eq!(refused(delete_role(&world, "r")), conflict("Cannot delete entity, must detach all policies first."));
    let detach = || {
        let input = DetachRolePolicyRequest { role_name: Some("r".into()), policy_arn: Some(MANAGED.into()) };
        world.call::<DetachRolePolicy>(input)
    };
    detach().unwrap();
    assert_eq!(code(detach()), "NoSuchEntity");
    assert_eq!(refused(delete_role(&world, "r")), conflict("Cannot delete entity, must delete policies first."));
    let names = world
        .call::<ListRolePolicies>(ListRolePoliciesRequest { role_name: Some("r".into()), ..Default::default() })
        .unwrap();
    assert_eq!(names.policy_names, Some(vec!["inline".into()]));
    let input = DeleteRolePolicyRequest { role_name: Some("r".into()), policy_name: Some("inline".into()) };
    world.call::<DeleteRolePolicy>(input).unwrap();
    assert_eq!(code(world.call::<GetRolePolicy>(get)), "NoSuchEntity");
    delete_role(&world, "r").unwrap();
}

#[test]
fn a_role_takes_ten_managed_policies() {
    let world = world();
    try_role(&world, "r", None).unwrap();
    let attach = |n: usize| {
        let arn = format!("arn:aws:iam::aws:policy/Policy{n}");
        world.call::<AttachRolePolicy>(AttachRolePolicyRequest { role_name: Some("r".into()), policy_arn: Some(arn) })
    };
    (0..10).for_each(|n| {
        attach(n).unwrap();
    });
    assert_eq!(refused(attach(10)), ("LimitExceeded".into(), "Cannot exceed quota for PoliciesPerRole: 10".into()));
}

#[test]
fn a_customer_s_policy_is_kept_with_its_document() {
    let world = world();
    let create = || {
        let input = CreatePolicyRequest {
            policy_name: Some("deploy".into()),
            policy_document: Some(ALLOW.into()),
            ..Default::default()
        };
        world.call::<CreatePolicy>(input)
    };
    let arn = create().unwrap().policy.unwrap().arn.unwrap();
    assert_eq!(arn, "arn:aws:iam::000000000000:policy/deploy");
    assert_eq!(code(create()), "EntityAlreadyExists");
    let version = |id: &str| {
        let input = GetPolicyVersionRequest { policy_arn: Some(arn.clone()), version_id: Some(id.into()) };
        Ok::<_, quarry_wire::ServiceError>(world.call::<GetPolicyVersion>(input)?.policy_version.unwrap())
    };
    assert_eq!(version("v1").unwrap().document, Some(super::document::encoded(ALLOW)));
    assert_eq!(code(version("v2")), "NoSuchEntity");
    let input = ListPolicyVersionsRequest { policy_arn: Some(arn.clone()), ..Default::default() };
    assert_eq!(world.call::<ListPolicyVersions>(input).unwrap().versions.unwrap().len(), 1);

    try_role(&world, "r", None).unwrap();
    for attached in [arn.as_str(), MANAGED] {
        let input = AttachRolePolicyRequest { role_name: Some("r".into()), policy_arn: Some(attached.into()) };
        world.call::<AttachRolePolicy>(input).unwrap();
    }
    let shown = world.call::<GetPolicy>(GetPolicyRequest { policy_arn: Some(arn.clone()) }).unwrap().policy.unwrap();
    assert_eq!(shown.attachment_count, Some(1));
    let delete = || world.call::<DeletePolicy>(DeletePolicyRequest { policy_arn: Some(arn.clone()) });
    assert_eq!(refused(delete()), ("DeleteConflict".into(), "Cannot delete a policy attached to entities.".into()));
    let list = |scope: &str| {
        let input = ListPoliciesRequest { scope: Some(scope.into()), ..Default::default() };
        let policies = world.call::<ListPolicies>(input).unwrap().policies.unwrap();
        policies.into_iter().map(|p| p.arn.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(list("Local"), [arn.as_str()]);
    assert!(list("AWS").iter().any(|arn| arn == MANAGED) && !list("AWS").contains(&arn));
    assert_eq!(list("All").len(), list("AWS").len() + 1);
    let input = DetachRolePolicyRequest { role_name: Some("r".into()), policy_arn: Some(arn.clone()) };
    world.call::<DetachRolePolicy>(input).unwrap();
    delete().unwrap();
    assert_eq!(code(delete()), "NoSuchEntity");
}

#[test]
fn an_instance_profile_holds_one_role() {
    let world = world();
    try_role(&world, "host", None).unwrap();
    try_role(&world, "second", None).unwrap();
    let create = || {
        let input = CreateInstanceProfileRequest { instance_profile_name: Some("hosts".into()), ..Default::default() };
        world.call::<CreateInstanceProfile>(input)
    };
    let made = create().unwrap().instance_profile.unwrap();
    assert_eq!(made.arn.as_deref(), Some("arn:aws:iam::000000000000:instance-profile/hosts"));
    assert_eq!(code(create()), "EntityAlreadyExists");
    let add = |role: &str| {
        let input = AddRoleToInstanceProfileRequest {
            instance_profile_name: Some("hosts".into()),
            role_name: Some(role.into()),
        };
        world.call::<AddRoleToInstanceProfile>(input)
    };
    assert_eq!(code(add("nobody")), "NoSuchEntity");
    add("host").unwrap();
    assert_eq!(code(add("second")), "LimitExceeded");
    let get =
        || world.call::<GetInstanceProfile>(GetInstanceProfileRequest { instance_profile_name: Some("hosts".into()) });
    let roles = get().unwrap().instance_profile.unwrap().roles.unwrap();
    assert_eq!(roles[0].role_name.as_deref(), Some("host"));
    let input = ListInstanceProfilesForRoleRequest { role_name: Some("host".into()), ..Default::default() };
    let holding = world.call::<ListInstanceProfilesForRole>(input).unwrap().instance_profiles.unwrap();
    assert_eq!(holding.len(), 1);
    assert_eq!(
        refused(delete_role(&world, "host")).1,
        "Cannot delete entity, must remove roles from instance profile first."
    );
    let delete = || {
        let input = DeleteInstanceProfileRequest { instance_profile_name: Some("hosts".into()) };
        world.call::<DeleteInstanceProfile>(input)
    };
    assert_eq!(code(delete()), "DeleteConflict");
    let remove = || {
        let input = RemoveRoleFromInstanceProfileRequest {
            instance_profile_name: Some("hosts".into()),
            role_name: Some("host".into()),
        };
        world.call::<RemoveRoleFromInstanceProfile>(input)
    };
    remove().unwrap();
    assert_eq!(code(remove()), "NoSuchEntity");

    let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
    let input = TagInstanceProfileRequest {
        instance_profile_name: Some("hosts".into()),
        tags: Some(vec![tag("team", "a"), tag("stage", "test")]),
    };
    world.call::<TagInstanceProfile>(input).unwrap();
    let input = UntagInstanceProfileRequest {
        instance_profile_name: Some("hosts".into()),
        tag_keys: Some(vec!["stage".into(), "none".into()]),
    };
    world.call::<UntagInstanceProfile>(input).unwrap();
    let input = ListInstanceProfileTagsRequest { instance_profile_name: Some("hosts".into()), ..Default::default() };
    assert_eq!(world.call::<ListInstanceProfileTags>(input).unwrap().tags, Some(vec![tag("team", "a")]));
    assert_eq!(get().unwrap().instance_profile.unwrap().tags, Some(vec![tag("team", "a")]));
    delete().unwrap();
    assert_eq!(code(get()), "NoSuchEntity");
    delete_role(&world, "host").unwrap();
}

#[test]
fn pages_follow_each_other_though_one_is_deleted() {
    let world = world();
    for name in ["a", "b", "c", "d", "e"] {
        try_role(&world, name, None).unwrap();
    }
    let page = |marker: Option<String>| {
        world.call::<ListRoles>(ListRolesRequest { marker, max_items: Some(2), ..Default::default() })
    };
    let names = |answer: &ListRolesResponse| -> Vec<String> {
        answer.roles.iter().flatten().map(|r| r.role_name.clone().unwrap()).collect()
    };
    let first = page(None).unwrap();
    assert_eq!((names(&first), first.is_truncated), (vec!["a".into(), "b".into()], Some(true)));
    delete_role(&world, "b").unwrap();
    let second = page(first.marker).unwrap();
    assert_eq!(names(&second), ["c", "d"]);
    let third = page(second.marker).unwrap();
    assert_eq!((names(&third), third.is_truncated, third.marker), (vec!["e".into()], Some(false), None));
    assert_eq!(code(page(Some("*".into()))), "ValidationError");
    let input = ListRolesRequest { max_items: Some(1001), ..Default::default() };
    assert_eq!(code(world.call::<ListRoles>(input)), "ValidationError");
}

#[test]
fn the_user_is_the_account_itself() {
    let world = world();
    let user = world.call::<GetUser>(Default::default()).unwrap().user.unwrap();
    assert_eq!(user.arn.as_deref(), Some("arn:aws:iam::000000000000:root"));
    assert!(user.create_date.is_some());
    assert_eq!(code(world.call::<GetUser>(GetUserRequest { user_name: Some("bob".into()) })), "NoSuchEntity");
}

#[test]
fn the_account_has_no_alias() {
    let world = world();
    assert_eq!(world.call::<ListAccountAliases>(Default::default()).unwrap().account_aliases, Some(vec![]));
    let input = ListAccountAliasesRequest { max_items: Some(0), ..Default::default() };
    assert_eq!(code(world.call::<ListAccountAliases>(input)), "ValidationError");
}
