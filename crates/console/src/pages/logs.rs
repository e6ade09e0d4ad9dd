//! What containers wrote, from CloudWatch Logs.

use super::{Ctx, services};
use crate::api::{Api, Data, Told, short};
use crate::form::encoded;
use crate::html::{self, Page, live, part, section, table, text};
use futures_util::future::try_join_all;
use maud::{Markup, html};
use quarry_aws::ecs::op::DescribeTaskDefinition;
use quarry_aws::logs::op::{DescribeLogGroups, FilterLogEvents};
use quarry_wire::Timestamp;
use serde_json::{Value, json};

/// Lines shown: the newest ones.
const LINES: usize = 300;
/// Pages of events that are read at most for them.
const PAGES: usize = 20;
const MINUTES: i64 = 15;
const CHOICES: [i64; 5] = [5, 15, 60, 360, 1440];

pub async fn groups(ctx: &Ctx<'_>) -> Told<Page> {
    let groups = ctx.api.all::<DescribeLogGroups>(json!({}), "logGroups").await?;
    let rows = groups.iter().map(|group| {
        vec![
            html::link_in("/logs", group.text("logGroupName")),
            text(html::size(group.whole("storedBytes"))),
            group.at("retentionInDays").as_i64().map_or_else(|| text("for ever"), |days| text(format!("{days} days"))),
            html::when_ms(group.whole("creationTime")),
        ]
    });
    let columns = ["Log group", "#Size", "Kept", "Created"];
    Ok(Page::new("Logs", live("all", "Log groups", table("Log groups", &columns, rows.collect()))))
}

pub async fn group(ctx: &Ctx<'_>, name: &str) -> Told<Page> {
    let source = Source { group: name.to_owned(), prefix: ctx.query.text("prefix").to_owned() };
    let lines = read(ctx, &[source]).await;
    let fields = html::field("prefix", "Streams beginning with", ctx.query.text("prefix"), "text");
    let body = html! {
        (section("which", "Which", choose(ctx, fields)))
        (live("lines", "Lines", part(&lines, |lines| draw(lines))))
    };
    Ok(Page::new(name, body).under("Logs", "/logs"))
}

pub async fn of_service(ctx: &Ctx<'_>, cluster: &str, service: &str) -> Told<Page> {
    let described = services::describe(ctx.api, cluster, service).await?;
    let mut sources = sources(ctx.api, described.text("taskDefinition")).await?;
    // A stream is named prefix/container/task.
    if let Some(task) = ctx.query.given("task") {
        sources.iter_mut().for_each(|source| source.prefix = format!("{}{task}", source.prefix));
    }
    let lines = match sources.is_empty() {
        true => Ok(Vec::new()),
        false => read(ctx, &sources).await,
    };
    let groups: Vec<&str> = sources.iter().map(|source| source.group.as_str()).collect();
    let body = html! {
        @if sources.is_empty() {
            p { "Its containers do not use the log driver awslogs: nothing of what they write is kept here." }
        } @else {
            (section("which", "Which", choose(ctx, html::field("task", "Of the task", ctx.query.text("task"), "text"))))
            (live("lines", "Lines", part(&lines, |lines| draw(lines))))
            p.none { "Log groups: " @for group in &groups { (html::link_in("/logs", group)) " " } }
        }
    };
    let own = format!("/clusters/{}", encoded(cluster));
    let page = Page::new("Logs", body).under("Clusters", "/clusters").under(cluster, own.clone());
    Ok(page.under(service, format!("{own}/services/{}", encoded(service))))
}

/// A log group, and what the names of streams in it begin with.
struct Source {
    group: String,
    prefix: String,
}

async fn sources(api: &Api, definition: &str) -> Told<Vec<Source>> {
    let answer = api.ask::<DescribeTaskDefinition>(json!({"taskDefinition": definition})).await?;
    let mut all = Vec::new();
    for container in answer.list("taskDefinition.containerDefinitions") {
        let options = &container["logConfiguration"]["options"];
        let option = |name: &str| options[name].as_str().unwrap_or_default();
        if container.text("logConfiguration.logDriver") == "awslogs" && !option("awslogs-group").is_empty() {
            let prefix = match option("awslogs-stream-prefix") {
                "" => String::new(),
                prefix => format!("{prefix}/{}/", container.text("name")),
            };
            all.push(Source { group: option("awslogs-group").to_owned(), prefix });
        }
    }
    Ok(all)
}

fn choose(ctx: &Ctx<'_>, more: Markup) -> Markup {
    let options = CHOICES.map(|minutes| (minutes.to_string(), format!("{minutes} minutes")));
    let chosen = ctx.query.given("minutes").map_or_else(|| MINUTES.to_string(), str::to_owned);
    html! {
        form.action method="get" {
            (html::choice("minutes", "Of the last", &options, &chosen))
            (html::field("filter", "Filter pattern", ctx.query.text("filter"), "text"))
            (more)
            button type="submit" { "Show" }
        }
    }
}

/// The newest lines of the sources, in the order of time.
async fn read(ctx: &Ctx<'_>, sources: &[Source]) -> Told<Vec<Value>> {
    let minutes = ctx.query.given("minutes").and_then(|m| m.parse::<i64>().ok()).unwrap_or(MINUTES).clamp(1, 10_080);
    let since = (crate::metrics::now() - minutes * 60) * 1000;
    let all = try_join_all(sources.iter().map(|source| async move {
        let mut wanted = json!({"logGroupName": source.group, "startTime": since});
        for (member, value) in
            [("logStreamNamePrefix", source.prefix.as_str()), ("filterPattern", ctx.query.text("filter"))]
        {
            if !value.is_empty() {
                wanted[member] = json!(value);
            }
        }
        let mut lines: Vec<Value> = Vec::new();
        for _ in 0..PAGES {
            let page = ctx.api.ask::<FilterLogEvents>(wanted.clone()).await?;
            lines.extend(page.list("events").iter().cloned());
            lines.drain(..lines.len().saturating_sub(LINES));
            match page.text("nextToken") {
                "" => break,
                next => wanted["nextToken"] = json!(next),
            }
        }
        Told::Ok(lines)
    }));
    let mut lines: Vec<Value> = all.await?.into_iter().flatten().collect();
    lines.sort_by_key(|line| line.whole("timestamp"));
    lines.drain(..lines.len().saturating_sub(LINES));
    Ok(lines)
}

fn draw(lines: &[Value]) -> Markup {
    html! {
        @if lines.is_empty() { p.none { "No line in this time." } } @else {
            pre.logs tabindex="0" role="group" aria-label="Lines" {
                @for line in lines {
                    @let iso = Timestamp::from_millis(line.whole("timestamp")).to_string();
                    time datetime=(iso) { (iso.get(11..23).unwrap_or_default().trim_end_matches('Z')) } " "
                    span.quiet { (short_stream(line.text("logStreamName"))) } " " (line.text("message")) "\n"
                }
            }
        }
    }
}

/// The first characters of the task's id that ends a stream's name.
fn short_stream(name: &str) -> &str {
    let last = short(name);
    last.get(..8).unwrap_or(last)
}
