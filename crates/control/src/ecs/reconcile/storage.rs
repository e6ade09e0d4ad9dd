//! Bounds what tasks write: one that has written more than its ephemeral storage, or the most of a disk that is nearly
//! full, is ended. It is looked at every two seconds, so that a task may write somewhat more meanwhile.

use super::super::records::{StopCode, Task};
use super::super::tasks;
use crate::api::{Operations, Result, internally};
use crate::platform::Platform;
use crate::store::Item;
use crate::wake::Woken;
use quarry_domain::container::EPHEMERAL_STORAGE;
use quarry_domain::task::Signal;
use std::sync::Arc;
use std::time::Duration;

/// How often.
const EVERY: Duration = Duration::from_secs(2);
/// Room that is kept on the disk for everything else, in bytes.
const RESERVE: u64 = 512 << 20;
/// Whoever has written less is not ended for the disk's sake, in bytes.
const MUCH: u64 = 256 << 20;
/// Of the output of a container without a log driver, that much is kept, in bytes.
const OUTPUT: u64 = 16 << 20;

/// Looks until the platform stops. Blocks.
pub fn run(platform: Arc<Platform>, operations: Arc<Operations>) {
    loop {
        let started = platform.door.clock.monotonic();
        if let Err(error) = pass(&platform, &operations, free(&platform)) {
            tracing::warn!(%error, "what tasks have written could not be bounded; it is tried again");
        }
        // Large trees take long to look at: that is never more than a tenth of the time.
        let pause = EVERY.max((platform.door.clock.monotonic() - started) * 10);
        let mut reached = u64::MAX;
        if platform.store.changed.wait(&mut reached, pause) == Woken::Stop {
            return;
        }
    }
}

/// What is free on the data directory's file system, in bytes; `None` where that cannot be told.
fn free(platform: &Platform) -> Option<u64> {
    let stat = rustix::fs::statvfs(&platform.config.data_dir).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// Looks once. `free`: bytes on the disk.
pub fn pass(platform: &Platform, operations: &Operations, free: Option<u64>) -> Result<()> {
    let all = platform.store.read(|tx| tx.shared::<Task>())?;
    let mut most: Option<(u64, &Arc<Task>)> = None;
    for task in all.iter().filter(|task| task.wanted && task.started_ms.is_some()) {
        shorten(platform, task)?;
        let Some(written) = platform.runtime.written(&task.id) else { continue };
        let bound = u64::from(task.ephemeral_storage.unwrap_or(EPHEMERAL_STORAGE).unsigned_abs()) << 30;
        if written > bound {
            let reason = format!(
                "The task has written {} MiB, more than its ephemeral storage of {} GiB.",
                written >> 20,
                bound >> 30
            );
            end(platform, operations, task, &reason)?;
        } else if most.is_none_or(|(largest, _)| written > largest) {
            most = Some((written, task));
        }
    }
    match (free, most) {
        (Some(free), Some((written, task))) if free < RESERVE && written > MUCH => {
            let reason = format!(
                "The disk is nearly full, with {} MiB left, and of all tasks this one has written the most, {} MiB.",
                free >> 20,
                written >> 20
            );
            end(platform, operations, task, &reason)
        }
        _ => Ok(()),
    }
}

/// It is killed at once: whatever it still did, it would write.
fn end(platform: &Platform, operations: &Operations, task: &Task, reason: &str) -> Result<()> {
    tracing::warn!(task = %task.id, reason, "a task is ended");
    let stopped = internally(platform, operations, |ctx| {
        let current: Option<Task> = ctx.tx.get(&task.key())?;
        let Some(mut current) = current.filter(|current| current.wanted) else { return Ok(false) };
        for container in current.containers.iter_mut().filter(|container| container.exit_code.is_none()) {
            container.reason.get_or_insert_with(|| reason.to_owned());
        }
        tasks::begin_stop(ctx, &mut current, StopCode::EssentialContainerExited, reason, false)?;
        Ok(true)
    })?;
    if stopped {
        let failed = |error: std::io::Error| quarry_wire::ServiceError::new("ServerException", error.to_string(), 500);
        platform.runtime.signal(&task.id, None, Signal::Kill).map_err(failed)?;
    }
    Ok(())
}

/// Takes the beginning of a long output off the disk, where nobody delivers it; those with `awslogs` lose what was
/// delivered.
fn shorten(platform: &Platform, task: &Task) -> Result<()> {
    for container in &task.containers {
        let length = std::fs::metadata(platform.runtime.log_path(&task.id, &container.name)).map_or(0, |m| m.len());
        // In strides: a hole grows, and is not made anew.
        if length < 2 * OUTPUT || crate::logs::follow::is_followed(platform, &task.id, &container.name)? {
            continue;
        }
        let offset = (length - OUTPUT) / OUTPUT * OUTPUT;
        if let Err(error) = platform.runtime.release_log(&task.id, &container.name, offset) {
            tracing::warn!(task = %task.id, %error, "the output of a container could not be shortened");
        }
    }
    Ok(())
}
