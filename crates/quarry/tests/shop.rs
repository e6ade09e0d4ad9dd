//! The shop by Terraform: two services found by their names behind a third, which is behind the load
//! balancer; as `deploy/terraform` has it, nothing changed.

#[path = "terraform/leftovers.rs"]
mod leftovers;
#[allow(dead_code)]
#[path = "terraform/project.rs"]
mod project;
#[path = "stage/mod.rs"]
mod stage;

use project::{Project, mirror};
use quarry_deploy_kit::{Context, Options};
use quarry_testkit::{Platform, client_program, image, wait_for};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

const SERVICES: [&str; 3] = ["user", "order", "gateway"];

/// Builds and pushes the three images, by their own Dockerfile; their names.
fn push(platform: &Platform, root: &Path) -> BTreeMap<&'static str, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shop");
    let mut context = Context::default();
    for service in SERVICES {
        let binary = format!("shop-{service}");
        image::compile_binary("shop", &binary, &target).unwrap();
        context = context.with_file(&binary, target.join("debug").join(&binary), 0o755);
    }
    let dockerfile = std::fs::read_to_string(root.join("apps/shop/Dockerfile")).unwrap();
    let built = SERVICES.map(|service| {
        let options = Options {
            architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.into(),
            arguments: BTreeMap::from([("SERVICE".to_owned(), service.to_owned())]),
        };
        let image = quarry_deploy_kit::build("Dockerfile", &dockerfile, &context, &options).unwrap();
        (service, platform.push("shop", service, image).unwrap())
    });
    BTreeMap::from(built)
}

#[test]
fn the_gateway_reaches_both_services_by_their_discovered_names() {
    let (Some(terraform), Some(mirror)) = (client_program("terraform"), mirror()) else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let platform = Platform::start(stage::EXE).unwrap();
    let images = format!("images={}", json!(push(&platform, root)));
    let variables = ["-var", images.as_str()];
    let before = leftovers::seen(&platform);
    let project = Project::at(&platform, &terraform, &mirror, &root.join("deploy/terraform"), "shop").unwrap();
    project.apply(&variables).unwrap_or_else(|said| panic!("{said}\n{}", platform.log()));

    let host = project.output_of("url").unwrap().trim_start_matches("http://").to_owned();
    let front = front(&platform);
    let get = |path: &str| stage::request(front, &host, "GET", path, None, "");
    let customer = wait_for("the gateway answers with what both services hold", || match get("/customers/1") {
        Some((200, body)) => Some(serde_json::from_str::<Value>(&body).unwrap()),
        _ => None,
    });
    assert_eq!(customer["user"]["name"], "Ada Marsh");
    assert_eq!(customer["orders"].as_array().map(Vec::len), Some(2));

    // Every task of a service is found by its name.
    let served = |path: &'static str, count: usize| {
        let mut tasks = BTreeSet::new();
        wait_for(path, || {
            tasks.extend(served_by(front, &host, path));
            (tasks.len() == count).then_some(())
        });
        for _ in 0..20 {
            tasks.extend(served_by(front, &host, path));
        }
        assert_eq!(tasks.len(), count, "{path}: {tasks:?}");
    };
    served("/users/1", 2);
    served("/orders/1", 3);

    project.settled(&variables).unwrap();
    project.destroy(&variables).unwrap_or_else(|said| panic!("{said}\n{}", platform.log()));
    assert_eq!(leftovers::seen(&platform), before, "something is left");
}

/// Where the load balancer's listener is on this machine.
fn front(platform: &Platform) -> SocketAddr {
    let listing: Value = serde_json::from_slice(&platform.quarry(&["ls", "--json"]).unwrap().stdout).unwrap();
    let url = listing["load_balancers"][0]["urls"][1].as_str().expect("a load balancer").to_owned();
    let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let authority = if authority.contains(':') { authority } else { format!("{authority}:80") };
    authority.parse().unwrap()
}

/// The task behind the gateway that answered.
fn served_by(front: SocketAddr, host: &str, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(front).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let head = answer.split("\r\n\r\n").next()?.to_ascii_lowercase();
    head.lines().find_map(|line| line.strip_prefix("x-served-by: ").map(str::to_owned))
}
