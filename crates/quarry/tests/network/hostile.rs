//! A hostile image in one service: what it tries is in `programs/hostile.rs`, a row each with its refusal.

use crate::site::{Site, address};
use crate::source_of;
use quarry_aws::iam::op::CreateRole;
use quarry_testkit::PATIENCE;
use serde_json::{Value, json};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows that must have been tried, at least: what a task knows of the host decides how many there are.
const ROWS: usize = 400;

fn nothing_works(isolation: &str) {
    let Some(site) = Site::open(isolation) else { return };
    let data = site.platform.data_dir().to_owned();
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let role = json!({"RoleName": "victim", "AssumeRolePolicyDocument": trust.to_string()});
    let role = site.call::<CreateRole>(role).role.unwrap().arn;
    let (web, db) = (site.group("web"), site.group("db"));
    let network =
        |group: &str| json!({"awsvpcConfiguration": {"subnets": [site.subnets[0]], "securityGroups": [group]}});
    let victim = site.define(
        "victim",
        json!([{
            "name": "peer", "portMappings": [{"containerPort": 3000}],
            "environment": [{"name": "PASSWORD", "value": "of the victim"}],
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
        }]),
        json!({"taskRoleArn": role, "volumes": [{"name": "data"}]}),
    );
    let victim = site.run_in(&victim, network(&db));
    let id = |task: &quarry_aws::ecs::Task| task.task_arn.as_deref().unwrap().rsplit('/').next().unwrap().to_owned();
    let directory = data.join("tasks").join(id(&victim));
    let spec = std::fs::read_to_string(directory.join("spec.json")).unwrap();
    let after = |prefix: &str| {
        let rest = spec.split_once(prefix).unwrap_or_else(|| panic!("no {prefix} in {spec}")).1;
        rest.split(['"', '/']).next().unwrap().to_owned()
    };

    // What is there to attack on the host.
    let on_loopback = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = on_loopback.local_addr().unwrap().port();
    let name = format!("quarry-hostile-{}-{isolation}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let mut foreign = vec![
        format!("{}:3000", address(&victim)),
        format!("{}:3000", source_of(&site, &victim)),
        format!("127.0.0.1:{port}"),
        format!("198.19.0.1:{port}"),
        "198.19.0.1:22".into(),
        "198.19.0.1:80".into(),
        "192.0.2.1:443".into(),
        "169.254.170.2:4566".into(),
        "224.0.0.1:80".into(),
        "10.0.0.1:80".into(),
    ];
    foreign.extend(own_address().map(|own| format!("{own}:{port}")));
    let secrets: Value = serde_json::from_slice(&std::fs::read(data.join("secrets.json")).unwrap()).unwrap();
    let in_data = |names: &[&str]| names.iter().map(|name| data.join(name).display().to_string()).collect::<Vec<_>>();
    let in_task = |name: &str| directory.join(name).display().to_string();
    let mut files = in_data(&["secrets.json", "vault.key", "control.db", "serve.json", "proxy/snapshot.json"]);
    files.extend([in_task("spec.json"), in_task("peer.log"), "/etc/shadow".into(), "/etc/machine-id".into()]);
    let directories = in_data(&["", "tasks", "volumes", "layers", "registry"]).join(" ") + " /root /home /var/lib";
    let mut sockets = in_data(&["control.sock", "hub/s", "proxy/handover"]);
    sockets.push(in_task("s"));
    let variables = [
        ("HOST_PIDS", host_processes(&data).join(" ")),
        ("HOST_FILES", files.join(" ")),
        ("HOST_DIRECTORIES", directories),
        ("HOST_SOCKETS", sockets.join(" ")),
        ("HOST_ABSTRACT", name),
        ("HOST_DATA", data.display().to_string()),
        ("HOST_KEY_ID", secrets["access_key_id"].as_str().unwrap().to_owned()),
        ("FOREIGN", foreign.join(" ")),
        ("VICTIM_SOURCE", source_of(&site, &victim).to_string()),
        ("VICTIM_CREDENTIALS", after("/v2/credentials/")),
        ("VICTIM_CONTAINER", after("/v4/")),
    ];
    let environment: Vec<Value> = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let hostile = site.push_program("hostile");
    let before = foreign_packets(&data);
    let attacker =
        site.define("hostile", json!([{"name": "hostile", "image": hostile, "environment": environment}]), json!({}));
    let attacker = site.run_in(&attacker, network(&web));
    let log = data.join("tasks").join(id(&attacker)).join("hostile.log");
    // Silence is waited for many times: this takes its time on a busy machine.
    let deadline = Instant::now() + 3 * PATIENCE;
    let said = loop {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if said.ends_with("done\n") || Instant::now() > deadline {
            break said;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let of = |kind: &str| said.lines().filter(|line| line.starts_with(kind)).collect::<Vec<_>>();
    assert!(said.ends_with("done\n") && !said.contains("panicked"), "{said}");
    assert!(of("WORKED").is_empty(), "{isolation}: {:#?}", of("WORKED"));
    assert!(of("other").is_empty(), "refused in another way than expected, {isolation}: {:#?}", of("other"));
    assert!(of("held").len() >= ROWS, "only {} rows", of("held").len());
    println!("{isolation}: {} attempts, each refused as it should be", of("held").len());
    // Raw sockets are there, and what was forged with them came no further than the hub's door.
    let forged = (of("sent as the other").len() + of("sent as somebody outside").len()) as u64;
    let stopped = foreign_packets(&data) - before;
    assert!(forged > 0 && stopped >= forged, "{isolation}: {forged} forged packets, {stopped} stopped");
    // Who asked for another's was noted, and the other goes on.
    let log = site.platform.log();
    for what in ["credentials", "metadata"] {
        assert!(log.contains(&format!("refused: a task asks for the {what} of another")), "{log}");
    }
    assert_eq!(site.task(victim.task_arn.as_ref().unwrap()).last_status.as_deref(), Some("RUNNING"));
}

/// The address of this machine on its network, if it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: this asks for the route.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|own| !own.is_loopback())
}

/// Packets that the hub has refused because their source is not whom they came from.
fn foreign_packets(data: &Path) -> u64 {
    let named = |pid: &String| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(" holder ") && line.contains(&*data.to_string_lossy())
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let holder = pids.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).find(named).expect("the hub's holder");
    let text = std::fs::read_to_string(format!("/proc/{holder}/net/netstat")).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let counted = names.split(' ').zip(values.split(' ')).filter(|(name, _)| *name == "IPReversePathFilter");
    counted.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

/// Some processes of the platform, and of the tasks that run.
fn host_processes(data: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let is_of_it = |pid: &String| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
        *pid != own && (line.contains(&*data.to_string_lossy()) || read("comm") == b"peer\n")
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut pids: Vec<String> = pids.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).filter(is_of_it).collect();
    pids.sort_by_key(|pid| std::cmp::Reverse(pid.parse::<u32>().unwrap_or_default()));
    pids.truncate(8);
    assert!(!pids.is_empty());
    pids
}

#[test]
fn a_hostile_image_gets_nowhere() {
    nothing_works("user-namespaces");
}

#[test]
fn a_hostile_image_gets_nowhere_rootless() {
    nothing_works("rootless");
}
