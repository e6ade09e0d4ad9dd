//! AWS's JSON form of shapes: used on the wire, and by whoever keeps shapes as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::error::DecodeError;
use crate::scalar::Timestamp;
use crate::shape::{Shape, Slot, Structure, Value, View};

/// A shape as a JSON object. Absent members are left out.
pub fn to_value(shape: &dyn Structure) -> Json {
    // Writing to `Json` cannot fail: keys are text and non-finite numbers become text.
    serde_json::to_value(Node(View::Structure(shape))).unwrap_or(Json::Null)
}

/// A shape as JSON text.
pub fn to_vec(shape: &dyn Structure) -> Vec<u8> {
    // Same reason as in `to_value`.
    serde_json::to_vec(&Node(View::Structure(shape))).unwrap_or_default()
}

/// A shape from a JSON object. Unknown members and nulls are ignored.
pub fn from_value<T: Shape>(json: &Json) -> Result<T, DecodeError> {
    let mut shape = T::default();
    read(&mut shape, json)?;
    Ok(shape)
}

/// A shape from JSON text. An empty text is an empty object.
pub fn from_slice<T: Shape>(text: &[u8]) -> Result<T, DecodeError> {
    let mut shape = T::default();
    read_slice(&mut shape, text)?;
    Ok(shape)
}

/// Like [`from_slice`], into a shape that is already there.
pub fn read_slice(shape: &mut dyn Structure, text: &[u8]) -> Result<(), DecodeError> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let json: Json = serde_json::from_slice(text).map_err(|e| DecodeError::new(e.to_string()))?;
    read(shape, &json)
}

/// Like [`from_value`], into a shape that is already there.
pub fn read(shape: &mut dyn Structure, json: &Json) -> Result<(), DecodeError> {
    let Json::Object(object) = json else {
        return Err(mismatch(json, "Structure"));
    };
    for (i, member) in shape.schema().members.iter().enumerate() {
        match object.get(member.name) {
            None | Some(Json::Null) => {}
            Some(json) => fill(shape.member_mut(i), json).map_err(|e| e.inside(member.name))?,
        }
    }
    Ok(())
}

/// For the [`shape!`](crate::shape) macro.
#[doc(hidden)]
pub fn serialize<S: Serializer>(shape: &dyn Structure, s: S) -> Result<S::Ok, S::Error> {
    Node(View::Structure(shape)).serialize(s)
}

/// For the [`shape!`](crate::shape) macro.
#[doc(hidden)]
pub fn deserialize<'de, D: Deserializer<'de>>(shape: &mut dyn Structure, d: D) -> Result<(), D::Error> {
    let json = Json::deserialize(d)?;
    read(shape, &json).map_err(|e| D::Error::custom(format!("{}: {}", e.path, e.message)))
}

struct Node<'a>(View<'a>);

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            View::Absent => s.serialize_unit(),
            View::Boolean(v) => s.serialize_bool(v),
            View::Integer(v) => s.serialize_i32(v),
            View::Long(v) => s.serialize_i64(v),
            View::Double(v) => match non_finite(v) {
                Some(text) => s.serialize_str(text),
                None => s.serialize_f64(v),
            },
            View::String(v) => s.serialize_str(v),
            View::Timestamp(v) if v.millis() % 1000 == 0 => s.serialize_i64(v.secs()),
            View::Timestamp(v) => s.serialize_f64(v.as_f64()),
            View::Blob(v) => s.serialize_str(&BASE64.encode(v)),
            View::Document(v) => v.serialize(s),
            View::List(list) => {
                let mut seq = s.serialize_seq(Some(list.len()))?;
                for i in 0..list.len() {
                    let item = list.get(i).ok_or_else(|| S::Error::custom("list shrank"))?;
                    seq.serialize_element(&Node(item.view()))?;
                }
                seq.end()
            }
            View::Map(map) => {
                let entries = map.entries();
                let mut out = s.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    out.serialize_entry(key, &Node(value.view()))?;
                }
                out.end()
            }
            View::Structure(shape) => {
                let mut out = s.serialize_map(None)?;
                for (i, member) in shape.schema().members.iter().enumerate() {
                    match shape.member(i).view() {
                        View::Absent => {}
                        view => out.serialize_entry(member.name, &Node(view))?,
                    }
                }
                out.end()
            }
        }
    }
}

