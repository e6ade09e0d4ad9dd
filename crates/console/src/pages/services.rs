//! One service: deployments, events, tasks, scaling, and what is done with it.

use super::{Ctx, clusters, task_definitions, tasks};
use crate::api::{Api, Data, Told, Trouble, short};
use crate::chart::number;
use crate::form::encoded;
use crate::html::{self, Page, live, part, section, table, text};
use crate::words::group_name;
use futures_util::future::{join, join3, try_join3};
use maud::{Markup, html};
use quarry_aws::application_autoscaling::op::{
    DescribeScalableTargets, DescribeScalingActivities, DescribeScalingPolicies,
};
use quarry_aws::ecs::op::{DescribeServices, ListTaskDefinitions};
use serde_json::{Value, json};

/// Events shown unless more are asked for.
const EVENTS: usize = 20;
/// Tasks shown here; their own page has all.
const TASKS: usize = 20;
/// Scaling activities shown.
const ACTIVITIES: usize = 10;
/// Revisions offered for an update.
const REVISIONS: i64 = 25;

/// A service as ECS describes it.
pub async fn describe(api: &Api, cluster: &str, service: &str) -> Told<Value> {
    let answer = api.ask::<DescribeServices>(json!({"cluster": cluster, "services": [service]})).await?;
    let missing = || Trouble::Missing(format!("service {service} in cluster {cluster}"));
    answer.list("services").first().cloned().ok_or_else(missing)
}

pub async fn one(ctx: &Ctx<'_>, cluster: &str, name: &str) -> Told<Page> {
    let service = describe(ctx.api, cluster, name).await?;
    let family = short(service.text("taskDefinition")).split(':').next().unwrap_or_default();
    let revisions = json!({"familyPrefix": family, "sort": "DESC", "maxResults": REVISIONS});
    let (tasks, scaling, more) = join3(
        tasks::some(ctx.api, cluster, json!({"serviceName": name}), TASKS),
        scaling(ctx.api, cluster, name),
        join(clusters::usage(ctx.api, cluster, Some(name)), ctx.api.ask::<ListTaskDefinitions>(revisions)),
    )
    .await;
    let (used, revisions) = more;
    let own = format!("/clusters/{}", encoded(cluster));
    let tasks_page = format!("{own}/tasks?service={}", encoded(name));
    let events = service.list("events");
    let shown = if ctx.query.ticked("events") { events.len() } else { EVENTS };
    let body = html! {
        (live("service", "Service", summary(&service)))
        @if service.text("status") != "INACTIVE" {
            (section("update", "Change it", update(ctx, &service, &revisions.unwrap_or_default())))
        }
        (live("deployments", "Deployments", deployments(&service)))
        (live("tasks", "Tasks", html! {
            (part(&tasks, |(tasks, _)| tasks::listing(cluster, tasks)))
            p { a href=(tasks_page) { "All tasks" } " · " a href={ (tasks_page) "&status=STOPPED" } { "Stopped tasks" }
                " · " a href={ (own) "/services/" (encoded(name)) "/logs" } { "Logs" } }
        }))
        (live("events", "Events", html! {
            (event_list(&events[..shown.min(events.len())]))
            @if events.len() > shown { p { a href="?events=all#events" { "All events" } } }
        }))
        (live("usage", "CPU and memory", part(&used, |used| clusters::usage_chart(used))))
        (live("scaling", "Scaling", part(&scaling, scaling_part)))
        (section("delete", "Delete", html::action(
            "delete-service", ctx.token, &[("cluster", cluster), ("service", name)], "Delete this service",
            html::tick("force", "also while it has tasks"),
        )))
    };
    Ok(Page::new(name, body).under("Clusters", "/clusters").under(cluster, own))
}

fn summary(service: &Value) -> Markup {
    let balancers = service.list("loadBalancers").iter().map(|l| {
        let group = group_name(l.text("targetGroupArn"));
        html! { (html::link_in("/target-groups", group)) " ← " (l.text("containerName")) ":" (l.whole("containerPort")) " " }
    });
    let registries = service.list("serviceRegistries").iter().map(|r| text(short(r.text("registryArn"))));
    html::facts(vec![
        ("Status", html::state(service.text("status"))),
        (
            "Tasks",
            text(format!(
                "{} of {} running, {} pending",
                service.whole("runningCount"),
                service.whole("desiredCount"),
                service.whole("pendingCount")
            )),
        ),
        ("Task definition", task_definitions::link(short(service.text("taskDefinition")))),
        ("Launch type", text(service.text("launchType"))),
        ("Scheduling strategy", text(service.text("schedulingStrategy"))),
        ("Target groups", html! { @for balancer in balancers { (balancer) } }),
        ("Service registries", html! { @for registry in registries { (registry) " " } }),
        ("Created", html::when(service.time("createdAt"))),
        ("ARN", html::code(service.text("serviceArn"))),
    ])
}

