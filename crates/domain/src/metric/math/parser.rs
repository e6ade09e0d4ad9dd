//! The text of an expression.

use super::{FUNCTIONS, Function, MathError, Node, Operator};

/// What a whole text stands for.
pub(super) fn node(text: &str) -> Result<Node, MathError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let node = parser.expression(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(token) => Err(MathError(format!("unexpected {token:?} in the expression"))),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Word(String),
    Text(String),
    Sign(&'static str),
}

const SIGNS: &[&str] =
    &["&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "^", "(", ")", "[", "]", ","];

fn tokens(text: &str) -> Result<Vec<Token>, MathError> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = if first.is_ascii_digit() || first == '.' {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number = rest[..end].parse().map_err(|_| MathError(format!("{} is no number", &rest[..end])))?;
            found.push(Token::Number(number));
            end
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(Token::Word(rest[..end].to_owned()));
            end
        } else if first == '"' || first == '\'' {
            let end = rest[1..].find(first).ok_or_else(|| MathError("a text is not closed".into()))?;
            found.push(Token::Text(rest[1..=end].to_owned()));
            end + 2
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| MathError(format!("unexpected {first:?} in the expression")))?;
            found.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[taken..].trim_start();
    }
    Ok(found)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

/// Brackets within brackets.
const DEEPEST: usize = 50;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Sign(s)) if *s == sign);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, sign: &str) -> Result<(), MathError> {
        if self.take(sign) { Ok(()) } else { Err(MathError(format!("{sign:?} is missing in the expression"))) }
    }

    fn operator(&self) -> Option<Operator> {
        Some(match self.peek()? {
            Token::Sign("+") => Operator::Add,
            Token::Sign("-") => Operator::Subtract,
            Token::Sign("*") => Operator::Multiply,
            Token::Sign("/") => Operator::Divide,
            Token::Sign("^") => Operator::Power,
            Token::Sign("==") => Operator::Equal,
            Token::Sign("!=") => Operator::NotEqual,
            Token::Sign("<") => Operator::Less,
            Token::Sign("<=") => Operator::LessOrEqual,
            Token::Sign(">") => Operator::Greater,
            Token::Sign(">=") => Operator::GreaterOrEqual,
            Token::Sign("&&") => Operator::And,
            Token::Sign("||") => Operator::Or,
            Token::Word(word) if word == "AND" => Operator::And,
            Token::Word(word) if word == "OR" => Operator::Or,
            _ => return None,
        })
    }

    fn expression(&mut self, least: u8) -> Result<Node, MathError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(MathError("the expression is nested too deeply".into()));
        }
        let mut left = self.operand()?;
        while let Some(operator) = self.operator().filter(|o| o.binding() > least) {
            self.at += 1;
            // A power binds to the right, the others to the left.
            let least = operator.binding() - u8::from(operator == Operator::Power);
            let right = self.expression(least)?;
            left = Node::Binary(operator, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<Node, MathError> {
        if self.take("-") {
            return Ok(Node::Negate(Box::new(self.expression(6)?)));
        }
        if self.take("(") {
            let inner = self.expression(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("[") {
            return Ok(Node::Array(self.list("]")?));
        }
        let token = self.peek().cloned().ok_or_else(|| MathError("the expression ends too early".into()))?;
        self.at += 1;
        match token {
            Token::Number(n) => Ok(Node::Number(n)),
            Token::Word(word) if self.take("(") => self.call(&word),
            Token::Word(word) if word == "REPEAT" => Ok(Node::Repeat),
            Token::Word(word) if word.starts_with(|c: char| c.is_ascii_lowercase()) => Ok(Node::Id(word)),
            other => Err(MathError(format!("unexpected {other:?} in the expression"))),
        }
    }

    fn call(&mut self, name: &str) -> Result<Node, MathError> {
        if name == "METRICS" {
            let part = match self.peek().cloned() {
                Some(Token::Text(part)) => {
                    self.at += 1;
                    part
                }
                _ => String::new(),
            };
            self.expect(")")?;
            return Ok(Node::Metrics(part));
        }
        let function = Function::parse(name).ok_or_else(|| {
            MathError(format!("the function {name} is not supported; those that are: {}", FUNCTIONS.join(", ")))
        })?;
        let arguments = self.list(")")?;
        if !function.arity().contains(&arguments.len()) {
            return Err(MathError(format!("{name} does not take {} arguments", arguments.len())));
        }
        Ok(Node::Call(function, arguments))
    }

    fn list(&mut self, end: &str) -> Result<Vec<Node>, MathError> {
        let mut parts = Vec::new();
        if self.take(end) {
            return Ok(parts);
        }
        loop {
            parts.push(self.expression(0)?);
            if self.take(end) {
                return Ok(parts);
            }
            self.expect(",")?;
        }
    }
}
