//! CBOR's tokens (RFC 8949): reading from untrusted bytes, and writing.
//!
//! Nothing is allocated by a length that the input only claims.

use std::borrow::Cow;

use crate::error::DecodeError;

/// Most containers and tags around a value.
pub const MAX_DEPTH: usize = 64;

/// One data item, or the head of one that holds others.
#[derive(Clone, Debug, PartialEq)]
pub enum Token<'a> {
    Unsigned(u64),
    /// The value -1 - n.
    Negative(u64),
    Bytes(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    /// How many elements follow; `None`: until [`Token::Break`].
    Array(Option<u64>),
    /// How many pairs follow; `None`: until [`Token::Break`].
    Map(Option<u64>),
    /// The tag of the item that follows.
    Tag(u64),
    Boolean(bool),
    /// Null or undefined.
    Null,
    Float(f64),
    Break,
}

/// Reads tokens one after the other.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// What is left of an array or a map.
#[derive(Clone, Copy, Debug)]
pub struct Items {
    left: Option<u64>,
}

/// Writes tokens, each in its shortest form.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

const BREAK: u8 = 0xff;

impl Token<'_> {
    /// The kind of item, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Token::Unsigned(_) | Token::Negative(_) => "integer",
            Token::Bytes(_) => "byte string",
            Token::Text(_) => "text string",
            Token::Array(_) => "array",
            Token::Map(_) => "map",
            Token::Tag(_) => "tag",
            Token::Boolean(_) => "boolean",
            Token::Null => "null",
            Token::Float(_) => "float",
            Token::Break => "break",
        }
    }
}

impl<'a> Reader<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Reader { rest: input }
    }

    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next token; strings in pieces are put together.
    pub fn token(&mut self) -> Result<Token<'a>, DecodeError> {
        let initial = self.byte()?;
        let (major, info) = (initial >> 5, initial & 0x1f);
        if major == 7 {
            return self.simple(info);
        }
        let argument = self.argument(info)?;
        let definite = || argument.ok_or_else(|| malformed("a length is missing"));
        Ok(match major {
            0 => Token::Unsigned(definite()?),
            1 => Token::Negative(definite()?),
            2 => Token::Bytes(match argument {
                Some(length) => Cow::Borrowed(self.take(length)?),
                None => Cow::Owned(self.pieces(2)?),
            }),
            3 => Token::Text(match argument {
                Some(length) => Cow::Borrowed(utf8(self.take(length)?)?),
                None => Cow::Owned(utf8(&self.pieces(3)?)?.to_owned()),
            }),
            4 => Token::Array(argument),
            5 => Token::Map(argument),
            _ => Token::Tag(definite()?),
        })
    }

    /// Reads to the end of the item that begins with this token.
    pub fn skip(&mut self, token: &Token<'_>, depth: usize) -> Result<(), DecodeError> {
        let depth = deeper(depth)?;
        match *token {
            Token::Array(length) => {
                let mut items = Items::new(length);
                while let Some(token) = items.next(self)? {
                    self.skip(&token, depth)?;
                }
            }
            Token::Map(length) => {
                let mut items = Items::new(length);
                while let Some(key) = items.next(self)? {
                    self.skip(&key, depth)?;
                    let value = self.token()?;
                    self.skip(&value, depth)?;
                }
            }
            Token::Tag(_) => {
                let tagged = self.token()?;
                self.skip(&tagged, depth)?;
            }
            Token::Break => return Err(malformed("an unexpected break")),
            _ => {}
        }
        Ok(())
    }

    fn simple(&mut self, info: u8) -> Result<Token<'a>, DecodeError> {
        Ok(match info {
            20 => Token::Boolean(false),
            21 => Token::Boolean(true),
            22 | 23 => Token::Null,
            25 => Token::Float(half(u16::from_be_bytes(self.array()?))),
            26 => Token::Float(f64::from(f32::from_be_bytes(self.array()?))),
            27 => Token::Float(f64::from_be_bytes(self.array()?)),
            31 => Token::Break,
            _ => return Err(malformed("an unknown simple value")),
        })
    }

    /// The number in or after an initial byte; `None` for an indefinite length.
    fn argument(&mut self, info: u8) -> Result<Option<u64>, DecodeError> {
        Ok(match info {
            0..=23 => Some(u64::from(info)),
            24 => Some(u64::from(self.byte()?)),
            25 => Some(u64::from(u16::from_be_bytes(self.array()?))),
            26 => Some(u64::from(u32::from_be_bytes(self.array()?))),
            27 => Some(u64::from_be_bytes(self.array()?)),
            31 => None,
            _ => return Err(malformed("a reserved length")),
        })
    }

    fn pieces(&mut self, major: u8) -> Result<Vec<u8>, DecodeError> {
        let mut whole = Vec::new();
        loop {
            let initial = self.byte()?;
            if initial == BREAK {
                return Ok(whole);
            }
            let length = self.argument(initial & 0x1f)?;
            let length = length.filter(|_| initial >> 5 == major).ok_or_else(|| malformed("a string in odd pieces"))?;
            let piece = self.take(length)?;
            if major == 3 {
                utf8(piece)?;
            }
            whole.extend_from_slice(piece);
        }
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(cut)?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(length).map_err(|_| cut())?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        Ok(head)
    }
}

impl Items {
    pub fn new(length: Option<u64>) -> Self {
        Items { left: length }
    }

    /// The first token of the next element or key; `None` after the last.
    pub fn next<'a>(&mut self, reader: &mut Reader<'a>) -> Result<Option<Token<'a>>, DecodeError> {
        match &mut self.left {
            Some(0) => Ok(None),
            Some(left) => {
                *left -= 1;
                match reader.token()? {
                    Token::Break => Err(malformed("an unexpected break")),
                    token => Ok(Some(token)),
                }
            }
            None => Ok(Some(reader.token()?).filter(|token| *token != Token::Break)),
        }
    }
}

