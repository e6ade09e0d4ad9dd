//! Secrets through `Operations`.

use super::{purge, records, register};
use crate::testing::World;
use quarry_aws::secretsmanager::{self as aws, op};
use quarry_wire::{Blob, Operation, ServiceError};
use std::collections::BTreeMap;
use std::time::Duration;

const VALUE: &str = "correct horse battery staple";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn token(n: u32) -> String {
    format!("{n:032}")
}

fn create(world: &World, name: &str, value: &str) -> Result<aws::CreateSecretResponse, ServiceError> {
    world.call::<op::CreateSecret>(aws::CreateSecretRequest {
        name: Some(name.into()),
        secret_string: Some(value.into()),
        client_request_token: Some(token(1)),
        ..Default::default()
    })
}

fn put(world: &World, id: &str, n: u32, value: &str, stages: Option<&[&str]>) -> Result<Vec<String>, ServiceError> {
    let output = world.call::<op::PutSecretValue>(aws::PutSecretValueRequest {
        secret_id: Some(id.into()),
        secret_string: Some(value.into()),
        client_request_token: Some(token(n)),
        version_stages: stages.map(|stages| stages.iter().map(|&s| s.to_owned()).collect()),
        ..Default::default()
    })?;
    Ok(output.version_stages.unwrap())
}

fn get(world: &World, id: &str, version: Option<u32>, stage: Option<&str>) -> Result<String, ServiceError> {
    let output = world.call::<op::GetSecretValue>(aws::GetSecretValueRequest {
        secret_id: Some(id.into()),
        version_id: version.map(token),
        version_stage: stage.map(str::to_owned),
    })?;
    Ok(output.secret_string.unwrap())
}

fn stages(world: &World, id: &str) -> BTreeMap<String, Vec<String>> {
    let input = aws::DescribeSecretRequest { secret_id: Some(id.into()) };
    world.call::<op::DescribeSecret>(input).unwrap().version_ids_to_stages.unwrap_or_default()
}

fn delete(world: &World, id: &str, days: Option<i64>, force: bool) -> Result<aws::DeleteSecretResponse, ServiceError> {
    world.call::<op::DeleteSecret>(aws::DeleteSecretRequest {
        secret_id: Some(id.into()),
        recovery_window_in_days: days,
        force_delete_without_recovery: force.then_some(true),
    })
}

fn refused<T>(result: Result<T, ServiceError>, code: &str, words: &str) {
    let error = result.err().expect("it is refused");
    assert_eq!(error.code, code, "{}", error.message);
    assert!(error.message.contains(words), "{}", error.message);
}

/// What the input lacks to be complete is refused, and nothing is served twice.
#[test]
fn all_operations_are_served() {
    let mut operations = crate::api::Operations::default();
    register(&mut operations);
    assert_eq!(operations.names().filter(|(service, _)| *service == op::CreateSecret::service().id).count(), 18);
}

#[test]
fn a_value_is_found_by_every_name_and_is_nowhere_in_clear() {
    let world = World::new(register);
    let made = create(&world, "prod/db-pass", VALUE).unwrap();
    let arn = made.arn.unwrap();
    assert_eq!(made.version_id, Some(token(1)));
    let (partial, suffix) = arn.rsplit_once('-').unwrap();
    assert!(partial.ends_with(":secret:prod/db-pass") && suffix.len() == 6, "{arn}");
    for id in [arn.as_str(), partial, "prod/db-pass"] {
        assert_eq!(get(&world, id, None, None).unwrap(), VALUE, "{id}");
    }
    for id in ["prod/db", "prod/db-pass-abcdef", &arn.replace("us-east-1", "us-west-2"), &format!("{partial}-zzzzzz")] {
        refused(get(&world, id, None, None), "ResourceNotFoundException", "can't find the specified secret");
    }
    let input = aws::CreateSecretRequest {
        name: Some("binary".into()),
        secret_binary: Some(Blob(vec![0, 255, 1])),
        ..Default::default()
    };
    world.call::<op::CreateSecret>(input).unwrap();
    let read = aws::GetSecretValueRequest { secret_id: Some("binary".into()), ..Default::default() };
    let read = world.call::<op::GetSecretValue>(read).unwrap();
    assert_eq!((read.secret_binary, read.secret_string), (Some(Blob(vec![0, 255, 1])), None));
    for file in std::fs::read_dir(world.dir()).unwrap() {
        let path = file.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        assert!(!bytes.windows(VALUE.len()).any(|part| part == VALUE.as_bytes()), "{}", path.display());
    }
    let key = world.dir().join("vault.key");
    std::fs::write(&key, [7u8; 32]).unwrap();
    let other = World::open(world.dir(), register);
    refused(get(&other, "prod/db-pass", None, None), "DecryptionFailure", "can't decrypt");
}

