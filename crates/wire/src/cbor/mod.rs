//! Shapes as CBOR, the bodies of Smithy's RPC v2 CBOR protocol.

mod token;

use std::borrow::Cow;

use serde_json::{Map as Object, Value as Json};

use crate::error::DecodeError;
use crate::scalar::Timestamp;
use crate::shape::{Slot, Structure, Value, View};
use token::{Items, Reader, Token, Writer, deeper, malformed};

/// The tag of seconds since the epoch.
const EPOCH: u64 = 1;
/// Tags of integers beyond 64 bits and of decimal fractions, which no member holds.
const BIG: std::ops::RangeInclusive<u64> = 2..=5;

/// A shape as a CBOR map. Absent members are left out.
pub fn to_vec(shape: &dyn Structure) -> Vec<u8> {
    let mut out = Writer::default();
    write(View::Structure(shape), &mut out);
    out.into_bytes()
}

/// Fills a shape from a CBOR map. Unknown members and nulls are ignored; no bytes at all are an empty map.
pub fn read_slice(shape: &mut dyn Structure, bytes: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.is_at_end() {
        return Ok(());
    }
    let token = reader.token()?;
    structure(shape, token, &mut reader, 0)?;
    if reader.is_at_end() { Ok(()) } else { Err(malformed("something follows the end")) }
}

/// A JSON object as a CBOR map.
pub(crate) fn object_to_vec(object: &Object<String, Json>) -> Vec<u8> {
    let mut out = Writer::default();
    write_object(object, &mut out);
    out.into_bytes()
}

/// A CBOR map as a JSON object: for errors, whose members no table lists.
pub(crate) fn object(bytes: &[u8]) -> Result<Object<String, Json>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let token = reader.token()?;
    match document(token, &mut reader, 0)? {
        Json::Object(object) => Ok(object),
        _ => Err(malformed("not a map")),
    }
}

fn write(view: View<'_>, out: &mut Writer) {
    match view {
        View::Absent => out.null(),
        View::Boolean(v) => out.boolean(v),
        View::Integer(v) => out.integer(v.into()),
        View::Long(v) => out.integer(v),
        View::Double(v) => out.float(v),
        View::String(v) => out.text(v),
        View::Timestamp(v) => {
            out.tag(EPOCH);
            // Not a whole number: some clients read nothing else.
            out.float(v.as_f64());
        }
        View::Blob(v) => out.bytes(v),
        View::Document(v) => write_document(v, out),
        View::List(list) => {
            let items: Vec<&dyn Value> = (0..list.len()).filter_map(|i| list.get(i)).collect();
            out.array(items.len());
            items.into_iter().for_each(|item| write(item.view(), out));
        }
        View::Map(map) => {
            let entries = map.entries();
            out.map(entries.len());
            for (key, value) in entries {
                out.text(key);
                write(value.view(), out);
            }
        }
        View::Structure(shape) => {
            out.open_map();
            for (i, member) in shape.schema().members.iter().enumerate() {
                match shape.member(i).view() {
                    View::Absent => {}
                    view => {
                        out.text(member.name);
                        write(view, out);
                    }
                }
            }
            out.end();
        }
    }
}

fn write_document(json: &Json, out: &mut Writer) {
    match json {
        Json::Null => out.null(),
        Json::Bool(v) => out.boolean(*v),
        Json::Number(n) => match n.as_i64() {
            Some(v) => out.integer(v),
            None => out.float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(v) => out.text(v),
        Json::Array(items) => {
            out.array(items.len());
            items.iter().for_each(|item| write_document(item, out));
        }
        Json::Object(object) => write_object(object, out),
    }
}

fn write_object(object: &Object<String, Json>, out: &mut Writer) {
    out.map(object.len());
    for (key, value) in object {
        out.text(key);
        write_document(value, out);
    }
}

fn structure<'a>(
    shape: &mut dyn Structure,
    token: Token<'a>,
    reader: &mut Reader<'a>,
    depth: usize,
) -> Result<(), DecodeError> {
    let depth = deeper(depth)?;
    let token = untagged(token, reader, depth)?;
    let Token::Map(length) = token else { return Err(mismatch(&token, "Structure")) };
    let mut items = Items::new(length);
    while let Some(key) = items.next(reader)? {
        let name = text_key(key)?;
        let value = reader.token()?;
        match shape.schema().position(&name) {
            None => reader.skip(&value, depth)?,
            Some(_) if value == Token::Null => {}
            Some(i) => fill(shape.member_mut(i), value, reader, depth).map_err(|e| e.inside(&name))?,
        }
    }
    Ok(())
}

