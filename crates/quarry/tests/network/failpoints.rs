//! `serve` ends at a point between a call and its last effect, with real tasks: what was acknowledged holds, no
//! task is there twice or left over, and all comes to be as wanted.

use crate::site::Site;
use quarry_aws::ecs::op::{CreateService, DeleteService, DescribeServices, UpdateService};
use quarry_domain::failpoint;
use quarry_testkit::{PATIENCE, image, wait_for};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

#[test]
fn a_crash_between_call_and_effect_loses_and_doubles_nothing() {
    let points =
        ["api.committed", "service.committed", "image.filled", "runtime.planned", "runtime.started", "runtime.removed"];
    crash_at(&points);
}

#[test]
#[ignore = "a minute: every point in turn, by name"]
fn a_crash_at_every_point_loses_and_doubles_nothing() {
    crash_at(&failpoint::ALL);
}

fn crash_at(points: &[&str]) {
    let mut site = Site::on(quarry_testkit::Platform::start(env!("CARGO_BIN_EXE_quarry")).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("peer");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/peer.rs");
    image::compile(&source, &program).unwrap();
    let (group, _) = site.balance();
    for (n, point) in points.iter().enumerate() {
        let begun = Instant::now();
        let service = format!("service-{n}");
        // An image of its own, so that its layers are unpacked anew.
        let dockerfile = format!("FROM scratch\nCOPY peer /peer-{n}\nENTRYPOINT [\"/peer-{n}\"]\n");
        let built = image::built(&dockerfile, "peer", &program).unwrap();
        let image = site.platform.push(&format!("peer-{n}"), "v1", built).unwrap();
        let containers = json!([{"name": "peer", "image": image, "portMappings": [{"containerPort": 3000}]}]);
        let definition = site.define(&format!("peer-{n}"), containers, json!({}));
        site.platform.terminate_serve().unwrap();
        site.platform.restart_serve_until(point).unwrap();
        site.refresh();

        // A service comes, shrinks and goes, until the crash.
        let create = json!({
            "cluster": "demo", "serviceName": service, "taskDefinition": definition, "desiredCount": 2,
            "launchType": "FARGATE", "networkConfiguration": site.network(),
            "loadBalancers": [{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}],
        });
        let mut created = site.tried::<CreateService>(create.clone());
        let (mut desired, mut deleted, mut asked_to_delete) = (2, false, false);
        let deadline = Instant::now() + PATIENCE;
        while !site.platform.has_aborted() {
            assert!(Instant::now() < deadline, "{point} is not come to\n{}", site.platform.log());
            if !created {
                created = site.tried::<CreateService>(create.clone());
            }
            let running = || Some(site.described(&service)?.running_count? == desired);
            if created && running() == Some(true) && !deleted {
                let call = json!({"cluster": "demo", "service": service, "desiredCount": desired - 1});
                if desired > 0 && site.tried::<UpdateService>(call) {
                    desired -= 1;
                } else if desired == 0 {
                    asked_to_delete = true;
                    deleted = site.tried::<DeleteService>(json!({"cluster": "demo", "service": service}));
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        site.restart_after_crash();

        // What was acknowledged is there; the rest is done or not, but not half.
        let found = site.described(&service).filter(|found| found.status.as_deref() == Some("ACTIVE"));
        assert!(found.is_some() || !created || asked_to_delete, "{point}: an acknowledged service is gone");
        deleted |= asked_to_delete && found.is_none();
        if let Some(found) = &found {
            let there = found.desired_count.unwrap();
            assert!(
                [desired, desired - 1].contains(&there) && !deleted,
                "{point}: {there} wanted, {desired} acknowledged"
            );
        } else if !created {
            created = site.tried::<CreateService>(create);
            assert!(created, "{point}: it cannot be made afterwards");
        }
        let wanted = found.map_or(if deleted { 0 } else { 2 }, |found| found.desired_count.unwrap());
        as_wanted(&site, &service, wanted, point);
        if !deleted {
            site.call::<UpdateService>(json!({"cluster": "demo", "service": service, "desiredCount": 1}));
            as_wanted(&site, &service, 1, point);
            site.call::<DeleteService>(json!({"cluster": "demo", "service": service, "force": true}));
            as_wanted(&site, &service, 0, point);
        }
        println!("{point}: survived, {} ms", begun.elapsed().as_millis());
    }
    assert!(site.platform.quarry(&["stop"]).unwrap().status.success());
    assert_eq!(quarry_runtime::leftovers(site.platform.data_dir()), Vec::<String>::new());
}

/// The API tells of so many running tasks, and each has one directory and one shim.
fn as_wanted(site: &Site, service: &str, wanted: i32, point: &str) {
    let mut last = String::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let tasks = site.tasks(service);
        let running = tasks.iter().all(|task| task.last_status.as_deref() == Some("RUNNING"));
        let ids: BTreeSet<String> =
            tasks.iter().map(|task| task.task_arn.as_ref().unwrap().rsplit('/').next().unwrap().to_owned()).collect();
        let directories = std::fs::read_dir(site.platform.data_dir().join("tasks")).unwrap().flatten();
        let directories: BTreeSet<String> = directories.map(|e| e.file_name().into_string().unwrap()).collect();
        let shims = site.shims();
        let each_once = shims.len() == ids.len() && shims.iter().cloned().collect::<BTreeSet<_>>() == ids;
        if running && tasks.len() as i32 == wanted && directories == ids && each_once {
            return;
        }
        let now = format!("tasks {ids:?} (all run: {running}), directories {directories:?}, shims {shims:?}");
        if now != last {
            last = now;
        }
        assert!(Instant::now() < deadline, "{point}: {wanted} wanted: {last}\n{}", site.platform.log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// After the reboot of a machine nothing of what ran is there, but all that was written: directories of tasks, their
/// pid files, which name processes that others are now, and mounts and control groups that nobody is in.
#[test]
fn after_a_reboot_all_comes_back() {
    let mut site = Site::on(quarry_testkit::Platform::start(env!("CARGO_BIN_EXE_quarry")).unwrap());
    let definition = site.define("peer", json!([{"name": "peer"}]), json!({}));
    site.call::<CreateService>(json!({
        "cluster": "demo", "serviceName": "peer", "taskDefinition": definition, "desiredCount": 3,
        "launchType": "FARGATE", "networkConfiguration": site.network(),
    }));
    as_wanted(&site, "peer", 3, "before");
    let before: BTreeSet<String> = site.tasks("peer").into_iter().filter_map(|task| task.task_arn).collect();
    site.platform.kill_serve().unwrap();
    for role in ["proxy", "shim", "holder"] {
        for (pid, _) in site.processes(role) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    wait_for("nothing of it runs", || {
        ["proxy", "shim", "holder"].iter().all(|role| site.processes(role).is_empty()).then_some(())
    });
    // Every process id that was written down is somebody else's now: this test's own, and init's.
    let data = site.platform.data_dir().to_owned();
    let mut reused = 0;
    for path in files(&data) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let own = std::process::id();
        if name == "lock" || name.ends_with(".lock") {
            if text.trim().parse::<u32>().is_ok() {
                std::fs::write(&path, format!("{own}\n")).unwrap();
                reused += 1;
            }
        } else if name == "state.json" {
            let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
            state["shim"] = json!(own);
            for container in state["containers"].as_array_mut().into_iter().flatten() {
                if let Some(pid) = container.pointer_mut("/state/Running/pid") {
                    *pid = json!(own);
                }
            }
            std::fs::write(&path, state.to_string()).unwrap();
            reused += 1;
        }
    }
    assert!(reused >= 3, "no process ids are written down");
    site.platform.restart_serve().unwrap();
    site.refresh();
    as_wanted(&site, "peer", 3, "after the reboot");
    let after: BTreeSet<String> = site.tasks("peer").into_iter().filter_map(|task| task.task_arn).collect();
    assert!(after.is_disjoint(&before), "what ended with the machine is replaced");
    assert!(site.platform.quarry(&["stop"]).unwrap().status.success());
    assert_eq!(quarry_runtime::leftovers(&data), Vec::<String>::new());
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let skipped = ["layers", "registry", "volumes", "log"];
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !skipped.contains(&entry.file_name().to_string_lossy().as_ref()) {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

impl Site {
    fn described(&self, service: &str) -> Option<quarry_aws::ecs::Service> {
        let input = json!({"cluster": "demo", "services": [service]});
        self.answered::<DescribeServices>(input)?.services?.pop()
    }
}
