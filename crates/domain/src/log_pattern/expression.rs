//! Conditions on fields, and where their values come from.

use regex::Regex;
use serde_json::Value as Json;
use std::fmt;

#[derive(Clone, Debug)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Is(Field, Test),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Of a space-delimited event.
    Name(String),
    /// Of a JSON event.
    Selector(Vec<Step>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
    Each,
}

#[derive(Clone, Debug)]
pub enum Test {
    Equal(Wanted),
    NotEqual(Wanted),
    Less(f64),
    LessOrEqual(f64),
    Greater(f64),
    GreaterOrEqual(f64),
    Null,
    True,
    False,
    Missing,
}

#[derive(Clone, Debug)]
pub enum Wanted {
    Number(f64),
    /// With `*` for any run of characters.
    Text(Vec<String>),
    Regular(Regex),
}

/// A value of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'a> {
    Text(&'a str),
    Number(f64),
    Flag(bool),
    Null,
    /// A list or an object.
    Other,
}

/// Fields of an event in their order.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub before: Vec<Column>,
    /// Those after the ellipsis, where there is one.
    pub after: Option<Vec<Column>>,
}

/// A field of a space-delimited event.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub condition: Option<Condition>,
}

impl Condition {
    /// The fields that are asked for, as they come.
    pub fn fields(&self) -> Vec<&Field> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::fields).collect(),
            Self::Is(field, _) => vec![field],
        }
    }

    /// Whether a regular expression is in it.
    pub fn is_regular(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::is_regular),
            Self::Is(_, Test::Equal(wanted) | Test::NotEqual(wanted)) => matches!(wanted, Wanted::Regular(_)),
            Self::Is(..) => false,
        }
    }

    /// `values`: those of a field; none where the event has none.
    pub fn holds<'a>(&self, values: &dyn Fn(&Field) -> Vec<Found<'a>>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(values)),
            Self::Any(any) => any.iter().any(|one| one.holds(values)),
            Self::Is(field, Test::Missing) => values(field).is_empty(),
            Self::Is(field, test) => values(field).iter().any(|found| test.holds(found)),
        }
    }
}

impl Test {
    fn holds(&self, found: &Found<'_>) -> bool {
        let number = || match found {
            Found::Number(number) => Some(*number),
            Found::Text(text) => text.parse::<f64>().ok(),
            _ => None,
        };
        match self {
            Self::Equal(wanted) => wanted.is(found),
            Self::NotEqual(wanted) => !wanted.is(found),
            Self::Less(wanted) => number().is_some_and(|number| number < *wanted),
            Self::LessOrEqual(wanted) => number().is_some_and(|number| number <= *wanted),
            Self::Greater(wanted) => number().is_some_and(|number| number > *wanted),
            Self::GreaterOrEqual(wanted) => number().is_some_and(|number| number >= *wanted),
            Self::Null => *found == Found::Null,
            Self::True => *found == Found::Flag(true),
            Self::False => *found == Found::Flag(false),
            Self::Missing => false,
        }
    }
}

impl Wanted {
    fn is(&self, found: &Found<'_>) -> bool {
        match (self, found) {
            (Self::Number(wanted), Found::Number(number)) => number == wanted,
            (Self::Number(wanted), Found::Text(text)) => text.parse::<f64>().is_ok_and(|number| number == *wanted),
            (Self::Text(pieces), Found::Text(text)) => fits(pieces, text),
            (Self::Text(pieces), Found::Number(number)) => fits(pieces, &number.to_string()),
            (Self::Regular(regex), Found::Text(text)) => regex.is_match(text),
            (Self::Regular(regex), Found::Number(number)) => regex.is_match(&number.to_string()),
            _ => false,
        }
    }
}

/// Whether the pieces stand in the text in their order, the first at its beginning and the last at its end.
fn fits(pieces: &[String], text: &str) -> bool {
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return text.is_empty() };
    if pieces.len() == 1 {
        return text == first;
    }
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for piece in &pieces[1..pieces.len() - 1] {
        match rest.find(piece.as_str()) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

impl Fields {
    pub fn matches(&self, message: &str) -> bool {
        self.words(message).is_some_and(|words| {
            words.into_iter().all(|(column, word)| {
                let condition = column.and_then(|column| column.condition.as_ref());
                condition.is_none_or(|condition| condition.holds(&|_| vec![Found::Text(word)]))
            })
        })
    }

    /// The words of an event, each with its field, but for those that the ellipsis stands for. `None` where there are too
    /// many or too few.
    pub fn words<'a>(&self, message: &'a str) -> Option<Vec<(Option<&Column>, &'a str)>> {
        let words = split(message);
        let after = self.after.as_deref().unwrap_or_default();
        let between = words.len().checked_sub(self.before.len() + after.len())?;
        if between > 0 && self.after.is_none() {
            return None;
        }
        let columns =
            self.before.iter().map(Some).chain(std::iter::repeat_n(None, between)).chain(after.iter().map(Some));
        Some(columns.zip(words).collect())
    }

    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.before.iter().chain(self.after.iter().flatten())
    }
}

impl fmt::Display for Field {
    /// As a pattern has it, with `$` before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        let path = match self {
            Self::Name(name) => return f.write_str(name),
            Self::Selector(path) => path,
        };
        for step in path {
            let is_plain = |key: &str| !key.is_empty() && key.chars().all(is_part_of_key);
            match step {
                Step::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                Step::Key(key) if key.contains('\'') => write!(f, ".[\"{key}\"]")?,
                Step::Key(key) => write!(f, ".['{key}']")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Each => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

impl Found<'_> {
    /// As text, where it is one value.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some((*text).to_owned()),
            Self::Number(number) => Some(number.to_string()),
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Null | Self::Other => None,
        }
    }
}

/// Of a property's name without quotation marks.
pub fn is_part_of_key(c: char) -> bool {
    c.is_alphanumeric() || "_-@:".contains(c)
}

/// The words of an event; what stands in quotation marks or brackets is one.
fn split(message: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = message.trim_start();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let enclosed = close.and_then(|close| rest[1..].find(close));
        let after = match enclosed {
            Some(end) => {
                words.push(&rest[1..=end]);
                &rest[end + 2..]
            }
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                words.push(&rest[..end]);
                &rest[end..]
            }
        };
        rest = after.trim_start();
    }
    words
}

/// The values that a selector leads to.
pub fn select<'a>(json: &'a Json, path: &[Step]) -> Vec<Found<'a>> {
    let mut here = vec![json];
    for step in path {
        let mut next = Vec::new();
        for value in here {
            match step {
                Step::Key(key) => next.extend(value.get(key)),
                Step::Index(index) => next.extend(value.get(index)),
                Step::Each => next.extend(value.as_array().into_iter().flatten()),
            }
        }
        here = next;
    }
    let found = |value: &'a Json| match value {
        Json::String(text) => Found::Text(text),
        Json::Number(number) => number.as_f64().map_or(Found::Other, Found::Number),
        Json::Bool(flag) => Found::Flag(*flag),
        Json::Null => Found::Null,
        Json::Array(_) | Json::Object(_) => Found::Other,
    };
    here.into_iter().map(found).collect()
}
