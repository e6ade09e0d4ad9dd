use super::*;
use crate::image::{ImageConfig, ResolvedImage};
use crate::task::SecretEnv;
use std::collections::BTreeMap;

fn definition(json: serde_json::Value) -> TaskDefinition {
    serde_json::from_value(json).unwrap()
}

fn api() -> serde_json::Value {
    serde_json::json!({
        "family": "api",
        "containerDefinitions": [{
            "name": "api", "image": "api:v1", "cpu": 256, "memory": 256,
            "portMappings": [{"containerPort": 3000, "hostPort": 0}],
            "environment": [{"name": "A", "value": "1"}],
        }],
    })
}

/// `api()` with one member of its container (or, with a leading `/`, of itself) set.
fn with(member: &str, value: serde_json::Value) -> TaskDefinition {
    let mut json = api();
    match member.strip_prefix('/') {
        Some(member) => json[member] = value,
        None => json["containerDefinitions"][0][member] = value,
    }
    definition(json)
}

#[test]
fn the_tutorials_definition_is_valid_and_completed() {
    let mut api = definition(api());
    assert_eq!(validate(&api, "us-east-1"), Ok(()));
    complete(&mut api);
    let container = &containers(&api)[0];
    assert_eq!(container.essential, Some(true));
    assert_eq!(container.port_mappings.as_ref().unwrap()[0].protocol.as_deref(), Some("tcp"));
    let demands = demands(&api, &TaskOverride::default());
    assert_eq!((demands.demand.cpu, demands.demand.memory), (256, 256));
    assert_eq!(demands.ports, [PortWanted { container: "api".into(), container_port: 3000, host_port: 0 }]);
    assert_eq!(stop_timeout(&api), DEFAULT_STOP_TIMEOUT);
}

