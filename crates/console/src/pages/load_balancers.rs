//! Load balancers: where they listen, their rules, how they do.

use super::{Ctx, clusters::MINUTES, requests, rules};
use crate::api::{Api, Data, Told, Trouble};
use crate::chart::chart;
use crate::html::{self, Page, live, part, section, table, text};
use crate::metrics::{self, Query, Series, dimension};
use futures_util::future::{join, join3};
use maud::{Markup, html};
use quarry_aws::elbv2::op::{DescribeListeners, DescribeLoadBalancers};
use quarry_client::status::ListenerView;
use serde_json::{Value, json};

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let (balancers, bound) =
        join(ctx.api.all::<DescribeLoadBalancers>(json!({}), "LoadBalancers"), ctx.api.listeners()).await;
    let (balancers, bound) = (balancers?, bound.unwrap_or_default());
    let rows = balancers.iter().map(|balancer| {
        let name = balancer.text("LoadBalancerName");
        let urls =
            bound.iter().filter(|view| view.load_balancer_name == name).flat_map(|view| urls(view).into_iter().next());
        vec![
            html::link_in("/load-balancers", name),
            html::state(balancer.text("State.Code")),
            text(balancer.text("Scheme")),
            html! { @for url in urls { a href=(url) rel="noreferrer" { (url) } " " } },
            html::when(balancer.time("CreatedTime")),
        ]
    });
    let columns = ["Load balancer", "State", "Scheme", "On this machine", "Created"];
    Ok(Page::new(
        "Load balancers",
        live("all", "All load balancers", table("Load balancers", &columns, rows.collect())),
    ))
}

pub async fn one(ctx: &Ctx<'_>, name: &str) -> Told<Page> {
    let found = ctx.api.ask::<DescribeLoadBalancers>(json!({"Names": [name]})).await?;
    let missing = || Trouble::Missing(format!("load balancer {name}"));
    let balancer = found.list("LoadBalancers").first().ok_or_else(missing)?;
    let arn = balancer.text("LoadBalancerArn");
    let listeners = ctx.api.all::<DescribeListeners>(json!({"LoadBalancerArn": arn}), "Listeners").await?;
    let (bound, rules, charts) =
        join3(ctx.api.listeners(), rules::part(ctx, name, arn, &listeners), charts(ctx.api, dimension(arn), None))
            .await;
    let bound = bound.unwrap_or_default();
    let groups = balancer.texts("SecurityGroups");
    let facts = html::facts(vec![
        ("State", html::state(balancer.text("State.Code"))),
        ("Why", text(balancer.text("State.Reason"))),
        ("Scheme", text(balancer.text("Scheme"))),
        ("DNS name", html::code(balancer.text("DNSName"))),
        ("VPC", html::code(balancer.text("VpcId"))),
        ("Security groups", text(groups.join(", "))),
        ("Created", html::when(balancer.time("CreatedTime"))),
        ("ARN", html::code(arn)),
    ]);
    let body = html! {
        (live("balancer", "Load balancer", html! {
            (facts)
            @for listener in &listeners { (where_it_listens(listener, &bound)) }
            p { a href=(requests::path(name)) { "Recent requests" } ", each with its trace" }
        }))
        (rules)
        (live("charts", "Traffic", part(&charts, |all| draw(all))))
        (section("delete", "Delete", html::action(
            "delete-load-balancer", ctx.token, &[("name", name), ("arn", arn)], "Delete this load balancer", html! {},
        )))
    };
    Ok(Page::new(name, body).under("Load balancers", "/load-balancers"))
}

/// The path of a load balancer's page.
pub fn path(name: &str) -> String {
    format!("/load-balancers/{}", crate::form::encoded(name))
}

fn where_it_listens(listener: &Value, bound: &[ListenerView]) -> Markup {
    let view = bound.iter().find(|view| view.listener_arn == listener.text("ListenerArn"));
    let urls = view.map(urls).unwrap_or_default();
    html! {
        p {
            strong { (listener.text("Protocol")) " " (listener.whole("Port")) }
            @for url in &urls { " · " a href=(url) rel="noreferrer" { (url) } }
            @if let Some(error) = view.and_then(|view| view.error.as_ref()) { " " span.bad { (error) } }
            @else if urls.is_empty() { " " span.quiet { "does not listen yet" } }
        }
    }
}

/// By name where the address is the load balancer's own, then by number.
fn urls(view: &ListenerView) -> Vec<String> {
    let (scheme, usual) = if view.port == 443 { ("https", 443) } else { ("http", 80) };
    let url = |host: &str, port: u16| {
        if port == usual { format!("{scheme}://{host}/") } else { format!("{scheme}://{host}:{port}/") }
    };
    let named = view.bound.first().map(|own| url(&view.dns_name, own.port()));
    named.into_iter().chain(view.bound.iter().map(|at| url(&at.ip().to_string(), at.port()))).collect()
}

/// The metrics that charts show: of a load balancer, or of a target group of it.
pub async fn charts(api: &Api, balancer: &str, group: Option<&str>) -> Told<Vec<Series>> {
    let of = |name, statistic| Query::balancer(name, balancer, group, statistic);
    let queries = [
        of("RequestCount", "Sum"),
        of("HTTPCode_Target_2XX_Count", "Sum"),
        of("HTTPCode_Target_3XX_Count", "Sum"),
        of("HTTPCode_Target_4XX_Count", "Sum"),
        of("HTTPCode_Target_5XX_Count", "Sum"),
        of("TargetResponseTime", "Average"),
        of("TargetResponseTime", "p99"),
        Query::balancer("HTTPCode_ELB_4XX_Count", balancer, None, "Sum"),
        Query::balancer("HTTPCode_ELB_5XX_Count", balancer, None, "Sum"),
    ];
    let asked = if group.is_some() { &queries[..7] } else { &queries[..] };
    metrics::last(api, asked, MINUTES).await
}

/// Requests, answers by status, response times.
pub fn draw(series: &[Series]) -> Markup {
    let [requests, ok, redirects, refused, failed, average, p99, own @ ..] = series else { return html! {} };
    let ms = |series: &Series| -> Series { series.iter().map(|(at, seconds)| (*at, seconds * 1000.0)).collect() };
    let (average, p99) = (ms(average), ms(p99));
    html! {
        div.columns {
            (chart("Requests", "per minute", &[("requests", requests)]))
            (chart("Targets' answers", "per minute", &[("2xx", ok), ("3xx", redirects), ("4xx", refused), ("5xx", failed)]))
            (chart("Response time", "ms", &[("average", &average), ("p99", &p99)]))
            @if let [refused, failed] = own {
                (chart("The load balancer's own answers", "per minute", &[("4xx", refused), ("5xx", failed)]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_port_that_was_really_bound() {
        let view = |listener: u16, port: u16| ListenerView {
            listener_arn: String::new(),
            load_balancer_name: "demo".into(),
            dns_name: "demo-1.us-east-1.elb.localhost".into(),
            port: listener,
            bound: vec![([127, 80, 0, 1], port).into(), ([127, 0, 0, 1], port).into()],
            error: None,
        };
        let expected = ["http://demo-1.us-east-1.elb.localhost/", "http://127.80.0.1/", "http://127.0.0.1/"];
        assert_eq!(urls(&view(80, 80)), expected);
        assert_eq!(urls(&view(80, 8080))[0], "http://demo-1.us-east-1.elb.localhost:8080/");
        assert_eq!(urls(&view(443, 8443))[1], "https://127.80.0.1:8443/");
    }
}
