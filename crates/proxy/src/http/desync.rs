//! What kind of request this is, for desync mitigation: can it be read in more than one way?
//!
//! Classes and reasons are those of an Application Load Balancer's access log. The parser knows of nearly every
//! request that it is compliant while it reads the fields; [`classify`] reads the others, any bytes at all,
//! leniently.

use super::{elements, is_token, parse_length};

/// How much of a risk a request is, in rising order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    #[default]
    Compliant,
    Acceptable,
    Ambiguous,
    Severe,
}

/// Why. The names are those of the access log's `classification_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    AmbiguousUri,
    BadContentLength,
    BadHeader,
    BadMethod,
    BadTransferEncoding,
    BadUri,
    BadVersion,
    BothTeClPresent,
    DuplicateContentLength,
    EmptyHeader,
    GetHeadZeroContentLength,
    MissingHeaderColon,
    MissingUri,
    MultilineHeader,
    MultipleContentLength,
    MultipleTransferEncodingChunked,
    NonCompliantHeader,
    NonCompliantVersion,
    NonCrLfLineTermination,
    SpaceInUri,
    SuspiciousHeader,
    UndefinedContentLengthSemantics,
    UndefinedTransferEncodingSemantics,
}

/// The gravest class found, and the first reason for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub class: Class,
    pub reason: Option<Reason>,
}

/// The head of a request as anybody might read it.
struct Loose<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: &'a [u8],
    fields: Vec<(&'a [u8], &'a [u8])>,
}

/// What the fields that frame a body say together.
#[derive(Default)]
struct Framing {
    coded: bool,
    chunked: bool,
    length: Option<u64>,
    /// Of the fields by themselves.
    verdict: Verdict,
}

/// Which of the two fields that frame a body a name is, or could be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    Length,
    Coding,
    LikeLength,
    LikeCoding,
}

impl Class {
    /// As in the access log; a compliant request has a `-` there.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compliant => "-",
            Self::Acceptable => "Acceptable",
            Self::Ambiguous => "Ambiguous",
            Self::Severe => "Severe",
        }
    }
}

impl Reason {
    /// The class of everything that has this reason.
    pub fn class(self) -> Class {
        match self {
            Self::GetHeadZeroContentLength
            | Self::NonCompliantHeader
            | Self::NonCompliantVersion
            | Self::NonCrLfLineTermination
            | Self::SpaceInUri => Class::Acceptable,
            Self::AmbiguousUri
            | Self::BothTeClPresent
            | Self::DuplicateContentLength
            | Self::EmptyHeader
            | Self::MissingHeaderColon
            | Self::MissingUri
            | Self::MultilineHeader
            | Self::SuspiciousHeader
            | Self::UndefinedContentLengthSemantics
            | Self::UndefinedTransferEncodingSemantics => Class::Ambiguous,
            Self::BadContentLength
            | Self::BadHeader
            | Self::BadMethod
            | Self::BadTransferEncoding
            | Self::BadUri
            | Self::BadVersion
            | Self::MultipleContentLength
            | Self::MultipleTransferEncodingChunked => Class::Severe,
        }
    }

    /// As in the access log.
    pub fn name(self) -> &'static str {
        match self {
            Self::AmbiguousUri => "AmbiguousUri",
            Self::BadContentLength => "BadContentLength",
            Self::BadHeader => "BadHeader",
            Self::BadMethod => "BadMethod",
            Self::BadTransferEncoding => "BadTransferEncoding",
            Self::BadUri => "BadUri",
            Self::BadVersion => "BadVersion",
            Self::BothTeClPresent => "BothTeClPresent",
            Self::DuplicateContentLength => "DuplicateContentLength",
            Self::EmptyHeader => "EmptyHeader",
            Self::GetHeadZeroContentLength => "GetHeadZeroContentLength",
            Self::MissingHeaderColon => "MissingHeaderColon",
            Self::MissingUri => "MissingUri",
            Self::MultilineHeader => "MultilineHeader",
            Self::MultipleContentLength => "MultipleContentLength",
            Self::MultipleTransferEncodingChunked => "MultipleTransferEncodingChunked",
            Self::NonCompliantHeader => "NonCompliantHeader",
            Self::NonCompliantVersion => "NonCompliantVersion",
            Self::NonCrLfLineTermination => "NonCrLfLineTermination",
            Self::SpaceInUri => "SpaceInUri",
            Self::SuspiciousHeader => "SuspiciousHeader",
            Self::UndefinedContentLengthSemantics => "UndefinedContentLengthSemantics",
            Self::UndefinedTransferEncodingSemantics => "UndefinedTransferEncodingSemantics",
        }
    }
}

