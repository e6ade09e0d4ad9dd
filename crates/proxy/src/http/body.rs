//! Body framing: how many bytes belong to a message, and strict decoding of chunks.

use super::is_token;

/// What is still to come of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    Length(u64),
    Chunked(Chunks),
    /// Ends when the sender closes (answers only).
    UntilClose,
}

/// What one step took from the buffer's front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the buffer that are used up.
    pub consumed: usize,
    /// Bytes of payload, moved to the buffer's front.
    pub data: usize,
    /// The body has ended.
    pub done: bool,
}

/// The sender broke the rules of its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Decoder of `Transfer-Encoding: chunked`. Sizes are hexadecimal digits and nothing else, lines end
/// in CR LF and nothing else; extensions and trailers are checked, bounded and dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    /// Of the size line: digits seen. Of extensions and trailers: bytes seen.
    count: u32,
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    Trailer,
    TrailerEnd,
    LastLf,
    Done,
}

const MAX_EXTENSION: u32 = 4096;
const MAX_TRAILER: u32 = 16 * 1024;

impl Body {
    pub fn chunked() -> Self {
        Self::Chunked(Chunks { state: State::Size, count: 0, left: 0 })
    }

    /// Whether nothing more is to come.
    pub fn is_done(&self) -> bool {
        match self {
            Self::None | Self::Length(0) => true,
            Self::Chunked(chunks) => chunks.state == State::Done,
            Self::Length(_) | Self::UntilClose => false,
        }
    }

    /// Takes as much as possible from the front of `buffer`. May take nothing if it needs more.
    pub fn step(&mut self, buffer: &mut [u8]) -> Result<Step, Malformed> {
        match self {
            Self::None => Ok(Step { consumed: 0, data: 0, done: true }),
            Self::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= take as u64;
                Ok(Step { consumed: take, data: take, done: *left == 0 })
            }
            Self::UntilClose => Ok(Step { consumed: buffer.len(), data: buffer.len(), done: false }),
            Self::Chunked(chunks) => chunks.step(buffer),
        }
    }
}

impl Chunks {
    fn step(&mut self, buffer: &mut [u8]) -> Result<Step, Malformed> {
        let (mut at, mut data) = (0, 0);
        while at < buffer.len() && self.state != State::Done {
            if self.state == State::Data {
                let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len() - at);
                buffer.copy_within(at..at + take, data);
                (at, data) = (at + take, data + take);
                self.left -= take as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.byte(buffer[at])?;
            at += 1;
        }
        Ok(Step { consumed: at, data, done: self.state == State::Done })
    }

    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.count += 1;
                // 15 digits are 2^60 bytes: more is an attempt at overflow.
                if self.count > 15 {
                    return Err(Malformed);
                }
                self.left = self.left << 4 | u64::from(digit);
                State::Size
            }
            (State::Size, b'\r') if self.count > 0 => State::SizeEnd,
            (State::Size, b';') if self.count > 0 => {
                self.count = 0;
                State::Extension
            }
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.bounded(MAX_EXTENSION)?;
                State::Extension
            }
            (State::SizeEnd, b'\n') => {
                self.count = 0;
                if self.left == 0 { State::TrailerStart } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => {
                self.bounded(MAX_TRAILER)?;
                State::TrailerName
            }
            (State::TrailerName, b':') | (State::Trailer, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.bounded(MAX_TRAILER)?;
                State::Trailer
            }
            (State::TrailerEnd, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Done,
            _ => return Err(Malformed),
        };
        Ok(())
    }

    fn bounded(&mut self, limit: u32) -> Result<(), Malformed> {
        self.count += 1;
        if self.count > limit { Err(Malformed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` cut into pieces of `piece` bytes; what is left after the end comes back too.
    fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>, bool), Malformed> {
        let (mut body, mut out, mut buffer) = (Body::chunked(), Vec::new(), Vec::new());
        for part in input.chunks(piece) {
            buffer.extend_from_slice(part);
            if !body.is_done() {
                let step = body.step(&mut buffer)?;
                out.extend_from_slice(&buffer[..step.data]);
                buffer.drain(..step.consumed);
            }
        }
        Ok((out, buffer, body.is_done()))
    }

    #[test]
    fn chunks_decode_the_same_however_they_are_cut() {
        let input = b"5\r\nhello\r\n1;name=value\r\n,\r\nA\r\n wide worl\r\n1\r\nd\r\n0\r\nX-T: 1\r\n\r\nGET /";
        for piece in 1..input.len() + 1 {
            let (data, rest, done) = decode(input, piece).unwrap();
            assert_eq!(data, b"hello, wide world", "pieces of {piece}");
            assert_eq!(rest, b"GET /");
            assert!(done);
        }
    }

    #[test]
    fn sizes_are_strict() {
        for bad in [
            "0_2e\r\n",
            "0x1\r\na\r\n",
            "+1\r\na\r\n",
            "-1\r\n",
            " 1\r\na\r\n",
            "1 \r\na\r\n",
            "1\na\r\n",
            "1\r\na\n",
            "1\r\nab\r\n",
            "\r\n",
            ";x\r\n",
            "1;a\nb\r\n",
            "1\r\r\n",
            "ffffffffffffffff\r\n",
            "0\r\nX: 1\n\r\n",
            "0\r\n\n",
            "1;\0\r\n",
            "g\r\n",
            "0\r\nA\rB\r\n\r\n",
            "0\r\nA\r\n\r\n",
            "0\r\n A: b\r\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\nA: b\r\n c\r\n\r\n",
            "0\r\n: b\r\n\r\n",
        ] {
            assert_eq!(decode(bad.as_bytes(), 1).err(), Some(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        assert!(decode(format!("1;{}\r\n", "a".repeat(5000)).as_bytes(), 100).is_err());
        let trailers = "X: 1\r\n".repeat(5000);
        assert!(decode(format!("0\r\n{trailers}\r\n").as_bytes(), 100).is_err());
    }

    #[test]
    fn a_length_takes_no_more_than_its_own() {
        let mut body = Body::Length(3);
        let step = body.step(&mut b"abcdef".to_vec()).unwrap();
        assert_eq!(step, Step { consumed: 3, data: 3, done: true });
        assert!(body.is_done());
    }
}
