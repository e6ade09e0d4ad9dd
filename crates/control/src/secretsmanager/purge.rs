//! Deletes secrets whose recovery window has passed, with all of their values.

use super::find;
use super::records::Secret;
use crate::platform::Platform;
use crate::store::StoreError;
use crate::wake::Woken;
use std::time::Duration;

/// Days pass slowly: a secret past its window is not found by any operation before it is purged.
const EVERY: Duration = Duration::from_secs(600);

/// Purges until the store's wake is stopped. Blocks.
pub fn run(platform: &Platform) {
    loop {
        if let Err(error) = pass(platform) {
            tracing::warn!(%error, "deleted secrets could not be purged; it is tried again");
        }
        let mut reached = u64::MAX;
        if platform.store.changed.wait(&mut reached, EVERY) == Woken::Stop {
            return;
        }
    }
}

/// One pass; it writes only where something is due.
pub fn pass(platform: &Platform) -> Result<(), StoreError> {
    let now = platform.now_ms();
    let due = |secret: &Secret| secret.deletion.is_some_and(|deletion| deletion.due_ms <= now);
    if !platform.store.read(|tx| tx.all::<Secret>())?.iter().any(due) {
        return Ok(());
    }
    platform.store.write(|tx| {
        for secret in tx.all::<Secret>()?.iter().filter(|secret| due(secret)) {
            find::erase(tx, secret)?;
        }
        Ok(())
    })
}
