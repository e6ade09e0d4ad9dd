//! From image names to files.

mod support;

use quarry_domain::image::{ImageCatalog, ImageStore, PullError};
use quarry_registry::Digest;
use support::{ACCOUNT, INDEX, OCI, REGION, Server, config, manifest};

#[tokio::test(flavor = "multi_thread")]
async fn all_names_of_one_image() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("team/api");
    let image = server.push_image("team/api", "v1", b"layer").await;
    server.push_image("team/api", "latest", b"layer").await;
    let port = server.port;
    for name in [
        format!("localhost:{port}/team/api:v1"),
        format!("localhost:{port}/team/api"),
        format!("127.0.0.1:{port}/team/api:v1"),
        format!("[::1]:{port}/team/api:v1"),
        format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/team/api:v1"),
        format!("localhost:{port}/team/api@{image}"),
        format!("localhost:{port}/team/api:gone@{image}"),
    ] {
        let resolved = server.registry.resolve(&name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(resolved.digest, image.as_str(), "{name}");
        assert_eq!(resolved.layers.len(), 1);
        let layer = &resolved.layers[0];
        assert_eq!(std::fs::read(&layer.path).unwrap(), b"layer");
        assert_eq!(layer.diff_id, Digest::of(b"layer").as_str());
        assert_eq!(resolved.config.entrypoint, ["/api"]);
        assert_eq!(resolved.config.cmd, ["--listen", "0.0.0.0:3000"]);
        assert_eq!(resolved.config.env, ["A=1", "B="]);
        assert_eq!(resolved.config.working_dir, None);
        assert_eq!(resolved.config.user.as_deref(), Some("1000"));
        assert_eq!(resolved.config.stop_signal.as_deref(), Some("SIGINT"));
    }
    for name in [
        "nginx".to_owned(),
        "library/nginx:1".to_owned(),
        "docker.io/library/nginx".to_owned(),
        format!("localhost:{}/team/api:v1", port.wrapping_add(1)),
        "localhost/team/api".to_owned(),
        format!("999999999999.dkr.ecr.{REGION}.amazonaws.com/team/api:v1"),
        format!("evil.example:{port}/team/api:v1"),
    ] {
        match server.registry.resolve(&name) {
            Err(error @ PullError::ForeignRegistry { .. }) => {
                assert!(error.to_string().contains(&format!("push it to localhost:{port}/")), "{error}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let host = format!("localhost:{port}");
    let resolve = |rest: &str| server.registry.resolve(&format!("{host}/{rest}")).unwrap_err();
    assert!(matches!(resolve("none:v1"), PullError::NoRepository { .. }));
    assert!(matches!(resolve("team/api:v9"), PullError::NoImage { .. }));
    assert!(matches!(resolve(&format!("team/api@{}", Digest::of(b""))), PullError::NoImage { .. }));
    assert!(matches!(resolve("Team/api"), PullError::BadReference { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_gives_the_image_for_this_machine() {
    of_several_machines(INDEX, OCI).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_manifest_list_gives_the_image_for_this_machine() {
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    of_several_machines(list, "application/vnd.docker.distribution.manifest.v2+json").await;
}

/// `index` and `image`: media types.
async fn of_several_machines(index_type: &str, image_type: &str) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let mut entries = Vec::new();
    for arch in ["x86_64", "aarch64", "riscv64"] {
        let config = config(arch, b"layer");
        server.push_blob("api", b"layer").await;
        server.push_blob("api", &config).await;
        let body = String::from_utf8(manifest(&config, b"layer")).unwrap();
        let body = match image_type {
            OCI => body,
            docker => body
                .replace(OCI, docker)
                .replace("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
                .replace("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        };
        let digest = server.registry.put_manifest("api", None, image_type, body.as_bytes()).unwrap();
        let name = match arch {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        entries.push((arch, serde_json::json!({
            "mediaType": image_type, "digest": digest, "size": body.len(), "platform": {"os": "linux", "architecture": name},
        })));
    }
    let index = |entries: Vec<&serde_json::Value>| {
        serde_json::to_vec(&serde_json::json!({"schemaVersion": 2, "mediaType": index_type, "manifests": entries}))
            .unwrap()
    };
    let all = index(entries.iter().map(|(_, entry)| entry).collect());
    let digest = server.registry.put_manifest("api", Some("all"), index_type, &all).unwrap();
    let resolved = server.registry.resolve(&format!("localhost:{}/api:all", server.port)).unwrap();
    let own = entries.iter().find(|(arch, _)| *arch == std::env::consts::ARCH).unwrap();
    assert_eq!(resolved.digest, own.1["digest"]);
    assert!(server.registry.images("api").unwrap().iter().any(|i| i.digest == digest && i.size == 5));
    // An image of an index cannot be deleted before the index.
    let child = format!("/v2/api/manifests/{}", resolved.digest);
    assert_eq!(server.call("DELETE", &child, &[], "").await.error(), (405, "UNSUPPORTED".into()));

    let others = index(entries.iter().filter(|(a, _)| *a != std::env::consts::ARCH).map(|(_, e)| e).collect());
    server.registry.put_manifest("api", Some("others"), index_type, &others).unwrap();
    let error = server.registry.resolve(&format!("localhost:{}/api:others", server.port)).unwrap_err();
    assert!(matches!(&error, PullError::WrongPlatform { found, .. } if found.contains("linux/riscv64")), "{error}");
    // An index of images that are not there is refused.
    let absent = Digest::of(b"absent");
    let bad = String::from_utf8(all).unwrap().replace(resolved.digest.as_str(), absent.as_str());
    let put = server.call("PUT", "/v2/api/manifests/bad", &[("content-type", index_type)], bad).await;
    assert_eq!(put.error(), (404, "MANIFEST_BLOB_UNKNOWN".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let layer = b"layer";
    server.push_blob("api", layer).await;
    let good = String::from_utf8(config(std::env::consts::ARCH, layer)).unwrap();
    let diff_id = Digest::of(layer);
    for (tag, bad, says) in [
        ("json", "{".to_owned(), "configuration is damaged"),
        ("layers", good.replace(&format!("\"{diff_id}\""), ""), "lists 0 layers, the manifest 1"),
        ("diff", good.replace(diff_id.as_str(), "sha256:00"), "not a sha256 digest"),
        ("env", good.replace("A=1", "=1"), "not NAME=value"),
        ("dir", good.replace("\"WorkingDir\":\"\"", "\"WorkingDir\":\"x\""), "not an absolute path"),
        ("nul", good.replace("--listen", "\\u0000"), "NUL"),
        ("os", good.replace("\"linux\"", "\"windows\""), "windows/"),
    ] {
        assert_ne!(bad, good, "{tag}");
        server.push_blob("api", bad.as_bytes()).await;
        server.registry.put_manifest("api", Some(tag), OCI, &manifest(bad.as_bytes(), layer)).unwrap();
        let error = server.registry.resolve(&format!("localhost:{}/api:{tag}", server.port)).unwrap_err().to_string();
        assert!(error.contains(says), "{tag}: {error}");
    }
    // Changed behind the registry's back.
    server.push_image("api", "v1", layer).await;
    let name = format!("localhost:{}/api:v1", server.port);
    let path = server.registry.resolve(&name).unwrap().layers[0].path.clone();
    std::fs::write(&path, b"longer than it was").unwrap();
    assert!(matches!(server.registry.resolve(&name), Err(PullError::Damaged { .. })));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(server.registry.resolve(&name), Err(PullError::Damaged { .. })));
}
