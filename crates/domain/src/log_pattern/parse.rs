//! From text to conditions.

use super::Mistake;
use super::expression::{Column, Condition, Field, Fields, Step, Test, Wanted, is_part_of_key};
use regex::{Regex, RegexBuilder};

/// Regular expressions of one pattern, as CloudWatch Logs has it.
const MAX_REGULAR: usize = 2;
/// Parentheses within each other.
const MAX_DEPTH: usize = 32;
/// Steps of a selector.
const MAX_STEPS: usize = 64;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    regular: usize,
    /// Fields have names, not selectors.
    named: bool,
}

/// `{ $.a = 1 && … }`.
pub fn json(text: &str) -> Result<Condition, Mistake> {
    let mut parser = Parser { text, at: 1, depth: 0, regular: 0, named: false };
    let condition = parser.any()?;
    parser.expect("}")?;
    parser.end()?;
    Ok(condition)
}

/// `[a, b = 1, …]`.
pub fn fields(text: &str) -> Result<Fields, Mistake> {
    let mut parser = Parser { text, at: 1, depth: 0, regular: 0, named: true };
    let mut fields = Fields::default();
    loop {
        if parser.take("...") {
            if fields.after.replace(Vec::new()).is_some() {
                return Err(Mistake("there may be one ellipsis".into()));
            }
        } else {
            let field = parser.field()?;
            fields.after.as_mut().unwrap_or(&mut fields.before).push(field);
        }
        if !parser.take(",") {
            break;
        }
    }
    parser.expect("]")?;
    parser.end()?;
    Ok(fields)
}

/// `$.a.b[0]`, or `$a`: what a metric filter takes values from.
pub fn reference(text: &str) -> Result<Field, Mistake> {
    let mut parser = Parser { text, at: 0, depth: 0, regular: 0, named: false };
    let field = if text.starts_with("$.") || text.starts_with("$[") {
        parser.selector()?
    } else {
        parser.expect("$")?;
        Field::Name(parser.name()?)
    };
    parser.end()?;
    Ok(field)
}

