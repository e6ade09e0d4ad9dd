//! The answer side of Query and EC2 Query: XML, written and read.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use crate::error::DecodeError;
use crate::form::{read_scalar, scalar_text};
use crate::schema::{Kind, Type};
use crate::shape::{Slot, Structure, Value, View};

/// Deepest nesting of elements that is read.
const MAX_DEPTH: usize = 128;

/// Writes the members of a shape as elements.
pub fn write_members(shape: &dyn Structure, out: &mut String) {
    for (i, member) in shape.schema().members.iter().enumerate() {
        let view = shape.member(i).view();
        if !matches!(view, View::Absent) {
            write(view, member.ty, member.xml_name(), out);
        }
    }
}

/// Writes one element with text.
pub fn write_text(name: &str, text: &str, out: &mut String) {
    open(name, out);
    escape(text, out);
    close(name, out);
}

/// Writes text with the characters escaped that XML reserves; characters XML 1.0 cannot
/// carry become U+FFFD.
pub fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            c if c < ' ' || c == '\u{FFFE}' || c == '\u{FFFF}' => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
}

/// An element that was read: its local name, its text, its children.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub name: String,
    /// All text directly inside, without that between children.
    pub text: String,
    pub children: Vec<Node>,
}

impl Node {
    /// Reads a document. DTDs and entities beyond XML's own five are refused.
    pub fn parse(text: &str) -> Result<Node, DecodeError> {
        let mut reader = Reader::from_str(text);
        let mut stack = vec![Node::default()];
        loop {
            let event = reader.read_event().map_err(|e| DecodeError::new(e.to_string()))?;
            let Some(top) = stack.last_mut() else {
                return Err(DecodeError::new("unbalanced XML"));
            };
            match event {
                Event::Start(start) => {
                    if stack.len() > MAX_DEPTH {
                        return Err(DecodeError::new("XML is nested too deeply"));
                    }
                    stack.push(Node { name: local_name(&start), ..Node::default() });
                }
                Event::Empty(start) => {
                    top.children.push(Node { name: local_name(&start), ..Node::default() });
                }
                Event::End(_) => {
                    let done = stack.pop().unwrap_or_default();
                    match stack.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => return Err(DecodeError::new("unbalanced XML")),
                    }
                }
                Event::Text(t) => {
                    top.text.push_str(&t.xml_content().map_err(|e| DecodeError::new(e.to_string()))?);
                }
                Event::CData(t) => {
                    top.text.push_str(&t.decode().map_err(|e| DecodeError::new(e.to_string()))?);
                }
                Event::GeneralRef(r) => top.text.push(resolve(&r)?),
                Event::DocType(_) => return Err(DecodeError::new("XML with a DTD is refused")),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof => break,
            }
        }
        match (stack.len(), stack.pop()) {
            (1, Some(mut root)) if root.children.len() == 1 => Ok(root.children.remove(0)),
            _ => Err(DecodeError::new("not one XML document")),
        }
    }

    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|c| c.name == name)
    }

    /// The text of the first child of this name.
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|c| c.text.as_str())
    }

    /// Fills a shape from the children. Unknown elements are ignored.
    pub fn read(&self, shape: &mut dyn Structure) -> Result<(), DecodeError> {
        for (i, member) in shape.schema().members.iter().enumerate() {
            let name = if member.ty.flattened { flat_name(member.ty, member.xml_name()) } else { member.xml_name() };
            let found: Vec<&Node> = self.children.iter().filter(|c| c.name == name).collect();
            if !found.is_empty() {
                fill(shape.member_mut(i), member.ty, &found).map_err(|e| e.inside(member.name))?;
            }
        }
        Ok(())
    }
}

/// Flattened lists take their element's own name where the model gives one.
fn flat_name(ty: &Type, name: &'static str) -> &'static str {
    match &ty.kind {
        Kind::List(element) if element.name != "member" => element.name,
        _ => name,
    }
}

fn fill(target: &mut dyn Value, ty: &Type, found: &[&Node]) -> Result<(), DecodeError> {
    let Some(first) = found.first() else {
        return Ok(());
    };
    match (target.slot(), &ty.kind) {
        (Slot::List(list), Kind::List(element)) => {
            let wrapped: Vec<&Node> = first.children.iter().collect();
            let items = if ty.flattened { found } else { &wrapped };
            for item in items {
                fill(list.push(), element.ty, &[item]).map_err(|e| e.inside(element.name))?;
            }
        }
        (Slot::Map(map), Kind::Map(key, value)) => {
            let wrapped: Vec<&Node> = first.children.iter().collect();
            let entries = if ty.flattened { found } else { &wrapped };
            for entry in entries {
                let name = entry.child_text(key.name).ok_or_else(|| DecodeError::new("a map entry has no key"))?;
                let target = map.insert(name.to_owned());
                if let Some(item) = entry.child(value.name) {
                    fill(target, value.ty, &[item]).map_err(|e| e.inside(name))?;
                }
            }
        }
        (Slot::Structure(shape), _) => first.read(shape)?,
        (slot, _) => read_scalar(slot, &first.text)?,
    }
    Ok(())
}

fn local_name(start: &BytesStart<'_>) -> String {
    String::from_utf8_lossy(start.local_name().as_ref()).into_owned()
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, DecodeError> {
    let refused = || DecodeError::new("XML entity is refused");
    if reference.is_char_ref() {
        return reference.resolve_char_ref().ok().flatten().ok_or_else(refused);
    }
    match reference.as_ref() {
        b"amp" => Ok('&'),
        b"lt" => Ok('<'),
        b"gt" => Ok('>'),
        b"quot" => Ok('"'),
        b"apos" => Ok('\''),
        _ => Err(refused()),
    }
}

fn write(view: View<'_>, ty: &Type, name: &'static str, out: &mut String) {
    match (view, &ty.kind) {
        (View::List(list), Kind::List(element)) => {
            let items = (0..list.len()).filter_map(|i| list.get(i));
            if ty.flattened {
                items.for_each(|item| write(item.view(), element.ty, flat_name(ty, name), out));
            } else {
                open(name, out);
                items.for_each(|item| write(item.view(), element.ty, element.name, out));
                close(name, out);
            }
        }
        (View::Map(map), Kind::Map(key, value)) => {
            if !ty.flattened {
                open(name, out);
            }
            let entry = if ty.flattened { name } else { "entry" };
            for (text, item) in map.entries() {
                open(entry, out);
                write_text(key.name, text, out);
                write(item.view(), value.ty, value.name, out);
                close(entry, out);
            }
            if !ty.flattened {
                close(name, out);
            }
        }
        (View::Structure(shape), _) => {
            open(name, out);
            write_members(shape, out);
            close(name, out);
        }
        (view, _) => {
            if let Some(text) = scalar_text(view) {
                write_text(name, &text, out);
            }
        }
    }
}

fn open(name: &str, out: &mut String) {
    out.push('<');
    out.push_str(name);
    out.push('>');
}

fn close(name: &str, out: &mut String) {
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}
