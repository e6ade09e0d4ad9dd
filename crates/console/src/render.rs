//! Draws the page: pure, and everything that came from the API is escaped by maud.

use crate::view::{
    Cluster, Image, Instance, Listener, LoadBalancer, Page, Part, Repository, Service, Stack, Target, TargetGroup, Task,
};
use crate::{PATH, PAUSED};
use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");
/// Seconds between two loads of the page.
const REFRESH: &str = "2";
/// Sections by their anchors.
const SECTIONS: [(&str, &str); 5] = [
    ("load-balancers", "Load balancers"),
    ("target-groups", "Target groups"),
    ("clusters", "Clusters"),
    ("stacks", "Stacks"),
    ("repositories", "Repositories"),
];

/// What the page may load and run: its own style.
pub fn policy() -> String {
    let hash =
        base64::engine::general_purpose::STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'")
}

/// The whole document; `live` pages load themselves again.
pub fn page(page: &Page, live: bool) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if live { meta http-equiv="refresh" content=(REFRESH); }
                title { "Quarry" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#load-balancers" { "Skip to the load balancers" }
                header {
                    h1 { "Quarry" }
                    p {
                        (page.endpoint) " · " (page.region) " · "
                        @if live {
                            "loads itself again every " (REFRESH) " s · "
                            a href=(format!("{PATH}?{PAUSED}")) { "Pause" }
                        } @else {
                            "paused · "
                            a href=(PATH) { "Go on" }
                        }
                    }
                    nav aria-label="Sections" {
                        ul { @for (id, title) in SECTIONS { li { a href=(format!("#{id}")) { (title) } } } }
                    }
                }
                main {
                    (section(0, &page.load_balancers, load_balancer))
                    (section(1, &page.target_groups, target_group))
                    (section(2, &page.clusters, cluster))
                    (section(3, &page.stacks, stack))
                    (section(4, &page.repositories, repository))
                }
            }
        }
    };
    document.into_string()
}

fn section<T>(number: usize, part: &Part<T>, draw: fn(&T) -> Markup) -> Markup {
    let (id, title) = SECTIONS[number];
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) tabindex="-1" { (title) }
            @match part {
                Err(reason) => p.bad { "Not known: " (reason) },
                Ok(items) if items.is_empty() => p.none { "None." },
                Ok(items) => @for item in items { article { (draw(item)) } },
            }
        }
    }
}

