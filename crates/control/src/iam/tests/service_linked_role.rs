//! Service-linked roles: made, kept while they are needed, deleted.

use super::*;
use crate::start;
use quarry_aws::ecs;

fn status(world: &World, id: &str) -> Result<GetServiceLinkedRoleDeletionStatusResponse> {
    let input = GetServiceLinkedRoleDeletionStatusRequest { deletion_task_id: Some(id.into()) };
    world.call::<GetServiceLinkedRoleDeletionStatus>(input)
}

fn delete(world: &World, role: &str) -> Result<String> {
    let input = DeleteServiceLinkedRoleRequest { role_name: Some(role.into()) };
    Ok(world.call::<DeleteServiceLinkedRole>(input)?.deletion_task_id.unwrap())
}

#[test]
fn service_linked_roles_belong_to_their_service() {
    let world = world();
    let create = |service: &str| {
        let input = CreateServiceLinkedRoleRequest { aws_service_name: Some(service.into()), ..Default::default() };
        world.call::<CreateServiceLinkedRole>(input)
    };
    let role = create("ecs.amazonaws.com").unwrap().role.unwrap();
    assert_eq!(
        role.arn.as_deref(),
        Some("arn:aws:iam::000000000000:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS")
    );
    assert_eq!(code(create("ecs.amazonaws.com")), "InvalidInput");
    assert_eq!(code(create("toaster.amazonaws.com")), "InvalidInput");
    assert_eq!(code(delete_role(&world, "AWSServiceRoleForECS")), "UnmodifiableEntity");
}

#[test]
fn a_service_linked_role_goes_when_its_service_needs_it_no_more() {
    let world = World::new(|operations| *operations = start::operations());
    for service in [
        "ecs.amazonaws.com",
        "elasticloadbalancing.amazonaws.com",
        "autoscaling.amazonaws.com",
        "ecs.application-autoscaling.amazonaws.com",
    ] {
        let input = CreateServiceLinkedRoleRequest { aws_service_name: Some(service.into()), ..Default::default() };
        let name = world.call::<CreateServiceLinkedRole>(input).unwrap().role.unwrap().role_name.unwrap();
        let task = delete(&world, &name).unwrap();
        assert!(task.starts_with(&format!("task/aws-service-role/{service}/{name}/")), "{task}");
        let done = status(&world, &task).unwrap();
        assert_eq!((done.status.as_deref(), done.reason), (Some("SUCCEEDED"), None), "{service}");
        assert_eq!(code(get_role(&world, &name)), "NoSuchEntity");
    }

    let name = "AWSServiceRoleForECS";
    let input =
        CreateServiceLinkedRoleRequest { aws_service_name: Some("ecs.amazonaws.com".into()), ..Default::default() };
    world.call::<CreateServiceLinkedRole>(input).unwrap();
    let input = ecs::CreateClusterRequest { cluster_name: Some("shop".into()), ..Default::default() };
    let cluster = world.call::<ecs::op::CreateCluster>(input).unwrap().cluster.unwrap().cluster_arn.unwrap();
    let failed = status(&world, &delete(&world, name).unwrap()).unwrap();
    assert_eq!(failed.status.as_deref(), Some("FAILED"));
    let usage = failed.reason.unwrap().role_usage_list.unwrap();
    assert_eq!(usage[0].resources, Some(vec![cluster]));
    assert!(get_role(&world, name).is_ok(), "it is still there");
    let input = ecs::DeleteClusterRequest { cluster: Some("shop".into()) };
    world.call::<ecs::op::DeleteCluster>(input).unwrap();
    let done = status(&world, &delete(&world, name).unwrap()).unwrap();
    assert_eq!(done.status.as_deref(), Some("SUCCEEDED"));
}

#[test]
fn only_service_linked_roles_are_deleted_so() {
    let world = world();
    try_role(&world, "r", None).unwrap();
    assert_eq!(code(delete(&world, "r")), "NoSuchEntity");
    assert_eq!(code(delete(&world, "none")), "NoSuchEntity");
    assert_eq!(code(status(&world, "task/none")), "NoSuchEntity");
    assert!(get_role(&world, "r").is_ok());
}
