//! The wildcard patterns of listener rules: `*` is any run of characters, `?` exactly one.

/// A compiled pattern. Matching takes at most `pattern × text` steps whatever the pattern, and the
/// literal part before the first wildcard is compared first, which settles most rules at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
    /// Number of leading tokens that are literals.
    literal_prefix: usize,
    ignore_case: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Run,
}

impl Pattern {
    /// A case-sensitive pattern: `path-pattern`.
    pub fn case_sensitive(text: &str) -> Self {
        Self::compile(text, false, false)
    }

    /// A pattern that ignores ASCII case: `host-header`, `http-header`.
    pub fn ignoring_case(text: &str) -> Self {
        Self::compile(text, true, false)
    }

    /// A pattern that ignores ASCII case, in which `\` makes the next character literal: `query-string`.
    pub fn escaped(text: &str) -> Self {
        Self::compile(text, true, true)
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        let prefix = self.literal_prefix;
        if text.len() < prefix {
            return false;
        }
        let same = |token: &Token, byte: &u8| matches!(token, Token::Byte(b) if self.equal(*b, *byte));
        if !self.tokens[..prefix].iter().zip(text).all(|(t, b)| same(t, b)) {
            return false;
        }
        self.matches_rest(prefix, text)
    }

    /// Whether some text matches both, byte by byte as they are compiled.
    pub fn intersects(&self, other: &Self) -> bool {
        let (a, b) = (&self.tokens, &other.tokens);
        // reach[j]: some text matches the first i tokens of one and the first j of the other.
        let mut reach = vec![false; b.len() + 1];
        for i in 0..=a.len() {
            let above = reach.clone();
            for j in 0..=b.len() {
                let one = i.checked_sub(1).map(|i| a[i]);
                let two = j.checked_sub(1).map(|j| b[j]);
                let both = match (one, two) {
                    (Some(Token::Byte(x)), Some(Token::Byte(y))) => x == y && above[j - 1],
                    (Some(Token::Byte(_) | Token::One), Some(Token::Byte(_) | Token::One)) => above[j - 1],
                    _ => false,
                };
                // A run takes nothing, or one more character of the other.
                let run_one = one == Some(Token::Run) && (above[j] || (j > 0 && reach[j - 1]));
                let run_two = two == Some(Token::Run) && (reach[j - 1] || (i > 0 && above[j]));
                reach[j] = (i == 0 && j == 0) || both || run_one || run_two;
            }
        }
        reach[b.len()]
    }

    /// What every text that matches begins with; in lower case where case is ignored.
    pub fn beginning(&self) -> Vec<u8> {
        self.tokens.iter().map_while(Token::byte).collect()
    }

    /// What every text that matches ends with; in lower case where case is ignored.
    pub fn end(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.tokens.iter().rev().map_while(Token::byte).collect();
        bytes.reverse();
        bytes
    }

    /// The one text that matches; `None` if there are wildcards.
    pub fn literal(&self) -> Option<Vec<u8>> {
        (self.literal_prefix == self.tokens.len()).then(|| self.beginning())
    }

    /// Two-pointer matching: only the last `*` is ever gone back to, since an earlier one can take
    /// nothing that the last one could not.
    fn matches_rest(&self, start: usize, text: &[u8]) -> bool {
        let (mut p, mut t) = (start, start);
        let mut resume: Option<(usize, usize)> = None;
        while t < text.len() {
            match self.tokens.get(p) {
                Some(Token::Run) => {
                    resume = Some((p + 1, t));
                    p += 1;
                    continue;
                }
                Some(Token::One) => {
                    p += 1;
                    t += 1;
                    continue;
                }
                Some(Token::Byte(b)) if self.equal(*b, text[t]) => {
                    p += 1;
                    t += 1;
                    continue;
                }
                Some(Token::Byte(_)) | None => {}
            }
            let Some((after, from)) = resume else { return false };
            p = after;
            t = from + 1;
            resume = Some((after, t));
        }
        self.tokens[p..].iter().all(|token| *token == Token::Run)
    }

    fn equal(&self, pattern: u8, byte: u8) -> bool {
        pattern == byte || (self.ignore_case && pattern == byte.to_ascii_lowercase())
    }