impl Verdict {
    /// Takes a reason in: it counts if it is graver than what was found before.
    pub fn raise(&mut self, reason: Reason) {
        if reason.class() > self.class {
            (self.class, self.reason) = (reason.class(), Some(reason));
        }
    }
}

/// Whether a name is one of the fields that frame a body, or becomes one when a server is generous: signs
/// dropped or exchanged, letters that turn into these by a change of case.
pub fn likeness(name: &[u8]) -> Option<Likeness> {
    const LENGTH: (&[u8], &[u8]) = (b"content-length", b"contentlength");
    const CODING: (&[u8], &[u8]) = (b"transfer-encoding", b"transferencoding");
    // Most names end here.
    if name.len() < LENGTH.1.len() {
        return None;
    }
    if name.eq_ignore_ascii_case(LENGTH.0) {
        return Some(Likeness::Length);
    }
    if name.eq_ignore_ascii_case(CODING.0) {
        return Some(Likeness::Coding);
    }
    match letters(name).next()? {
        b'c' if letters(name).eq(LENGTH.1.iter().copied()) => Some(Likeness::LikeLength),
        b't' if letters(name).eq(CODING.1.iter().copied()) => Some(Likeness::LikeCoding),
        _ => None,
    }
}

/// Letters and digits in lower case. `ſ` is an S and `ı` an I once they are in upper case.
fn letters(name: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = name;
    std::iter::from_fn(move || {
        loop {
            let (letter, len) = match rest {
                [] => return None,
                [0xc5, 0xbf, ..] => (b's', 2),
                [0xc4, 0xb1, ..] => (b'i', 2),
                [b, ..] => (b.to_ascii_lowercase(), 1),
            };
            rest = &rest[len..];
            if letter.is_ascii_alphanumeric() {
                return Some(letter);
            }
        }
    })
}

/// Classifies the head at the start of these bytes, whatever it is.
pub fn classify(bytes: &[u8]) -> Verdict {
    let mut verdict = Verdict::default();
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let head = &bytes[blank..];
    let loose = Loose::read(head, &mut verdict);
    loose.classify(verdict)
}

