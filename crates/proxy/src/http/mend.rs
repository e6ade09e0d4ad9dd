//! Heads that depart from the standard in a way that the standard lets a proxy repair. What goes on is the
//! repaired head, so that the target sees what was understood here.

use super::desync::likeness;

/// What repairing a head came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Mended {
    /// The repaired head, and the length of what it stands for.
    Whole(Vec<u8>, usize),
    /// The rest of it must come first.
    Partial,
    No,
}

/// Repairs the head at the start of these bytes: folded lines are made one (RFC 9112, 5.2), control characters
/// in values made spaces (RFC 9110, 5.5), a higher minor version made 1.1 (RFC 9110, 2.5). Nothing else, and
/// not in a field that says how a message goes.
pub fn mend(bytes: &[u8]) -> Mended {
    try_mend(bytes).unwrap_or(Mended::No)
}

fn try_mend(bytes: &[u8]) -> Option<Mended> {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len().min(64 * 1024));
    let mut changed = false;
    // Where the field in hand begins in `out`.
    let mut field = None;
    let mut at = blank;
    for (n, line) in bytes[blank..].split_inclusive(|b| *b == b'\n').enumerate() {
        at += line.len();
        let Some(line) = line.strip_suffix(b"\n") else {
            // Before a line has come there is no telling whether this is HTTP at all.
            return (n > 0).then_some(Mended::Partial);
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if n < 2 || !changed {
                return None;
            }
            out.extend_from_slice(b"\r\n");
            return Some(Mended::Whole(out, at));
        }
        if n == 0 {
            changed |= push_request_line(&mut out, line)?;
            continue;
        }
        let folded = matches!(line[0], b' ' | b'\t');
        let begun = out.len();
        if folded {
            out.truncate(out.len() - "\r\n".len());
            out.push(b' ');
            out.extend_from_slice(line.trim_ascii());
        } else {
            field = Some(begun);
            out.extend_from_slice(line);
        }
        let mut touched = folded;
        // None before the first field: a folded line that continues nothing.
        let begun = field?;
        let colon = begun + out[begun..].iter().position(|b| *b == b':')?;
        for byte in &mut out[colon..] {
            match byte {
                0 | b'\r' | b'\n' => return None,
                b'\t' => {}
                _ if byte.is_ascii_control() => {
                    *byte = b' ';
                    touched = true;
                }
                _ => {}
            }
        }
        if touched && is_guarded(&out[begun..colon]) {
            return None;
        }
        changed |= touched;
        out.extend_from_slice(b"\r\n");
    }
    (at > blank).then_some(Mended::Partial)
}

/// Whether the line had to be changed; `None` if it is beyond repair.
fn push_request_line(out: &mut Vec<u8>, line: &[u8]) -> Option<bool> {
    let (rest, version) = line.split_at(line.len().checked_sub("HTTP/1.1".len())?);
    let higher = match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => *minor > b'1',
        _ => return None,
    };
    out.extend_from_slice(rest);
    out.extend_from_slice(if higher { b"HTTP/1.1" } else { version });
    out.extend_from_slice(b"\r\n");
    Some(higher)
}

fn is_guarded(name: &[u8]) -> bool {
    let exact: [&[u8]; 6] = [b"host", b"connection", b"upgrade", b"expect", b"te", b"trailer"];
    likeness(name).is_some() || exact.iter().any(|e| e.eq_ignore_ascii_case(name.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(text: &str) -> Option<String> {
        match mend(text.as_bytes()) {
            Mended::Whole(head, len) => {
                assert_eq!(&text[len..], "rest");
                Some(String::from_utf8(head).unwrap())
            }
            Mended::Partial => panic!("{text:?} is taken for a part"),
            Mended::No => None,
        }
    }

    #[test]
    fn what_may_be_repaired_is() {
        for (text, expected) in [
            (
                "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc \r\n  d: e\r\nY: f\r\n\r\nrest",
                "GET / HTTP/1.1\r\nHost: a\r\nX: b c d: e\r\nY: f\r\n\r\n",
            ),
            ("\r\nGET / HTTP/1.1\nX: b\x01c\n\nrest", "GET / HTTP/1.1\r\nX: b c\r\n\r\n"),
            ("GET / HTTP/1.7\r\nHost: a\r\n\r\nrest", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ] {
            assert_eq!(mended(text).as_deref(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nrest",
            "GET / HTTP/1.1\r\n X: b\r\nY: c\r\n\r\nrest",
            "GET / HTTP/1.1\r\nContent-Length:\r\n 5\r\n\r\nrest",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n , identity\r\n\r\nrest",
            "GET / HTTP/1.1\r\nTransfer_Encoding: chunked\x0b\r\n\r\nrest",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\nrest",
            "GET / HTTP/1.1\r\nX: b\r\n c\0\r\n\r\nrest",
            "GET / HTTP/1.1\r\nX: b\r\n c\rd\r\n\r\nrest",
            "GET / HTTP/1.1\r\nX\r\n c: d\r\n e\r\n\r\nrest",
            "GET / HTTP/2.0\r\nX: b\r\n c\r\n\r\nrest",
            "HTTP\r\n\r\nrest",
        ] {
            assert_eq!(mended(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_part_is_waited_for_once_it_looks_like_http() {
        let text = "GET / HTTP/1.1\r\nX: b\r\n c\r\n\r\n";
        for n in 0..text.len() {
            let expected = if n < "GET / HTTP/1.1\r\n".len() { Mended::No } else { Mended::Partial };
            assert_eq!(mend(&text.as_bytes()[..n]), expected, "{n}");
        }
        assert_eq!(mend(b"GET / HTTP/1.1\r\nX: b\0\r\n"), Mended::No);
    }
}
