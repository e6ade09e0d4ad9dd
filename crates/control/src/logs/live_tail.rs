//! Sessions of Live Tail: every second, what was written to some log groups since (AWS's documentation of StartLiveTail).

use super::events;
use super::find;
use super::records::stream_key;
use crate::api::Result;
use crate::platform::Platform;
use bytes::Bytes;
use quarry_aws::logs::{
    LiveTailSessionLogEvent, LiveTailSessionMetadata, LiveTailSessionStart, LiveTailSessionUpdate,
    SessionStreamingException, SessionTimeoutException, StartLiveTailResponseStream, error,
};
use quarry_domain::log_pattern::Pattern;
use quarry_wire::{Protocol, eventstream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many sessions there are.
#[derive(Debug, Default)]
pub struct Sessions(AtomicUsize);

/// A session that was let in; an extension of its answer, whose body goes on with what [`next`](Self::next) says.
#[derive(Clone)]
pub struct LiveTail(Arc<Session>);

struct Session {
    platform: Arc<Platform>,
    protocol: Protocol,
    sources: Vec<Source>,
    filter: Pattern,
    /// When it times out, by the monotonic clock.
    ends: Duration,
    /// The last event that was looked at.
    seen: Mutex<i64>,
    _place: Place,
}

/// A log group, and which of its streams.
struct Source {
    /// As the client named it.
    identifier: String,
    /// What the key of a stream begins with.
    prefix: String,
    streams: Streams,
}

enum Streams {
    All,
    Named(Vec<String>),
    Beginning(Vec<String>),
}

/// One of the sessions that may be.
struct Place(Arc<Platform>);

/// Whether a stream goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Goes(Bytes),
    Ends(Bytes),
}

/// Sessions at a time of an account (AWS General Reference, "Amazon CloudWatch Logs endpoints and quotas": Live Tail
/// concurrent sessions limit).
const MAX_SESSIONS: usize = 15;
/// Events of an update.
const MAX_EVENTS: usize = 500;
/// How often a session is told what is new.
pub const EVERY: Duration = Duration::from_secs(1);
/// Updates that wait for a slow client, 5,000 events in all; then the oldest are left out.
pub const MAX_WAITING: usize = 10;
/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(3 * 60 * 60);
/// Events read at a time.
const BATCH: usize = 2000;

impl LiveTail {
    /// Begins with what is written from now on.
    pub fn open(platform: &Arc<Platform>, protocol: Protocol, start: &LiveTailSessionStart) -> Result<Self> {
        let place = Place::take(platform)
            .ok_or_else(|| error::limit_exceeded_exception("Too many concurrent Live Tail sessions."))?;
        let streams = || match (&start.log_stream_names, &start.log_stream_name_prefixes) {
            (Some(names), _) => Streams::Named(names.clone()),
            (None, Some(prefixes)) => Streams::Beginning(prefixes.clone()),
            (None, None) => Streams::All,
        };
        let source = |identifier: &String| {
            let prefix = stream_key(find::group_of(None, Some(identifier))?, "");
            Ok(Source { identifier: identifier.clone(), prefix, streams: streams() })
        };
        let filter = Pattern::parse(start.log_event_filter_pattern.as_deref().unwrap_or_default());
        Ok(Self(Arc::new(Session {
            protocol,
            sources: start.log_group_identifiers.iter().flatten().map(source).collect::<Result<_>>()?,
            filter: filter.map_err(|mistake| error::invalid_parameter_exception(mistake.to_string()))?,
            ends: platform.door.clock.monotonic() + LASTS,
            seen: Mutex::new(platform.store.read(events::newest)?),
            _place: place,
            platform: platform.clone(),
        })))
    }

    /// What is to be sent now. Blocks for as long as the store takes.
    pub fn next(&self) -> Next {
        let session = &*self.0;
        let mut said = StartLiveTailResponseStream::default();
        let mut ends = true;
        if session.platform.door.clock.monotonic() >= session.ends {
            let message = Some("Live Tail session has timed out after three hours.".to_owned());
            said.session_timeout_exception = Some(SessionTimeoutException { message });
        } else {
            match session.update() {
                Ok(update) => {
                    said.session_update = Some(update);
                    ends = false;
                }
                Err(error) => {
                    tracing::warn!(%error, "a Live Tail session could not go on");
                    let message = Some(error.to_string());
                    said.session_streaming_exception = Some(SessionStreamingException { message });
                }
            }
        }
        let mut bytes = Vec::new();
        eventstream::write_events(session.protocol, &said, &mut bytes);
        if ends { Next::Ends(bytes.into()) } else { Next::Goes(bytes.into()) }
    }
}