#[test]
fn what_is_wrong_or_not_offered_is_refused_in_words() {
    use serde_json::json;
    let cases = [
        ("name", json!(""), "Container.name should not be null or empty."),
        ("name", json!("a b"), "Container.name contains invalid characters"),
        ("image", json!(""), "Container.image should not be null or empty."),
        ("memory", json!(null), "At least one of 'memory' or 'memoryReservation' must be specified."),
        ("memory", json!(3), "at least 6 MiB"),
        ("memoryReservation", json!(300), "greater than or equal to 'memoryReservation'"),
        ("cpu", json!(-1), "Invalid 'cpu' setting for container 'api'."),
        ("essential", json!(false), "must be marked as essential"),
        ("portMappings", json!([{"containerPort": 0}]), "between 1 and 65535"),
        ("portMappings", json!([{"containerPort": 80}, {"containerPort": 80}]), "more than once"),
        ("portMappings", json!([{"containerPort": 80, "protocol": "udp"}]), "udp"),
        ("mountPoints", json!([{"sourceVolume": "x", "containerPath": "/x"}]), "Unknown volume 'x'."),
        ("workingDirectory", json!("data"), "absolute path"),
        ("privileged", json!(true), "'containerDefinitions[api].privileged' is not supported"),
        ("healthCheck", json!({"command": ["x"]}), "must begin with CMD or CMD-SHELL"),
        ("healthCheck", json!({"command": ["CMD"]}), "must begin with CMD or CMD-SHELL"),
        (
            "healthCheck",
            json!({"command": ["CMD", "x"], "interval": 4}),
            "interval for container 'api': it must be between 5",
        ),
        ("healthCheck", json!({"command": ["CMD", "x"], "retries": 11}), "between 1 and 10"),
        ("dependsOn", json!([{"containerName": "x", "condition": "START"}]), "which does not exist"),
        ("dependsOn", json!([{"containerName": "api", "condition": "START"}]), "form a cycle"),
        ("dependsOn", json!([{"containerName": "api", "condition": "HEALTHY"}]), "has no health check"),
        ("dependsOn", json!([{"containerName": "api", "condition": "SUCCESS"}]), "which is essential"),
        ("dependsOn", json!([{"containerName": "api", "condition": "SOON"}]), "Invalid dependency condition 'SOON'"),
        ("secrets", json!([{"name": "A", "valueFrom": "b"}]), "must be unique"),
        ("linuxParameters", json!({"capabilities": {"add": ["SYS_ADMIN"]}}), "The capability 'SYS_ADMIN'"),
        ("linuxParameters", json!({"capabilities": {"add": ["ALL"]}}), "The capability 'ALL'"),
        (
            "linuxParameters",
            json!({"capabilities": {"drop": ["FLYING"]}}),
            "'FLYING' of container 'api' does not exist",
        ),
        (
            "linuxParameters",
            json!({"devices": [{"hostPath": "/dev/kvm"}]}),
            "linuxParameters.devices' is not supported",
        ),
        ("linuxParameters", json!({"maxSwap": 512}), "no swap space here"),
        ("linuxParameters", json!({"swappiness": 101}), "between 0 and 100"),
        ("linuxParameters", json!({"sharedMemorySize": 0}), "at least 1 MiB"),
        ("linuxParameters", json!({"tmpfs": [{"containerPath": "run", "size": 1}]}), "an absolute path"),
        ("linuxParameters", json!({"tmpfs": [{"containerPath": "/run", "size": 0}]}), "at least 1 MiB"),
        (
            "linuxParameters",
            json!({"tmpfs": [{"containerPath": "/run", "size": 1, "mountOptions": ["suid"]}]}),
            "the mount option 'suid' is not supported",
        ),
        (
            "linuxParameters",
            json!({"tmpfs": [{"containerPath": "/run", "size": 1, "mountOptions": ["mode=x"]}]}),
            "the mount option 'mode=x' is not supported",
        ),
        (
            "linuxParameters",
            json!({"tmpfs": [{"containerPath": "/run", "size": 1}, {"containerPath": "/run", "size": 1}]}),
            "something else is mounted there",
        ),
        ("ulimits", json!([{"name": "files", "softLimit": 1, "hardLimit": 1}]), "there is no such limit"),
        ("ulimits", json!([{"name": "nofile", "softLimit": 2, "hardLimit": 1}]), "not be greater than hardLimit"),
        ("ulimits", json!([{"name": "nofile", "softLimit": -2, "hardLimit": 1}]), "-1 for no limit"),
        (
            "ulimits",
            json!([{"name": "core", "softLimit": 0, "hardLimit": 0}, {"name": "core", "softLimit": 0, "hardLimit": 0}]),
            "more than once",
        ),
        ("extraHosts", json!([{"hostname": "db", "ipAddress": "here"}]), "Invalid 'extraHosts' setting"),
        ("extraHosts", json!([{"hostname": "d b", "ipAddress": "10.0.0.1"}]), "Invalid 'extraHosts' setting"),
        ("systemControls", json!([{"namespace": "kernel.hostname", "value": "x"}]), "only those of the task's own"),
        ("systemControls", json!([{"namespace": "net.", "value": "1"}]), "only those of the task's own"),
        ("systemControls", json!([{"namespace": "net.a/../b", "value": "1"}]), "the name is not valid"),
        ("systemControls", json!([{"namespace": "net.a..b", "value": "1"}]), "the name is not valid"),
        ("systemControls", json!([{"namespace": "net.core.somaxconn", "value": ""}]), "the value is not valid"),
        ("logConfiguration", json!({"logDriver": "awslogs"}), "requires options: awslogs-group"),
        ("logConfiguration", json!({"logDriver": "syslog"}), "not supported"),
        ("/family", json!("a/b"), "Family contains invalid characters"),
        ("/networkMode", json!("host"), "network mode 'host' is not supported"),
        ("/networkMode", json!("bus"), "Invalid network mode"),
        ("/containerDefinitions", json!([]), "Container list cannot be empty."),
        ("/pidMode", json!("host"), "'pidMode' is not supported"),
        ("/cpu", json!("many"), "Invalid 'cpu' setting for task"),
        ("/memory", json!("100"), "must not be greater than the 'memory' of the task"),
        ("/requiresCompatibilities", json!(["FARGATE"]), "Fargate only supports network mode ‘awsvpc’."),
        ("/requiresCompatibilities", json!(["EXTERNAL"]), "'EXTERNAL' is not supported"),
        ("/networkMode", json!("none"), "Port mappings are not supported when networkMode=none."),
        ("/ephemeralStorage", json!({"sizeInGiB": 20}), "between 21 and 200"),
        ("/volumes", json!([{"name": "v", "host": {"sourcePath": "/srv/../etc"}}]), "must be an absolute path"),
        ("/volumes", json!([{"name": "v"}, {"name": "v"}]), "Duplicate volume name"),
        ("/volumes", json!([{"name": "../v"}]), "invalid"),
        ("/volumes", json!([{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]), "efs"),
        ("/placementConstraints", json!([{"type": "memberOf", "expression": "x"}]), "Invalid expression"),
    ];
    for (member, value, words) in cases {
        let error = validate(&with(member, value.clone()), "us-east-1").expect_err(&format!("{member} {value}"));
        assert!(error.0.contains(words), "{member} {value}: {error}");
    }
}

#[test]
fn neutral_values_of_what_is_not_offered_are_no_reason_to_refuse() {
    use serde_json::json;
    for (member, value) in [
        ("privileged", json!(false)),
        ("secrets", json!([])),
        ("linuxParameters", json!({"capabilities": {"drop": ["ALL"]}, "initProcessEnabled": true})),
        ("/volumes", json!([{"name": "v", "host": {}}])),
        ("/requiresCompatibilities", json!(["EC2"])),
        ("/networkMode", json!("awsvpc")),
        ("/taskRoleArn", json!("arn:aws:iam::1:role/x")),
    ] {
        assert_eq!(validate(&with(member, value.clone()), "us-east-1"), Ok(()), "{member} {value}");
    }
}

#[test]
fn lowering_joins_image_definition_and_overrides() {
    let mut json = api();
    json["cpu"] = "0.5 vCPU".into();
    json["memory"] = "1GB".into();
    json["volumes"] = serde_json::json!([
        {"name": "data", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true}},
        {"name": "scratch", "host": {}},
    ]);
    let container = &mut json["containerDefinitions"][0];
    container["mountPoints"] = serde_json::json!([
        {"sourceVolume": "data", "containerPath": "/data"},
        {"sourceVolume": "scratch", "containerPath": "/tmp", "readOnly": true},
    ]);
    container["dnsSearchDomains"] = serde_json::json!(["own.test"]);
    let definition = definition(json);
    assert_eq!(validate(&definition, "us-east-1"), Ok(()));
    let overrides: TaskOverride = serde_json::from_value(serde_json::json!({
        "containerOverrides": [{"name": "api", "command": ["--debug"], "environment": [{"name": "A", "value": "2"}]}],
    }))
    .unwrap();
    assert_eq!(check_overrides(&definition, &overrides), Ok(()));
    let image = ResolvedImage {
        digest: "sha256:0".into(),
        config: ImageConfig {
            entrypoint: vec!["/api".into()],
            cmd: vec!["serve".into()],
            env: vec!["PATH=/bin".into(), "A=0".into()],
            ..ImageConfig::default()
        },
        layers: Vec::new(),
    };
    let spec = lower(
        &definition,
        &overrides,
        &Context {
            task_id: "0123456789abcdef",
            address: None,
            private_address: None,
            search: &["board.local".to_owned()],
            dns: None,
            environment: &[("AWS_ENDPOINT_URL".into(), "http://198.19.0.1:4566".into())],
            images: &BTreeMap::from([("api".to_owned(), image)]),
            secrets: &BTreeMap::from([("api".to_owned(), SecretEnv(vec!["A=secret".into()]))]),
            volume: &|source| {
                Ok(match source {
                    VolumeSource::Shared(name) => format!("/volumes/{name}").into(),
                    VolumeSource::Task(name) => format!("/task/{name}").into(),
                    VolumeSource::Host(path) => path.into(),
                })
            },
        },
    )
    .unwrap();
    assert_eq!(spec.hostname, "0123456789ab");
    assert_eq!((spec.limits.cpu_quota, spec.limits.memory), (Some(512), Some(1024)));
    let container = &spec.containers[0];
    assert_eq!(container.args, ["/api", "--debug"]);
    assert_eq!(container.secrets.0, ["A=secret"]);
    assert_eq!(container.env, ["AWS_ENDPOINT_URL=http://198.19.0.1:4566", "PATH=/bin"]);
    assert_eq!(container.working_dir, "/");
    assert_eq!((container.limits.cpu_shares, container.limits.memory), (Some(256), Some(256)));
    assert_eq!(container.ports, [3000]);
    assert_eq!(container.search, ["own.test", "board.local"]);
    let mounts: Vec<_> = container.mounts.iter().map(|m| (m.source.to_str().unwrap(), m.read_only)).collect();
    assert_eq!(mounts, [("/volumes/data", false), ("/task/scratch", true)]);
}

