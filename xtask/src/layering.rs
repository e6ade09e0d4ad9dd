//! Which crate may see which: the arrows of the floor plan.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Each part and the parts it may depend on. `testkit` and `xtask` are not
/// here: the first may see anything, the second sees nothing.
const MAY_SEE: &[(&str, &[&str])] = &[
    ("quarry-wire", &[]),
    ("quarry-aws", &["quarry-wire"]),
    ("quarry-domain", &["quarry-wire", "quarry-aws"]),
    ("quarry-control", &["quarry-wire", "quarry-aws", "quarry-domain", "cut-kit"]),
    ("quarry-proxy", BELOW_DOING),
    ("quarry-dns", BELOW_DOING),
    ("quarry-registry", BELOW_DOING),
    ("quarry-runtime", BELOW_DOING),
    ("quarry-client", &["quarry-wire", "quarry-aws"]),
    ("quarry-load", ABOVE_CLIENT),
    ("quarry-deploy-kit", ABOVE_CLIENT),
    ("quarry-console", ABOVE_CLIENT),
    (
        "quarry-cli",
        &["quarry-wire", "quarry-aws", "quarry-client", "quarry-load", "quarry-deploy-kit", "quarry-console"],
    ),
    (
        "quarry",
        &[
            "quarry-wire",
            "quarry-aws",
            "quarry-domain",
            "quarry-control",
            "quarry-proxy",
            "quarry-dns",
            "quarry-registry",
            "quarry-runtime",
            "quarry-client",
            "quarry-load",
            "quarry-deploy-kit",
            "quarry-console",
            "quarry-cli",
        ],
    ),
    ("board", &["cut-kit"]),
    ("cut-kit", &[]),
    ("shop", &[]),
    ("xtask", &[]),
    (
        // Nobody sees it; it sees every part that reads what others have written.
        "quarry-fuzz",
        &[
            "quarry-wire",
            "quarry-aws",
            "quarry-domain",
            "quarry-control",
            "quarry-proxy",
            "quarry-client",
            "quarry-dns",
            "quarry-registry",
            "quarry-runtime",
            "quarry-deploy-kit",
        ],
    ),
];

const BELOW_DOING: &[&str] = &["quarry-wire", "quarry-aws", "quarry-domain"];
const ABOVE_CLIENT: &[&str] = &["quarry-wire", "quarry-aws", "quarry-client"];

/// May see anything, and may be seen only by tests.
const TESTKIT: &str = "quarry-testkit";

/// Fails when a dependency goes against the arrows.
pub fn run(root: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let faults = faults(&serde_json::from_slice(&output.stdout)?);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("the floor plan is broken:\n  {}", faults.join("\n  "))
}

fn faults(metadata: &Value) -> Vec<String> {
    let rules: BTreeMap<&str, &[&str]> = MAY_SEE.iter().copied().collect();
    let packages: Vec<&Value> = metadata["packages"].as_array().into_iter().flatten().collect();
    let ours: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut faults = Vec::new();
    for package in &packages {
        let Some(name) = package["name"].as_str().filter(|n| *n != TESTKIT) else { continue };
        let Some(allowed) = rules.get(name) else {
            faults.push(format!("{name} has no place in the floor plan (xtask/src/layering.rs)"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(target) = dependency["name"].as_str().filter(|t| ours.contains(t)) else { continue };
            // A test may use the whole platform; the board's tests may not.
            let testing = dependency["kind"] == "dev" && target == TESTKIT && name != "board";
            if !allowed.contains(&target) && !testing {
                faults.push(format!("{name} must not depend on {target}"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<Value> =
            dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
        json!({"name": name, "dependencies": dependencies})
    }

    fn check(packages: &[Value]) -> Vec<String> {
        faults(&json!({ "packages": packages }))
    }

    #[test]
    fn the_five_do_not_see_each_other() {
        let all = [
            package("quarry-domain", &[("serde", None)]),
            package("quarry-proxy", &[("quarry-domain", None)]),
            package("quarry-control", &[("quarry-domain", None), ("quarry-proxy", None)]),
        ];
        assert_eq!(check(&all), ["quarry-control must not depend on quarry-proxy"]);
        assert!(check(&all[..2]).is_empty());
    }

    #[test]
    fn only_tests_see_the_testkit_and_the_board_sees_nothing_of_the_platform() {
        let kit = package("quarry-testkit", &[("quarry", None)]);
        let quarry = package("quarry", &[("quarry-testkit", Some("dev"))]);
        assert!(check(&[kit.clone(), quarry]).is_empty());
        let quarry = package("quarry", &[("quarry-testkit", None)]);
        assert_eq!(check(&[kit.clone(), quarry]).len(), 1);
        let board = package("board", &[("quarry-testkit", Some("dev"))]);
        assert_eq!(check(&[kit, board]).len(), 1);
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        assert_eq!(check(&[package("quarry-extra", &[])]).len(), 1);
    }
}
