//! Terraform with the AWS provider against one platform: every configuration under `terraform/` is
//! applied, planned again (nothing to do), changed in place, imported anew and destroyed, all of them
//! at the same time, and afterwards the platform is as empty as before.
//!
//! A configuration is a folder with a `main.tf`. Its variable `change` switches to the second version,
//! which must be reached in place; its output `imports` maps the addresses of resources that are
//! forgotten and imported again to the identifiers that they are imported by. The provider is
//! configured by nothing but the environment that `quarry env` prints.

#[path = "terraform/leftovers.rs"]
mod leftovers;
#[path = "terraform/outcome.rs"]
mod outcome;
#[path = "terraform/project.rs"]
mod project;

use project::{Project, mirror};
use quarry_testkit::{Platform, client_program};
use std::path::Path;

const EXE: &str = env!("CARGO_BIN_EXE_quarry");
/// The folders, of growing size.
const CONFIGURATIONS: [&str; 3] = ["network", "cluster", "service"];

#[test]
fn configurations_apply_settle_change_import_and_leave_nothing() {
    let (Some(terraform), Some(mirror)) = (client_program("terraform"), mirror()) else { return };
    let platform = Platform::start(EXE).unwrap();
    let before = leftovers::seen(&platform);
    let outcomes = std::thread::scope(|scope| {
        let run = |name: &'static str| {
            let (platform, terraform, mirror) = (&platform, terraform.as_path(), mirror.as_path());
            let life = move || life(platform, terraform, mirror, name).map_err(|said| format!("{name}: {said}"));
            scope.spawn(move || (name, life()))
        };
        // TERRAFORM_ONLY narrows the run while a configuration is being written.
        let only = std::env::var("TERRAFORM_ONLY").ok();
        let wanted = CONFIGURATIONS.into_iter().filter(|name| only.as_deref().is_none_or(|only| only == *name));
        let threads: Vec<_> = wanted.map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    outcome::keep(&platform, &terraform, &outcomes);
    let failed: Vec<String> = outcomes.into_iter().filter_map(|(_, outcome)| outcome.err()).collect();
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n\n"), platform.log());
    assert_eq!(leftovers::seen(&platform), before, "something is left");
}

/// A configuration from its first plan to its end.
fn life(platform: &Platform, terraform: &Path, mirror: &Path, name: &str) -> Result<(), String> {
    let project = Project::new(platform, terraform, mirror, name)?;
    project.apply(&[])?;
    project.settled(&[])?;
    let changed = ["-var", "change=true"];
    let said = project.apply(&changed)?;
    if !said.contains("Resources: 0 added,") || said.contains(", 0 changed,") || !said.contains(", 0 destroyed.") {
        return Err(format!("the change was not made in place:\n{said}"));
    }
    project.settled(&changed)?;
    let imports = project.imports()?;
    project.forget(&imports)?;
    let said = project.import(&imports, &changed)?;
    let expected = format!("Resources: {} imported, 0 added, 0 changed, 0 destroyed.", imports.len());
    if !said.contains(&expected) {
        return Err(format!("the import was not clean:\n{said}"));
    }
    project.destroy(&changed)
}