fn update(ctx: &Ctx<'_>, service: &Value, revisions: &Value) -> Markup {
    let current = short(service.text("taskDefinition"));
    let mut options: Vec<(String, String)> = revisions
        .texts("taskDefinitionArns")
        .iter()
        .map(|arn| (short(arn).to_owned(), short(arn).to_owned()))
        .collect();
    if !options.iter().any(|(value, _)| value == current) {
        options.insert(0, (current.to_owned(), current.to_owned()));
    }
    let hidden = [("cluster", short(service.text("clusterArn"))), ("service", service.text("serviceName"))];
    let desired = service.whole("desiredCount").to_string();
    html::action(
        "update-service",
        ctx.token,
        &hidden,
        "Update",
        html! {
            @if service.text("schedulingStrategy") != "DAEMON" {
                (html::field("desired", "Number of tasks", &desired, "number"))
            }
            (html::choice("definition", "Task definition", &options, current))
            (html::tick("force", "new deployment in any case"))
        },
    )
}

fn deployments(service: &Value) -> Markup {
    let rows = service.list("deployments").iter().map(|one| {
        vec![
            html::code(short(one.text("id"))),
            html::state(one.text("status")),
            html! { (html::state(one.text("rolloutState"))) @if one.text("rolloutState") != "COMPLETED" { br; (one.text("rolloutStateReason")) } },
            task_definitions::link(short(one.text("taskDefinition"))),
            text(one.whole("desiredCount")),
            text(one.whole("runningCount")),
            text(one.whole("pendingCount")),
            text(one.whole("failedTasks")),
            html::when(one.time("createdAt")),
        ]
    });
    let columns = [
        "Deployment",
        "Status",
        "Rollout",
        "Task definition",
        "#Desired",
        "#Running",
        "#Pending",
        "#Failed",
        "Created",
    ];
    table("Deployments", &columns, rows.collect())
}

fn event_list(events: &[Value]) -> Markup {
    html! {
        @if events.is_empty() { p.none { "Events: none." } }
        ul.events { @for event in events { li { (html::when(event.time("createdAt"))) (event.text("message")) } } }
    }
}

/// Scalable targets, policies and activities.
type Scaling = (Vec<Value>, Vec<Value>, Vec<Value>);

async fn scaling(api: &Api, cluster: &str, service: &str) -> Told<Scaling> {
    let resource = format!("service/{cluster}/{service}");
    let one = json!({"ServiceNamespace": "ecs", "ResourceId": resource});
    let targets = json!({"ServiceNamespace": "ecs", "ResourceIds": [resource]});
    try_join3(
        api.all::<DescribeScalableTargets>(targets, "ScalableTargets"),
        api.all::<DescribeScalingPolicies>(one.clone(), "ScalingPolicies"),
        api.all::<DescribeScalingActivities>(one, "ScalingActivities"),
    )
    .await
}

fn scaling_part((targets, policies, activities): &Scaling) -> Markup {
    let rows = policies.iter().map(|policy| {
        let tracking = policy.at("TargetTrackingScalingPolicyConfiguration");
        let metric = match tracking.text("PredefinedMetricSpecification.PredefinedMetricType") {
            "" => tracking.text("CustomizedMetricSpecification.MetricName"),
            predefined => predefined,
        };
        let target =
            tracking.at("TargetValue").as_f64().map_or_else(String::new, |v| format!("{metric} at {}", number(v)));
        let steps = policy.list("StepScalingPolicyConfiguration.StepAdjustments").len();
        let what = if steps > 0 { format!("{steps} steps") } else { target };
        vec![text(policy.text("PolicyName")), text(policy.text("PolicyType")), text(what)]
    });
    html! {
        @if targets.is_empty() { p.none { "The number of tasks is not scaled by itself." } }
        @for target in targets {
            p { "Between " strong { (target.whole("MinCapacity")) } " and " strong { (target.whole("MaxCapacity")) } " tasks." }
            (table("Policies", &["Policy", "Type", "What it keeps"], rows.clone().collect()))
            ul.events { @for activity in activities.iter().take(ACTIVITIES) {
                li { (html::when(activity.time("StartTime"))) (activity.text("Description")) " " (activity.text("Cause")) }
            } }
        }
    }
}
