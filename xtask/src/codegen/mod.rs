//! Writes `crates/aws/src` from `models/`: structs, member tables, operations,
//! error constructors and enumeration constants.

mod emit;
mod model;
mod names;
mod pattern;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::operations;

/// Generates; with `check`, fails on a difference to what is there instead of writing.
pub fn run(root: &Path, check: bool) -> Result<()> {
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    let services: Vec<String> = operations::read(root)?.into_keys().collect();
    for service in &services {
        let path = root.join(format!("models/{service}.json"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let model = model::Service::new(service, serde_json::from_str(&text)?)?;
        for (name, text) in emit::service(&model).with_context(|| service.clone())? {
            files.insert(Path::new(&names::snake(service)).join(name), text);
        }
    }
    files.insert("lib.rs".into(), emit::library(&services));
    files.insert("macros.rs".into(), emit::MACROS.trim_start().to_owned());
    let source = root.join("crates/aws/src");
    let present = list(&source)?;
    let differing: Vec<&PathBuf> = files
        .iter()
        .filter(|(path, text)| fs::read_to_string(source.join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| path)
        .chain(present.iter().filter(|path| !files.contains_key(*path)))
        .collect();
    if check {
        if differing.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = differing.iter().map(|p| p.display().to_string()).collect();
        bail!("crates/aws/src differs from models/; run `cargo xtask codegen`: {}", names.join(", "));
    }
    for path in &differing {
        let target = source.join(path);
        match files.get(*path) {
            Some(text) => {
                fs::create_dir_all(target.parent().unwrap_or(&source))?;
                fs::write(&target, text).with_context(|| target.display().to_string())?;
            }
            None => fs::remove_file(&target).with_context(|| target.display().to_string())?,
        }
    }
    println!("{} files, {} changed", files.len(), differing.len());
    Ok(())
}

/// Every file below a directory, relative to it.
fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(current) = pending.pop() {
        for entry in fs::read_dir(&current).with_context(|| current.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if let Ok(relative) = path.strip_prefix(directory) {
                files.push(relative.to_path_buf());
            }
        }
    }
    Ok(files)
}
