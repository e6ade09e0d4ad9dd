//! Every metric of CloudWatch, and a chart of one.

use super::Ctx;
use crate::api::{Data, Told};
use crate::chart::chart;
use crate::form::encoded;
use crate::html::{self, Page, live, part, section, table, text};
use crate::metrics::{self, Query};
use maud::{Markup, html};
use quarry_aws::cloudwatch::op::ListMetrics;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Metrics on one page.
const SHOWN: usize = 200;
const STATISTICS: [&str; 7] = ["Average", "Sum", "Minimum", "Maximum", "SampleCount", "p50", "p99"];
/// Minutes of a chart, each with the seconds of one point.
const TIMES: [(i64, i64); 5] = [(15, 60), (60, 60), (180, 60), (720, 300), (1440, 900)];

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let all = ctx.api.all::<ListMetrics>(json!({}), "Metrics").await?;
    let spaces: BTreeSet<&str> = all.iter().map(|metric| metric.text("Namespace")).collect();
    let options: Vec<(String, String)> = [(String::new(), "all".to_owned())]
        .into_iter()
        .chain(spaces.iter().map(|space| ((*space).to_owned(), (*space).to_owned())))
        .collect();
    let (space, find) = (ctx.query.text("namespace"), ctx.query.text("find"));
    let mut found: Vec<(&str, &str, String)> = all
        .iter()
        .filter(|metric| space.is_empty() || metric.text("Namespace") == space)
        .map(|metric| (metric.text("Namespace"), metric.text("MetricName"), dimensions(metric)))
        .filter(|(_, name, dimensions)| find.is_empty() || name.contains(find) || dimensions.contains(find))
        .collect();
    found.sort();
    let rows = found.iter().take(SHOWN).map(|(space, name, dimensions)| {
        let path = format!(
            "/metrics/chart?namespace={}&name={}&dimensions={}",
            encoded(space),
            encoded(name),
            encoded(dimensions)
        );
        vec![html::link(&path, name), text(space), text(dimensions)]
    });
    let body = html! {
        (section("which", "Which", html! {
            form.action method="get" {
                (html::choice("namespace", "Namespace", &options, space))
                (html::field("find", "Name or dimension with", find, "text"))
                button type="submit" { "Show" }
            }
        }))
        (section("metrics", "Metrics", html! {
            (table("Metrics", &["Metric", "Namespace", "Dimensions"], rows.collect()))
            @if found.len() > SHOWN { p.none { (SHOWN) " of " (found.len()) "." } }
        }))
    };
    Ok(Page::new("Metrics", body))
}

/// `ClusterName=demo, ServiceName=shop`.
fn dimensions(metric: &Value) -> String {
    let all = metric.list("Dimensions").iter().map(|d| format!("{}={}", d.text("Name"), d.text("Value")));
    all.collect::<Vec<_>>().join(", ")
}

pub async fn one(ctx: &Ctx<'_>) -> Told<Page> {
    let (space, name, given) = (ctx.query.text("namespace"), ctx.query.text("name"), ctx.query.text("dimensions"));
    let pairs: Vec<(&str, &str)> = given.split(", ").filter_map(|pair| pair.split_once('=')).collect();
    let statistic = STATISTICS.into_iter().find(|one| *one == ctx.query.text("statistic")).unwrap_or("Average");
    let minutes = ctx.query.text("minutes").parse::<i64>().ok();
    let (minutes, period) = TIMES.into_iter().find(|(time, _)| Some(*time) == minutes).unwrap_or(TIMES[1]);
    let series = metrics::over(ctx.api, &[Query::new(space, name, &pairs, statistic)], minutes, period).await;
    let statistics = STATISTICS.map(|one| (one.to_owned(), one.to_owned()));
    let times = TIMES.map(|(time, _)| (time.to_string(), span(time)));
    let body = html! {
        (section("which", "Which", html! {
            form.action method="get" {
                @for (name, value) in [("namespace", space), ("name", name), ("dimensions", given)] {
                    input type="hidden" name=(name) value=(value);
                }
                (html::choice("statistic", "Statistic", &statistics, statistic))
                (html::choice("minutes", "Of the last", &times, &minutes.to_string()))
                button type="submit" { "Show" }
            }
        }))
        (live("chart", "Chart", part(&series, |all| drawn(all, name, statistic, period))))
        (section("metric", "Metric", html::facts(vec![
            ("Namespace", text(space)),
            ("Dimensions", text(given)),
        ])))
    };
    Ok(Page::new(name, body).under("Metrics", "/metrics"))
}

fn drawn(all: &[metrics::Series], name: &str, statistic: &str, period: i64) -> Markup {
    html! { @for series in all { (chart(name, &format!("{statistic} of {period} s"), &[(statistic, series)])) } }
}

fn span(minutes: i64) -> String {
    match minutes {
        ..60 => format!("{minutes} minutes"),
        60 => "hour".into(),
        _ => format!("{} hours", minutes / 60),
    }
}
