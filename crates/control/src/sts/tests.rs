//! Sessions through `Operations` with a fake IAM.

use super::{credentials, register};
use crate::testing::World;
use quarry_aws::iam;
use quarry_aws::sts::{AssumeRoleRequest, op};
use quarry_wire::ServiceError;
use std::time::Duration;

const ROLE: &str = "arn:aws:iam::000000000000:role/deployer";

fn world() -> World {
    World::new(|operations| {
        register(operations);
        operations.serve::<iam::op::GetRole>(|_, input| {
            let name = input.role_name.unwrap_or_default();
            let principal = match name.as_str() {
                "deployer" => r#"{"AWS":"arn:aws:iam::000000000000:root"}"#,
                "tasks" => r#"{"Service":"ecs-tasks.amazonaws.com"}"#,
                _ => return Err(ServiceError::new("NoSuchEntity", "no such role", 404)),
            };
            let policy =
                format!(r#"{{"Statement":[{{"Effect":"Allow","Principal":{principal},"Action":"sts:AssumeRole"}}]}}"#);
            let role = iam::Role {
                arn: Some(format!("arn:aws:iam::000000000000:role/{name}")),
                role_id: Some("AROAEXAMPLE".into()),
                role_name: Some(name),
                assume_role_policy_document: Some(policy),
                ..Default::default()
            };
            Ok(iam::GetRoleResponse { role: Some(role) })
        });
    })
}

fn assume(world: &World, change: impl FnOnce(&mut AssumeRoleRequest)) -> Result<String, ServiceError> {
    let mut input =
        AssumeRoleRequest { role_arn: Some(ROLE.into()), role_session_name: Some("tour".into()), ..Default::default() };
    change(&mut input);
    Ok(world.call::<op::AssumeRole>(input)?.credentials.unwrap().access_key_id.unwrap())
}

#[test]
fn a_role_is_assumed_and_its_session_expires() {
    let world = world();
    let key = assume(&world, |input| input.duration_seconds = Some(900)).unwrap();
    assert!(key.starts_with("ASIA") && key.len() == 20);
    let found = |key: &str| world.transact(|ctx| Ok(credentials(ctx.tx, key)?)).unwrap();
    let session = found(&key).unwrap();
    assert_eq!(session.arn, "arn:aws:sts::000000000000:assumed-role/deployer/tour");
    assert_eq!(session.expires_at_ms, world.platform.now_ms() + 900_000);
    assert_eq!(session.secret_access_key.len(), 40);
    let identity = world
        .transact(|ctx| {
            ctx.caller.access_key = key.clone();
            ctx.caller.arn = session.arn.clone();
            ctx.invoke::<op::GetCallerIdentity>(Default::default())
        })
        .unwrap();
    assert_eq!(identity.user_id.as_deref(), Some("AROAEXAMPLE:tour"));
    assert_eq!(identity.arn, Some(session.arn));
    world.door.advance(Duration::from_secs(900));
    let next = assume(&world, |_| {}).unwrap();
    assert_ne!(next, key);
    assert_eq!(found(&key), None, "expired sessions are forgotten");
    let root = world.call::<op::GetCallerIdentity>(Default::default()).unwrap();
    assert_eq!(root.account.as_deref(), Some("000000000000"));
    assert_eq!(root.user_id.as_deref(), Some("000000000000"));
}

#[test]
fn what_is_refused() {
    let world = world();
    let other = |name: &str| Some(ROLE.replace("deployer", name));
    let code = |result: Result<String, ServiceError>| result.unwrap_err().code;
    assert_eq!(code(assume(&world, |i| i.role_arn = other("gone"))), "AccessDenied");
    assert_eq!(code(assume(&world, |i| i.role_arn = other("tasks"))), "AccessDenied");
    assert_eq!(code(assume(&world, |i| i.role_arn = other("path/deployer"))), "AccessDenied");
    assert_eq!(code(assume(&world, |i| i.role_arn = Some("deployer".into()))), "ValidationError");
    assert_eq!(code(assume(&world, |i| i.role_session_name = Some("a b".into()))), "ValidationError");
    assert_eq!(code(assume(&world, |i| i.duration_seconds = Some(899))), "ValidationError");
    assert_eq!(code(assume(&world, |i| i.duration_seconds = Some(3601))), "ValidationError");
    assert_eq!(code(assume(&world, |i| i.policy = Some("{}".into()))), "MalformedPolicyDocument");
    let none = world.transact(|ctx| Ok(ctx.tx.all::<super::Session>()?)).unwrap();
    assert!(none.is_empty());
}
