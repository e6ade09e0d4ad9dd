//! Alarms: their states, the metric behind each, what happened.

use super::{Ctx, clusters::MINUTES};
use crate::api::{Data, Told, Trouble};
use crate::chart::{chart, number};
use crate::html::{self, Page, live, part, section, table, text};
use crate::metrics::{self, Query, Series};
use futures_util::future::join;
use maud::html;
use quarry_aws::cloudwatch::op::{DescribeAlarmHistory, DescribeAlarms};
use serde_json::{Value, json};

/// Entries of the history shown.
const HISTORY: usize = 50;

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let alarms = ctx.api.all::<DescribeAlarms>(json!({}), "MetricAlarms").await?;
    let rows = alarms.iter().map(|alarm| {
        vec![
            html::link_in("/alarms", alarm.text("AlarmName")),
            html::state(alarm.text("StateValue")),
            text(condition(alarm)),
            text(alarm.text("StateReason")),
            html::when(alarm.time("StateUpdatedTimestamp")),
        ]
    });
    let columns = ["Alarm", "State", "When", "Reason", "Since"];
    Ok(Page::new("Alarms", live("all", "All alarms", table("Alarms", &columns, rows.collect()))))
}

/// `CPUUtilization > 75 for 3 × 60 s`.
fn condition(alarm: &Value) -> String {
    let than = match alarm.text("ComparisonOperator") {
        "GreaterThanThreshold" => ">",
        "GreaterThanOrEqualToThreshold" => "≥",
        "LessThanThreshold" => "<",
        "LessThanOrEqualToThreshold" => "≤",
        other => other,
    };
    let name = if alarm.text("MetricName").is_empty() { "an expression" } else { alarm.text("MetricName") };
    let threshold = alarm.at("Threshold").as_f64().map_or_else(String::new, number);
    format!("{name} {than} {threshold} for {} × {} s", alarm.whole("EvaluationPeriods"), alarm.whole("Period"))
}

pub async fn one(ctx: &Ctx<'_>, name: &str) -> Told<Page> {
    let found = ctx.api.ask::<DescribeAlarms>(json!({"AlarmNames": [name]})).await?;
    let alarm = found.list("MetricAlarms").first().ok_or_else(|| Trouble::Missing(format!("alarm {name}")))?;
    let dimensions: Vec<(&str, &str)> =
        alarm.list("Dimensions").iter().map(|d| (d.text("Name"), d.text("Value"))).collect();
    let statistics = ["Statistic", "ExtendedStatistic"].map(|member| alarm.text(member));
    let statistic = statistics.into_iter().find(|one| !one.is_empty()).unwrap_or("Average");
    let query = Query::new(alarm.text("Namespace"), alarm.text("MetricName"), &dimensions, statistic);
    let asked = if alarm.text("MetricName").is_empty() { Vec::new() } else { vec![query] };
    let (series, history) = join(
        metrics::last(ctx.api, &asked, MINUTES),
        ctx.api.ask::<DescribeAlarmHistory>(json!({"AlarmName": name, "MaxRecords": HISTORY})),
    )
    .await;
    let body = html! {
        (live("alarm", "Alarm", html::facts(vec![
            ("State", html::state(alarm.text("StateValue"))),
            ("Reason", text(alarm.text("StateReason"))),
            ("When", text(condition(alarm))),
            ("Description", text(alarm.text("AlarmDescription"))),
            ("Dimensions", text(dimensions.iter().map(|(n, v)| format!("{n} {v}")).collect::<Vec<_>>().join(", "))),
            ("Actions", text(if alarm.flag("ActionsEnabled") { "on" } else { "off" })),
            ("ARN", html::code(alarm.text("AlarmArn"))),
        ])))
        (live("metric", "Metric", part(&series, |series| html! {
            @for series in series {
                @let threshold = alarm.at("Threshold").as_f64().unwrap_or_default();
                @let line: Series = [series.first(), series.last()].into_iter().flatten().map(|(at, _)| (*at, threshold)).collect();
                (chart(alarm.text("MetricName"), alarm.text("Unit"), &[(statistic, series), ("threshold", &line)]))
            }
        })))
        (section("history", "History", part(&history, |history| html! {
            @if history.list("AlarmHistoryItems").is_empty() { p.none { "Nothing has happened." } }
            ul.events { @for item in history.list("AlarmHistoryItems") {
                li { (html::when(item.time("Timestamp"))) (item.text("HistorySummary")) }
            } }
        })))
    };
    Ok(Page::new(name, body).under("Alarms", "/alarms"))
}
