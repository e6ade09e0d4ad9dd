//! Part 4 of the documents: services beside the monolith, features and traffic moved, monolith drained.

use crate::tour::answers::Site;
use crate::tour::ecs::{self, Deployed, Monolith, forward};
use crate::tour::platform::Quarry;
use crate::tour::report::{Report, Requests};
use crate::tour::screen::Screen;
use crate::tour::stack::Stack;
use crate::tour::writes::Writing;
use crate::tour::{SERVICES, cut};
use anyhow::{Context, Result, ensure};
use quarry_aws::ecs::UpdateServiceRequest;
use quarry_aws::ecs::op::{ListTasks, UpdateService};
use quarry_aws::elbv2::op::{CreateRule, DeleteRule, ModifyListener};
use quarry_aws::elbv2::{
    Action, CreateRuleInput, DeleteRuleInput, ForwardActionConfig, HostHeaderConditionConfig, ModifyListenerInput,
    PathPatternConditionConfig, RuleCondition, TargetGroupTuple,
};
use quarry_load::{Load, LoadConfig, LoadHandle, Pace, PathSpec};
use std::time::{Duration, Instant};

/// What stands behind the load balancer once the monolith is gone.
pub struct Services {
    pub stack: Stack,
    pub monolith: Deployed,
    /// users, threads, posts.
    pub services: Vec<Deployed>,
    pub web: Deployed,
    pub drop_traffic_arn: String,
    pub listener_arn: String,
    /// `/api*` → the monolith.
    kept_rule: String,
    pub site: Site,
    /// Where tasks reach the load balancer.
    pub url_for_tasks: String,
}

/// The paths of the steady load, by the service that will answer them. What is written meanwhile changes none of them.
const LOAD: [(&str, &str); 8] = [
    ("users", "/api/users?limit=6"),
    ("users", "/api/users/1"),
    ("threads", "/api/threads?limit=5"),
    ("threads", "/api/threads/2"),
    ("posts", "/api/posts?limit=20"),
    ("posts", "/api/posts/3"),
    ("posts", "/api/posts/in-thread/1"),
    ("posts", "/api/posts/by-user/2"),
];

/// A steady stream of reads through the load balancer, from here to the end of the tour.
pub async fn start_load(screen: &Screen, monolith: &Monolith, rate: u32) -> Result<LoadHandle> {
    let mut config = LoadConfig::new(monolith.site.address, &monolith.site.host, Pace::Rate(f64::from(rate)));
    for (label, path) in LOAD {
        let answer = monolith.site.get(path).await?;
        ensure!(answer.status == 200, "the monolith answers {path} with {}", answer.status);
        // Whoever answers later must answer as the monolith does now.
        config.paths.push(PathSpec::new(label, path).body(answer.body));
    }
    let load = Load::start(config)?;
    screen.fact(format!("from here on: {rate} reads per second through the load balancer"));
    Ok(load)
}