fn fill<'a>(
    target: &mut dyn Value,
    token: Token<'a>,
    reader: &mut Reader<'a>,
    depth: usize,
) -> Result<(), DecodeError> {
    let depth = deeper(depth)?;
    let token = untagged(token, reader, depth)?;
    match target.slot() {
        Slot::Boolean(v) => match token {
            Token::Boolean(b) => *v = b,
            _ => return Err(mismatch(&token, "Boolean")),
        },
        Slot::Integer(v) => {
            let n = integer(&token).and_then(|n| i32::try_from(n).ok());
            *v = n.ok_or_else(|| mismatch(&token, "Integer"))?;
        }
        Slot::Long(v) => *v = integer(&token).ok_or_else(|| mismatch(&token, "Long"))?,
        Slot::Double(v) => *v = number(&token).ok_or_else(|| mismatch(&token, "Double"))?,
        Slot::String(v) => match token {
            Token::Text(text) => *v = text.into_owned(),
            _ => return Err(mismatch(&token, "String")),
        },
        Slot::Timestamp(v) => {
            let at = number(&token).and_then(Timestamp::from_f64);
            *v = at.ok_or_else(|| mismatch(&token, "Timestamp"))?;
        }
        Slot::Blob(v) => match token {
            Token::Bytes(bytes) => *v = bytes.into_owned(),
            _ => return Err(mismatch(&token, "Blob")),
        },
        Slot::Document(v) => *v = document(token, reader, depth)?,
        Slot::List(list) => {
            let Token::Array(length) = token else { return Err(mismatch(&token, "List")) };
            let mut items = Items::new(length);
            let mut number = 0;
            while let Some(item) = items.next(reader)? {
                number += 1;
                if item != Token::Null {
                    fill(list.push(), item, reader, depth).map_err(|e| e.inside(&format!("{number}")))?;
                }
            }
        }
        Slot::Map(map) => {
            let Token::Map(length) = token else { return Err(mismatch(&token, "Map")) };
            let mut items = Items::new(length);
            while let Some(key) = items.next(reader)? {
                let key = text_key(key)?;
                let value = reader.token()?;
                if value != Token::Null {
                    fill(map.insert(key.to_string()), value, reader, depth).map_err(|e| e.inside(&key))?;
                }
            }
        }
        Slot::Structure(shape) => structure(shape, token, reader, depth)?,
    }
    Ok(())
}

/// The item behind tags. A tag says how to understand a value that a member's type says already.
fn untagged<'a>(mut token: Token<'a>, reader: &mut Reader<'a>, depth: usize) -> Result<Token<'a>, DecodeError> {
    let mut depth = depth;
    while let Token::Tag(tag) = token {
        if BIG.contains(&tag) {
            return Err(malformed("a number of more than 64 bits"));
        }
        depth = deeper(depth)?;
        token = reader.token()?;
    }
    Ok(token)
}

fn text_key(key: Token<'_>) -> Result<Cow<'_, str>, DecodeError> {
    match key {
        Token::Text(text) => Ok(text),
        _ => Err(malformed("a key that is not text")),
    }
}

fn integer(token: &Token<'_>) -> Option<i64> {
    match *token {
        Token::Unsigned(n) => i64::try_from(n).ok(),
        Token::Negative(n) => i64::try_from(n).ok().map(|n| !n),
        Token::Float(v) => crate::json::whole(v),
        _ => None,
    }
}

fn number(token: &Token<'_>) -> Option<f64> {
    match *token {
        Token::Float(v) => Some(v),
        Token::Unsigned(n) => Some(n as f64),
        Token::Negative(n) => Some(-1.0 - n as f64),
        _ => None,
    }
}

/// Any value as JSON; what JSON cannot say is refused.
fn document<'a>(token: Token<'a>, reader: &mut Reader<'a>, depth: usize) -> Result<Json, DecodeError> {
    let depth = deeper(depth)?;
    Ok(match untagged(token, reader, depth)? {
        Token::Unsigned(n) => n.into(),
        Token::Negative(n) => {
            i64::try_from(n).map(|n| !n).map_err(|_| malformed("a number of more than 64 bits"))?.into()
        }
        Token::Float(v) => v.into(),
        Token::Boolean(v) => v.into(),
        Token::Null => Json::Null,
        Token::Text(text) => text.into_owned().into(),
        Token::Array(length) => {
            let mut items = Items::new(length);
            let mut out = Vec::new();
            while let Some(item) = items.next(reader)? {
                out.push(document(item, reader, depth)?);
            }
            Json::Array(out)
        }
        Token::Map(length) => {
            let mut items = Items::new(length);
            let mut out = Object::new();
            while let Some(key) = items.next(reader)? {
                let key = text_key(key)?.into_owned();
                let value = reader.token()?;
                out.insert(key, document(value, reader, depth)?);
            }
            Json::Object(out)
        }
        token @ (Token::Bytes(_) | Token::Tag(_) | Token::Break) => return Err(mismatch(&token, "Document")),
    })
}

fn mismatch(token: &Token<'_>, wanted: &str) -> DecodeError {
    DecodeError::new(format!("A {} cannot be converted to {wanted}", token.kind()))
}
