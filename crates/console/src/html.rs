//! What all pages are made of: the frame around them, tables, forms, states, times.

use crate::api::{Told, Trouble};
use crate::form::{Form, encoded};
use maud::{DOCTYPE, Markup, html};
use quarry_wire::Timestamp;

/// A page's own part.
pub struct Page {
    pub title: String,
    /// The pages above this one: name and path.
    pub above: Vec<(String, String)>,
    pub body: Markup,
}

impl Page {
    pub fn new(title: impl Into<String>, body: Markup) -> Self {
        Self { title: title.into(), above: Vec::new(), body }
    }

    /// Names a page above this one; the uppermost first.
    #[must_use]
    pub fn under(mut self, name: impl Into<String>, path: impl Into<String>) -> Self {
        self.above.push((name.into(), path.into()));
        self
    }
}

/// What is around a page's part.
pub struct Frame<'a> {
    /// Path and query.
    pub path: &'a str,
    pub who: &'a str,
    pub region: &'a str,
    /// What forms carry.
    pub token: &'a str,
    /// What was just done.
    pub said: Option<&'a str>,
    /// What `main` holds, for the page that asks for changes; none for pages that do not change.
    pub version: Option<&'a str>,
}

/// The console's parts by what they are for: name and path.
const PARTS: [(&str, &[(&str, &str)]); 5] = [
    ("", &[("Overview", "/")]),
    ("Run", &[("Clusters", "/clusters"), ("Task definitions", "/task-definitions"), ("Repositories", "/repositories")]),
    (
        "Route",
        &[("Load balancers", "/load-balancers"), ("Target groups", "/target-groups"), ("Namespaces", "/namespaces")],
    ),
    ("Change", &[("Cuts", "/cuts"), ("Stacks", "/stacks"), ("Roles", "/roles")]),
    ("Watch", &[("Traces", "/traces"), ("Logs", "/logs"), ("Metrics", "/metrics"), ("Alarms", "/alarms")]),
];
/// Stones, one upon the other.
const MARK: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cg \
                    fill='%230b5c6b'%3E%3Crect x='1' y='10.5' width='14' height='4.5' rx='1.2'/%3E%3Crect x='3' \
                    y='5.5' width='9' height='4' rx='1.2'/%3E%3Crect x='6' y='1' width='6' height='3.5' \
                    rx='1.2'/%3E%3C/g%3E%3C/svg%3E";

/// A whole document.
pub fn document(page: &Page, frame: &Frame<'_>) -> Markup {
    let path = frame.path.split('?').next().unwrap_or_default();
    let here = |part: &str| (part == path || part != "/" && path.starts_with(&format!("{part}/"))).then_some("page");
    shell(
        &page.title,
        None,
        html! {
            div.framed {
                header.top {
                    a.brand href="/" { (mark()) "Quarry" }
                    div.where {
                        span { (frame.region) } " " span.who { (frame.who) }
                        button #pause type="button" aria-pressed="false" hidden { "Pause updates" }
                        form method="post" action="/sign-out" {
                            input type="hidden" name="token" value=(frame.token);
                            button type="submit" { "Sign out" }
                        }
                    }
                }
                nav.parts aria-label="Parts" {
                    @for (group, parts) in PARTS {
                        @if !group.is_empty() { span.group aria-hidden="true" { (group) } }
                        ul { @for (name, path) in parts { li { a href=(path) aria-current=[here(path)] { (name) } } } }
                    }
                }
                main #main tabindex="-1" data-version=[frame.version] {
                    @if !page.above.is_empty() {
                        nav aria-label="Breadcrumb" { ol.crumbs {
                            @for (name, path) in &page.above { li { a href=(path) { (name) } } }
                            li { span aria-current="page" { (page.title) } }
                        } }
                    }
                    h1 { (page.title) }
                    @if let Some(said) = frame.said { p.said role="status" { (said) } }
                    (page.body)
                }
            }
        },
    )
}

/// A document without the console's parts: where one signs in, what is refused.
pub fn bare(title: &str, forward: Option<&str>, body: Markup) -> Markup {
    shell(
        title,
        forward,
        html! {
            header.top { span.brand { (mark()) "Quarry" } }
            main #main tabindex="-1" { h1 { (title) } (body) }
        },
    )
}

fn mark() -> Markup {
    html! {
        svg.mark width="20" height="20" viewBox="0 0 16 16" aria-hidden="true" {
            rect x="1" y="10.5" width="14" height="4.5" rx="1.2" {}
            rect x="3" y="5.5" width="9" height="4" rx="1.2" {}
            rect x="6" y="1" width="6" height="3.5" rx="1.2" {}
        }
    }
}

fn shell(title: &str, forward: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(to) = forward { meta http-equiv="refresh" content=(format!("0;url={to}")); }
                title { (title) " · Quarry" }
                link rel="icon" href=(MARK);
                link rel="stylesheet" href=(crate::server::STYLE_PATH.as_str());
                script src=(crate::server::SCRIPT_PATH.as_str()) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (body)
            }
        }
    }
}

