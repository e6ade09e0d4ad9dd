//! Mutations of inputs: repeatable, from a seed.

/// A small generator (xorshift).
pub struct Dice(u64);

/// Pieces that mean something to somebody.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b": ",
    b";",
    b",",
    b"=",
    b"&",
    b"%",
    b"%0d",
    b"+",
    b"-",
    b"*",
    b"?",
    b"/",
    b"..",
    b"\\",
    b"\"",
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b"{}",
    b"[]",
    b"()",
    b"$",
    b"${",
    b"!",
    b"#",
    b"|",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc5\xbf",
    b"0",
    b"1",
    b"-1",
    b"255",
    b"4294967296",
    b"18446744073709551616",
    b"1e400",
    b"true",
    b"null",
    b"Content-Length",
    b"Transfer-Encoding",
    b"chunked",
    b"Connection",
    b"close",
    b"Host",
    b"Upgrade",
    b"websocket",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Expect",
    b"100-continue",
    b"Ref",
    b"Fn::Sub",
    b"Fn::If",
    b"Fn::GetAtt",
    b"!Ref ",
    b"!Sub ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"---\n",
    b"FROM ",
    b"RUN ",
    b"COPY ",
    b"ARG ",
    b"<<EOF\n",
    b".wh.",
    b"../",
    b"sha256:",
    b"&lt;",
    b"<!DOCTYPE a>",
    b"]]>",
    b"Action=",
    b".member.1",
    b"Credential=",
    b"SignedHeaders=",
    b"\xc0\x0c",
    b"\xbf",
    b"\x9f",
];

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % sides.max(1) as u64) as usize
    }

    /// A place in these bytes, or their end.
    fn at(&mut self, bytes: &[u8]) -> usize {
        self.roll(bytes.len() + 1)
    }

    fn span(&mut self, bytes: &[u8], most: usize) -> std::ops::Range<usize> {
        let start = self.at(bytes);
        let length = self.roll(most.min(bytes.len() - start) + 1);
        start..start + length
    }
}

/// One of the corpus, changed in a few places.
pub fn mutate(corpus: &[Vec<u8>], dice: &mut Dice, most: usize) -> Vec<u8> {
    let mut out = corpus.get(dice.roll(corpus.len())).cloned().unwrap_or_default();
    for _ in 0..=dice.roll(6) {
        match dice.roll(9) {
            0 if !out.is_empty() => {
                let at = dice.roll(out.len());
                out[at] ^= 1 << dice.roll(8);
            }
            1 if !out.is_empty() => {
                let at = dice.roll(out.len());
                out[at] = dice.roll(256) as u8;
            }
            2 => {
                let span = dice.span(&out, 64);
                out.drain(span);
            }
            3 => {
                let (span, at) = (dice.span(&out, 64), dice.at(&out));
                let copy = out[span].to_vec();
                out.splice(at..at, copy);
            }
            4 => {
                let (at, other) = (dice.at(&out), &corpus[dice.roll(corpus.len())]);
                let span = dice.span(other, 256);
                out.splice(at..at, other[span].iter().copied());
            }
            5 if dice.roll(4) == 0 => {
                let at = dice.at(&out);
                out.truncate(at);
            }
            6 => {
                // The same piece many times: what grows with nesting or with the square shows.
                let (at, piece) = (dice.at(&out), PIECES[dice.roll(PIECES.len())]);
                let times = 1 << dice.roll(9);
                out.splice(at..at, piece.repeat(times));
            }
            _ => {
                let (span, piece) = (dice.span(&out, 4), PIECES[dice.roll(PIECES.len())]);
                out.splice(span, piece.iter().copied());
            }
        }
    }
    out.truncate(most);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_and_another_makes_others() {
        let corpus = [b"GET / HTTP/1.1\r\n\r\n".to_vec(), b"POST".to_vec()];
        let some = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| mutate(&corpus, &mut dice, 100)).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        assert!(some(3).iter().all(|input| input.len() <= 100));
    }
}
