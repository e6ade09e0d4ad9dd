//! What a plan says of two databases that the platform is to drive itself. Nothing is changed in them.

use super::create::Told;
use super::database::{self, Url};
use cut_kit::contract::{Role, Severity};
use cut_kit::postgres::{self, Survey};
use quarry_domain::cut::SideFacts;
use std::time::Duration;

/// What both databases say, each within so long.
pub fn ask(scope: &str, tables: &[String], (from, to): (&Url, &Url), limit: Duration) -> (Told, Told) {
    let scope = database::scope(scope, tables);
    let failed = |why: String| (Err(why.clone()), Err(why));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(error.to_string()),
    };
    let asked = async {
        let one = async |url: &Url, role| match tokio::time::timeout(limit, postgres::survey(url.text(), &scope, role))
            .await
        {
            Ok(Ok(survey)) => Ok(survey),
            Ok(Err(problem)) => Err(problem.message),
            Err(_) => Err("no answer in time".to_owned()),
        };
        (one(from, Role::Source).await, one(to, Role::Destination).await)
    };
    let (source, destination) = runtime.block_on(asked);
    let different = match (&source, &destination) {
        (Ok(source), Ok(destination)) => differences(source, destination),
        _ => Vec::new(),
    };
    let mut told = (source.map(facts), destination.map(facts));
    if let Ok(facts) = &mut told.1 {
        facts.problems.extend(different);
    }
    told
}

fn facts(survey: Survey) -> SideFacts {
    let said = |severity: Severity| {
        let of = survey.findings.iter().filter(move |finding| finding.severity == severity);
        of.map(|finding| finding.message.clone()).collect::<Vec<_>>()
    };
    let state = survey.state.as_ref();
    let mut problems = said(Severity::Blocking);
    if state.is_some_and(|state| state.retired) {
        problems.push("its tables were retired by an earlier cut".to_owned());
    }
    SideFacts {
        known: true,
        prepared: state.is_some_and(|state| state.feed.is_some() || !state.owner),
        owner: state.is_none_or(|state| state.owner),
        epoch: state.map_or(0, |state| state.epoch),
        rows: 0,
        problems,
        notes: said(Severity::Note),
    }
}

/// Why rows of one could not be rows of the other.
fn differences(source: &Survey, destination: &Survey) -> Vec<String> {
    let mut found = Vec::new();
    if source.identity == destination.identity && !source.identity.is_empty() {
        found.push("both sides have the same database: there is nothing to move".to_owned());
    }
    for table in &source.tables {
        let Some(other) = destination.tables.iter().find(|other| other.name == table.name) else { continue };
        let names = |columns: &[cut_kit::contract::Column]| {
            columns.iter().map(|column| format!("{} {}", column.name, column.r#type)).collect::<Vec<_>>().join(", ")
        };
        let (mut one, mut same) = (table.columns.clone(), other.columns.clone());
        one.sort();
        same.sort();
        if one != same {
            found.push(format!(
                "table {} has other columns: {} on the old side, {} here",
                table.name,
                names(&one),
                names(&same)
            ));
        } else if table.key != other.key {
            found.push(format!("table {} has another primary key", table.name));
        }
    }
    found
}
