//! Cuts: where each is, how it goes, and what a person decides.

use super::{Ctx, overview};
use crate::api::{Data, Told, short};
use crate::html::{self, Page, live, section, table, text};
use maud::{Markup, html};
use quarry_wire::Timestamp;
use serde_json::Value;

/// The newest entries of a journal that are shown.
const JOURNAL: usize = 200;

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let answer = ctx.api.cuts().list().await?;
    let rows = answer.list("cuts").iter().rev().map(|cut| {
        let path = format!("/cuts/{}", crate::form::encoded(cut.text("id")));
        vec![
            html::link(&path, cut.text("id")),
            text(cut.text("scope")),
            text(format!("{} → {}", cut.text("from.service"), cut.text("to.service"))),
            text(cut.texts("paths").join(" ")),
            html! { (html::state(cut.text("state"))) @if !cut.at("stopped").is_null() { " waits for you" } },
            text(owner(cut)),
            html::when_ms(cut.whole("created_ms")),
        ]
    });
    let columns = ["Cut", "Scope", "Services", "Paths", "State", "Owner", "Begun"];
    let services = overview::services(ctx.api).await.unwrap_or_default();
    let names: Vec<(String, String)> = services
        .iter()
        .map(|s| {
            let name = s.text("serviceName");
            (format!("{}/{name}", short(s.text("clusterArn"))), name.to_owned())
        })
        .collect();
    let data = [("contract", "both services offer the contract"), ("none", "there is none, or it is shared")];
    let data = data.map(|(value, name)| (value.to_owned(), name.to_owned()));
    let until = [
        ("", "the new service owns the path"),
        ("SHADOW", "reads were compared"),
        ("FOLLOW", "the data is copied and followed"),
    ];
    let until = until.map(|(value, name)| (value.to_owned(), name.to_owned()));
    let fields = html! {
        (html::field("scope", "Scope, such as posts", "", "text"))
        (html::choice("from", "From the service", &names, ""))
        (html::choice("to", "To the service", &names, ""))
        (html::field("paths", "Paths, such as /api/posts*", "", "text"))
        (html::choice("data", "The data behind the paths", &data, "contract"))
        (html::choice("until", "Go on until", &until, ""))
        (html::field("canary", "Share of reads to the new service first, in percent", "0", "number"))
        (html::tick("allow_empty", "there may be no rows"))
    };
    let body = html! {
        (live("all", "All cuts", table("Cuts", &columns, rows.collect())))
        (section("run", "Begin a cut", html! {
            p.none { "The plan is shown first. To move PostgreSQL databases from outside, use " code { "quarry cut run" } ": it takes their passwords from the environment." }
            (html::action("cut-run", ctx.token, &[], "Plan it", fields))
        }))
    };
    Ok(Page::new("Cuts", body))
}

fn owner(cut: &Value) -> &str {
    if cut.text("owner") == "destination" { cut.text("to.service") } else { cut.text("from.service") }
}

pub async fn one(ctx: &Ctx<'_>, id: &str) -> Told<Page> {
    let report = ctx.api.cuts().report(id).await?;
    let cut = report.at("cut");
    let body = html! {
        (live("cut", "Cut", summary(cut)))
        (live("decide", "Decide", decide(ctx, cut)))
        (live("progress", "Progress", progress(cut)))
        (live("moves", "Moves", moves(cut)))
        (live("shadow", "Differences", shadow(cut)))
        (live("journal", "Journal", journal(&report)))
    };
    Ok(Page::new(format!("{} ({id})", cut.text("scope")), body).under("Cuts", "/cuts"))
}

fn summary(cut: &Value) -> Markup {
    let stop = ["stopped", "reason"].into_iter().find(|name| !cut.at(name).is_null());
    html! {
        p { strong { (html::state(cut.text("state"))) } " " (cut.text("summary")) }
        @if let Some(stop) = stop { p.wait { (cut.text(&format!("{stop}.code"))) ": " (cut.text(&format!("{stop}.message"))) } }
        (html::facts(vec![
            ("From", text(cut.text("from.service"))),
            ("To", text(cut.text("to.service"))),
            ("Paths", text(cut.texts("paths").join(" "))),
            ("Data", text(cut.text("data"))),
            ("Owner now", text(owner(cut))),
            ("Asked for", text(cut.text("goal"))),
            ("Begun", html::when_ms(cut.whole("created_ms"))),
            ("Ended", html::when_ms(cut.whole("ended_ms"))),
        ]))
    }
}

