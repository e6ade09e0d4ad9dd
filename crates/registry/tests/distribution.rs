//! Push, pull, lists and deletion over HTTP.

mod support;

use quarry_domain::image::{CatalogError, Collected, ImageCatalog};
use quarry_registry::Digest;
use support::{Auth, OCI, Server, config, manifest};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_pulled() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("team/api");
    // Larger than one piece of a streamed body.
    let layer: Vec<u8> = (0..700_001u32).map(|i| (i * 7 % 251) as u8).collect();
    let image = server.push_image("team/api", "v1", &layer).await;
    let blob = Digest::of(&layer);

    assert_eq!(server.get("/v2/").await.header("docker-distribution-api-version"), "registry/2.0");
    let got = server.get(&format!("/v2/team/api/blobs/{blob}")).await;
    assert_eq!((got.status.as_u16(), got.body == layer), (200, true));
    let head = server.call("HEAD", &format!("/v2/team/api/blobs/{blob}"), &[], "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "700001"));
    assert_eq!(head.header("docker-content-digest"), blob.as_str());
    let part = server.call("GET", &format!("/v2/team/api/blobs/{blob}"), &[("range", "bytes=299990-600000")], "").await;
    assert_eq!((part.status.as_u16(), part.header("content-range")), (206, "bytes 299990-600000/700001"));
    assert!(part.body == layer[299_990..=600_000]);
    let none = server.call("GET", &format!("/v2/team/api/blobs/{blob}"), &[("range", "bytes=700001-")], "").await;
    assert_eq!((none.status.as_u16(), none.header("content-range")), (416, "bytes */700001"));

    let expected = manifest(&config(std::env::consts::ARCH, &layer), &layer);
    for reference in ["v1", image.as_str()] {
        let got = server.get(&format!("/v2/team/api/manifests/{reference}")).await;
        assert_eq!((got.status.as_u16(), &got.body[..]), (200, &expected[..]));
        assert_eq!((got.header("content-type"), got.header("docker-content-digest")), (OCI, image.as_str()));
        let head = server.call("HEAD", &format!("/v2/team/api/manifests/{reference}"), &[], "").await;
        assert_eq!(head.header("content-length"), expected.len().to_string());
    }
    let images = server.registry.images("team/api").unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!((images[0].digest.as_str(), images[0].size), (image.as_str(), 700_001));
    assert_eq!(images[0].tags, ["v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (image, port) = {
        let server = Server::start(dir.path()).await;
        server.create("api");
        (server.push_image("api", "v1", b"layer").await, server.port)
    };
    let server = Server::start(dir.path()).await;
    assert_ne!(server.port, port);
    let got = server.get("/v2/api/manifests/v1").await;
    assert_eq!((got.status.as_u16(), got.header("docker-content-digest")), (200, image.as_str()));
    let layer = server.get(&format!("/v2/api/blobs/{}", Digest::of(b"layer"))).await;
    assert_eq!(&layer.body[..], b"layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    for name in ["users", "threads", "posts"] {
        server.create(name);
    }
    for tag in ["v2", "v1", "latest"] {
        server.push_image("posts", tag, b"layer").await;
    }
    let all = server.get("/v2/posts/tags/list").await;
    assert_eq!(all.json(), serde_json::json!({"name": "posts", "tags": ["latest", "v1", "v2"]}));
    assert_eq!(all.header("link"), "");
    let first = server.get("/v2/posts/tags/list?n=2").await;
    assert_eq!(first.json()["tags"], serde_json::json!(["latest", "v1"]));
    assert_eq!(first.header("link"), "</v2/posts/tags/list?n=2&last=v1>; rel=\"next\"");
    let second = server.get("/v2/posts/tags/list?n=2&last=v1").await;
    assert_eq!((second.json()["tags"].clone(), second.header("link")), (serde_json::json!(["v2"]), ""));
    assert_eq!(server.get("/v2/posts/tags/list?n=0").await.json()["tags"], serde_json::json!([]));
    assert_eq!(server.get("/v2/posts/tags/list?n=x").await.error(), (400, "PAGINATION_NUMBER_INVALID".into()));
    let names = server.get("/v2/_catalog?n=2").await;
    assert_eq!(names.json()["repositories"], serde_json::json!(["posts", "threads"]));
    assert_eq!(names.header("link"), "</v2/_catalog?n=2&last=threads>; rel=\"next\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_carry_the_specification_s_codes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let (layer, blob) = (b"layer", Digest::of(b"layer"));
    let push = [("content-type", OCI)];
    let good = manifest(&config("x86_64", layer), layer);

    let answer = server.call("POST", "/v2/nothing/blobs/uploads/", &[], "").await;
    assert_eq!(answer.error(), (404, "NAME_UNKNOWN".into()));
    assert_eq!(
        answer.json()["errors"][0]["message"],
        "The repository with name 'nothing' does not exist in the registry with id '123456789012'"
    );
    for (method, path, body, status, code) in [
        ("POST", "/v2/Bad/blobs/uploads/".to_owned(), &b""[..], 400, "NAME_INVALID"),
        ("GET", "/v2/nothing/tags/list".to_owned(), b"", 404, "NAME_UNKNOWN"),
        ("PUT", "/v2/nothing/manifests/v1".to_owned(), &good, 404, "NAME_UNKNOWN"),
        ("GET", format!("/v2/api/blobs/{blob}"), b"", 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/api/blobs/sha256:12".to_owned(), b"", 400, "DIGEST_INVALID"),
        ("GET", "/v2/api/manifests/v1".to_owned(), b"", 404, "MANIFEST_UNKNOWN"),
        ("DELETE", "/v2/api/manifests/v1".to_owned(), b"", 404, "MANIFEST_UNKNOWN"),
        ("PUT", "/v2/api/manifests/v1".to_owned(), &good, 404, "MANIFEST_BLOB_UNKNOWN"),
        ("PUT", "/v2/api/manifests/v1".to_owned(), b"{}", 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/api/manifests/-v1".to_owned(), &good, 400, "TAG_INVALID"),
        ("PUT", format!("/v2/api/manifests/{blob}"), &good, 400, "DIGEST_INVALID"),
        ("PUT", "/v2/api/manifests/sha512:00".to_owned(), &good, 400, "DIGEST_INVALID"),
        ("PATCH", "/v2/api/blobs/uploads/none".to_owned(), b"", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("POST", "/v2/api/blobs/uploads/?digest=md5:00".to_owned(), b"", 400, "DIGEST_INVALID"),
        ("PUT", format!("/v2/api/blobs/{blob}"), b"", 405, "UNSUPPORTED"),
        ("GET", "/v2/api".to_owned(), b"", 404, "UNSUPPORTED"),
    ] {
        let answer = server.call(method, &path, &push, body.to_vec()).await;
        assert_eq!(answer.error(), (status, code.into()), "{method} {path}");
    }
    // Nothing came of all this.
    assert_eq!(server.files("blobs/sha256"), [""; 0]);
    assert_eq!(server.files("uploads"), [""; 0]);

    // A layer of another size than the manifest says.
    server.push_blob("api", b"layer").await;
    server.push_blob("api", &config("x86_64", layer)).await;
    let wrong = String::from_utf8(good).unwrap().replace("\"size\":5", "\"size\":6");
    let answer = server.call("PUT", "/v2/api/manifests/v1", &push, wrong).await;
    assert_eq!(answer.error(), (400, "MANIFEST_INVALID".into()));
    assert_eq!(server.registry.images("api").unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_over_4_mib_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let mut body = br#"{"schemaVersion":2,"annotations":{"a":""#.to_vec();
    body.resize((4 << 20) + 1, b'x');
    // A client that is refused early may see the connection close before it has sent all.
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let head = format!("PUT /v2/api/manifests/v1 HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    write.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    read.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413");
    // Without an announced length it is noticed while reading.
    let put = server.registry.put_manifest("api", Some("v1"), OCI, &body);
    assert!(matches!(put, Err(CatalogError::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_asked_for_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), Auth(Some("Basic QVdTOng=")), |_| ()).await;
    let refused = server.get("/v2/").await;
    assert_eq!(refused.error(), (401, "UNAUTHORIZED".into()));
    assert!(refused.header("www-authenticate").starts_with("Basic realm=\"https://123456789012.dkr.ecr."));
    assert_eq!(server.call("GET", "/v2/", &[("authorization", "Basic QVdTOng=")], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_a_blob_gets_it_neither_directly_nor_by_mounting() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("closed");
    server.create("mine");
    let blob = server.push_blob("closed", b"secret").await;
    let refused = server.get(&format!("/v2/closed/blobs/{blob}")).await;
    assert_eq!(refused.error(), (403, "DENIED".into()));
    assert_eq!(refused.json()["errors"][0]["message"], "not authorized to perform: ecr:GetDownloadUrlForLayer");
    let begun = server.call("POST", &format!("/v2/mine/blobs/uploads/?mount={blob}&from=closed"), &[], "").await;
    assert_eq!(begun.status, 202, "an upload is begun in place of it");
    assert_eq!(server.get(&format!("/v2/mine/blobs/{blob}")).await.error(), (404, "BLOB_UNKNOWN".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn immutable_tags_stay() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.registry.create_repository("api", true).unwrap();
    let image = server.push_image("api", "v1", b"one").await;
    let other = config("x86_64", b"two");
    server.push_blob("api", b"two").await;
    server.push_blob("api", &other).await;
    let body = manifest(&other, b"two");
    let refused = server.call("PUT", "/v2/api/manifests/v1", &[("content-type", OCI)], body.clone()).await;
    assert_eq!(refused.error(), (400, "TAG_INVALID".into()));
    assert_eq!(
        refused.json()["errors"][0]["message"],
        "The image tag 'v1' already exists in the 'api' repository and cannot be overwritten because the repository is immutable."
    );
    let kept = server.get("/v2/api/manifests/v1").await;
    assert_eq!(kept.header("docker-content-digest"), image.as_str());
    assert_eq!(server.call("PUT", "/v2/api/manifests/v2", &[("content-type", OCI)], body).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn mounting_and_visibility_by_repository() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("one");
    server.create("two");
    let blob = server.push_blob("one", b"shared").await;
    assert_eq!(server.get(&format!("/v2/two/blobs/{blob}")).await.error(), (404, "BLOB_UNKNOWN".into()));
    let unknown = Digest::of(b"unknown");
    let begun = server.call("POST", &format!("/v2/two/blobs/uploads/?mount={unknown}&from=one"), &[], "").await;
    assert_eq!(begun.status, 202);
    let mounted = server.call("POST", &format!("/v2/two/blobs/uploads/?mount={blob}&from=one"), &[], "").await;
    assert_eq!((mounted.status.as_u16(), mounted.header("location")), (201, &*format!("/v2/two/blobs/{blob}")));
    server.registry.delete_repository("one", false).unwrap();
    assert_eq!(&server.get(&format!("/v2/two/blobs/{blob}")).await.body[..], b"shared");
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let image = server.push_image("api", "v1", b"layer").await;
    let list = format!("/v2/api/referrers/{image}");
    let empty = server.get(&list).await;
    assert_eq!((empty.status.as_u16(), empty.json()["manifests"].clone()), (200, serde_json::json!([])));
    server.push_blob("api", b"{}").await;
    let subject = serde_json::json!({"mediaType": OCI, "digest": image.as_str(), "size": 1});
    let mut signature: serde_json::Value = serde_json::from_slice(&manifest(b"{}", b"layer")).unwrap();
    signature["subject"] = subject;
    signature["artifactType"] = "application/x-signature".into();
    signature["annotations"] = serde_json::json!({"by": "me"});
    let put = server.call("PUT", "/v2/api/manifests/sig", &[("content-type", OCI)], signature.to_string()).await;
    assert_eq!((put.status.as_u16(), put.header("oci-subject")), (201, image.as_str()));
    let listed = server.get(&list).await;
    assert_eq!(listed.header("content-type"), "application/vnd.oci.image.index.v1+json");
    let expected = serde_json::json!([{
        "mediaType": OCI, "digest": put.header("docker-content-digest"), "size": signature.to_string().len(),
        "artifactType": "application/x-signature", "annotations": {"by": "me"},
    }]);
    assert_eq!(listed.json()["manifests"], expected);
    let other = server.get(&format!("{list}?artifactType=application/other")).await;
    assert_eq!(
        (other.json()["manifests"].clone(), other.header("oci-filters-applied")),
        (serde_json::json!([]), "artifactType")
    );
    let same = server.get(&format!("{list}?artifactType=application%2Fx-signature")).await;
    assert_eq!(same.json()["manifests"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_frees_what_nothing_else_uses() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let one = server.push_image("api", "v1", b"one").await;
    let two = server.push_image("api", "v2", b"two").await;
    let again = server.call(
        "PUT",
        "/v2/api/manifests/also",
        &[("content-type", OCI)],
        server.get("/v2/api/manifests/v1").await.body,
    );
    assert_eq!(again.await.status, 201);
    assert_eq!(server.files("blobs/sha256").len(), 6);

    // A layer that an image has cannot be taken from under it.
    let layer = format!("/v2/api/blobs/{}", Digest::of(b"one"));
    assert_eq!(server.call("DELETE", &layer, &[], "").await.error(), (405, "UNSUPPORTED".into()));
    // A tag goes alone.
    assert_eq!(server.call("DELETE", "/v2/api/manifests/v1", &[], "").await.status, 202);
    assert_eq!(server.get("/v2/api/manifests/also").await.status, 200);
    // An image goes with its tags and its layers.
    assert_eq!(server.call("DELETE", &format!("/v2/api/manifests/{one}"), &[], "").await.status, 202);
    assert_eq!(server.get("/v2/api/manifests/also").await.status, 404);
    assert_eq!(server.get(&layer).await.status, 404);
    assert_eq!(server.files("blobs/sha256").len(), 3);
    assert_eq!(server.get(&format!("/v2/api/manifests/{two}")).await.status, 200);

    assert!(matches!(server.registry.delete_repository("api", false), Err(CatalogError::NotEmpty(_))));
    server.registry.delete_repository("api", true).unwrap();
    assert_eq!(server.files("blobs/sha256"), [""; 0]);
    assert_eq!(server.files("repositories"), [""; 0]);
    assert!(matches!(server.registry.images("api"), Err(CatalogError::NoRepository(_))));
    // A blob of no image can be deleted.
    server.create("api");
    let blob = server.push_blob("api", b"loose").await;
    assert_eq!(server.call("DELETE", &format!("/v2/api/blobs/{blob}"), &[], "").await.status, 202);
    assert_eq!(server.files("blobs/sha256"), [""; 0]);
}

/// Only what nobody uses or counts on is garbage.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_what_nobody_counts_on() {
    let dir = tempfile::tempdir().unwrap();
    let door = quarry_domain::door::TestDoor::new(1_000);
    let server = Server::start_with_door(dir.path(), door.door()).await;
    let hour = |n: u64| std::time::Duration::from_secs(n * 3600);
    let there = |digest: &Digest| server.data.join("registry/blobs/sha256").join(digest.hex()).exists();
    for name in ["api", "other"] {
        server.create(name);
    }
    server.push_image("api", "v1", b"tagged").await;
    let untagged = server.push_image("api", "v2", b"untagged").await;
    assert_eq!(server.call("DELETE", "/v2/api/manifests/v2", &[], "").await.status, 202);
    // Pushed for an image that never came; one of them was mounted into another repository later.
    for layer in ["lost", "shared", "late"] {
        server.push_blob("api", layer.as_bytes()).await;
    }
    let [lost, shared, late, tagged] = ["lost", "shared", "late", "tagged"].map(|layer| Digest::of(layer.as_bytes()));
    let upload = server.call("POST", "/v2/api/blobs/uploads/", &[], "").await.header("location").to_owned();
    assert_eq!(server.registry.collect().unwrap().blobs, 0, "all of it is new");
    door.advance(hour(23));
    let mount = format!("/v2/other/blobs/uploads/?mount={shared}&from=api");
    assert_eq!(server.call("POST", &mount, &[], "").await.status, 201);
    // A push that goes on after a long night asks first.
    assert_eq!(server.call("HEAD", &format!("/v2/api/blobs/{late}"), &[], "").await.status, 200);
    door.advance(hour(2));
    assert_eq!(server.registry.collect().unwrap(), Collected { blobs: 2, bytes: 10 });
    assert!(!there(&lost) && there(&shared) && there(&late) && there(&tagged), "the other repository has it still");
    assert_eq!(server.get(&format!("/v2/api/manifests/{untagged}")).await.status, 200, "an image without a tag is one");
    door.advance(hour(23));
    assert_eq!(server.registry.collect().unwrap().blobs, 2);
    assert!(!there(&shared) && !there(&late) && there(&tagged));

    // An image is deleted while another one with its layer is being pushed: the layer stays for that.
    let layer = format!("/v2/api/blobs/{tagged}");
    assert_eq!(server.call("HEAD", &layer, &[], "").await.status, 200);
    let old = server.get("/v2/api/manifests/v1").await;
    let digest = old.header("docker-content-digest").to_owned();
    assert_eq!(server.call("DELETE", &format!("/v2/api/manifests/{digest}"), &[], "").await.status, 202);
    assert!(there(&tagged), "somebody was told that it is here");
    assert_eq!(server.call("HEAD", &layer, &[], "").await.status, 200);
    door.advance(hour(25));
    assert!(server.registry.collect().unwrap().blobs >= 1);
    assert!(!there(&tagged));
    // An upload under way is given up by its own time only.
    assert!(!upload.is_empty());
}

#[test]
fn repositories_are_named_and_counted_as_ecr_does() {
    let dir = tempfile::tempdir().unwrap();
    let config = quarry_registry::RegistryConfig::new("1", "eu-west-1", Default::default());
    let registry = quarry_registry::Registry::open(dir.path(), config, quarry_domain::door::Door::system()).unwrap();
    registry.create_repository("team/api", false).unwrap();
    registry.create_repository("team", false).unwrap();
    assert!(matches!(registry.create_repository("team", true), Err(CatalogError::RepositoryExists(_))));
    for bad in ["", "a", "Team", "../x", "a//b"] {
        assert!(matches!(registry.create_repository(bad, false), Err(CatalogError::Invalid(_))), "{bad}");
    }
    assert_eq!(registry.repositories().unwrap(), ["team", "team/api"]);
    assert!(matches!(registry.delete_repository("none", true), Err(CatalogError::NoRepository(_))));
}