    fn compile(text: &str, ignore_case: bool, escapes: bool) -> Self {
        let mut tokens = Vec::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let literal = |b: u8| Token::Byte(if ignore_case { b.to_ascii_lowercase() } else { b });
            tokens.push(match byte {
                b'*' => Token::Run,
                b'?' => Token::One,
                b'\\' if escapes => literal(bytes.next().unwrap_or(b'\\')),
                other => literal(other),
            });
        }
        tokens.dedup_by(|a, b| *a == Token::Run && *b == Token::Run);
        let literal_prefix = tokens.iter().take_while(|t| matches!(t, Token::Byte(_))).count();
        Self { tokens, literal_prefix, ignore_case }
    }
}

impl Token {
    fn byte(&self) -> Option<u8> {
        match self {
            Self::Byte(byte) => Some(*byte),
            Self::One | Self::Run => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// The definition itself, exponential and obviously right.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), _) => naive(&pattern[1..], text) || (!text.is_empty() && naive(pattern, &text[1..])),
            (Some(b'?'), Some(_)) => naive(&pattern[1..], &text[1..]),
            (Some(p), Some(t)) if p == t => naive(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn agrees_with_the_naive_matcher(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(
                Pattern::case_sensitive(&pattern).matches(text.as_bytes()),
                naive(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn patterns_intersect_if_a_text_matches_both(one in "[ab*?]{0,5}", other in "[ab*?]{0,5}") {
            let (a, b) = (Pattern::case_sensitive(&one), Pattern::case_sensitive(&other));
            // With two letters, a text that matches both needs no more letters than both have tokens.
            let mut texts = vec![String::new()];
            for length in 0..=8 {
                let begin = texts.iter().position(|text| text.len() == length).unwrap_or(0);
                let longer: Vec<_> = texts[begin..].iter().flat_map(|t| [format!("{t}a"), format!("{t}b")]).collect();
                texts.extend(longer);
            }
            let some = texts.iter().any(|text| a.matches(text.as_bytes()) && b.matches(text.as_bytes()));
            if some || one.len() + other.len() <= 8 {
                prop_assert_eq!(a.intersects(&b), some, "{} and {}", one, other);
            }
            prop_assert_eq!(a.intersects(&b), b.intersects(&a));
        }

        #[test]
        fn a_text_without_wildcards_matches_itself_alone(text in "[a-z/]{0,12}", other in "[a-z/]{0,12}") {
            let pattern = Pattern::case_sensitive(&text);
            prop_assert!(pattern.matches(text.as_bytes()));
            prop_assert_eq!(pattern.matches(other.as_bytes()), text == other);
        }
    }

    #[test]
    fn examples_of_the_elb_guide() {
        let images = Pattern::case_sensitive("/img/*/pics");
        assert!(images.matches(b"/img/a/b/pics"));
        assert!(!images.matches(b"/img/pics"));
        assert!(!images.matches(b"/IMG/a/pics"));
        let host = Pattern::ignoring_case("*.Example.com");
        assert!(host.matches(b"TEST.example.COM"));
        assert!(!host.matches(b"example.com"));
        let one = Pattern::case_sensitive("/v?");
        assert!(one.matches(b"/v1") && !one.matches(b"/v") && !one.matches(b"/v12"));
    }

    #[test]
    fn backslash_escapes_in_queries_only() {
        assert!(Pattern::escaped(r"a\*b").matches(b"A*b"));
        assert!(!Pattern::escaped(r"a\*b").matches(b"axb"));
        assert!(Pattern::case_sensitive(r"a\*").matches(br"a\xyz"));
    }

    #[test]
    fn many_stars_take_no_more_than_quadratic_time() {
        let pattern = Pattern::case_sensitive(&"a*".repeat(64));
        let mut text = vec![b'a'; 16 * 1024];
        text.push(b'b');
        let blocked = Pattern::case_sensitive(&format!("{}c", "a*".repeat(64)));
        let started = Instant::now();
        assert!(pattern.matches(&text));
        assert!(!blocked.matches(&text));
        assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
    }
}
