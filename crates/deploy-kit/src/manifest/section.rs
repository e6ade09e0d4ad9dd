//! A map of a manifest while it is read: values by name and kind, and everything that is wrong with it.

use super::yaml::{Key, Kind, Node};
use super::{Problem, Problems};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Collects what is wrong in a file.
#[derive(Debug)]
pub struct Faults {
    file: String,
    found: RefCell<Vec<Problem>>,
}

/// A map of the manifest. What is not asked for by name is an unknown field.
#[derive(Debug)]
pub struct Section<'a> {
    pub faults: &'a Faults,
    /// `http.healthcheck`; empty at the top.
    pub path: String,
    pub line: usize,
    entries: &'a [(Key, Node)],
    asked: RefCell<BTreeSet<&'static str>>,
}

impl Faults {
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: RefCell::default() }
    }

    pub fn add(&self, line: usize, field: &str, message: impl Into<String>) {
        let problem = Problem { file: self.file.clone(), line, field: field.to_owned(), message: message.into() };
        let mut found = self.found.borrow_mut();
        if !found.contains(&problem) {
            found.push(problem);
        }
    }

    /// Nothing, or all that was found, in the file's order.
    pub fn judge(self) -> Result<(), Problems> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| problem.line);
        if found.is_empty() { Ok(()) } else { Err(Problems(found)) }
    }

    /// The text of a scalar.
    pub fn text(&self, path: &str, node: &Node) -> Option<String> {
        match &node.kind {
            Kind::Scalar { text, .. } => Some(text.clone()),
            _ => self.wrong(path, node, "a text"),
        }
    }

    pub fn wrong<T>(&self, path: &str, node: &Node, wanted: &str) -> Option<T> {
        self.add(node.line, path, format!("{wanted} is expected, and this is {}", said(node)));
        None
    }
}

impl<'a> Section<'a> {
    /// A section of a node that must be a map.
    pub fn of(faults: &'a Faults, path: &str, node: &'a Node) -> Option<Self> {
        let entries = match &node.kind {
            Kind::Map(entries) => entries.as_slice(),
            Kind::Null => &[],
            _ => return faults.wrong(path, node, "a map"),
        };
        Some(Self { faults, path: path.to_owned(), line: node.line, entries, asked: RefCell::default() })
    }

    /// The path of a field in it.
    pub fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A value that is there and not null.
    pub fn node(&self, name: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().insert(name);
        let (_, node) = self.entries.iter().find(|(key, _)| key.name == name)?;
        (node.kind != Kind::Null).then_some(node)
    }

    pub fn text(&self, name: &'static str) -> Option<String> {
        self.faults.text(&self.at(name), self.node(name)?)
    }

    /// One of some words.
    pub fn word(&self, name: &'static str, words: &[&'static str]) -> Option<&'static str> {
        let node = self.node(name)?;
        let text = self.faults.text(&self.at(name), node)?;
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            self.fault(name, format!("{text:?} is not one of {}", words.join(", ")));
        }
        found
    }

    pub fn flag(&self, name: &'static str) -> Option<bool> {
        let node = self.node(name)?;
        match &node.kind {
            Kind::Scalar { text, .. } if text.eq_ignore_ascii_case("true") => Some(true),
            Kind::Scalar { text, .. } if text.eq_ignore_ascii_case("false") => Some(false),
            _ => self.faults.wrong(&self.at(name), node, "true or false"),
        }
    }

    pub fn number(&self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = self.node(name)?;
        let Kind::Scalar { text, .. } = &node.kind else {
            return self.faults.wrong(&self.at(name), node, "a whole number");
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let (least, most) = range.into_inner();
                self.fault(name, format!("{text} is not a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// A duration like `90s`, `1m30s`, in whole seconds.
    pub fn seconds(&self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(name)?;
        match seconds(&text) {
            Some(seconds) if range.contains(&seconds) => Some(seconds),
            _ => {
                let (least, most) = range.into_inner();
                self.fault(name, format!("{text:?} is not a duration from {least}s to {most}s (as 45s, 1m30s)"));
                None
            }
        }
    }

    pub fn section(&self, name: &'static str) -> Option<Section<'a>> {
        Section::of(self.faults, &self.at(name), self.node(name)?)
    }

    /// A list of texts.
    pub fn texts(&self, name: &'static str) -> Option<Vec<String>> {
        let node = self.node(name)?;
        let Kind::List(items) = &node.kind else {
            return self.faults.wrong(&self.at(name), node, "a list");
        };
        Some(items.iter().filter_map(|item| self.faults.text(&self.at(name), item)).collect())
    }

    pub fn list(&self, name: &'static str) -> Option<&'a [Node]> {
        let node = self.node(name)?;
        match &node.kind {
            Kind::List(items) => Some(items),
            _ => self.faults.wrong(&self.at(name), node, "a list"),
        }
    }

    /// All names and values of a section whose names are the user's own.
    pub fn entries(&self) -> &'a [(Key, Node)] {
        self.entries
    }

    /// Something is wrong with a field.
    pub fn fault(&self, name: &str, message: impl Into<String>) {
        let line = self.entries.iter().find(|(key, _)| key.name == name).map_or(self.line, |(key, _)| key.line);
        self.faults.add(line, &self.at(name), message);
    }

    /// Fields that are known and not served; what to do instead.
    pub fn refuse(&self, fields: &[(&'static str, &str)]) {
        for (name, instead) in fields {
            let off = |node: &Node| matches!(&node.kind, Kind::Scalar { text, .. } if text == "false");
            if self.node(name).is_some_and(|node| !off(node)) {
                self.fault(name, format!("not supported: {instead}"));
            }
        }
    }

    /// What was never asked for is unknown.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.entries {
            if asked.contains(key.name.as_str()) {
                continue;
            }
            let near = asked.iter().map(|name| (distance(&key.name, name), name)).min();
            let advice = match near {
                Some((distance, name)) if distance <= 2 => format!("did you mean {name}?"),
                _ => {
                    let known: Vec<_> = asked.iter().copied().collect();
                    format!("remove it, or take one of {}", known.join(", "))
                }
            };
            self.faults.add(key.line, &self.at(&key.name), format!("unknown field: {advice}"));
        }
    }
}

/// What a node is, in words.
fn said(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "empty".into(),
        Kind::Scalar { text, .. } => format!("{text:?}"),
        Kind::List(_) => "a list".into(),
        Kind::Map(_) => "a map".into(),
    }
}

/// Go's durations, as Copilot reads them, as far as they are whole seconds: `1h`, `1m30s`, `5000ms`.
pub fn seconds(text: &str) -> Option<u64> {
    let (mut rest, mut millis) = (text, 0u64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let factor = match &after[..unit] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        millis = millis.checked_add(number.checked_mul(factor)?)?;
        rest = &after[unit..];
    }
    millis.is_multiple_of(1000).then_some(millis / 1000)
}

/// Letters to change, add or take away until one word is the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = before + usize::from(a != *b);
            before = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(before + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, wanted) in [("45s", Some(45)), ("1m30s", Some(90)), ("2h", Some(7200)), ("5000ms", Some(5))] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
        for text in ["", "5", "s", "1500ms", "1d", "99999999999999999999s"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn distances() {
        assert_eq!(distance("healthchek", "healthcheck"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("path", "path"), 0);
    }
}
