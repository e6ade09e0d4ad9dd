//! Everything at once: the architecture as it is, with the traffic on it.

use super::Ctx;
use crate::api::{Api, Data, Told, short};
use crate::chart::number;
use crate::diagram::{self, Balancer, Drawing, Group, Rule};
use crate::form::encoded;
use crate::html::{self, Figure, Page, live, part, table, text};
use crate::metrics::{self, Query, dimension};
use crate::words;
use futures_util::future::{join, join3, try_join, try_join_all};
use maud::{Markup, html};
use quarry_aws::cloudformation::op::DescribeStacks;
use quarry_aws::cloudwatch::op::DescribeAlarms;
use quarry_aws::ecs::op::{DescribeServices, ListClusters, ListServices};
use quarry_aws::elbv2::op::{
    DescribeListeners, DescribeLoadBalancers, DescribeRules, DescribeTargetGroups, DescribeTargetHealth,
};
use quarry_client::status::RuleView;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Services that ECS describes at once.
const AT_ONCE: usize = 10;

pub async fn page(ctx: &Ctx<'_>) -> Told<Page> {
    let (services, stacks, watched) = join3(services(ctx.api), stacks(ctx.api), watched(ctx.api)).await;
    let drawing = drawing(ctx.api, services.as_deref().unwrap_or_default()).await;
    let body = html! {
        (html::figures("At a glance", &glance(services.as_deref().unwrap_or_default(), drawing.as_ref().ok(), watched)))
        (live("architecture", "Architecture", part(&drawing, diagram::draw)))
        (live("services", "Services", part(&services, |all| services_table(all))))
        (live("stacks", "Stacks", part(&stacks, |all| stacks_table(all))))
        (html::section("use", "Use it from a shell", html! {
            (html::copied("Commands", "eval \"$(quarry env)\"\naws ecs list-clusters"))
            p.none { "The endpoint is " code { (ctx.api.endpoint()) } "." }
        }))
    };
    Ok(Page::new("Overview", body))
}

/// Alarms that ring, and cuts that have not ended.
async fn watched(api: &Api) -> (usize, usize) {
    let ringing = api.all::<DescribeAlarms>(json!({"StateValue": "ALARM"}), "MetricAlarms");
    let cuts = api.cuts();
    let (alarms, cuts) = join(ringing, cuts.list()).await;
    let going = |cuts: &Value| cuts.list("cuts").iter().filter(|cut| cut.at("ended_ms").is_null()).count();
    (alarms.map_or(0, |all| all.len()), cuts.map_or(0, |all| going(&all)))
}

/// Numbers for one look, each with where more is told.
fn glance(services: &[Value], drawing: Option<&Drawing>, (alarms, cuts): (usize, usize)) -> Vec<Figure> {
    let sum = |member: &str| services.iter().map(|service| service.whole(member)).sum::<i64>();
    let (running, desired) = (sum("runningCount"), sum("desiredCount"));
    let groups = || drawing.into_iter().flat_map(|drawing| drawing.groups.values());
    let targets = || groups().flat_map(|group| &group.targets);
    let (healthy, targets) = (targets().filter(|state| *state == "healthy").count(), targets().count());
    let rate: f64 = drawing.into_iter().flat_map(|drawing| &drawing.balancers).filter_map(|one| one.rate).sum();
    let fault = |is: bool, word: &'static str| if is { word } else { "" };
    vec![
        Figure::new("Requests / min", number(rate), "/load-balancers", ""),
        Figure::new("Services", services.len(), "/clusters", ""),
        Figure::new("Tasks running", format!("{running} of {desired}"), "/clusters", fault(running < desired, "wait")),
        Figure::new(
            "Targets healthy",
            format!("{healthy} of {targets}"),
            "/target-groups",
            fault(healthy < targets, "wait"),
        ),
        Figure::new("Alarms", alarms, "/alarms", fault(alarms > 0, "bad")),
        Figure::new("Open cuts", cuts, "/cuts", fault(cuts > 0, "wait")),
    ]
}

/// All services of all clusters, as ECS describes them.
pub async fn services(api: &Api) -> Told<Vec<Value>> {
    let clusters = api.all::<ListClusters>(json!({}), "clusterArns").await?;
    let of = clusters.iter().filter_map(Value::as_str).map(|cluster| services_of(api, cluster));
    Ok(try_join_all(of).await?.into_iter().flatten().collect())
}

/// A cluster's services, by name.
pub async fn services_of(api: &Api, cluster: &str) -> Told<Vec<Value>> {
    let arns = api.all::<ListServices>(json!({"cluster": cluster}), "serviceArns").await?;
    let described = arns.chunks(AT_ONCE).map(|chunk| async move {
        let answer = api.ask::<DescribeServices>(json!({"cluster": cluster, "services": chunk})).await?;
        Told::Ok(answer.list("services").to_vec())
    });
    let mut all: Vec<Value> = try_join_all(described).await?.into_iter().flatten().collect();
    all.sort_by(|a, b| a.text("serviceName").cmp(b.text("serviceName")));
    Ok(all)
}

/// The path of a service's page.
pub fn service_path(service: &Value) -> String {
    let cluster = short(service.text("clusterArn"));
    format!("/clusters/{}/services/{}", encoded(cluster), encoded(service.text("serviceName")))
}

async fn stacks(api: &Api) -> Told<Vec<Value>> {
    api.all::<DescribeStacks>(json!({}), "Stacks").await
}

