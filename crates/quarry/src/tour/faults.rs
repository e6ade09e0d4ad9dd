//! Isolation of crashes, and independent scaling: shown by doing it.

use crate::tour::ecs::{self, Deployed};
use crate::tour::platform::Quarry;
use crate::tour::report::{Killed, Memory, Report};
use crate::tour::screen::{Screen, shown};
use crate::tour::split::{Services, ensure_no_failures};
use anyhow::{Context, Result, ensure};
use quarry_aws::ecs::UpdateServiceRequest;
use quarry_aws::ecs::op::{ListTasks, UpdateService};
use quarry_domain::task::{ContainerState, TaskRuntime};
use quarry_load::LoadHandle;
use quarry_runtime::{Runtime, RuntimeConfig};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Sends SIGKILL to the task of `threads`; the others must not notice.
pub async fn kill_a_task(
    screen: &Screen,
    report: &mut Report,
    quarry: &Quarry,
    services: &Services,
    load: &LoadHandle,
) -> Result<()> {
    screen.heading("Isolation of crashes");
    let victim = services.services.iter().find(|s| s.name == "threads").context("threads was deployed")?;
    ensure_no_failures(load, "before the kill")?;
    let task = tasks(quarry, services, victim).await?.pop_first().context("threads has no task")?;
    let runtime = Runtime::open(RuntimeConfig::new(quarry.data_dir.clone()))?;
    let observed = runtime.observe_one(&task).context("the task is not on this machine")?;
    let pid = observed
        .containers
        .iter()
        .find_map(|c| match c.state {
            ContainerState::Running { pid, .. } => Pid::from_raw(pid as i32),
            _ => None,
        })
        .context("the task's container does not run")?;

    let step = screen.step(format!("SIGKILL to the task of {} (pid {})", victim.name, pid.as_raw_nonzero()));
    load.phase("kill");
    let at = load.elapsed().as_millis() as u64;
    let start = Instant::now();
    kill_process(pid, Signal::KILL).context("the task cannot be killed")?;
    let deadline = start + Duration::from_secs(30);
    loop {
        let now = tasks(quarry, services, victim).await?;
        let healthy = ecs::target_states(quarry, &victim.target_group_arn).await?;
        if !now.is_empty() && !now.contains(&task) && healthy == ["healthy"] {
            break;
        }
        ensure!(Instant::now() < deadline, "the killed task was not replaced within 30 s: tasks {now:?}, {healthy:?}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let replaced_after = start.elapsed();
    report.task_starts_ms.push(replaced_after.as_secs_f64() * 1e3);
    // Requests that were under way at the moment of replacement come back before we count.
    tokio::time::sleep(Duration::from_millis(300)).await;
    load.phase("after the kill");

    let seen = load.snapshot();
    for (label, figures) in &seen.labels {
        ensure!(
            *label == victim.name || figures.failed == 0,
            "{} requests to {label} failed when a task of {} was killed",
            figures.failed,
            victim.name
        );
    }
    let failures: Vec<_> = seen.failures.iter().filter(|f| f.label == victim.name && f.at_ms >= at).collect();
    let last_failure_after = Duration::from_millis(failures.iter().map(|f| f.at_ms - at).max().unwrap_or_default());
    ensure!(
        last_failure_after <= replaced_after + Duration::from_millis(250),
        "requests failed until {} after the kill, though the task was replaced after {}",
        shown(last_failure_after),
        shown(replaced_after)
    );
    step.done(format!(
        "replaced after {}; {} of its requests failed, none of the others",
        shown(replaced_after),
        failures.len()
    ));
    report.killed = Some(Killed {
        service: victim.name.clone(),
        failures: failures.len() as u64,
        replaced_after,
        last_failure_after,
    });
    Ok(())
}

/// posts to 3 tasks and back to 1: only its tasks change.
pub async fn scale(screen: &Screen, report: &mut Report, quarry: &Quarry, services: &Services) -> Result<()> {
    screen.heading("Independent scaling");
    let posts = services.services.iter().find(|s| s.name == "posts").context("posts was deployed")?;
    let others = || services.services.iter().chain([&services.web]).filter(|s| s.name != posts.name);
    let mut before = Vec::new();
    for service in others() {
        before.push(tasks(quarry, services, service).await?);
    }
    let step = screen.step("posts from 1 task to 3 and back");
    let answer = services.site.get("/api/posts").await?;
    for count in 2..=3 {
        let start = Instant::now();
        set_count(quarry, services, posts, count).await?;
        ecs::wait_healthy(quarry, &services.stack, posts, count as usize).await?;
        report.task_starts_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    for _ in 0..9 {
        ensure!(services.site.get("/api/posts").await? == answer, "the three tasks of posts do not agree");
    }
    report.memory = memory(quarry)?;
    set_count(quarry, services, posts, 1).await?;
    ecs::wait_healthy(quarry, &services.stack, posts, 1).await?;
    for (service, before) in others().zip(before) {
        let now = tasks(quarry, services, service).await?;
        ensure!(now == before, "scaling posts changed the tasks of {}", service.name);
    }
    report.times.scale = step.done("three tasks answered alike; no other service changed");
    Ok(())
}

/// The ids of a service's tasks.
async fn tasks(quarry: &Quarry, services: &Services, service: &Deployed) -> Result<BTreeSet<String>> {
    let listed = quarry
        .aws
        .call::<ListTasks>(quarry_aws::ecs::ListTasksRequest {
            cluster: Some(services.stack.cluster.clone()),
            service_name: Some(service.name.clone()),
            ..Default::default()
        })
        .await?;
    let arns = listed.task_arns.unwrap_or_default();
    Ok(arns.iter().map(|arn| quarry_domain::arn::short_name(arn).to_owned()).collect())
}

async fn set_count(quarry: &Quarry, services: &Services, service: &Deployed, count: i32) -> Result<()> {
    quarry
        .aws
        .call::<UpdateService>(UpdateServiceRequest {
            cluster: Some(services.stack.cluster.clone()),
            service: Some(service.name.clone()),
            desired_count: Some(count),
            ..Default::default()
        })
        .await?;
    Ok(())
}

/// Proportional set sizes of Quarry's own processes, without those of the tasks.
fn memory(quarry: &Quarry) -> Result<Memory> {
    let mut memory = Memory::default();
    let data_dir = quarry.data_dir.to_string_lossy().into_owned();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(command) = std::fs::read(path.join("cmdline")) else { continue };
        let words: Vec<_> = command.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
        if !words.iter().any(|w| w.starts_with(&data_dir)) {
            continue;
        }
        let Some(kib) = proportional_kib(&path) else { continue };
        match words.get(1).map(|w| w.as_ref()) {
            Some("serve") => memory.serve_kib += kib,
            Some("proxy") => memory.proxy_kib += kib,
            Some("holder") => memory.holder_kib += kib,
            // What the shims share, and whose share it is, is counted once.
            Some("nursery") => memory.shims_kib += kib,
            Some("shim") => {
                memory.shims_kib += kib;
                memory.shims += 1;
            }
            _ => {}
        }
    }
    Ok(memory)
}

fn proportional_kib(process: &std::path::Path) -> Option<u64> {
    let rollup = std::fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|l| l.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
