//! HTTP/1.1 messages: heads parsed strictly, framing decided once, bodies streamed, heads rewritten.
//!
//! Every head that leaves is written anew from what was understood, so that a target never sees a
//! byte of framing that this side read differently.

pub mod answer;
pub mod body;
pub mod desync;
pub mod forward;
pub mod growth;
pub mod mend;
pub mod request;
pub mod response;
pub mod trace;

/// Splits a comma-separated field value into its trimmed, non-empty elements.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    elements_by(value, b',')
}

/// Splits a field value at `separator` into its trimmed, non-empty elements.
pub fn elements_by(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    value.split(move |b| *b == separator).map(<[u8]>::trim_ascii).filter(|e| !e.is_empty())
}

/// Whether a comma-separated field value holds this token, ignoring case.
pub fn has_token(value: &[u8], token: &[u8]) -> bool {
    elements(value).any(|e| e.eq_ignore_ascii_case(token))
}

/// Whether this may stand in the name of a method or of a field.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A Content-Length value: digits only.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0')))
}

/// Appends a number in decimal.
pub fn push_number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
