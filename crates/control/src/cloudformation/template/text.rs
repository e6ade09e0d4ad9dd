//! Template text (JSON or YAML with CloudFormation's short-form tags) to one value type.
//!
//! YAML's short forms become their long ones (`!Ref X` is `{"Ref": "X"}`), so that nothing behind
//! this file knows which notation a template was written in. The number of values is bounded by the
//! length of the text, so that aliases cannot multiply them, and so is the depth.

use super::TemplateError;
use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// Greatest size of a template in bytes (CloudFormation quotas: 1 MB, from S3).
pub const MAX_BYTES: usize = 1_000_000;
/// Greatest size of a template given as TemplateBody (CloudFormation quotas).
pub const MAX_BODY_BYTES: usize = 51_200;
/// Deepest nesting of values.
pub const MAX_DEPTH: usize = 100;

/// Reads the text of a template; intrinsic functions come out in their long form.
pub fn parse(text: &str) -> Result<Value, TemplateError> {
    if text.len() > MAX_BYTES {
        return Err(TemplateError::format(format!("template may not exceed {MAX_BYTES} bytes in size.")));
    }
    if text.trim().is_empty() {
        return Err(TemplateError::format("unsupported structure."));
    }
    if brackets_too_deep(text) {
        return Err(TemplateError::format("template is nested too deeply."));
    }
    let budget = Cell::new(text.len() + 16);
    let seed = Seed { budget: &budget, depth: 0 };
    if text.trim_start().starts_with('{') {
        let mut json = serde_json::Deserializer::from_str(text);
        return seed
            .deserialize(&mut json)
            .and_then(|value| json.end().map(|()| value))
            .map_err(|error| malformed("JSON", &error.to_string(), Some((error.line(), error.column()))));
    }
    seed.deserialize(serde_norway::Deserializer::from_str(text))
        .map_err(|error| malformed("YAML", &error.to_string(), error.location().map(|at| (at.line(), at.column()))))
}

/// One value of the template, within what is left of the budget.
#[derive(Clone, Copy)]
struct Seed<'a> {
    budget: &'a Cell<usize>,
    depth: usize,
}

impl Seed<'_> {
    fn spend<E: de::Error>(&self) -> Result<(), E> {
        match self.budget.get().checked_sub(1) {
            Some(left) => self.budget.set(left),
            None => {
                return Err(E::custom(format_args!("{OWN}YAML aliases are not allowed in CloudFormation templates")));
            }
        }
        if self.depth > MAX_DEPTH {
            return Err(E::custom(format_args!("{OWN}template is nested too deeply.")));
        }
        Ok(())
    }

    fn inner(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Value, E> {
        self.spend()?;
        Ok(Value::Bool(v))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
        self.spend()?;
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
        self.spend()?;
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        self.spend()?;
        Ok(Number::from_f64(v).map_or_else(|| Value::String(v.to_string()), Value::Number))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
        self.visit_string(v.to_owned())
    }

    fn visit_string<E: de::Error>(self, v: String) -> Result<Value, E> {
        self.spend()?;
        Ok(Value::String(v))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.spend()?;
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.spend()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.inner())? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.spend()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(self.inner())? {
            let key = match key {
                Value::String(key) => key,
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(de::Error::custom(format_args!("{OWN}map keys must be strings.")));
                }
            };
            let value = access.next_value_seed(self.inner())?;
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("{OWN}Duplicate key {key}.")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        self.spend()?;
        let (tag, content) = access.variant_seed(self.inner())?;
        let value = content.newtype_variant_seed(self.inner())?;
        let tag = tag.as_str().unwrap_or_default().trim_start_matches('!').to_owned();
        long_form(&tag, value).ok_or_else(|| de::Error::custom(format_args!("{OWN}Unsupported YAML tag !{tag}.")))
    }
}

/// Marks messages that are complete as they stand.
const OWN: &str = "\u{1}";

const TAGS: &[&str] = &[
    "And",
    "Base64",
    "Cidr",
    "Equals",
    "FindInMap",
    "GetAZs",
    "If",
    "ImportValue",
    "Join",
    "Length",
    "Not",
    "Or",
    "Select",
    "Split",
    "Sub",
    "ToJsonString",
    "Transform",
];

