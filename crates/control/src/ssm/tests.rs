//! Parameters through `Operations`.

use super::register;
use crate::testing::World;
use quarry_aws::ssm::{self as aws, op};
use quarry_wire::ServiceError;

fn put(world: &World, name: &str, value: &str, overwrite: bool) -> Result<i64, ServiceError> {
    let input = aws::PutParameterRequest {
        name: Some(name.into()),
        value: Some(value.into()),
        r#type: Some("String".into()),
        overwrite: Some(overwrite),
        ..Default::default()
    };
    Ok(world.call::<op::PutParameter>(input)?.version.unwrap())
}

fn get(world: &World, name: &str) -> Result<String, ServiceError> {
    let input = aws::GetParameterRequest { name: Some(name.into()), ..Default::default() };
    Ok(world.call::<op::GetParameter>(input)?.parameter.unwrap().value.unwrap())
}

#[test]
fn versions_paths_and_what_is_refused() {
    let world = World::new(register);
    assert_eq!(put(&world, "/board/url", "one", false).unwrap(), 1);
    let code = |result: Result<i64, ServiceError>| result.unwrap_err().code;
    assert_eq!(code(put(&world, "/board/url", "two", false)), "ParameterAlreadyExists");
    assert_eq!(put(&world, "/board/url", "two", true).unwrap(), 2);
    assert_eq!(get(&world, "/board/url").unwrap(), "two");
    assert_eq!(get(&world, "/board/url:1").unwrap(), "one");
    assert_eq!(get(&world, "arn:aws:ssm:us-east-1:000000000000:parameter/board/url").unwrap(), "two");
    assert_eq!(get(&world, "/board/url:3").unwrap_err().code, "ParameterVersionNotFound");
    assert_eq!(get(&world, "/board").unwrap_err().code, "ParameterNotFound");
    assert_eq!(code(put(&world, "board/url", "x", false)), "ValidationException");
    assert_eq!(code(put(&world, "/aws/x", "x", false)), "AccessDeniedException");
    assert_eq!(code(put(&world, "/a b", "x", false)), "ValidationException");
    assert_eq!(code(put(&world, &"/a".repeat(16), "x", false)), "HierarchyLevelLimitExceededException");
    assert_eq!(code(put(&world, "/big", &"x".repeat(4097), false)), "ValidationException");
    put(&world, "/board/deep/er", "three", false).unwrap();
    put(&world, "/boards", "no", false).unwrap();
    let below = |recursive: bool| {
        let input = aws::GetParametersByPathRequest {
            path: Some("/board".into()),
            recursive: Some(recursive),
            ..Default::default()
        };
        let found = world.call::<op::GetParametersByPath>(input).unwrap().parameters.unwrap();
        found.into_iter().filter_map(|p| p.name).collect::<Vec<_>>()
    };
    assert_eq!(below(false), ["/board/url"]);
    assert_eq!(below(true), ["/board/deep/er", "/board/url"]);
    let filter = |key: &str, option: &str, value: &str| {
        let filter = aws::ParameterStringFilter {
            key: Some(key.into()),
            option: Some(option.into()),
            values: Some(vec![value.into()]),
        };
        let input = aws::DescribeParametersRequest { parameter_filters: Some(vec![filter]), ..Default::default() };
        world.call::<op::DescribeParameters>(input).map(|output| output.parameters.unwrap().len())
    };
    assert_eq!(filter("Name", "BeginsWith", "/board").unwrap(), 3);
    assert_eq!(filter("Path", "Recursive", "/board").unwrap(), 2);
    assert_eq!(filter("Colour", "Equals", "red").unwrap_err().code, "InvalidFilterKey");
    let delete = || world.call::<op::DeleteParameter>(aws::DeleteParameterRequest { name: Some("/boards".into()) });
    delete().unwrap();
    assert_eq!(delete().unwrap_err().code, "ParameterNotFound");
}

#[test]
fn the_optimized_images_have_stable_names() {
    let world = World::new(register);
    for distribution in ["amazon-linux", "amazon-linux-2", "amazon-linux-2023"] {
        let base = format!("/aws/service/ecs/optimized-ami/{distribution}/recommended");
        let id = get(&world, &format!("{base}/image_id")).unwrap();
        let hex = id.strip_prefix("ami-").unwrap();
        assert!(hex.len() == 17 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        let whole: serde_json::Value = serde_json::from_str(&get(&world, &base).unwrap()).unwrap();
        assert_eq!(whole["image_id"], id.as_str());
    }
    let names = vec!["/aws/service/ecs/optimized-ami/amazon-linux-2/recommended/image_id".into(), "/gone".into()];
    let found =
        world.call::<op::GetParameters>(aws::GetParametersRequest { names: Some(names), with_decryption: None });
    let found = found.unwrap();
    assert_eq!(found.parameters.unwrap().len(), 1);
    assert_eq!(found.invalid_parameters, Some(vec!["/gone".to_owned()]));
}