#[test]
fn names_tokens_and_values_are_checked() {
    let world = World::new(register);
    create(&world, "a", "1").unwrap();
    assert_eq!(create(&world, "a", "1").unwrap().version_id, Some(token(1)), "the same request again");
    refused(create(&world, "a", "2"), "ResourceExistsException", "the secret a already exists");
    refused(create(&world, "a b", "1"), "ValidationException", "Invalid name");
    let with = |change: &dyn Fn(&mut aws::CreateSecretRequest)| {
        let mut input = aws::CreateSecretRequest { name: Some("b".into()), ..Default::default() };
        change(&mut input);
        world.call::<op::CreateSecret>(input)
    };
    let both = with(&|i| (i.secret_string, i.secret_binary) = (Some("x".into()), Some(Blob(vec![1]))));
    refused(both, "InvalidParameterException", "both a binary");
    refused(with(&|i| i.client_request_token = Some("short".into())), "InvalidParameterException", "32-64");
    refused(with(&|i| i.kms_key_id = Some("alias/own".into())), "EncryptionFailure", "alias/own");
    let region = aws::ReplicaRegionType { region: Some("eu-west-1".into()), kms_key_id: None };
    refused(with(&|i| i.add_replica_regions = Some(vec![region.clone()])), "InvalidParameterException", "Replicas");
    let tag = |key: &str| vec![aws::Tag { key: Some(key.into()), value: None }];
    refused(with(&|i| i.tags = Some(tag("aws:x"))), "InvalidParameterException", "reserved");
    refused(get(&world, "b", None, None), "ResourceNotFoundException", "");
    // A secret may be made without a value.
    assert_eq!(with(&|_| ()).unwrap().version_id, None);
    refused(get(&world, "b", None, None), "ResourceNotFoundException", "staging label: AWSCURRENT");
    let nothing = aws::PutSecretValueRequest { secret_id: Some("b".into()), ..Default::default() };
    refused(
        world.call::<op::PutSecretValue>(nothing),
        "InvalidRequestException",
        "either SecretString or SecretBinary",
    );
    // The first version is current whatever labels it is given.
    put(&world, "b", 7, "first", Some(&["MINE"])).unwrap();
    assert_eq!(get(&world, "b", None, None).unwrap(), "first");
}

