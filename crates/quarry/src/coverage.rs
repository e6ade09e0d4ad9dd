//! `quarry coverage`: which of AWS's operations are served, and which others were asked for.

use crate::installation::Installation;
use anyhow::{Context, Result};
use quarry_client::status;
use quarry_wire::ServiceModel;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// How the table is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
    /// As SPECIFICATION.md holds it.
    Markdown,
}

#[derive(Serialize)]
struct Service {
    service: &'static str,
    name: &'static str,
    served: Vec<&'static str>,
    unserved: Vec<&'static str>,
    /// Calls of what is not served, since the running Quarry's start.
    called: BTreeMap<String, u64>,
}

/// Prints the table. Calls are told where a Quarry runs on the data directory.
pub fn run(data_dir: &Path, form: Form) -> Result<()> {
    let table = table();
    if form == Form::Markdown {
        print!("{}", markdown(&table));
        return Ok(());
    }
    let called = called(data_dir)?;
    print(table, called, form)
}

/// By service and operation; nothing where none runs.
fn called(data_dir: &Path) -> Result<BTreeMap<String, BTreeMap<String, u64>>> {
    let Ok(serving) = Installation::open_existing(data_dir).and_then(|installation| installation.serving()) else {
        return Ok(BTreeMap::new());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(status::unserved(&serving.endpoint)).context("the running Quarry does not tell what was called")
}
