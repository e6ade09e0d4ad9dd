//! A circuit breaker: while a peer does not answer, nobody waits for it but one at a time.
//!
//! A question that failed for as long as it was asked opens the circuit. Open, questions fail at once; after a while one is
//! let through. Its answer closes the circuit, its failure opens it again, for twice as long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::{Peer, PeerError};

/// How long nobody asks: after the first failure, and at most.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(8);

/// A peer that is asked through a circuit breaker, which its clones share.
#[derive(Clone, Debug)]
pub struct Guarded {
    peer: Peer,
    breaker: Arc<Breaker>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It did not answer a short time ago; it was not asked.
    #[error("it did not answer a short time ago and is not asked for a while")]
    Open,
    /// It was asked.
    #[error(transparent)]
    Asked(#[from] PeerError),
}

/// The state that all who ask one peer share.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

/// A question that may be asked. Dropped without a word of how it went, it counts as not asked.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    /// It is the one that finds out whether the peer answers again.
    probes: bool,
}

#[derive(Debug, Default)]
struct State {
    /// How long it was opened for, and until when; none while it is closed.
    open: Option<(Duration, Instant)>,
    /// Somebody finds out.
    probing: bool,
}

impl From<Peer> for Guarded {
    fn from(peer: Peer) -> Self {
        Self { peer, breaker: Arc::default() }
    }
}

impl Guarded {
    /// As [`Peer::get`], unless the circuit is open.
    pub async fn get(&self, path: &str, trace: Option<&HeaderValue>) -> Result<(StatusCode, Bytes), Unanswered> {
        self.through(self.peer.get(path, trace)).await
    }

    /// A service or load balancer that cannot answer at the moment counts as one that does not.
    async fn through(
        &self,
        question: impl Future<Output = Result<(StatusCode, Bytes), PeerError>>,
    ) -> Result<(StatusCode, Bytes), Unanswered> {
        let Some(permit) = self.breaker.ask(Instant::now()) else { return Err(Unanswered::Open) };
        let answer = question.await;
        match &answer {
            Ok((status, _)) if !matches!(status.as_u16(), 502..=504) => permit.answered(),
            Ok(_) | Err(_) => permit.failed(Instant::now()),
        }
        Ok(answer?)
    }
}

impl Breaker {
    /// Leave to ask; `None` while the circuit is open.
    pub fn ask(&self, now: Instant) -> Option<Permit<'_>> {
        let mut state = self.lock();
        let Some((_, until)) = state.open else { return Some(Permit { breaker: self, probes: false }) };
        if now < until || state.probing {
            return None;
        }
        state.probing = true;
        Some(Permit { breaker: self, probes: true })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The peer answered.
    pub fn answered(self) {
        self.breaker.lock().open = None;
    }

    /// The peer did not answer, however often it was asked.
    pub fn failed(self, now: Instant) {
        let mut state = self.breaker.lock();
        // Of several that fail together the first one says how long.
        if state.open.is_none() || self.probes {
            let pause = state.open.map_or(FIRST, |(before, _)| (2 * before).min(LONGEST));
            state.open = Some((pause, now + pause));
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probes {
            self.breaker.lock().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_lets_one_through_and_closes() {
        let breaker = Breaker::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let [one, two] = [breaker.ask(at(0)).unwrap(), breaker.ask(at(0)).unwrap()];
        one.failed(at(100));
        two.failed(at(110));
        assert!(breaker.ask(at(599)).is_none());
        let probe = breaker.ask(at(600)).unwrap();
        assert!(breaker.ask(at(600)).is_none(), "one at a time");
        probe.failed(at(700));
        assert!(breaker.ask(at(1699)).is_none(), "twice as long");
        // One that goes away without a word makes place for another.
        drop(breaker.ask(at(1700)).unwrap());
        breaker.ask(at(1700)).unwrap().answered();
        let [one, two] = [breaker.ask(at(1701)).unwrap(), breaker.ask(at(1701)).unwrap()];
        one.answered();
        two.failed(at(1800));
        assert!(breaker.ask(at(2299)).is_none() && breaker.ask(at(2300)).is_some(), "the short pause again");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_answer_is_not_asked_for_a_while() {
        let guarded = Guarded::from(Peer::parse("http://users").unwrap());
        let clone = guarded.clone();
        let refused = async { Err(PeerError::Connect("users".into(), "refused".into())) };
        assert!(matches!(guarded.through(refused).await, Err(Unanswered::Asked(_))));
        let never = async { unreachable!("it is not asked") };
        assert!(matches!(clone.through(never).await, Err(Unanswered::Open)));
        tokio::time::sleep(FIRST + Duration::from_millis(50)).await;
        let busy = async { Ok((StatusCode::SERVICE_UNAVAILABLE, Bytes::new())) };
        assert!(clone.through(busy).await.is_ok());
        let never = async { unreachable!("it is not asked") };
        assert!(matches!(guarded.through(never).await, Err(Unanswered::Open)));
        tokio::time::sleep(2 * FIRST + Duration::from_millis(50)).await;
        for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR] {
            assert_eq!(guarded.through(async { Ok((status, Bytes::new())) }).await.unwrap().0, status);
        }
    }

    #[test]
    fn the_pause_is_bounded() {
        let breaker = Breaker::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            breaker.ask(now).unwrap().failed(now);
            let before = now;
            while breaker.ask(now).is_none() {
                now += Duration::from_millis(500);
            }
            pauses.push((now - before).as_millis());
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 8000, 8000, 8000]);
    }
}
