//! What of a role can be changed.

use super::*;

fn put_boundary(world: &World, arn: &str) -> Result<()> {
    let input =
        PutRolePermissionsBoundaryRequest { role_name: Some("r".into()), permissions_boundary: Some(arn.into()) };
    world.call::<PutRolePermissionsBoundary>(input).map(|_| ())
}

#[test]
fn a_role_s_description_and_duration_change() {
    let world = world();
    try_role(&world, "r", None).unwrap();
    let update = |description: Option<&str>, seconds: Option<i32>| {
        let input = UpdateRoleRequest {
            role_name: Some("r".into()),
            description: description.map(str::to_owned),
            max_session_duration: seconds,
        };
        world.call::<UpdateRole>(input)
    };
    let seen = || {
        let role = get_role(&world, "r").unwrap();
        (role.description, role.max_session_duration)
    };
    update(Some("runs tasks"), Some(7200)).unwrap();
    assert_eq!(seen(), (Some("runs tasks".into()), Some(7200)));
    assert_eq!(code(update(Some("other"), Some(3599))), "ValidationError");
    assert_eq!(seen(), (Some("runs tasks".into()), Some(7200)), "a refused call changes nothing");
    update(None, None).unwrap();
    assert_eq!(seen(), (Some("runs tasks".into()), Some(3600)), "one hour, unless told otherwise");

    let input = UpdateRoleDescriptionRequest { role_name: Some("r".into()), description: Some("serves".into()) };
    let role = world.call::<UpdateRoleDescription>(input).unwrap().role.unwrap();
    assert_eq!(role.description.as_deref(), Some("serves"));
    assert_eq!(seen().0.as_deref(), Some("serves"));
    let input = UpdateRoleRequest { role_name: Some("none".into()), ..Default::default() };
    assert_eq!(code(world.call::<UpdateRole>(input)), "NoSuchEntity");
}

#[test]
fn of_a_service_linked_role_the_description_alone_changes() {
    let world = world();
    let input =
        CreateServiceLinkedRoleRequest { aws_service_name: Some("ecs.amazonaws.com".into()), ..Default::default() };
    world.call::<CreateServiceLinkedRole>(input).unwrap();
    let update = |seconds: Option<i32>| {
        let input = UpdateRoleRequest {
            role_name: Some("AWSServiceRoleForECS".into()),
            description: Some("for ECS".into()),
            max_session_duration: seconds,
        };
        world.call::<UpdateRole>(input)
    };
    assert_eq!(code(update(Some(7200))), "UnmodifiableEntity");
    update(None).unwrap();
    assert_eq!(get_role(&world, "AWSServiceRoleForECS").unwrap().description.as_deref(), Some("for ECS"));
}

#[test]
fn a_role_has_a_boundary_until_it_is_taken_away() {
    let world = world();
    try_role(&world, "r", None).unwrap();
    let none = "arn:aws:iam::000000000000:policy/none";
    assert_eq!(
        refused(put_boundary(&world, none)),
        ("NoSuchEntity".into(), format!("Scope ARN: {none} does not exist or is not attachable."))
    );
    assert_eq!(code(put_boundary(&world, "arn:aws:iam::000000000000:role/r")), "InvalidInput");
    let input = CreateRoleRequest {
        role_name: Some("other".into()),
        assume_role_policy_document: Some(TRUST.into()),
        permissions_boundary: Some(none.into()),
        ..Default::default()
    };
    assert_eq!(code(world.call::<CreateRole>(input)), "NoSuchEntity");
    assert_eq!(code(get_role(&world, "other")), "NoSuchEntity");

    put_boundary(&world, MANAGED).unwrap();
    let bounded = || get_role(&world, "r").unwrap().permissions_boundary;
    assert_eq!(bounded().unwrap().permissions_boundary_arn.as_deref(), Some(MANAGED));
    let delete = || {
        let input = DeleteRolePermissionsBoundaryRequest { role_name: Some("r".into()) };
        world.call::<DeleteRolePermissionsBoundary>(input)
    };
    delete().unwrap();
    assert_eq!(bounded(), None);
    delete().unwrap();
    put_boundary(&world, MANAGED).unwrap();
    delete_role(&world, "r").unwrap();
}

#[test]
fn a_trust_policy_has_2048_characters() {
    let world = world();
    try_role(&world, "r", None).unwrap();
    let trust = |length: usize| {
        let room = length - TRUST.len();
        TRUST.replace("ecs.amazonaws.com", &format!("{}ecs.amazonaws.com", "x".repeat(room)))
    };
    let update = |length: usize| {
        let input = UpdateAssumeRolePolicyRequest { role_name: Some("r".into()), policy_document: Some(trust(length)) };
        world.call::<UpdateAssumeRolePolicy>(input)
    };
    update(2048).unwrap();
    assert_eq!(refused(update(2049)), ("LimitExceeded".into(), "Cannot exceed quota for ACLSizePerRole: 2048".into()));
}
