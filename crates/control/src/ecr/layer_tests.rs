//! Layers in parts through `Operations`.

use super::auth::Tokens;
use super::{TokenAuth, register};
use crate::testing::World;
use quarry_aws::ecr::{self as aws, op};
use quarry_domain::image::{ImageCatalog, RegistryAuth};
use quarry_wire::hash::sha256;
use quarry_wire::{Blob, ServiceError};
use serde_json::json;

const LAYER: &[u8] = b"a layer";

fn world() -> World {
    let world = World::new(register);
    let input = aws::CreateRepositoryRequest { repository_name: name(), ..Default::default() };
    world.call::<op::CreateRepository>(input).unwrap();
    world
}

fn name() -> Option<String> {
    Some("api".into())
}

fn digest() -> String {
    format!("sha256:{}", sha256(LAYER))
}

fn begin(world: &World) -> String {
    let input = aws::InitiateLayerUploadRequest { repository_name: name(), ..Default::default() };
    let begun = world.call::<op::InitiateLayerUpload>(input).unwrap();
    assert_eq!(begun.part_size, Some(10_485_760));
    begun.upload_id.unwrap()
}

fn part(world: &World, id: &str, first: i64, last: i64, bytes: &[u8]) -> Result<i64, ServiceError> {
    let input = aws::UploadLayerPartRequest {
        repository_name: name(),
        upload_id: Some(id.into()),
        part_first_byte: Some(first),
        part_last_byte: Some(last),
        layer_part_blob: Some(Blob(bytes.to_vec())),
        ..Default::default()
    };
    Ok(world.call::<op::UploadLayerPart>(input)?.last_byte_received.unwrap())
}

fn complete(world: &World, id: &str, digest: &str) -> Result<String, ServiceError> {
    let input = aws::CompleteLayerUploadRequest {
        repository_name: name(),
        upload_id: Some(id.into()),
        layer_digests: Some(vec![digest.into()]),
        ..Default::default()
    };
    Ok(world.call::<op::CompleteLayerUpload>(input)?.layer_digest.unwrap())
}

fn download(world: &World, digest: &str) -> Result<String, ServiceError> {
    let input = aws::GetDownloadUrlForLayerRequest {
        repository_name: name(),
        layer_digest: Some(digest.into()),
        ..Default::default()
    };
    Ok(world.call::<op::GetDownloadUrlForLayer>(input)?.download_url.unwrap())
}

fn code<T: std::fmt::Debug>(result: Result<T, ServiceError>) -> String {
    result.expect_err("it is refused").code
}

#[test]
fn a_layer_in_parts() {
    let world = world();
    let id = begin(&world);
    assert_eq!(code(complete(&world, &id, &digest())), "EmptyUploadException");
    let refused = part(&world, &id, 1, 7, LAYER).unwrap_err();
    assert_eq!((refused.code.as_str(), refused.status), ("InvalidLayerPartException", 400));
    assert_eq!(refused.details.get("lastValidByteReceived"), None, "nothing has come");
    assert_eq!(part(&world, &id, 0, 1, &LAYER[..2]).unwrap(), 1);
    // Not after the last byte; not of the size announced; backwards; empty.
    for (first, last, bytes) in [(0, 1, &LAYER[..2]), (2, 9, &LAYER[2..]), (2, 1, b"x"), (2, 1, b"")] {
        let refused = part(&world, &id, first, last, bytes).unwrap_err();
        assert_eq!(refused.code, "InvalidLayerPartException", "{first}-{last}");
        let details =
            json!({"registryId": "000000000000", "repositoryName": "api", "uploadId": id, "lastValidByteReceived": 1});
        assert_eq!(serde_json::Value::Object(refused.details), details, "{first}-{last}");
    }
    assert_eq!(part(&world, &id, 2, 6, &LAYER[2..]).unwrap(), 6);
    let other = format!("sha256:{}", sha256(b"other"));
    assert_eq!(code(complete(&world, &id, &other)), "InvalidLayerException");
    assert_eq!(code(complete(&world, &id, "md5:00")), "InvalidParameterException");
    assert_eq!(complete(&world, &id, &digest()).unwrap(), digest());
    for refused in [complete(&world, &id, &digest()).map(drop), part(&world, &id, 0, 6, LAYER).map(drop)] {
        assert_eq!(code(refused), "UploadNotFoundException");
    }
    let again = begin(&world);
    part(&world, &again, 0, 6, LAYER).unwrap();
    assert_eq!(code(complete(&world, &again, &digest())), "LayerAlreadyExistsException");
}

#[test]
fn which_layers_are_there_and_where_to_read_them() {
    let world = world();
    let id = begin(&world);
    assert_eq!(code(download(&world, &digest())), "LayersNotFoundException");
    part(&world, &id, 0, 6, LAYER).unwrap();
    complete(&world, &id, &digest()).unwrap();
    let absent = format!("sha256:{}", sha256(b"absent"));
    let input = aws::BatchCheckLayerAvailabilityRequest {
        repository_name: name(),
        layer_digests: Some(vec![digest(), absent, "nonsense".into(), String::new()]),
        ..Default::default()
    };
    let checked = world.call::<op::BatchCheckLayerAvailability>(input).unwrap();
    let layers: Vec<_> =
        checked.layers.unwrap().into_iter().map(|l| (l.layer_availability.unwrap(), l.layer_size)).collect();
    assert_eq!(layers, [("AVAILABLE".to_owned(), Some(7)), ("UNAVAILABLE".to_owned(), None)]);
    let failures: Vec<_> = checked.failures.unwrap().into_iter().map(|f| f.failure_code.unwrap()).collect();
    assert_eq!(failures, ["InvalidLayerDigest", "MissingLayerDigest"]);

    assert_eq!(code(download(&world, &digest())), "LayerInaccessibleException");
    assert_eq!(code(download(&world, "md5:00")), "InvalidParameterException");
    let manifest = json!({"schemaVersion": 2, "layers": [{"digest": digest()}]}).to_string();
    world.catalog.put_manifest("api", Some("v1"), "application/json", manifest.as_bytes()).unwrap();
    Tokens::open(&world.platform).unwrap();
    let url = download(&world, &digest()).unwrap();
    let place = format!("http://localhost:4566/v2/api/blobs/{}?grant=", digest());
    let grant = url.strip_prefix(&place).unwrap_or_else(|| panic!("{url}"));
    let auth = TokenAuth::new(world.platform.clone());
    assert!(auth.allows_download("api", &digest(), grant));
    assert!(!auth.allows_download("api", "sha256:other", grant));
}

#[test]
fn a_repository_that_is_not_there() {
    let world = World::new(register);
    let input = aws::InitiateLayerUploadRequest { repository_name: name(), ..Default::default() };
    assert_eq!(code(world.call::<op::InitiateLayerUpload>(input)), "RepositoryNotFoundException");
    assert_eq!(code(download(&world, &digest())), "RepositoryNotFoundException");
}
