//! Bodies of Live Tail's answers: what is new, every second, until the client has gone or the session has ended.

use super::front::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use quarry_control::logs::live_tail::{EVERY, LiveTail, MAX_WAITING, Next};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use tokio::time::{Instant, MissedTickBehavior};

/// The body that the server reads from.
struct Following {
    begin: Option<Bytes>,
    waiting: Arc<Mutex<Waiting>>,
}

/// What the client has not taken yet.
#[derive(Default)]
struct Waiting {
    updates: VecDeque<Bytes>,
    ended: bool,
    waker: Option<Waker>,
}

/// `begin`, then what the session says. When the body is dropped, the session ends.
pub fn body(begin: Bytes, tail: LiveTail) -> Body {
    let waiting = Arc::new(Mutex::new(Waiting::default()));
    tokio::spawn(feed(Arc::downgrade(&waiting), tail));
    Following { begin: Some(begin), waiting }.boxed()
}

async fn feed(waiting: Weak<Mutex<Waiting>>, tail: LiveTail) {
    let mut every = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if waiting.strong_count() == 0 {
            return;
        }
        let session = tail.clone();
        let said = tokio::task::spawn_blocking(move || session.next()).await;
        let Some(waiting) = waiting.upgrade() else { return };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match said {
            Ok(Next::Goes(bytes)) => waiting.push(bytes),
            Ok(Next::Ends(bytes)) => {
                waiting.push(bytes);
                waiting.ended = true;
            }
            Err(error) => {
                tracing::error!(%error, "a Live Tail session ended early");
                waiting.ended = true;
            }
        }
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        if waiting.ended {
            return;
        }
    }
}

impl Waiting {
    /// Where the client is slow, the oldest goes.
    fn push(&mut self, bytes: Bytes) {
        if self.updates.len() == MAX_WAITING {
            self.updates.pop_front();
        }
        self.updates.push_back(bytes);
    }
}

impl hyper::body::Body for Following {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(begin) = self.begin.take() {
            return Poll::Ready(Some(Ok(Frame::data(begin))));
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.updates.pop_front() {
            Some(update) => Poll::Ready(Some(Ok(Frame::data(update)))),
            None if waiting.ended => Poll::Ready(None),
            None => {
                waiting.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_misses_the_oldest() {
        let mut waiting = Waiting::default();
        for n in 0..MAX_WAITING as u8 + 3 {
            waiting.push(Bytes::from(vec![n]));
        }
        assert_eq!((waiting.updates.len(), waiting.updates[0][0]), (MAX_WAITING, 3));
    }
}
