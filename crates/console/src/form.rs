//! Names and values as browsers send them: queries of URLs, bodies of forms.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What a segment of a path or a value of a query may hold as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Names with their values, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// From `application/x-www-form-urlencoded`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (plain(n), plain(v))).collect())
    }

    /// The first value of this name, without space around it; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.trim())
    }

    /// The first value of this name, if it is not empty.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|value| !value.is_empty())
    }

    /// A value that must be there; `label` names it to the person.
    pub fn needed(&self, name: &str, label: &str) -> Result<&str, String> {
        self.given(name).ok_or_else(|| format!("{label} is missing."))
    }

    /// A whole number that must be there.
    pub fn number(&self, name: &str, label: &str) -> Result<i64, String> {
        let text = self.needed(name, label)?;
        text.parse().map_err(|_| format!("{label} is a whole number, not {text:?}."))
    }

    /// A whole number, or nothing.
    pub fn number_if_given(&self, name: &str, label: &str) -> Result<Option<i64>, String> {
        self.given(name).map(|_| self.number(name, label)).transpose()
    }

    /// Whether a box of this name is ticked.
    pub fn ticked(&self, name: &str) -> bool {
        self.given(name).is_some()
    }

    /// The words of a field that takes several, with commas or spaces between.
    pub fn words(&self, name: &str) -> Vec<String> {
        let split = self.text(name).split([',', ' ', '\n', '\r']);
        split.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

fn plain(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// A text as one segment of a path, or as a value of a query.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// The segments of a path, each as it was meant.
pub fn segments(path: &str) -> Vec<String> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_comes_back() {
        let form = Form::parse("name=a+b%26c&name=second&empty=&flag=on&paths=%2Fa%2C+%2Fb&count=3&wrong=x");
        assert_eq!(form.text("name"), "a b&c");
        assert_eq!((form.given("empty"), form.text("none")), (None, ""));
        assert!(form.ticked("flag") && !form.ticked("other"));
        assert_eq!(form.words("paths"), ["/a", "/b"]);
        assert_eq!(form.number("count", "Tasks"), Ok(3));
        assert_eq!(form.number("wrong", "Tasks"), Err("Tasks is a whole number, not \"x\".".into()));
        assert_eq!(form.number_if_given("empty", "Tasks"), Ok(None));
        assert_eq!(form.needed("empty", "The name"), Err("The name is missing.".into()));
    }

    #[test]
    fn segments_hold_any_text() {
        let name = "team/api käse?#%";
        assert_eq!(segments(&format!("/repositories/{}/x", encoded(name))), ["repositories", name, "x"]);
        assert_eq!(segments("/"), [""; 0]);
    }
}
