//! The models' regular expressions, which are Java's, in the syntax of the crate `regex`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::Hasher as _;

use anyhow::{Result, bail};
use serde_json::Value;

use super::model::Service;

/// Expressions that look ahead, which linear time does not allow: what must match, and what must not.
const LOOKING_AHEAD: &[(&str, &str, &str)] = &[
    (r"^(?!arn:)[!-~]{1,1024}$", r"[!-~]{1,1024}", r"^arn:"),
    (r"^(?!arn:)[!-~]{1,253}$", r"[!-~]{1,253}", r"^arn:"),
    (
        r"((?=^.{1,127}$)^([a-zA-Z0-9_][a-zA-Z0-9-_]{0,61}[a-zA-Z0-9_]|[a-zA-Z0-9])(\.([a-zA-Z0-9_][a-zA-Z0-9-_]{0,61}[a-zA-Z0-9_]|[a-zA-Z0-9]))*$)|(^\.$)",
        r"([a-zA-Z0-9_][a-zA-Z0-9\-_]{0,61}[a-zA-Z0-9_]|[a-zA-Z0-9])(\.([a-zA-Z0-9_][a-zA-Z0-9\-_]{0,61}[a-zA-Z0-9_]|[a-zA-Z0-9]))*|\.",
        r"^.{128,}$",
    ),
    (
        r"(\*\.)?(((?!-)[A-Za-z0-9-]{0,62}[A-Za-z0-9])\.)+((?!-)[A-Za-z0-9-]{1,62}[A-Za-z0-9])",
        r"(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]",
        "",
    ),
    (
        r"(?!((^[ ]+.*)|(.*([\u0000-\u001f]|[\u007f-\u009f]|[:/|])+.*)|(.*[ ]+$))).+",
        r".+",
        r"^ |[\x00-\x1f]|[\x7f-\x{9f}]|[:/|]| $",
    ),
    (r"^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$", r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", r"--"),
];

/// The constant that holds a shape's pattern, if it has one that says something.
pub fn table(shape: &Value) -> Option<String> {
    let source = shape["pattern"].as_str().filter(|source| !says_nothing(source))?;
    // The same text has the same name in every service and after every generation.
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(source.as_bytes());
    Some(format!("P{:08X}", hash.finish() as u32))
}

/// `patterns.rs` of a service.
pub fn file(head: &str, model: &Service) -> Result<String> {
    let mut patterns: BTreeMap<String, &str> = BTreeMap::new();
    for shape in model.shapes.values() {
        if let (Some(name), Some(source)) = (table(shape), shape["pattern"].as_str())
            && patterns.insert(name, source).is_some_and(|other| other != source)
        {
            bail!("two patterns have the same name: {source}");
        }
    }
    let mut out = format!(
        "{head}//! The regular expressions of the model.\n#![allow(dead_code, unused_imports)]\n\nuse quarry_wire::Pattern;\n\n"
    );
    for (name, source) in patterns {
        let (regex, not) = translated(source)?;
        let _ = writeln!(out, "pub(crate) static {name}: Pattern = Pattern::new({source:?}, {regex:?}, {not:?});");
    }
    Ok(out)
}

fn says_nothing(source: &str) -> bool {
    matches!(source, ".*" | "[\\s\\S]*" | "^[\\s\\S]*$" | "^.*$")
}

fn translated(source: &str) -> Result<(String, &'static str)> {
    if let Some((_, regex, not)) = LOOKING_AHEAD.iter().find(|(known, ..)| *known == source) {
        return Ok(((*regex).to_owned(), not));
    }
    if ["(?!", "(?=", "(?<"].iter().any(|look| source.contains(look)) {
        bail!("the pattern {source} looks around; say it without in xtask/src/codegen/pattern.rs");
    }
    // Code points beyond 16 bits, as pairs of surrogates and as the models' authors meant them.
    let source = source
        .replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\x{10000}-\x{10FFFF}")
        .replace(r"\u10000-\u10FFFF", r"\x{10000}-\x{10FFFF}");
    let mut out = String::new();
    let mut in_class = false;
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('u') => {
                    let digits: String = rest.by_ref().take(4).collect();
                    let _ = write!(out, "\\x{{{digits}}}");
                }
                // Java's are ASCII.
                Some('w') if in_class => out.push_str("a-zA-Z0-9_"),
                Some('w') => out.push_str("[a-zA-Z0-9_]"),
                Some('d') if in_class => out.push_str("0-9"),
                Some('d') => out.push_str("[0-9]"),
                Some('s') if in_class => out.push_str(r" \t\n\x0B\f\r"),
                Some('s') => out.push_str(r"[ \t\n\x0B\f\r]"),
                Some('p') => {
                    let class: String = rest.by_ref().take_while(|c| *c != '}').collect();
                    match class.as_str() {
                        "{Print" if in_class => out.push_str(r"\x20-\x7E"),
                        "{Print" => out.push_str(r"[\x20-\x7E]"),
                        class => {
                            let _ = write!(out, "\\p{class}}}");
                        }
                    }
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => bail!("{source} ends in a backslash"),
            },
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push(c);
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' => {
                in_class = false;
                out.push(c);
            }
            // Rust's classes have operators; Java's have none of these in the models.
            '-' | '&' | '~' if in_class && out.ends_with(c) => {
                out.push('\\');
                out.push(c);
            }
            // `a-z-_`: after a range a hyphen is itself.
            '-' if in_class && after_range(&out) => out.push_str("\\-"),
            _ => out.push(c),
        }
    }
    Ok((out, ""))
}

/// Whether a class, as written so far, ends in a range.
fn after_range(class: &str) -> bool {
    let open = class.rfind('[').map_or(0, |at| at + 1);
    let mut tail = class[open..].chars().rev();
    let (last, hyphen, first) = (tail.next(), tail.next(), tail.next());
    hyphen == Some('-') && first.is_some() && last.is_some_and(|c| c.is_ascii_alphanumeric())
}

/// FNV-1a: short, and the same on every machine.
struct Fnv(u64);

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::translated;

    #[test]
    fn javas_expressions_are_translated() {
        for (java, rust) in [
            (r"[\w+=,.@-]+", r"[a-zA-Z0-9_+=,.@-]+"),
            (r"\w+\d", r"[a-zA-Z0-9_]+[0-9]"),
            (r"[\u0020-\uD7FF\uD800\uDC00-\uDBFF\uDFFF]*", r"[\x{0020}-\x{D7FF}\x{10000}-\x{10FFFF}]*"),
            (r"^([\p{L}\p{Z}_.:/=+\-@]*)$", r"^([\p{L}\p{Z}_.:/=+\-@]*)$"),
            (r"\p{Print}+", r"[\x20-\x7E]+"),
            (r"[a-zA-Z0-9-_]", r"[a-zA-Z0-9\-_]"),
            (r"[a-z0-9.-]", r"[a-z0-9.-]"),
        ] {
            assert_eq!(translated(java).expect("known"), (rust.to_owned(), ""), "{java}");
        }
        assert!(translated("(?!a)b").is_err());
        let (_, not) = translated("^(?!arn:)[!-~]{1,253}$").expect("known by name");
        assert_eq!(not, "^arn:");
    }
}
