//! A request's trace: from the load balancer through two of the board's services to their databases.

use crate::stage::{EXE, Stage, block_on};
use quarry_aws::xray::op::{BatchGetTraces, GetServiceGraph, GetTraceGraph, GetTraceSummaries};
use quarry_aws::xray::{
    BatchGetTracesRequest, GetServiceGraphRequest, GetTraceGraphRequest, GetTraceSummariesRequest, Service,
};
use quarry_client::Client;
use quarry_testkit::{PATIENCE, wait_for};
use quarry_wire::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// A write that the client wants recorded; its status.
fn post(stage: &Stage, trace: &str, body: &Value) -> u16 {
    let mut stream = TcpStream::connect_timeout(&stage.address, Duration::from_secs(5)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST /api/posts HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-Amzn-Trace-Id: Root={trace};Sampled=1\r\nContent-Length: {}\r\n\r\n{body}",
        stage.host,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The documents of a trace, by id.
fn documents(aws: &Client, trace: &str) -> BTreeMap<String, Value> {
    let input = BatchGetTracesRequest { trace_ids: Some(vec![trace.into()]), ..Default::default() };
    let found = block_on(aws.call::<BatchGetTraces>(input)).unwrap().traces.unwrap();
    let segments = found.into_iter().flat_map(|trace| trace.segments.unwrap_or_default());
    segments.map(|one| (one.id.unwrap(), serde_json::from_str(&one.document.unwrap()).unwrap())).collect()
}

/// Caller and called, with how many calls, errors and faults there were, and seconds in all.
fn edges(services: &[Service]) -> BTreeMap<(String, String), (i64, i64, i64, f64)> {
    let shown = |service: &Service| match service.r#type.as_deref() {
        Some("client") => "client".to_owned(),
        _ => service.name.clone().unwrap(),
    };
    let name = |id| services.iter().find(|service| service.reference_id == id).map(shown).unwrap();
    let all = services.iter().flat_map(|service| {
        service.edges.iter().flatten().map(move |edge| {
            let seen = edge.summary_statistics.clone().unwrap();
            let errors = seen.error_statistics.unwrap().total_count.unwrap();
            let faults = seen.fault_statistics.unwrap().total_count.unwrap();
            let figures = (seen.total_count.unwrap(), errors, faults, seen.total_response_time.unwrap());
            ((shown(service), name(edge.reference_id)), figures)
        })
    });
    all.collect()
}

pub fn lead_from_the_balancer_to_the_databases(stage: &Stage) {
    let begun = Instant::now();
    let aws = stage.platform.client().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let trace = |n: u32| format!("1-{now:08x}-{n:024x}");
    assert_eq!(post(stage, &trace(1), &json!({"thread": 1, "user": 1, "text": "traced"})), 201);
    assert_eq!(post(stage, &trace(2), &json!({"thread": 1, "user": 999_999, "text": "nobody's"})), 422);

    // All parts have come: posts and who they asked each send their own.
    let all = wait_for("the trace is whole", || {
        let all = documents(&aws, &trace(1));
        let has = |name: &str| all.values().any(|document| document["name"] == name && document.get("type").is_none());
        let written = all.values().any(|document| document["name"] == "posts.db");
        (written && ["demo", "posts", "users", "threads"].into_iter().all(has)).then_some(all)
    });
    let segments = |name: &str| -> Vec<&Value> {
        all.values().filter(|document| document["name"] == name && document.get("type").is_none()).collect()
    };
    let parent = |document: &Value| document["parent_id"].as_str().and_then(|id| all.get(id));
    let first: Vec<&Value> = segments("demo").into_iter().filter(|one| one.get("parent_id").is_none()).collect();
    assert_eq!(first.len(), 1, "{all:#?}");
    assert_eq!(first[0]["origin"], "AWS::ElasticLoadBalancingV2::LoadBalancer");
    assert_eq!(
        (&first[0]["http"]["request"]["method"], &first[0]["http"]["response"]["status"]),
        (&json!("POST"), &json!(201))
    );
    assert!(first[0]["annotations"]["target"].is_string() && first[0]["annotations"]["rule"].is_string(), "{first:?}");
    let posts = segments("posts");
    assert_eq!((posts.len(), parent(posts[0]).unwrap()["id"].clone()), (1, first[0]["id"].clone()));
    for name in ["users", "threads"] {
        // The service's segment, the balancer's on the way to it, and the question of posts.
        let asked = segments(name);
        let balancer = parent(asked[0]).unwrap();
        assert_eq!(balancer["name"], "demo", "{asked:?}");
        let question = parent(balancer).unwrap();
        assert_eq!((&question["type"], &question["namespace"]), (&json!("subsegment"), &json!("remote")));
        assert_eq!(parent(question).unwrap()["id"], posts[0]["id"]);
    }
    let insert = all.values().find(|one| {
        one["name"] == "posts.db" && one["sql"]["sanitized_query"].as_str().is_some_and(|sql| sql.starts_with("INSERT"))
    });
    let insert = insert.unwrap_or_else(|| panic!("no INSERT: {all:#?}"));
    assert_eq!(
        (parent(insert).unwrap()["name"].clone(), &insert["sql"]["database_type"]),
        (json!("posts"), &json!("sqlite"))
    );

    let input = GetTraceGraphRequest { trace_ids: Some(vec![trace(1)]), ..Default::default() };
    let graph = edges(&block_on(aws.call::<GetTraceGraph>(input)).unwrap().services.unwrap());
    for (from, to) in [
        ("client", "demo"),
        ("demo", "posts"),
        ("posts", "demo"),
        ("demo", "users"),
        ("demo", "threads"),
        ("posts", "posts.db"),
        ("users", "users.db"),
        ("threads", "threads.db"),
    ] {
        let (calls, errors, faults, seconds) = graph.get(&(from.into(), to.into())).copied().unwrap_or_default();
        assert!(calls > 0 && seconds > 0.0, "{from} → {to}: {graph:?}");
        assert_eq!((errors, faults), (0, 0), "{from} → {to}");
    }

    // The write that was refused counts as an error of posts, and of the balancer before it.
    let span = || (Some(Timestamp::from_secs(now as i64 - 300)), Some(Timestamp::from_secs(now as i64 + 600)));
    let refused = wait_for("the refused write's trace is there", || {
        let (start_time, end_time) = span();
        let filter_expression = Some("service(\"posts\") { error AND http.status = 422 }".to_owned());
        let input = GetTraceSummariesRequest { start_time, end_time, filter_expression, ..Default::default() };
        let found = block_on(aws.call::<GetTraceSummaries>(input)).unwrap().trace_summaries.unwrap();
        found.into_iter().find(|summary| summary.id == Some(trace(2)))
    });
    assert_eq!((refused.has_error, refused.has_fault), (Some(true), Some(false)));
    assert_eq!(refused.entry_point.unwrap().name.as_deref(), Some("demo"));
    let (start_time, end_time) = span();
    let input = GetServiceGraphRequest { start_time, end_time, ..Default::default() };
    let graph = edges(&block_on(aws.call::<GetServiceGraph>(input)).unwrap().services.unwrap());
    let (calls, errors, ..) = graph[&("demo".to_owned(), "posts".to_owned())];
    assert!(calls >= 2 && errors >= 1, "{graph:?}");
    logs_name_it(stage, &trace(1), &trace(2));
    println!("traces were whole after {:?}", begun.elapsed());
}

/// The lines that posts wrote about the two traces are found by them, also as they are written.
fn logs_name_it(stage: &Stage, written: &str, refused: &str) {
    let lines = |pattern: &str| -> Vec<Value> {
        let arguments = ["logs", "posts", "--cluster", &stage.cluster, "--json", "--filter", pattern];
        let output = stage.platform.quarry(&arguments).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let message = |line: &str| -> Value {
            let event: Value = serde_json::from_str(line).unwrap();
            serde_json::from_str(event["message"].as_str().unwrap()).unwrap()
        };
        String::from_utf8(output.stdout).unwrap().lines().map(message).collect()
    };
    for (pattern, trace, status) in [
        (format!("\"Root={written}\""), written, 201),
        (format!("{{ $.status = 422 && $.trace = \"*{refused}*\" }}"), refused, 422),
    ] {
        let found = wait_for("the line of the trace", || Some(lines(&pattern)).filter(|lines| !lines.is_empty()));
        let [line] = found.as_slice() else { panic!("{pattern}: {found:?}") };
        assert_eq!((&line["method"], &line["status"]), (&json!("POST"), &json!(status)));
        assert!(line["trace"].as_str().unwrap().contains(&format!("Root={trace};")), "{line}");
    }
    assert_eq!(lines(&format!("\"{written}\" -POST")), Vec::<Value>::new());
    let output = stage.platform.quarry(&["logs", "posts", "--cluster", &stage.cluster, "--filter", "{ $.status = }"]);
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(said.contains("InvalidParameterException"), "{said}");

    let next = refused.replace("000000000002", "000000000003");
    let arguments = ["logs", "posts", "--cluster", &stage.cluster, "--follow", "--filter"];
    let mut following = Command::new(EXE)
        .args(arguments)
        .arg(format!("\"{next}\""))
        .arg("--data-dir")
        .arg(stage.platform.data_dir())
        .env_remove("AWS_ENDPOINT_URL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let shown = BufReader::new(following.stdout.take().unwrap()).lines();
    let (to, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || shown.map_while(Result::ok).for_each(|line| drop(to.send(line))));
    assert_eq!(post(stage, &next, &json!({"thread": 1, "user": 1, "text": "followed"})), 201);
    let line = lines.recv_timeout(PATIENCE).expect("the line as it is written");
    assert!(line.contains(&next) && line.contains("\"status\":201"), "{line}");
    following.kill().unwrap();
    following.wait().unwrap();
}
