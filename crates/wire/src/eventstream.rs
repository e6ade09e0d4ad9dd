//! Event streams (`application/vnd.amazon.eventstream`; Smithy's "Amazon Event Stream Specification"): messages of named
//! values and a payload, one after the other in the body of an answer.
//!
//! A message: its length, the length of its headers and a CRC-32 of both, 4 bytes each; headers; payload; a CRC-32 of all.

use crate::error::DecodeError;
use crate::schema::{Protocol, Role};
use crate::shape::{Empty, Slot, Structure, View};
use crate::{cbor, json};

/// The content type of a body of events.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// One message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// In their order; no name twice.
    pub headers: Vec<(String, Header)>,
    pub payload: Vec<u8>,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq)]
pub enum Header {
    Boolean(bool),
    Byte(i8),
    Short(i16),
    Integer(i32),
    Long(i64),
    Bytes(Vec<u8>),
    Text(String),
    /// Milliseconds since 1970.
    Timestamp(i64),
    Uuid([u8; 16]),
}

/// Length, length of the headers, CRC-32 of both.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
/// The specification's limits, in bytes.
const MAX_HEADERS: usize = 128 << 10;
const MAX_PAYLOAD: usize = 24 << 20;

/// The name of the message that comes first: an answer's members besides the stream.
const INITIAL: &str = "initial-response";

impl Message {
    /// A message of AWS's: what it is, its name, and who reads its payload.
    fn of(protocol: Protocol, kind: &str, name: &str, payload: Vec<u8>) -> Self {
        let content = if protocol == Protocol::Cbor { "application/cbor" } else { "application/json" };
        let header = |name: &str, value: &str| (name.to_owned(), Header::Text(value.to_owned()));
        let named = header(&format!(":{kind}-type"), name);
        Self { headers: vec![header(":message-type", kind), named, header(":content-type", content)], payload }
    }

    /// The text of a header.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(known, value)| match value {
            Header::Text(text) if known == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// Appends it in bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            headers.push(name.len().min(255) as u8);
            headers.extend_from_slice(&name.as_bytes()[..name.len().min(255)]);
            value.write(&mut headers);
        }
        let begin = out.len();
        let length = PRELUDE + headers.len() + self.payload.len() + CHECKSUM;
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
        out.extend_from_slice(&checksum(&out[begin..]).to_be_bytes());
        out.extend_from_slice(&headers);
        out.extend_from_slice(&self.payload);
        out.extend_from_slice(&checksum(&out[begin..]).to_be_bytes());
    }

    /// Takes one off the front; `None` while it is not whole.
    pub fn read(bytes: &mut &[u8]) -> Result<Option<Self>, DecodeError> {
        if bytes.len() < PRELUDE {
            return Ok(None);
        }
        let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if number(8) != checksum(&bytes[..8]) {
            return Err(DecodeError::new("the checksum of a message's beginning is wrong"));
        }
        let (length, headers) = (number(0) as usize, number(4) as usize);
        let payload = length.checked_sub(PRELUDE + CHECKSUM).and_then(|rest| rest.checked_sub(headers));
        let Some(payload) = payload.filter(|payload| *payload <= MAX_PAYLOAD && headers <= MAX_HEADERS) else {
            return Err(DecodeError::new("the lengths of a message are wrong"));
        };
        if bytes.len() < length {
            return Ok(None);
        }
        let (whole, rest) = bytes.split_at(length);
        if number(length - CHECKSUM) != checksum(&whole[..length - CHECKSUM]) {
            return Err(DecodeError::new("the checksum of a message is wrong"));
        }
        let mut named = &whole[PRELUDE..PRELUDE + headers];
        let mut message = Self { headers: Vec::new(), payload: whole[PRELUDE + headers..][..payload].to_vec() };
        while !named.is_empty() {
            let length = take(&mut named, 1)?[0];
            let name = text(take(&mut named, usize::from(length))?)?;
            if name.is_empty() || message.headers.iter().any(|(known, _)| *known == name) {
                return Err(DecodeError::new("the name of a header is empty or there twice"));
            }
            message.headers.push((name, Header::read(&mut named)?));
        }
        *bytes = rest;
        Ok(Some(message))
    }
}

impl Header {
    fn write(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u8, value: &[u8]| {
            out.push(kind);
            out.extend_from_slice(value);
        };
        match self {
            Self::Boolean(value) => put(u8::from(!value), &[]),
            Self::Byte(value) => put(2, &value.to_be_bytes()),
            Self::Short(value) => put(3, &value.to_be_bytes()),
            Self::Integer(value) => put(4, &value.to_be_bytes()),
            Self::Long(value) => put(5, &value.to_be_bytes()),
            Self::Bytes(value) => put(6, &sized(value)),
            Self::Text(value) => put(7, &sized(value.as_bytes())),
            Self::Timestamp(value) => put(8, &value.to_be_bytes()),
            Self::Uuid(value) => put(9, value),
        }
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        let kind = take(bytes, 1)?[0];
        let mut sized = || {
            let length = u16::from_be_bytes(array(bytes)?);
            take(bytes, usize::from(length))
        };
        Ok(match kind {
            0 => Self::Boolean(true),
            1 => Self::Boolean(false),
            2 => Self::Byte(i8::from_be_bytes(array(bytes)?)),
            3 => Self::Short(i16::from_be_bytes(array(bytes)?)),
            4 => Self::Integer(i32::from_be_bytes(array(bytes)?)),
            5 => Self::Long(i64::from_be_bytes(array(bytes)?)),
            6 => Self::Bytes(sized()?.to_vec()),
            7 => Self::Text(text(sized()?)?),
            8 => Self::Timestamp(i64::from_be_bytes(array(bytes)?)),
            9 => Self::Uuid(array(bytes)?),
            _ => return Err(DecodeError::new("the type of a header is unknown")),
        })
    }
}

