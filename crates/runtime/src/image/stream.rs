//! A layer's bytes: hashed as stored, decompressed, hashed again, and bounded.

use super::{Failure, UnpackLimits, refuse};
use flate2::bufread::MultiGzDecoder;
use ring::digest::{Context, Digest, SHA256};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

/// A ratio says nothing about small layers.
const RATIO_FROM: u64 = 64 << 20;

/// Both digests of a layer that was read to its end.
pub struct Digests {
    pub compressed: Vec<u8>,
    pub uncompressed: Vec<u8>,
}

/// The uncompressed tar stream of a layer.
pub struct LayerStream {
    source: Box<dyn Read>,
    compressed: Rc<RefCell<Compressed>>,
    digest: Context,
    bytes: u64,
    limits: UnpackLimits,
    failure: Option<String>,
}

struct Compressed {
    digest: Context,
    bytes: u64,
}

/// The file, hashing what is read of it.
struct Hashing {
    file: File,
    seen: Rc<RefCell<Compressed>>,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        let mut seen = self.seen.borrow_mut();
        seen.digest.update(&buffer[..length]);
        seen.bytes += length as u64;
        Ok(length)
    }
}

/// One zstd frame after the other; skippable ones are skipped.
struct Zstd {
    source: BufReader<Hashing>,
    decoder: FrameDecoder,
    /// A frame was begun.
    active: bool,
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bad = |e: FrameDecoderError| io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {e}"));
        loop {
            if self.active {
                while self.decoder.can_collect() < buffer.len() && !self.decoder.is_finished() {
                    let wanted = BlockDecodingStrategy::UptoBytes(buffer.len() - self.decoder.can_collect());
                    self.decoder.decode_blocks(&mut self.source, wanted).map_err(bad)?;
                }
                match self.decoder.read(buffer)? {
                    0 if self.decoder.is_finished() => self.active = false,
                    length => return Ok(length),
                }
            }
            if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => self.active = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?;
                }
                Err(e) => return Err(bad(e)),
            }
        }
    }
}

impl LayerStream {
    /// Tells by the first bytes how the layer is compressed.
    pub fn open(file: File, limits: UnpackLimits) -> io::Result<Self> {
        let compressed = Rc::new(RefCell::new(Compressed { digest: Context::new(&SHA256), bytes: 0 }));
        let mut source = BufReader::with_capacity(64 << 10, Hashing { file, seen: compressed.clone() });
        let magic = source.fill_buf()?;
        let source: Box<dyn Read> = if magic.starts_with(&[0x1f, 0x8b]) {
            Box::new(MultiGzDecoder::new(source))
        } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || magic.get(1..4) == Some(&[0x2a, 0x4d, 0x18]) {
            Box::new(Zstd { source, decoder: FrameDecoder::new(), active: false })
        } else {
            Box::new(source)
        };
        Ok(Self { source, compressed, digest: Context::new(&SHA256), bytes: 0, limits, failure: None })
    }

    /// Why reading was stopped, if a bound was crossed.
    pub fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    /// Reads what follows the archive's end, so that both digests cover everything.
    pub fn finish(mut self) -> Result<Digests, Failure> {
        if let Err(e) = io::copy(&mut self, &mut io::sink()) {
            return Err(self.failure().map_or(Failure::from(e), refuse));
        }
        // The decoder may stop before the file does: trailing bytes count for the stored digest,
        // and a stored digest that does not match them is found out.
        let Self { source, compressed, digest, .. } = self;
        drop(source);
        let finish = |digest: Context| -> Digest { digest.finish() };
        let compressed = finish(compressed.borrow().digest.clone());
        Ok(Digests { compressed: compressed.as_ref().to_vec(), uncompressed: finish(digest).as_ref().to_vec() })
    }

    fn check_bounds(&mut self) -> io::Result<()> {
        let stored = self.compressed.borrow().bytes.max(1);
        if self.bytes > self.limits.bytes {
            self.failure = Some(format!("it unpacks to more than {} bytes", self.limits.bytes));
        } else if self.bytes > RATIO_FROM && self.bytes / stored > self.limits.ratio {
            self.failure = Some(format!("it unpacks to more than {} times its size", self.limits.ratio));
        }
        match &self.failure {
            Some(reason) => Err(io::Error::new(io::ErrorKind::InvalidData, reason.clone())),
            None => Ok(()),
        }
    }
}

impl Read for LayerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.digest.update(&buffer[..length]);
        self.bytes += length as u64;
        self.check_bounds()?;
        Ok(length)
    }
}
