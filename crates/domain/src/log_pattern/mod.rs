//! Filter patterns of CloudWatch Logs (AWS's documentation, "Filter pattern syntax"): terms, space-delimited fields in
//! brackets, JSON selectors in braces, regular expressions between per cent signs.

mod expression;
mod parse;
mod terms;

use expression::{Condition, Field, Fields, Found};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use terms::Terms;

/// A parsed pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Terms(Terms),
    Fields(Fields),
    Json(Condition),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter pattern: {0}")]
pub struct Mistake(String);

/// Most characters of a pattern.
pub const MAX_PATTERN: usize = 1024;

impl Pattern {
    /// An empty text matches everything.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let text = text.trim();
        if text.chars().count() > MAX_PATTERN {
            return Err(Mistake(format!("it is longer than {MAX_PATTERN} characters")));
        }
        Ok(Self(match text.chars().next() {
            Some('{') => Kind::Json(parse::json(text)?),
            Some('[') => Kind::Fields(parse::fields(text)?),
            _ => Kind::Terms(Terms::parse(text)?),
        }))
    }

    pub fn matches(&self, message: &str) -> bool {
        match &self.0 {
            Kind::Terms(terms) => terms.matches(message),
            Kind::Fields(fields) => fields.matches(message),
            Kind::Json(condition) => object(message).is_some_and(|json| condition.holds(&|field| found(&json, field))),
        }
    }

    /// What the pattern takes out of an event that matches it, by name: `$field` of space-delimited fields and `$3` of those
    /// that an ellipsis stands for, `$.selector` of JSON. Nothing of a pattern of terms.
    pub fn extracted(&self, message: &str) -> BTreeMap<String, String> {
        match &self.0 {
            Kind::Terms(_) => BTreeMap::new(),
            Kind::Fields(fields) => {
                let named = fields.words(message).unwrap_or_default().into_iter().enumerate();
                named
                    .map(|(at, (column, word))| match column {
                        Some(column) => (format!("${}", column.name), word.to_owned()),
                        None => (format!("${}", at + 1), word.to_owned()),
                    })
                    .collect()
            }
            Kind::Json(condition) => {
                let Some(json) = object(message) else { return BTreeMap::new() };
                let value = |field: &Field| Some((field.to_string(), found(&json, field).first()?.text()?));
                condition.fields().into_iter().filter_map(value).collect()
            }
        }
    }

    /// Whether events that match have what is referred to.
    pub fn has(&self, reference: &Reference) -> bool {
        match (&self.0, &reference.0) {
            (Kind::Fields(fields), Field::Name(name)) => fields.columns().any(|column| column.name == *name),
            (Kind::Json(_), Field::Selector(_)) => true,
            _ => false,
        }
    }

    /// What an event has there, if it is one value.
    pub fn value(&self, reference: &Reference, message: &str) -> Option<String> {
        match (&self.0, &reference.0) {
            (Kind::Fields(fields), Field::Name(name)) => {
                let words = fields.words(message)?;
                let word = words.iter().find(|(column, _)| column.is_some_and(|column| column.name == *name));
                word.map(|(_, word)| (*word).to_owned())
            }
            (Kind::Json(_), field @ Field::Selector(_)) => found(&object(message)?, field).first()?.text(),
            _ => None,
        }
    }

    /// Whether there is a regular expression in it.
    pub fn has_regular_expression(&self) -> bool {
        match &self.0 {
            Kind::Terms(terms) => terms.has_regular_expression(),
            Kind::Fields(fields) => fields.columns().filter_map(|c| c.condition.as_ref()).any(Condition::is_regular),
            Kind::Json(condition) => condition.is_regular(),
        }
    }
}

/// Part of an event, by its name in a metric filter: `$field` or `$.selector`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference(Field);

impl Reference {
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        parse::reference(text).map(Self)
    }
}

fn object(message: &str) -> Option<Json> {
    serde_json::from_str(message).ok().filter(Json::is_object)
}

