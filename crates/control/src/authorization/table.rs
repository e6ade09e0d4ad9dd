//! What operations ask for: `models/actions.toml`, read once.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Of every operation in the table.
pub struct Actions {
    /// By service and operation.
    rows: HashMap<&'static str, HashMap<&'static str, Row>>,
}

/// What one operation asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The operation decides by itself.
    pub own: bool,
    pub resources: Vec<&'static str>,
    /// Condition key and template.
    pub keys: Vec<(&'static str, &'static str)>,
    /// Service and template of the roles that are passed to it.
    pub passed: Vec<(&'static str, &'static str)>,
    /// Another action on the same resources, where the request has tags.
    pub tagging: Option<&'static str>,
}

const TABLE: &str = include_str!("../../../../models/actions.toml");

impl Actions {
    pub fn get() -> &'static Self {
        static ACTIONS: OnceLock<Actions> = OnceLock::new();
        ACTIONS.get_or_init(|| Self { rows: rows(TABLE) })
    }

    /// `service`: a model's id, such as `elbv2`.
    pub fn row(&self, service: &str, operation: &str) -> Option<&Row> {
        self.rows.get(service)?.get(operation)
    }

    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, &Row)> {
        self.rows.iter().flat_map(|(service, rows)| rows.iter().map(|(operation, row)| (*service, *operation, row)))
    }
}

/// The service's name in actions and in ARNs, by its model's id.
pub fn prefix(service: &str) -> &str {
    match service {
        "elbv2" => "elasticloadbalancing",
        other => other,
    }
}

fn rows(text: &'static str) -> HashMap<&'static str, HashMap<&'static str, Row>> {
    let (mut rows, mut service) = (HashMap::<_, HashMap<_, _>>::new(), "");
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            service = name;
        } else if let Some((operation, value)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            rows.entry(service).or_default().insert(operation, row(value.trim_matches('"')));
        }
    }
    rows
}

fn row(value: &'static str) -> Row {
    let mut row = Row::default();
    for word in value.split_whitespace() {
        if word == "own" {
            row.own = true;
        } else if let Some((key, template)) = word.strip_prefix('?').and_then(|rest| rest.split_once('=')) {
            row.keys.push((key, template));
        } else if let Some(passed) = word.strip_prefix("pass:").and_then(|rest| rest.split_once(':')) {
            row.passed.push(passed);
        } else if let Some(action) = word.strip_prefix("tags:") {
            row.tagging = Some(action);
        } else {
            row.resources.push(word);
        }
    }
    row
}
