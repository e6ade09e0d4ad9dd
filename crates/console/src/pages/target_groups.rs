//! Target groups: who is in them, how they are and why.

use super::{Ctx, load_balancers};
use crate::api::{Api, Data, Told, Trouble, short};
use crate::html::{self, Page, live, part, section, table, text};
use crate::metrics::dimension;
use futures_util::future::{join, join_all};
use maud::{Markup, html};
use quarry_aws::ec2::op::DescribeVpcs;
use quarry_aws::elbv2::op::{DescribeTargetGroupAttributes, DescribeTargetGroups, DescribeTargetHealth};
use serde_json::{Value, json};

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let groups = ctx.api.all::<DescribeTargetGroups>(json!({}), "TargetGroups").await?;
    let (health, vpcs) = join(
        join_all(groups.iter().map(|group| health(ctx.api, group.text("TargetGroupArn")))),
        ctx.api.all::<DescribeVpcs>(json!({}), "Vpcs"),
    )
    .await;
    let rows = groups.iter().zip(&health).map(|(group, health)| {
        let healthy =
            |targets: &Vec<Value>| targets.iter().filter(|t| t.text("TargetHealth.State") == "healthy").count();
        vec![
            html::link_in("/target-groups", group.text("TargetGroupName")),
            text(format!("{} {}", group.text("Protocol"), group.whole("Port"))),
            text(group.text("TargetType")),
            part(health, |targets| text(format!("{} of {}", healthy(targets), targets.len()))),
            text(group.texts("LoadBalancerArns").into_iter().map(balancer_name).collect::<Vec<_>>().join(", ")),
        ]
    });
    let columns = ["Target group", "Protocol", "Targets are", "#Healthy", "Load balancers"];
    let vpcs: Vec<(String, String)> = vpcs
        .unwrap_or_default()
        .iter()
        .map(|vpc| (vpc.text("VpcId").to_owned(), vpc.text("VpcId").to_owned()))
        .collect();
    let body = html! {
        (live("all", "All target groups", table("Target groups", &columns, rows.collect())))
        (section("create", "Create a target group", create(ctx, &vpcs)))
    };
    Ok(Page::new("Target groups", body))
}

fn create(ctx: &Ctx<'_>, vpcs: &[(String, String)]) -> Markup {
    let types = ["instance", "ip"].map(|t| (t.to_owned(), t.to_owned()));
    html::action(
        "create-target-group",
        ctx.token,
        &[],
        "Create the target group",
        html! {
            (html::field("name", "Name", "", "text"))
            (html::field("port", "Port", "80", "number"))
            (html::choice("vpc", "VPC", vpcs, ""))
            (html::choice("target_type", "Targets are", &types, "instance"))
            (html::field("path", "Health check path", "/", "text"))
            (html::field("interval", "Seconds between two checks", "6", "number"))
            (html::field("timeout", "Seconds a check may take", "5", "number"))
            (html::field("healthy", "Good checks until healthy", "2", "number"))
            (html::field("unhealthy", "Failed checks until unhealthy", "2", "number"))
        },
    )
}

async fn health(api: &Api, arn: &str) -> Told<Vec<Value>> {
    let answer = api.ask::<DescribeTargetHealth>(json!({"TargetGroupArn": arn})).await?;
    Ok(answer.list("TargetHealthDescriptions").to_vec())
}

/// The name in `…:loadbalancer/app/<name>/<id>`.
fn balancer_name(arn: &str) -> &str {
    arn.split('/').nth(2).unwrap_or(arn)
}

