//! From text to an expression.

use super::{Annotation, Compare, Expression, Flag, Mistake, NumberKey, TextKey, Which};

/// Parentheses, braces and negations within each other.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(f64),
    Symbol(&'static str),
}

/// The expression of a group, by its name or ARN.
type Groups<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Longer ones first.
const SYMBOLS: [&str; 16] = ["!=", "<=", ">=", "=", "<", ">", "!", "(", ")", "{", "}", "[", "]", ",", ":", ";"];

struct Parser<'a> {
    /// Each with the character at which it begins, from 1.
    tokens: Vec<(Token, usize)>,
    next: usize,
    end: usize,
    depth: usize,
    /// Between the braces of `service()` or `edge()`, where there is no other one: each would be asked of each.
    inside: bool,
    group: Option<&'a Groups<'a>>,
}

pub fn expression(text: &str, group: &Groups<'_>) -> Result<Expression, Mistake> {
    whole(text, Some(group))
}

/// `group` is absent in the expression of a group.
fn whole(text: &str, group: Option<&Groups<'_>>) -> Result<Expression, Mistake> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(Expression::All(Vec::new()));
    }
    let mut parser = Parser { tokens, next: 0, end: text.chars().count() + 1, depth: 0, inside: false, group };
    let expression = parser.any()?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.mistake("this does not belong here")),
    }
}

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Mistake> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    while at < chars.len() {
        let (c, begin) = (chars[at], at);
        if c.is_whitespace() {
            at += 1;
        } else if c == '"' || c == '\'' {
            let mut value = String::new();
            at += 1;
            loop {
                match chars.get(at) {
                    None => return Err(Mistake { message: "a quotation mark is not closed".into(), at: begin + 1 }),
                    Some('\\') if chars.get(at + 1).is_some_and(|next| *next == c || *next == '\\') => {
                        value.push(chars[at + 1]);
                        at += 2;
                    }
                    Some(end) if *end == c => break,
                    Some(other) => {
                        value.push(*other);
                        at += 1;
                    }
                }
            }
            at += 1;
            found.push((Token::Text(value), begin + 1));
        } else if is_word(c) {
            while at < chars.len() && is_word(chars[at]) {
                at += 1;
            }
            let word: String = chars[begin..at].iter().collect();
            let is_number = c.is_ascii_digit() || c == '-' || c == '.';
            let token = match word.parse::<f64>() {
                Ok(number) if is_number && number.is_finite() => Token::Number(number),
                _ => Token::Word(word),
            };
            found.push((token, begin + 1));
        } else {
            let here: String = chars[at..chars.len().min(at + 2)].iter().collect();
            let symbol = SYMBOLS.iter().find(|symbol| here.starts_with(**symbol));
            let Some(symbol) = symbol else {
                return Err(Mistake { message: format!("'{c}' does not belong here"), at: at + 1 });
            };
            at += symbol.len();
            found.push((Token::Symbol(symbol), begin + 1));
        }
    }
    Ok(found)
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { message: message.into(), at: self.tokens.get(self.next).map_or(self.end, |(_, at)| *at) }
    }

    fn take(&mut self, symbol: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol);
        self.next += usize::from(is);
        is
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        self.next += usize::from(is);
        is
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Mistake> {
        if self.take(symbol) { Ok(()) } else { Err(self.mistake(format!("'{symbol}' is expected"))) }
    }

    fn any(&mut self) -> Result<Expression, Mistake> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.mistake("the expression is nested too deeply"));
        }
        let mut parts = vec![self.all()?];
        while self.take_word("OR") {
            parts.push(self.all()?);
        }
        self.depth -= 1;
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    /// What stands side by side holds together, with or without AND.
    fn all(&mut self) -> Result<Expression, Mistake> {
        let mut parts = vec![self.one()?];
        loop {
            let joined = self.take_word("AND");
            let goes_on = match self.peek() {
                Some(Token::Word(word)) => !word.eq_ignore_ascii_case("OR"),
                Some(Token::Symbol(symbol)) => ["!", "("].contains(symbol),
                _ => false,
            };
            if !joined && !goes_on {
                return Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) });
            }
            parts.push(self.one()?);
        }
    }

    fn one(&mut self) -> Result<Expression, Mistake> {
        if self.take("!") || self.take_word("NOT") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(self.mistake("the expression is nested too deeply"));
            }
            let inner = self.one()?;
            self.depth -= 1;
            return Ok(Expression::Not(Box::new(inner)));
        }
        if self.take("(") {
            let inner = self.any()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let Some(Token::Word(word)) = self.peek().cloned() else {
            return Err(self.mistake("a keyword is expected"));
        };
        let keyword = word.to_ascii_lowercase();
        if let Some(flag) = flag(&keyword) {
            self.next += 1;
            return self.flag(flag);
        }
        if let Some(key) = number_key(&keyword) {
            self.next += 1;
            let compare = self.compare(&NUMBERS)?;
            let Some(Token::Number(wanted)) = self.peek().cloned() else {
                return Err(self.mistake("a number is expected"));
            };
            self.next += 1;
            return Ok(Expression::Number(key, compare, wanted));
        }
        if let Some(key) = text_key(&keyword) {
            self.next += 1;
            if !self.compares() {
                return Ok(Expression::Has(key));
            }
            let compare = self.compare(&TEXTS)?;
            return Ok(Expression::Text(key, compare, self.text()?));
        }
        if self.inside && ["service", "edge", "group.name", "group.arn"].contains(&keyword.as_str()) {
            return Err(self.mistake(format!("{word} cannot stand within service() or edge()")));
        }
        match keyword.as_str() {
            "annotation" => {
                self.next += 1;
                self.expect("[")?;
                let key = match self.peek().cloned() {
                    Some(Token::Word(key) | Token::Text(key)) => key,
                    _ => return Err(self.mistake("the annotation's key is expected")),
                };
                self.next += 1;
                self.expect("]")?;
                self.annotation(key)
            }
            _ if keyword.starts_with("annotation.") && keyword.len() > 11 => {
                self.next += 1;
                self.annotation(word[11..].to_owned())
            }
            "service" => {
                self.next += 1;
                self.expect("(")?;
                let which = if self.take(")") { Which::default() } else { self.last_which()? };
                Ok(Expression::Service(which, self.braces()?))
            }
            "edge" => {
                self.next += 1;
                self.expect("(")?;
                let (mut from, mut to) = (Which::default(), Which::default());
                if !self.take(")") {
                    from = self.which()?;
                    self.expect(",")?;
                    to = self.last_which()?;
                }
                Ok(Expression::Edge(from, to, self.braces()?))
            }
            "group.name" | "group.arn" => {
                self.next += 1;
                self.compare(&[Compare::Equal])?;
                let at = self.next;
                let name = self.text()?;
                let found = self.group.and_then(|group| group(&name));
                match found.map(|text| whole(&text, None)) {
                    Some(Ok(inner)) => Ok(inner),
                    Some(Err(_)) | None => {
                        self.next = at;
                        Err(self.mistake(format!("there is no group {name}")))
                    }
                }
            }
            _ => Err(self.mistake(format!("the keyword {word} is not known"))),
        }
    }

    fn flag(&mut self, flag: Flag) -> Result<Expression, Mistake> {
        if !self.compares() {
            return Ok(Expression::Flag(flag));
        }
        let compare = self.compare(&[Compare::Equal, Compare::NotEqual])?;
        let wanted = match self.peek() {
            Some(Token::Word(word) | Token::Text(word)) if word.eq_ignore_ascii_case("true") => true,
            Some(Token::Word(word) | Token::Text(word)) if word.eq_ignore_ascii_case("false") => false,
            _ => return Err(self.mistake("true or false is expected")),
        };
        self.next += 1;
        let is = Expression::Flag(flag);
        Ok(if wanted == (compare == Compare::Equal) { is } else { Expression::Not(Box::new(is)) })
    }

    fn annotation(&mut self, key: String) -> Result<Expression, Mistake> {
        if !self.compares() {
            return Ok(Expression::Annotation(key, None));
        }
        let at = self.next;
        let compare = self.compare(&[NUMBERS.as_slice(), &TEXTS].concat())?;
        let wanted = match self.peek().cloned() {
            Some(Token::Text(text)) => Annotation::Text(text),
            Some(Token::Number(number)) => Annotation::Number(number),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Annotation::Flag(true),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Annotation::Flag(false),
            _ => return Err(self.mistake("a text, a number, true or false is expected")),
        };
        let fits = match wanted {
            Annotation::Text(_) => TEXTS.contains(&compare),
            Annotation::Number(_) => NUMBERS.contains(&compare),
            Annotation::Flag(_) => [Compare::Equal, Compare::NotEqual].contains(&compare),
        };
        if !fits {
            self.next = at;
            return Err(self.mistake("this operator is not for values of this type"));
        }
        self.next += 1;
        Ok(Expression::Annotation(key, Some((compare, wanted))))
    }

    /// An operator follows.
    fn compares(&self) -> bool {
        matches!(self.peek(), Some(token) if operator(token).is_some())
    }

    fn compare(&mut self, of: &[Compare]) -> Result<Compare, Mistake> {
        let found = self.peek().and_then(operator).filter(|compare| of.contains(compare));
        let found = found.ok_or_else(|| self.mistake("an operator of this keyword is expected"))?;
        self.next += 1;
        Ok(found)
    }

    fn text(&mut self) -> Result<String, Mistake> {
        let Some(Token::Text(text)) = self.peek().cloned() else {
            return Err(self.mistake("a text in quotation marks is expected"));
        };
        self.next += 1;
        Ok(text)
    }

    fn last_which(&mut self) -> Result<Which, Mistake> {
        let which = self.which()?;
        self.expect(")")?;
        Ok(which)
    }

    /// `"name"` or `id(name: "…", type: "…", account.id: "…")`.
    fn which(&mut self) -> Result<Which, Mistake> {
        if !self.take_word("id") {
            return Ok(Which { name: Some(self.text()?), ..Which::default() });
        }
        let mut which = Which::default();
        self.expect("(")?;
        loop {
            let Some(Token::Word(part)) = self.peek().cloned() else {
                return Err(self.mistake("name, type or account.id is expected"));
            };
            let into = match part.to_ascii_lowercase().as_str() {
                "name" => &mut which.name,
                "type" => &mut which.kind,
                "account.id" => &mut which.account,
                _ => return Err(self.mistake("name, type or account.id is expected")),
            };
            self.next += 1;
            self.expect(":")?;
            *into = Some(self.text()?);
            if !self.take(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(which)
    }

    fn braces(&mut self) -> Result<Option<Box<Expression>>, Mistake> {
        if !self.take("{") {
            return Ok(None);
        }
        self.inside = true;
        let inner = self.any()?;
        self.inside = false;
        self.expect("}")?;
        Ok(Some(Box::new(inner)))
    }
}

const NUMBERS: [Compare; 6] =
    [Compare::Equal, Compare::NotEqual, Compare::Less, Compare::LessOrEqual, Compare::Greater, Compare::GreaterOrEqual];
const TEXTS: [Compare; 5] =
    [Compare::Equal, Compare::NotEqual, Compare::Contains, Compare::BeginsWith, Compare::EndsWith];

fn operator(token: &Token) -> Option<Compare> {
    Some(match token {
        Token::Symbol("=") => Compare::Equal,
        Token::Symbol("!=") => Compare::NotEqual,
        Token::Symbol("<") => Compare::Less,
        Token::Symbol("<=") => Compare::LessOrEqual,
        Token::Symbol(">") => Compare::Greater,
        Token::Symbol(">=") => Compare::GreaterOrEqual,
        Token::Word(word) => match word.to_ascii_uppercase().as_str() {
            "CONTAINS" => Compare::Contains,
            "BEGINSWITH" => Compare::BeginsWith,
            "ENDSWITH" => Compare::EndsWith,
            _ => return None,
        },
        _ => return None,
    })
}

fn flag(word: &str) -> Option<Flag> {
    Some(match word {
        "ok" => Flag::Ok,
        "error" => Flag::Error,
        "throttle" => Flag::Throttle,
        "fault" => Flag::Fault,
        "partial" => Flag::Partial,
        "inferred" => Flag::Inferred,
        "root" => Flag::Root,
        "remote" => Flag::Remote,
        _ => return None,
    })
}

fn number_key(word: &str) -> Option<NumberKey> {
    Some(match word {
        "responsetime" => NumberKey::ResponseTime,
        "duration" => NumberKey::Duration,
        "http.status" => NumberKey::Status,
        _ => return None,
    })
}

fn text_key(word: &str) -> Option<TextKey> {
    Some(match word {
        "http.url" => TextKey::Url,
        "http.method" => TextKey::Method,
        "http.useragent" => TextKey::UserAgent,
        "http.clientip" => TextKey::ClientIp,
        "user" => TextKey::User,
        "name" => TextKey::Name,
        "type" => TextKey::Kind,
        "availabilityzone" => TextKey::AvailabilityZone,
        "instance.id" => TextKey::InstanceId,
        "resource.arn" => TextKey::ResourceArn,
        _ => return None,
    })
}
