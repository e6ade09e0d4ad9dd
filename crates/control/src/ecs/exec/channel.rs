//! The agent's side of a data channel, without its connection: what is heard becomes events, what is said
//! becomes messages in order. Over one connection nothing is lost, so nothing is sent again; what a client sends
//! again is acknowledged again and has no further effect.

use quarry_domain::door::Door;
use quarry_wire::datachannel::{
    ACKNOWLEDGE, BadMessage, CHANNEL_CLOSED, ChannelClosed, FIN, HandshakeComplete, HandshakeRequest,
    HandshakeResponse, INPUT, Message, OUTPUT, Payload, RequestedAction, Size, TERMINATE_SESSION,
};

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is ready to hear.
    Ready,
    /// It cannot take part, in words.
    Unable(String),
    Input(Vec<u8>),
    /// There is no more input.
    End,
    Size {
        rows: u16,
        columns: u16,
    },
    /// The session is to end.
    Terminate,
}

pub struct Channel {
    door: Door,
    session: String,
    /// Sequence numbers of what comes and what goes next.
    expected: i64,
    next: i64,
    began_ms: i64,
}

impl Channel {
    pub fn new(door: Door, session: &str) -> Self {
        let began_ms = door.now_ms();
        Self { door, session: session.to_owned(), expected: 0, next: 0, began_ms }
    }

    /// What is said first: what kind of session it is.
    pub fn greet(&mut self) -> Vec<u8> {
        let request = HandshakeRequest {
            agent_version: AGENT_VERSION.to_owned(),
            requested_client_actions: vec![RequestedAction {
                action_type: "SessionType".to_owned(),
                action_parameters: serde_json::json!({"SessionType": "InteractiveCommands", "Properties": {}}),
            }],
        };
        self.say(Payload::HandshakeRequest, serde_json::to_vec(&request).unwrap_or_default())
    }

    pub fn greeted(&mut self) -> Vec<u8> {
        let complete = HandshakeComplete {
            handshake_time_to_complete: (self.door.now_ms() - self.began_ms).max(0) * 1_000_000,
            customer_message: String::new(),
        };
        self.say(Payload::HandshakeComplete, serde_json::to_vec(&complete).unwrap_or_default())
    }

    /// The next message of the stream to the client.
    pub fn say(&mut self, payload: Payload, bytes: Vec<u8>) -> Vec<u8> {
        let message = Message::stream(OUTPUT, self.next, self.id(), self.now(), payload, bytes);
        self.next += 1;
        message.encode()
    }

    /// The last message; `output`: why, where there is something to say.
    pub fn close(&self, output: &str) -> Vec<u8> {
        let id = self.id();
        let closed = ChannelClosed {
            message_id: quarry_wire::datachannel::uuid(id),
            created_date: self.now().to_string(),
            session_id: self.session.clone(),
            message_type: CHANNEL_CLOSED.to_owned(),
            schema_version: 1,
            output: output.to_owned(),
            ..ChannelClosed::default()
        };
        let payload = serde_json::to_vec(&closed).unwrap_or_default();
        let kind = CHANNEL_CLOSED.to_owned();
        Message { kind, created_ms: self.now(), sequence: 0, flags: FIN, id, payload_type: 0, payload }.encode()
    }

    /// Takes in a message: its acknowledgement, if it gets one, and what it wants.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<(Option<Vec<u8>>, Option<Event>), BadMessage> {
        let message = Message::decode(bytes)?;
        if message.kind == ACKNOWLEDGE || message.kind != INPUT || message.sequence > self.expected {
            // Whoever sends too early sends again.
            return Ok((None, None));
        }
        let acknowledgement = Some(message.acknowledge(self.id(), self.now()).encode());
        if message.sequence < self.expected {
            return Ok((acknowledgement, None));
        }
        self.expected += 1;
        Ok((acknowledgement, event(message)))
    }

    fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.door.entropy.fill(&mut id);
        id
    }

    fn now(&self) -> u64 {
        self.door.now_ms().max(0).unsigned_abs()
    }
}

/// Of the agent whose protocol this is: one that has the handshake and ends sessions by a flag.
const AGENT_VERSION: &str = "3.3.1611.0";

