//! An image on its way by another container tool: skopeo, which pushes Docker's formats.

use crate::EXE;
use crate::shell::{Shell, said};
use quarry_deploy_kit::BuiltImage;
use quarry_testkit::{Platform, image};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The static program `answer`, compiled into the directory.
pub fn program(dir: &Path) -> PathBuf {
    let program = dir.join("answer");
    image::compile(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/answer.rs")), &program).unwrap();
    program
}

pub const DOCKERFILE: &str = "FROM scratch\nCOPY answer /answer\nEXPOSE 3000\nENTRYPOINT [\"/answer\"]\n";

/// An image with that program.
pub fn image(dir: &Path) -> BuiltImage {
    image::built(DOCKERFILE, "answer", &program(dir)).unwrap()
}

/// The image as an OCI layout: what container tools call `oci:<dir>:<tag>`.
fn layout(image: &BuiltImage, dir: &Path, tag: &str) {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let write = |digest: &str, bytes: &[u8]| std::fs::write(blobs.join(&digest["sha256:".len()..]), bytes).unwrap();
    write(&image.digest, &image.manifest);
    write(&image.config_digest, &image.config);
    image.layers.iter().for_each(|layer| write(&layer.digest, &layer.bytes));
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.digest,
        "size": image.manifest.len(), "annotations": {"org.opencontainers.image.ref.name": tag},
    }]});
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

/// Not `client_program`: the tests of the registry's own protocol and of the tour's pushes run
/// everywhere, and skopeo drags a distribution's worth of packages in, so CI may lack it.
fn skopeo() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("skopeo")).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: skopeo not found");
    }
    found
}

#[test]
fn a_container_tool_pushes_docker_formats_and_pulls_them_back() {
    let Some(skopeo) = skopeo() else { return };
    let Some(_) = quarry_testkit::client_program("aws") else { return };
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let dir = tempfile::tempdir().unwrap();
    let built = image(dir.path());
    layout(&built, &dir.path().join("oci"), "v1");
    let run = |arguments: &[&str]| {
        let mut command = shell.command(&skopeo);
        command.args(["--insecure-policy", "--tmpdir"]).arg(dir.path()).args(arguments).current_dir(dir.path());
        said(command.output().unwrap())
    };
    let uri = shell.aws_text("ecr create-repository --repository-name team/api --query repository.repositoryUri");
    let password = shell.run("aws ecr get-login-password").unwrap();
    let (user, there) = (format!("AWS:{}", password.trim()), format!("docker://{uri}:v1"));
    let push = |creds: &str, to: &str, format: &str| {
        run(&["copy", "--dest-tls-verify=false", "--dest-creds", creds, "--format", format, "oci:oci:v1", to])
    };

    // Who may not push, and what there is not.
    let refused = push("AWS:wrong", &there, "v2s2").unwrap_err();
    assert!(refused.contains("unauthorized") || refused.contains("authentication required"), "{refused}");
    let host = uri.strip_suffix("/team/api").unwrap();
    let refused = push(&user, &format!("docker://{host}/nobody:v1"), "v2s2").unwrap_err();
    assert!(refused.contains("name unknown") || refused.contains("does not exist"), "{refused}");
    assert_eq!(shell.aws_ok("ecr describe-images --repository-name team/api")["imageDetails"], json!([]));

    // Docker's formats, then OCI's of the same layers.
    push(&user, &there, "v2s2").unwrap();
    push(&user, &format!("docker://{uri}:v2"), "oci").unwrap();
    let images = shell.aws_ok("ecr describe-images --repository-name team/api --query 'imageDetails'");
    let found = |tag: &str| {
        let images = images.as_array().unwrap();
        images.iter().find(|i| i["imageTags"] == json!([tag])).unwrap_or_else(|| panic!("no {tag} in {images:#?}"))
    };
    assert_eq!(found("v1")["imageManifestMediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(found("v2")["imageManifestMediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(found("v2")["imageDigest"], built.digest);
    let layers: usize = built.layers.iter().map(|layer| layer.bytes.len()).sum();
    assert!(found("v1")["imageSizeInBytes"].as_u64() >= Some(layers as u64), "{images:#}");

    // It comes back byte for byte.
    let creds = ["--tls-verify=false", "--creds", &user];
    let inspected = run(&[&["inspect"], &creds[..], &[&there]].concat()).unwrap();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], found("v1")["imageDigest"]);
    assert_eq!(inspected["RepoTags"], json!(["v1", "v2"]));
    let back = format!("docker://{uri}@{}", built.digest);
    run(&["copy", "--src-tls-verify=false", "--src-creds", &user, &back, "dir:back"]).unwrap();
    for layer in &built.layers {
        let bytes = std::fs::read(dir.path().join("back").join(&layer.digest["sha256:".len()..])).unwrap();
        assert!(bytes == layer.bytes, "{} differs", layer.digest);
    }
    assert!(run(&["inspect", "--tls-verify=false", "--no-creds", &there]).is_err(), "a pull without a password");

    // A tag that may not move does not; a tag that is deleted is gone.
    shell.aws_ok("ecr put-image-tag-mutability --repository-name team/api --image-tag-mutability IMMUTABLE");
    let refused = push(&user, &format!("docker://{uri}:v2"), "v2s2").unwrap_err();
    assert!(refused.contains("immutable"), "{refused}");
    run(&[&["delete"], &creds[..], &[&format!("docker://{uri}:v1")]].concat()).unwrap();
    let tags = shell.aws_ok("ecr list-images --repository-name team/api --query 'imageIds[].imageTag'");
    assert_eq!(tags, json!(["v2"]));
    shell.aws_refused("ecr delete-repository --repository-name team/api", "RepositoryNotEmptyException");
    shell.aws_ok("ecr delete-repository --repository-name team/api --force");
    assert!(run(&[&["inspect"], &creds[..], &[&there]].concat()).is_err());
}
