//! Repositories and images through `Operations` with a catalogue in memory.

use super::{TokenAuth, reconcile, register};
use crate::testing::World;
use quarry_aws::ecr::{self as aws, op};
use quarry_domain::image::{ImageCatalog, RegistryAccess, RegistryAuth};
use quarry_wire::ServiceError;

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;

fn create(world: &World, name: &str) -> Result<aws::Repository, ServiceError> {
    let input = aws::CreateRepositoryRequest { repository_name: Some(name.into()), ..Default::default() };
    Ok(world.call::<op::CreateRepository>(input)?.repository.unwrap())
}

fn delete(world: &World, name: &str, force: bool) -> Result<(), ServiceError> {
    let input =
        aws::DeleteRepositoryRequest { repository_name: Some(name.into()), force: Some(force), ..Default::default() };
    world.call::<op::DeleteRepository>(input).map(drop)
}

fn put(world: &World, manifest: &str, tag: &str) -> Result<String, ServiceError> {
    let input = aws::PutImageRequest {
        repository_name: Some("api".into()),
        image_manifest: Some(manifest.into()),
        image_tag: Some(tag.into()),
        ..Default::default()
    };
    Ok(world.call::<op::PutImage>(input)?.image.unwrap().image_id.unwrap().image_digest.unwrap())
}

fn tags(world: &World) -> Vec<String> {
    let input = aws::ListImagesRequest { repository_name: Some("api".into()), ..Default::default() };
    let ids = world.call::<op::ListImages>(input).unwrap().image_ids.unwrap();
    ids.into_iter().map(|id| id.image_tag.unwrap_or_default()).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, ServiceError>) -> String {
    result.expect_err("it is refused").code
}

#[test]
fn repositories_come_and_go_in_store_and_catalogue() {
    let world = World::new(register);
    let api = create(&world, "api").unwrap();
    assert_eq!(api.repository_uri.as_deref(), Some("localhost:4566/api"));
    assert_eq!(api.repository_arn.as_deref(), Some("arn:aws:ecr:us-east-1:000000000000:repository/api"));
    assert_eq!(api.image_tag_mutability.as_deref(), Some("MUTABLE"));
    assert_eq!(code(create(&world, "api")), "RepositoryAlreadyExistsException");
    assert_eq!(code(create(&world, "a")), "InvalidParameterException");
    put(&world, MANIFEST, "v1").unwrap();
    assert_eq!(code(delete(&world, "api", false)), "RepositoryNotEmptyException");
    let named = |name: &str| {
        let input =
            aws::DescribeRepositoriesRequest { repository_names: Some(vec![name.into()]), ..Default::default() };
        world.call::<op::DescribeRepositories>(input)
    };
    assert_eq!(named("api").unwrap().repositories.unwrap().len(), 1, "a refused deletion changes nothing");
    delete(&world, "api", true).unwrap();
    assert_eq!(code(named("api")), "RepositoryNotFoundException");
    assert_eq!(code(delete(&world, "api", true)), "RepositoryNotFoundException");
    assert!(world.catalog.repositories().unwrap().is_empty());
}