fn event(message: Message) -> Option<Event> {
    let payload = message.payload;
    match Payload::known(message.payload_type)? {
        Payload::Output if message.flags & FIN != 0 && payload.is_empty() => Some(Event::End),
        Payload::Output => Some(Event::Input(payload)),
        Payload::Size => {
            let size: Size = serde_json::from_slice(&payload).ok()?;
            let of = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
            Some(Event::Size { rows: of(size.rows), columns: of(size.cols) })
        }
        Payload::HandshakeResponse => {
            let response: HandshakeResponse = match serde_json::from_slice(&payload) {
                Ok(response) => response,
                Err(error) => return Some(Event::Unable(format!("the handshake cannot be read: {error}"))),
            };
            let failed = response.processed_client_actions.iter().find(|action| action.action_status != 1);
            Some(match failed {
                None => Event::Ready,
                Some(action) => Event::Unable(format!("the client cannot do {}: {}", action.action_type, action.error)),
            })
        }
        Payload::Flag => (payload == TERMINATE_SESSION.to_be_bytes()).then_some(Event::Terminate),
        Payload::Error
        | Payload::Parameter
        | Payload::HandshakeRequest
        | Payload::HandshakeComplete
        | Payload::EncryptionChallengeRequest
        | Payload::EncryptionChallengeResponse
        | Payload::Errors
        | Payload::ExitCode => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_domain::door::TestDoor;
    use quarry_wire::datachannel::Acknowledged;

    fn input(sequence: i64, payload: Payload, bytes: &[u8]) -> Vec<u8> {
        Message::stream(INPUT, sequence, [7; 16], 1, payload, bytes.to_vec()).encode()
    }

    #[test]
    fn what_is_sent_again_has_one_effect_and_what_comes_too_early_none() {
        let mut channel = Channel::new(TestDoor::new(5).door(), "s");
        assert_eq!(Message::decode(&channel.greet()).unwrap().payload_type, Payload::HandshakeRequest as u32);
        let answer = br#"{"ClientVersion":"1.2.0.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}"#;
        let (acknowledgement, event) = channel.hear(&input(0, Payload::HandshakeResponse, answer)).unwrap();
        assert_eq!(event, Some(Event::Ready));
        let acknowledged = Message::decode(&acknowledgement.unwrap()).unwrap();
        let acknowledged: Acknowledged = serde_json::from_slice(&acknowledged.payload).unwrap();
        assert_eq!((acknowledged.sequence, acknowledged.kind.as_str()), (0, INPUT));
        let (acknowledgement, event) = channel.hear(&input(0, Payload::HandshakeResponse, answer)).unwrap();
        assert!(acknowledgement.is_some() && event.is_none());
        assert_eq!(channel.hear(&input(2, Payload::Output, b"late")).unwrap(), (None, None));
        let mut hear = |sequence, payload, bytes: &[u8]| channel.hear(&input(sequence, payload, bytes)).unwrap().1;
        assert_eq!(hear(1, Payload::Output, b"ls\r"), Some(Event::Input(b"ls\r".to_vec())));
        let size = Some(Event::Size { rows: 24, columns: 80 });
        assert_eq!(hear(2, Payload::Size, br#"{"cols":80,"rows":24}"#), size);
        assert_eq!(hear(3, Payload::Flag, &[0, 0, 0, 2]), Some(Event::Terminate));
        assert_eq!(hear(4, Payload::Size, b"not a size"), None);
        let mut end = Message::stream(INPUT, 5, [7; 16], 1, Payload::Output, Vec::new());
        end.flags |= FIN;
        assert_eq!(channel.hear(&end.encode()).unwrap().1, Some(Event::End));
        assert!(channel.hear(b"noise").is_err());
        let first = Message::decode(&channel.say(Payload::Output, b"x".to_vec())).unwrap();
        assert_eq!((first.sequence, first.kind.as_str()), (1, OUTPUT));
        let closed = Message::decode(&channel.close("why")).unwrap();
        let closed: ChannelClosed = serde_json::from_slice(&closed.payload).unwrap();
        assert_eq!((closed.output.as_str(), closed.session_id.as_str()), ("why", "s"));
    }
}
