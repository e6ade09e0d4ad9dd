//! Patterns of unstructured text: words, quoted phrases and regular expressions that must all be there, `-word` that must
//! not, `?word` of which one is enough. Case-sensitive.

use super::Mistake;
use super::parse::regular;
use regex::Regex;

#[derive(Clone, Debug, Default)]
pub struct Terms {
    all: Vec<Term>,
    any: Vec<Term>,
    none: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Text(String),
    Regular(Regex),
}

impl Terms {
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let mut terms = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (kind, term) = match rest.chars().next() {
                Some('-') => (&mut terms.none, &rest[1..]),
                Some('?') => (&mut terms.any, &rest[1..]),
                _ => (&mut terms.all, rest),
            };
            let (word, after) = if let Some(quoted) = term.strip_prefix('"') {
                let (word, after) = phrase(quoted)?;
                (Term::Text(word), after)
            } else if let Some(expression) = term.strip_prefix('%') {
                let end = expression.find('%').ok_or_else(|| Mistake("a per cent sign is missing".into()))?;
                (Term::Regular(regular(&expression[..end])?), &expression[end + 1..])
            } else {
                let (word, after) = term.split_at(term.find(char::is_whitespace).unwrap_or(term.len()));
                (Term::Text(word.to_owned()), after)
            };
            if !matches!(&word, Term::Text(text) if text.is_empty()) {
                kind.push(word);
            }
            rest = after.trim_start();
        }
        // AWS leaves them out beside terms of another kind.
        if !terms.all.is_empty() || !terms.none.is_empty() {
            terms.any.clear();
        }
        Ok(terms)
    }

    pub fn has_regular_expression(&self) -> bool {
        self.all.iter().chain(&self.any).chain(&self.none).any(|term| matches!(term, Term::Regular(_)))
    }

    pub fn matches(&self, message: &str) -> bool {
        let has = |term: &Term| match term {
            Term::Text(text) => message.contains(text.as_str()),
            Term::Regular(regex) => regex.is_match(message),
        };
        self.all.iter().all(has) && (self.any.is_empty() || self.any.iter().any(has)) && !self.none.iter().any(has)
    }
}

/// Up to the closing quotation mark, and what follows it; `\"` is one within.
fn phrase(text: &str) -> Result<(String, &str), Mistake> {
    let mut word = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((word, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, next)) if next == '"' || next == '\\' => word.push(next),
                Some((_, next)) => word.extend(['\\', next]),
                None => break,
            },
            _ => word.push(c),
        }
    }
    Err(Mistake("a quotation mark is not closed".into()))
}
