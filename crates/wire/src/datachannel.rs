//! The messages of a Session Manager data channel, as the session-manager-plugin of AWS speaks them over a
//! WebSocket: first a text message ([`OpenDataChannel`]), then binary ones ([`Message`]).

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// [`Message::kind`]s.
pub const INPUT: &str = "input_stream_data";
pub const OUTPUT: &str = "output_stream_data";
pub const ACKNOWLEDGE: &str = "acknowledge";
pub const CHANNEL_CLOSED: &str = "channel_closed";

/// Of [`Message::flags`]: the first and the last message of a stream.
pub const SYN: u64 = 1;
pub const FIN: u64 = 2;

/// The kinds of payload in streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Payload {
    Output = 1,
    Error = 2,
    /// [`Size`]
    Size = 3,
    Parameter = 4,
    /// [`HandshakeRequest`]
    HandshakeRequest = 5,
    /// [`HandshakeResponse`]
    HandshakeResponse = 6,
    /// [`HandshakeComplete`]
    HandshakeComplete = 7,
    EncryptionChallengeRequest = 8,
    EncryptionChallengeResponse = 9,
    /// Four bytes, big-endian; see [`TERMINATE_SESSION`].
    Flag = 10,
    Errors = 11,
    /// A number in decimal digits.
    ExitCode = 12,
}

/// The flag that ends a session.
pub const TERMINATE_SESSION: u32 = 2;

/// Of a header, without the length of the payload that follows it: what its first field says.
const HEADER: usize = 116;
/// Where the payload begins.
const PAYLOAD: usize = HEADER + 4;
const KIND: std::ops::Range<usize> = 4..36;

/// A binary message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// At most 32 bytes.
    pub kind: String,
    pub created_ms: u64,
    pub sequence: i64,
    pub flags: u64,
    /// A UUID.
    pub id: [u8; 16],
    /// See [`Payload`]; 0 outside of streams.
    pub payload_type: u32,
    pub payload: Vec<u8>,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("the message is cut short")]
    Short,
    #[error("the message's header has a length that it cannot have")]
    Header,
    #[error("the message's type is no text")]
    Kind,
    #[error("the payload does not have the length or the digest that the message says")]
    Payload,
}

/// What the client says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OpenDataChannel {
    pub message_schema_version: String,
    pub request_id: String,
    pub token_value: String,
    pub client_id: String,
    #[serde(default)]
    pub client_version: String,
}

/// The payload of an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    #[serde(rename = "AcknowledgedMessageType")]
    pub kind: String,
    #[serde(rename = "AcknowledgedMessageId")]
    pub id: String,
    #[serde(rename = "AcknowledgedMessageSequenceNumber")]
    pub sequence: i64,
    #[serde(rename = "IsSequentialMessage")]
    pub sequential: bool,
}

/// The payload of [`CHANNEL_CLOSED`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChannelClosed {
    pub message_id: String,
    pub created_date: String,
    pub destination_id: String,
    pub session_id: String,
    pub message_type: String,
    pub schema_version: u32,
    /// Why, where there is something to say.
    pub output: String,
}