/// The buttons that make sense now.
fn decide(ctx: &Ctx<'_>, cut: &Value) -> Markup {
    if cut.at("ended_ms").is_i64() {
        return html! { p.none { "It has ended: nothing is left to decide." } };
    }
    let id = [("cut", cut.text("id"))];
    let (watch, waits) = (cut.text("state") == "WATCH", !cut.at("stopped").is_null());
    let new_owns = cut.text("owner") == "destination";
    html! { div.buttons {
        @if waits || watch && !new_owns {
            (html::action("cut-resume", ctx.token, &id, "Go on", html! {
                @if cut.text("stopped.code") == "Differences" { (html::tick("accept_differences", "the differences are all right")) }
                @if cut.text("stopped.code") == "NothingCompared" { (html::tick("allow_empty", "there are no rows to move")) }
            }))
        }
        @if watch && new_owns {
            (html::action("cut-rollback", ctx.token, &id, "Roll back", html! {}))
            (html::action("cut-finish", ctx.token, &id, "Finish", html! {}))
        }
        @if !watch || !new_owns { (html::action("cut-abort", ctx.token, &id, "Abort", html! {})) }
    } }
}

fn progress(cut: &Value) -> Markup {
    let traffic = cut.at("traffic");
    html::facts(vec![
        ("Rows copied", text(cut.whole("watching.rows_copied").max(cut.whole("current.rows_copied")))),
        ("Lag", text(format!("{} ms, {} changes behind", cut.whole("watching.lag_ms"), cut.whole("watching.behind")))),
        ("Trouble", text(cut.text("watching.trouble"))),
        ("Reads", text(traffic.whole("reads"))),
        ("Reads by the new service before the switch", text(traffic.whole("canary_reads"))),
        ("Writes", text(traffic.whole("writes"))),
        ("Writes held at most", text(traffic.whole("parked_most"))),
        ("Writes sent again at the fence", text(traffic.whole("fenced_again"))),
        ("Writes with an unknown outcome", text(traffic.whole("unknown_outcomes"))),
    ])
}

fn moves(cut: &Value) -> Markup {
    let done = cut.list("moves");
    let current = [cut.at("current").clone()];
    let all = if done.is_empty() { &current[..] } else { done };
    let rows = all.iter().filter(|one| one.is_object()).map(|one| {
        let digests = match (one.at("digest_from").as_str(), one.at("digest_to").as_str()) {
            (Some(from), Some(to)) if from == to => html! { span.good { "equal" } },
            (Some(_), Some(_)) => html! { span.bad { "different" } },
            _ => html! {},
        };
        let hold = one.at("hold_micros").as_f64().map(|micros| text(format!("{:.1} ms", micros / 1000.0)));
        let total = one.at("total_ms").as_f64().map(|ms| text(format!("{:.1} s", ms / 1000.0)));
        vec![
            text(if one.text("from") == "source" { "there" } else { "back" }),
            hold.unwrap_or_default(),
            total.unwrap_or_default(),
            text(one.whole("rows_copied")),
            text(one.whole("rows_compared")),
            digests,
            text(one.whole("aborted_holds")),
        ]
    });
    let columns = ["Move", "#Hold", "#In all", "#Rows copied", "#Rows compared", "Digests", "#Holds given up"];
    table("Moves", &columns, rows.collect())
}

fn shadow(cut: &Value) -> Markup {
    let shadow = cut.at("traffic.shadow");
    let rows = shadow.list("examples").iter().map(|one| {
        let answer = |side: &str| {
            html! {
                (one.whole(&format!("{side}.status"))) " " code { (one.text(&format!("{side}.body"))) }
            }
        };
        vec![
            text(format!("{} {}", one.text("method"), one.text("path"))),
            text(one.text("difference")),
            answer("source"),
            answer("destination"),
        ]
    });
    html! {
        p {
            (shadow.whole("compared")) " reads compared of " (shadow.whole("copied")) " copied: "
            (shadow.whole("equal")) " equal, " (shadow.whole("different")) " different, "
            (shadow.whole("noisy")) " not comparable, " (shadow.whole("failed")) " failed."
        }
        @if !shadow.list("examples").is_empty() {
            (table("Examples of differences", &["Request", "Difference", "Old service", "New service"], rows.collect()))
        }
    }
}

fn journal(report: &Value) -> Markup {
    let rows = report.list("journal").iter().rev().take(JOURNAL).map(|entry| {
        let iso = Timestamp::from_millis(entry.whole("at_ms")).to_string();
        vec![
            html! { time datetime=(iso) { (iso.get(11..23).unwrap_or_default().trim_end_matches('Z')) } },
            html::state(entry.text("state")),
            text(entry.text("message")),
        ]
    });
    table("Journal, the newest first", &["At", "State", "What"], rows.collect())
}
