//! YAML as a tree that knows its lines: what errors in manifests are told by.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use std::collections::HashMap;

/// Deeper nesting than this is refused.
const DEPTH: usize = 64;
/// More nodes than this, aliases written out, are refused: a few lines of aliases of aliases would be millions.
const NODES: usize = 100_000;

/// A value and the line it begins in, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    /// `plain`: written without quotes, so that it may be a number or a truth value.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// In order, each key once.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    pub line: usize,
}

/// Where and why a text is not YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub message: String,
}

impl Node {
    pub fn map(&self) -> Option<&[(Key, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key, where this is a map that has it.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.map()?.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// Lays `over` on this: maps are joined key by key, anything else is replaced.
    pub fn merge(&mut self, over: &Node) {
        self.merge_in("", over);
    }

    fn merge_in(&mut self, parent: &str, over: &Node) {
        let (Kind::Map(mine), Kind::Map(theirs)) = (&mut self.kind, &over.kind) else {
            *self = over.clone();
            return;
        };
        self.line = over.line;
        for (key, value) in theirs {
            // Two ways to say one thing: who says the other one means to replace the first.
            for other in rivals(parent, &key.name) {
                mine.retain(|(k, _)| k.name != *other);
            }
            match mine.iter_mut().find(|(k, _)| k.name == key.name) {
                Some((k, node)) => {
                    k.line = key.line;
                    node.merge_in(&key.name, value);
                }
                None => mine.push((key.clone(), value.clone())),
            }
        }
    }

    /// Changes every scalar in it.
    pub fn each_scalar<E>(&mut self, change: &mut impl FnMut(usize, &str) -> Result<String, E>) -> Result<(), E> {
        match &mut self.kind {
            Kind::Null => {}
            Kind::Scalar { text, .. } => *text = change(self.line, text)?,
            Kind::List(items) => {
                for item in items {
                    item.each_scalar(change)?;
                }
            }
            Kind::Map(entries) => {
                for (_, node) in entries {
                    node.each_scalar(change)?;
                }
            }
        }
        Ok(())
    }
}

/// Keys of a parent that cannot stand beside this one.
fn rivals(parent: &str, name: &str) -> &'static [&'static str] {
    match (parent, name) {
        ("image", "build") => &["location"],
        ("image", "location") => &["build"],
        ("count", "spot") => &["range", "cpu_percentage", "memory_percentage", "requests", "response_time", "cooldown"],
        ("count", "range") => &["spot"],
        _ => &[],
    }
}

/// The document in a text; an empty one is an empty map.
pub fn parse(text: &str) -> Result<Node, Fault> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    loop {
        let (event, line) = reader.next()?;
        match event {
            Event::StreamStart | Event::Nothing | Event::DocumentStart(_) => {}
            Event::StreamEnd => return Ok(Node { line: 1, kind: Kind::Map(Vec::new()) }),
            event => {
                let node = reader.node(event, line, 0)?;
                loop {
                    match reader.next()? {
                        (Event::StreamEnd, _) => break,
                        (Event::DocumentEnd | Event::Nothing, _) => {}
                        (_, line) => return Err(Fault { line, message: "a second document begins here".into() }),
                    }
                }
                return Ok(match node.kind {
                    Kind::Null => Node { line: node.line, kind: Kind::Map(Vec::new()) },
                    _ => node,
                });
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Fault> {
        match self.parser.next() {
            None => Ok((Event::StreamEnd, 0)),
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(Fault { line: error.marker().line(), message: error.info().to_owned() }),
        }
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Fault> {
        self.nodes += 1;
        if depth > DEPTH || self.nodes > NODES {
            return Err(Fault { line, message: "too large or nested too deeply".into() });
        }
        let tag = match &event {
            Event::Scalar(_, _, _, tag) | Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) => tag.as_ref(),
            _ => None,
        };
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            let message = format!("!{} is CloudFormation's and not read here: write the value itself", tag.suffix);
            return Err(Fault { line, message });
        }
        let (anchor, kind) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                (anchor, if null { Kind::Null } else { Kind::Scalar { text: text.into_owned(), plain } })
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, line) => items.push(self.node(event, line, depth + 1)?),
                    }
                }
                (anchor, Kind::List(items))
            }
            Event::MappingStart(anchor, _) => (anchor, Kind::Map(self.entries(depth)?)),
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor);
                let mut node = known.cloned().ok_or_else(|| Fault { line, message: "an unknown alias".into() })?;
                self.nodes += size(&node);
                if self.nodes > NODES {
                    return Err(Fault { line, message: "too large with its aliases written out".into() });
                }
                node.line = line;
                return Ok(node);
            }
            _ => return Err(Fault { line, message: "a value is missing".into() }),
        };
        let node = Node { line, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Fault> {
        let (mut entries, mut merged): (Vec<(Key, Node)>, Vec<Node>) = (Vec::new(), Vec::new());
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let name = match self.node(event, line, depth + 1)?.kind {
                Kind::Scalar { text, .. } => text,
                _ => return Err(Fault { line, message: "a name is expected here".into() }),
            };
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            if name == "<<" {
                match value.kind {
                    Kind::List(items) => merged.extend(items),
                    _ => merged.push(value),
                }
                continue;
            }
            if let Some((first, _)) = entries.iter().find(|(key, _)| key.name == name) {
                let message = format!("{name} is here a second time: the first is in line {}", first.line);
                return Err(Fault { line, message });
            }
            entries.push((Key { name, line }, value));
        }
        for node in merged {
            let Kind::Map(more) = node.kind else {
                return Err(Fault { line: node.line, message: "<< takes maps only".into() });
            };
            for (key, value) in more {
                if entries.iter().all(|(k, _)| k.name != key.name) {
                    entries.push((key, value));
                }
            }
        }
        Ok(entries)
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Null | Kind::Scalar { .. } => 0,
        Kind::List(items) => items.iter().map(size).sum(),
        Kind::Map(entries) => entries.iter().map(|(_, node)| size(node)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(node: &Node, name: &str) -> String {
        match &node.get(name).unwrap().kind {
            Kind::Scalar { text, .. } => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_know_their_lines_and_whether_they_were_quoted() {
        let node = parse("# first\na: 1\nb:\n  c: '2'\n").unwrap();
        assert_eq!(node.get("a").unwrap().line, 2);
        let c = node.get("b").unwrap().get("c").unwrap();
        assert_eq!((c.line, &c.kind), (4, &Kind::Scalar { text: "2".into(), plain: false }));
        assert_eq!(parse("").unwrap().map(), Some(&[][..]));
    }

    #[test]
    fn anchors_and_merge_keys_are_written_out() {
        let node = parse("x: &x\n  a: 1\n  b: 2\ny:\n  <<: *x\n  b: 3\n").unwrap();
        let y = node.get("y").unwrap();
        assert_eq!((scalar(y, "a").as_str(), scalar(y, "b").as_str()), ("1", "3"));
    }

    #[test]
    fn faults_name_the_line() {
        assert_eq!(parse("a: 1\na: 2\n").unwrap_err().line, 2);
        assert_eq!(parse("a: [1\nb: 2\n").unwrap_err().line, 2);
        assert_eq!(parse("a: 1\n---\nb: 1\n").unwrap_err().message, "a second document begins here");
        let bomb: String = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".into(), |text, i| {
            let of = format!("*a{}", i - 1);
            format!("{text}a{i}: &a{i} [{}]\n", [of.as_str(); 9].join(", "))
        });
        assert!(parse(&bomb).unwrap_err().message.contains("too large"));
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn overrides_join_maps_and_replace_the_rest() {
        let mut base = parse("image: {build: a, port: 1}\ncount: {range: 1-2, requests: 3}\nlist: [1]\n").unwrap();
        base.merge(&parse("image: {location: b}\ncount: 4\nlist: [2]\n").unwrap());
        let image = base.get("image").unwrap();
        assert_eq!((image.get("build"), scalar(image, "location")), (None, "b".into()));
        assert_eq!(scalar(image, "port"), "1");
        assert_eq!(scalar(&base, "count"), "4");
        assert!(matches!(&base.get("list").unwrap().kind, Kind::List(items) if items.len() == 1));
    }
}
