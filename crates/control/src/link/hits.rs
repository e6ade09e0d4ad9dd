//! How often rules of load balancers were taken: summed over all proxies, also over those that have ended.

use super::proxies::KnownProxy;
use crate::elbv2;
use crate::elbv2::records::Rule;
use crate::platform::Platform;
use crate::store::{Item, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Counts are written down at most this often, in milliseconds. A proxy tells them again whoever restarts; what is
/// lost if `serve` and a proxy end at once is of this time.
const SAVED_EVERY: i64 = 60_000;
/// Requests of the last minute are counted by pieces of it, in milliseconds.
const PIECE: i64 = 10_000;
const PIECES: usize = 6;

/// Counts by ARN of the rule; the default rule's by its listener's ARN.
type Counts = BTreeMap<String, u64>;

/// What is known of all rules.
#[derive(Debug, Default)]
pub struct Hits {
    /// By proxy: what it told last, since it started.
    proxies: BTreeMap<String, Counts>,
    /// Of proxies that have ended.
    past: Counts,
    recent: HashMap<String, Recent>,
    /// Proxies that told something since it was written down.
    unsaved: BTreeSet<String>,
    saved_ms: i64,
    loaded: bool,
}

/// Requests of the last minute.
#[derive(Debug, Default)]
struct Recent {
    pieces: [u64; PIECES],
    /// The number of the newest piece.
    newest: i64,
}

/// What was written down of one proxy; of those that have ended, under the empty name.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    proxy: String,
    counts: Counts,
}

impl Item for Kept {
    const KIND: &'static str = "link.hits";
    fn key(&self) -> String {
        self.proxy.clone()
    }
}

impl Recent {
    fn add(&mut self, now: i64, requests: u64) {
        self.forget(now);
        self.pieces[self.newest.rem_euclid(PIECES as i64) as usize] += requests;
    }

    /// Requests of the last 50 to 60 seconds.
    fn sum(&mut self, now: i64) -> u64 {
        self.forget(now);
        self.pieces.iter().sum()
    }

    fn forget(&mut self, now: i64) {
        let piece = now.div_euclid(PIECE);
        for gone in (self.newest + 1).max(piece - PIECES as i64 + 1)..=piece {
            self.pieces[gone.rem_euclid(PIECES as i64) as usize] = 0;
        }
        self.newest = self.newest.max(piece);
    }
}

impl Hits {
    /// Takes in what a proxy told; `first` on its connection is whatever it counted before, not what came just now.
    pub fn tell(&mut self, proxy: &str, rules: Counts, first: bool, now_ms: i64) {
        if rules.is_empty() {
            return;
        }
        let told = self.proxies.entry(proxy.to_owned()).or_default();
        for (arn, now) in rules {
            let before = told.insert(arn.clone(), now).unwrap_or(0);
            if now < before {
                // Begun anew: what was counted stays.
                *self.past.entry(arn.clone()).or_default() += before;
                self.unsaved.insert(String::new());
            }
            if !first {
                let more = if now < before { now } else { now - before };
                self.recent.entry(arn).or_default().add(now_ms, more);
            }
        }
        self.unsaved.insert(proxy.to_owned());
    }

    /// Requests that a rule took: ever, and in the last minute.
    pub fn of(&mut self, arn: &str, now_ms: i64) -> (u64, u64) {
        let told = self.proxies.values().filter_map(|counts| counts.get(arn));
        let ever = told.chain(self.past.get(arn)).sum();
        (ever, self.recent.get_mut(arn).map_or(0, |recent| recent.sum(now_ms)))
    }
}

/// Reads what was written down, once after the start.
pub fn load(platform: &Platform) -> Result<(), StoreError> {
    let kept = platform.store.read(|tx| tx.all::<Kept>())?;
    let mut live = platform.live();
    let hits = &mut live.hits;
    if std::mem::replace(&mut hits.loaded, true) {
        return Ok(());
    }
    for one in kept {
        match one.proxy.as_str() {
            "" => hits.past = one.counts,
            // A proxy that is there has told more already.
            proxy => drop(hits.proxies.entry(proxy.to_owned()).or_insert(one.counts)),
        }
    }
    Ok(())
}