/// A regular expression with what CloudWatch Logs allows: letters, digits, some symbols, no groups.
pub fn regular(text: &str) -> Result<Regex, Mistake> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " :_#=@/;,-^$?[]{}|\\*+.".contains(c);
    if let Some(odd) = text.chars().find(|c| !allowed(*c)) {
        return Err(Mistake(format!("a regular expression may not have '{odd}'")));
    }
    let built = RegexBuilder::new(text).size_limit(1 << 18).build();
    built.map_err(|_| Mistake("a regular expression cannot be understood".into()))
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, symbol: &str) -> bool {
        self.skip();
        let is = self.rest().starts_with(symbol);
        self.at += if is { symbol.len() } else { 0 };
        is
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.skip();
        let is = self.rest().get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word));
        let ends = is && !self.rest()[word.len()..].starts_with(|c: char| c.is_alphanumeric());
        self.at += if ends { word.len() } else { 0 };
        ends
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Mistake> {
        if self.take(symbol) { Ok(()) } else { Err(self.mistake(&format!("'{symbol}' is expected"))) }
    }

    fn end(&mut self) -> Result<(), Mistake> {
        self.skip();
        if self.rest().is_empty() { Ok(()) } else { Err(self.mistake("something follows the pattern")) }
    }

    fn mistake(&self, what: &str) -> Mistake {
        Mistake(format!("{what} at character {}", self.text[..self.at].chars().count() + 1))
    }

    fn any(&mut self) -> Result<Condition, Mistake> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.mistake("it is nested too deeply"));
        }
        let mut parts = vec![self.all()?];
        while self.take("||") {
            parts.push(self.all()?);
        }
        self.depth -= 1;
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Result<Condition, Mistake> {
        let mut parts = vec![self.one()?];
        while self.take("&&") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Result<Condition, Mistake> {
        if self.take("(") {
            let inner = self.any()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let field = if self.named { Field::Name(self.name()?) } else { self.selector()? };
        let test = self.test()?;
        Ok(Condition::Is(field, test))
    }

    /// A field of a space-delimited pattern: a name alone, or conditions on it.
    fn field(&mut self) -> Result<Column, Mistake> {
        let begin = self.at;
        if !self.take("(") {
            let name = self.name()?;
            self.skip();
            if self.rest().starts_with([',', ']']) {
                return Ok(Column { name, condition: None });
            }
        }
        self.at = begin;
        let condition = self.any()?;
        let name = condition.fields().first().map(|field| field.to_string()[1..].to_owned()).unwrap_or_default();
        Ok(Column { name, condition: Some(condition) })
    }

    fn name(&mut self) -> Result<String, Mistake> {
        self.skip();
        let is_part = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let length = self.rest().find(|c| !is_part(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.mistake("a field's name is expected"));
        }
        let name = self.rest()[..length].to_owned();
        self.at += length;
        Ok(name)
    }

    /// `$.a.b[0].["c d"]`.
    fn selector(&mut self) -> Result<Field, Mistake> {
        self.expect("$")?;
        let mut steps = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with('[') || rest.starts_with(".[") {
                self.at += if rest.starts_with('.') { 2 } else { 1 };
                steps.push(self.bracket()?);
            } else if rest.starts_with('.') {
                self.at += 1;
                let length = self.rest().find(|c| !is_part_of_key(c)).unwrap_or(self.rest().len());
                if length == 0 {
                    return Err(self.mistake("a property's name is expected"));
                }
                steps.push(Step::Key(self.rest()[..length].to_owned()));
                self.at += length;
            } else {
                break;
            }
            if steps.len() > MAX_STEPS {
                return Err(self.mistake("the selector is too long"));
            }
        }
        if steps.is_empty() {
            Err(self.mistake("a selector such as $.name is expected"))
        } else {
            Ok(Field::Selector(steps))
        }
    }

    /// After the bracket: an index, `*`, or a quoted name.
    fn bracket(&mut self) -> Result<Step, Mistake> {
        let end = |step| move |parser: &mut Self| parser.expect("]").map(|()| step);
        if self.take("*") {
            return end(Step::Each)(self);
        }
        for quote in ['"', '\''] {
            if let Some(quoted) = self.rest().strip_prefix(quote) {
                let length = quoted.find(quote).ok_or_else(|| self.mistake("a quotation mark is not closed"))?;
                self.at += length + 2;
                return end(Step::Key(quoted[..length].to_owned()))(self);
            }
        }
        let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        let index = self.rest()[..digits].parse().map_err(|_| self.mistake("an index is expected"))?;
        self.at += digits;
        end(Step::Index(index))(self)
    }

    fn test(&mut self) -> Result<Test, Mistake> {
        if !self.named {
            if self.take_word("IS") {
                let kinds = [("NULL", Test::Null), ("TRUE", Test::True), ("FALSE", Test::False)];
                for (word, test) in kinds {
                    if self.take_word(word) {
                        return Ok(test);
                    }
                }
                return Err(self.mistake("NULL, TRUE or FALSE is expected"));
            }
            if self.take_word("NOT") {
                return if self.take_word("EXISTS") {
                    Ok(Test::Missing)
                } else {
                    Err(self.mistake("EXISTS is expected"))
                };
            }
        }
        // Longer ones first.
        for (symbol, test) in [
            ("<=", Test::LessOrEqual as fn(f64) -> Test),
            (">=", Test::GreaterOrEqual),
            ("<", Test::Less),
            (">", Test::Greater),
        ] {
            if self.take(symbol) {
                let word = self.word()?;
                let number = word.parse().ok().filter(|number: &f64| number.is_finite());
                return number.map(test).ok_or_else(|| self.mistake("a number is expected"));
            }
        }
        if self.take("!=") {
            return self.wanted().map(Test::NotEqual);
        }
        self.expect("=")?;
        self.wanted().map(Test::Equal)
    }

    fn wanted(&mut self) -> Result<Wanted, Mistake> {
        self.skip();
        let rest = self.rest();
        if let Some(quoted) = rest.strip_prefix('"') {
            let length = quoted.find('"').ok_or_else(|| self.mistake("a quotation mark is not closed"))?;
            self.at += length + 2;
            return Ok(pieces(&quoted[..length]));
        }
        if let Some(expression) = rest.strip_prefix('%') {
            let length = expression.find('%').ok_or_else(|| self.mistake("a per cent sign is missing"))?;
            self.regular += 1;
            if self.regular > MAX_REGULAR {
                return Err(self.mistake("there may be two regular expressions"));
            }
            self.at += length + 2;
            return regular(&expression[..length]).map(Wanted::Regular);
        }
        let word = self.word()?;
        match word.parse::<f64>() {
            Ok(number) if number.is_finite() && word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
                Ok(Wanted::Number(number))
            }
            _ => Ok(pieces(word)),
        }
    }

    /// A value without quotation marks.
    fn word(&mut self) -> Result<&'a str, Mistake> {
        self.skip();
        let rest = self.rest();
        let ends = |c: char| c.is_whitespace() || ",)]}(\"&|".contains(c);
        let length = rest.find(ends).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.mistake("a value is expected"));
        }
        self.at += length;
        Ok(&rest[..length])
    }
}

fn pieces(text: &str) -> Wanted {
    Wanted::Text(text.split('*').map(str::to_owned).collect())
}
