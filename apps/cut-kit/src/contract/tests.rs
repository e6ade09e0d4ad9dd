use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::*;

fn document() -> Json {
    serde_norway::from_str(include_str!("../../openapi.yaml")).unwrap()
}

/// The names of a type's fields, from a value that leaves none out.
fn fields(value: &impl Serialize) -> BTreeSet<String> {
    match serde_json::to_value(value).unwrap() {
        Json::Object(map) => map.keys().cloned().collect(),
        other => panic!("{other} is no object"),
    }
}

#[test]
fn the_document_has_every_route() {
    let document = document();
    let mut written = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            written.insert((method.to_uppercase(), path.clone()));
        }
    }
    let served: BTreeSet<_> = ROUTES.iter().map(|(m, p)| (m.to_string(), p.to_string())).collect();
    assert_eq!(written, served);
}

#[test]
fn the_document_has_every_field() {
    let digest = Digest { rows: 1, sum: "0".repeat(64) };
    let row: Row = BTreeMap::from([("id".to_owned(), Value::Integer(1))]);
    let mark = Mark { epoch: 2, position: 9, digest: digest.clone() };
    let event = Event {
        position: 1,
        op: Op::Update,
        table: "posts".into(),
        before: Some(row.clone()),
        after: Some(row.clone()),
        at_ms: 1,
    };
    let chunk = Chunk { table: "posts".into(), after: None, rows: vec![row], to: None, last: true };
    let following = Following { src: "a".into(), position: 1, digest: digest.clone(), mark_epoch: None, copied: true };
    let column = Column { name: "id".into(), r#type: "INTEGER".into(), not_null: true };
    let table = Table {
        name: "posts".into(),
        key: vec!["id".into()],
        columns: vec![column.clone()],
        only: None,
        copied_to: None,
        copied: false,
    };
    let scope = ScopeState {
        scope: "posts".into(),
        owner: true,
        epoch: 1,
        feed: None,
        head: 0,
        oldest_write_ms: None,
        released: Some(mark.clone()),
        following: vec![following.clone()],
        tables: vec![table.clone()],
        retired: false,
    };
    let state = State { contract: VERSION, database: "d".into(), engine: Engine::Sqlite, scopes: vec![scope.clone()] };
    let follow = Follow { src: "b".into(), position: 0 };
    let prepare = PrepareRequest { scope: "posts".into(), role: Role::Source, epoch: 1, follow: None, dry_run: false };
    let finding = Finding { severity: Severity::Note, code: "rows".into(), table: None, message: "m".into() };
    let prepared = Prepared {
        database: "d".into(),
        engine: Engine::Sqlite,
        feed: None,
        tables: vec![],
        findings: vec![finding.clone()],
    };
    let snapshot = Snapshot { src: "a".into(), at: 1, chunk: chunk.clone() };
    let changes =
        Changes { src: "a".into(), from: 0, to: 1, head: 1, counted: true, events: vec![event.clone()], digest: None };
    let apply = ApplyRequest {
        scope: "posts".into(),
        src: "a".into(),
        from: 0,
        to: 1,
        counted: true,
        events: vec![],
        chunk: None,
    };
    let applied = Applied { position: 1, digest: digest.clone(), mark_epoch: None, copied: false };
    let fence = FenceRequest {
        scope: "posts".into(),
        action: FenceAction::Release,
        epoch: 2,
        src: None,
        expect_pos: None,
        expect_digest: None,
    };
    let fenced = Fenced { owner: false, epoch: 2, mark: None };
    let finish = FinishRequest { scope: "posts".into(), owner: true, tables: Fate::Keep };
    let finished = Finished { owner: true, epoch: 4, tables: vec![] };
    let verify = VerifyRequest { scope: "posts".into(), src: None, allow_empty: false };
    let verified = Verified { position: 1, digest: digest.clone(), compared: true };
    let problem = Problem::new(Code::Gap, "m").at(1).epoch(2);
    let all = [
        ("State", fields(&state)),
        ("ScopeState", fields(&scope)),
        ("Mark", fields(&mark)),
        ("Following", fields(&following)),
        ("Table", fields(&table)),
        ("Column", fields(&column)),
        ("VerifyRequest", fields(&verify)),
        ("Verified", fields(&verified)),
        ("PrepareRequest", fields(&prepare)),
        ("Follow", fields(&follow)),
        ("Prepared", fields(&prepared)),
        ("Finding", fields(&finding)),
        ("Snapshot", fields(&snapshot)),
        ("Chunk", fields(&chunk)),
        ("Changes", fields(&changes)),
        ("Event", fields(&event)),
        ("ApplyRequest", fields(&apply)),
        ("Applied", fields(&applied)),
        ("FenceRequest", fields(&fence)),
        ("Fenced", fields(&fenced)),
        ("FinishRequest", fields(&finish)),
        ("Finished", fields(&finished)),
        ("Digest", fields(&digest)),
        ("Problem", fields(&problem)),
    ];
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, fields) in &all {
        assert_eq!(self::fields(&schemas[*name]["properties"]), *fields, "{name}");
    }
    // Engine, Value and Row are the only other schemas.
    assert_eq!(schemas.len(), all.len() + 3);
    let codes = schemas["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
    for code in codes {
        let code: Code = serde_json::from_value(code.clone()).unwrap();
        assert!((400..=599).contains(&code.status()));
    }
    // Query parameters are the fields of the query types.
    for (path, fields) in
        [("/snapshot", fields(&SnapshotQuery::default())), ("/changes", fields(&ChangesQuery::default()))]
    {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        let names: BTreeSet<_> = parameters.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names, fields, "{path}");
    }
}

#[test]
fn values_keep_their_kind() {
    let row = json!({ "n": null, "i": i64::MAX, "t": "5", "r": { "real": "0.5" }, "b": { "blob": "00ff" } });
    let read: Row = serde_json::from_value(row.clone()).unwrap();
    assert_eq!(read["n"], Value::Null);
    assert_eq!(read["i"], Value::Integer(i64::MAX));
    assert_eq!(read["t"], Value::Text("5".into()));
    assert_eq!(serde_json::to_value(&read).unwrap(), row);
    assert!(serde_json::from_value::<Value>(json!(0.5)).is_err());
    assert!(serde_json::from_value::<Value>(json!({ "x": 1 })).is_err());
}
