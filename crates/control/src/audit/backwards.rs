//! Reads the log from its end.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// Bytes that are read at once.
const BLOCK: u64 = 256 << 10;

/// The place behind a record: files keep their inode's number when they are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub inode: u64,
    /// Bytes of the file up to and with the record.
    pub end: u64,
}

/// The records of some files, the last one first; each with the place behind it.
pub struct Backwards {
    /// The newest first.
    files: VecDeque<Reader>,
}

struct Reader {
    file: File,
    inode: u64,
    /// Where `unread` begins in the file.
    start: u64,
    /// What was read of the file and not given; it ends with a record's newline, or is empty.
    unread: Vec<u8>,
}

impl Backwards {
    /// Of these files, the newest first. `from`: the first record given is the one that ends there; none, if its file
    /// is gone.
    pub fn new(paths: Vec<PathBuf>, from: Option<Position>) -> io::Result<Self> {
        let (mut files, mut seen) = (VecDeque::new(), HashSet::new());
        for path in paths {
            let file = match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let metadata = file.metadata()?;
            // Turned while they are opened, one may be met twice.
            if seen.insert(metadata.ino()) {
                files.push_back(Reader { file, inode: metadata.ino(), start: metadata.len(), unread: Vec::new() });
            }
        }
        if let Some(from) = from {
            while files.front().is_some_and(|reader| reader.inode != from.inode) {
                files.pop_front();
            }
            if let Some(reader) = files.front_mut() {
                reader.start = reader.start.min(from.end);
            }
        }
        Ok(Self { files })
    }
}

impl Iterator for Backwards {
    type Item = io::Result<(Position, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(reader) = self.files.front_mut() {
            match reader.previous() {
                Ok(Some((end, record))) => return Some(Ok((Position { inode: reader.inode, end }, record))),
                Ok(None) => drop(self.files.pop_front()),
                Err(error) => {
                    self.files.clear();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Reader {
    /// The record before those that were given, and where it ends. A last one whose newline is not written yet is left
    /// out.
    fn previous(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            if let Some(newline) = self.unread.iter().rposition(|byte| *byte == b'\n') {
                self.unread.truncate(newline + 1);
                let before = self.unread[..newline].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
                if let Some(begin) = before.or((self.start == 0).then_some(0)) {
                    let end = self.start + self.unread.len() as u64;
                    let record = self.unread[begin..newline].to_vec();
                    self.unread.truncate(begin);
                    return Ok(Some((end, record)));
                }
            }
            if self.start == 0 {
                return Ok(None);
            }
            let size = self.start.min(BLOCK);
            let mut block = vec![0; size as usize];
            self.start -= size;
            self.file.read_exact_at(&mut block, self.start)?;
            block.append(&mut self.unread);
            self.unread = block;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn texts(paths: &[PathBuf], from: Option<Position>) -> Vec<(Position, String)> {
        let records = Backwards::new(paths.to_vec(), from).unwrap();
        let records = records.map(|record| record.map(|(at, bytes)| (at, String::from_utf8(bytes).unwrap())));
        records.collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn the_last_record_comes_first_and_any_place_is_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("new"), dir.path().join("missing"), dir.path().join("old")];
        // Longer than a block, and one that is not written to its end.
        let long = "x".repeat(BLOCK as usize * 2 + 7);
        fs::write(&paths[0], format!("c\n{long}\n\ne\nunfinis")).unwrap();
        fs::write(&paths[2], "a\nb\n").unwrap();
        let all = texts(&paths, None);
        let seen: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(seen, ["e", "", &long, "c", "b", "a"]);
        for (at, (position, _)) in all.iter().enumerate() {
            assert_eq!(texts(&paths, Some(*position)), all[at..]);
        }
        let turned = [dir.path().join("new"), dir.path().join("newer")];
        fs::rename(&turned[0], &turned[1]).unwrap();
        fs::write(&turned[0], "f\n").unwrap();
        assert_eq!(texts(&turned, Some(all[0].0)), all[..4]);
        assert_eq!(texts(&paths[2..], Some(all[0].0)), [], "its file is gone");
    }
}