/// Target groups, rules, task definitions and services beside the monolith, which keeps all of the features.
pub async fn deploy(
    screen: &Screen,
    report: &mut Report,
    quarry: &Quarry,
    stack: &Stack,
    monolith: &Monolith,
) -> Result<Services> {
    screen.heading("Break the monolith, under load");
    let start = Instant::now();
    let step = screen.step("target groups, task definitions and services users, threads, posts, web");
    let drop_traffic_arn = ecs::target_group(quarry, stack, "drop-traffic").await?;
    let mut deployed = Vec::new();
    for name in SERVICES.into_iter().chain(["web"]) {
        let group = ecs::target_group(quarry, stack, name).await?;
        ecs::register_service(quarry, &monolith.url_for_tasks, name, true).await?;
        deployed.push((name, group));
    }
    // A group without a rule is unused and its targets are not probed: rules come first. All of a feature's requests
    // go to the monolith until its cut moves the weights.
    let old = &monolith.service.target_group_arn;
    for (priority, (name, group)) in (2..).zip(&deployed) {
        if *name == "web" {
            rule(quarry, monolith, priority, paths(&["/", "/api", "/api/"]), forward(group)).await?;
        } else {
            rule(quarry, monolith, priority, paths(&[&cut::pattern(name)]), weighted(old, group)).await?;
        }
    }
    let kept_rule = rule(quarry, monolith, 100, paths(&["/api*"]), forward(old)).await?;
    let mut services = Vec::new();
    for (name, group) in deployed {
        step.progress(name);
        services.push(ecs::create_service(quarry, report, stack, name, group).await?);
    }
    report.times.services = start.elapsed();
    step.done("all targets healthy, the monolith still answers");
    let web = services.pop().context("web was deployed last")?;
    Ok(Services {
        stack: stack.clone(),
        monolith: monolith.service.clone(),
        services,
        web,
        drop_traffic_arn,
        listener_arn: monolith.listener_arn.clone(),
        kept_rule,
        site: monolith.site.clone(),
        url_for_tasks: monolith.url_for_tasks.clone(),
    })
}

/// Cuts the features out, then takes the monolith away.
pub async fn run(
    screen: &Screen,
    report: &mut Report,
    quarry: &Quarry,
    monolith: &Monolith,
    services: &Services,
    load: &LoadHandle,
    writing: &Writing,
) -> Result<()> {
    let before = monolith.site.all().await?;
    let start = Instant::now();
    load.phase("cuts");
    cut::run(screen, report, quarry, monolith, load, writing).await?;
    report.times.cuts = start.elapsed();
    load.phase("drain");

    let step = screen.step("delete the monolith's rule, default action → drop-traffic");
    delete_rule(quarry, services.kept_rule.clone()).await?;
    quarry
        .aws
        .call::<ModifyListener>(ModifyListenerInput {
            listener_arn: Some(monolith.listener_arn.clone()),
            default_actions: Some(vec![forward(&services.drop_traffic_arn)]),
            ..Default::default()
        })
        .await?;
    wait_for_switch(&monolith.site).await?;
    step.done("nothing goes to the monolith");

    let step = screen.step("set the monolith's desired count to 0 and let it drain");
    quarry
        .aws
        .call::<UpdateService>(UpdateServiceRequest {
            cluster: Some(services.stack.cluster.clone()),
            service: Some("api".into()),
            desired_count: Some(0),
            ..Default::default()
        })
        .await?;
    wait_for_no_task(quarry, &services.stack, "api").await?;
    report.times.drain = step.done("no task of it runs");

    let after = monolith.site.all().await?;
    for ((path, before), after) in crate::tour::answers::COMPARED.iter().zip(&before).zip(&after) {
        ensure!(before == after, "{path}: the services answer {after:?}, the monolith answered {before:?}");
    }
    report.answers_compared = after.len();
    screen.fact(format!("{} answers of monolith and services compared: equal", after.len()));
    ensure_no_failures(load, "while the monolith was broken up")
}

/// Lets the load run for a while, in which no request may fail.
pub async fn watch(screen: &Screen, load: &LoadHandle, seconds: u64) -> Result<()> {
    let step = screen.step("watch the load");
    let before = load.snapshot().total;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let seen = load.snapshot();
    let failed = seen.total.failed - before.failed;
    ensure!(failed == 0, "{failed} requests failed while nothing happened: {}", first_failures(&seen));
    step.done(format!("{} requests, none failed", seen.total.requests - before.requests));
    Ok(())
}