/// The beginning of an answer whose member `stream` is a stream, and its only one: the message that comes first, then one
/// for each event that is there.
pub(crate) fn answer(protocol: Protocol, output: &dyn Structure, stream: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let none = if protocol == Protocol::Cbor { cbor::to_vec(&Empty {}) } else { json::to_vec(&Empty {}) };
    Message::of(protocol, "event", INITIAL, none).write(&mut out);
    if let View::Structure(events) = output.member(stream).view() {
        write_events(protocol, events, &mut out);
    }
    out
}

/// Appends a message for each member of a stream's union that is there.
pub fn write_events(protocol: Protocol, events: &dyn Structure, out: &mut Vec<u8>) {
    for (index, member) in events.schema().members.iter().enumerate() {
        let View::Structure(event) = events.member(index).view() else { continue };
        let payload = if protocol == Protocol::Cbor { cbor::to_vec(event) } else { json::to_vec(event) };
        let kind = if event.schema().role == Role::Error { "exception" } else { "event" };
        Message::of(protocol, kind, member.name, payload).write(out);
    }
}

/// Fills an output from the messages of its answer; of several events of one kind the last counts.
pub(crate) fn read_answer(
    protocol: Protocol,
    output: &mut dyn Structure,
    stream: usize,
    mut body: &[u8],
) -> Result<(), DecodeError> {
    while !body.is_empty() {
        let message = Message::read(&mut body)?.ok_or_else(|| DecodeError::new("a message is cut short"))?;
        let name = message.text(":event-type").or_else(|| message.text(":exception-type")).unwrap_or_default();
        if name == INITIAL {
            continue;
        }
        let Slot::Structure(events) = output.member_mut(stream).slot() else { return Ok(()) };
        // What we do not know yet is left out.
        let Some(index) = events.schema().position(name) else { continue };
        if let Slot::Structure(event) = events.member_mut(index).slot() {
            match protocol {
                Protocol::Cbor => cbor::read_slice(event, &message.payload)?,
                _ => json::read_slice(event, &message.payload)?,
            }
        }
    }
    Ok(())
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// With its length before it; what is longer than 65,535 bytes is cut.
fn sized(value: &[u8]) -> Vec<u8> {
    let length = value.len().min(usize::from(u16::MAX));
    let mut out = (length as u16).to_be_bytes().to_vec();
    out.extend_from_slice(&value[..length]);
    out
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, rest) =
        bytes.split_at_checked(count).ok_or_else(|| DecodeError::new("the headers of a message are cut short"))?;
    *bytes = rest;
    Ok(taken)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let mut array = [0; N];
    array.copy_from_slice(take(bytes, N)?);
    Ok(array)
}

fn text(bytes: &[u8]) -> Result<String, DecodeError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::new("a header is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = Header> {
        prop_oneof![
            any::<bool>().prop_map(Header::Boolean),
            any::<i8>().prop_map(Header::Byte),
            any::<i16>().prop_map(Header::Short),
            any::<i32>().prop_map(Header::Integer),
            any::<i64>().prop_map(Header::Long),
            any::<Vec<u8>>().prop_map(Header::Bytes),
            any::<String>().prop_map(Header::Text),
            any::<i64>().prop_map(Header::Timestamp),
            any::<[u8; 16]>().prop_map(Header::Uuid),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            headers in proptest::collection::btree_map("[a-z:-]{1,40}", header(), 0..5),
            payload: Vec<u8>,
            more: Vec<u8>,
        ) {
            let message = Message { headers: headers.into_iter().collect(), payload };
            let mut bytes = Vec::new();
            message.write(&mut bytes);
            for cut in 0..bytes.len() {
                prop_assert_eq!(Message::read(&mut &bytes[..cut]), Ok(None));
            }
            let whole = bytes.len();
            bytes.extend_from_slice(&more);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(Message::read(&mut rest), Ok(Some(message)));
            prop_assert_eq!(rest, &bytes[whole..]);
            // A byte that is another is noticed.
            bytes[more.len() % whole] ^= 1;
            prop_assert!(!matches!(Message::read(&mut bytes.as_slice()), Ok(Some(_))));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes: Vec<u8>) {
            let _ = Message::read(&mut bytes.as_slice());
        }
    }

    #[test]
    fn an_empty_message_is_what_the_specification_shows() {
        let mut bytes = Vec::new();
        Message::default().write(&mut bytes);
        assert_eq!(bytes, [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff]);
    }
}
