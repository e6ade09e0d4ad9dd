//! The `awslogs` driver: delivers what containers print, line by line, to their log streams.
//!
//! The runtime appends a container's output to a file. How much of it is delivered is stored in the
//! transaction that stores the events, so nothing is lost or doubled by a crash; and a stopped task's
//! files are removed only after the rest was delivered.

use super::events;
use super::records::{Follower, LogGroup, LogStream, stream_key};
use crate::api::{Ctx, Operations, Result, internally};
use crate::platform::Platform;
use crate::store::{Item, StoreError, Tx};
use crate::wake::Woken;
use quarry_aws::ecs::TaskDefinition;
use quarry_domain::container::{self, AwsLogs};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_millis(200);
/// Read at most this much of a file for one transaction.
const CHUNK: u64 = 1 << 20;
/// All log events together take no more than this, counted as CloudWatch Logs counts bytes.
const MOST_BYTES: i64 = 2 << 30;
/// Events deleted in one transaction.
const AT_A_TIME: i64 = 50_000;
/// Longer lines are cut: CloudWatch Logs' limit of an event, less its 26 bytes of overhead.
const LONGEST: usize = 256 * 1024 - 26;
/// Delivered output is taken off the disk in pieces of this size.
const RELEASE: u64 = 4 << 20;
/// How often expired events are deleted.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// Follows all containers until the store's wake is stopped. Blocks.
pub fn run(platform: Arc<Platform>, operations: Arc<Operations>) {
    let mut level = platform.store.changed.level();
    let mut expired_at: Option<Duration> = None;
    loop {
        let followers = platform.store.read(|tx| tx.shared::<Follower>());
        let followers = followers.unwrap_or_else(|error| {
            tracing::error!(%error, "the followed logs cannot be read");
            Arc::default()
        });
        for follower in followers.iter() {
            if let Err(error) = advance(&platform, &operations, follower, false) {
                tracing::warn!(task = %follower.task, container = %follower.container, %error, "its output could not be delivered; it is tried again");
            }
        }
        let now = platform.door.clock.monotonic();
        if expired_at.is_none_or(|at| now.saturating_sub(at) >= EXPIRE_EVERY) {
            expired_at = Some(now);
            if let Err(error) = expire(&platform, &operations) {
                tracing::warn!(%error, "expired log events could not be deleted");
            }
        }
        if followers.is_empty() {
            if platform.store.changed.wait(&mut level, EXPIRE_EVERY) == Woken::Stop {
                return;
            }
        } else {
            // Own writes raise the level too, so it is the timer that paces.
            let mut reached = u64::MAX;
            if platform.store.changed.wait(&mut reached, EVERY) == Woken::Stop {
                return;
            }
        }
    }
}

/// Whether a container's output can be delivered: its group exists or may be created.
pub fn check(platform: &Platform, logs: &AwsLogs) -> Result<(), String> {
    if logs.create_group {
        return Ok(());
    }
    let known = platform.store.read(|tx| tx.get::<LogGroup>(&logs.group)).map_err(|error| error.to_string())?;
    match known {
        Some(_) => Ok(()),
        None => Err(format!(
            "failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. (log group {})",
            logs.group
        )),
    }
}

/// Makes the streams of a task that runs, named `prefix/container/task`, and begins to follow it.
pub fn open_streams(ctx: &Ctx<'_>, definition: &TaskDefinition, task: &str) -> Result<(), StoreError> {
    let now = ctx.platform.now_ms();
    for one in container::containers(definition) {
        let Some(logs) = container::aws_logs(one) else { continue };
        let name = one.name.clone().unwrap_or_default();
        let known: Option<LogGroup> = ctx.tx.get(&logs.group)?;
        if known.is_none() && !logs.create_group {
            // Deleted since the check.
            continue;
        }
        if known.is_none() {
            let (name, tags) = (logs.group.clone(), BTreeMap::new());
            ctx.tx.put(&LogGroup { name, created_ms: now, retention_days: None, tags })?;
        }
        let stream = match &logs.prefix {
            Some(prefix) => format!("{prefix}/{name}/{task}"),
            // Docker's own name for it is the container's id.
            None => format!("{task}-{name}"),
        };
        if ctx.tx.get::<LogStream>(&stream_key(&logs.group, &stream))?.is_none() {
            ctx.tx.put(&LogStream { group: logs.group.clone(), name: stream.clone(), created_ms: now })?;
        }
        let follower = Follower { task: task.to_owned(), container: name, group: logs.group, stream, offset: 0 };
        if ctx.tx.get::<Follower>(&follower.key())?.is_none() {
            ctx.tx.put(&follower)?;
        }
    }
    Ok(())
}

/// Delivers the rest of a task's output and ends following it. Its processes have ended.
pub fn finish(platform: &Platform, operations: &Operations, task: &str) -> Result<()> {
    for follower in platform.store.read(|tx| tx.children::<Follower>(task))? {
        let key = follower.key();
        loop {
            let current: Option<Follower> = platform.store.read(|tx| tx.get(&key))?;
            let Some(current) = current else { break };
            if !advance(platform, operations, &current, true)? {
                break;
            }
        }
        internally(platform, operations, |ctx| Ok(ctx.tx.delete::<Follower>(&key)?))?;
    }
    Ok(())
}