impl Session {
    fn update(&self) -> Result<LiveTailSessionUpdate> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Each of the events that match is as likely in the sample as any other.
        let (mut sample, mut matching) = (Vec::new(), 0u64);
        loop {
            let batch = self.platform.store.read(|tx| events::since(tx, *seen, BATCH))?;
            let over = batch.len() < BATCH;
            for event in batch {
                *seen = event.seq;
                let Some((source, stream)) = self.sources.iter().find_map(|source| source.stream(&event.stream)) else {
                    continue;
                };
                if !self.filter.matches(&event.message) {
                    continue;
                }
                matching += 1;
                let shown = LiveTailSessionLogEvent {
                    log_stream_name: Some(stream.to_owned()),
                    log_group_identifier: Some(source.identifier.clone()),
                    message: Some(event.message),
                    timestamp: Some(event.at_ms),
                    ingestion_time: Some(event.ingested_ms),
                };
                if sample.len() < MAX_EVENTS {
                    sample.push((event.seq, shown));
                    continue;
                }
                let mut drawn = [0; 8];
                self.platform.door.entropy.fill(&mut drawn);
                let place = (u64::from_ne_bytes(drawn) % matching) as usize;
                if let Some(place) = sample.get_mut(place) {
                    *place = (event.seq, shown);
                }
            }
            if over {
                break;
            }
        }
        sample.sort_by_key(|(seq, _)| *seq);
        Ok(LiveTailSessionUpdate {
            session_metadata: Some(LiveTailSessionMetadata { sampled: Some(matching > MAX_EVENTS as u64) }),
            session_results: Some(sample.into_iter().map(|(_, shown)| shown).collect()),
        })
    }
}

impl Source {
    /// Itself, and the stream of this key, if it is one that is followed.
    fn stream<'a>(&self, key: &'a str) -> Option<(&Self, &'a str)> {
        let stream = key.strip_prefix(&self.prefix)?;
        let is_followed = match &self.streams {
            Streams::All => true,
            Streams::Named(names) => names.iter().any(|name| name == stream),
            Streams::Beginning(prefixes) => prefixes.iter().any(|prefix| stream.starts_with(prefix)),
        };
        is_followed.then_some((self, stream))
    }
}

