//! Patterns of policies: text with `*`, `?` and policy variables such as `${aws:username}`.

use super::context::Context;
use std::borrow::Cow;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    /// Without wildcards and variables: the text.
    literal: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    /// Any number of characters.
    Star,
    /// One character.
    Question,
    Variable {
        /// Lower case.
        key: String,
        default: Option<String>,
    },
}

/// What a pattern is made of, once its variables are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Star,
    Question,
}

impl Glob {
    /// With wildcards; with `variables`, `${…}` stands for a value of the request (from version 2012-10-17 on).
    pub fn new(pattern: &str, variables: bool) -> Self {
        Self::compile(pattern, true, variables)
    }

    /// Without wildcards.
    pub fn exact(text: &str, variables: bool) -> Self {
        Self::compile(text, false, variables)
    }

    fn compile(pattern: &str, wildcards: bool, variables: bool) -> Self {
        let (mut tokens, mut text, mut rest) = (Vec::new(), String::new(), pattern);
        while let Some(c) = rest.chars().next() {
            let variable = match rest.strip_prefix("${") {
                Some(inner) if variables => inner.split_once('}'),
                _ => None,
            };
            if let Some((inner, after)) = variable {
                rest = after;
                match inner {
                    // These three stand for themselves.
                    "*" | "?" | "$" => text.push_str(inner),
                    _ => {
                        flush(&mut text, &mut tokens);
                        tokens.push(variable_token(inner));
                    }
                }
                continue;
            }
            rest = &rest[c.len_utf8()..];
            match c {
                '*' if wildcards => {
                    flush(&mut text, &mut tokens);
                    // Several in a row are one; matching stays linear in the number of those that count.
                    if tokens.last() != Some(&Token::Star) {
                        tokens.push(Token::Star);
                    }
                }
                '?' if wildcards => {
                    flush(&mut text, &mut tokens);
                    tokens.push(Token::Question);
                }
                c => text.push(c),
            }
        }
        flush(&mut text, &mut tokens);
        let literal = match &tokens[..] {
            [] => Some(String::new()),
            [Token::Text(text)] => Some(text.clone()),
            _ => None,
        };
        Self { tokens, literal }
    }

    /// Condition keys whose values stand in the pattern, in lower case.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Variable { key, .. } => Some(key.as_str()),
            _ => None,
        })
    }

    /// Whether it is `*`.
    pub fn is_everything(&self) -> bool {
        self.tokens == [Token::Star]
    }

    /// Whether the whole text matches. A variable without a value matches nothing.
    pub fn matches(&self, text: &str, context: &Context) -> bool {
        match &self.literal {
            Some(literal) => literal == text,
            None => self.resolve(context).is_some_and(|pieces| pieces_match(&pieces, text)),
        }
    }

    /// A pattern of actions: without variables, and the same whatever the case.
    pub fn action(pattern: &str) -> Self {
        Self::new(&pattern.to_ascii_lowercase(), false)
    }

    /// Whether an action such as `ecs:RunTask` is one of an [`action`](Self::action) pattern.
    pub fn matches_action(&self, action: &str) -> bool {
        if let Some(literal) = &self.literal {
            return literal.eq_ignore_ascii_case(action);
        }
        // Most patterns are of another service: that is seen without any copy.
        if let Some(Token::Text(first)) = self.tokens.first()
            && !action.get(..first.len()).is_some_and(|start| start.eq_ignore_ascii_case(first))
        {
            return false;
        }
        self.matches(&action.to_ascii_lowercase(), &Context::default())
    }

    /// The text with its variables' values, where there are no wildcards.
    pub fn text<'a>(&'a self, context: &'a Context) -> Option<Cow<'a, str>> {
        if let Some(literal) = &self.literal {
            return Some(Cow::Borrowed(literal));
        }
        let mut text = String::new();
        for piece in self.resolve(context)? {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Star | Piece::Question => return None,
            }
        }
        Some(Cow::Owned(text))
    }

    /// As [`matches`](Self::matches), but each of the six fields of an ARN by itself: a `*` in one does not
    /// reach into the next. A pattern with fewer fields that ends in `*` stands for all that follow.
    pub fn matches_arn(&self, arn: &str, context: &Context) -> bool {
        if let Some(literal) = &self.literal {
            return literal == arn;
        }
        let Some(pieces) = self.resolve(context) else { return false };
        let mut fields: Vec<Vec<Piece<'_>>> = vec![Vec::new()];
        for piece in &pieces {
            let Piece::Text(mut text) = *piece else {
                fields.last_mut().expect("there is one").push(*piece);
                continue;
            };
            while fields.len() < 6
                && let Some((before, after)) = text.split_once(':')
            {
                if !before.is_empty() {
                    fields.last_mut().expect("there is one").push(Piece::Text(before));
                }
                fields.push(Vec::new());
                text = after;
            }
            if !text.is_empty() {
                fields.last_mut().expect("there is one").push(Piece::Text(text));
            }
        }
        if fields.len() < 6 {
            return pieces.last() == Some(&Piece::Star) && pieces_match(&pieces, arn);
        }
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        parts.len() == 6 && fields.iter().zip(parts).all(|(field, part)| pieces_match(field, part))
    }

    fn resolve<'a>(&'a self, context: &'a Context) -> Option<Vec<Piece<'a>>> {
        self.tokens
            .iter()
            .map(|token| {
                Some(match token {
                    Token::Text(text) => Piece::Text(text),
                    Token::Star => Piece::Star,
                    Token::Question => Piece::Question,
                    // Wildcards in a value stand for themselves; a key of several values has no one value.
                    Token::Variable { key, default } => Piece::Text(match context.get(key) {
                        Some([value]) => value,
                        _ => default.as_deref()?,
                    }),
                })
            })
            .collect()
    }
}