#[test]
fn images_by_tag_and_digest() {
    let world = World::new(register);
    create(&world, "api").unwrap();
    let digest = put(&world, MANIFEST, "v1").unwrap();
    assert_eq!(code(put(&world, MANIFEST, "v1")), "ImageAlreadyExistsException");
    assert_eq!(put(&world, MANIFEST, "latest").unwrap(), digest);
    assert_eq!(tags(&world), ["latest", "v1"]);
    let get = |tag: Option<&str>, digest: Option<&str>| {
        let id = aws::ImageIdentifier { image_tag: tag.map(str::to_owned), image_digest: digest.map(str::to_owned) };
        let input = aws::BatchGetImageRequest {
            repository_name: Some("api".into()),
            image_ids: Some(vec![id]),
            ..Default::default()
        };
        let output = world.call::<op::BatchGetImage>(input).unwrap();
        let failure = output.failures.unwrap().pop().and_then(|failure| failure.failure_code);
        (output.images.unwrap().pop().and_then(|image| image.image_manifest), failure)
    };
    assert_eq!(get(Some("v1"), None), (Some(MANIFEST.into()), None));
    assert_eq!(get(Some("v2"), None).1.as_deref(), Some("ImageNotFound"));
    assert_eq!(get(Some("v2"), Some(&digest)).1.as_deref(), Some("ImageTagDoesNotMatchDigest"));
    assert_eq!(get(None, None).1.as_deref(), Some("MissingDigestAndTag"));
    assert_eq!(get(None, Some("nonsense")).1.as_deref(), Some("InvalidImageDigest"));
    let describe = |tag: &str| {
        let id = aws::ImageIdentifier { image_tag: Some(tag.into()), image_digest: None };
        world.call::<op::DescribeImages>(aws::DescribeImagesRequest {
            repository_name: Some("api".into()),
            image_ids: Some(vec![id]),
            ..Default::default()
        })
    };
    let detail = describe("v1").unwrap().image_details.unwrap().remove(0);
    assert_eq!(detail.image_tags, Some(vec!["latest".to_owned(), "v1".to_owned()]));
    assert_eq!(detail.image_scan_status, None);
    assert_eq!(code(describe("v9")), "ImageNotFoundException");
    let remove = |tag: &str| {
        let id = aws::ImageIdentifier { image_tag: Some(tag.into()), image_digest: None };
        let input = aws::BatchDeleteImageRequest {
            repository_name: Some("api".into()),
            image_ids: Some(vec![id]),
            ..Default::default()
        };
        world.call::<op::BatchDeleteImage>(input).unwrap().image_ids.unwrap().len()
    };
    assert_eq!((remove("v1"), tags(&world)), (1, vec!["latest".to_owned()]));
    assert_eq!((remove("latest"), tags(&world)), (1, vec![]));
    assert_eq!(remove("latest"), 0);
}

#[test]
fn mutability_tags_and_policies() {
    let world = World::new(register);
    create(&world, "api").unwrap();
    let mutability = |value: &str| {
        world.call::<op::PutImageTagMutability>(aws::PutImageTagMutabilityRequest {
            repository_name: Some("api".into()),
            image_tag_mutability: Some(value.into()),
            ..Default::default()
        })
    };
    mutability("IMMUTABLE").unwrap();
    put(&world, MANIFEST, "v1").unwrap();
    let other = MANIFEST.replace('2', "3");
    assert_eq!(code(put(&world, &other, "v1")), "ImageTagAlreadyExistsException");
    mutability("MUTABLE").unwrap();
    put(&world, &other, "v1").unwrap();
    mutability("IMMUTABLE").unwrap();
    assert_eq!(code(put(&world, MANIFEST, "v1")), "ImageTagAlreadyExistsException");
    assert_eq!(code(mutability("SOMETIMES")), "InvalidParameterException");

    let arn = Some("arn:aws:ecr:us-east-1:000000000000:repository/api".to_owned());
    let tag = aws::Tag { key: Some("team".into()), value: Some("board".into()) };
    world
        .call::<op::TagResource>(aws::TagResourceRequest { resource_arn: arn.clone(), tags: Some(vec![tag.clone()]) })
        .unwrap();
    let list = || {
        let input = aws::ListTagsForResourceRequest { resource_arn: arn.clone() };
        world.call::<op::ListTagsForResource>(input).unwrap().tags.unwrap()
    };
    assert_eq!(list(), [tag]);
    world
        .call::<op::UntagResource>(aws::UntagResourceRequest {
            resource_arn: arn.clone(),
            tag_keys: Some(vec!["team".into()]),
        })
        .unwrap();
    assert!(list().is_empty());

    let policy = aws::GetLifecyclePolicyRequest { repository_name: Some("api".into()), ..Default::default() };
    assert_eq!(code(world.call::<op::GetLifecyclePolicy>(policy)), "LifecyclePolicyNotFoundException");
    let policy = aws::PutLifecyclePolicyRequest {
        repository_name: Some("api".into()),
        lifecycle_policy_text: Some("{}".into()),
        ..Default::default()
    };
    assert_eq!(code(world.call::<op::PutLifecyclePolicy>(policy)), "InvalidParameterException");
}

