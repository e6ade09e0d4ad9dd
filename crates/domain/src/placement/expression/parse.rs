//! From text to expressions.

use super::{Expression, ExpressionError, Ordered, Pattern, Subject, Value, version_of};
use regex::RegexBuilder;
use std::cmp::Ordering;
use std::str::FromStr;

/// The longest expression that ECS takes.
const LONGEST: usize = 2000;
/// Bytes that a compiled pattern may take.
const PATTERN_SIZE: usize = 1 << 18;

const MATCHES: [&str; 4] = ["=~", "matches", "!~", "not_matches"];

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let fail = |reason: String| ExpressionError { expression: text.to_owned(), reason };
        let mut parser = Parser { tokens: tokens(text).map_err(fail)?, at: 0, depth: 0 };
        let expression = parser.or().map_err(fail)?;
        match parser.tokens.get(parser.at) {
            None => Ok(expression),
            Some(extra) => Err(fail(format!("unexpected '{}'", extra.text()))),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// An operator or a bracket.
    Sign(String),
    Word(String),
    /// In quotation marks: never an operator.
    Quoted(String),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Sign(text) | Self::Word(text) | Self::Quoted(text) => text,
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
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
        let name = self.value()?;
        let operator = match self.tokens.get(self.at) {
            Some(Token::Sign(text) | Token::Word(text)) => text.clone(),
            Some(Token::Quoted(_)) | None => return Err(format!("an operator is missing after '{name}'")),
        };
        self.at += 1;
        let (negated, operator) = match operator.as_str() {
            "!=" | "not_equals" => (true, "=="),
            "not_in" | "!in" => (true, "in"),
            "!exists" | "not_exists" => (true, "exists"),
            "!~" | "not_matches" => (true, "=~"),
            "equals" => (false, "=="),
            "matches" => (false, "=~"),
            other => (false, other),
        };
        let attribute = name.strip_prefix("attribute:").filter(|name| !name.is_empty()).map(str::to_owned);
        let subject = match (name.as_str(), &attribute) {
            ("agentConnected", _) => Some(Subject::AgentConnected),
            ("ec2InstanceId", _) => Some(Subject::Ec2InstanceId),
            ("task:group", _) => Some(Subject::TaskGroup),
            (_, Some(name)) => Some(Subject::Attribute(name.clone())),
            _ => None,
        };
        let ordered = match (name.as_str(), attribute) {
            ("agentVersion", _) => Some(Ordered::AgentVersion),
            ("registeredAt", _) => Some(Ordered::RegisteredAt),
            ("runningTasksCount", _) => Some(Ordered::RunningTasksCount),
            (_, Some(name)) => Some(Ordered::Attribute(name)),
            _ => None,
        };
        if subject.is_none() && ordered.is_none() {
            return Err(format!("'{name}' is not an attribute or another field of an instance"));
        }
        let has_existence = matches!(subject, Some(Subject::Attribute(_) | Subject::TaskGroup));
        let found = match (operator, subject, ordered) {
            ("==", Some(subject), _) => Expression::In(subject, vec![self.value()?]),
            ("in", Some(subject), _) => Expression::In(subject, self.list()?),
            ("=~", Some(subject), _) => Expression::Matches(subject, pattern(&self.value()?)?),
            ("exists", Some(subject), _) if has_existence => Expression::Exists(subject),
            (sign, _, Some(subject)) => {
                let wanted = match sign {
                    "==" => vec![Ordering::Equal],
                    ">" | "greater_than" => vec![Ordering::Greater],
                    ">=" | "greater_than_equal" => vec![Ordering::Greater, Ordering::Equal],
                    "<" | "less_than" => vec![Ordering::Less],
                    "<=" | "less_than_equal" => vec![Ordering::Less, Ordering::Equal],
                    _ => return Err(format!("'{sign}' is not an operator of '{name}'")),
                };
                let value = self.value()?;
                let value = value_of(&subject, &value).ok_or_else(|| format!("'{value}' is no value of '{name}'"))?;
                Expression::Is(subject, wanted, value)
            }
            (sign, ..) => return Err(format!("'{sign}' is not an operator of '{name}'")),
        };
        Ok(if negated { Expression::Not(Box::new(found)) } else { found })
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        self.expect("[")?;
        let mut values = vec![self.value()?];
        while self.accept(&[","]) {
            values.push(self.value()?);
        }
        self.expect("]")?;
        Ok(values)
    }

    /// A word, or what is in quotation marks.
    fn value(&mut self) -> Result<String, String> {
        let token = self.tokens.get(self.at).ok_or("it ends too early")?;
        self.at += 1;
        match token {
            Token::Word(text) | Token::Quoted(text) => Ok(text.clone()),
            Token::Sign(text) => Err(format!("unexpected '{text}'")),
        }
    }

    fn accept(&mut self, any_of: &[&str]) -> bool {
        let found = match self.tokens.get(self.at) {
            Some(Token::Sign(text) | Token::Word(text)) => any_of.contains(&text.as_str()),
            Some(Token::Quoted(_)) | None => false,
        };
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.accept(&[sign]) { Ok(()) } else { Err(format!("'{sign}' is missing")) }
    }
}

