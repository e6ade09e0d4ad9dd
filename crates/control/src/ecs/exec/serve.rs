//! An open data channel: between a client's WebSocket and a command in a container.

use super::channel::{Channel, Event};
use super::{Open, Wishes};
use crate::platform::Platform;
use futures_util::{SinkExt, StreamExt};
use quarry_domain::task::{Exec, ExecEnd, ExecSpec};
use quarry_wire::datachannel::{OpenDataChannel, Payload};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as Frame};

/// How long a client may take for its first words.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest message that is taken, in bytes. Clients send what somebody types, or a kilobyte at a time.
const LARGEST: usize = 256 << 10;
/// Output that one message carries; as much as AWS's agent sends.
const PIECE: usize = 1024;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// Told to the client.
    #[error("{0}")]
    Refused(String),
    /// Nobody is there to be told.
    #[error("the client has left")]
    Left,
}

impl From<SocketError> for Fault {
    fn from(_: SocketError) -> Self {
        Self::Left
    }
}

/// Serves a data channel over `stream`, which was upgraded to a WebSocket, until either side ends. A client that
/// leaves takes its command with it.
pub async fn serve(
    platform: Arc<Platform>,
    id: String,
    query: String,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let mut talk = Talk { socket, channel: Channel::new(platform.door.clone(), &id), wishes: Wishes::of(&query) };
    let outcome = match tokio::time::timeout(PATIENCE, talk.open(&platform, &id)).await {
        Ok(Ok(open)) => talk.run(&platform, &open).await,
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(Fault::Left),
    };
    let last = match outcome {
        Ok(()) => String::new(),
        Err(Fault::Refused(reason)) => reason,
        Err(Fault::Left) => return,
    };
    let closed = talk.channel.close(&last);
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let farewell = async {
        talk.socket.send(Frame::Binary(closed.into())).await?;
        talk.socket.close(Some(frame)).await?;
        // Until the client has read everything.
        while talk.socket.next().await.is_some_and(|frame| frame.is_ok()) {}
        Ok::<(), SocketError>(())
    };
    let _ = tokio::time::timeout(PATIENCE, farewell).await;
}

struct Talk<S> {
    socket: WebSocketStream<S>,
    channel: Channel,
    wishes: Wishes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    /// The client's token and the handshake.
    async fn open(&mut self, platform: &Platform, id: &str) -> Result<Open, Fault> {
        let opened: OpenDataChannel = loop {
            match self.socket.next().await.ok_or(Fault::Left)?? {
                Frame::Text(text) => {
                    break serde_json::from_str(&text).map_err(|error| Fault::Refused(error.to_string()))?;
                }
                Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
                Frame::Binary(_) => return Err(Fault::Refused("the token must come first".to_owned())),
                Frame::Close(_) => return Err(Fault::Left),
            }
        };
        let open = platform.sessions.take(&platform.door, id, &opened.token_value);
        let open = open.ok_or_else(|| Fault::Refused("the session's token is not valid".to_owned()))?;
        let greeting = self.channel.greet();
        self.send(greeting).await?;
        loop {
            match self.hear().await? {
                Some(Event::Ready) => break,
                Some(Event::Unable(reason)) => return Err(Fault::Refused(reason)),
                Some(Event::Terminate) => return Err(Fault::Left),
                Some(Event::Input(_) | Event::End | Event::Size { .. }) | None => {}
            }
        }
        let greeted = self.channel.greeted();
        self.send(greeted).await?;
        Ok(open)
    }

    async fn send(&mut self, message: Vec<u8>) -> Result<(), Fault> {
        Ok(self.socket.send(Frame::Binary(message.into())).await?)
    }

    /// The next message, acknowledged.
    async fn hear(&mut self) -> Result<Option<Event>, Fault> {
        let frame = self.socket.next().await.ok_or(Fault::Left)??;
        self.heard(frame).await
    }

