//! The snapshot's version: it rises with every change of content, and only then, also across
//! restarts. The number is on disk before any proxy sees it.

use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use quarry_domain::snapshot::Snapshot;
use ring::digest::{SHA256, digest};
use rusqlite::{OptionalExtension, params};

const VERSION: &str = "link.version";
const CONTENT: &str = "link.content";

/// Numbers snapshots.
#[derive(Default)]
pub struct Publisher {
    /// The last one, with its version at 0.
    last: Option<Snapshot>,
    version: u64,
}

impl Publisher {
    /// Goes on from what is stored.
    pub fn open(platform: &Platform) -> Result<Self, StoreError> {
        Ok(Self { last: None, version: platform.store.read(current_version)? })
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// Gives the content its version; `None` if it is what was published last by this process.
    pub fn publish(&mut self, platform: &Platform, content: Snapshot) -> Result<Option<Snapshot>, StoreError> {
        debug_assert_eq!(content.version, 0);
        if self.last.as_ref() == Some(&content) {
            return Ok(None);
        }
        let fingerprint = fingerprint(&content);
        let unchanged =
            self.last.is_none() && self.version > 0 && platform.store.read(|tx| get(tx, CONTENT))? == Some(fingerprint);
        if !unchanged {
            let version = self.version + 1;
            save(platform, version, fingerprint)?;
            self.version = version;
        }
        self.last = Some(content.clone());
        Ok(Some(Snapshot { version: self.version, ..content }))
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

/// 63 bits of the content's SHA-256, never 0.
fn fingerprint(content: &Snapshot) -> i64 {
    let json = serde_json::to_vec(content).expect("a snapshot has only text keys");
    let hash = digest(&SHA256, &json);
    let first: [u8; 8] = hash.as_ref()[..8].try_into().expect("SHA-256 has 32 bytes");
    (i64::from_be_bytes(first) & i64::MAX).max(1)
}
