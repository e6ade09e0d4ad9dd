//! The growth of a head that has not come whole: its limits hold before it has.

use super::request::{MAX_FIELD, MAX_FIELDS, MAX_LINE};

/// Follows the growth of an incomplete head, so that limits hold before it is whole and nothing is
/// parsed again until it is.
#[derive(Clone, Copy, Default)]
pub struct Growth {
    scanned: usize,
    line_start: usize,
    lines: usize,
    /// Where the first line that is not empty begins.
    fields_start: usize,
}

impl Growth {
    /// Nothing has been looked at yet.
    pub fn is_new(&self) -> bool {
        self.scanned == 0
    }

    /// `Ok(true)`: an empty line has come, parse. `Ok(false)`: read on.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<bool, u16> {
        let mut whole = false;
        while self.scanned < bytes.len() {
            let rest = &bytes[self.scanned..];
            let Some(n) = rest.iter().position(|b| *b == b'\n') else {
                self.scanned = bytes.len();
                break;
            };
            let end = self.scanned + n;
            let line = bytes[self.line_start..end].trim_ascii_end();
            whole |= line.is_empty() && self.lines > 0;
            if !line.is_empty() || self.lines > 0 {
                self.lines += 1;
                if self.lines == 1 {
                    self.fields_start = end + 1;
                }
            }
            self.limit(end - self.line_start)?;
            self.scanned = end + 1;
            self.line_start = self.scanned;
        }
        if whole {
            return Ok(true);
        }
        self.limit(bytes.len() - self.line_start)?;
        // Before the request line nothing but a few empty lines may come.
        if self.lines == 0 && self.line_start > 64 {
            return Err(400);
        }
        if self.lines > 0 && bytes.len() - self.fields_start > MAX_FIELDS { Err(400) } else { Ok(false) }
    }

    fn limit(&self, line: usize) -> Result<(), u16> {
        match self.lines {
            0 | 1 if line > MAX_LINE && self.fields_start == 0 => Err(414),
            1 if line > MAX_LINE && self.line_start == 0 => Err(414),
            _ if line > MAX_FIELD + 2 => Err(400),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_for_growing_heads() {
        let grown = |text: &str| {
            let mut growth = Growth::default();
            (1..=text.len()).step_by(997).map(|n| growth.advance(&text.as_bytes()[..n])).find(|r| *r != Ok(false))
        };
        assert_eq!(grown(&format!("GET /{}", "a".repeat(MAX_LINE + 2000))), Some(Err(414)));
        assert_eq!(grown(&format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(MAX_FIELD + 2000))), Some(Err(400)));
        assert_eq!(grown(&format!("GET / HTTP/1.1\r\n{}", "X: 12345678\r\n".repeat(6000))), Some(Err(400)));
        assert_eq!(grown(&"\r\n".repeat(2000)), Some(Err(400)));
        let mut growth = Growth::default();
        assert_eq!(growth.advance(b"GET / HTTP/1.1\r\nA"), Ok(false));
        assert_eq!(growth.advance(b"GET / HTTP/1.1\r\nA: b\r\n\r"), Ok(false));
        assert_eq!(growth.advance(b"GET / HTTP/1.1\r\nA: b\r\n\r\n"), Ok(true));
    }
}
