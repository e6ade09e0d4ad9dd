//! An image that nothing of ours has built: a monolith in Node, by podman, from several layers, with a shell, users,
//! and files that later layers take away. It is pushed in both forms and serves behind a load balancer.

use crate::site::{Site, get};
use base64::Engine;
use quarry_testkit::{client_program, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const DOCKERFILE: &str = r#"FROM scratch
COPY base /
COPY node /
RUN mkdir -p /etc && mkdir -m 1777 /tmp && echo root:x:0:0:root:/root:/bin/sh > /etc/passwd \
 && echo app:x:1000:1000:app:/srv:/bin/sh >> /etc/passwd && echo staff:x:50:app > /etc/group
COPY --chown=1000:1000 app /srv
RUN rm -r /srv/old /srv/dir/goes /srv/anew && mkdir /srv/anew && echo 2 > /srv/anew/new
COPY server.js /srv/
USER app
WORKDIR /srv
ENV GREETING=hello
ENTRYPOINT ["/usr/bin/node"]
CMD ["server.js"]
"#;

/// A monolith: users and threads in one process, a page, and a look at where it is.
const SERVER: &str = r#"
const http = require('http'), fs = require('fs'), { execSync } = require('child_process');
const threads = [], users = [{ id: 1, name: 'ada' }];
http.createServer((request, response) => {
  const send = (status, body) => {
    const text = JSON.stringify(body);
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
    response.end(text);
  };
  if (request.url === '/users') return send(200, users);
  if (request.url === '/threads/new') { threads.push({ id: threads.length + 1, user: 1 }); return send(201, threads); }
  if (request.url === '/whoami') return send(200, {
    greeting: process.env.GREETING, uid: process.getuid(), groups: process.getgroups(), cwd: process.cwd(),
    srv: fs.readdirSync('/srv'), dir: fs.readdirSync('/srv/dir'), anew: fs.readdirSync('/srv/anew'),
    shell: execSync('echo by sh: $(id -u)').toString().trim(), engine: process.versions.v8.length > 0,
    owner: fs.statSync('/srv/dir/stays').uid, home: process.env.HOME,
  });
  if (request.url === '/') return send(200, 'monolith');
  send(404, 'unknown');
}).listen(process.env.PORT || 3000);
"#;

#[test]
fn a_foreign_monolith_in_node_serves_behind_a_load_balancer() {
    let (Some(podman), Some(node)) = (client_program("podman"), client_program("node")) else { return };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: podman's builds want root here");
        return;
    }
    let Some(site) = Site::open("user-namespaces") else { return };
    let dir = tempfile::Builder::new().prefix("qf").tempdir_in("/tmp").unwrap();
    let podman = Podman { program: podman, dir: dir.path().to_owned() };
    let context = dir.path().join("context");
    write_context(&context, &node);
    podman.build("foreign:v1", &context);

    // Docker's form and OCI's.
    site.call::<quarry_aws::ecr::op::CreateRepository>(json!({"repositoryName": "foreign"}));
    let host = site.platform.endpoint.trim_start_matches("http://").to_owned();
    for (form, tag) in [("v2s2", "docker"), ("oci", "oci")] {
        podman.push(&site, form, "foreign:v1", &format!("{host}/foreign:{tag}"));
    }
    let input = json!({"repositoryName": "foreign"});
    let images = site.call::<quarry_aws::ecr::op::DescribeImages>(input).image_details.unwrap();
    let kinds: BTreeSet<String> = images.into_iter().filter_map(|image| image.image_manifest_media_type).collect();
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(kinds, [docker, "application/vnd.oci.image.manifest.v1+json"].map(str::to_owned).into());

    let container = |tag: &str| {
        json!([{
            "name": "monolith", "image": format!("{host}/foreign:{tag}"), "portMappings": [{"containerPort": 3000}],
            "linuxParameters": {"initProcessEnabled": true},
        }])
    };
    let definition = site.define("monolith", container("docker"), json!({}));
    let (group, front) = site.balance();
    site.call::<quarry_aws::ecs::op::CreateService>(json!({
        "cluster": "demo", "serviceName": "monolith", "taskDefinition": definition, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": site.network(),
        "loadBalancers": [{"targetGroupArn": group, "containerName": "monolith", "containerPort": 3000}],
    }));
    wait_for("the monolith answers through its load balancer", || get(front, "/").filter(|(status, _)| *status == 200));
    assert_eq!(get(front, "/users"), Some((200, r#"[{"id":1,"name":"ada"}]"#.to_owned())));
    assert_eq!(get(front, "/threads/new"), Some((201, r#"[{"id":1,"user":1}]"#.to_owned())));
    assert_eq!(get(front, "/nothing").unwrap().0, 404);
    let (_, seen) = get(front, "/whoami").unwrap();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    let wanted = json!({
        "greeting": "hello", "uid": 1000, "groups": [50, 1000], "cwd": "/srv", "home": "/srv", "owner": 1000,
        "srv": ["anew", "dir", "server.js"], "dir": ["stays"], "anew": ["new"], "shell": "by sh: 1000", "engine": true,
    });
    let mut found = seen.clone();
    let groups: BTreeSet<i64> = seen["groups"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
    found["groups"] = json!(groups);
    assert_eq!(found, wanted);

    // The other form, with another command.
    let definition = site.define("oci", container("oci"), json!({}));
    let started = site.call::<quarry_aws::ecs::op::RunTask>(json!({
        "cluster": "demo", "taskDefinition": definition, "launchType": "FARGATE",
        "networkConfiguration": site.network(),
        "overrides": {"containerOverrides": [{"name": "monolith", "command": ["-e", "process.exit(7)"]}]},
    }));
    let arn = started.tasks.unwrap().remove(0).task_arn.unwrap();
    let code = wait_for("the other task ends", || {
        let task = site.task(&arn);
        (task.last_status.as_deref() == Some("STOPPED")).then_some(task.containers?.remove(0).exit_code)
    });
    assert_eq!(code, Some(7));
}

/// podman with its storage in one directory.
pub struct Podman {
    pub program: PathBuf,
    pub dir: PathBuf,
}

impl Podman {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let at = |name: &str| self.dir.join(name).display().to_string();
        command.args(["--root", &at("store"), "--runroot", &at("run"), "--storage-driver", "overlay"]);
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"]).stdin(Stdio::null());
        command
    }

    pub fn build(&self, image: &str, context: &Path) {
        self.run(&["build", "-q", "--isolation", "chroot", "--layers=true", "-t", image, context.to_str().unwrap()]);
    }

    /// Pushes an image of its own in Docker's form (`v2s2`) or OCI's (`oci`).
    pub fn push(&self, site: &Site, form: &str, image: &str, to: &str) {
        let token = site.call::<quarry_aws::ecr::op::GetAuthorizationToken>(json!({}));
        let token = token.authorization_data.unwrap().remove(0).authorization_token.unwrap();
        let credentials = base64::engine::general_purpose::STANDARD.decode(token).unwrap();
        let credentials = String::from_utf8(credentials).unwrap();
        let (from, to) = (format!("localhost/{image}"), format!("docker://{to}"));
        self.run(&["push", "-q", "--tls-verify=false", "--creds", &credentials, "--format", form, &from, &to]);
    }

    fn run(&self, arguments: &[&str]) {
        let Output { status, stderr, .. } = self.command().args(arguments).output().unwrap();
        assert!(status.success(), "podman {}: {}", arguments[0], String::from_utf8_lossy(&stderr));
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Its mounts go with its storage.
        let _ = self.command().args(["system", "reset", "-f"]).output();
    }
}

/// The Dockerfile's context: this machine's own Node, shell and tools, with the libraries they need.
fn write_context(context: &Path, node: &Path) {
    for tool in ["/bin/sh", "/bin/rm", "/bin/mkdir", "/usr/bin/id"] {
        with_libraries(&context.join("base"), &context.join("base"), Path::new(tool), tool);
    }
    with_libraries(&context.join("node"), &context.join("base"), node, "/usr/bin/node");
    for file in ["app/old/a", "app/dir/stays", "app/dir/goes", "app/anew/old"] {
        let file = context.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "1").unwrap();
    }
    std::fs::write(context.join("server.js"), SERVER).unwrap();
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
}

/// Puts a program of this machine below `to`, and the libraries that it needs below `libraries`.
pub fn with_libraries(to: &Path, libraries: &Path, program: &Path, at: &str) {
    let put = |file: &Path, target: PathBuf| {
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(file, target).unwrap();
    };
    put(program, to.join(at.trim_start_matches('/')));
    let needs = Command::new("ldd").arg(program).output().unwrap();
    let needs = String::from_utf8(needs.stdout).unwrap();
    for library in needs.split_whitespace().filter(|word| word.starts_with('/')) {
        put(Path::new(library), libraries.join(library.trim_start_matches('/')));
    }
}