/// Writes down what has changed, if it is time or the end; what proxies counted that have ended is kept without their names.
pub fn save(platform: &Platform, at_end: bool) -> Result<(), StoreError> {
    let now = platform.now_ms();
    let due = {
        let live = platform.live();
        let hits = &live.hits;
        hits.loaded && !hits.unsaved.is_empty() && (at_end || now - hits.saved_ms >= SAVED_EVERY)
    };
    if !due {
        return Ok(());
    }
    let (known, there) = platform.store.read(|tx| -> Result<_, StoreError> {
        let known: BTreeSet<String> = tx.all::<KnownProxy>()?.into_iter().map(|proxy| proxy.name).collect();
        let mut there: BTreeSet<String> = tx.all::<Rule>()?.into_iter().map(|rule| rule.arn).collect();
        there.extend(elbv2::all_listeners(tx)?.into_iter().map(|(_, listener)| listener.arn));
        Ok((known, there))
    })?;
    let (changed, ended) = {
        let mut live = platform.live();
        let hits = &mut live.hits;
        hits.saved_ms = now;
        let ended: Vec<String> = hits.proxies.keys().filter(|proxy| !known.contains(*proxy)).cloned().collect();
        for proxy in &ended {
            for (arn, count) in hits.proxies.remove(proxy).unwrap_or_default() {
                *hits.past.entry(arn).or_default() += count;
            }
            hits.unsaved.remove(proxy);
            hits.unsaved.insert(String::new());
        }
        hits.past.retain(|arn, _| there.contains(arn));
        hits.recent.retain(|arn, _| there.contains(arn));
        hits.proxies.values_mut().for_each(|counts| counts.retain(|arn, _| there.contains(arn)));
        let changed: Vec<Kept> = std::mem::take(&mut hits.unsaved)
            .into_iter()
            .map(|proxy| {
                let counts = if proxy.is_empty() { Some(&hits.past) } else { hits.proxies.get(&proxy) };
                Kept { counts: counts.cloned().unwrap_or_default(), proxy }
            })
            .collect();
        (changed, ended)
    };
    let written = platform.store.write(|tx| -> Result<(), StoreError> {
        for proxy in &ended {
            tx.delete::<Kept>(proxy)?;
        }
        changed.iter().try_for_each(|kept| tx.put(kept))
    });
    if written.is_err() {
        // Tried again with the next one.
        platform.live().hits.unsaved.extend(changed.into_iter().map(|kept| kept.proxy));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elbv2::tests as elb;
    use quarry_aws::elbv2::op;

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        pairs.iter().map(|(arn, count)| ((*arn).to_owned(), *count)).collect()
    }

    #[test]
    fn counts_never_fall_whoever_restarts() {
        let mut hits = Hits::default();
        hits.tell("a", counts(&[("rule", 5)]), true, 0);
        hits.tell("a", counts(&[("rule", 7)]), false, 1_000);
        hits.tell("b", counts(&[("rule", 2)]), true, 2_000);
        assert_eq!(hits.of("rule", 3_000), (9, 2), "what was there before is not of this minute");
        hits.tell("a", counts(&[("rule", 1)]), false, 4_000);
        assert_eq!(hits.of("rule", 5_000), (10, 3), "a count that fell was begun anew");
        assert_eq!(hits.of("rule", 59_000), (10, 3));
        assert_eq!(hits.of("rule", 61_000), (10, 0));
        assert_eq!(hits.of("other", 0), (0, 0));
    }

    #[test]
    fn what_ended_proxies_counted_is_kept_and_what_deleted_rules_took_is_not() {
        let world = elb::world();
        let platform = &world.platform;
        let balancer = elb::balancer(&world, "demo");
        let group = elb::group(&world, "api");
        let listener = elb::listener(&world, &balancer, &group);
        let rule = world.call::<op::CreateRule>(elb::rule_input(&listener, 1, "/a", &group)).unwrap();
        let rule = rule.rules.unwrap().remove(0).rule_arn.unwrap();
        load(platform).unwrap();
        platform.live().hits.tell("gone", counts(&[(&rule, 3), (&listener, 4), ("deleted", 9)]), true, 0);
        save(platform, true).unwrap();
        let kept = platform.store.read(|tx| tx.all::<Kept>()).unwrap();
        let past = counts(&[(&rule, 3), (&listener, 4)]);
        assert_eq!(kept.iter().map(|k| (k.proxy.as_str(), &k.counts)).collect::<Vec<_>>(), [("", &past)]);
        // After a restart of `serve`, with another proxy.
        platform.live().hits = Hits::default();
        platform.live().hits.tell("new", counts(&[(&rule, 1)]), true, 0);
        load(platform).unwrap();
        assert_eq!(platform.live().hits.of(&rule, 0).0, 4);
        assert_eq!(platform.live().hits.of(&listener, 0).0, 4);
    }
}