fn flush(text: &mut String, tokens: &mut Vec<Token>) {
    if !text.is_empty() {
        tokens.push(Token::Text(std::mem::take(text)));
    }
}

/// `aws:PrincipalTag/team` or `aws:PrincipalTag/team, 'none'`.
fn variable_token(inner: &str) -> Token {
    let (key, default) = match inner.split_once(',') {
        None => (inner, None),
        Some((key, default)) => (key, Some(default.trim().trim_matches('\'').to_owned())),
    };
    Token::Variable { key: key.trim().to_ascii_lowercase(), default }
}

/// Greedy from the last star: linear for one star, and never worse than text times pattern.
fn pieces_match(pieces: &[Piece<'_>], text: &str) -> bool {
    let (mut piece, mut at) = (0, 0);
    // The piece after the last star, and where it was tried last.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pieces.get(piece) {
            None if at == text.len() => return true,
            None => None,
            Some(Piece::Star) => {
                retry = Some((piece + 1, at));
                piece += 1;
                continue;
            }
            Some(Piece::Text(part)) => text[at..].starts_with(part).then_some(part.len()),
            Some(Piece::Question) => text[at..].chars().next().map(char::len_utf8),
        };
        match (step, retry) {
            (Some(length), _) => {
                piece += 1;
                at += length;
            }
            (None, Some((after, tried))) => {
                let Some(c) = text[tried..].chars().next() else { return false };
                retry = Some((after, tried + c.len_utf8()));
                (piece, at) = (after, tried + c.len_utf8());
            }
            (None, None) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
            Some((c, rest)) => text.split_first().is_some_and(|(t, texts)| (*c == '?' || c == t) && naive(rest, texts)),
        }
    }

    #[test]
    fn variables_stand_for_values_of_the_request() {
        let mut context = Context::default();
        context.set("aws:username", "a*c");
        context.add("aws:TagKeys", "x");
        context.add("aws:TagKeys", "y");
        let matches = |pattern: &str, text: &str| Glob::new(pattern, true).matches(text, &context);
        assert!(matches("home/${aws:UserName}/*", "home/a*c/x"));
        assert!(!matches("home/${aws:username}/*", "home/abc/x"), "a value's wildcard is no wildcard");
        assert!(!matches("${aws:userid}", "${aws:userid}"), "what has no value matches nothing");
        assert!(!matches("${aws:TagKeys}", "x"));
        assert!(matches("${aws:userid, 'none'}", "none"));
        assert!(matches("${*}${?}${$}", "*?$") && !matches("${*}", "x"));
        assert!(matches("${open", "${open"));
        assert!(Glob::new("${aws:username}", false).matches("${aws:username}", &context));
        assert!(Glob::exact("a*", true).matches("a*", &context) && !Glob::exact("a*", true).matches("ab", &context));
        assert!(Glob::action("ecs:Run*").matches_action("ECS:runTASK"));
    }

    #[test]
    fn each_field_of_an_arn_is_compared_by_itself() {
        let context = Context::default();
        let arn = "arn:aws:ecs:us-east-1:000000000000:task/demo/1";
        for (pattern, expected) in [
            ("arn:aws:ecs:*:*:task/*", true),
            ("arn:aws:ecs:us-east-?:000000000000:task/demo/?", true),
            ("arn:aws:ecs:*", true),
            ("*", true),
            ("arn:aws:ecs:*:task/demo/1", false),
            ("arn:aws:ecs:*:task/*:*:*", false),
            ("arn:aws:ecs:us-east-1:000000000000:task/demo/2", false),
            ("arn:aws:*:us-east-1:000000000000:*", true),
        ] {
            assert_eq!(Glob::new(pattern, true).matches_arn(arn, &context), expected, "{pattern}");
        }
        assert!(!Glob::new("arn:aws:ecs:*:*:*", true).matches_arn("*", &context));
        let secret = "arn:aws:secretsmanager:us-east-1:0:secret:a:b";
        assert!(Glob::new("arn:aws:secretsmanager:*:0:secret:*:b", true).matches_arn(secret, &context));
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_definition(pattern in "[ab*?é]{0,8}", text in "[abé]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = naive(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Glob::new(&pattern, true).matches(&text, &Context::default()), expected);
        }
    }
}
