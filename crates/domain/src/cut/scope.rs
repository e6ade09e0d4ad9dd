//! Scopes: names, path patterns, and when two of them overlap.

use crate::rule::Pattern;

/// What is wrong with a scope, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadScope(pub String);

/// Most path patterns of a rule (the quota of values of one condition).
const PATTERNS: usize = 3;
/// Most characters of a pattern.
const PATTERN_LENGTH: usize = 128;
/// Most wildcards of a rule.
const WILDCARDS: usize = 5;

/// A scope's name is letters, digits, `-` and `_`, at most 32; its patterns are those of one listener rule.
pub fn check_scope(name: &str, paths: &[String], tables: &[String]) -> Result<(), BadScope> {
    let bad = |message: String| Err(BadScope(message));
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if name.is_empty() || name.len() > 32 || !plain(name) {
        return bad(format!("scope {name:?}: 1 to 32 letters, digits, - and _"));
    }
    if paths.is_empty() || paths.len() > PATTERNS {
        return bad(format!("paths: 1 to {PATTERNS} patterns, as in one listener rule"));
    }
    for path in paths {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.$/~\"'@:+&*?".contains(c);
        if !path.starts_with('/') && !path.starts_with('*') {
            return bad(format!("path {path:?}: it must begin with /"));
        }
        if path.len() > PATTERN_LENGTH || !path.chars().all(allowed) {
            return bad(format!(
                "path {path:?}: at most {PATTERN_LENGTH} characters of A-Z a-z 0-9 _ - . $ / ~ \" ' @ : + & * ?"
            ));
        }
    }
    let wildcards = paths.iter().flat_map(|path| path.chars()).filter(|c| matches!(c, '*' | '?')).count();
    if wildcards > WILDCARDS {
        return bad(format!("paths: at most {WILDCARDS} wildcards in all"));
    }
    for table in tables {
        let begins = table.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || table.len() > 63 || !table.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
            return bad(format!("table {table:?} is no plain name of a table"));
        }
    }
    Ok(())
}

/// Whether some path matches a pattern of each.
pub fn overlaps(one: &[String], other: &[String]) -> bool {
    one.iter().any(|a| other.iter().any(|b| Pattern::case_sensitive(a).intersects(&Pattern::case_sensitive(b))))
}
