//! Words: quotes, escapes and variables.

use std::collections::BTreeMap;

/// Names and values that `$NAME` takes its value from.
pub(super) type Variables = BTreeMap<String, String>;

/// Splits at white space outside of quotes; takes quotes and escapes away and fills in variables.
pub(super) fn words(text: &str, variables: &Variables) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars().peekable();
    let mut quote: Option<char> = None;
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\'', Some('\'')) | ('"', Some('"')) => quote = None,
            (c, Some('\'')) => word.get_or_insert_default().push(c),
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', quote) => match rest.next() {
                // Inside double quotes a backslash is only special before these.
                Some(next) if quote.is_some() && !matches!(next, '"' | '\\' | '$') => {
                    word.get_or_insert_default().extend(['\\', next]);
                }
                Some(next) => word.get_or_insert_default().push(next),
                None => word.get_or_insert_default().push('\\'),
            },
            ('$', _) => {
                let value = variable(&mut rest, variables)?;
                word.get_or_insert_default().push_str(&value);
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} is opened and not closed"));
    }
    words.extend(word);
    Ok(words)
}

/// Reads what follows a `$`.
fn variable(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, variables: &Variables) -> Result<String, String> {
    let word = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let value = |name: &str| variables.get(name).cloned().unwrap_or_default();
    match rest.peek() {
        Some('{') => {
            rest.next();
            let mut inside = String::new();
            loop {
                match rest.next() {
                    Some('}') => break,
                    Some('$') => return Err("a variable inside ${…} is not supported: write its value".to_owned()),
                    Some(c) => inside.push(c),
                    None => return Err("${ is opened and not closed".to_owned()),
                }
            }
            let end = inside.find(|c: char| !word(&c)).unwrap_or(inside.len());
            let (name, modifier) = inside.split_at(end);
            if name.is_empty() {
                return Err(format!("${{{inside}}} names no variable"));
            }
            let value = value(name);
            if modifier.is_empty() {
                Ok(value)
            } else if let Some(fallback) = modifier.strip_prefix(":-") {
                Ok(if value.is_empty() { fallback.to_owned() } else { value })
            } else if let Some(other) = modifier.strip_prefix(":+") {
                Ok(if value.is_empty() { String::new() } else { other.to_owned() })
            } else {
                Err(format!("${{{inside}}}: of modifiers only :- and :+ are supported"))
            }
        }
        Some(c) if c.is_ascii_alphabetic() || *c == '_' => {
            let mut name = String::new();
            while let Some(c) = rest.next_if(word) {
                name.push(c);
            }
            Ok(value(&name))
        }
        _ => Ok("$".to_owned()),
    }
}

/// Fills in variables and takes quotes away, in a text that is one word whatever white space it has.
pub(super) fn one(text: &str, variables: &Variables) -> Result<String, String> {
    Ok(words(text, variables)?.join(" "))
}

/// `NAME=value` pairs.
pub(super) fn pairs(text: &str, variables: &Variables, keyword: &str) -> Result<Vec<(String, String)>, String> {
    let form = || format!("{keyword} needs NAME=value");
    let first = text.split_whitespace().next().ok_or_else(form)?;
    if !first.contains('=') {
        // The older form: a name, and all the rest is its value.
        let (name, value) = text.split_once(char::is_whitespace).ok_or_else(form)?;
        return Ok(vec![(name.to_owned(), one(value.trim(), variables)?)]);
    }
    let mut pairs = Vec::new();
    for word in words(text, variables)? {
        match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => pairs.push((name.to_owned(), value.to_owned())),
            _ => return Err(format!("{} (found {word:?}; put values with blanks in quotes)", form())),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_variables() {
        let variables = Variables::from([("A".to_owned(), "1".to_owned()), ("B_2".to_owned(), "x y".to_owned())]);
        for (text, expected) in [
            ("a  b\tc", vec!["a", "b", "c"]),
            (r#""a b" 'c d' e"f g"h"#, vec!["a b", "c d", "ef gh"]),
            (r#"a\ b '\n' "\n" "\"" """#, vec!["a b", r"\n", r"\n", "\"", ""]),
            ("$A ${A}b $B_2! '$A' \\$A $ $9", vec!["1", "1b", "x y!", "$A", "$A", "$", "$9"]),
            ("${C:-d} ${A:-d} ${C:+d}. ${A:+d} $C.", vec!["d", "1", ".", "d", "."]),
        ] {
            assert_eq!(words(text, &variables).unwrap(), expected, "{text}");
        }
        for bad in ["\"a", "'a", "${A", "${}", "${A:?x}", "${A:-$B}"] {
            assert!(words(bad, &variables).is_err(), "{bad}");
        }
    }
}