impl Place {
    fn take(platform: &Arc<Platform>) -> Option<Self> {
        let sessions = &platform.live_tails.0;
        let more = |open| (open < MAX_SESSIONS).then_some(open + 1);
        sessions.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(platform.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.live_tails.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::events;
    use crate::testing::World;
    use quarry_aws::logs::{CreateLogGroupRequest, StartLiveTailRequest, StartLiveTailResponse, op};
    use quarry_wire::{Operation, client};

    fn world() -> World {
        let world = World::new(crate::logs::register);
        for name in ["g", "h"] {
            let input = CreateLogGroupRequest { log_group_name: Some(name.into()), ..Default::default() };
            world.call::<op::CreateLogGroup>(input).unwrap();
        }
        world
    }

    fn asked(groups: &[&str]) -> StartLiveTailRequest {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        StartLiveTailRequest { log_group_identifiers: Some(groups), ..Default::default() }
    }

    fn open(world: &World, protocol: Protocol, input: StartLiveTailRequest) -> Result<LiveTail> {
        let start = world.call::<op::StartLiveTail>(input)?.response_stream.unwrap().session_start.unwrap();
        LiveTail::open(&world.platform, protocol, &start)
    }

    fn write(world: &World, group: &str, stream: &str, messages: impl IntoIterator<Item = String>) {
        let messages = messages.into_iter().map(|message| (7, message));
        world.transact(|ctx| Ok(events::add(ctx.tx, group, stream, 9, messages)?)).unwrap();
    }

    fn read(protocol: Protocol, next: &Next) -> StartLiveTailResponseStream {
        let (Next::Goes(bytes) | Next::Ends(bytes)) = next;
        let mut output = StartLiveTailResponse::default();
        client::read(protocol, op::StartLiveTail::model(), &mut output, bytes).unwrap();
        output.response_stream.unwrap()
    }

    fn update(tail: &LiveTail) -> (Vec<String>, bool) {
        let said = read(Protocol::Json, &tail.next()).session_update.unwrap();
        let messages = said.session_results.unwrap().into_iter().filter_map(|event| event.message).collect();
        (messages, said.session_metadata.unwrap().sampled.unwrap())
    }

    fn texts(messages: &[&str]) -> Vec<String> {
        messages.iter().map(|message| (*message).to_owned()).collect()
    }

    #[test]
    fn what_is_written_comes_once_and_in_its_order() {
        let world = world();
        write(&world, "g", "s", texts(&["before"]));
        let arn = "arn:aws:logs:us-east-1:000000000000:log-group:g";
        let tail = open(&world, Protocol::Json, asked(&[arn, "h"])).unwrap();
        assert_eq!(update(&tail), (vec![], false));
        write(&world, "g", "s", texts(&["a", "b"]));
        write(&world, "h", "t", texts(&["c"]));
        let other = CreateLogGroupRequest { log_group_name: Some("gg".into()), ..Default::default() };
        world.call::<op::CreateLogGroup>(other).unwrap();
        write(&world, "gg", "s", texts(&["of nobody who is followed"]));
        let said = read(Protocol::Json, &tail.next()).session_update.unwrap().session_results.unwrap();
        let shown = |n: usize| said[n].log_group_identifier.as_deref().unwrap();
        assert_eq!((said.len(), shown(0), shown(2)), (3, arn, "h"));
        assert_eq!((said[1].message.as_deref(), said[1].log_stream_name.as_deref()), (Some("b"), Some("s")));
        assert_eq!((said[2].timestamp, said[2].ingestion_time), (Some(7), Some(9)));
        assert_eq!(update(&tail), (vec![], false));
        // In CBOR it says the same.
        let tail = open(&world, Protocol::Cbor, asked(&["g"])).unwrap();
        write(&world, "g", "s", texts(&["d"]));
        let said = read(Protocol::Cbor, &tail.next()).session_update.unwrap().session_results.unwrap();
        assert_eq!(said[0].message.as_deref(), Some("d"));
    }

    #[test]
    fn streams_and_patterns_are_chosen() {
        let world = world();
        let some = |names: &[&str]| Some(texts(names));
        let named = StartLiveTailRequest { log_stream_names: some(&["s", "u"]), ..asked(&["g"]) };
        let beginning = StartLiveTailRequest { log_stream_name_prefixes: some(&["p/"]), ..asked(&["g"]) };
        let matching = StartLiveTailRequest { log_event_filter_pattern: Some("?one ?two".into()), ..asked(&["g"]) };
        let tails = [named, beginning, matching].map(|input| open(&world, Protocol::Json, input).unwrap());
        for stream in ["s", "t", "p/1"] {
            write(&world, "g", stream, [format!("one of {stream}"), format!("three of {stream}")]);
        }
        let seen = tails.each_ref().map(|tail| update(tail).0);
        assert_eq!(seen[0], ["one of s", "three of s"]);
        assert_eq!(seen[1], ["one of p/1", "three of p/1"]);
        assert_eq!(seen[2], ["one of s", "one of t", "one of p/1"]);
    }

    #[test]
    fn more_than_five_hundred_are_a_sample() {
        let world = world();
        let tail = open(&world, Protocol::Json, asked(&["g"])).unwrap();
        write(&world, "g", "s", (0..500).map(|n| n.to_string()));
        let (all, sampled) = update(&tail);
        assert_eq!((all.len(), sampled), (500, false));
        write(&world, "g", "s", (0..5000).map(|n| n.to_string()));
        let (some, sampled) = update(&tail);
        assert_eq!((some.len(), sampled), (500, true));
        let numbers: Vec<u32> = some.iter().map(|text| text.parse().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(numbers.iter().any(|n| *n >= 500), "not only the first");
    }

    #[test]
    fn sessions_are_bounded_in_number_and_time() {
        let world = world();
        let mut open_ones: Vec<LiveTail> =
            (0..MAX_SESSIONS).map(|_| open(&world, Protocol::Json, asked(&["g"])).unwrap()).collect();
        let more = || open(&world, Protocol::Json, asked(&["g"])).map(drop);
        assert_eq!(more().unwrap_err().code, "LimitExceededException");
        open_ones.pop();
        more().unwrap();
        world.door.advance(LASTS - EVERY);
        assert!(matches!(open_ones[0].next(), Next::Goes(_)));
        world.door.advance(EVERY);
        let last = open_ones[0].next();
        assert!(matches!(last, Next::Ends(_)));
        assert!(read(Protocol::Json, &last).session_timeout_exception.unwrap().message.is_some());
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let world = world();
        let refused = |input: StartLiveTailRequest| open(&world, Protocol::Json, input).map(drop).unwrap_err().code;
        let some = || Some(vec!["s".to_owned()]);
        assert_eq!(refused(asked(&["nobody"])), "ResourceNotFoundException");
        for input in [
            asked(&["arn:aws:logs:us-east-1:000000000000:log-group:g:*"]),
            StartLiveTailRequest { log_stream_names: some(), log_stream_name_prefixes: some(), ..asked(&["g"]) },
            StartLiveTailRequest { log_stream_names: some(), ..asked(&["g", "h"]) },
            StartLiveTailRequest { log_event_filter_pattern: Some("{ $.a = }".into()), ..asked(&["g"]) },
        ] {
            assert_eq!(refused(input), "InvalidParameterException");
        }
    }
}
