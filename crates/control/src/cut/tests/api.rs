//! The API: its document has every route, its errors are its own, and what it is asked is journaled.

use super::{Stage, quick};
use crate::cut::api::{self, DOCUMENT, PATH, ROUTES};
use http::Method;
use quarry_domain::cut::{Goal, Progress, State, Stop, StopCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn call(stage: &Stage, method: Method, path: &str, query: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
    let world = &stage.world;
    let path = format!("{PATH}{path}");
    let answer = api::answer(&world.platform, &world.operations, &method, &path, query, &body);
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(answer.body()).unwrap_or_default())
}

#[test]
fn the_document_has_every_route_and_every_member() {
    let document: Value = serde_norway::from_str(DOCUMENT).unwrap();
    let mut written = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            written.insert((method.to_uppercase(), path.trim_end_matches('/').to_owned()));
        }
    }
    let served: BTreeSet<_> = ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(written, served);

    let stage = Stage::new(quick());
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let schema = |name: &str| names(&document["components"]["schemas"][name]["properties"]);
    let id = &stage.id;
    let cut = call(&stage, Method::GET, &format!("/{id}"), "", &Value::Null).1;
    assert_eq!(names(&cut), schema("Cut"));
    assert_eq!(names(&cut["current"]), schema("Move"));
    assert_eq!(names(&cut["traffic"]), schema("Traffic"));
    assert_eq!(names(&cut["traffic"]["shadow"]), schema("Shadowed"));
    assert_eq!(names(&cut["from"]), schema("Part"));
    assert_eq!(names(&cut["route"]), schema("Route"));
    let report = call(&stage, Method::GET, &format!("/{id}/report"), "", &Value::Null).1;
    assert_eq!(names(&report), schema("Report"));
    let events = call(&stage, Method::GET, &format!("/{id}/events"), "", &Value::Null).1;
    assert_eq!(names(&events), schema("Events"));
    let request = serde_json::to_value(crate::cut::create::Request::default()).unwrap();
    assert_eq!(names(&request), schema("Request"));
    let resume = serde_json::to_value(crate::cut::api::Resume::default()).unwrap();
    assert_eq!(names(&resume), schema("Resume"));
    let watching = serde_json::to_value(crate::cut::figures::Watching::default()).unwrap();
    assert_eq!(names(&watching), schema("Watching"));
}

#[test]
fn what_cannot_be_understood_is_said_so() {
    let stage = Stage::new(quick());
    let id = stage.id.clone();
    let code = |method, path: &str, query: &str, body: Value| {
        let (status, answer) = call(&stage, method, path, query, &body);
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    let of = |status, code: &str| (status, code.to_owned());
    assert_eq!(code(Method::GET, "/cut-nothing", "", Value::Null), of(404, "NotFound"));
    assert_eq!(code(Method::GET, "/cut-x/y", "", Value::Null), of(404, "NotFound"));
    assert_eq!(code(Method::DELETE, &format!("/{id}"), "", Value::Null), of(405, "MethodNotAllowed"));
    assert_eq!(code(Method::POST, "", "", json!({"scope": 5})), of(400, "ValidationError"));
    assert_eq!(code(Method::GET, &format!("/{id}/events"), "after=x", Value::Null), of(400, "ValidationError"));
    assert_eq!(code(Method::GET, &format!("/{id}/events"), "aftr=1", Value::Null), of(400, "ValidationError"));
    assert_eq!(code(Method::POST, &format!("/{id}/rollback"), "", Value::Null), of(409, "Conflict"));
    assert_eq!(code(Method::POST, &format!("/{id}/finish"), "", Value::Null), of(409, "Conflict"));
    let request = json!({"scope": "posts", "from": "api", "to": "posts", "paths": ["/api/posts*"], "unknown": 1});
    assert_eq!(code(Method::POST, "", "", request), of(400, "ValidationError"));
    let request = json!({"scope": "posts", "from": "api", "to": "posts", "paths": ["/x"], "canary_percent": 101});
    assert_eq!(code(Method::POST, "", "", request), of(400, "ValidationError"));
}

#[test]
fn a_second_cut_of_an_overlapping_scope_is_refused_with_its_reason() {
    let stage = Stage::new(quick());
    let request = json!({"scope": "all", "from": "api", "to": "posts", "paths": ["/api/*"]});
    let (status, answer) = call(&stage, Method::POST, "", "", &request);
    assert_eq!((status, answer["code"].as_str()), (409, Some("Refused")));
    let findings = answer["plan"]["findings"].as_array().unwrap();
    let overlap = findings.iter().find(|finding| finding["what"] == "overlap").expect("it is found");
    assert!(overlap["message"].as_str().unwrap().contains(&stage.id));
    assert!(findings.iter().any(|finding| finding["what"] == "service"), "and all the rest: {findings:?}");
    // A plan says the same and is no error.
    let mut request = request;
    request["dry_run"] = true.into();
    let (status, plan) = call(&stage, Method::POST, "", "", &request);
    assert_eq!((status, &plan["refused"]), (200, &Value::Bool(true)));
    assert_eq!(plan["states"][0], "PREPARE");
}

#[test]
fn wishes_are_journaled() {
    let stage = Stage::new(quick());
    let id = stage.id.clone();
    stage
        .world
        .transact(|ctx| {
            let mut cut = stage.cut();
            cut.progress = Progress { state: State::Shadow, ..cut.progress };
            cut.progress.stopped = Some(Stop::new(StopCode::Differences, "2 of 5 answers differ"));
            Ok(ctx.tx.put(&cut)?)
        })
        .unwrap();
    let (status, _) = call(&stage, Method::POST, &format!("/{id}/resume"), "", &Value::Null);
    assert_eq!(status, 409, "differences are accepted in so many words");
    let (status, cut) = call(&stage, Method::POST, &format!("/{id}/resume"), "", &json!({"accept_differences": true}));
    assert_eq!((status, &cut["stopped"]), (200, &Value::Null));
    let (status, cut) = call(&stage, Method::POST, &format!("/{id}/abort"), "", &Value::Null);
    assert_eq!((status, cut["goal"].as_str()), (200, Some("abort")));
    assert_eq!(stage.cut().progress.goal, Goal::Abort);
    let (_, events) = call(&stage, Method::GET, &format!("/{id}/events"), "after=1&wait_ms=10", &Value::Null);
    let messages: Vec<_> = events["entries"].as_array().unwrap().iter().map(|e| e["message"].clone()).collect();
    assert_eq!(messages, [json!("a person resumes it"), json!("a person wants it aborted")]);
    assert_eq!(events["last"], 3);
}