#[test]
fn overrides_name_containers_of_the_definition() {
    let overrides: TaskOverride =
        serde_json::from_value(serde_json::json!({"containerOverrides": [{"name": "web"}]})).unwrap();
    assert_eq!(
        check_overrides(&definition(api()), &overrides),
        Err(Invalid("Override for container named web is not a container in the TaskDefinition.".into()))
    );
}

#[test]
fn stop_signals_of_images_are_names_or_numbers() {
    use crate::task::Signal;
    let cases = [(None, Signal::Term), (Some("SIGQUIT"), Signal::Other(3)), (Some("28"), Signal::Other(28))];
    for (image, signal) in cases {
        assert_eq!(stop_signal(image), signal);
    }
    assert_eq!((stop_signal(Some("sigkill")), stop_signal(Some("99"))), (Signal::Kill, Signal::Term));
}

#[test]
fn what_fargate_needs() {
    use serde_json::json;
    let fargate = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = api();
        json["networkMode"] = "awsvpc".into();
        json["requiresCompatibilities"] = json!(["FARGATE"]);
        json["cpu"] = "256".into();
        json["memory"] = "512".into();
        change(&mut json);
        let definition = definition(json);
        validate(&definition, "us-east-1").map(|()| definition).map_err(|invalid| invalid.0)
    };
    let mut valid = fargate(&|_| {}).unwrap();
    complete(&mut valid);
    assert_eq!(containers(&valid)[0].port_mappings.as_ref().unwrap()[0].host_port, Some(3000));
    let demands = demands(&valid, &TaskOverride::default());
    assert_eq!((demands.demand.ports.len(), demands.ports[0].host_port), (0, 3000));
    fargate(&|d| (d["cpu"], d["memory"]) = ("1 vCPU".into(), "3 GB".into())).unwrap();
    fargate(&|d| d["containerDefinitions"][0]["portMappings"][0]["hostPort"] = 3000.into()).unwrap();

    let awslogs = json!({"logDriver": "awslogs", "options": {"awslogs-group": "g"}});
    type Case<'a> = (&'a dyn Fn(&mut serde_json::Value), &'a str);
    let cases: [Case<'_>; 8] = [
        (&|d| d["networkMode"] = "bridge".into(), "Fargate only supports network mode ‘awsvpc’."),
        (&|d| d["cpu"] = json!(null), "Fargate requires that 'cpu' be defined at the task level."),
        (&|d| d["memory"] = json!(null), "Fargate requires that 'memory' be defined at the task level."),
        (&|d| d["memory"] = "4096".into(), "No Fargate configuration exists for given values."),
        (&|d| d["cpu"] = "300".into(), "No Fargate configuration exists for given values."),
        (&|d| d["containerDefinitions"][0]["logConfiguration"] = awslogs.clone(), "execution role ARN"),
        (&|d| d["containerDefinitions"][0]["hostname"] = "api".into(), "hostname is not supported on container when"),
        (
            &|d| d["containerDefinitions"][0]["portMappings"][0]["hostPort"] = 80.into(),
            "the host ports and container ports in port mappings must match.",
        ),
    ];
    for (change, words) in cases {
        let refused = fargate(change).unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
}

