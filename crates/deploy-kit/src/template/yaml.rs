//! A YAML document being written, in the given order and with comments.

use std::fmt::Write as _;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Out {
    /// Written as it is: numbers, `!Ref Name`.
    Raw(String),
    /// A text, quoted where YAML would read something else.
    Text(String),
    List(Vec<Out>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Lines above it.
    comment: &'static str,
    name: String,
    value: Out,
}

/// A map of `name => value` pairs.
macro_rules! map {
    ($($name:expr => $value:expr),* $(,)?) => {
        $crate::template::yaml::Out::Map(vec![
            $($crate::template::yaml::entry($name, $value)),*
        ])
    };
}
/// A list of values.
macro_rules! list {
    ($($value:expr),* $(,)?) => {
        $crate::template::yaml::Out::List(vec![$($crate::template::yaml::Out::from($value)),*])
    };
}
pub(crate) use {list, map};

pub(crate) fn entry(name: impl Into<String>, value: impl Into<Out>) -> Entry {
    Entry { comment: "", name: name.into(), value: value.into() }
}

/// `!Ref name`.
pub(crate) fn reference(name: &str) -> Out {
    Out::Raw(format!("!Ref {name}"))
}

/// `!GetAtt name`.
pub(crate) fn attribute(name: &str) -> Out {
    Out::Raw(format!("!GetAtt {name}"))
}

/// `!Sub 'text'`.
pub(crate) fn sub(text: &str) -> Out {
    Out::Raw(format!("!Sub {}", quoted(text)))
}

/// What the environment's stack exports under a name.
pub(crate) fn import(name: &str) -> Out {
    map! {"Fn::ImportValue" => sub(&format!("${{AppName}}-${{EnvName}}-{name}"))}
}

/// One value or another, by a condition.
pub(crate) fn when(condition: &str, yes: impl Into<Out>, no: impl Into<Out>) -> Out {
    map! {"Fn::If" => Out::List(vec![condition.into(), yes.into(), no.into()])}
}

/// Nothing at all.
pub(crate) fn no_value() -> Out {
    reference("AWS::NoValue")
}

impl From<&str> for Out {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Out {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Out {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<u64> for Out {
    fn from(number: u64) -> Self {
        Self::Raw(number.to_string())
    }
}

impl From<u16> for Out {
    fn from(number: u16) -> Self {
        Self::Raw(number.to_string())
    }
}

impl From<bool> for Out {
    fn from(flag: bool) -> Self {
        Self::Raw(flag.to_string())
    }
}

impl<T: Into<Out>> FromIterator<T> for Out {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl Out {
    /// Adds an entry to a map.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Out>) {
        self.explain("", name, value);
    }

    /// Adds an entry, where there is a value.
    pub fn set_some(&mut self, name: &str, value: Option<impl Into<Out>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Adds an entry with a comment above it.
    pub fn explain(&mut self, comment: &'static str, name: impl Into<String>, value: impl Into<Out>) {
        if let Self::Map(entries) = self {
            entries.push(Entry { comment, name: name.into(), value: value.into() });
        }
    }

    /// Adds an item to a list.
    pub fn push(&mut self, value: impl Into<Out>) {
        if let Self::List(items) = self {
            items.push(value.into());
        }
    }

    /// An entry of a map, made if it is not there.
    pub fn field(&mut self, name: &str, new: impl FnOnce() -> Out) -> Option<&mut Out> {
        let Self::Map(entries) = self else { return None };
        let at = entries.iter().position(|entry| entry.name == name).unwrap_or_else(|| {
            entries.push(entry(name, new()));
            entries.len() - 1
        });
        Some(&mut entries[at].value)
    }

    /// The items of a list.
    pub fn items(&mut self) -> Option<&mut Vec<Out>> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::Map(entries) => entries.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Raw(_) | Self::Text(_) => false,
        }
    }

    /// The document's text.
    pub fn document(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    /// Writes a map or list from the beginning of a line.
    fn write(&self, out: &mut String, indent: usize) {
        let pad = " ".repeat(indent);
        match self {
            Self::Raw(_) | Self::Text(_) => {
                let _ = writeln!(out, "{pad}{}", self.inline());
            }
            Self::List(items) => {
                for item in items {
                    // The first line of a nested item stands behind the dash.
                    let mut inner = String::new();
                    item.write(&mut inner, indent + 2);
                    let _ = write!(out, "{pad}- {}", inner.get(indent + 2..).unwrap_or_default());
                }
            }
            Self::Map(entries) => {
                for entry in entries {
                    for line in entry.comment.lines() {
                        let _ = writeln!(out, "{pad}# {line}");
                    }
                    let name = scalar(&entry.name);
                    match &entry.value {
                        value if value.is_empty() || matches!(value, Self::Raw(_) | Self::Text(_)) => {
                            let _ = writeln!(out, "{pad}{name}: {}", value.inline());
                        }
                        value => {
                            let _ = writeln!(out, "{pad}{name}:");
                            value.write(out, indent + 2);
                        }
                    }
                }
            }
        }
    }

    fn inline(&self) -> String {
        match self {
            Self::Raw(text) => text.clone(),
            Self::Text(text) => scalar(text),
            Self::List(_) => "[]".into(),
            Self::Map(_) => "{}".into(),
        }
    }
}

/// A text as it must be written so that every reader of YAML reads this text.
pub(crate) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    let word = text.to_ascii_lowercase();
    let means_else = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&word.as_str());
    let safe = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !means_else;
    if safe { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let is_plain =
        |c: char| !c.is_control() && !['\u{2028}', '\u{2029}', '\u{feff}', '\u{fffe}', '\u{ffff}'].contains(&c);
    if text.chars().all(is_plain) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    // A text of JSON is a text of YAML, but for what JSON leaves as it is.
    let escaped = |c: char| if is_plain(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
    serde_json::Value::from(text).to_string().chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_keeps_order_comments_and_quotes() {
        let mut doc = map! {"A" => 1u64, "B" => list!["x y", reference("C"), map!{"k" => "v", "l" => list![true]}]};
        doc.explain("why\nso", "D", map! {"e" => Out::Map(vec![]), "f" => "it's", "g" => "no", "h" => "1.5"});
        doc.set("I", list![list!["a", "b"]]);
        doc.set("J", "two\nlines");
        doc.set("K", "\u{7f}\u{85}\u{2028}");
        assert_eq!(
            doc.document(),
            "A: 1\nB:\n  - 'x y'\n  - !Ref C\n  - k: v\n    l:\n      - true\n# why\n# so\nD:\n  e: {}\n  \
             f: 'it''s'\n  g: 'no'\n  h: '1.5'\nI:\n  - - a\n    - b\nJ: \"two\\nlines\"\n\
             K: \"\\u007f\\u0085\\u2028\"\n"
        );
    }
}
