//! The templates that are made of manifests: cfn-lint has nothing against them, and they say what was wanted.

use quarry_deploy_kit::manifest::{Environment, NewImage, NewService, Reading, Service, new_service};
use quarry_deploy_kit::manifest::{Kind, Platform};
use quarry_deploy_kit::template::{self, Deployed};
use serde_norway::Value;
use std::collections::BTreeMap;
use std::process::Command;

const EVERYTHING: &str = include_str!("manifests/everything.yml");
const BACKEND: &str = include_str!("manifests/backend.yml");

fn reading() -> Reading {
    Reading { app: "shop".into(), environment: "test".into(), shell: BTreeMap::new() }
}

fn service(text: &str, https: bool) -> String {
    let service = Service::read("manifest.yml", text, &reading()).unwrap_or_else(|problems| panic!("{problems}"));
    let env_files = BTreeMap::from([(service.name.clone(), BTreeMap::from([("FROM_FILE".into(), "it's".into())]))]);
    template::service(&service, &Deployed { app: "shop".into(), environment: "test".into(), https, env_files })
        .expect("rules that fit")
}

fn plain() -> String {
    let new = NewService {
        name: "posts".into(),
        kind: Kind::LoadBalanced,
        image: NewImage::Dockerfile("posts/Dockerfile".into()),
        port: Some(3000),
        platform: Platform::X86,
        path: "api/posts".into(),
    };
    service(&new_service(&new), false)
}

fn certain() -> Environment {
    Environment {
        certificates: vec!["arn:aws:acm:us-east-1:111111111111:certificate/a".into(); 2],
        source_ips: vec!["10.0.0.0/8".into(), "2001:db8::/32".into()],
        container_insights: true,
        ..Environment::new("test")
    }
}

/// On container instances, of a size that Fargate has not.
const ON_INSTANCES: &str = "name: heavy\ntype: Backend Service\nimage: {location: 'heavy:1', port: 80}\nlaunch_type: EC2\n\
                            cpu: 300\nmemory: 700\nnetwork: {vpc: {placement: private}}\n";
const WITH_INSTANCES: &str =
    "name: test\ntype: Environment\ncontainer_instances: {type: t3.large, range: {min: 0, max: 4}}\n";

fn with_instances() -> String {
    let environment = Environment::read("manifest.yml", WITH_INSTANCES, &reading());
    template::environment("shop", &environment.unwrap_or_else(|problems| panic!("{problems}")))
}

/// All templates by name.
fn templates() -> Vec<(&'static str, String)> {
    let words = ["run".to_owned()];
    let pairs = [("A".to_owned(), "1".to_owned())];
    vec![
        ("plain", plain()),
        ("everything", service(EVERYTHING, true)),
        ("backend", service(BACKEND, false)),
        ("instances", service(ON_INSTANCES, false)),
        ("environment", template::environment("shop", &Environment::new("test"))),
        ("environment-instances", with_instances()),
        ("environment-https", template::environment("shop", &certain())),
        ("application", template::application("shop", &["posts".into(), "front-proxy".into()])),
        ("application-empty", template::application("shop", &[])),
        ("task", template::task_group("once", (256, 512), (&[], &words), &pairs, &pairs)),
    ]
}

