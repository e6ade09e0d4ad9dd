//! The snapshot's version: it rises with every change of content, and only then, also across
//! restarts. The number is on disk before any proxy sees it.

use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use rusqlite::{OptionalExtension, params};

const VERSION: &str = "link.version";
const CONTENT: &str = "link.content";

/// Numbers snapshots.
#[derive(Default)]
pub struct Publisher {
    /// Of what was published last by this process.
    last: Option<i64>,
    version: u64,
}

impl Publisher {
    /// Goes on from what is stored.
    pub fn open(platform: &Platform) -> Result<Self, StoreError> {
        Ok(Self { last: None, version: platform.store.read(current_version)? })
    }

    /// Gives the content with this fingerprint its version; `None` if it is what was published last by this process.
    pub fn publish(&mut self, platform: &Platform, fingerprint: i64) -> Result<Option<u64>, StoreError> {
        if self.last == Some(fingerprint) {
            return Ok(None);
        }
        let unchanged =
            self.last.is_none() && self.version > 0 && platform.store.read(|tx| get(tx, CONTENT))? == Some(fingerprint);
        if !unchanged {
            let version = self.version + 1;
            save(platform, version, fingerprint)?;
            self.version = version;
        }
        self.last = Some(fingerprint);
        Ok(Some(self.version))
    }

    /// A proxy says which version it has. If no version so high was ever given, the store was put back
    /// to an older one: the next version is above the proxy's.
    pub fn rise_above(&mut self, platform: &Platform, version: u64) -> Result<(), StoreError> {
        if version > self.version {
            save(platform, version, 0)?;
            self.version = version;
            self.last = None;
        }
        Ok(())
    }
}

/// The version published last, 0 before the first.
pub fn current_version(tx: &Tx<'_>) -> Result<u64, StoreError> {
    Ok(get(tx, VERSION)?.unwrap_or(0).unsigned_abs())
}

/// Written past `Tx::put`, because a new number is no change that anyone must wake for.
fn save(platform: &Platform, version: u64, fingerprint: i64) -> Result<(), StoreError> {
    platform.store.write(|tx| {
        for (name, value) in [(VERSION, version as i64), (CONTENT, fingerprint)] {
            tx.connection()
                .prepare_cached(
                    "INSERT INTO counter (name, value) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![name, value])?;
        }
        Ok(())
    })
}

fn get(tx: &Tx<'_>, name: &str) -> Result<Option<i64>, StoreError> {
    let mut statement = tx.connection().prepare_cached("SELECT value FROM counter WHERE name = ?1")?;
    Ok(statement.query_row(params![name], |row| row.get(0)).optional()?)
}
