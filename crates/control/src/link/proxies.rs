//! Which proxies there are. One that is not connected still routes while its process lives, by the snapshot that it
//! has: nothing counts as acknowledged by all as long as it may be there.

use crate::platform::Platform;
use crate::store::{Item, StoreError};
use serde::{Deserialize, Serialize};

/// A proxy that said hello, until its process is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProxy {
    pub name: String,
    pub pid: u32,
    /// When the process began, in the kernel's ticks since boot, and which boot: another process may get the number.
    pub began: String,
}

impl Item for KnownProxy {
    const KIND: &'static str = "link.proxy";
    fn key(&self) -> String {
        self.name.clone()
    }
}

/// Notes a proxy before it counts.
pub fn connected(platform: &Platform, name: &str, pid: u32) {
    let known = KnownProxy { name: name.to_owned(), pid, began: began(pid).unwrap_or_default() };
    if let Err(error) = platform.store.write(|tx| tx.put(&known)) {
        tracing::error!(proxy = name, "a proxy cannot be noted: {error}");
    }
    platform.live().silent_proxies.remove(name);
}

/// Finds out which known proxies are not connected, and forgets the dead.
pub fn look(platform: &Platform) {
    let known = match platform.store.read(|tx| tx.all::<KnownProxy>()) {
        Ok(known) => known,
        Err::<_, StoreError>(error) => {
            tracing::error!("the known proxies cannot be read: {error}");
            return;
        }
    };
    for proxy in known {
        if platform.live().applied.contains_key(&proxy.name) {
            continue;
        }
        if began(proxy.pid).is_some_and(|began| began == proxy.began) {
            platform.live().silent_proxies.insert(proxy.name);
            continue;
        }
        match platform.store.write(|tx| tx.delete::<KnownProxy>(&proxy.name)) {
            Ok(_) => {
                if platform.live().silent_proxies.remove(&proxy.name) {
                    platform.seen.signal();
                }
            }
            Err::<_, StoreError>(error) => tracing::error!("a dead proxy cannot be forgotten: {error}"),
        }
    }
}

/// When a living process began; `None`: it is dead.
fn began(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    // A zombie routes nothing.
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{} {ticks}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn a_proxy_that_is_silent_counts_until_it_is_dead() {
        let world = World::new(|_| {});
        let platform = &world.platform;
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        connected(platform, "p", child.id());
        platform.live().applied.insert("p".into(), 1);
        look(platform);
        assert!(platform.live().silent_proxies.is_empty(), "it is connected");
        platform.live().applied.remove("p");
        look(platform);
        assert!(platform.live().silent_proxies.contains("p"));
        child.kill().unwrap();
        child.wait().unwrap();
        look(platform);
        assert!(platform.live().silent_proxies.is_empty());
        assert!(platform.store.read(|tx| tx.all::<KnownProxy>()).unwrap().is_empty());
    }
}