impl Writer {
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub fn integer(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(0, value),
            // -1 - value, which is the complement.
            Err(_) => self.head(1, !value as u64),
        }
    }

    pub fn float(&mut self, value: f64) {
        self.out.push(0xfb);
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub fn boolean(&mut self, value: bool) {
        self.out.push(if value { 0xf5 } else { 0xf4 });
    }

    pub fn null(&mut self) {
        self.out.push(0xf6);
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.head(2, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    pub fn text(&mut self, value: &str) {
        self.head(3, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    pub fn array(&mut self, length: usize) {
        self.head(4, length as u64);
    }

    pub fn map(&mut self, length: usize) {
        self.head(5, length as u64);
    }

    /// A map of as many pairs as come before [`Writer::end`].
    pub fn open_map(&mut self) {
        self.out.push(0xbf);
    }

    pub fn end(&mut self) {
        self.out.push(BREAK);
    }

    pub fn tag(&mut self, tag: u64) {
        self.head(6, tag);
    }

    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        let bytes = argument.to_be_bytes();
        match argument {
            0..=23 => self.out.push(major | argument as u8),
            24..=0xff => self.out.extend_from_slice(&[major | 24, bytes[7]]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend_from_slice(&bytes[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend_from_slice(&bytes[4..]);
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend_from_slice(&bytes);
            }
        }
    }
}

/// One level further in, if that is allowed.
pub fn deeper(depth: usize) -> Result<usize, DecodeError> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(malformed("too deeply nested")) }
}

pub fn malformed(what: &str) -> DecodeError {
    DecodeError::new(format!("Malformed CBOR: {what}"))
}

fn cut() -> DecodeError {
    malformed("it ends early")
}

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| malformed("text that is not UTF-8"))
}

/// A half-precision float (IEEE 754 binary16).
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(hex: &str) -> Result<Vec<Token<'static>>, DecodeError> {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let mut reader = Reader::new(bytes.leak());
        let mut found = Vec::new();
        while !reader.is_at_end() {
            found.push(reader.token()?);
        }
        Ok(found)
    }

    /// Examples of RFC 8949, appendix A.
    #[test]
    fn the_standards_examples_are_read() {
        let text = |s: &'static str| Token::Text(Cow::Borrowed(s));
        for (hex, expected) in [
            ("17", vec![Token::Unsigned(23)]),
            ("1818", vec![Token::Unsigned(24)]),
            ("1b000000e8d4a51000", vec![Token::Unsigned(1_000_000_000_000)]),
            ("3863", vec![Token::Negative(99)]),
            ("f93c00", vec![Token::Float(1.0)]),
            ("f90001", vec![Token::Float(5.960464477539063e-8)]),
            ("f97bff", vec![Token::Float(65504.0)]),
            ("f9fc00", vec![Token::Float(f64::NEG_INFINITY)]),
            ("fa47c35000", vec![Token::Float(100_000.0)]),
            ("fbc010666666666666", vec![Token::Float(-4.1)]),
            ("f4f5f6f7", vec![Token::Boolean(false), Token::Boolean(true), Token::Null, Token::Null]),
            ("c11a514b67b0", vec![Token::Tag(1), Token::Unsigned(1_363_896_240)]),
            ("4401020304", vec![Token::Bytes(Cow::Borrowed(&[1, 2, 3, 4]))]),
            ("62c3bc", vec![text("ü")]),
            ("5f42010243030405ff", vec![Token::Bytes(Cow::Borrowed(&[1, 2, 3, 4, 5]))]),
            ("7f657374726561646d696e67ff", vec![text("streaming")]),
            ("9f0102ff", vec![Token::Array(None), Token::Unsigned(1), Token::Unsigned(2), Token::Break]),
            ("a16161f6", vec![Token::Map(Some(1)), text("a"), Token::Null]),
        ] {
            assert_eq!(tokens(hex).unwrap(), expected, "{hex}");
        }
    }

    #[test]
    fn what_is_cut_or_reserved_is_refused() {
        for hex in [
            "18",
            "1c",
            "1f",
            "5b7fffffffffffffff00",
            "62c3",
            "62c328",
            "7f6161",
            "7f4161ff",
            "7f7f6161ffff",
            "f8",
            "f818",
            "fa00",
            "df",
        ] {
            assert!(tokens(hex).is_err(), "{hex}");
        }
        for nested in [vec![0x81; 100_000], vec![0xc1; 100_000], vec![0x9f; 100_000], vec![0xa1; 100_000]] {
            let mut reader = Reader::new(&nested);
            let token = reader.token().unwrap();
            assert!(reader.skip(&token, 0).is_err());
        }
    }

    #[test]
    fn integers_are_written_in_their_shortest_form() {
        for (value, length) in [
            (0, 1),
            (23, 1),
            (24, 2),
            (255, 2),
            (256, 3),
            (65_535, 3),
            (65_536, 5),
            (i64::MAX, 9),
            (-1, 1),
            (-25, 2),
            (i64::MIN, 9),
        ] {
            let mut writer = Writer::default();
            writer.integer(value);
            let bytes = writer.into_bytes();
            assert_eq!(bytes.len(), length, "{value}");
            let back = match Reader::new(&bytes).token().unwrap() {
                Token::Unsigned(n) => n as i64,
                Token::Negative(n) => !(n as i64),
                other => panic!("{other:?}"),
            };
            assert_eq!(back, value);
        }
    }
}