fn found<'a>(json: &'a Json, field: &Field) -> Vec<Found<'a>> {
    match field {
        Field::Selector(path) => expression::select(json, path),
        Field::Name(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &str, bool)]) {
        for (pattern, message, matches) in cases {
            let parsed = Pattern::parse(pattern).unwrap_or_else(|mistake| panic!("{pattern}: {mistake}"));
            assert_eq!(parsed.matches(message), *matches, "{pattern} in {message}");
        }
    }

    #[test]
    fn terms() {
        check(&[
            ("", "anything", true),
            ("ERROR", "[ERROR 400] BAD REQUEST", true),
            ("ERROR", "[error 400]", false),
            ("ERROR ARGUMENTS", "ARGUMENTS with ERROR", true),
            ("ERROR ARGUMENTS", "only ERROR", false),
            ("\"INTERNAL SERVER ERROR\"", "an INTERNAL SERVER ERROR came", true),
            ("\"INTERNAL SERVER ERROR\"", "INTERNAL ERROR SERVER", false),
            ("?ERROR ?ARGUMENTS", "ARGUMENTS", true),
            ("?ERROR ?ARGUMENTS", "nothing", false),
            ("ERROR -ARGUMENTS", "ERROR 500", true),
            ("ERROR -ARGUMENTS", "ERROR ARGUMENTS", false),
            ("ERROR -\"a b\"", "ERROR a b", false),
            // Beside other terms those with a question mark do not count.
            ("REQUEST ?ERROR", "REQUEST", true),
            ("%AUTHORIZED%", "[ERROR 401] UNAUTHORIZED REQUEST", true),
            ("%^[a-z]+\\d%", "abc1", true),
            ("%^[a-z]+\\d%", "Abc1", false),
            ("\"say \\\"hello\\\"\"", "they say \"hello\"", true),
        ]);
    }

    #[test]
    fn space_delimited_fields() {
        let line = "127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] \"GET /index.html HTTP/1.0\" 404 1534";
        let all = "[ip, user, username, timestamp, request, status_code, bytes]";
        check(&[
            (all, line, true),
            ("[ip, user]", line, false),
            ("[ip, user, username, timestamp, request, status_code=4*, bytes]", line, true),
            ("[ip, user, username, timestamp, request, status_code=5*, bytes]", line, false),
            ("[..., status_code=404, bytes>1000]", line, true),
            ("[..., status_code=404, bytes>2000]", line, false),
            ("[ip, user=Prod && user!=Dev, ...]", line, true),
            ("[ip=%127\\.0%, ...]", line, true),
            ("[..., request=*html*, status_code = 403 || status_code = 404, bytes]", line, true),
            ("[..., request=\"GET /index.html HTTP/1.0\", s, b]", line, true),
            ("[ip, ..., bytes<=1534]", line, true),
            ("[w1=ERROR, w2]", "ERROR here", true),
            ("[w1=ERROR || w1=%WARN%, w2]", "[WARNING] here", true),
            ("[w1=ERROR || w1=%WARN%, w2]", "WARNING here", true),
            ("[w1!=ERROR, ...]", "ERROR here", false),
        ]);
    }

    #[test]
    fn json_selectors() {
        let event = r#"{"eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "arrayKey": ["value", "another"],
            "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], "SomeObject": null, "ThisFlag": true,
            "user": {"email": "J.Stiles@example.com", "id": 7}, "latency": 12.5, "odd.key": "x"}"#;
        check(&[
            ("{ $.eventType = \"UpdateTrail\" }", event, true),
            ("{ $.eventType = UpdateTrail }", event, true),
            ("{ $.eventType = \"Update\" }", event, false),
            ("{ $.eventType = \"Update*\" }", event, true),
            ("{ $.eventType != \"UpdateTrail\" }", event, false),
            ("{ $.sourceIPAddress != 123.123.* }", event, true),
            ("{ $.arrayKey[0] = \"value\" }", event, true),
            ("{ $.arrayKey[*] = \"another\" }", event, true),
            ("{ $.objectList[1].id = 2 }", event, true),
            ("{ $.SomeObject IS NULL }", event, true),
            ("{ $.ThisFlag IS TRUE }", event, true),
            ("{ $.ThisFlag IS FALSE }", event, false),
            ("{ $.SomeOtherObject NOT EXISTS }", event, true),
            ("{ $.ThisFlag NOT EXISTS }", event, false),
            ("{ $.latency > 1.2e1 && $.user.id < 8 }", event, true),
            ("{ $.latency >= 12.5 && ($.user.id = 8 || $.user.id <= 7) }", event, true),
            ("{ ($.user.id = 1) || ($.eventType = \"x\") }", event, false),
            ("{ $.user.email = %[A-Z]\\.Stiles% }", event, true),
            ("{ $.['odd.key'] = x }", event, true),
            ("{ $.missing = \"*\" }", event, false),
            ("{ $.eventType = \"*\" }", "no JSON", false),
        ]);
    }

    #[test]
    fn values_are_taken_out() {
        let taken = |pattern: &str, message: &str| Pattern::parse(pattern).unwrap().extracted(message);
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let line = "127.0.0.1 - frank [10/Oct/2000] \"GET /a b\" 200 1534";
        assert_eq!(
            taken("[ip, identity, user=f*, time, ..., size > 1]", line),
            map(&[
                ("$ip", "127.0.0.1"),
                ("$identity", "-"),
                ("$user", "frank"),
                ("$time", "10/Oct/2000"),
                ("$5", "GET /a b"),
                ("$6", "200"),
                ("$size", "1534"),
            ])
        );
        let event = r#"{"a": {"b": [1.5, "x"]}, "odd.key": true, "none": null}"#;
        let pattern = "{ $.a.b[1] = x && ($.['odd.key'] IS TRUE || $.none IS NULL || $.missing = 1) }";
        assert_eq!(taken(pattern, event), map(&[("$.a.b[1]", "x"), ("$.['odd.key']", "true")]));
        assert_eq!(taken("x", event), map(&[]));
        let value = |pattern: &str, reference: &str, message: &str| {
            let (pattern, reference) = (Pattern::parse(pattern).unwrap(), Reference::parse(reference).unwrap());
            pattern.has(&reference).then(|| pattern.value(&reference, message)).ok_or(())
        };
        assert_eq!(value("{ $.a.b[1] = x }", "$.a.b[0]", event), Ok(Some("1.5".into())));
        assert_eq!(value("{ $.a.b[1] = x }", "$.a.c", event), Ok(None));
        assert_eq!(value("[a, ..., size]", "$size", "x y 7"), Ok(Some("7".into())));
        assert_eq!(value("[a, ..., size]", "$b", "x y 7"), Err(()));
        assert_eq!(value("x", "$.a", event), Err(()));
        for bad in ["1", "$", "$.", "$a b", "$.a = 1", "a"] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
        for (pattern, has) in
            [("%x%", true), ("x -%y%", true), ("[a=%x%]", true), ("{ $.a != %x% }", true), ("[a=x]", false)]
        {
            assert_eq!(Pattern::parse(pattern).unwrap().has_regular_expression(), has, "{pattern}");
        }
    }

    #[test]
    fn mistakes() {
        for bad in [
            "\"open",
            "%open",
            "%a(b)%",
            "%bad!%",
            "{ $.a }",
            "{ $.a = }",
            "{ $.a = 1",
            "{ a = 1 }",
            "{ $.a > \"x\" }",
            "[a, b",
            "[..., a, ...]",
            "[a=]",
            "{ $.a = 1 } x",
            "{ $.a[ = 1 }",
            "{ $.a = %x% && $.b = %y% && $.c = %z% }",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        assert!(Pattern::parse(&"x".repeat(MAX_PATTERN + 1)).is_err());
        assert!(Pattern::parse(&format!("{{ {} $.a = 1 }}", "(".repeat(900))).is_err());
    }
}