/// A table, or a word that there is nothing; columns that begin with `#` hold numbers.
fn table(caption: &str, columns: &[&str], rows: &[Vec<Markup>]) -> Markup {
    let number = |column: usize| columns[column].starts_with('#').then_some("number");
    html! {
        @if rows.is_empty() {
            p.none { (caption) ": none." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label=(caption) {
                table {
                    caption { (caption) }
                    thead { tr {
                        @for (i, column) in columns.iter().enumerate() {
                            th scope="col" class=[number(i)] { (column.trim_start_matches('#')) }
                        }
                    } }
                    tbody { @for row in rows { tr {
                        @for (i, cell) in row.iter().enumerate() { td class=[number(i)] { (cell) } }
                    } } }
                }
            }
        }
    }
}

/// A status in its own word; the colour only repeats it.
fn state(word: &str) -> Markup {
    let class = match word {
        "active" | "healthy" | "ACTIVE" | "RUNNING" | "CREATE_COMPLETE" | "UPDATE_COMPLETE" => "good",
        "unhealthy" | "failed" | "unavailable" => "bad",
        _ if word.ends_with("FAILED") || word.contains("ROLLBACK") => "bad",
        "STOPPED" | "INACTIVE" | "unused" => "",
        _ => "wait",
    };
    html! { span class={ "state " (class) } { (word) } }
}

fn text(value: impl std::fmt::Display) -> Markup {
    html! { (value.to_string()) }
}

fn load_balancer(balancer: &LoadBalancer) -> Markup {
    html! {
        h3 { (balancer.name) span.tag { (balancer.dns_name) } " " (state(&balancer.state)) }
        @if balancer.listeners.is_empty() { p.none { "It has no listener yet." } }
        @for l in &balancer.listeners { (listener(l)) }
    }
}

fn listener(listener: &Listener) -> Markup {
    let rows: Vec<_> = listener
        .rules
        .iter()
        .map(|rule| {
            let when = if rule.conditions.is_empty() { "always".to_owned() } else { rule.conditions.join(" and ") };
            vec![text(&rule.priority), text(when), text(rule.actions.join(", then "))]
        })
        .collect();
    html! {
        h4 { (listener.name) }
        @if let Some(error) = &listener.error { p.bad { (error) } }
        @if !listener.urls.is_empty() {
            p { @for (i, url) in listener.urls.iter().enumerate() {
                @if i > 0 { " · " }
                a href=(url) rel="noreferrer" { (url) }
            } }
        } @else if listener.error.is_none() {
            p.none { "It does not listen yet." }
        }
        (table(&format!("Rules of {}", listener.name), &["Priority", "If", "Then"], &rows))
    }
}

fn target_group(group: &TargetGroup) -> Markup {
    let row = |t: &Target| vec![html! { code { (t.name) } }, state(&t.state), text(&t.why)];
    let rows: Vec<_> = group.targets.iter().map(row).collect();
    html! {
        h3 { (group.name) span.tag { (group.kind) " · health check " (group.health_check) } }
        (table("Targets", &["Target", "Health", "Reason"], &rows))
    }
}

fn cluster(cluster: &Cluster) -> Markup {
    let task = |t: &Task| {
        vec![
            html! { code { (t.id) } },
            text(&t.group),
            state(&t.status),
            text(&t.task_definition),
            html! { code { (t.container_instance) } },
            text(&t.stopped_reason),
        ]
    };
    let instance = |i: &Instance| {
        let ids = [html! { code { (i.id) } }, html! { code { (i.ec2_instance) } }, state(&i.status)];
        ids.into_iter().chain([text(i.tasks), text(&i.cpu), text(&i.memory)]).collect()
    };
    let tasks: Vec<_> = cluster.tasks.iter().map(task).collect();
    let instances: Vec<_> = cluster.instances.iter().map(instance).collect();
    let task_columns = ["Task", "Group", "Status", "Task definition", "Container instance", "Stopped because"];
    let instance_columns = ["Container instance", "EC2 instance", "Status", "#Tasks", "#CPU free", "#MiB free"];
    html! {
        h3 { (cluster.name) " " (state(&cluster.status)) }
        (services(&cluster.services))
        (table("Tasks", &task_columns, &tasks))
        (table("Container instances", &instance_columns, &instances))
    }
}

fn services(services: &[Service]) -> Markup {
    let row = |s: &Service| {
        let names = [text(&s.name), state(&s.status), text(&s.task_definition)];
        names.into_iter().chain([text(s.desired), text(s.running), text(s.pending)]).collect()
    };
    let rows: Vec<_> = services.iter().map(row).collect();
    html! {
        (table("Services", &["Service", "Status", "Task definition", "#Desired", "#Running", "#Pending"], &rows))
        @for service in services.iter().filter(|s| !s.events.is_empty()) {
            h4 { "Events of " (service.name) }
            ul.events { @for event in &service.events {
                li { time datetime=(event.at) { (moment(&event.at)) } (event.message) }
            } }
        }
    }
}

fn stack(stack: &Stack) -> Markup {
    let rows: Vec<_> = stack.outputs.iter().map(|(key, value)| vec![text(key), text(value)]).collect();
    html! {
        h3 { (stack.name) " " (state(&stack.status)) span.tag { "created " (moment(&stack.created)) } }
        @if !stack.reason.is_empty() { p { (stack.reason) } }
        (table("Outputs", &["Output", "Value"], &rows))
    }
}

fn repository(repository: &Repository) -> Markup {
    let image = |i: &Image| {
        let tags = if i.tags.is_empty() { "untagged".to_owned() } else { i.tags.join(", ") };
        vec![text(tags), html! { code { (i.digest) } }, text(size(i.size)), text(moment(&i.pushed))]
    };
    let rows: Vec<_> = repository.images.iter().map(image).collect();
    html! {
        h3 { (repository.name) span.tag { (repository.uri) } }
        (table("Images", &["Tags", "Digest", "#Size", "Pushed"], &rows))
    }
}

/// `2026-01-31 12:00:00 UTC`, from ISO 8601; other text as it is.
fn moment(iso: &str) -> String {
    match iso.split_once('T') {
        Some((day, time)) if day.len() == 10 && time.len() > 8 && time.is_char_boundary(8) => {
            format!("{day} {} UTC", &time[..8])
        }
        _ => iso.to_owned(),
    }
}

/// Bytes as a person reads them.
fn size(bytes: i64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Event, Rule};

    const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='x'>&";

    fn empty() -> Page {
        Page {
            endpoint: "http://127.0.0.1:4566".into(),
            region: "us-east-1".into(),
            load_balancers: Ok(Vec::new()),
            target_groups: Ok(Vec::new()),
            clusters: Ok(Vec::new()),
            stacks: Ok(Vec::new()),
            repositories: Ok(Vec::new()),
        }
    }

    /// A page in which every text is `name`.
    fn full(name: &str) -> Page {
        let text = || name.to_owned();
        let listener = Listener {
            name: text(),
            urls: vec![text()],
            error: Some(text()),
            rules: vec![Rule { priority: text(), conditions: vec![text()], actions: vec![text()] }],
        };
        let balancer = LoadBalancer { name: text(), state: text(), dns_name: text(), listeners: vec![listener] };
        let target = Target { name: text(), state: text(), why: text() };
        let group = TargetGroup { name: text(), kind: text(), health_check: text(), targets: vec![target] };
        let service = Service {
            name: text(),
            status: text(),
            desired: 3,
            running: 2,
            pending: 1,
            task_definition: text(),
            events: vec![Event { at: text(), message: text() }],
        };
        let task = Task {
            id: text(),
            group: text(),
            status: text(),
            task_definition: text(),
            container_instance: text(),
            stopped_reason: text(),
        };
        let instance =
            Instance { id: text(), ec2_instance: text(), status: text(), tasks: 4, cpu: text(), memory: text() };
        let cluster = Cluster {
            name: text(),
            status: text(),
            services: vec![service],
            tasks: vec![task],
            instances: vec![instance],
        };
        let outputs = vec![(text(), text())];
        let stack = Stack { name: text(), status: text(), reason: text(), created: text(), outputs };
        let image = Image { tags: vec![text()], digest: text(), size: 5_242_880, pushed: text() };
        let repository = Repository { name: text(), uri: text(), images: vec![image] };
        Page {
            endpoint: text(),
            region: text(),
            load_balancers: Ok(vec![balancer]),
            target_groups: Ok(vec![group]),
            clusters: Ok(vec![cluster]),
            stacks: Ok(vec![stack]),
            repositories: Ok(vec![repository]),
        }
    }

    #[test]
    fn hostile_names_stay_text_everywhere() {
        let harmless = page(&full("demo"), true);
        let hostile = page(&full(HOSTILE), true);
        assert!(!hostile.contains("<script") && !hostile.contains("<img"), "{hostile}");
        // As many tags, and as many names, as with harmless names: nothing broke out of its place.
        assert_eq!(hostile.matches('<').count(), harmless.matches('<').count());
        let quoted = |html: &str| html.matches('"').count();
        assert_eq!(quoted(&hostile), quoted(&harmless));
        let escaped = "&quot;&gt;&lt;script&gt;alert(1)";
        assert_eq!(hostile.matches(escaped).count(), harmless.matches("demo").count());
        assert!(harmless.matches("demo").count() > 40);
    }

    #[test]
    fn an_empty_quarry_says_so_in_every_section() {
        let html = page(&empty(), true);
        assert_eq!(html.matches(r#"<p class="none">None.</p>"#).count(), SECTIONS.len());
        for (id, title) in SECTIONS {
            assert!(html.contains(&format!(r##"<a href="#{id}">{title}</a>"##)), "{id}");
            assert!(html.contains(&format!(r#"<h2 id="{id}" tabindex="-1">{title}</h2>"#)), "{id}");
        }
    }

    #[test]
    fn a_refusal_is_shown_in_its_place_and_the_rest_stays() {
        let mut shown = full("demo");
        shown.stacks = Err("AccessDenied: <no>".into());
        let html = page(&shown, true);
        assert!(html.contains(r#"<p class="bad">Not known: AccessDenied: &lt;no&gt;</p>"#));
        assert!(html.contains("5.0 MiB"));
    }

    #[test]
    fn services_show_their_counts_and_events() {
        let mut shown = full("demo");
        let clusters = shown.clusters.as_mut().unwrap();
        clusters[0].services[0].events[0] = Event {
            at: "2026-01-31T12:34:56.789Z".into(),
            message: "(service posts) has reached a steady state.".into(),
        };
        let html = page(&shown, true);
        let counts = r#"<td class="number">3</td><td class="number">2</td><td class="number">1</td>"#;
        assert!(html.contains(counts), "{html}");
        assert!(html.contains("2026-01-31 12:34:56 UTC</time>(service posts) has reached a steady state."), "{html}");
    }

    #[test]
    fn it_loads_itself_again_unless_paused_and_needs_no_script() {
        let (live, paused) = (page(&empty(), true), page(&empty(), false));
        let refresh = r#"<meta http-equiv="refresh" content="2">"#;
        assert!(live.contains(refresh) && live.contains(r#"<a href="/console?paused">Pause</a>"#));
        assert!(!paused.contains(refresh) && paused.contains(r#"<a href="/console">Go on</a>"#));
        assert!(!live.contains("<script"));
    }

    #[test]
    fn the_policy_allows_the_style_of_the_page_and_nothing_else() {
        let html = page(&empty(), true);
        let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let digest = ring::digest::digest(&ring::digest::SHA256, style.as_bytes());
        let hash = base64::engine::general_purpose::STANDARD.encode(digest);
        let policy = crate::content_security_policy();
        assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
        assert!(policy.starts_with("default-src 'none'; ") && policy.ends_with("; frame-ancestors 'none'"));
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"));
    }
}