fn parsed(text: &str) -> Value {
    serde_norway::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn cfn_lint_has_nothing_against_them() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(linter) = std::env::split_paths(&path).map(|dir| dir.join("cfn-lint")).find(|path| path.exists()) else {
        eprintln!("skipped: cfn-lint not found");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let paths = templates().into_iter().map(|(name, text)| {
        let path = dir.path().join(format!("{name}.yml"));
        std::fs::write(&path, text).unwrap();
        path
    });
    let output = Command::new(linter).arg("--non-zero-exit-code").arg("warning").args(paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_template_says_what_the_manifest_wanted() {
    let posts = parsed(&plain());
    let resources = &posts["Resources"];
    let values = &resources["HTTPListenerRule"]["Properties"]["Conditions"][0]["PathPatternConfig"]["Values"];
    assert_eq!(values, &parsed("['/api/posts', '/api/posts/*']"));
    assert_eq!(posts["Parameters"]["RulePriority"]["Type"], "Number");
    assert_eq!(resources["Service"]["DependsOn"], parsed("[HTTPListenerRule]"));
    let container = &resources["TaskDefinition"]["Properties"]["ContainerDefinitions"][0];
    assert_eq!(container["PortMappings"], parsed("[{ContainerPort: 3000, Protocol: tcp, Name: target}]"));

    let all = parsed(&service(EVERYTHING, true));
    let resources = &all["Resources"];
    assert_eq!(resources["HTTPListenerRule"]["Properties"]["Actions"][0]["Type"], "redirect");
    assert_eq!(resources["HTTPSListenerRule"]["Properties"]["Actions"][0]["Type"], "forward");
    // A rule without names of its own forwards over HTTP too.
    assert_eq!(resources["HTTPListenerRule1"]["Properties"]["Actions"][0]["Type"], "forward");
    let task = &resources["TaskDefinition"]["Properties"];
    assert_eq!(task["EphemeralStorage"]["SizeInGiB"], 40);
    let names: Vec<_> = task["ContainerDefinitions"].as_sequence().unwrap().iter().map(|c| &c["Image"]).collect();
    assert_eq!(names.len(), 3);
    let variables = &task["ContainerDefinitions"][0]["Environment"];
    assert!(variables.as_sequence().unwrap().contains(&parsed("{Name: FROM_FILE, Value: \"it's\"}")));
    let deployment = &resources["Service"]["Properties"]["DeploymentConfiguration"];
    assert_eq!((&deployment["MinimumHealthyPercent"], &deployment["MaximumPercent"]), (&0.into(), &100.into()));
    assert_eq!(
        resources["ScaleByResponseTime"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]["TargetValue"],
        0.5
    );
    let strategy = &resources["Service"]["Properties"]["CapacityProviderStrategy"];
    assert_eq!(strategy[0], parsed("{CapacityProvider: FARGATE, Base: 2, Weight: 0}"));

    let container = &task["ContainerDefinitions"][0];
    assert_eq!(container["Ulimits"], parsed("[{Name: nofile, SoftLimit: 1024, HardLimit: 4096}]"));
    assert_eq!(container["LinuxParameters"], parsed("{InitProcessEnabled: true}"));
    assert_eq!(task["Memory"], "2048");

    let backend = parsed(&service(BACKEND, false));
    assert!(
        backend["Resources"].get("TargetGroup").is_none() && backend["Resources"].get("DiscoveryService").is_none()
    );
}

#[test]
fn tasks_run_on_the_environments_instances_where_the_manifest_says_so() {
    let heavy = parsed(&service(ON_INSTANCES, false));
    let (task, service) = (&heavy["Resources"]["TaskDefinition"], &heavy["Resources"]["Service"]["Properties"]);
    assert_eq!(task["Properties"]["RequiresCompatibilities"], parsed("[EC2]"));
    assert_eq!((&task["Properties"]["Cpu"], &task["Properties"]["Memory"]), (&"300".into(), &"700".into()));
    assert!(
        service.get("LaunchType").is_none() && service["CapacityProviderStrategy"][0]["Weight"] == 1,
        "{service:?}"
    );
    let network = &service["NetworkConfiguration"]["AwsvpcConfiguration"];
    assert!(network.get("AssignPublicIp").is_none() && network.get("Subnets").is_some(), "{network:?}");
    let environment = parsed(&with_instances());
    let group = &environment["Resources"]["Instances"]["Properties"];
    assert_eq!((&group["MinSize"], &group["MaxSize"]), (&"0".into(), &"4".into()));
    assert!(environment["Outputs"].get("ContainerInstances").is_some());
    assert!(
        parsed(&template::environment("shop", &Environment::new("test")))["Parameters"].get("InstanceImage").is_none()
    );
    for (change, said) in [
        (
            "network: {vpc: {placement: public}}",
            "manifest.yml:4: launch_type: tasks on container instances have no public",
        ),
        ("network: {vpc: {placement: private}}\ncount: {spot: 1}", "count: Spot is Fargate's"),
        ("network: {vpc: {placement: private}}\nstorage: {ephemeral: 30}", "storage: ephemeral is Fargate's"),
    ] {
        let text = ON_INSTANCES.replace("network: {vpc: {placement: private}}", change);
        let error = Service::read("manifest.yml", &text, &reading()).expect_err(change).to_string();
        assert!(error.contains(said), "{said} is not in\n{error}");
    }
    let error = Environment::read(
        "manifest.yml",
        "name: test\ntype: Environment\ncontainer_instances: {type: a}\n",
        &reading(),
    );
    assert!(error.expect_err("no range").to_string().contains(":3: container_instances.range: is missing"));
}

/// Rules that name what is not there are told by file and line, and not left out.
#[test]
fn overrides_that_fit_nothing_are_told() {
    for (path, said) in [
        ("ContainerDefinitions[7].Cpu", "ContainerDefinitions[7]: the list has 3 items"),
        ("Memory.Limit", "Memory.Limit: there is no map of fields there"),
        ("ExecutionRoleArn[0]", "ExecutionRoleArn[0]: there is no list there"),
    ] {
        let text = format!("{}\n", EVERYTHING.replace("  - {path: Memory,", &format!("  - {{path: '{path}',")));
        let line = text.lines().position(|line| line.contains(path)).unwrap() + 1;
        let service = Service::read("manifest.yml", &text, &reading()).unwrap_or_else(|problems| panic!("{problems}"));
        let deployed = Deployed { https: true, ..Deployed::default() };
        let error = template::service(&service, &deployed).expect_err(path).to_string();
        assert!(error.starts_with(&format!("copilot/front/manifest.yml:{line}: taskdef_overrides: {said}")), "{error}");
    }
}

/// The shapes that Copilot's documentation shows: read, or refused for the one reason there is.
#[test]
fn manifests_of_copilots_shapes_are_read() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/shapes");
    let mut read = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let outcome = Service::read(&name, &text, &reading());
        match name.strip_prefix("refused-").map(|rest| rest.trim_end_matches(".yml")) {
            None => {
                let service = outcome.unwrap_or_else(|problems| panic!("{problems}"));
                let deployed =
                    Deployed { app: "shop".into(), environment: "test".into(), https: true, ..Deployed::default() };
                let resources = &parsed(&template::service(&service, &deployed).expect("no rules"))["Resources"];
                assert_eq!(resources["Service"]["Type"], "AWS::ECS::Service", "{name}");
                read += 1;
            }
            Some(feature) => {
                let said = outcome.expect_err(&name).to_string();
                let reason = match feature {
                    "nlb" => "nlb: not supported",
                    "publish" => "publish: not supported",
                    "efs" => "storage.volumes.content.efs: not supported",
                    "worker" => "Worker Service is not supported",
                    "internal" => "internal load balancers are not supported",
                    other => panic!("no reason is written down for {other}"),
                };
                assert!(said.contains(reason) && said.starts_with(&format!("{name}:")), "{name}: {said}");
            }
        }
    }
    assert_eq!(read, 8);
}