/// Of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub cols: u32,
    pub rows: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeRequest {
    pub agent_version: String,
    pub requested_client_actions: Vec<RequestedAction>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequestedAction {
    /// `SessionType`
    pub action_type: String,
    pub action_parameters: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeResponse {
    #[serde(default)]
    pub client_version: String,
    #[serde(default)]
    pub processed_client_actions: Vec<ProcessedAction>,
    #[serde(default)]
    pub errors: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProcessedAction {
    pub action_type: String,
    /// 1: done, 2: failed, 3: not known.
    #[serde(default)]
    pub action_status: i32,
    #[serde(default)]
    pub action_result: serde_json::Value,
    #[serde(default)]
    pub error: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeComplete {
    /// Nanoseconds.
    pub handshake_time_to_complete: i64,
    pub customer_message: String,
}

impl Payload {
    pub fn known(number: u32) -> Option<Self> {
        use Payload as P;
        let all = [
            P::Output,
            P::Error,
            P::Size,
            P::Parameter,
            P::HandshakeRequest,
            P::HandshakeResponse,
            P::HandshakeComplete,
            P::EncryptionChallengeRequest,
            P::EncryptionChallengeResponse,
            P::Flag,
            P::Errors,
            P::ExitCode,
        ];
        all.into_iter().find(|payload| *payload as u32 == number)
    }
}

impl Message {
    /// Part of a stream.
    pub fn stream(kind: &str, sequence: i64, id: [u8; 16], created_ms: u64, payload: Payload, bytes: Vec<u8>) -> Self {
        let flags = if sequence == 0 { SYN } else { 0 };
        Self { kind: kind.into(), created_ms, sequence, flags, id, payload_type: payload as u32, payload: bytes }
    }

    /// The answer to a message of a stream.
    pub fn acknowledge(&self, id: [u8; 16], created_ms: u64) -> Self {
        let payload =
            Acknowledged { kind: self.kind.clone(), id: uuid(self.id), sequence: self.sequence, sequential: true };
        Self {
            kind: ACKNOWLEDGE.into(),
            created_ms,
            sequence: 0,
            flags: SYN | FIN,
            id,
            payload_type: 0,
            payload: serde_json::to_vec(&payload).unwrap_or_default(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAYLOAD + self.payload.len());
        out.extend((HEADER as u32).to_be_bytes());
        let mut kind = [b' '; KIND.end - KIND.start];
        for (to, from) in kind.iter_mut().zip(self.kind.bytes()) {
            *to = from;
        }
        out.extend(kind);
        out.extend(1u32.to_be_bytes());
        out.extend(self.created_ms.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.flags.to_be_bytes());
        // The lower half of the UUID comes first.
        out.extend(&self.id[8..]);
        out.extend(&self.id[..8]);
        out.extend(digest(&SHA256, &self.payload).as_ref());
        out.extend(self.payload_type.to_be_bytes());
        out.extend((self.payload.len() as u32).to_be_bytes());
        out.extend(&self.payload);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (mut head, after) = bytes.split_at_checked(PAYLOAD).ok_or(BadMessage::Short)?;
        let header = u32::from_be_bytes(take(&mut head)) as usize;
        let kind: [u8; KIND.end - KIND.start] = take(&mut head);
        let _version: [u8; 4] = take(&mut head);
        let created_ms = u64::from_be_bytes(take(&mut head));
        let sequence = i64::from_be_bytes(take(&mut head));
        let flags = u64::from_be_bytes(take(&mut head));
        let (low, high): ([u8; 8], [u8; 8]) = (take(&mut head), take(&mut head));
        let expected: [u8; 32] = take(&mut head);
        let payload_type = u32::from_be_bytes(take(&mut head));
        let length = u32::from_be_bytes(take(&mut head)) as usize;
        // Headers may have grown at their end.
        let more = header.checked_sub(HEADER).ok_or(BadMessage::Header)?;
        let payload = after.get(more..).ok_or(BadMessage::Header)?;
        if payload.len() != length || (length > 0 && digest(&SHA256, payload).as_ref() != expected) {
            return Err(BadMessage::Payload);
        }
        let kind = std::str::from_utf8(&kind).map_err(|_| BadMessage::Kind)?;
        let kind = kind.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&high);
        id[8..].copy_from_slice(&low);
        Ok(Self { kind, created_ms, sequence, flags, id, payload_type, payload: payload.to_vec() })
    }
}

/// The next bytes of a header that is long enough.
fn take<const N: usize>(head: &mut &[u8]) -> [u8; N] {
    let mut out = [0; N];
    if let Some((taken, rest)) = head.split_at_checked(N) {
        out.copy_from_slice(taken);
        *head = rest;
    }
    out
}

/// A UUID in its text form.
pub fn uuid(id: [u8; 16]) -> String {
    let hex = crate::hash::hex(&id);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_has_its_fields_where_the_plugin_looks_for_them() {
        let id: [u8; 16] = std::array::from_fn(|n| n as u8);
        let message = Message::stream(INPUT, 7, id, 0x0102, Payload::Size, br#"{"cols":80,"rows":24}"#.to_vec());
        let bytes = message.encode();
        assert_eq!(&bytes[..4], [0, 0, 0, 116]);
        assert_eq!(&bytes[4..36], b"input_stream_data               ");
        assert_eq!(&bytes[36..40], [0, 0, 0, 1]);
        assert_eq!(&bytes[40..48], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(&bytes[48..56], [0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(&bytes[64..80], [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(&bytes[112..120], [0, 0, 0, 3, 0, 0, 0, 21]);
        assert_eq!(Message::decode(&bytes), Ok(message.clone()));
        let acknowledged: Acknowledged = serde_json::from_slice(&message.acknowledge(id, 1).payload).unwrap();
        assert_eq!((acknowledged.sequence, acknowledged.kind.as_str()), (7, INPUT));
        assert_eq!(acknowledged.id, "00010203-0405-0607-0809-0a0b0c0d0e0f");
        let mut broken = bytes.clone();
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(Message::decode(&broken), Err(BadMessage::Payload));
        assert_eq!(Message::decode(&bytes[..119]), Err(BadMessage::Short));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_read_and_nothing_panics(
            kind in "[a-z_]{1,32}",
            numbers in any::<(u64, i64, u64, u32)>(),
            id in any::<[u8; 16]>(),
            payload in any::<Vec<u8>>(),
            noise in any::<Vec<u8>>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let (created_ms, sequence, flags, payload_type) = numbers;
            let message = Message { kind, created_ms, sequence, flags, id, payload_type, payload };
            let bytes = message.encode();
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
            prop_assert!(Message::decode(&bytes[..cut.index(bytes.len())]).is_err());
            let _ = Message::decode(&noise);
            let mut longer = bytes.clone();
            longer[..4].copy_from_slice(noise.first_chunk().unwrap_or(&[0xff; 4]));
            let _ = Message::decode(&longer);
        }
    }
}
