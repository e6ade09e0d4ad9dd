//! The content of a snapshot as JSON in pieces, so that a change writes down what changed and nothing else.
//!
//! Each piece is an element of one of the snapshot's lists or maps (or a few elements of a list, that come and go
//! together) under a key of its own. The fingerprint is the sum of the pieces' hashes: it does not depend on their order,
//! and a piece is added and taken away without looking at the others.

use quarry_domain::snapshot::Hub;
use ring::digest::{Context, SHA256};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A list or map of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    LoadBalancers,
    TargetGroups,
    Names,
    Zones,
    Networks,
    SecurityGroups,
    Interfaces,
    Outside,
    Traces,
    Relays,
}

const SECTIONS: usize = Section::Relays as usize + 1;

#[derive(Clone, Debug, Default)]
pub struct Content {
    sections: [BTreeMap<String, Piece>; SECTIONS],
    hub: Option<Hub>,
    /// Of all pieces, modulo 2^64.
    hashes: u64,
    /// Bytes of JSON.
    length: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    json: Box<str>,
    hash: u64,
}

impl Content {
    pub fn new(hub: Option<Hub>) -> Self {
        Self { hub, ..Self::default() }
    }

    /// Puts elements of a list in the place of those that the key had.
    pub fn list<T: Serialize>(&mut self, section: Section, key: &str, elements: &[T]) {
        let mut text = String::new();
        for element in elements {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&json(element));
        }
        self.put(section, key, text);
    }

    /// Puts an entry of a map in the place of the one that its key had.
    pub fn entry<T: Serialize>(&mut self, section: Section, key: &str, value: &T) {
        let text = format!("{}:{}", json(&key), json(value));
        self.put(section, key, text);
    }

    /// Takes away what a key has.
    pub fn remove(&mut self, section: Section, key: &str) {
        if let Some(old) = self.sections[section as usize].remove(key) {
            self.forget(&old);
        }
    }

    /// Takes away everything of a section whose key begins so.
    pub fn clear(&mut self, section: Section, prefix: &str) {
        let of = &mut self.sections[section as usize];
        let keys: Vec<String> = of
            .range(prefix.to_owned()..)
            .map(|(key, _)| key.clone())
            .take_while(|key| key.starts_with(prefix))
            .collect();
        keys.iter().for_each(|key| self.remove(section, key));
    }

    /// Says whether two contents are the same; never 0.
    pub fn fingerprint(&self) -> i64 {
        let hub = hash("hub", "", &json(&self.hub));
        ((self.hashes.wrapping_add(hub) as i64) & i64::MAX).max(1)
    }

    /// The message to the proxies, as one line.
    pub fn line(&self, version: u64) -> String {
        let mut out = String::with_capacity(self.length + 1024);
        write!(out, "{{\"Snapshot\":{{\"version\":{version}").expect("a string takes everything");
        self.write(&mut out, ",\"load_balancers\":", Section::LoadBalancers, "[]");
        self.write(&mut out, ",\"target_groups\":", Section::TargetGroups, "{}");
        self.write(&mut out, ",\"names\":", Section::Names, "[]");
        self.write(&mut out, ",\"zones\":", Section::Zones, "[]");
        self.write(&mut out, ",\"networks\":", Section::Networks, "{}");
        self.write(&mut out, ",\"security\":{\"groups\":", Section::SecurityGroups, "{}");
        self.write(&mut out, ",\"interfaces\":", Section::Interfaces, "{}");
        self.write(&mut out, ",\"outside\":", Section::Outside, "{}");
        self.write(&mut out, "},\"traces\":", Section::Traces, "[]");
        self.write(&mut out, ",\"relays\":", Section::Relays, "[]");
        writeln!(out, ",\"hub\":{}}}}}", json(&self.hub)).expect("a string takes everything");
        out
    }

    fn write(&self, out: &mut String, name: &str, section: Section, brackets: &str) {
        out.push_str(name);
        let (open, close) = brackets.split_at(1);
        out.push_str(open);
        let mut first = true;
        for piece in self.sections[section as usize].values() {
            if !std::mem::replace(&mut first, false) {
                out.push(',');
            }
            out.push_str(&piece.json);
        }
        out.push_str(close);
    }

    fn put(&mut self, section: Section, key: &str, text: String) {
        if text.is_empty() {
            return self.remove(section, key);
        }
        if let Some(same) = self.sections[section as usize].get(key)
            && *same.json == *text
        {
            return;
        }
        self.remove(section, key);
        let piece = Piece { hash: hash(&format!("{section:?}"), key, &text), json: text.into() };
        self.hashes = self.hashes.wrapping_add(piece.hash);
        self.length += piece.json.len() + 1;
        self.sections[section as usize].insert(key.to_owned(), piece);
    }

    fn forget(&mut self, piece: &Piece) {
        self.hashes = self.hashes.wrapping_sub(piece.hash);
        self.length -= piece.json.len() + 1;
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.sections == other.sections && self.hub == other.hub
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("a snapshot is plain data with keys that are text")
}

/// 64 bits of SHA-256.
fn hash(section: &str, key: &str, text: &str) -> u64 {
    let mut context = Context::new(&SHA256);
    for part in [section, "\0", key, "\0", text] {
        context.update(part.as_bytes());
    }
    let first: [u8; 8] = context.finish().as_ref()[..8].try_into().expect("SHA-256 has 32 bytes");
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_domain::link::Down;
    use quarry_domain::snapshot::{NameRecord, Snapshot};

    fn name(name: &str) -> NameRecord {
        NameRecord { name: name.into(), ttl: 1, ..NameRecord::default() }
    }

    fn read(content: &Content, version: u64) -> Snapshot {
        match serde_json::from_str(&content.line(version)).unwrap() {
            Down::Snapshot(snapshot) => *snapshot,
            Down::Stop => panic!("a snapshot was written"),
        }
    }

    #[test]
    fn pieces_come_and_go_and_leave_no_trace() {
        let mut content = Content::new(None);
        let empty = content.fingerprint();
        assert_eq!(read(&content, 7), Snapshot { version: 7, ..Snapshot::default() });
        content.list(Section::Names, "a", &[name("one"), name("two")]);
        content.entry(Section::Networks, "198.18.0.1", &"vpc-1");
        let full = content.fingerprint();
        assert_ne!(full, empty);
        let seen = read(&content, 8);
        assert_eq!(seen.names, [name("one"), name("two")]);
        assert_eq!(seen.networks.values().collect::<Vec<_>>(), ["vpc-1"]);
        content.list(Section::Names, "b", &[name("three")]);
        assert_ne!(content.fingerprint(), full);
        content.list::<NameRecord>(Section::Names, "b", &[]);
        assert_eq!(content.fingerprint(), full, "what is empty is not there");
        content.clear(Section::Names, "");
        content.remove(Section::Networks, "198.18.0.1");
        assert_eq!((content.fingerprint(), content.length), (empty, 0));
    }
}
