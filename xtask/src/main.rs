//! The project's own tasks: `cargo xtask <task>`.
//!
//! - `models --botocore DIR`: extract the shapes of the operations we serve.
//! - `codegen [--check]`: write `crates/aws/src` from `models/`, or fail on a difference.
//! - `clients [--json]`: run the suites of boto3, the aws CLI and Terraform, and print what passed, per operation.
//! - `layering`: fail when a crate depends on one it must not see.

mod clients;
mod codegen;
mod layering;
mod models;
mod operations;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask models --botocore DIR | codegen [--check] | clients [--json] | layering";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["models", "--botocore", dir] => models::extract(&root(), Path::new(dir)),
        ["codegen"] => codegen::run(&root(), false),
        ["codegen", "--check"] => codegen::run(&root(), true),
        ["clients"] => clients::run(&root(), false),
        ["clients", "--json"] => clients::run(&root(), true),
        ["layering"] => layering::run(&root()),
        _ => bail!("{USAGE}"),
    }
}

/// The workspace's directory.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
