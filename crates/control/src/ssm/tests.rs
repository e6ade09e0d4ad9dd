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

fn put_with(world: &World, change: impl FnOnce(&mut aws::PutParameterRequest)) -> Result<i64, ServiceError> {
    let mut input = aws::PutParameterRequest {
        name: Some("/p".into()),
        value: Some("v".into()),
        r#type: Some("String".into()),
        overwrite: Some(true),
        ..Default::default()
    };
    change(&mut input);
    Ok(world.call::<op::PutParameter>(input)?.version.unwrap())
}

#[test]
fn a_secure_string_is_shown_only_decrypted_and_is_nowhere_in_clear() {
    const VALUE: &str = "correct horse battery staple";
    let world = World::new(register);
    let secure = |value: &str, key: Option<&str>| {
        put_with(&world, |input| {
            (input.value, input.r#type) = (Some(value.into()), Some("SecureString".into()));
            input.key_id = key.map(str::to_owned);
        })
    };
    put_with(&world, |input| input.value = Some("plain".into())).unwrap();
    assert_eq!(secure(VALUE, Some("alias/aws/ssm")).unwrap(), 2);
    assert_eq!(secure(VALUE, Some("alias/own")).unwrap_err().code, "InvalidKeyId");
    assert_eq!(put_with(&world, |i| i.key_id = Some("alias/aws/ssm".into())).unwrap_err().code, "ValidationException");
    let read = |name: &str, decrypt: bool| {
        let input = aws::GetParameterRequest { name: Some(name.into()), with_decryption: Some(decrypt) };
        world.call::<op::GetParameter>(input).unwrap().parameter.unwrap()
    };
    let shown = read("/p", true);
    assert_eq!((shown.value.as_deref(), shown.r#type.as_deref()), (Some(VALUE), Some("SecureString")));
    assert_ne!(read("/p", false).value.as_deref(), Some(VALUE));
    assert_eq!(read("/p:1", false).value.as_deref(), Some("plain"), "each version has its own type");
    let history = |decrypt| {
        let input =
            aws::GetParameterHistoryRequest { name: Some("/p".into()), with_decryption: decrypt, ..Default::default() };
        world.call::<op::GetParameterHistory>(input).unwrap().parameters.unwrap()
    };
    let versions = history(Some(true));
    assert_eq!(versions.iter().map(|v| v.value.as_deref().unwrap()).collect::<Vec<_>>(), ["plain", VALUE]);
    assert_eq!(versions[1].key_id.as_deref(), Some("alias/aws/ssm"));
    assert_ne!(history(None)[1].value.as_deref(), Some(VALUE));
    let by_path = aws::GetParametersByPathRequest {
        path: Some("/".into()),
        with_decryption: Some(true),
        parameter_filters: Some(vec![aws::ParameterStringFilter {
            key: Some("Type".into()),
            option: None,
            values: Some(vec!["SecureString".into()]),
        }]),
        ..Default::default()
    };
    let found = world.call::<op::GetParametersByPath>(by_path).unwrap().parameters.unwrap();
    assert_eq!(found.iter().map(|p| p.value.as_deref().unwrap()).collect::<Vec<_>>(), [VALUE]);
    for file in std::fs::read_dir(world.dir()).unwrap() {
        let path = file.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        assert!(!bytes.windows(VALUE.len()).any(|part| part == VALUE.as_bytes()), "{}", path.display());
    }
}

#[test]
fn tiers_patterns_and_the_number_of_versions_are_limited() {
    let world = World::new(register);
    let sized = |size: usize, tier: Option<&str>| {
        put_with(&world, |input| {
            (input.value, input.tier) = (Some("x".repeat(size)), tier.map(str::to_owned));
        })
    };
    assert_eq!(sized(4097, None).unwrap_err().code, "ValidationException");
    sized(4097, Some("Intelligent-Tiering")).unwrap();
    sized(8192, None).unwrap();
    assert_eq!(sized(8193, Some("Advanced")).unwrap_err().code, "ValidationException");
    assert!(sized(1, Some("Standard")).unwrap_err().message.contains("can't downgrade"));
    let pattern = |pattern: &str, value: &str| {
        put_with(&world, |input| {
            input.name = Some("/number".into());
            (input.allowed_pattern, input.value) = (Some(pattern.into()), Some(value.into()));
        })
    };
    assert_eq!(pattern("(", "1").unwrap_err().code, "InvalidAllowedPatternException");
    assert_eq!(pattern("[0-9]+", "1a").unwrap_err().code, "ParameterPatternMismatchException");
    pattern("[0-9]+", "12").unwrap();
    assert_eq!(pattern("", "no").unwrap_err().code, "ParameterPatternMismatchException", "the pattern stays");
    for _ in 0..104 {
        put(&world, "/many", "v", true).unwrap();
    }
    assert_eq!(get(&world, "/many:4").unwrap_err().code, "ParameterVersionNotFound");
    assert_eq!(get(&world, "/many:5").unwrap(), "v");
    let mut pages = 0;
    let mut token = None;
    loop {
        let input = aws::GetParameterHistoryRequest {
            name: Some("/many".into()),
            max_results: Some(50),
            next_token: token,
            ..Default::default()
        };
        let page = world.call::<op::GetParameterHistory>(input).unwrap();
        assert_eq!(page.parameters.unwrap().len(), 50);
        pages += 1;
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(pages, 2);
}

#[test]
fn parameters_are_tagged_and_deleted_in_numbers() {
    let world = World::new(register);
    put(&world, "/a", "1", false).unwrap();
    let add = |kind: &str, id: &str, keys: &[&str]| {
        let tags = keys.iter().map(|&key| aws::Tag { key: Some(key.into()), value: Some("v".into()) }).collect();
        world.call::<op::AddTagsToResource>(aws::AddTagsToResourceRequest {
            resource_type: Some(kind.into()),
            resource_id: Some(id.into()),
            tags: Some(tags),
        })
    };
    add("Parameter", "/a", &["x", "y"]).unwrap();
    assert_eq!(add("Document", "/a", &["x"]).unwrap_err().code, "InvalidResourceType");
    assert_eq!(add("Parameter", "/gone", &["x"]).unwrap_err().code, "InvalidResourceId");
    let many: Vec<String> = (0..49).map(|n| format!("k{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(add("Parameter", "/a", &many).unwrap_err().code, "TooManyTagsError");
    world
        .call::<op::RemoveTagsFromResource>(aws::RemoveTagsFromResourceRequest {
            resource_type: Some("Parameter".into()),
            resource_id: Some("/a".into()),
            tag_keys: Some(vec!["x".into()]),
        })
        .unwrap();
    let input =
        aws::ListTagsForResourceRequest { resource_type: Some("Parameter".into()), resource_id: Some("/a".into()) };
    let tags = world.call::<op::ListTagsForResource>(input).unwrap().tag_list.unwrap();
    assert_eq!(tags.into_iter().filter_map(|tag| tag.key).collect::<Vec<_>>(), ["y"]);
    let names = vec!["/a".to_owned(), "/gone".to_owned()];
    let gone = world.call::<op::DeleteParameters>(aws::DeleteParametersRequest { names: Some(names) }).unwrap();
    assert_eq!(gone.deleted_parameters, Some(vec!["/a".into()]));
    assert_eq!(gone.invalid_parameters, Some(vec!["/gone".into()]));
}
