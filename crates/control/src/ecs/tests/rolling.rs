//! Deployments: rolling updates, unhealthy tasks, the circuit breaker, draining instances.

use super::{Stage, host_port, id};
use quarry_aws::ecs::{self as aws, op};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn a_new_task_definition_takes_over_without_a_gap() {
    let mut stage = Stage::new();
    let v1 = stage.define("api:v1");
    stage.serve(&v1, 2, true);
    stage.settle();
    let old: BTreeSet<String> = stage.tasks("RUNNING").iter().map(id).collect();
    let v2 = stage.define("api:v2");
    stage.update(|input| input.task_definition = Some(v2.clone()));
    for _ in 0..20 {
        stage.reconciler.pass();
        let serving = stage.targets().iter().filter(|target| !target.draining).count();
        assert!(serving >= 2, "{serving} targets serve");
        let shown: i32 = stage.service().deployments.unwrap().iter().filter_map(|d| d.running_count).sum();
        assert!(shown <= 4);
        stage.runtime();
        stage.reconciler.pass();
        stage.proxy();
    }
    stage.settle();
    let service = stage.service();
    assert_eq!(service.task_definition, Some(v2.clone()));
    assert_eq!(service.deployments.unwrap().len(), 1);
    let tasks = stage.tasks("RUNNING");
    assert_eq!(tasks.len(), 2);
    assert!(tasks.iter().all(|task| task.task_definition_arn.as_deref() == Some(&v2) && !old.contains(&id(task))));
    assert_eq!(stage.events().last().unwrap(), "(service api) has reached a steady state.");
}

#[test]
fn an_unhealthy_task_is_announced_replaced_and_then_stopped() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    let group = stage.serve(&definition, 1, true).unwrap();
    stage.settle();
    let sick = stage.tasks("RUNNING").remove(0);
    stage.sick.insert(host_port(&sick));
    stage.proxy();
    stage.reconciler.pass();
    assert_eq!(stage.targets().iter().filter(|target| target.draining).count(), 0, "its replacement comes first");
    stage.settle();
    let tasks = stage.tasks("RUNNING");
    assert_eq!(tasks.len(), 1);
    assert_ne!(id(&tasks[0]), id(&sick));
    let stopped = stage.tasks("STOPPED").remove(0);
    assert_eq!(stopped.stopped_reason, Some(format!("Task failed ELB health checks in (target-group {group})")));
    let port = host_port(&sick);
    let words = format!(
        "(service api) (task ID) (port {port}) is unhealthy in (target-group {group}) due to (reason Health checks failed with these codes: [500])."
    );
    assert_eq!(stage.events().iter().filter(|event| **event == words).count(), 1);
}

#[test]
fn within_the_grace_period_bad_health_is_ignored() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.healthy = false;
    stage.serve(&definition, 1, true);
    stage.update(|input| input.health_check_grace_period_seconds = Some(60));
    stage.settle();
    stage.pass_time(Duration::from_secs(50));
    assert!(stage.tasks("STOPPED").is_empty());
    assert_eq!(stage.tasks("RUNNING").len(), 1);
    stage.healthy = true;
    stage.settle();
    assert_eq!(stage.events().last().unwrap(), "(service api) has reached a steady state.");
}

#[test]
fn the_circuit_breaker_rolls_back() {
    let mut stage = Stage::new();
    let v1 = stage.define("api:v1");
    stage.serve(&v1, 1, true);
    stage.update(|input| {
        input.deployment_configuration = Some(aws::DeploymentConfiguration {
            deployment_circuit_breaker: Some(aws::DeploymentCircuitBreaker {
                enable: Some(true),
                rollback: Some(true),
            }),
            ..Default::default()
        });
    });
    stage.settle();
    let good = stage.service().deployments.unwrap()[0].id.clone().unwrap();
    let serving = id(&stage.tasks("RUNNING")[0]);
    stage.exits.insert("bad:version".into(), 1);
    stage.world.images.add("bad:version");
    let bad = stage.define("bad:version");
    stage.update(|input| input.task_definition = Some(bad.clone()));
    for _ in 0..20 {
        stage.pass_time(Duration::from_secs(1));
    }
    let service = stage.service();
    assert_eq!(service.task_definition, Some(v1));
    let deployments = service.deployments.unwrap();
    assert_eq!((deployments.len(), deployments[0].id.as_ref()), (1, Some(&good)));
    assert_eq!(deployments[0].rollout_state.as_deref(), Some("COMPLETED"));
    assert_eq!(id(&stage.tasks("RUNNING")[0]), serving, "what served went on serving");
    let failures = stage.tasks("STOPPED").len();
    assert_eq!(failures, 3, "the threshold of a small service");
    let events = stage.events();
    assert!(events.iter().any(|event| event.ends_with("deployment failed: tasks failed to start.")), "{events:#?}");
    assert!(events.contains(&format!("(service api) rolling back to (deployment {good}).")));
}

#[test]
fn tasks_leave_a_draining_instance_without_a_gap() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 2, true);
    stage.settle();
    let leaving = stage.tasks("RUNNING").remove(0).container_instance_arn.unwrap();
    stage
        .world
        .call::<op::UpdateContainerInstancesState>(aws::UpdateContainerInstancesStateRequest {
            cluster: Some("demo".into()),
            container_instances: Some(vec![leaving.clone()]),
            status: Some("DRAINING".into()),
        })
        .unwrap();
    for _ in 0..6 {
        stage.reconciler.pass();
        assert!(stage.targets().iter().filter(|target| !target.draining).count() >= 2);
        stage.runtime();
        stage.reconciler.pass();
        stage.proxy();
    }
    stage.settle();
    let tasks = stage.tasks("RUNNING");
    assert_eq!(tasks.len(), 2);
    assert!(tasks.iter().all(|task| task.container_instance_arn.as_deref() != Some(leaving.as_str())));
}

#[test]
fn a_container_that_exits_at_once_never_completes_a_deployment() {
    let mut stage = Stage::new();
    let v1 = stage.define("api:v1");
    stage.serve(&v1, 1, false);
    stage.update(|input| {
        let breaker = aws::DeploymentCircuitBreaker { enable: Some(true), rollback: Some(false) };
        input.deployment_configuration =
            Some(aws::DeploymentConfiguration { deployment_circuit_breaker: Some(breaker), ..Default::default() });
    });
    let state = |stage: &Stage| stage.service().deployments.unwrap()[0].rollout_state.clone().unwrap();
    let (mut ran, mut lives) = (0, Duration::from_millis(1900));
    for _ in 0..100 {
        stage.runtime();
        stage.reconciler.pass();
        stage.reconciler.pass();
        if state(&stage) == "FAILED" {
            break;
        }
        let up: Vec<String> =
            stage.tasks("RUNNING").iter().filter(|t| t.last_status.as_deref() == Some("RUNNING")).map(id).collect();
        for task in &up {
            stage.world.door.advance(lives);
            stage.reconciler.pass();
            assert_eq!(state(&stage), "IN_PROGRESS", "it runs, and has not run for long");
            stage.ended(task, Some(1));
            ran += 1;
            // Once one has failed it takes longer until another counts.
            lives = Duration::from_secs(9);
        }
        stage.world.door.advance(Duration::from_secs(1));
    }
    assert_eq!((state(&stage).as_str(), ran), ("FAILED", 3));
    assert!(!stage.events().iter().any(|event| event.contains("steady state")), "{:?}", stage.events());
}
