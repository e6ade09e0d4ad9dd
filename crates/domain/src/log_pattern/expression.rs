//! Conditions on fields, and where their values come from.

use regex::Regex;
use serde_json::Value as Json;

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
    /// Each with its conditions.
    pub before: Vec<Option<Condition>>,
    /// Those after the ellipsis, where there is one.
    pub after: Option<Vec<Option<Condition>>>,
}

impl Condition {
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
        let words = split(message);
        let after = self.after.as_deref().unwrap_or_default();
        let enough = match self.after {
            Some(_) => words.len() >= self.before.len() + after.len(),
            None => words.len() == self.before.len(),
        };
        let holds = |(condition, word): (&Option<Condition>, &&str)| {
            condition.as_ref().is_none_or(|condition| condition.holds(&|_| vec![Found::Text(word)]))
        };
        enough
            && self.before.iter().zip(&words).all(holds)
            && after.iter().zip(&words[words.len() - after.len()..]).all(holds)
    }
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