fn long_form(tag: &str, value: Value) -> Option<Value> {
    let (name, value) = match tag {
        "Ref" | "Condition" => (tag.to_owned(), value),
        "GetAtt" => {
            let value = match value {
                Value::String(path) => match path.split_once('.') {
                    Some((resource, attribute)) => Value::Array(vec![resource.into(), attribute.into()]),
                    None => Value::String(path),
                },
                other => other,
            };
            ("Fn::GetAtt".to_owned(), value)
        }
        _ if TAGS.contains(&tag) => (format!("Fn::{tag}"), value),
        _ => return None,
    };
    Some(Value::Object(Map::from_iter([(name, value)])))
}

fn malformed(notation: &str, message: &str, at: Option<(usize, usize)>) -> TemplateError {
    if let Some((_, own)) = message.split_once(OWN) {
        // What the parser adds behind (" at line 3 column 5") stays off.
        let own = own.split(" at line ").next().unwrap_or(own);
        return TemplateError::format(own);
    }
    match at {
        Some((line, column)) => {
            TemplateError::format(format!("{notation} not well-formed. (line {line}, column {column})"))
        }
        None => TemplateError::format(format!("{notation} not well-formed. ({message})")),
    }
}

/// A parser spends quadratic time on brackets within brackets: seen before it starts.
fn brackets_too_deep(text: &str) -> bool {
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > 4 * MAX_DEPTH {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::time::Instant;

    #[test]
    fn short_and_long_forms_mean_the_same() {
        let yaml = "
A: !Ref X
B: !GetAtt X.Arn
C: !Sub '${X}-y'
D: !Select [0, !GetAZs '']
E: !If [Prod, !Ref X, !Ref AWS::NoValue]
F: {Fn::Join: ['-', [a, b]]}
G: !Condition Prod
H: 2012-10-17
I: 012345678901
J: !GetAtt [X, Outputs.Y]
";
        let expected = json!({
            "A": {"Ref": "X"}, "B": {"Fn::GetAtt": ["X", "Arn"]}, "C": {"Fn::Sub": "${X}-y"},
            "D": {"Fn::Select": [0, {"Fn::GetAZs": ""}]},
            "E": {"Fn::If": ["Prod", {"Ref": "X"}, {"Ref": "AWS::NoValue"}]},
            "F": {"Fn::Join": ["-", ["a", "b"]]}, "G": {"Condition": "Prod"},
            "H": "2012-10-17", "I": "012345678901", "J": {"Fn::GetAtt": ["X", "Outputs.Y"]},
        });
        assert_eq!(parse(yaml).unwrap(), expected);
        assert_eq!(parse(&expected.to_string()).unwrap(), expected);
    }

    #[test]
    fn malformed_text_is_told_where() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(message("{\"A\": }"), "Template format error: JSON not well-formed. (line 1, column 7)");
        assert!(message("A: [1, 2").starts_with("Template format error: YAML not well-formed. (line "));
        assert_eq!(message("A: !Nope x"), "Template format error: Unsupported YAML tag !Nope.");
        assert_eq!(message("A: 1\nA: 2\n"), "Template format error: Duplicate key A.");
        assert_eq!(message("  \n"), "Template format error: unsupported structure.");
    }

    #[test]
    fn bombs_are_refused_fast() {
        let started = Instant::now();
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..40 {
            let refs = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        assert_eq!(
            parse(&bomb).unwrap_err().to_string(),
            "Template format error: YAML aliases are not allowed in CloudFormation templates"
        );
        for opening in ["[", "{", "{\"a\":", "- ", "? ", "a: {", "!Ref [", "- [", "&a [", "\"", "&a ", "\t"] {
            let text = opening.repeat(MAX_BYTES / opening.len());
            assert!(parse(&text).is_err(), "{opening}");
        }
        let mut blocks = String::new();
        for level in 0..1300 {
            blocks.push_str(&" ".repeat(level));
            blocks.push_str("a:\n");
        }
        assert!(parse(&blocks).is_err());
        assert!(parse(&" ".repeat(MAX_BYTES + 1)).is_err());
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn never_panics_on_any_text(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn never_panics_on_yaml_like_text(text in "([ \\n]|[-:?,&*!|>'\"%@`#{}\\[\\]]|!Ref |!Sub |Fn::If: |a: |- |b){0,120}") {
            let _ = parse(&text);
        }
    }
}