/// The table of the developer guide, row by row.
#[test]
fn fargate_sizes() {
    let rows: [(u32, &[u32]); 7] = [
        (256, &[512, 1024, 2048]),
        (512, &[1024, 2048, 3072, 4096]),
        (1024, &[2048, 3072, 4096, 5120, 6144, 7168, 8192]),
        (2048, &[4096, 5120, 16_384]),
        (4096, &[8192, 9216, 30_720]),
        (8192, &[16_384, 20_480, 61_440]),
        (16_384, &[32_768, 40_960, 122_880]),
    ];
    let exists = |cpu: u32, memory: u32| {
        let definition = TaskDefinition {
            cpu: Some(cpu.to_string()),
            memory: Some(memory.to_string()),
            ..TaskDefinition::default()
        };
        check_fargate_size(&definition, &TaskOverride::default()).is_ok()
    };
    for (cpu, memories) in rows {
        assert!(memories.iter().all(|&memory| exists(cpu, memory)), "{cpu}");
        let (least, most) = (memories[0], memories[memories.len() - 1]);
        assert!(
            ![least - 256, least + 100, most + 512, most + 8192].iter().any(|&memory| exists(cpu, memory)),
            "{cpu}"
        );
    }
    assert!(!exists(256, 1536) && !exists(0, 512) && !exists(3072, 8192));
}

