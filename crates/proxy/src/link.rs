//! The link to `serve`: connected again and again, one line of JSON per message.

use quarry_domain::link::{Down, Up};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// What happens on the link.
pub enum Event {
    /// `serve` is there; what goes into the sender is sent to it.
    Connected(mpsc::Sender<Up>),
    Down(Box<Down>),
    Disconnected,
}

const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// Longest message: far beyond any snapshot, and a bound all the same.
const MAX_LINE: u64 = 256 * 1024 * 1024;
/// Messages that wait for `serve` to read at most.
const OUTBOX: usize = 256;

/// Connects for ever, until nobody listens to `events` any more.
pub async fn run(socket: PathBuf, events: mpsc::Sender<Event>) {
    let mut wait = FIRST_RETRY;
    while !events.is_closed() {
        if let Ok(stream) = UnixStream::connect(&socket).await {
            wait = FIRST_RETRY;
            if let Err(error) = converse(stream, &events).await {
                tracing::debug!(%error, "the link to serve ended");
            }
            if events.send(Event::Disconnected).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_RETRY);
    }
}

async fn converse(stream: UnixStream, events: &mpsc::Sender<Event>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let (outbox, mut outgoing) = mpsc::channel::<Up>(OUTBOX);
    if events.send(Event::Connected(outbox)).await.is_err() {
        return Ok(());
    }
    let send = async move {
        while let Some(message) = outgoing.recv().await {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            writer.write_all(&line).await?;
        }
        std::io::Result::Ok(())
    };
    let receive = async {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            if n == 0 {
                return Ok(());
            }
            let down = serde_json::from_slice(&line)?;
            if events.send(Event::Down(down)).await.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        end = send => end,
        end = receive => end,
    }
}