#[test]
fn a_repository_s_policy_is_set_shown_and_deleted() {
    let world = World::new(register);
    create(&world, "api").unwrap();
    let name = || Some("api".to_owned());
    let set = |text: &str| {
        let policy_text = Some(text.to_owned());
        let input = aws::SetRepositoryPolicyRequest { repository_name: name(), policy_text, ..Default::default() };
        world.call::<op::SetRepositoryPolicy>(input)
    };
    let get = || {
        let input = aws::GetRepositoryPolicyRequest { repository_name: name(), ..Default::default() };
        world.call::<op::GetRepositoryPolicy>(input)
    };
    let delete = || {
        let input = aws::DeleteRepositoryPolicyRequest { repository_name: name(), ..Default::default() };
        world.call::<op::DeleteRepositoryPolicy>(input)
    };
    let statement = |effect: &str| {
        format!(r#"{{"Statement":{{"Effect":"{effect}","Principal":"*","Action":"ecr:BatchGetImage"}}}}"#)
    };
    assert_eq!(code(get()), "RepositoryPolicyNotFoundException");
    assert_eq!(code(delete()), "RepositoryPolicyNotFoundException");
    let allowed = statement("Allow");
    set(&allowed).unwrap();
    set(&statement("Deny")).unwrap();
    set(&allowed).unwrap();
    for refused in ["{}", &statement("Perhaps")] {
        assert_eq!(code(set(refused)), "InvalidParameterException");
    }
    assert_eq!(get().unwrap().policy_text.as_deref(), Some(allowed.as_str()));
    assert_eq!(delete().unwrap().policy_text, Some(allowed));
    assert_eq!(code(get()), "RepositoryPolicyNotFoundException");
}

#[test]
fn after_a_crash_between_the_two_store_and_catalogue_agree() {
    let world = World::new(register);
    create(&world, "lost").unwrap();
    world.catalog.delete_repository("lost", true).unwrap();
    world.catalog.create_repository("found", false).unwrap();
    reconcile(&world.platform, &world.operations);
    let auth = TokenAuth::new(world.platform.clone());
    let known = world.call::<op::DescribeRepositories>(Default::default()).unwrap().repositories.unwrap();
    let names: Vec<_> = known.into_iter().filter_map(|repository| repository.repository_name).collect();
    assert_eq!(names, ["found", "lost"]);
    assert_eq!(world.catalog.repositories().unwrap(), ["found", "lost"]);
    let data = world.call::<op::GetAuthorizationToken>(Default::default()).unwrap().authorization_data.unwrap();
    assert_eq!(data[0].proxy_endpoint.as_deref(), Some("http://localhost:4566"));
    let header = format!("Basic {}", data[0].authorization_token.as_deref().unwrap());
    assert_eq!(auth.allows(Some(&header), None), RegistryAccess::Allowed);
}

#[test]
fn an_undone_transaction_stands_in_nobodys_way() {
    let world = World::new(register);
    let undone = |change: &dyn Fn(&mut crate::api::Ctx<'_>) -> Result<(), ServiceError>| {
        let result: Result<(), ServiceError> = world.transact(|ctx| {
            change(ctx)?;
            Err(ServiceError::new("Undone", "", 400))
        });
        assert_eq!(result.unwrap_err().code, "Undone");
    };
    undone(&|ctx| {
        let input = aws::CreateRepositoryRequest { repository_name: Some("api".into()), ..Default::default() };
        ctx.invoke::<op::CreateRepository>(input).map(drop)
    });
    create(&world, "api").unwrap();
    assert_eq!(code(create(&world, "api")), "RepositoryAlreadyExistsException");
    undone(&|ctx| {
        let input = aws::DeleteRepositoryRequest { repository_name: Some("api".into()), ..Default::default() };
        ctx.invoke::<op::DeleteRepository>(input).map(drop)
    });
    delete(&world, "api", false).unwrap();
    assert!(world.catalog.repositories().unwrap().is_empty());
}

#[test]
fn images_expire_by_a_lifecycle_policy_and_a_preview_says_which() {
    let world = World::new(register);
    create(&world, "api").unwrap();
    for (spaces, tag) in ["prod-1", "dev-1", "dev-2"].into_iter().enumerate() {
        put(&world, &format!("{MANIFEST}{}", " ".repeat(spaces)), tag).unwrap();
    }
    let text = r#"{"rules":[
        {"rulePriority":1,"selection":{"tagStatus":"tagged","tagPrefixList":["prod"],"countType":"imageCountMoreThan","countNumber":5},"action":{"type":"expire"}},
        {"rulePriority":2,"selection":{"tagStatus":"any","countType":"sinceImagePushed","countUnit":"days","countNumber":30},"action":{"type":"expire"}}]}"#;
    let name = || Some("api".to_owned());
    let preview = || {
        let input = aws::GetLifecyclePolicyPreviewRequest { repository_name: name(), ..Default::default() };
        world.call::<op::GetLifecyclePolicyPreview>(input)
    };
    let start = |text: Option<&str>| {
        let input = aws::StartLifecyclePolicyPreviewRequest {
            repository_name: name(),
            lifecycle_policy_text: text.map(str::to_owned),
            ..Default::default()
        };
        world.call::<op::StartLifecyclePolicyPreview>(input)
    };
    assert_eq!(code(preview()), "LifecyclePolicyPreviewNotFoundException");
    assert_eq!(code(start(None)), "LifecyclePolicyNotFoundException");
    start(Some(text)).unwrap();
    let seen = preview().unwrap();
    assert_eq!(seen.status.as_deref(), Some("COMPLETE"));
    assert_eq!(seen.summary.unwrap().expiring_image_total_count, Some(2));
    assert!(seen.preview_results.unwrap().iter().all(|image| image.applied_rule_priority == Some(2)));
    assert_eq!(tags(&world).len(), 3, "a preview deletes nothing");

    let input = aws::PutLifecyclePolicyRequest {
        repository_name: name(),
        lifecycle_policy_text: Some(text.into()),
        ..Default::default()
    };
    world.call::<op::PutLifecyclePolicy>(input).unwrap();
    super::lifecycle::pass(&world.platform).unwrap();
    assert_eq!(tags(&world), ["prod-1"]);
    let get = || {
        let input = aws::GetLifecyclePolicyRequest { repository_name: name(), ..Default::default() };
        world.call::<op::GetLifecyclePolicy>(input)
    };
    let policy = get().unwrap();
    assert_eq!(policy.lifecycle_policy_text.as_deref(), Some(text));
    assert!(policy.last_evaluated_at.is_some());
    let input = aws::DeleteLifecyclePolicyRequest { repository_name: name(), ..Default::default() };
    world.call::<op::DeleteLifecyclePolicy>(input).unwrap();
    assert_eq!(code(get()), "LifecyclePolicyNotFoundException");
}

#[test]
fn the_registry_is_described_and_nothing_is_scanned() {
    let world = World::new(register);
    create(&world, "api").unwrap();
    put(&world, MANIFEST, "v1").unwrap();
    let registry = world.call::<op::DescribeRegistry>(Default::default()).unwrap();
    assert_eq!(registry.registry_id.as_deref(), Some("000000000000"));
    assert_eq!(registry.replication_configuration.unwrap().rules, Some(Vec::new()));
    let id = |tag: &str| Some(aws::ImageIdentifier { image_tag: Some(tag.into()), image_digest: None });
    let scan = |tag: &str| {
        let input =
            aws::StartImageScanRequest { repository_name: Some("api".into()), image_id: id(tag), ..Default::default() };
        world.call::<op::StartImageScan>(input)
    };
    assert_eq!(code(scan("v1")), "UnsupportedImageTypeException");
    assert_eq!(code(scan("gone")), "ImageNotFoundException");
    let input = aws::DescribeImageScanFindingsRequest {
        repository_name: Some("api".into()),
        image_id: id("v1"),
        ..Default::default()
    };
    assert_eq!(code(world.call::<op::DescribeImageScanFindings>(input)), "ScanNotFoundException");
}