impl<'a> Loose<'a> {
    fn read(head: &'a [u8], verdict: &mut Verdict) -> Self {
        // Of a line that has not come whole nothing is known yet.
        let mut lines = head.split_inclusive(|b| *b == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
        let mut next = |verdict: &mut Verdict| {
            let line = lines.next()?;
            Some(line.strip_suffix(b"\r").unwrap_or_else(|| {
                verdict.raise(Reason::NonCrLfLineTermination);
                line
            }))
        };
        let first = next(verdict).unwrap_or_default();
        let (method, rest) = cut(first, first.iter().position(|b| *b == b' '));
        // Spaces behind the version belong to it.
        let end = rest.trim_ascii_end().len();
        let (target, version) = cut(rest, rest[..end].iter().rposition(|b| *b == b' '));
        let (target, version) = match target.len() == rest.len() {
            true if rest.starts_with(b"HTTP/1.") => (&b""[..], rest),
            _ => (target, version),
        };
        if target.is_empty() {
            verdict.raise(Reason::MissingUri);
        }
        let mut loose = Self { method, target, version, fields: Vec::new() };
        loop {
            let Some(line) = next(verdict).filter(|line| !line.is_empty()) else { return loose };
            let folded = matches!(line[0], b' ' | b'\t') && !loose.fields.is_empty();
            let colon = line.iter().position(|b| *b == b':');
            let about_content = |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(b"content-type");
            if folded {
                // Only this field may still be folded.
                if loose.fields.last().is_some_and(about_content) {
                    loose.fields.push((b"content-type", line));
                    continue;
                }
                verdict.raise(Reason::MultilineHeader);
            } else if colon.is_none() {
                verdict.raise(Reason::MissingHeaderColon);
            }
            loose.fields.push(cut(line, colon));
        }
    }

    fn classify(&self, mut verdict: Verdict) -> Verdict {
        if self.version.starts_with(b"HTTP/2") {
            return verdict;
        }
        let mut framing = Framing::default();
        for (name, value) in &self.fields {
            if let Some(reason) = characters(name, value) {
                verdict.raise(reason);
            }
            let likeness = likeness(name);
            if matches!(name.trim_ascii(), [] | [b':', ..]) {
                verdict.raise(Reason::EmptyHeader);
            }
            if matches!(likeness, Some(Likeness::LikeLength | Likeness::LikeCoding)) && !has_breaks(name) {
                verdict.raise(Reason::SuspiciousHeader);
            }
            match likeness {
                Some(Likeness::Length | Likeness::LikeLength) => framing.length(value),
                Some(Likeness::Coding | Likeness::LikeCoding) => framing.coding(value),
                None => {}
            }
        }
        self.framed(&framing, &mut verdict);
        if self.method.iter().any(|b| !is_token(*b)) {
            verdict.raise(Reason::BadMethod);
        }
        let version = self.version.trim_ascii();
        match version {
            b"HTTP/1.0" | b"HTTP/1.1" if version.len() == self.version.len() => {}
            b"" | b"HTTP/0.9" => verdict.raise(Reason::NonCompliantVersion),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => {
                verdict.raise(Reason::NonCompliantVersion);
            }
            _ => verdict.raise(Reason::BadVersion),
        }
        for byte in self.target {
            match byte {
                0 | b'\r' | b'\n' => verdict.raise(Reason::BadUri),
                b' ' => verdict.raise(Reason::SpaceInUri),
                0x01..=0x1f | 0x7f => verdict.raise(Reason::AmbiguousUri),
                _ => {}
            }
        }
        verdict
    }

    fn framed(&self, framing: &Framing, verdict: &mut Verdict) {
        let version = self.version.trim_ascii();
        if framing.coded && matches!(version, b"" | b"HTTP/0.9" | b"HTTP/1.0") {
            return verdict.raise(Reason::UndefinedTransferEncodingSemantics);
        }
        if framing.length.is_some() && matches!(version, b"" | b"HTTP/0.9") {
            return verdict.raise(Reason::UndefinedContentLengthSemantics);
        }
        if let Some(reason) = framing.verdict.reason {
            verdict.raise(reason);
        }
        together(self.method, framing.coded, framing.length, verdict);
    }
}

/// What a method and the fields that frame a body amount to, where each of them by itself is sound.
pub fn together(method: &[u8], coded: bool, length: Option<u64>, verdict: &mut Verdict) {
    if matches!(method, b"GET" | b"HEAD") {
        if coded {
            verdict.raise(Reason::UndefinedTransferEncodingSemantics);
        }
        match length {
            Some(0) => verdict.raise(Reason::GetHeadZeroContentLength),
            Some(_) => verdict.raise(Reason::UndefinedContentLengthSemantics),
            None => {}
        }
    }
    if coded && length.is_some() {
        verdict.raise(Reason::BothTeClPresent);
    }
}

impl Framing {
    fn length(&mut self, value: &[u8]) {
        match (parse_length(value.trim_ascii()), self.length) {
            (None, _) => self.verdict.raise(Reason::BadContentLength),
            (Some(n), Some(before)) if n != before => self.verdict.raise(Reason::MultipleContentLength),
            (Some(_), Some(_)) => self.verdict.raise(Reason::DuplicateContentLength),
            (Some(n), None) => self.length = Some(n),
        }
    }

    fn coding(&mut self, value: &[u8]) {
        const KNOWN: [&[u8]; 5] = [b"chunked", b"compress", b"deflate", b"gzip", b"identity"];
        self.coded = true;
        let mut any = false;
        for element in elements(value) {
            any = true;
            let coding = element.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            if !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(coding)) {
                self.verdict.raise(Reason::BadTransferEncoding);
            }
            if coding.eq_ignore_ascii_case(b"chunked") && std::mem::replace(&mut self.chunked, true) {
                self.verdict.raise(Reason::MultipleTransferEncodingChunked);
            }
        }
        if !any {
            self.verdict.raise(Reason::BadTransferEncoding);
        }
    }
}

/// What is wrong with the characters of a field.
fn characters(name: &[u8], value: &[u8]) -> Option<Reason> {
    if has_breaks(name) || has_breaks(value) {
        return Some(Reason::BadHeader);
    }
    let odd = name.iter().any(|b| !is_token(*b)) || value.iter().any(|b| is_control(*b));
    odd.then_some(Reason::NonCompliantHeader)
}