/// A section of a page with its heading; `id` is the page's own.
pub fn section(id: &str, title: &str, body: Markup) -> Markup {
    let heading = format!("{id}-heading");
    html! {
        section #(id) aria-labelledby=(heading) { h2 #(heading) { (title) } (body) }
    }
}

/// A section whose content is brought up to date while the page is open. The focus, and what was typed or ticked in it, stay.
pub fn live(id: &str, title: &str, body: Markup) -> Markup {
    section(id, title, html! { div #{ (id) "-live" } data-live { (body) } })
}

/// A part of a page, or in its place why it cannot be shown.
pub fn part<T>(told: &Told<T>, draw: impl FnOnce(&T) -> Markup) -> Markup {
    match told {
        Ok(shown) => draw(shown),
        Err(trouble) => wrong(trouble),
    }
}

pub fn wrong(trouble: &Trouble) -> Markup {
    html! { p.bad { "Not known: " (trouble) } }
}

/// A table, or a word that there is nothing; columns that begin with `#` hold numbers.
pub fn table(caption: &str, columns: &[&str], rows: Vec<Vec<Markup>>) -> Markup {
    let number = |column: usize| columns.get(column).is_some_and(|c| c.starts_with('#')).then_some("number");
    html! {
        @if rows.is_empty() {
            p.none { (caption) ": none." }
        } @else {
            div.scroll tabindex="0" role="group" aria-label=(caption) {
                table {
                    caption { (caption) }
                    thead { tr {
                        @for (i, column) in columns.iter().enumerate() {
                            th scope="col" class=[number(i)] { (column.trim_start_matches('#')) }
                        }
                    } }
                    tbody { @for row in &rows { tr {
                        @for (i, cell) in row.iter().enumerate() { td class=[number(i)] { (cell) } }
                    } } }
                }
            }
        }
    }
}

/// A number that is seen first.
pub struct Figure {
    name: &'static str,
    value: String,
    path: &'static str,
    class: &'static str,
}

impl Figure {
    /// `class`: `wait` or `bad` where it is not as it should be.
    pub fn new(name: &'static str, value: impl std::fmt::Display, path: &'static str, class: &'static str) -> Self {
        Self { name, value: value.to_string(), path, class }
    }
}

/// Figures beside each other, brought up to date.
pub fn figures(label: &str, figures: &[Figure]) -> Markup {
    html! {
        ul.figures #figures data-live aria-label=(label) {
            @for figure in figures {
                li { a href=(figure.path) {
                    span.value class=[Some(figure.class).filter(|c| !c.is_empty())] { (figure.value) }
                    span.caption { (figure.name) }
                } }
            }
        }
    }
}

/// Facts that take a line of their own.
const WHOLE: [&str; 2] = ["ARN", "Id"];

/// Names and what they stand for; those without a value are left out.
pub fn facts(pairs: Vec<(&str, Markup)>) -> Markup {
    html! {
        dl.facts { @for (name, value) in pairs.iter().filter(|(_, value)| !value.0.is_empty()) {
            div class=[WHOLE.contains(name).then_some("whole")] { dt { (name) } dd { (value) } }
        } }
    }
}

/// A status in its own word; the colour only repeats it.
pub fn state(word: &str) -> Markup {
    let class = match word {
        "active" | "healthy" | "ACTIVE" | "RUNNING" | "COMPLETED" | "HEALTHY" | "OK" | "PRIMARY" | "FINISHED"
        | "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "SUCCESSFUL" | "SUCCESS" | "COMPLETE" | "Successful" => "good",
        "unhealthy" | "failed" | "unavailable" | "UNHEALTHY" | "ALARM" | "FAILED" | "ABORTED" | "Failed" => "bad",
        _ if word.ends_with("FAILED") || word.contains("ROLLBACK") => "bad",
        "STOPPED" | "INACTIVE" | "unused" | "UNKNOWN" | "INSUFFICIENT_DATA" | "" => "quiet",
        _ => "wait",
    };
    html! { @if !word.is_empty() { span class={ "state " (class) } { (word) } } }
}

pub fn text(value: impl std::fmt::Display) -> Markup {
    html! { (value.to_string()) }
}

pub fn code(value: &str) -> Markup {
    html! { @if !value.is_empty() { code { (value) } } }
}

pub fn link(path: &str, name: &str) -> Markup {
    html! { a href=(path) { (name) } }
}

/// A link whose path ends in this name.
pub fn link_in(folder: &str, name: &str) -> Markup {
    link(&format!("{folder}/{}", encoded(name)), name)
}

/// A moment to the second, as people read it.
pub fn when(at: Option<Timestamp>) -> Markup {
    let Some(at) = at else { return Markup::default() };
    let iso = at.to_string();
    html! { time datetime=(iso) { (moment(&iso)) } }
}

pub fn when_ms(ms: i64) -> Markup {
    when((ms > 0).then(|| Timestamp::from_millis(ms)))
}

/// `2026-01-31 12:00:00 UTC`, from ISO 8601; other text as it is.
pub fn moment(iso: &str) -> String {
    match iso.split_once('T') {
        Some((day, time)) if day.len() == 10 && time.len() > 8 && time.is_char_boundary(8) => {
            format!("{day} {} UTC", &time[..8])
        }
        _ => iso.to_owned(),
    }
}

/// Bytes as a person reads them.
pub fn size(bytes: i64) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Text to copy: a line of a shell, a document. With the script there is a button for it.
pub fn copied(label: &str, content: &str) -> Markup {
    html! {
        div.copy {
            pre tabindex="0" role="group" aria-label=(label) { code { (content) } }
            button type="button" data-copy hidden { "Copy" }
        }
    }
}

/// The form of an action; it leads to a page that shows the calls before they are made.
pub fn action(name: &str, token: &str, hidden: &[(&str, &str)], button: &str, fields: Markup) -> Markup {
    html! {
        form.action method="post" action={ "/do/" (name) } {
            input type="hidden" name="token" value=(token);
            @for (name, value) in hidden { input type="hidden" name=(name) value=(value); }
            (fields)
            button type="submit" class=[takes_away(name).then_some("danger")] { (button) }
        }
    }
}

/// Actions after which something is gone.
fn takes_away(action: &str) -> bool {
    ["delete-", "deregister-", "stop-", "cut-abort"].iter().any(|word| action.starts_with(word))
}

/// A labelled field of one line.
pub fn field(name: &str, label: &str, value: &str, kind: &str) -> Markup {
    html! {
        label.field { span { (label) } input type=(kind) name=(name) value=(value) min=[(kind == "number").then_some("0")]; }
    }
}

pub fn tick(name: &str, label: &str) -> Markup {
    html! { label.tick { input type="checkbox" name=(name) value="yes"; " " (label) } }
}

/// A labelled choice: values with their names.
pub fn choice(name: &str, label: &str, options: &[(String, String)], chosen: &str) -> Markup {
    html! {
        label.field {
            span { (label) }
            select name=(name) {
                @for (value, shown) in options { option value=(value) selected[value == chosen] { (shown) } }
            }
        }
    }
}

/// Folded away until asked for.
pub fn folded(title: &str, body: Markup) -> Markup {
    html! { details { summary { (title) } (body) } }
}

/// The same page with one word of its query changed.
pub fn with_query(path: &str, query: &Form, name: &str, value: &str) -> String {
    let kept = query.pairs().iter().filter(|(n, _)| n != name).map(|(n, v)| (n.as_str(), v.as_str()));
    let all = kept.chain([(name, value)]).filter(|(_, value)| !value.is_empty());
    let query: Vec<String> = all.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// The link to what follows, where more follows.
pub fn more(path: &str, query: &Form, next: &str) -> Markup {
    html! {
        @if query.given("after").is_some() || !next.is_empty() {
            nav.pages aria-label="Pages" {
                @if query.given("after").is_some() { a href=(with_query(path, query, "after", "")) { "First page" } }
                @if !next.is_empty() { a rel="next" href=(with_query(path, query, "after", next)) { "Next page" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_elsewhere_stays_text() {
        let hostile = "\"><script>alert(1)</script>&";
        let page = Page::new(hostile, table(hostile, &[hostile], vec![vec![text(hostile), state(hostile)]]))
            .under(hostile, hostile);
        let frame = Frame {
            path: hostile,
            who: hostile,
            region: hostile,
            token: hostile,
            said: Some(hostile),
            version: Some(hostile),
        };
        let html = document(&page, &frame).into_string();
        assert_eq!(html.matches("<script").count(), 1, "its own alone: {html}");
        assert!(html.matches("&lt;script&gt;alert(1)").count() >= 10, "{html}");
    }

    #[test]
    fn queries_keep_what_is_not_changed() {
        let query = Form::parse("status=STOPPED&after=x%2Fy");
        assert_eq!(with_query("/t", &query, "after", "a b"), "/t?status=STOPPED&after=a%20b");
        assert_eq!(with_query("/t", &Form::parse("after=1"), "after", ""), "/t");
        assert!(more("/t", &Form::default(), "").into_string().is_empty());
    }

    #[test]
    fn moments_and_sizes_are_read_by_people() {
        assert_eq!(moment("2026-01-31T12:34:56.789Z"), "2026-01-31 12:34:56 UTC");
        assert_eq!(moment("yesterday"), "yesterday");
        assert_eq!([size(7), size(2048), size(5_242_880)], ["7 B", "2 KiB", "5.0 MiB"]);
    }
}