#[test]
fn labels_move_with_the_versions() {
    let world = World::new(register);
    create(&world, "a", "one").unwrap();
    assert_eq!(put(&world, "a", 2, "two", None).unwrap(), ["AWSCURRENT"]);
    assert_eq!(put(&world, "a", 2, "two", None).unwrap(), ["AWSCURRENT"], "the same request again");
    refused(put(&world, "a", 2, "other", None), "ResourceExistsException", "already in use");
    put(&world, "a", 3, "three", Some(&["AWSPENDING"])).unwrap();
    let expected = |pairs: &[(u32, &str)]| -> BTreeMap<String, Vec<String>> {
        pairs.iter().map(|(n, label)| (token(*n), vec![(*label).to_owned()])).collect()
    };
    assert_eq!(stages(&world, "a"), expected(&[(1, "AWSPREVIOUS"), (2, "AWSCURRENT"), (3, "AWSPENDING")]));
    assert_eq!(get(&world, "a", None, None).unwrap(), "two");
    assert_eq!(get(&world, "a", None, Some("AWSPREVIOUS")).unwrap(), "one");
    assert_eq!(get(&world, "a", Some(3), Some("AWSPENDING")).unwrap(), "three");
    refused(get(&world, "a", Some(3), Some("AWSCURRENT")), "InvalidRequestException", "not associated");
    refused(get(&world, "a", Some(9), None), "ResourceNotFoundException", "VersionId");

    let stage = |label: &str, to: Option<u32>, from: Option<u32>| {
        world.call::<op::UpdateSecretVersionStage>(aws::UpdateSecretVersionStageRequest {
            secret_id: Some("a".into()),
            version_stage: Some(label.into()),
            move_to_version_id: to.map(token),
            remove_from_version_id: from.map(token),
        })
    };
    refused(stage("AWSCURRENT", Some(3), None), "InvalidParameterException", "RemoveFromVersionId can't be empty");
    refused(stage("AWSCURRENT", Some(3), Some(1)), "InvalidParameterException", "not currently attached");
    refused(stage("AWSCURRENT", None, Some(2)), "InvalidParameterException", "can't be completely removed");
    refused(stage("X", Some(9), None), "ResourceNotFoundException", "version");
    refused(stage("X", None, None), "InvalidParameterException", "or both");
    stage("AWSCURRENT", Some(3), Some(2)).unwrap();
    stage("AWSPENDING", None, Some(3)).unwrap();
    assert_eq!(stages(&world, "a"), expected(&[(2, "AWSPREVIOUS"), (3, "AWSCURRENT")]));
    let versions = |all: bool| {
        let input = aws::ListSecretVersionIdsRequest {
            secret_id: Some("a".into()),
            include_deprecated: Some(all),
            ..Default::default()
        };
        world.call::<op::ListSecretVersionIds>(input).unwrap().versions.unwrap().len()
    };
    assert_eq!((versions(false), versions(true)), (2, 3));
    // Back: what was previous is current again, and the other way round.
    stage("AWSCURRENT", Some(2), Some(3)).unwrap();
    assert_eq!(stages(&world, "a"), expected(&[(2, "AWSCURRENT"), (3, "AWSPREVIOUS")]));
    let update = |value: Option<&str>| {
        world.call::<op::UpdateSecret>(aws::UpdateSecretRequest {
            secret_id: Some("a".into()),
            description: Some("the database".into()),
            secret_string: value.map(str::to_owned),
            client_request_token: Some(token(4)),
            ..Default::default()
        })
    };
    assert_eq!(update(None).unwrap().version_id, None);
    assert_eq!(update(Some("four")).unwrap().version_id, Some(token(4)));
    assert_eq!(get(&world, "a", None, None).unwrap(), "four");
    for n in 10..200 {
        put(&world, "a", n, "many", Some(&["SCRATCH"])).unwrap();
    }
    let stored = || world.platform.store.read(|tx| tx.all::<records::Version>()).unwrap().len();
    assert_eq!(stored(), 194, "versions of today stay");
    world.door.advance(DAY * 2);
    put(&world, "a", 300, "last", Some(&["SCRATCH"])).unwrap();
    assert_eq!(stored(), 103, "old versions without labels beyond a hundred go");
}

#[test]
fn a_deleted_secret_can_come_back_until_its_window_has_passed() {
    let world = World::new(register);
    create(&world, "a", "one").unwrap();
    refused(delete(&world, "a", Some(6), false), "InvalidParameterException", "between 7 and 30");
    refused(delete(&world, "a", Some(7), true), "InvalidParameterException", "in conjunction");
    delete(&world, "a", Some(7), false).unwrap();
    refused(delete(&world, "a", Some(7), false), "InvalidRequestException", "already scheduled");
    refused(get(&world, "a", None, None), "InvalidRequestException", "marked for deletion");
    refused(put(&world, "a", 2, "two", None), "InvalidRequestException", "marked for deletion");
    refused(create(&world, "a", "one"), "InvalidRequestException", "already scheduled for deletion");
    let listed = |planned: bool| {
        let input = aws::ListSecretsRequest { include_planned_deletion: Some(planned), ..Default::default() };
        world.call::<op::ListSecrets>(input).unwrap().secret_list.unwrap().len()
    };
    assert_eq!((listed(false), listed(true)), (0, 1));
    let restore = || world.call::<op::RestoreSecret>(aws::RestoreSecretRequest { secret_id: Some("a".into()) });
    restore().unwrap();
    assert_eq!(get(&world, "a", None, None).unwrap(), "one");
    delete(&world, "a", None, false).unwrap();
    world.door.advance(DAY * 30);
    refused(restore(), "ResourceNotFoundException", "");
    let stored = || world.platform.store.read(|tx| tx.all::<records::Version>()).unwrap().len();
    assert_eq!(stored(), 1);
    purge::pass(&world.platform).unwrap();
    assert_eq!(stored(), 0, "the values are gone, too");
    create(&world, "a", "new").unwrap();
    delete(&world, "a", None, true).unwrap();
    refused(get(&world, "a", None, None), "ResourceNotFoundException", "");
    delete(&world, "a", None, true).unwrap();
    refused(delete(&world, "a", None, false), "ResourceNotFoundException", "");
}

