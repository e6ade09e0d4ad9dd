//! Looks after what goes on by itself: scheduled actions, activities that wait for their tasks, and
//! targets whose services are gone.

use super::records::{ActivityRecord, Scheduled, Target};
use super::{act, activity, scheduled, target};
use crate::api::{Operations, Result, internally};
use crate::platform::Platform;
use crate::store::StoreError;

/// Does what is due now, each thing in a transaction of its own.
pub fn pass(platform: &Platform, operations: &Operations) -> Result<(), StoreError> {
    let now = platform.now_ms();
    let (due, waiting, targets) = platform.store.read(|tx| {
        let mut due = tx.all::<Scheduled>()?;
        due.retain(|action| action.next_ms.is_some_and(|at| at <= now));
        due.sort_by_key(|action| action.next_ms);
        let targets = tx.all::<Target>()?;
        let mut waiting = Vec::new();
        for target in &targets {
            waiting.extend(tx.children::<ActivityRecord>(&target.resource_id)?);
        }
        waiting.retain(|record| record.waits_for.is_some());
        Ok::<_, StoreError>((due, waiting, targets))
    })?;
    let say = |what: &str, done: Result<()>| {
        if let Err(error) = done {
            tracing::warn!(resource = what, %error, "scaling was not carried out; it is tried again");
        }
    };
    for action in due {
        let resource = action.resource_id.clone();
        say(&resource, internally(platform, operations, |ctx| scheduled::run(ctx, action)));
    }
    for record in waiting {
        let (Some(to), Some(id)) = (record.waits_for, record.activity.resource_id.clone()) else { continue };
        let done = internally(platform, operations, |ctx| match act::service(ctx, &id)? {
            Some(counts) if counts.running == to && counts.desired == to => activity::fulfilled(ctx, record, to),
            _ => Ok(()),
        });
        say(&id, done);
    }
    for one in targets {
        let id = one.resource_id;
        let done = internally(platform, operations, |ctx| match act::service(ctx, &id)? {
            Some(_) => Ok(()),
            None => Ok(target::remove(ctx, &id)?),
        });
        say(&id, done);
    }
    Ok(())
}
