//! axe-core, the accessibility checker.

use quarry_testkit::browser::Browser;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// axe-core's source; `None` after saying that it is not installed.
pub fn source() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let global = Command::new("npm").args(["root", "--global"]).output().ok();
    let global = global.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let modules = [Some(root.join("target/axe/node_modules")), global].into_iter().flatten();
    let named = std::env::var_os("AXE_CORE").map(PathBuf::from);
    let found = named.into_iter().chain(modules.map(|folder| folder.join("axe-core/axe.min.js")));
    let source = found.into_iter().find_map(|file| std::fs::read_to_string(file).ok());
    if source.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "axe-core not found, and CI=true");
        println!("skipped: axe-core not found");
    }
    source
}

/// axe in the page that is open.
pub struct Axe<'a>(&'a Browser);

impl<'a> Axe<'a> {
    pub fn of(browser: &'a Browser, source: &str) -> Self {
        browser.script(source);
        Self(browser)
    }

    /// What is wrong: rule, how bad it is, where.
    pub fn faults(&self, options: &str) -> Vec<String> {
        let script = format!(
            "const done = arguments[arguments.length - 1]; \
             axe.run({options}).then((r) => done(r.violations), (e) => done(String(e)))"
        );
        let found = self.0.script_later(&script);
        let faults = found.as_array().unwrap_or_else(|| panic!("axe: {found}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = faults.iter().map(|fault| {
            let nodes = fault["nodes"].as_array().into_iter().flatten();
            let places: Vec<String> = nodes.map(|node| text(&node["html"])).collect();
            format!("{} ({}): {}", text(&fault["id"]), text(&fault["impact"]), places.join(" | "))
        });
        told.collect()
    }
}