pub async fn one(ctx: &Ctx<'_>, name: &str) -> Told<Page> {
    let found = ctx.api.ask::<DescribeTargetGroups>(json!({"Names": [name]})).await?;
    let missing = || Trouble::Missing(format!("target group {name}"));
    let group = found.list("TargetGroups").first().ok_or_else(missing)?;
    let arn = group.text("TargetGroupArn");
    let balancers = group.texts("LoadBalancerArns");
    let charts = balancers.iter().map(|b| load_balancers::charts(ctx.api, dimension(b), Some(dimension(arn))));
    let attributes = ctx.api.ask::<DescribeTargetGroupAttributes>(json!({"TargetGroupArn": arn}));
    let (targets, (attributes, charts)) = join(health(ctx.api, arn), join(attributes, join_all(charts))).await;
    let body = html! {
        (live("group", "Target group", facts(group)))
        (live("targets", "Targets", part(&targets, |all| targets_table(all))))
        @if let Ok(targets) = &targets { (section("deregister", "Deregister", deregister(ctx, name, arn, targets))) }
        @for (balancer, charts) in balancers.iter().zip(&charts) {
            @let balancer = balancer_name(balancer);
            (live(&format!("traffic-{balancer}"), &format!("Traffic from {balancer}"), part(charts, |all| load_balancers::draw(all))))
        }
        (section("attributes", "Attributes", part(&attributes, |answer| {
            let rows = answer.list("Attributes").iter().map(|a| vec![html::code(a.text("Key")), html::code(a.text("Value"))]);
            table("Attributes", &["Attribute", "Value"], rows.collect())
        })))
        (section("delete", "Delete", html::action(
            "delete-target-group", ctx.token, &[("name", name), ("arn", arn)], "Delete this target group", html! {},
        )))
    };
    Ok(Page::new(name, body).under("Target groups", "/target-groups"))
}

fn facts(group: &Value) -> Markup {
    let check = format!(
        "{} {} every {} s, at most {} s; healthy after {}, unhealthy after {}; expects {}",
        group.text("HealthCheckProtocol"),
        group.text("HealthCheckPath"),
        group.whole("HealthCheckIntervalSeconds"),
        group.whole("HealthCheckTimeoutSeconds"),
        group.whole("HealthyThresholdCount"),
        group.whole("UnhealthyThresholdCount"),
        group.text("Matcher.HttpCode")
    );
    let balancers = group.texts("LoadBalancerArns").into_iter().map(balancer_name);
    html::facts(vec![
        ("Protocol and port", text(format!("{} {}", group.text("Protocol"), group.whole("Port")))),
        ("Targets are", text(group.text("TargetType"))),
        ("Health check", text(check)),
        ("Load balancers", html! { @for name in balancers { (html::link_in("/load-balancers", name)) " " } }),
        ("VPC", html::code(group.text("VpcId"))),
        ("ARN", html::code(group.text("TargetGroupArn"))),
    ])
}

fn targets_table(targets: &[Value]) -> Markup {
    let rows = targets.iter().map(|target| {
        let why = [target.text("TargetHealth.Reason"), target.text("TargetHealth.Description")];
        let why: Vec<_> = why.into_iter().filter(|part| !part.is_empty()).collect();
        vec![
            html::code(target.text("Target.Id")),
            text(target.whole("Target.Port")),
            text(target.text("Target.AvailabilityZone")),
            html::state(target.text("TargetHealth.State")),
            text(why.join(": ")),
        ]
    });
    table("Targets", &["Target", "#Port", "Availability zone", "Health", "Reason"], rows.collect())
}

fn deregister(ctx: &Ctx<'_>, name: &str, arn: &str, targets: &[Value]) -> Markup {
    let options: Vec<(String, String)> = targets
        .iter()
        .filter(|target| target.text("TargetHealth.State") != "draining")
        .map(|target| {
            let (id, port) = (target.text("Target.Id"), target.whole("Target.Port"));
            (format!("{id} {port}"), format!("{}:{port}", short(id)))
        })
        .collect();
    html! {
        @if options.is_empty() { p.none { "No target to deregister." } } @else {
            p.none { "A service registers its own tasks: one that is deregistered by hand gets no requests any more." }
            (html::action("deregister-target", ctx.token, &[("name", name), ("arn", arn)], "Deregister",
                html::choice("target", "Target", &options, "")))
        }
    }
}
