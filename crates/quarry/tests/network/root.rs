//! An image that starts as root, as many published ones do: its entry point makes folders, gives them away and goes on
//! as another user. nginx of this machine, on port 80, and a program behind `setpriv` as others use `gosu`.

use crate::foreign::{Podman, with_libraries};
use crate::site::{Site, get};
use quarry_testkit::{client_program, wait_for};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const DOCKERFILE: &str = r#"FROM scratch
COPY base /
EXPOSE 80
ENTRYPOINT ["/bin/sh", "/entrypoint"]
CMD ["nginx", "-e", "stderr", "-g", "daemon off;"]
"#;

/// Of the image: what an official image's entry point does.
const ENTRYPOINT: &str = r#"set -e
test "$(id -u)" = 0
if test "$1" = nginx; then
  mkdir -p /var/lib/nginx/body /run /www && chown -R nginx:nginx /var/lib/nginx
  echo hello > /www/index.html && chown nginx:nginx /www/index.html && chmod 400 /www/index.html
  exec "$@"
fi
mkdir -p /data/db && chown -R keeper:keeper /data && chmod 700 /data/db
exec setpriv --reuid keeper --regid keeper --init-groups /bin/sh -c '
  id -u > /data/db/who && ! chown 0 /data/db/who && ! mkdir /data/../srv && echo kept'
"#;

const NGINX: &str = r#"user nginx;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 64; }
http {
  access_log /dev/stdout;
  client_body_temp_path /var/lib/nginx/body; proxy_temp_path /var/lib/nginx/proxy;
  fastcgi_temp_path /var/lib/nginx/fastcgi; uwsgi_temp_path /var/lib/nginx/uwsgi; scgi_temp_path /var/lib/nginx/scgi;
  server { listen 80; root /www; }
}
"#;

#[test]
fn an_image_that_starts_as_root_becomes_another_user() {
    let nginx = Path::new("/usr/sbin/nginx");
    let Some(podman) = client_program("podman") else { return };
    if !nginx.is_file() || !rustix::process::geteuid().is_root() {
        println!("skipped: nginx and root are needed");
        return;
    }
    let Some(site) = Site::open("user-namespaces") else { return };
    let dir = tempfile::Builder::new().prefix("qr").tempdir_in("/tmp").unwrap();
    let podman = Podman { program: podman, dir: dir.path().to_owned() };
    let base = dir.path().join("context/base");
    for tool in
        ["/bin/sh", "/bin/mkdir", "/bin/chown", "/bin/chmod", "/usr/bin/id", "/usr/bin/setpriv", "/usr/sbin/nginx"]
    {
        with_libraries(&base, &base, Path::new(tool), tool);
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nnginx:x:101:101::/:\nkeeper:x:999:998::/:\n";
    for (name, text) in [
        ("etc/passwd", users),
        ("etc/group", "root:x:0:\nnginx:x:101:\nkeeper:x:998:\n"),
        ("etc/nginx/nginx.conf", NGINX),
        ("entrypoint", ENTRYPOINT),
        ("../Dockerfile", DOCKERFILE),
    ] {
        let file = base.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    podman.build("rooted:v1", base.parent().unwrap());
    site.call::<quarry_aws::ecr::op::CreateRepository>(json!({"repositoryName": "rooted"}));
    let image = format!("{}/rooted:v1", site.platform.endpoint.trim_start_matches("http://"));
    podman.push(&site, "v2s2", "rooted:v1", &image);

    let definition = site.define(
        "rooted",
        json!([
            {"name": "web", "image": image, "portMappings": [{"containerPort": 80}]},
            {"name": "keeper", "image": image, "essential": false, "command": ["keep"],
             "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]},
        ]),
        json!({"volumes": [{"name": "data"}]}),
    );
    let (group, front) = site.balance();
    site.call::<quarry_aws::ecs::op::CreateService>(json!({
        "cluster": "demo", "serviceName": "rooted", "taskDefinition": definition, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": site.network(),
        "loadBalancers": [{"targetGroupArn": group, "containerName": "web", "containerPort": 80}],
    }));
    let page = wait_for("nginx answers on port 80", || get(front, "/").filter(|(status, _)| *status == 200));
    assert_eq!(page.1, "hello\n");

    // Its master is the container's root, its worker user 101 of the task's own range.
    let task = site.tasks("rooted").remove(0);
    let id = task.task_arn.as_deref().unwrap().rsplit('/').next().unwrap().to_owned();
    let master = site.pid(&id);
    let owner = |pid: &str| std::fs::metadata(format!("/proc/{pid}/status")).unwrap().uid();
    let worker = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
    let (master, worker) = (owner(&master.to_string()), owner(worker.trim()));
    assert!(master >= 65_536, "the container's root is nobody outside: {master}");
    assert_eq!(worker, master + 101);

    // What has become another user stays it, and its files are its own.
    let log = site.platform.data_dir().join("tasks").join(&id).join("keeper.log");
    let said = wait_for("the other has done its work", || {
        Some(std::fs::read_to_string(&log).unwrap_or_default()).filter(|said| said.contains("kept"))
    });
    assert!(said.contains("Operation not permitted") && said.contains("Permission denied"), "{said}");
    let log = std::fs::read_to_string(log.with_file_name("web.log")).unwrap();
    assert!(log.contains("GET / HTTP/1.1"), "its access log is its output: {log}");

    // Without the right to give files away it does not start.
    let definition = site.define(
        "bound",
        json!([{"name": "web", "image": image, "linuxParameters": {"capabilities": {"drop": ["CHOWN"]}}}]),
        json!({}),
    );
    let started = site.call::<quarry_aws::ecs::op::RunTask>(json!({
        "cluster": "demo", "taskDefinition": definition, "launchType": "FARGATE", "networkConfiguration": site.network(),
    }));
    let arn = started.tasks.unwrap().remove(0).task_arn.unwrap();
    let code = wait_for("it ends", || {
        let task = site.task(&arn);
        (task.last_status.as_deref() == Some("STOPPED")).then_some(task.containers?.remove(0).exit_code)
    });
    assert_eq!(code, Some(1));
}
