//! What a database is like before a cut, without a trace of the question in it.

use super::shape::{self, Shape};
use super::{Result, connect, failed, findings, store, target};
use crate::contract::{Code, Finding, Problem, Role, ScopeState, Severity, Table};
use crate::scope::{Scope, check_names};

/// What [`survey`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// Tells databases apart: the server's own number and the database's name. Empty where the role may not know it.
    pub identity: String,
    /// What the kit's tables say, where the scope was cut or prepared here before.
    pub state: Option<ScopeState>,
    /// The tables that can be cut.
    pub tables: Vec<Table>,
    pub findings: Vec<Finding>,
}

/// Looks at the tables of a scope as [`super::Postgres::prepare`] would, and changes nothing: not even the kit's own
/// tables are made.
pub async fn survey(url: &str, scope: &Scope, role: Role) -> Result<Survey> {
    check_names(std::slice::from_ref(scope), true).map_err(|message| Problem::new(Code::BadRequest, message))?;
    let mut client = connect(&target(url)?).await?;
    let tx = client.transaction().await.map_err(failed)?;
    let replica = tx.batch_execute("SET LOCAL session_replication_role = replica").await.is_ok();
    tx.rollback().await.map_err(failed)?;
    let tx = client.build_transaction().read_only(true).start().await.map_err(failed)?;
    let shapes = shape::shapes(&tx, scope).await?;
    let mut findings = findings::findings(&tx, scope, &shapes, replica).await?;
    findings.extend(findings::writers(&tx, scope).await?);
    let shapes: Vec<Shape> = shapes.into_iter().flatten().collect();
    let sql = "SELECT to_regclass('cut_copied') IS NOT NULL";
    let mut state = None;
    if tx.query_one(sql, &[]).await.map_err(failed)?.get(0) {
        let sql = "SELECT 1 FROM cut_fence WHERE scope = $1";
        if tx.query_opt(sql, &[&scope.name]).await.map_err(failed)?.is_some() {
            state = Some(store::state(&tx, scope).await?);
        }
    }
    let follows = state.as_ref().is_some_and(|state| !state.following.is_empty());
    let owner = state.as_ref().is_none_or(|state| state.owner);
    let mut tables = Vec::new();
    for shape in &shapes {
        if role == Role::Destination && !follows && store::has_rows(&tx, shape).await? {
            findings.push(Finding {
                severity: Severity::Blocking,
                code: "rows".into(),
                table: Some(shape.name.clone()),
                message: format!("{} has rows that did not come by a cut: the new side must be empty", shape.name),
            });
        } else if role == Role::Destination && owner && !follows && store::gave_ids(&tx, shape).await? {
            findings.push(Finding {
                severity: Severity::Blocking,
                code: "rows".into(),
                table: Some(shape.name.clone()),
                message: format!(
                    "{} had rows before (its sequence has given ids): the new side must be new",
                    shape.name
                ),
            });
        }
        tables.push(Table {
            name: shape.name.clone(),
            key: shape.key.clone(),
            columns: shape.columns.clone(),
            only: shape.only.clone(),
            copied_to: None,
            copied: false,
        });
    }
    tx.rollback().await.map_err(failed)?;
    let sql = "SELECT system_identifier::text || '/' || current_database() FROM pg_control_system()";
    let identity = client.query_one(sql, &[]).await.map_or_else(|_| String::new(), |row| row.get(0));
    Ok(Survey { identity, state, tables, findings })
}