/// Delivers the next part of a container's output. `last`: also a line without its end. Returns
/// whether there was something.
fn advance(platform: &Platform, operations: &Operations, follower: &Follower, last: bool) -> Result<bool> {
    let path = platform.runtime.log_path(&follower.task, &follower.container);
    let bytes = match read(&path, follower.offset) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(quarry_wire::ServiceError::new("InternalFailure", error.to_string(), 500)),
    };
    // What a full chunk cuts off goes on in the next one.
    let (lines, used) = lines(&bytes, last && (bytes.len() as u64) < CHUNK);
    if used == 0 {
        return Ok(false);
    }
    internally(platform, operations, |ctx| {
        // Somebody else delivered this part meanwhile.
        let current: Option<Follower> = ctx.tx.get(&follower.key())?;
        let Some(mut current) = current.filter(|current| current.offset == follower.offset) else { return Ok(()) };
        let now = ctx.platform.now_ms();
        // A stream that was deleted takes no more, but the output is not kept back for it.
        if ctx.tx.get::<LogStream>(&stream_key(&current.group, &current.stream))?.is_some() {
            events::add(ctx.tx, &current.group, &current.stream, now, lines.into_iter().map(|line| (now, line)))?;
        }
        current.offset += used as u64;
        Ok(ctx.tx.put(&current)?)
    })?;
    let reached = follower.offset + used as u64;
    // What is delivered needs no room on the disk.
    if reached / RELEASE > follower.offset / RELEASE
        && let Err(error) =
            platform.runtime.release_log(&follower.task, &follower.container, reached / RELEASE * RELEASE)
    {
        tracing::warn!(task = %follower.task, %error, "delivered output could not be taken off the disk");
    }
    Ok(true)
}

/// Whether a container's output is delivered.
pub fn is_followed(platform: &Platform, task: &str, container: &str) -> Result<bool, StoreError> {
    let followers = platform.store.read(|tx| tx.children::<Follower>(task))?;
    Ok(followers.iter().any(|follower| follower.container == container))
}

fn read(path: &std::path::Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    if file.metadata()?.len() > offset {
        file.seek(SeekFrom::Start(offset))?;
        file.take(CHUNK).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The lines in `bytes` and how many bytes they take. A line that has not ended is left for the next
/// time, unless it is the last or longer than an event may be. Empty lines are no events.
fn lines(bytes: &[u8], last: bool) -> (Vec<String>, usize) {
    let (mut lines, mut used) = (Vec::new(), 0);
    while used < bytes.len() {
        let rest = &bytes[used..];
        let end = rest.iter().take(LONGEST + 1).position(|&b| b == b'\n');
        let (line, taken) = match end {
            Some(end) => (&rest[..end], end + 1),
            None if rest.len() > LONGEST => (&rest[..LONGEST], LONGEST),
            None if last => (rest, rest.len()),
            None => break,
        };
        used += taken;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
    }
    (lines, used)
}

fn expire(platform: &Platform, operations: &Operations) -> Result<()> {
    let groups: Vec<LogGroup> = platform.store.read(|tx: &Tx<'_>| tx.all())?;
    for (name, days) in groups.into_iter().filter_map(|group| Some((group.name, group.retention_days?))) {
        let before = platform.now_ms() - i64::from(days) * 24 * 60 * 60 * 1000;
        internally(platform, operations, |ctx| Ok(events::expire(ctx.tx, &name, before)?))?;
    }
    bound(platform, operations, MOST_BYTES)
}

/// Deletes the oldest events of all groups until they take no more than `most` bytes, a part of them at a time.
fn bound(platform: &Platform, operations: &Operations, most: i64) -> Result<()> {
    loop {
        let (count, bytes) = platform.store.read(events::size)?;
        if bytes <= most || count == 0 {
            return Ok(());
        }
        // As many as must go if all were of the same size; at least one, at most what a transaction holds well.
        let share = (count as i128 * (bytes - most) as i128 / bytes as i128) as i64;
        let gone = share.clamp(1, AT_A_TIME);
        tracing::warn!(events = gone, bytes, "log events take too much room: the oldest are deleted");
        internally(platform, operations, |ctx| Ok(events::delete_oldest(ctx.tx, gone)?))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn the_oldest_events_go_when_there_are_too_many_bytes() {
        let world = World::new(crate::logs::register);
        world
            .transact(|ctx| {
                for n in 0..100 {
                    events::add(ctx.tx, &format!("g{}", n % 3), "s", n, [(n, "x".repeat(74))])?;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(world.platform.store.read(events::size).unwrap(), (100, 10_000));
        bound(&world.platform, &world.operations, 10_000).unwrap();
        assert_eq!(world.platform.store.read(events::size).unwrap().0, 100);
        bound(&world.platform, &world.operations, 2_550).unwrap();
        assert_eq!(world.platform.store.read(events::size).unwrap(), (25, 2_500));
        let streams = ["g0:s", "g1:s", "g2:s"].map(str::to_owned);
        let query = events::Query {
            streams: &streams,
            start_ms: None,
            end_ms: None,
            after: None,
            before: None,
            newest_first: false,
            limit: 1,
        };
        let oldest = world.platform.store.read(|tx| events::find(tx, &query)).unwrap();
        assert_eq!(oldest[0].at_ms, 75);
    }

    #[test]
    fn lines_are_cut_at_their_ends_and_at_the_limit() {
        assert_eq!(lines(b"a\r\n\nb\nc", false), (vec!["a".into(), "b".into()], 6));
        assert_eq!(lines(b"c", true), (vec!["c".into()], 1));
        assert_eq!(lines(b"c", false), (vec![], 0));
        let long = vec![b'x'; LONGEST + 5];
        let (cut, used) = lines(&long, false);
        assert_eq!((cut.len(), cut[0].len(), used), (1, LONGEST, LONGEST));
    }
}