async fn drawing(api: &Api, services: &[Value]) -> Told<Drawing> {
    let (balancers, groups) = try_join(
        api.all::<DescribeLoadBalancers>(json!({}), "LoadBalancers"),
        api.all::<DescribeTargetGroups>(json!({}), "TargetGroups"),
    )
    .await?;
    let health = groups.iter().map(|group| async move {
        let arn = group.text("TargetGroupArn");
        let health = api.ask::<DescribeTargetHealth>(json!({"TargetGroupArn": arn})).await?;
        let states = health.list("TargetHealthDescriptions").iter();
        Told::Ok((arn.to_owned(), states.map(|d| d.text("TargetHealth.State").to_owned()).collect::<Vec<_>>()))
    });
    let rules = try_join_all(balancers.iter().map(|b| rules(api, b)));
    let (health, rules, hits) = join3(try_join_all(health), rules, api.rules()).await;
    let hits = hits.unwrap_or_default();
    let health: BTreeMap<String, Vec<String>> = health?.into_iter().collect();
    let mut drawing = Drawing::default();
    let mut queries = Vec::new();
    for group in &groups {
        let arn = group.text("TargetGroupArn");
        for balancer in group.texts("LoadBalancerArns") {
            queries.push((arn, Query::balancer("RequestCount", dimension(balancer), Some(dimension(arn)), "Sum")));
        }
        let behind = services.iter().find(|s| s.list("loadBalancers").iter().any(|l| l.text("targetGroupArn") == arn));
        let drawn = Group {
            name: group.text("TargetGroupName").to_owned(),
            service: behind.map(|s| (s.text("serviceName").to_owned(), service_path(s))),
            targets: health.get(arn).cloned().unwrap_or_default(),
            rate: None,
        };
        drawing.groups.insert(arn.to_owned(), drawn);
    }
    for balancer in &balancers {
        let arn = balancer.text("LoadBalancerArn");
        queries.push((arn, Query::balancer("RequestCount", dimension(arn), None, "Sum")));
    }
    // Without metrics the drawing is still one.
    let asked: Vec<Query> = queries.iter().map(|(_, query)| query.clone()).collect();
    let series = metrics::last(api, &asked, 5).await.unwrap_or_default();
    let mut rates: BTreeMap<&str, f64> = BTreeMap::new();
    for ((arn, _), rate) in queries.iter().zip(&series).filter_map(|(q, s)| Some((q, metrics::newest(s)?))) {
        *rates.entry(arn).or_default() += rate;
    }
    for (arn, group) in &mut drawing.groups {
        group.rate = rates.get(arn.as_str()).copied();
    }
    for (balancer, (listeners, mut rules)) in balancers.iter().zip(rules?) {
        // As they come; CloudWatch tells whole minutes that are over.
        let taken: u64 = rules.iter_mut().map(|(arn, rule)| count(rule, hits.get(arn))).sum();
        drawing.balancers.push(Balancer {
            name: balancer.text("LoadBalancerName").to_owned(),
            listeners,
            rules: rules.into_iter().map(|(_, rule)| rule).collect(),
            rate: Some(taken as f64).filter(|n| *n > 0.0).or(rates.get(balancer.text("LoadBalancerArn")).copied()),
        });
    }
    Ok(drawing)
}

/// Puts on a rule what it took in the last minute.
fn count(rule: &mut Rule, hits: Option<&RuleView>) -> u64 {
    let taken = hits.map_or(0, |hits| hits.last_minute);
    rule.rate = hits.map(|_| taken as f64);
    taken
}

/// A load balancer's listeners in words, and their rules in order, each with its ARN.
async fn rules(api: &Api, balancer: &Value) -> Told<(String, Vec<(String, Rule)>)> {
    let arn = balancer.text("LoadBalancerArn");
    let listeners = api.all::<DescribeListeners>(json!({"LoadBalancerArn": arn}), "Listeners").await?;
    let names: Vec<String> = listeners.iter().map(|l| format!("{} {}", l.text("Protocol"), l.whole("Port"))).collect();
    let of = listeners.iter().map(|l| api.all::<DescribeRules>(json!({"ListenerArn": l.text("ListenerArn")}), "Rules"));
    let mut all = Vec::new();
    for rule in try_join_all(of).await?.into_iter().flat_map(words::in_order) {
        let conditions = words::conditions(&rule);
        let actions = rule.list("Actions");
        let groups: Vec<_> = actions.iter().flat_map(words::groups).collect();
        let drawn = Rule {
            priority: rule.text("Priority").to_owned(),
            when: if conditions.is_empty() { "always".into() } else { conditions.join(" and ") },
            answers: match groups.is_empty() {
                true => actions.iter().map(words::action).collect::<Vec<_>>().join(", then "),
                false => String::new(),
            },
            groups,
            rate: None,
        };
        all.push((rule.text("RuleArn").to_owned(), drawn));
    }
    Ok((names.join(", "), all))
}

/// Services with their counts.
pub fn services_table(services: &[Value]) -> Markup {
    let rows = services.iter().map(|service| {
        let definition = short(service.text("taskDefinition"));
        vec![
            html::link(&service_path(service), service.text("serviceName")),
            text(short(service.text("clusterArn"))),
            html::state(service.text("status")),
            super::task_definitions::link(definition),
            text(service.whole("desiredCount")),
            text(service.whole("runningCount")),
            text(service.whole("pendingCount")),
        ]
    });
    let columns = ["Service", "Cluster", "Status", "Task definition", "#Desired", "#Running", "#Pending"];
    table("Services", &columns, rows.collect())
}

/// Stacks with their states.
pub fn stacks_table(stacks: &[Value]) -> Markup {
    let rows = stacks.iter().map(|stack| {
        vec![
            html::link_in("/stacks", stack.text("StackName")),
            html::state(stack.text("StackStatus")),
            text(stack.text("StackStatusReason")),
            html::when(stack.time("CreationTime")),
        ]
    });
    table("Stacks", &["Stack", "Status", "Reason", "Created"], rows.collect())
}