/// The text forms of the numbers JSON has no literal for.
pub(crate) fn non_finite(v: f64) -> Option<&'static str> {
    if v.is_nan() {
        Some("NaN")
    } else if v == f64::INFINITY {
        Some("Infinity")
    } else if v == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}

fn fill(target: &mut dyn Value, json: &Json) -> Result<(), DecodeError> {
    match target.slot() {
        Slot::Boolean(v) => {
            *v = match json {
                Json::Bool(b) => *b,
                Json::String(s) if s == "true" => true,
                Json::String(s) if s == "false" => false,
                _ => return Err(mismatch(json, "Boolean")),
            }
        }
        Slot::Integer(v) => {
            *v = integer(json).and_then(|n| i32::try_from(n).ok()).ok_or_else(|| mismatch(json, "Integer"))?;
        }
        Slot::Long(v) => *v = integer(json).ok_or_else(|| mismatch(json, "Long"))?,
        Slot::Double(v) => *v = double(json).ok_or_else(|| mismatch(json, "Double"))?,
        Slot::String(v) => match json {
            Json::String(s) => v.clone_from(s),
            _ => return Err(mismatch(json, "String")),
        },
        Slot::Timestamp(v) => {
            let parsed = match json {
                Json::Number(n) => n.as_f64().and_then(Timestamp::from_f64),
                Json::String(s) => match s.parse::<f64>() {
                    Ok(seconds) => Timestamp::from_f64(seconds),
                    Err(_) => Timestamp::parse(s),
                },
                _ => None,
            };
            *v = parsed.ok_or_else(|| mismatch(json, "Timestamp"))?;
        }
        Slot::Blob(v) => match json {
            Json::String(s) => {
                *v = BASE64.decode(s).map_err(|_| DecodeError::new("Invalid base64 value"))?;
            }
            _ => return Err(mismatch(json, "Blob")),
        },
        Slot::Document(v) => v.clone_from(json),
        Slot::List(list) => match json {
            Json::Array(items) => {
                for (i, item) in items.iter().enumerate().filter(|(_, item)| !item.is_null()) {
                    fill(list.push(), item).map_err(|e| e.inside(&(i + 1).to_string()))?;
                }
            }
            _ => return Err(mismatch(json, "List")),
        },
        Slot::Map(map) => match json {
            Json::Object(entries) => {
                for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
                    fill(map.insert(key.clone()), value).map_err(|e| e.inside(key))?;
                }
            }
            _ => return Err(mismatch(json, "Map")),
        },
        Slot::Structure(shape) => read(shape, json)?,
    }
    Ok(())
}

/// A whole number; also one sent as text, and one with an empty fraction.
fn integer(json: &Json) -> Option<i64> {
    match json {
        Json::Number(n) => n.as_i64().or_else(|| whole(n.as_f64()?)),
        Json::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

pub(crate) fn whole(v: f64) -> Option<i64> {
    // 2^53: above it neighbouring whole numbers are no longer distinct.
    (v.fract() == 0.0 && v.abs() <= 9_007_199_254_740_992.0).then_some(v as i64)
}

fn double(json: &Json) -> Option<f64> {
    match json {
        Json::Number(n) => n.as_f64(),
        Json::String(s) => match s.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            s => s.trim().parse().ok().filter(|v: &f64| v.is_finite()),
        },
        _ => None,
    }
}

fn mismatch(json: &Json, wanted: &str) -> DecodeError {
    let found = match json {
        Json::Null => "NULL_VALUE",
        Json::Bool(true) => "TRUE_VALUE",
        Json::Bool(false) => "FALSE_VALUE",
        Json::Number(_) => "NUMBER_VALUE",
        Json::String(_) => "STRING_VALUE",
        Json::Array(_) => "START_ARRAY",
        Json::Object(_) => "START_OBJECT",
    };
    DecodeError::new(format!("{found} cannot be converted to {wanted}"))
}