#[test]
fn capabilities_are_the_usual_ones_without_what_is_dropped() {
    use crate::task::Capability;
    use serde_json::{Value, json};
    let of = |linux: Value| {
        let mut json = api();
        json["containerDefinitions"][0]["linuxParameters"] = linux;
        let made = definition(json);
        assert_eq!(validate(&made, "us-east-1"), Ok(()));
        options::options(&containers(&made)[0], &made).unwrap().capabilities
    };
    assert_eq!(of(json!({})), Capability::USUAL);
    let but_raw: Vec<Capability> = Capability::USUAL.into_iter().filter(|one| *one != Capability::NetRaw).collect();
    assert_eq!(of(json!({"capabilities": {"drop": ["NET_RAW", "SYS_ADMIN"]}})), but_raw);
    let all = |add: Value| of(json!({"capabilities": {"drop": ["ALL"], "add": add}}));
    assert_eq!(all(json!([])), []);
    assert_eq!(all(json!(["CHOWN"])), [Capability::Chown]);
    assert_eq!(of(json!({"capabilities": {"drop": ["CHOWN"], "add": ["CHOWN", "SYS_PTRACE"]}})).len(), 15);
}

#[test]
fn options_are_lowered_as_the_runtime_takes_them() {
    use crate::task::{Capability, UlimitName};
    use serde_json::json;
    let mut json = api();
    let container = &mut json["containerDefinitions"][0];
    container["ulimits"] = json!([
        {"name": "nofile", "softLimit": 1024, "hardLimit": 2048}, {"name": "core", "softLimit": 0, "hardLimit": -1},
    ]);
    container["linuxParameters"] = json!({
        "capabilities": {"add": ["SYS_PTRACE", "CHOWN"], "drop": ["ALL"]}, "sharedMemorySize": 128, "maxSwap": 0,
        "swappiness": 10, "initProcessEnabled": true,
        "tmpfs": [{"containerPath": "/run", "size": 16, "mountOptions": ["rw", "noexec", "mode=0700", "uid=7"]},
                  {"containerPath": "/opt/x", "size": 1, "mountOptions": ["ro", "exec"]}],
    });
    container["extraHosts"] = json!([{"hostname": "db", "ipAddress": "10.0.0.7"}]);
    container["systemControls"] = json!([{"namespace": "net.core.somaxconn", "value": "77"}]);
    let made = definition(json.clone());
    assert_eq!(validate(&made, "us-east-1"), Ok(()));
    let options = options::options(&containers(&made)[0], &made).unwrap();
    assert_eq!(
        (options.ulimits[0].resource, options.ulimits[0].soft, options.ulimits[0].hard),
        (UlimitName::Nofile, 1024, 2048)
    );
    assert_eq!(options.ulimits[1].hard, u64::MAX);
    assert_eq!(options.capabilities, [Capability::Chown, Capability::SysPtrace]);
    assert_eq!((options.shared_memory, options.tmpfs.len()), (Some(128), 2));
    assert_eq!(options.tmpfs[0].settings, [("mode".into(), "0700".into()), ("uid".into(), "7".into())]);
    assert!(options.tmpfs[1].read_only && options.tmpfs[1].executable && !options.tmpfs[0].executable);
    assert_eq!(options.extra_hosts, [("10.0.0.7".parse().unwrap(), "db".to_owned())]);
    assert_eq!(options.system_controls, [("net/core/somaxconn".to_owned(), "77".to_owned())]);

    // Fargate has fewer, each refused by its name.
    json["networkMode"] = "awsvpc".into();
    json["cpu"] = "256".into();
    json["memory"] = "512".into();
    assert!(validate(&definition(json.clone()), "us-east-1").unwrap_err().0.contains("Extra hosts are not supported"));
    json["containerDefinitions"][0]["extraHosts"] = json!([]);
    let fargate = |json: &serde_json::Value| check_fargate(&definition(json.clone())).map_err(|error| error.0);
    assert!(fargate(&json).unwrap_err().contains("linuxParameters.maxSwap"));
    let linux = &mut json["containerDefinitions"][0]["linuxParameters"];
    for name in ["maxSwap", "swappiness", "sharedMemorySize"] {
        linux.as_object_mut().unwrap().remove(name);
    }
    assert!(fargate(&json).unwrap_err().contains("only SYS_PTRACE can be added"));
    json["containerDefinitions"][0]["linuxParameters"]["capabilities"]["add"] = json!(["SYS_PTRACE"]);
    assert_eq!(fargate(&json), Ok(()));
    json["volumes"] = json!([{"name": "v", "host": {"sourcePath": "/srv"}}]);
    assert_eq!(fargate(&json).unwrap_err(), "host.sourcePath should not be set for volumes in Fargate.");
    let allowed = ["/srv/data".into()];
    assert!(is_allowed("/srv/data", &allowed) && is_allowed("/srv/data/a", &allowed));
    assert!(!is_allowed("/srv/database", &allowed) && !is_allowed("/srv", &allowed));
}
