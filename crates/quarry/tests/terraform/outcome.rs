//! What the endpoint counted while Terraform ran, for `cargo xtask clients`.

use quarry_client::status;
use quarry_testkit::Platform;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Puts the outcome, a step for each configuration, where `QUARRY_SUITES` says. An operation failed that answered
/// with an internal failure, or that the provider names in an error of a configuration that did not go well.
pub fn keep(platform: &Platform, terraform: &Path, outcomes: &[(&str, Result<(), String>)]) {
    let Some(directory) = std::env::var_os("QUARRY_SUITES") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let calls = runtime.block_on(status::calls(&platform.endpoint)).unwrap();
    let said: String = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).cloned().collect();
    let mut operations = json!({});
    for (service, counts) in calls {
        let sdk_id = quarry_aws::SERVICES.iter().find(|s| s.id == service).map_or("", |s| s.sdk_id);
        for (operation, counts) in counts {
            let blamed = u64::from(said.contains(&format!("operation error {sdk_id}: {operation},")));
            operations[&service][&operation] = json!({
                "passed": counts.answered, "refused": counts.refused, "failed": counts.failed + blamed,
            });
        }
    }
    let steps: Vec<Value> =
        outcomes.iter().map(|(name, outcome)| json!({"name": name, "failed": outcome.as_ref().err()})).collect();
    let outcome = json!({"client": version(terraform), "steps": steps, "operations": operations});
    std::fs::write(Path::new(&directory).join("terraform.json"), outcome.to_string()).unwrap();
}

fn version(terraform: &Path) -> String {
    let printed = Command::new(terraform).args(["version", "-json"]).env("CHECKPOINT_DISABLE", "1").output();
    let told: Value = printed.ok().and_then(|p| serde_json::from_slice(&p.stdout).ok()).unwrap_or_default();
    format!("terraform {}", told["terraform_version"].as_str().unwrap_or("?"))
}
