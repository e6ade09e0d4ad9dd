//! Reads `models/operations.toml`: sections with one array of strings each.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Operation names per service, sorted.
pub fn read(root: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let path = root.join("models/operations.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    parse(&text)
}

fn parse(text: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let section = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
        if let Some(name) = section.filter(|name| !name.contains('"')) {
            services.entry(name.to_owned()).or_default();
            current = Some(name.to_owned());
            continue;
        }
        let list = line.strip_prefix("operations").map_or(line, |l| l.trim_start().trim_start_matches('='));
        for word in list.split(',').map(|w| w.trim_matches([' ', '[', ']'])).filter(|w| !w.is_empty()) {
            let name = word.strip_prefix('"').and_then(|w| w.strip_suffix('"'));
            match (name, current.as_ref().and_then(|c| services.get_mut(c))) {
                (Some(name), Some(names)) => names.push(name.to_owned()),
                _ => bail!("models/operations.toml:{}: cannot read {word}", number + 1),
            }
        }
    }
    for names in services.values_mut() {
        names.sort();
        names.dedup();
    }
    Ok(services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sections_with_arrays() {
        let text = "# head\n[a]\noperations = [\n  \"Two\", \"One\", # why\n]\n[b]\noperations = [\"Three\"]\n";
        let services = parse(text).expect("well formed");
        assert_eq!(services["a"], ["One", "Two"]);
        assert_eq!(services["b"], ["Three"]);
        assert!(parse("[a]\noperations = [One]").is_err());
    }
}