    async fn heard(&mut self, frame: Frame) -> Result<Option<Event>, Fault> {
        match frame {
            Frame::Binary(bytes) => {
                let (acknowledgement, event) =
                    self.channel.hear(&bytes).map_err(|error| Fault::Refused(error.to_string()))?;
                if let Some(acknowledgement) = acknowledgement {
                    self.send(acknowledgement).await?;
                }
                Ok(event)
            }
            Frame::Close(_) => Err(Fault::Left),
            Frame::Text(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => Ok(None),
        }
    }

    async fn say(&mut self, payload: Payload, bytes: &[u8]) -> Result<(), Fault> {
        let message = self.channel.say(payload, bytes.to_vec());
        self.send(message).await
    }

    /// Runs the command to its end.
    async fn run(&mut self, platform: &Arc<Platform>, open: &Open) -> Result<(), Fault> {
        let spec = ExecSpec {
            container: open.order.container.clone(),
            command: open.order.command.clone(),
            terminal: self.wishes.terminal,
        };
        let (of, task) = (platform.clone(), open.order.task.clone());
        let started = tokio::task::spawn_blocking(move || of.runtime.exec(&task, &spec)).await;
        let started = started.map_err(io::Error::other).and_then(|exec| exec).and_then(Streams::of);
        let code = match started {
            Ok(mut streams) => self.relay(&mut streams).await?,
            Err(error) => Err(error),
        };
        match code {
            Ok(code) if self.wishes.exit_code => self.say(Payload::ExitCode, code.to_string().as_bytes()).await,
            Ok(_) => Ok(()),
            // As a shell says it; what follows is the code that it gives.
            Err(error) if self.wishes.exit_code => {
                self.say(Payload::Errors, format!("{error}\n").as_bytes()).await?;
                let missing = error.to_string().contains("No such file");
                self.say(Payload::ExitCode, if missing { b"127" } else { b"126" }).await
            }
            Err(error) => Err(Fault::Refused(format!("Unable to start command: {error}"))),
        }
    }

    /// Carries everything to and fro until the command has ended and all is told.
    async fn relay(&mut self, streams: &mut Streams) -> Result<io::Result<i32>, Fault> {
        let (mut output, mut errors) = ([0; PIECE], [0; PIECE]);
        let mut typed: Vec<u8> = Vec::new();
        let code = loop {
            tokio::select! {
                frame = self.socket.next(), if typed.is_empty() => {
                    match self.heard(frame.ok_or(Fault::Left)??).await? {
                        Some(Event::Input(bytes)) if streams.input.is_some() => typed = bytes,
                        // A terminal has no end: whoever types says it.
                        Some(Event::End) if !self.wishes.terminal => streams.input = None,
                        Some(Event::Size { rows, columns }) => streams.resize(rows, columns),
                        Some(Event::Terminate) => return Err(Fault::Left),
                        Some(Event::Input(_) | Event::End | Event::Ready | Event::Unable(_)) | None => {}
                    }
                }
                written = write(&streams.input, &typed), if !typed.is_empty() => match written {
                    Ok(n) => { typed.drain(..n); }
                    // The command has closed its input.
                    Err(_) => { typed.clear(); streams.input = None; }
                },
                read = read(&streams.output, &mut output) => match read {
                    Ok(n) if n > 0 => self.say(Payload::Output, &output[..n]).await?,
                    _ => streams.output = None,
                },
                read = read(&streams.errors, &mut errors) => match read {
                    Ok(n) if n > 0 => self.say(Payload::Errors, &errors[..n]).await?,
                    _ => streams.errors = None,
                },
                code = streams.end.ended() => break code,
            }
        };
        // What it had written when it ended.
        for (stream, payload) in [(streams.output.take(), Payload::Output), (streams.errors.take(), Payload::Errors)] {
            let Some(stream) = stream else { continue };
            while let Ok(n @ 1..) = stream.get_ref().read(&mut output) {
                self.say(payload, &output[..n]).await?;
            }
        }
        Ok(code)
    }
}

/// The ends of a command's streams.
struct Streams {
    input: Option<AsyncFd<File>>,
    output: Option<AsyncFd<File>>,
    errors: Option<AsyncFd<File>>,
    end: AsyncFd<End>,
    /// The terminal, whose size is set.
    terminal: Option<File>,
}

struct End(Box<dyn ExecEnd>);

impl AsRawFd for End {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Streams {
    fn of(exec: Exec) -> io::Result<Self> {
        let Exec { input, output, errors, end } = exec;
        let terminal = errors.is_none().then(|| output.try_clone()).transpose()?.map(File::from);
        Ok(Self {
            input: Some(watch(File::from(input))?),
            output: Some(watch(File::from(output))?),
            errors: errors.map(|errors| watch(File::from(errors))).transpose()?,
            end: watch(End(end))?,
            terminal,
        })
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let Some(terminal) = &self.terminal {
            self.end.get_ref().0.resize(terminal.as_fd(), rows, columns);
        }
    }
}

/// `inner` must have one and the same descriptor as long as it lives: files and sockets do.
// What takes its place in tokio is unsafe for the sake of types that do not.
#[allow(deprecated)]
fn watch<T: AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(inner)
}

trait Ended {
    async fn ended(&self) -> io::Result<i32>;
}

impl Ended for AsyncFd<End> {
    async fn ended(&self) -> io::Result<i32> {
        loop {
            let mut guard = self.readable().await?;
            match guard.get_inner().0.ended() {
                Ok(Some(code)) => return Ok(code),
                Ok(None) => guard.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }
}

/// For ever where there is nothing to read.
async fn read(from: &Option<AsyncFd<File>>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(from) = from else { return std::future::pending().await };
    loop {
        let mut guard = from.readable().await?;
        if let Ok(read) = guard.try_io(|file| file.get_ref().read(buffer)) {
            return read;
        }
    }
}

async fn write(to: &Option<AsyncFd<File>>, bytes: &[u8]) -> io::Result<usize> {
    let Some(to) = to else { return Ok(bytes.len()) };
    loop {
        let mut guard = to.writable().await?;
        if let Ok(written) = guard.try_io(|file| file.get_ref().write(bytes)) {
            return written;
        }
    }
}