fn value_of(subject: &Ordered, text: &str) -> Option<Value> {
    match subject {
        Ordered::Attribute(_) => Some(Value::Text(text.to_owned())),
        Ordered::AgentVersion => version_of(text).map(Value::Version),
        Ordered::RunningTasksCount => text.parse().ok().map(Value::Count),
        Ordered::RegisteredAt => {
            let zoned = text.parse::<jiff::Timestamp>().ok();
            let in_utc = || {
                let date = text.parse::<jiff::civil::DateTime>();
                let date = date.or_else(|_| text.parse::<jiff::civil::Date>().map(|d| d.at(0, 0, 0, 0))).ok()?;
                Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
            };
            Some(Value::Time(zoned.or_else(in_utc)?.as_millisecond()))
        }
    }
}

/// The whole value has to match. ECS takes Java's syntax; what that has beyond this one (looking around,
/// references back) is refused.
fn pattern(text: &str) -> Result<Pattern, String> {
    let built = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(PATTERN_SIZE).build();
    built.map(Pattern).map_err(|_| format!("the pattern '{text}' is not supported"))
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    if text.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} characters"));
    }
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after_match = matches!(out.last(), Some(Token::Sign(t) | Token::Word(t)) if MATCHES.contains(&t.as_str()));
        let length = if matches!(first, '"' | '\'') {
            let end = rest[1..].find(first).ok_or("a quotation mark is not closed")?;
            out.push(Token::Quoted(rest[1..=end].to_owned()));
            end + 2
        } else if after_match {
            let length = pattern_length(rest);
            out.push(Token::Word(rest[..length].to_owned()));
            length.max(first.len_utf8())
        } else if let Some(sign) = sign(rest) {
            out.push(Token::Sign(sign.to_owned()));
            sign.len()
        } else {
            let ends = |(at, c): &(usize, char)| *at > 0 && (c.is_whitespace() || sign(&rest[*at..]).is_some());
            let length = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
            out.push(Token::Word(rest[..length].to_owned()));
            length
        };
        rest = rest[length..].trim_start();
    }
    Ok(out)
}

/// The sign that the text begins with.
fn sign(text: &str) -> Option<&'static str> {
    let word = |word: &str| {
        let rest = text.strip_prefix(word);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || "_-.:".contains(c)))
    };
    let known = ["==", "=~", "!=", "!~", ">=", "<=", "&&", "||", ">", "<", "(", ")", "[", "]", ","];
    known.into_iter().find(|sign| text.starts_with(sign)).or_else(|| {
        let negated = ["!in", "!exists"].into_iter().find(|known| word(known));
        negated.or_else(|| text.starts_with('!').then_some("!"))
    })
}

/// A pattern without quotation marks ends at a space or at a bracket that it did not open.
fn pattern_length(text: &str) -> usize {
    let mut open = 0u32;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' if open == 0 => return at,
            ')' | ']' | '}' => open -= 1,
            '&' | '|' if open == 0 && text[at..].starts_with([c, c].iter().collect::<String>().as_str()) => return at,
            c if c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}
