//! Addresses of tasks and what listens at them.

use super::{Stage, host_port, id};
use crate::ecs::records::{LastStatus, StoppedTask, Task};
use crate::ecs::tasks::endpoints;
use crate::link::snapshot::build;
use quarry_domain::address;
use quarry_domain::snapshot::{Endpoint, Relay, RelayListen};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

/// What is relayed to tasks, by the snapshot that the proxies would get.
fn relays(stage: &Stage) -> Vec<Relay> {
    let platform = &stage.world.platform;
    let snapshot = platform.store.read(|tx| build(tx, &platform.config, &endpoints(tx)?)).unwrap();
    snapshot.relays.into_iter().filter(|relay| matches!(relay.to, Endpoint::Task { .. })).collect()
}

fn records(stage: &Stage) -> Vec<Task> {
    stage.world.platform.store.read(|tx| tx.all::<Task>()).unwrap()
}

#[test]
fn a_bridge_task_is_relayed_at_its_private_address_and_host_port_while_it_runs() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, false);
    stage.reconciler.pass();
    let pending = records(&stage).remove(0);
    assert_eq!(pending.status, LastStatus::Pending);
    assert!(pending.private_address.is_some_and(address::is_private));
    assert_eq!(relays(&stage), [], "nobody is let in before it runs");

    stage.settle();
    let task = stage.tasks("RUNNING").remove(0);
    let listen = SocketAddr::from((pending.private_address.unwrap(), host_port(&task)));
    let found = relays(&stage);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].listen, RelayListen::Hub(listen));
    assert!(matches!(&found[0].to, Endpoint::Task { task: of, container_port: 3000, .. } if *of == id(&task)));
    let spec = stage.world.runtime.launched.lock().unwrap()[0].clone();
    assert_eq!(spec.private_address, pending.private_address);

    stage.update(|service| service.desired_count = Some(0));
    stage.settle();
    assert_eq!(relays(&stage), []);
}

#[test]
fn private_addresses_are_unique_and_a_freed_one_is_not_given_again_at_once() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 3, false);
    stage.settle();
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let now: Vec<Ipv4Addr> = records(&stage).iter().map(|task| task.private_address.unwrap()).collect();
        assert_eq!(now.len(), 3);
        for address in now {
            assert!(seen.insert(address), "{address} was given again");
        }
        for task in records(&stage) {
            stage.ended(&task.id, Some(1));
        }
        stage.settle();
        stage.pass_time(std::time::Duration::from_secs(600));
        assert!(records(&stage).iter().all(|task| task.status == LastStatus::Running));
    }
    let stopped = stage.world.platform.store.read(|tx| tx.all::<StoppedTask>()).unwrap();
    assert!(stopped.len() >= 12 && stopped.iter().all(|task| task.0.entry.is_none()));
}
