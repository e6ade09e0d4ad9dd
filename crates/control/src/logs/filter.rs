//! Filter patterns of unstructured text: words and quoted phrases that must all be there, `-word`
//! that must not, `?word` of which one is enough. Case-sensitive, as CloudWatch Logs has it.

use crate::api::Result;
use quarry_aws::logs::error;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Filter {
    pub fn parse(pattern: &str) -> Result<Self> {
        let pattern = pattern.trim();
        if pattern.starts_with(['{', '[', '%']) {
            return Err(error::invalid_parameter_exception(
                "Invalid filter pattern: patterns of JSON, space-delimited fields and regular expressions are not supported here.",
            ));
        }
        let mut filter = Self::default();
        let mut rest = pattern;
        while !rest.is_empty() {
            let (kind, term) = match rest.chars().next() {
                Some('-') => (&mut filter.none, &rest[1..]),
                Some('?') => (&mut filter.any, &rest[1..]),
                _ => (&mut filter.all, rest),
            };
            let (word, after) = match term.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or_else(|| {
                    error::invalid_parameter_exception("Invalid filter pattern: a quotation mark is not closed.")
                })?,
                None => term.split_at(term.find(char::is_whitespace).unwrap_or(term.len())),
            };
            if !word.is_empty() {
                kind.push(word.to_owned());
            }
            rest = after.trim_start();
        }
        Ok(filter)
    }

    pub fn matches(&self, message: &str) -> bool {
        let has = |word: &String| message.contains(word.as_str());
        self.all.iter().all(has) && (self.any.is_empty() || self.any.iter().any(has)) && !self.none.iter().any(has)
    }
}
