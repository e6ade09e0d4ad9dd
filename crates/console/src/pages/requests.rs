//! Recent requests of a load balancer, from its access log; each leads to its trace.

use super::{Ctx, load_balancers};
use crate::access_log::{self, Request};
use crate::api::{Data, Told, Trouble};
use crate::form::encoded;
use crate::html::{self, Page, live, part, section, table, text};
use crate::service_map::milliseconds;
use maud::{Markup, html};
use quarry_aws::elbv2::op::DescribeLoadBalancers;
use serde_json::json;
use std::cmp::Ordering;

/// Lines that are looked through, and those that are shown.
const READ: usize = 1000;
const SHOWN: usize = 100;
/// The bucket that is proposed.
const BUCKET: &str = "access-logs";

pub async fn page(ctx: &Ctx<'_>, name: &str) -> Told<Page> {
    let found = ctx.api.ask::<DescribeLoadBalancers>(json!({"Names": [name]})).await?;
    let missing = || Trouble::Missing(format!("load balancer {name}"));
    let arn = found.list("LoadBalancers").first().ok_or_else(missing)?.text("LoadBalancerArn");
    let lines = ctx.api.access_log(name, READ).await;
    let enabled = lines.as_ref().map_or(true, |lines| lines.enabled);
    let orders = [("newest", "the newest first"), ("slowest", "the slowest first")];
    let statuses = [("", "any"), ("2", "2xx"), ("3", "3xx"), ("4", "4xx"), ("5", "5xx")];
    let choices =
        |all: &[(&str, &str)]| all.iter().map(|(v, n)| ((*v).to_owned(), (*n).to_owned())).collect::<Vec<_>>();
    let body = html! {
        @if enabled {
            (section("which", "Which", html! {
                form.action method="get" {
                    (html::choice("order", "Order", &choices(&orders), ctx.query.text("order")))
                    (html::choice("status", "Status", &choices(&statuses), ctx.query.text("status")))
                    (html::field("find", "URL, client or target with", ctx.query.text("find"), "text"))
                    button type="submit" { "Show" }
                }
            }))
            (live("requests", "Requests", part(&lines, |lines| {
                let all: Vec<Request> = lines.lines.iter().filter_map(|line| access_log::read(line)).collect();
                draw(&chosen(all, ctx), lines.lines.len())
            })))
        } @else {
            (section("off", "Its access log is off", html! {
                p { "An access log has a line for each request: who asked, which target answered, how long it took, and the id of its trace. It is written into a folder of this machine that stands for an S3 bucket." }
                (html::action("access-log", ctx.token, &[("balancer", name), ("arn", arn), ("enabled", "true")],
                    "Turn it on", html::field("bucket", "Bucket", BUCKET, "text")))
            }))
        }
        @if enabled {
            (section("turn-off", "Turn it off", html::action("access-log", ctx.token,
                &[("balancer", name), ("arn", arn), ("enabled", "false")], "Turn the access log off", html! {})))
        }
    };
    let page = Page::new("Recent requests", body).under("Load balancers", "/load-balancers");
    Ok(page.under(name, load_balancers::path(name)))
}

/// The path of a load balancer's page of requests.
pub fn path(balancer: &str) -> String {
    format!("{}/requests", load_balancers::path(balancer))
}

fn chosen(mut all: Vec<Request>, ctx: &Ctx<'_>) -> Vec<Request> {
    let (status, find) = (ctx.query.text("status"), ctx.query.text("find"));
    all.retain(|request| {
        let has = |text: &str| text.contains(find);
        request.status.to_string().starts_with(status)
            && (has(&request.url) || has(&request.client) || has(&request.target) || has(&request.trace))
    });
    if ctx.query.text("order") == "slowest" {
        all.sort_by(|a, b| b.seconds.partial_cmp(&a.seconds).unwrap_or(Ordering::Equal));
    }
    all
}

fn draw(requests: &[Request], read: usize) -> Markup {
    let slowest = requests.iter().take(SHOWN).filter_map(|request| request.seconds).fold(0.0, f64::max);
    let rows = requests.iter().take(SHOWN).map(|request| {
        vec![
            html! { time datetime=(request.at) { (request.at.get(11..23).unwrap_or(&request.at)) } },
            html! { code { (request.method) " " (access_log::path(&request.url)) } },
            status(request),
            taken(request.seconds, slowest),
            text(
                request
                    .rule
                    .map_or_else(String::new, |rule| if rule == 0 { "default".into() } else { rule.to_string() }),
            ),
            html! {
                @if request.group.is_empty() { (request.action) }
                @else { (html::link_in("/target-groups", &request.group)) br; span.address { (request.target) } }
            },
            html! { span.address { (request.client.rsplit_once(':').map_or("", |(address, _)| address)) } },
            trace(request),
        ]
    });
    let columns = ["At", "Request", "#Status", "#Time", "#Rule", "Answered by", "Client", "Trace"];
    html! {
        (table("Requests", &columns, rows.collect()))
        p.none {
            @if read == 0 { "No request was logged yet." }
            @else { (requests.len().min(SHOWN)) " of the newest " (read) " lines." }
        }
    }
}

fn status(request: &Request) -> Markup {
    let class = match request.status {
        500.. => "bad",
        400.. => "wait",
        300.. => "quiet",
        _ => "good",
    };
    let own = request.target_status.is_none() && request.action == "forward";
    html! {
        span class={ "state " (class) } { (request.status) }
        @if own { span.tag { " by the load balancer" } }
    }
}

/// The time, and beside the slowest one on the page.
fn taken(seconds: Option<f64>, slowest: f64) -> Markup {
    let Some(seconds) = seconds else { return html! { span.quiet { "none" } } };
    let share = seconds / slowest.max(1e-6) * 100.0;
    html! {
        (milliseconds(seconds))
        svg.share viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
            rect.ground width="100" height="4" {}
            rect.part width=(format!("{share:.1}")) height="4" {}
        }
    }
}

/// One click away, where it was recorded.
fn trace(request: &Request) -> Markup {
    let short = request.trace.get(request.trace.len().saturating_sub(8)..).unwrap_or_default();
    html! {
        @if request.sampled {
            a href={ "/traces/" (encoded(&request.trace)) } title=(request.trace) { "Trace " (short) }
        } @else if !request.trace.is_empty() { span.quiet title=(request.trace) { "not recorded" } }
    }
}