#[test]
fn listings_filter_sort_and_page() {
    let world = World::new(register);
    for (name, description, key) in
        [("prod/db", "Main database", "team"), ("prod/api", "Key of the API", "stage"), ("test/db", "", "team")]
    {
        let input = aws::CreateSecretRequest {
            name: Some(name.into()),
            description: Some(description.into()),
            secret_string: Some(name.into()),
            tags: Some(vec![aws::Tag { key: Some(key.into()), value: Some("x".into()) }]),
            ..Default::default()
        };
        world.call::<op::CreateSecret>(input).unwrap();
        world.door.advance(DAY);
    }
    let filter = |key: &str, values: &[&str]| aws::Filter {
        key: Some(key.into()),
        values: Some(values.iter().map(|&v| v.to_owned()).collect()),
    };
    let list = |filters: Vec<aws::Filter>, order: &str| {
        let input = aws::ListSecretsRequest {
            filters: Some(filters),
            sort_order: Some(order.into()),
            sort_by: Some("name".into()),
            ..Default::default()
        };
        let found = world.call::<op::ListSecrets>(input).unwrap().secret_list.unwrap();
        found.into_iter().filter_map(|secret| secret.name).collect::<Vec<_>>()
    };
    assert_eq!(list(vec![filter("name", &["prod/"])], "asc"), ["prod/api", "prod/db"]);
    assert_eq!(list(vec![filter("name", &["!prod/"])], "asc"), ["test/db"]);
    assert_eq!(list(vec![filter("description", &["datab"])], "asc"), ["prod/db"]);
    assert_eq!(list(vec![filter("all", &["DB"])], "desc"), ["test/db", "prod/db"]);
    assert_eq!(list(vec![filter("tag-key", &["team"]), filter("name", &["test"])], "asc"), ["test/db"]);
    assert!(list(vec![filter("owning-service", &["rds"])], "asc").is_empty());
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let input = aws::ListSecretsRequest { max_results: Some(2), next_token: token, ..Default::default() };
        let page = world.call::<op::ListSecrets>(input).unwrap();
        names.extend(page.secret_list.unwrap().into_iter().filter_map(|secret| secret.name));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["prod/db", "prod/api", "test/db"]);
    let batch = |ids: Option<&[&str]>, filters: Option<Vec<aws::Filter>>| {
        world.call::<op::BatchGetSecretValue>(aws::BatchGetSecretValueRequest {
            secret_id_list: ids.map(|ids| ids.iter().map(|&id| id.to_owned()).collect()),
            filters,
            ..Default::default()
        })
    };
    let found = batch(Some(&["prod/db", "gone"]), None).unwrap();
    assert_eq!(found.secret_values.unwrap()[0].secret_string.as_deref(), Some("prod/db"));
    assert_eq!(found.errors.unwrap()[0].error_code.as_deref(), Some("ResourceNotFoundException"));
    assert_eq!(batch(None, Some(vec![filter("name", &["prod"])])).unwrap().secret_values.unwrap().len(), 2);
    refused(batch(None, None), "InvalidParameterException", "but not both");
}