/// The default drops everything: a path without a rule is the proof that the change is in force.
async fn wait_for_switch(site: &Site) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = site.get("/no-service-has-this-path").await?;
        if answer.status == 503 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the default action still answers {}", answer.status);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn wait_for_no_task(quarry: &Quarry, stack: &Stack, service: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let listed = quarry
            .aws
            .call::<ListTasks>(quarry_aws::ecs::ListTasksRequest {
                cluster: Some(stack.cluster.clone()),
                service_name: Some(service.into()),
                ..Default::default()
            })
            .await?;
        let running = ecs::describe(quarry, stack, service).await?.running_count.unwrap_or_default();
        if listed.task_arns.unwrap_or_default().is_empty() && running == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{service} still runs tasks after 60 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn rule(
    quarry: &Quarry,
    monolith: &Monolith,
    priority: i32,
    condition: RuleCondition,
    action: Action,
) -> Result<String> {
    let made = quarry
        .aws
        .call::<CreateRule>(CreateRuleInput {
            listener_arn: Some(monolith.listener_arn.clone()),
            priority: Some(priority),
            conditions: Some(vec![condition]),
            actions: Some(vec![action]),
            ..Default::default()
        })
        .await?;
    made.rules.unwrap_or_default().into_iter().find_map(|r| r.rule_arn).context("the rule has no ARN")
}

/// A rule by which the monolith itself is asked, whatever the path.
pub async fn host_rule(quarry: &Quarry, monolith: &Monolith, host: &str) -> Result<String> {
    let condition = RuleCondition {
        field: Some("host-header".into()),
        host_header_config: Some(HostHeaderConditionConfig { values: Some(vec![host.into()]), ..Default::default() }),
        ..Default::default()
    };
    // Before the features' rules: no cut may be running, it would not let its requests be taken away.
    rule(quarry, monolith, 1, condition, forward(&monolith.service.target_group_arn)).await
}

pub async fn delete_rule(quarry: &Quarry, arn: String) -> Result<()> {
    quarry.aws.call::<DeleteRule>(DeleteRuleInput { rule_arn: Some(arn) }).await?;
    Ok(())
}

fn paths(patterns: &[&str]) -> RuleCondition {
    RuleCondition {
        field: Some("path-pattern".into()),
        path_pattern_config: Some(PathPatternConditionConfig {
            values: Some(patterns.iter().map(|p| (*p).to_owned()).collect()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// All of the weight is with the first group.
fn weighted(all: &str, none: &str) -> Action {
    let tuple = |arn: &str, weight| TargetGroupTuple { target_group_arn: Some(arn.into()), weight: Some(weight) };
    Action {
        r#type: Some("forward".into()),
        forward_config: Some(ForwardActionConfig {
            target_groups: Some(vec![tuple(all, 1), tuple(none, 0)]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Fails with the first failures in words, if any request failed.
pub fn ensure_no_failures(load: &LoadHandle, when: &str) -> Result<()> {
    let seen = load.snapshot();
    let failed = seen.total.failed;
    ensure!(failed == 0, "{failed} requests failed {when}: {}", first_failures(&seen));
    Ok(())
}

fn first_failures(report: &quarry_load::Report) -> String {
    let mut texts: Vec<_> =
        report.failures.iter().map(|f| format!("{} at {} ms: {}", f.path, f.at_ms, f.kind.name())).collect();
    texts.truncate(5);
    texts.join("; ")
}

/// Ends the load and books its figures.
pub async fn finish_load(screen: &Screen, report: &mut Report, load: LoadHandle) -> Result<()> {
    let step = screen.step("end the load");
    let seen = load.stop().await;
    for (label, figures) in &seen.labels {
        report.requests.insert(
            label.clone(),
            Requests {
                sent: figures.requests,
                failed: figures.failed,
                p50_ms: figures.latency.p50_us as f64 / 1e3,
                p99_ms: figures.latency.p99_us as f64 / 1e3,
            },
        );
    }
    let counted_apart = report.killed.as_ref().map_or(0, |k| k.failures);
    report.failures_elsewhere = seen.total.failed - counted_apart;
    ensure!(
        report.failures_elsewhere == 0,
        "{} requests failed outside the killed service: {}",
        report.failures_elsewhere,
        first_failures(&seen)
    );
    step.done(format!("{} requests, 0 failures outside the killed service", seen.total.requests));
    Ok(())
}
