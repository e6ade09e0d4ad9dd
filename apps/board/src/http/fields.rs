//! Checks of a JSON object from a client: every mistake is reported, not only the first.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::Problem;

/// The largest id: the largest integer that every JSON client keeps exact.
pub const MAX_ID: i64 = (1 << 53) - 1;

/// A JSON object being read field by field. Fields nobody asked for are mistakes.
pub struct Fields {
    given: Map<String, Value>,
    base: Map<String, Value>,
    prefix: String,
    errors: Vec<(String, String)>,
}

impl Fields {
    /// Reads `value`, which must be an object.
    pub fn new(value: Value) -> Result<Fields, Problem> {
        Fields::within("", value)
    }

    /// Like [`Fields::new`], with the object's own JSON pointer before each field's.
    pub fn within(prefix: &str, value: Value) -> Result<Fields, Problem> {
        match value {
            Value::Object(given) => {
                Ok(Fields { given, base: Map::new(), prefix: prefix.to_owned(), errors: Vec::new() })
            }
            _ => Err(Problem::invalid(vec![(prefix.to_owned(), "must be a JSON object".into())])),
        }
    }

    /// Takes fields that the client left out from `base` (for PATCH).
    pub fn or_from(mut self, base: Value) -> Fields {
        if let Value::Object(base) = base {
            self.base = base;
        }
        self
    }

    /// A text of `length` characters (Unicode scalar values). An absent text is a mistake unless
    /// `length` begins at 0.
    pub fn text(&mut self, name: &str, length: RangeInclusive<usize>) -> String {
        let text = match self.take(name) {
            Some(Value::String(text)) => text,
            None if *length.start() == 0 => return String::new(),
            None => return self.wrong(name, "is required"),
            Some(_) => return self.wrong(name, "must be a string"),
        };
        let count = text.chars().count();
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        if !length.contains(&count) {
            let (min, max) = (length.start(), length.end());
            self.wrong(name, &format!("must have {min} to {max} characters, not {count}"))
        } else if *length.start() > 0 && text.trim().is_empty() {
            self.wrong(name, "must not be blank")
        } else if text.chars().any(control) {
            self.wrong(name, "must not contain control characters")
        } else {
            text
        }
    }

    /// A text on one line, without spaces around it.
    pub fn line(&mut self, name: &str, length: RangeInclusive<usize>) -> String {
        let text = self.text(name, length);
        if text.contains(['\n', '\r', '\t']) {
            self.wrong(name, "must be a single line")
        } else if text.trim() != text {
            self.wrong(name, "must not begin or end with a space")
        } else {
            text
        }
    }

    /// The id of another record: an integer from 1 to [`MAX_ID`].
    pub fn id(&mut self, name: &str) -> i64 {
        match self.optional_id(name) {
            Ok(Some(id)) => id,
            Ok(None) => self.wrong(name, "is required"),
            Err(()) => 0,
        }
    }

    /// The record's own id where it may be left out.
    pub fn own_id(&mut self) -> Option<i64> {
        self.optional_id("id").unwrap_or(None)
    }

    /// On a change, the body may repeat the id of the path, and must not contradict it.
    pub fn own_id_is(&mut self, id: i64) {
        if self.own_id().is_some_and(|given| given != id) {
            self.wrong("id", &format!("must stay {id}"))
        }
    }

    /// Notes a mistake in a field.
    pub fn wrong<T: Default>(&mut self, name: &str, detail: &str) -> T {
        self.errors.push((format!("{}/{name}", self.prefix), detail.to_owned()));
        T::default()
    }

    /// All mistakes, or none.
    pub fn finish(mut self) -> Result<(), Problem> {
        let left: Vec<String> = self.given.keys().cloned().collect();
        for name in left {
            // A JSON pointer escapes `~` and `/`; a long name is not repeated whole.
            let name: String = name.chars().take(64).collect();
            let name = name.replace('~', "~0").replace('/', "~1");
            let () = self.wrong(&name, "is not a field of this resource");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let given = self.given.remove(name);
        given.or_else(|| self.base.remove(name))
    }

    fn optional_id(&mut self, name: &str) -> Result<Option<i64>, ()> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_i64() {
            Some(id) if (1..=MAX_ID).contains(&id) => Ok(Some(id)),
            _ => {
                let () = self.wrong(name, "must be a positive integer");
                Err(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_mistake_is_named() {
        let value = json!({ "title": "", "createdBy": -1, "colour": "red", "a/b": 1 });
        let mut fields = Fields::new(value).unwrap();
        fields.line("title", 1..=10);
        fields.id("createdBy");
        let problem = fields.finish().unwrap_err();
        let pointers: Vec<&str> = problem.errors.iter().map(|e| e.0.as_str()).collect();
        assert_eq!(pointers, ["/title", "/createdBy", "/a~1b", "/colour"]);
        assert_eq!(problem.status, 422);
    }

    #[test]
    fn texts_are_bounded_in_characters() {
        for (text, good) in [("é", true), ("éé", true), ("ééé", false), (" ", false), ("\u{0}", false)] {
            let mut fields = Fields::new(json!({ "t": text })).unwrap();
            fields.text("t", 1..=2);
            assert_eq!(fields.finish().is_ok(), good, "{text:?}");
        }
        let mut fields = Fields::new(json!({ "t": "a\nb" })).unwrap();
        fields.line("t", 1..=9);
        assert!(fields.finish().is_err());
    }
}
