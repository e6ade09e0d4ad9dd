//! The cluster query language of `memberOf` constraints and of the `filter` of
//! ListContainerInstances: comparisons of attributes joined by `and`, `or`, `not` and parentheses.

use std::collections::BTreeMap;
use std::str::FromStr;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    /// The attribute has one of the values.
    In(String, Vec<String>),
    /// The attribute matches a pattern of literal text and `.*`.
    Matches(String, String),
    Exists(String),
}

/// The text is no expression of the supported language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid expression '{expression}': {reason}")]
pub struct ExpressionError {
    pub expression: String,
    pub reason: String,
}

impl Expression {
    /// Whether it holds for an instance with these attributes. A missing attribute equals nothing.
    pub fn holds(&self, attributes: &BTreeMap<String, String>) -> bool {
        match self {
            Self::And(a, b) => a.holds(attributes) && b.holds(attributes),
            Self::Or(a, b) => a.holds(attributes) || b.holds(attributes),
            Self::Not(a) => !a.holds(attributes),
            Self::In(name, values) => attributes.get(name).is_some_and(|value| values.contains(value)),
            Self::Matches(name, pattern) => attributes.get(name).is_some_and(|value| matches(pattern, value)),
            Self::Exists(name) => attributes.contains_key(name),
        }
    }
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let fail = |reason: String| ExpressionError { expression: text.to_owned(), reason };
        let mut parser = Parser { tokens: tokens(text).map_err(fail)?, at: 0, depth: 0 };
        let expression = parser.or().map_err(fail)?;
        match parser.tokens.get(parser.at) {
            None => Ok(expression),
            Some(extra) => Err(fail(format!("unexpected '{extra}'"))),
        }
    }
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
    depth: u32,
}

impl Parser {
    fn or(&mut self) -> Result<Expression, String> {
        let mut left = self.and()?;
        while self.accept(&["or", "||"]) {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, String> {
        let mut left = self.unary()?;
        while self.accept(&["and", "&&"]) {
            left = Expression::And(Box::new(left), Box::new(self.unary()?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > 100 {
            return Err("it is nested too deeply".into());
        }
        let result = if self.accept(&["not", "!"]) {
            Expression::Not(Box::new(self.unary()?))
        } else if self.accept(&["("]) {
            let inner = self.or()?;
            self.expect(")")?;
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(result)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let subject = self.next()?;
        let Some(name) = subject.strip_prefix("attribute:").filter(|name| !name.is_empty()) else {
            return Err(format!("'{subject}' is not an attribute"));
        };
        let name = name.to_owned();
        let operator = self.next()?;
        let not = |expression| Expression::Not(Box::new(expression));
        Ok(match operator.as_str() {
            "==" | "equals" => Expression::In(name, vec![self.next()?]),
            "!=" | "not_equals" => not(Expression::In(name, vec![self.next()?])),
            "in" => Expression::In(name, self.list()?),
            "not_in" | "!in" => not(Expression::In(name, self.list()?)),
            "exists" => Expression::Exists(name),
            "!exists" | "not_exists" => not(Expression::Exists(name)),
            "=~" | "matches" => {
                let pattern = self.next()?;
                let literal = pattern.replace(".*", "");
                if literal.contains(['*', '+', '?', '[', ']', '(', ')', '{', '}', '|', '^', '$', '\\']) {
                    return Err(format!("the pattern '{pattern}' may hold text and '.*' only"));
                }
                Expression::Matches(name, pattern)
            }
            _ => return Err(format!("'{operator}' is not an operator")),
        })
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        self.expect("[")?;
        let mut values = vec![self.next()?];
        while self.accept(&[","]) {
            values.push(self.next()?);
        }
        self.expect("]")?;
        Ok(values)
    }

    fn next(&mut self) -> Result<String, String> {
        let token = self.tokens.get(self.at).ok_or("it ends too early")?;
        self.at += 1;
        Ok(token.clone())
    }

    fn accept(&mut self, any_of: &[&str]) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| any_of.contains(&token.as_str()));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.accept(&[token]) { Ok(()) } else { Err(format!("'{token}' is missing")) }
    }
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    if text.len() > 2000 {
        return Err("it is longer than 2000 characters".into());
    }
    let mut out = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '(' | ')' | '[' | ']' | ',' => {
                out.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                out.push(c.to_string());
            }
            '"' | '\'' => {
                let mut closed = false;
                for inner in characters.by_ref() {
                    if inner == c {
                        closed = true;
                        break;
                    }
                    word.push(inner);
                }
                if !closed {
                    return Err("a quotation mark is not closed".into());
                }
            }
            c if c.is_whitespace() => out.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            '!' if word.is_empty() && characters.peek().is_some_and(|&next| next == '(' || next == 'a') => {
                out.push("!".into());
            }
            c => word.push(c),
        }
    }
    out.extend((!word.is_empty()).then_some(word));
    Ok(out)
}

/// Matches the whole value; `.*` is any run of characters, everything else (also `.`) itself.
fn matches(pattern: &str, value: &str) -> bool {
    let parts: Vec<&str> = pattern.split(".*").collect();
    let [first, middle @ .., last] = parts.as_slice() else { return pattern == value };
    let Some(mut rest) = value.strip_prefix(first) else { return false };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let attributes = BTreeMap::from([
            ("ecs.instance-type".to_owned(), "t2.micro".to_owned()),
            ("ecs.availability-zone".to_owned(), "us-east-1a".to_owned()),
        ]);
        text.parse::<Expression>().unwrap().holds(&attributes)
    }

    #[test]
    fn the_guides_examples() {
        assert!(holds("attribute:ecs.instance-type == t2.micro"));
        assert!(holds("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]"));
        assert!(!holds("attribute:ecs.availability-zone not_in [us-east-1a, us-east-1b]"));
        assert!(holds("attribute:ecs.instance-type =~ t2.* and attribute:ecs.availability-zone != us-east-1d"));
        assert!(!holds("attribute:stack exists"));
        assert!(holds(
            "not(attribute:stack exists) && (attribute:stack == x or attribute:ecs.instance-type =~ .*micro)"
        ));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "",
            "ecs.instance-type == x",
            "attribute:a ~ b",
            "attribute:a in [x",
            "attribute:a == b c",
            "attribute:a =~ (x|y)",
        ] {
            assert!(text.parse::<Expression>().is_err(), "{text}");
        }
        let deep = "(".repeat(5000);
        assert!(deep.parse::<Expression>().is_err());
    }
}