fn has_breaks(bytes: &[u8]) -> bool {
    bytes.iter().any(|b| matches!(b, 0 | b'\r' | b'\n'))
}

fn is_control(byte: u8) -> bool {
    byte != b'\t' && byte.is_ascii_control()
}

/// What is before and behind this place; all of it and nothing, if there is no such place.
fn cut(bytes: &[u8], at: Option<usize>) -> (&[u8], &[u8]) {
    match at {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{MAX_COUNT, Parsed, parse};
    use std::mem::MaybeUninit;

    type Case = (String, String, String, String, String, Vec<(String, String)>);

    fn cases() -> Vec<Case> {
        let text = include_str!("../../tests/corpus/desync.jsonl");
        text.lines().filter(|l| !l.starts_with('#')).map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    fn named(verdict: Verdict) -> (String, String) {
        let class = format!("{:?}", verdict.class);
        (class, verdict.reason.map_or("Compliant", Reason::name).to_owned())
    }

    #[test]
    fn the_published_cases_have_their_classes() {
        let cases = cases();
        assert_eq!(cases.len(), 159);
        let mut wrong = Vec::new();
        for (class, reason, method, target, version, fields) in &cases {
            let loose = Loose {
                method: method.as_bytes(),
                target: target.as_bytes(),
                version: version.as_bytes(),
                fields: fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
            };
            let found = named(loose.classify(Verdict::default()));
            if found != (class.clone(), reason.clone()) {
                wrong.push(format!("{class} {reason}, not {found:?}: {method} {target:?} {version:?} {fields:?}"));
            }
        }
        assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn what_the_parser_takes_for_compliant_is_compliant() {
        let mut taken = 0;
        for (_, _, method, target, version, fields) in &cases() {
            for end in ["\r\n", "\n"] {
                let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}{end}")).collect();
                let head = format!("{method} {target} {version}{end}Host: a{end}{lines}{end}");
                let mut space = [const { MaybeUninit::uninit() }; MAX_COUNT];
                if let Parsed::Whole(parsed) = parse(head.as_bytes(), &mut space) {
                    assert_eq!(parsed.desync, classify(head.as_bytes()), "{head:?}");
                    taken += 1;
                }
            }
        }
        assert!(taken > 80, "{taken}");
    }

    #[test]
    fn lines_are_read_as_anybody_might() {
        for (head, class, reason) in [
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "Ambiguous", "MultilineHeader"),
            ("GET / HTTP/1.1\r\nContent-Type: b;\r\n c=d\r\n\r\n", "Compliant", "Compliant"),
            ("GET / HTTP/1.1\r\nA: b\r\n Transfer-Encoding: chunked\r\n\r\n", "Ambiguous", "MultilineHeader"),
            ("GET / HTTP/1.1\r\nA\r\n\r\n", "Ambiguous", "MissingHeaderColon"),
            ("GET HTTP/1.1\r\n\r\n", "Ambiguous", "MissingUri"),
            ("GET / HTTP/1.1\nA: b\n\n", "Acceptable", "NonCrLfLineTermination"),
            ("\r\nGET / HTTP/1.1\r\n\r\nX: \0", "Compliant", "Compliant"),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer.Encoding: x", "Compliant", "Compliant"),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer.Encoding: gzip\r\n", "Ambiguous", "SuspiciousHeader"),
            ("\r\n\r\n", "Ambiguous", "MissingUri"),
        ] {
            assert_eq!(named(classify(head.as_bytes())), (class.into(), reason.into()), "{head:?}");
        }
    }

    #[test]
    fn names_are_alike_when_their_letters_are() {
        for (name, expected) in [
            ("Content-Length", Some(Likeness::Length)),
            ("TRANSFER-ENCODING", Some(Likeness::Coding)),
            ("Content_Length", Some(Likeness::LikeLength)),
            ("ContentLength", Some(Likeness::LikeLength)),
            ("-Transfer.Encoding-", Some(Likeness::LikeCoding)),
            ("Tran\u{17f}fer-Encod\u{131}ng", Some(Likeness::LikeCoding)),
            ("Content-Length-2", None),
            ("X-Content-Length", None),
            ("Content-Encoding", None),
        ] {
            assert_eq!(likeness(name.as_bytes()), expected, "{name}");
        }
    }
}
