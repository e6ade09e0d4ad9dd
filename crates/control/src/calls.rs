//! What was called on the endpoint since the start, and how it was answered.

use crate::api::Operations;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Answers of one operation, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// Done.
    pub answered: u64,
    /// Status 4xx: the caller's fault.
    pub refused: u64,
    /// Status 5xx.
    pub failed: u64,
}

/// Counts of every served operation, by service and operation.
pub struct Calls(HashMap<(&'static str, &'static str), [AtomicU64; 3]>);

/// Calls of operations that are not served, by service and operation.
#[derive(Default)]
pub struct Unserved(Mutex<BTreeMap<(String, String), u64>>);

/// Most operations that are told apart; names come from whoever calls.
const MAX_UNSERVED: usize = 1000;
/// Most characters of a name that are kept.
const MAX_NAME: usize = 100;

impl Calls {
    pub fn new(operations: &Operations) -> Self {
        Self(operations.names().map(|name| (name, Default::default())).collect())
    }

    /// Counts an answer by its HTTP status. What is not served is not counted here.
    pub fn count(&self, service: &'static str, operation: &'static str, status: u16) {
        let outcome = match status {
            ..400 => 0,
            400..500 => 1,
            500.. => 2,
        };
        if let Some(counts) = self.0.get(&(service, operation)) {
            counts[outcome].fetch_add(1, Relaxed);
        }
    }

    /// Operations that were called, by service.
    pub fn told(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, Answers>> {
        let mut told: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (&(service, operation), counts) in &self.0 {
            let [answered, refused, failed] = [0, 1, 2].map(|outcome: usize| counts[outcome].load(Relaxed));
            if answered + refused + failed > 0 {
                told.entry(service).or_default().insert(operation, Answers { answered, refused, failed });
            }
        }
        told
    }
}

impl Unserved {
    pub fn count(&self, service: &str, operation: &str) {
        let kept = |name: &str| name.chars().take(MAX_NAME).filter(|c| c.is_ascii_graphic()).collect::<String>();
        let mut counts = self.counts();
        let key = (kept(service), kept(operation));
        if counts.len() < MAX_UNSERVED || counts.contains_key(&key) {
            *counts.entry(key).or_default() += 1;
        }
    }

    pub fn told(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut told: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for ((service, operation), count) in self.counts().iter() {
            told.entry(service.clone()).or_default().insert(operation.clone(), *count);
        }
        told
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<(String, String), u64>> {
        // A count is whole whatever happened.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
