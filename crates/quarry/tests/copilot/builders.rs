//! `svc deploy` of Dockerfiles that Quarry does not build itself, with each of the tools that do.

use crate::dockerd::Dockerd;
use crate::project::Project;
use quarry_testkit::client_program;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Stages, an argument, a target: nothing of it needs the network, or a container that runs.
const DOCKERFILE: &str = "FROM scratch AS built\nCOPY speaker /built\n\n\
    FROM scratch AS final\nARG WORD\nENV WORD=$WORD\nCOPY --from=built /built /speaker\n\
    EXPOSE 3000\nENTRYPOINT [\"/speaker\"]\n\nFROM final\nENV WORD=beyond\n";

const MANIFEST: &str = "name: web\ntype: Load Balanced Web Service\nhttp: {path: /}\nimage:\n  port: 3000\n  build:\n    \
    dockerfile: web/Dockerfile\n    target: final\n    args: {WORD: high}\n";

/// A project whose image only `tool` can build: the tools that would be taken before it are of no use.
fn project_for(tool: &str) -> Project {
    let mut project = Project::with(&["web"]);
    let first = project.root().join("bin");
    for other in ["docker", "podman", "buildah"].into_iter().take_while(|other| *other != tool) {
        stand_in(&first.join(other), "exit 1");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    project.export("PATH", format!("{}:{path}", first.display()));
    // Storage of its own, that goes with the directory.
    let at = |name: &str| project.root().join("storage").join(name).display().to_string();
    let text = format!("[storage]\ndriver = \"vfs\"\nrunroot = \"{}\"\ngraphroot = \"{}\"\n", at("run"), at("graph"));
    project.write("storage.conf", &text);
    project.export("CONTAINERS_STORAGE_CONF", project.root().join("storage.conf").display().to_string());
    project.write("web/Dockerfile", DOCKERFILE);
    project.write("copilot/web/manifest.yml", MANIFEST);
    project
}

fn stand_in(path: &Path, script: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Deploys it and asks it.
fn deploys(project: &Project, tool: &str) {
    let run = |line: &str| project.run(line).unwrap_or_else(|said| panic!("quarry {line}: {said}\n{}", project.log()));
    run("app init tools");
    run("env init --name test");
    let said = run("svc deploy --name web --env test");
    assert!(said.contains(&format!("Build web/Dockerfile with {tool}")), "{said}");
    let url = project.url("web");
    project.answers(&url, "/x", "web /x");
    let answer = project.get(&url, "/x").unwrap();
    assert!(answer.lines().any(|line| line == "WORD=high"), "{answer}");
    // Built again it is the same image, named by its digest: nothing is deployed.
    let said = run("svc deploy --name web --env test");
    assert!(said.contains("[no changes]"), "{said}");
}

/// Whether builds work for whoever runs this.
fn may_build(tool: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: {tool}'s builds want root here");
    }
    root
}

#[test]
fn podman_builds_what_has_stages() {
    if client_program("podman").is_some() && may_build("podman") {
        deploys(&project_for("podman"), "podman");
    }
}

#[test]
fn buildah_builds_what_has_stages() {
    if client_program("buildah").is_some() && may_build("buildah") {
        deploys(&project_for("buildah"), "buildah");
    }
}

#[test]
fn docker_builds_what_has_stages() {
    let dir = tempfile::Builder::new().prefix("qd").tempdir_in("/tmp").unwrap();
    let Some(dockerd) = Dockerd::start(dir.path()) else { return };
    let mut project = project_for("docker");
    project.export("DOCKER_HOST", dockerd.host());
    project.export("DOCKER_CONFIG", dir.path().join("config").display().to_string());
    project.export("DOCKER_BUILDKIT", "0");
    deploys(&project, "docker");
}

/// Without any tool the Dockerfile is refused, and what is missing is said.
#[test]
fn without_a_tool_stages_are_refused_with_what_to_do() {
    let project = project_for("none");
    project.run("app init tools").unwrap();
    project.run("env init --name test").unwrap();
    let error = project.run("svc deploy --name web --env test").unwrap_err();
    assert!(error.contains("web/Dockerfile:4") && error.contains("docker, podman or buildah"), "{error}");
}
