//! A session of ExecuteCommand: the client's side of its data channel.

use crate::TransportError;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http_body_util::Empty;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use quarry_wire::datachannel::{
    CHANNEL_CLOSED, ChannelClosed, FIN, HandshakeRequest, HandshakeResponse, INPUT, Message, OUTPUT, OpenDataChannel,
    Payload, ProcessedAction, Size, uuid,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::Role;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// An open session.
pub struct Session {
    to: SplitSink<Socket, Frame>,
    from: SplitStream<Socket>,
    /// Sequence numbers of what goes and what comes next.
    next: i64,
    expected: i64,
}

/// What a session says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// From now on it takes input.
    Ready,
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// How the command ended, where that was asked for.
    ExitCode(i32),
    /// The session is over; why, where there is something to say.
    Closed(String),
}

/// Input that one message carries, in bytes; as much as AWS's own client sends.
const PIECE: usize = 1024;

fn failed(what: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TransportError {
    TransportError { message: what.to_owned(), unsent: false, source: Some(source.into()) }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // The system's generator does not fail where anything works.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

impl Session {
    /// Opens the data channel at `url` (`ws://…`) with the session's token.
    pub async fn open(url: &str, token: &str) -> Result<Self, TransportError> {
        let uri: http::Uri = url.parse().map_err(|e| failed("the session's URL cannot be read", e))?;
        let authority = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
        let no_address = || failed("the session's URL cannot be used", format!("{url} does not begin with ws://"));
        if uri.scheme_str() != Some("ws") || authority.is_empty() {
            return Err(no_address());
        }
        let stream = TcpStream::connect(&authority).await.map_err(|e| failed("cannot connect to the session", e))?;
        let _ = stream.set_nodelay(true);
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|e| failed("cannot speak to the session", e))?;
        tokio::spawn(connection.with_upgrades());
        use base64::Engine as _;
        let key = base64::engine::general_purpose::STANDARD.encode(random());
        let request = http::Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, &authority)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, key)
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|e| failed("the session's URL cannot be asked for", e))?;
        let answer = sender.send_request(request).await.map_err(|e| failed("the session does not answer", e))?;
        if answer.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(failed("the session cannot be opened", answer.status().to_string()));
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|e| failed("the session cannot be opened", e))?;
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        let (to, from) = socket.split();
        let mut session = Self { to, from, next: 0, expected: 0 };
        let first = OpenDataChannel {
            message_schema_version: "1.0".to_owned(),
            request_id: uuid(random()),
            token_value: token.to_owned(),
            client_id: uuid(random()),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let first = serde_json::to_string(&first).unwrap_or_default();
        session.send(Frame::Text(first.into())).await?;
        Ok(session)
    }

    pub async fn input(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        for piece in bytes.chunks(PIECE) {
            self.stream(Payload::Output, piece.to_vec(), 0).await?;
        }
        Ok(())
    }

    /// There is no more input. AWS's agent knows no such word.
    pub async fn end(&mut self) -> Result<(), TransportError> {
        self.stream(Payload::Output, Vec::new(), FIN).await
    }

    /// The size of the terminal, in characters.
    pub async fn resize(&mut self, rows: u32, cols: u32) -> Result<(), TransportError> {
        let size = serde_json::to_vec(&Size { cols, rows }).unwrap_or_default();
        self.stream(Payload::Size, size, 0).await
    }

    /// The next message, for [`hear`](Self::hear). Safe to be given up and called again.
    pub async fn next(&mut self) -> Result<Message, TransportError> {
        loop {
            let frame = match self.from.next().await {
                None => return Err(failed("the session broke off", "the connection has ended")),
                Some(frame) => frame.map_err(|e| failed("the session broke off", e))?,
            };
            if let Frame::Binary(bytes) = frame {
                return Message::decode(&bytes).map_err(|e| failed("the session cannot be understood", e));
            }
        }
    }

    /// Answers a message as it must be: what it says, if that is of interest.
    pub async fn hear(&mut self, message: Message) -> Result<Option<Said>, TransportError> {
        if message.kind == CHANNEL_CLOSED {
            let closed: ChannelClosed = serde_json::from_slice(&message.payload).unwrap_or_default();
            return Ok(Some(Said::Closed(closed.output)));
        }
        if message.kind != OUTPUT || message.sequence > self.expected {
            return Ok(None);
        }
        self.send(Frame::Binary(message.acknowledge(random(), now_ms()).encode().into())).await?;
        if message.sequence < self.expected {
            return Ok(None);
        }
        self.expected += 1;
        Ok(match Payload::known(message.payload_type) {
            Some(Payload::HandshakeRequest) => {
                self.agree(&message.payload).await?;
                None
            }
            Some(Payload::HandshakeComplete) => Some(Said::Ready),
            Some(Payload::Output) => Some(Said::Output(message.payload)),
            Some(Payload::Errors | Payload::Error) => Some(Said::Errors(message.payload)),
            Some(Payload::ExitCode) => {
                let code = std::str::from_utf8(&message.payload).ok().and_then(|text| text.trim().parse().ok());
                code.map(Said::ExitCode)
            }
            _ => None,
        })
    }

    async fn agree(&mut self, request: &[u8]) -> Result<(), TransportError> {
        let request: HandshakeRequest =
            serde_json::from_slice(request).map_err(|e| failed("the session cannot be understood", e))?;
        let answer = |action: quarry_wire::datachannel::RequestedAction| {
            let known = action.action_type == "SessionType";
            ProcessedAction {
                action_status: if known { 1 } else { 3 },
                error: if known { String::new() } else { format!("Unsupported action {}", action.action_type) },
                action_type: action.action_type,
                action_result: serde_json::Value::Null,
            }
        };
        let response = HandshakeResponse {
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            processed_client_actions: request.requested_client_actions.into_iter().map(answer).collect(),
            errors: None,
        };
        self.stream(Payload::HandshakeResponse, serde_json::to_vec(&response).unwrap_or_default(), 0).await
    }

    async fn stream(&mut self, payload: Payload, bytes: Vec<u8>, flags: u64) -> Result<(), TransportError> {
        let mut message = Message::stream(INPUT, self.next, random(), now_ms(), payload, bytes);
        message.flags |= flags;
        self.next += 1;
        self.send(Frame::Binary(message.encode().into())).await
    }

    async fn send(&mut self, frame: Frame) -> Result<(), TransportError> {
        self.to.send(frame).await.map_err(|e| failed("the session broke off", e))
    }
}
