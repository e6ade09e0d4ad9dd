//! The request side of Query and EC2 Query: `application/x-www-form-urlencoded` parameters.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::DecodeError;
use crate::json::non_finite;
use crate::scalar::Timestamp;
use crate::schema::{Element, Kind, Member, Protocol, Type};
use crate::shape::{Slot, Structure, Value, View};

/// Most dot-separated segments of a parameter name.
const MAX_DEPTH: usize = 64;

/// Everything but the characters RFC 3986 leaves unreserved.
pub(crate) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Parameters of a request, as a tree along the dots of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    root: Node,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Params {
    /// From form text: a body, or the query of a URI.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let mut params = Params::default();
        params.extend(text)?;
        Ok(params)
    }

    /// Adds the parameters of another form text.
    pub fn extend(&mut self, text: &str) -> Result<(), DecodeError> {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode_component(name)?;
            let value = decode_component(value)?;
            if name.split('.').count() > MAX_DEPTH {
                return Err(DecodeError::new("A parameter name has too many segments"));
            }
            let mut node = &mut self.root;
            for segment in name.split('.') {
                node = node.children.entry(segment.to_owned()).or_default();
            }
            node.value = Some(value);
        }
        Ok(())
    }

    /// The value of a parameter without dots.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.root.children.get(name)?.value.as_deref()
    }

    /// The names up to the first dot.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.root.children.keys().map(String::as_str)
    }

    /// Fills a shape from the parameters. Unknown parameters are ignored.
    pub fn read(&self, shape: &mut dyn Structure, protocol: Protocol) -> Result<(), DecodeError> {
        read_structure(shape, &self.root, protocol)
    }
}

/// A shape as parameters, in the order of its table: `Tags.member.1.Key` and its value.
pub fn to_params(shape: &dyn Structure, protocol: Protocol) -> Vec<(String, String)> {
    let mut out = Vec::new();
    write_structure(shape, "", protocol, &mut out);
    out
}

/// Form text of parameters.
pub fn encode(params: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in params {
        if !out.is_empty() {
            out.push('&');
        }
        out.extend(utf8_percent_encode(name, RESERVED));
        out.push('=');
        out.extend(utf8_percent_encode(value, RESERVED));
    }
    out
}

/// The name of a member in parameters of this protocol.
pub fn parameter_name(member: &Member, protocol: Protocol) -> Cow<'static, str> {
    match protocol {
        Protocol::Ec2 if !member.query.is_empty() => Cow::Borrowed(member.query),
        Protocol::Ec2 => capitalised(member.xml_name()),
        Protocol::Query | Protocol::Json | Protocol::Cbor | Protocol::RestJson => Cow::Borrowed(member.xml_name()),
    }
}

fn capitalised(name: &'static str) -> Cow<'static, str> {
    match name.as_bytes().first() {
        Some(first) if first.is_ascii_lowercase() => {
            Cow::Owned(format!("{}{}", char::from(first.to_ascii_uppercase()), &name[1..]))
        }
        _ => Cow::Borrowed(name),
    }
}

/// Decodes `%XX` and `+`; a `%` without two hex digits or bytes that are not UTF-8 are refused.
pub(crate) fn decode_component(text: &str) -> Result<String, DecodeError> {
    let bytes = text.as_bytes();
    for (i, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let digits = bytes.get(i + 1..i + 3).unwrap_or_default();
        if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(DecodeError::new("Keys may not contain invalid percent-encoding"));
        }
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| DecodeError::new("Parameters must be UTF-8"))
}

fn read_structure(shape: &mut dyn Structure, node: &Node, protocol: Protocol) -> Result<(), DecodeError> {
    for (i, member) in shape.schema().members.iter().enumerate() {
        let name = parameter_name(member, protocol);
        if let Some(child) = node.children.get(name.as_ref()) {
            fill(shape.member_mut(i), member.ty, child, protocol).map_err(|e| e.inside(&name))?;
        }
    }
    Ok(())
}

fn fill(target: &mut dyn Value, ty: &Type, node: &Node, protocol: Protocol) -> Result<(), DecodeError> {
    match (target.slot(), &ty.kind) {
        (Slot::List(list), Kind::List(element)) => {
            let items = match protocol {
                Protocol::Query if !ty.flattened => node.children.get(element.name).unwrap_or(node),
                _ => node,
            };
            for (index, item) in numbered(items)? {
                fill(list.push(), element.ty, item, protocol).map_err(|e| e.inside(index))?;
            }
        }
        (Slot::Map(map), Kind::Map(key, value)) => {
            let entries = if ty.flattened { node } else { node.children.get("entry").unwrap_or(node) };
            for (index, entry) in numbered(entries)? {
                let name = entry
                    .children
                    .get(key.name)
                    .and_then(|n| n.value.clone())
                    .ok_or_else(|| DecodeError::new("A map entry has no key").inside(index))?;
                let target = map.insert(name);
                if let Some(item) = entry.children.get(value.name) {
                    fill(target, value.ty, item, protocol).map_err(|e| e.inside(index))?;
                }
            }
        }
        (Slot::Structure(shape), _) => read_structure(shape, node, protocol)?,
        (slot, _) => {
            let text =
                node.value.as_deref().ok_or_else(|| DecodeError::new("Unexpected complex element termination"))?;
            read_scalar(slot, text)?;
        }
    }
    Ok(())
}