#[test]
fn policies_are_validated_and_tags_change() {
    let world = World::new(register);
    create(&world, "a", "1").unwrap();
    let everyone = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}]}"#;
    let one = everyone.replace(r#""*","Action""#, r#"{"AWS":"arn:aws:iam::000000000000:role/api"},"Action""#);
    let put = |policy: &str, block: bool| {
        world.call::<op::PutResourcePolicy>(aws::PutResourcePolicyRequest {
            secret_id: Some("a".into()),
            resource_policy: Some(policy.into()),
            block_public_policy: Some(block),
        })
    };
    let read = || {
        let input = aws::GetResourcePolicyRequest { secret_id: Some("a".into()) };
        world.call::<op::GetResourcePolicy>(input).unwrap().resource_policy
    };
    refused(put("{", false), "MalformedPolicyDocumentException", "invalid Json");
    refused(put(everyone, true), "PublicPolicyException", "broad access");
    assert_eq!(read(), None);
    put(&one, true).unwrap();
    assert_eq!(read(), Some(one.clone()));
    let validate = |policy: &str| {
        let input = aws::ValidateResourcePolicyRequest { secret_id: None, resource_policy: Some(policy.into()) };
        world.call::<op::ValidateResourcePolicy>(input).unwrap().policy_validation_passed.unwrap()
    };
    assert_eq!((validate(&one), validate(everyone), validate("[]")), (true, false, false));
    let input = aws::DeleteResourcePolicyRequest { secret_id: Some("a".into()) };
    world.call::<op::DeleteResourcePolicy>(input).unwrap();
    assert_eq!(read(), None);
    let tags = |n: usize| {
        let tag = |n: usize| aws::Tag { key: Some(format!("k{n}")), value: Some("v".into()) };
        let input = aws::TagResourceRequest { secret_id: Some("a".into()), tags: Some((0..n).map(tag).collect()) };
        world.call::<op::TagResource>(input)
    };
    refused(tags(51), "InvalidParameterException", "50");
    tags(2).unwrap();
    let input = aws::UntagResourceRequest { secret_id: Some("a".into()), tag_keys: Some(vec!["k0".into()]) };
    world.call::<op::UntagResource>(input).unwrap();
    let described = world.call::<op::DescribeSecret>(aws::DescribeSecretRequest { secret_id: Some("a".into()) });
    assert_eq!(described.unwrap().tags.unwrap()[0].key.as_deref(), Some("k1"));
}

#[test]
fn passwords_hold_what_is_asked_for() {
    let world = World::new(register);
    let draw = |input: aws::GetRandomPasswordRequest| {
        world.call::<op::GetRandomPassword>(input).map(|output| output.random_password.unwrap())
    };
    for _ in 0..50 {
        let password = draw(aws::GetRandomPasswordRequest { password_length: Some(4), ..Default::default() }).unwrap();
        assert_eq!(password.len(), 4);
        assert!(password.contains(|c: char| c.is_ascii_lowercase()), "{password}");
        assert!(password.contains(|c: char| c.is_ascii_uppercase()), "{password}");
        assert!(password.contains(|c: char| c.is_ascii_digit()), "{password}");
        assert!(password.contains(|c: char| c.is_ascii_punctuation()), "{password}");
    }
    assert_eq!(draw(aws::GetRandomPasswordRequest::default()).unwrap().len(), 32);
    let only = aws::GetRandomPasswordRequest {
        exclude_lowercase: Some(true),
        exclude_uppercase: Some(true),
        exclude_punctuation: Some(true),
        exclude_characters: Some("01234567".into()),
        password_length: Some(200),
        ..Default::default()
    };
    let digits = draw(only.clone()).unwrap();
    assert!(digits.len() == 200 && digits.bytes().all(|b| b == b'8' || b == b'9'), "{digits}");
    let none = aws::GetRandomPasswordRequest { exclude_numbers: Some(true), ..only };
    refused(draw(none), "InvalidParameterException", "excluded");
    let short = aws::GetRandomPasswordRequest { password_length: Some(3), ..Default::default() };
    refused(draw(short), "InvalidParameterException", "too short");
}
