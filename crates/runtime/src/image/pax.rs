//! Long names and PAX records of a tar archive, read here and not by the parser, because each is a
//! buffer whose size the archive names.

use super::{Failure, refuse};
use std::io::Read;

/// Longest extension record: far above any path, far below harm.
const EXTENSION_MAX: u64 = 1 << 20;

/// What extension entries said about the entry that follows them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<u64>,
    pub size: Option<u64>,
}

impl Extensions {
    /// Takes in one extension entry of tar type `kind`; false if it is not one.
    pub fn take(&mut self, kind: tar::EntryType, entry: &mut impl Read, size: u64) -> Result<bool, Failure> {
        match kind {
            tar::EntryType::GNULongName => self.path = Some(read_name(entry, size)?),
            tar::EntryType::GNULongLink => self.link = Some(read_name(entry, size)?),
            tar::EntryType::XHeader => {
                let records = read_bounded(entry, size)?;
                self.parse(&records)?;
            }
            tar::EntryType::XGlobalHeader => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `<length> <key>=<value>\n`, again and again.
    fn parse(&mut self, mut records: &[u8]) -> Result<(), Failure> {
        let bad = || refuse("a PAX record is malformed");
        while !records.is_empty() {
            let space = records.iter().take(12).position(|b| *b == b' ').ok_or_else(bad)?;
            let length = number(&records[..space]).ok_or_else(bad)? as usize;
            let record = records.get(space + 1..length).ok_or_else(bad)?;
            let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.uid = Some(number(value).ok_or_else(bad)?),
                b"gid" => self.gid = Some(number(value).ok_or_else(bad)?),
                b"size" => self.size = Some(number(value).ok_or_else(bad)?),
                b"mtime" => self.mtime = number(value.split(|b| *b == b'.').next().unwrap_or_default()),
                // Extended attributes are never applied; the rest changes nothing we keep.
                _ => {}
            }
            records = &records[length..];
        }
        Ok(())
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn read_name(entry: &mut impl Read, size: u64) -> Result<Vec<u8>, Failure> {
    let mut name = read_bounded(entry, size)?;
    if let Some(end) = name.iter().position(|b| *b == 0) {
        name.truncate(end);
    }
    Ok(name)
}

fn read_bounded(entry: &mut impl Read, size: u64) -> Result<Vec<u8>, Failure> {
    if size > EXTENSION_MAX {
        return Err(refuse(format!("a name or PAX header of {size} bytes")));
    }
    let mut bytes = Vec::new();
    entry.take(EXTENSION_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_malformed_ones_refused() {
        let mut found = Extensions::default();
        let ok = found.parse(b"19 path=some/where\n12 uid=1000\n31 SCHILY.xattr.user.a=\0binary\n");
        assert!(ok.is_ok());
        assert_eq!(found.path.as_deref(), Some(&b"some/where"[..]));
        assert_eq!(found.uid, Some(1000));
        for bad in [&b"5 path=long\n"[..], b"99 path=x\n", b"path=x\n", b"0 \n", b"3 \n", b"7 path\n "] {
            assert!(Extensions::default().parse(bad).is_err(), "{bad:?}");
        }
    }
}