/// The children with a number for a name, in the order of their numbers.
fn numbered(node: &Node) -> Result<Vec<(&str, &Node)>, DecodeError> {
    let mut items = Vec::with_capacity(node.children.len());
    for (name, child) in &node.children {
        let number: u64 =
            name.parse().map_err(|_| DecodeError::new(format!("Unexpected list element termination: {name}")))?;
        items.push((number, name.as_str(), child));
    }
    items.sort_by_key(|(number, ..)| *number);
    Ok(items.into_iter().map(|(_, name, child)| (name, child)).collect())
}

/// Reads text into a scalar; lists, maps and structures are refused.
pub(crate) fn read_scalar(slot: Slot<'_>, text: &str) -> Result<(), DecodeError> {
    let wrong = |what: &str| DecodeError::new(format!("Value ({text}) is not a valid {what}"));
    match slot {
        Slot::Boolean(v) => {
            *v = match text.trim() {
                "true" | "True" | "TRUE" | "1" => true,
                "false" | "False" | "FALSE" | "0" => false,
                _ => return Err(wrong("boolean")),
            }
        }
        Slot::Integer(v) => *v = text.trim().parse().map_err(|_| wrong("integer"))?,
        Slot::Long(v) => *v = text.trim().parse().map_err(|_| wrong("long"))?,
        Slot::Double(v) => {
            *v = match text.trim() {
                "NaN" => f64::NAN,
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                text => text.parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| wrong("double"))?,
            }
        }
        Slot::String(v) => text.clone_into(v),
        Slot::Timestamp(v) => *v = Timestamp::parse(text).ok_or_else(|| wrong("timestamp"))?,
        Slot::Blob(v) => *v = BASE64.decode(text.trim()).map_err(|_| wrong("base64 text"))?,
        Slot::Document(_) | Slot::List(_) | Slot::Map(_) | Slot::Structure(_) => return Err(wrong("structure")),
    }
    Ok(())
}

/// A scalar as text; `None` for lists, maps, structures and what is absent.
pub(crate) fn scalar_text(view: View<'_>) -> Option<Cow<'_, str>> {
    Some(match view {
        View::Boolean(v) => Cow::Borrowed(if v { "true" } else { "false" }),
        View::Integer(v) => Cow::Owned(v.to_string()),
        View::Long(v) => Cow::Owned(v.to_string()),
        View::Double(v) => non_finite(v).map_or_else(|| Cow::Owned(format!("{v:?}")), Cow::Borrowed),
        View::String(v) => Cow::Borrowed(v),
        View::Timestamp(v) => Cow::Owned(v.to_string()),
        View::Blob(v) => Cow::Owned(BASE64.encode(v)),
        View::Absent | View::Document(_) | View::List(_) | View::Map(_) | View::Structure(_) => return None,
    })
}

fn write_structure(shape: &dyn Structure, prefix: &str, protocol: Protocol, out: &mut Vec<(String, String)>) {
    for (i, member) in shape.schema().members.iter().enumerate() {
        let view = shape.member(i).view();
        if !matches!(view, View::Absent) {
            write(view, member.ty, join(prefix, &parameter_name(member, protocol)), protocol, out);
        }
    }
}

fn write(view: View<'_>, ty: &Type, prefix: String, protocol: Protocol, out: &mut Vec<(String, String)>) {
    match (view, &ty.kind) {
        (View::List(list), Kind::List(element)) => {
            if list.is_empty() && protocol == Protocol::Query {
                out.push((prefix, String::new()));
                return;
            }
            let prefix = match protocol {
                Protocol::Query if !ty.flattened => join(&prefix, element.name),
                _ => prefix,
            };
            for (i, item) in (0..list.len()).filter_map(|i| Some((i, list.get(i)?))) {
                write(item.view(), element.ty, format!("{prefix}.{}", i + 1), protocol, out);
            }
        }
        (View::Map(map), Kind::Map(key, value)) => {
            let prefix = if ty.flattened { prefix } else { join(&prefix, "entry") };
            for (i, (name, item)) in map.entries().into_iter().enumerate() {
                out.push((entry(&prefix, i + 1, key), name.to_owned()));
                write(item.view(), value.ty, entry(&prefix, i + 1, value), protocol, out);
            }
        }
        (View::Structure(shape), _) => write_structure(shape, &prefix, protocol, out),
        (view, _) => {
            if let Some(text) = scalar_text(view) {
                out.push((prefix, text.into_owned()));
            }
        }
    }
}

fn entry(prefix: &str, number: usize, element: &Element) -> String {
    format!("{prefix}.{number}.{}", element.name)
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}
