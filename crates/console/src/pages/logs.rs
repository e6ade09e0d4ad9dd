//! What containers wrote, from CloudWatch Logs.

use super::{Ctx, services};
use crate::api::{Api, Data, Told, Trouble, short};
use crate::form::{encoded, segments};
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
/// Filter patterns that explain themselves.
const EXAMPLES: [&str; 4] = ["ERROR", "\"not found\" -debug", "{ $.status = 500 }", "%time=[0-9]+%"];
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
    let lines = read(ctx, &[of_group(ctx, name)], since(ctx)).await;
    let fields = html::field("prefix", "Streams beginning with", ctx.query.text("prefix"), "text");
    let body = html! {
        (section("which", "Which", choose(ctx, fields)))
        (section("lines", "Lines", part(&lines, |lines| draw(lines))))
    };
    Ok(Page::new(name, body).under("Logs", "/logs"))
}

pub async fn of_service(ctx: &Ctx<'_>, cluster: &str, service: &str) -> Told<Page> {
    let sources = of_tasks(ctx, cluster, service).await?;
    let lines = match sources.is_empty() {
        true => Ok(Vec::new()),
        false => read(ctx, &sources, since(ctx)).await,
    };
    let groups: Vec<&str> = sources.iter().map(|source| source.group.as_str()).collect();
    let body = html! {
        @if sources.is_empty() {
            p { "Its containers do not use the log driver awslogs: nothing of what they write is kept here." }
        } @else {
            (section("which", "Which", choose(ctx, html::field("task", "Of the task", ctx.query.text("task"), "text"))))
            (section("lines", "Lines", part(&lines, |lines| draw(lines))))
            p.none { "Log groups: " @for group in &groups { (html::link_in("/logs", group)) " " } }
        }
    };
    let own = format!("/clusters/{}", encoded(cluster));
    let page = Page::new("Logs", body).under("Clusters", "/clusters").under(cluster, own.clone());
    Ok(page.under(service, format!("{own}/services/{}", encoded(service))))
}

/// A log group, and what the names of streams in it begin with.
#[derive(Clone, Debug)]
pub struct Source {
    group: String,
    prefix: String,
}

/// What the page at the context's path shows lines of.
pub async fn sources_of(ctx: &Ctx<'_>) -> Told<Vec<Source>> {
    let segments = segments(ctx.path);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments[..] {
        ["logs", group] => Ok(vec![of_group(ctx, group)]),
        ["clusters", cluster, "services", service, "logs"] => of_tasks(ctx, cluster, service).await,
        _ => Err(Trouble::Missing(format!("log at {}", ctx.path))),
    }
}

fn of_group(ctx: &Ctx<'_>, name: &str) -> Source {
    Source { group: name.to_owned(), prefix: ctx.query.text("prefix").to_owned() }
}

async fn of_tasks(ctx: &Ctx<'_>, cluster: &str, service: &str) -> Told<Vec<Source>> {
    let described = services::describe(ctx.api, cluster, service).await?;
    let mut sources = sources(ctx.api, described.text("taskDefinition")).await?;
    // A stream is named prefix/container/task.
    if let Some(task) = ctx.query.given("task") {
        sources.iter_mut().for_each(|source| source.prefix = format!("{}{task}", source.prefix));
    }
    Ok(sources)
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
        p.none { "Patterns of CloudWatch Logs, such as " @for (i, example) in EXAMPLES.iter().enumerate() {
            @if i > 0 { ", " } code { (example) }
        } "." }
    }
}

/// The beginning of the time that is asked for, in milliseconds.
fn since(ctx: &Ctx<'_>) -> i64 {
    let minutes = ctx.query.given("minutes").and_then(|m| m.parse::<i64>().ok()).unwrap_or(MINUTES).clamp(1, 10_080);
    (crate::metrics::now() - minutes * 60) * 1000
}

/// The newest lines of the sources since a time in milliseconds, in the order of time.
pub async fn read(ctx: &Ctx<'_>, sources: &[Source], since: i64) -> Told<Vec<Value>> {
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

/// Lines, to which the script adds those that come.
fn draw(lines: &[Value]) -> Markup {
    let newest = lines.iter().map(|line| line.whole("timestamp")).max().unwrap_or(crate::metrics::now() * 1000);
    html! {
        p.none #no-lines hidden[!lines.is_empty()] { "No line in this time." }
        pre.logs #tail tabindex="0" role="log" aria-label="Lines" data-tail=(newest) hidden[lines.is_empty()] {
            @for line in lines.iter().map(shown) {
                div data-id=(line.text("id")) {
                    time { (line.text("at")) } " " span.quiet { (line.text("stream")) } " " (line.text("text"))
                    @if !line.text("trace").is_empty() { " " a href={ "/traces/" (line.text("trace")) } { "Trace" } }
                }
            }
        }
        p.none #following hidden { span.dot aria-hidden="true" {} " New lines appear as they are written." }
    }
}

/// A line as it is drawn: its id, time, stream and text, and the id of the trace that it names.
pub fn shown(line: &Value) -> Value {
    let iso = Timestamp::from_millis(line.whole("timestamp")).to_string();
    json!({
        "id": line.text("eventId"),
        "at": iso.get(11..23).unwrap_or_default().trim_end_matches('Z'),
        "stream": short_stream(line.text("logStreamName")),
        "text": line.text("message"),
        "trace": trace(line.text("message")),
    })
}

/// The first id of a trace in a text, in X-Ray's form: `1-<8 hexadecimal digits>-<24>`.
fn trace(text: &str) -> Option<&str> {
    text.match_indices("1-").find_map(|(at, _)| {
        let id = text.get(at..at + 35)?;
        let is_word = |c: char| c.is_ascii_alphanumeric();
        let apart = !text[..at].ends_with(is_word) && !text[at + 35..].starts_with(is_word);
        let bytes = id.as_bytes();
        let is_id = bytes[10] == b'-' && bytes[2..10].iter().chain(&bytes[11..]).all(u8::is_ascii_hexdigit);
        (apart && is_id).then_some(id)
    })
}

/// The first characters of the task's id that ends a stream's name.
fn short_stream(name: &str) -> &str {
    let last = short(name);
    last.get(..8).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::trace;

    #[test]
    fn lines_name_their_traces() {
        const ID: &str = "1-58337262-36d228ad5d99923122bbe354";
        for line in [
            ID.to_owned(),
            format!(r#"{{"trace":"Root={ID};Parent=00f067aa0ba902b7;Sampled=1"}}"#),
            format!("1-2-3 ü1- x {ID}."),
        ] {
            assert_eq!(trace(&line), Some(ID), "{line}");
        }
        for line in [
            "",
            "1-",
            "1-58337262-36d228ad5d99923122bbe35",
            "21-58337262-36d228ad5d99923122bbe354",
            "1-58337262-36d228ad5d99923122bbe3541",
            "1-58337262-36d228ad5d99923122bbé35",
            "1-58337262x36d228ad5d99923122bbe354",
        ] {
            assert_eq!(trace(line), None, "{line}");
        }
    }
}
