//! The metric store: a SQLite file of its own beside the control store, so that metrics neither wait
//! for its writer nor wake its reconcilers.
//!
//! A datapoint is kept as the statistics of one period, at three resolutions from the start: a minute
//! for 15 days, five minutes for 63 days, an hour for 455 days, as CloudWatch keeps them; and by the
//! second for three hours where it was given with high resolution. So its size is bounded by the
//! number of series, which is bounded by [`MAX_SERIES`]. `synchronous=NORMAL`: what was written
//! survives the end of the process; of a power failure the last moments may be lost.

use crate::store::StoreError;
use quarry_domain::metric::{Spread, Statistics};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Names a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Metric {
    pub namespace: String,
    pub name: String,
    pub dimensions: BTreeMap<String, String>,
}

/// What is to be kept: statistics of a metric at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Datapoint {
    pub metric: Metric,
    /// CloudWatch's name of the unit; `None` is its own unit in CloudWatch, too.
    pub unit: &'static str,
    pub at_ms: i64,
    /// Keep it by the second, too.
    pub fine: bool,
    pub statistics: Statistics,
}

/// The metrics that were ever given and are still kept.
pub struct MetricStore {
    inner: Mutex<Inner>,
}

struct Inner {
    connection: Connection,
    ids: HashMap<(Metric, &'static str), i64>,
}

/// Metrics (with their units) that are kept at most.
pub const MAX_SERIES: usize = 50_000;

/// Seconds of a period, and for how many seconds they are kept.
const RESOLUTIONS: [(i64, i64); 4] = [(1, 3 * 3_600), (60, 15 * 86_400), (300, 63 * 86_400), (3_600, 455 * 86_400)];

/// The units of CloudWatch.
pub const UNITS: &[&str] = &[
    "None",
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
];

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS series (
        id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, dimensions TEXT NOT NULL,
        unit TEXT NOT NULL, last_s INTEGER NOT NULL,
        UNIQUE (namespace, name, dimensions, unit));
    CREATE TABLE IF NOT EXISTS point (
        series INTEGER NOT NULL, resolution INTEGER NOT NULL, at_s INTEGER NOT NULL,
        sum REAL NOT NULL, n REAL NOT NULL, min REAL NOT NULL, max REAL NOT NULL, spread TEXT,
        PRIMARY KEY (series, resolution, at_s)) WITHOUT ROWID;
";

impl MetricStore {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self { inner: Mutex::new(Inner { connection, ids: HashMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic within a transaction rolled it back.
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Adds datapoints to what is kept of their periods: all of them, or none. `false` if that would
    /// be more than [`MAX_SERIES`].
    pub fn record(&self, points: &[Datapoint]) -> Result<bool, StoreError> {
        if points.is_empty() {
            return Ok(true);
        }
        let mut inner = self.lock();
        let Inner { connection, ids } = &mut *inner;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut fresh = Vec::new();
        for point in points {
            let key = (point.metric.clone(), point.unit);
            let known = ids.get(&key).copied();
            let id = match known {
                Some(id) => id,
                None => {
                    let Some(id) = series_id(&transaction, &point.metric, point.unit)? else { return Ok(false) };
                    fresh.push((key, id));
                    id
                }
            };
            add(&transaction, id, point)?;
        }
        transaction.commit()?;
        ids.extend(fresh);
        Ok(true)
    }

    /// What is kept of a metric from `start_s` to before `end_s`, by periods of `period_s`; each by its
    /// start. Of all units, or of one.
    pub fn read(
        &self,
        metric: &Metric,
        unit: Option<&str>,
        period_s: i64,
        (start_s, end_s): (i64, i64),
        now_s: i64,
    ) -> Result<BTreeMap<i64, Statistics>, StoreError> {
        let resolution = resolution(period_s, start_s, now_s);
        let inner = self.lock();
        let mut statement = inner.connection.prepare_cached(
            "SELECT at_s, sum, n, min, max, spread FROM point JOIN series ON series.id = point.series
             WHERE namespace = ?1 AND name = ?2 AND dimensions = ?3 AND (?4 IS NULL OR unit = ?4)
               AND resolution = ?5 AND at_s >= ?6 AND at_s < ?7 ORDER BY at_s",
        )?;
        let dimensions = dimensions_text(&metric.dimensions);
        let arguments = params![metric.namespace, metric.name, dimensions, unit, resolution, start_s, end_s];
        let mut rows = statement.query(arguments)?;
        let mut found: BTreeMap<i64, Statistics> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(0)?;
            let spread: Option<String> = row.get(5)?;
            let statistics = Statistics {
                sum: row.get(1)?,
                count: row.get(2)?,
                min: row.get(3)?,
                max: row.get(4)?,
                spread: spread.and_then(|text| Spread::from_text(&text)),
            };
            let start = start_s + (at - start_s).div_euclid(period_s) * period_s;
            found.entry(start).or_default().add(&statistics);
        }
        Ok(found)
    }

    /// All metrics with a datapoint since `since_s`, in the order of their names.
    pub fn list(&self, since_s: i64) -> Result<Vec<Metric>, StoreError> {
        let inner = self.lock();
        let mut statement = inner.connection.prepare_cached(
            "SELECT DISTINCT namespace, name, dimensions FROM series WHERE last_s >= ?1
             ORDER BY namespace, name, dimensions",
        )?;
        let rows = statement.query_map(params![since_s], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?;
        rows.map(|row| {
            let (namespace, name, text) = row?;
            let dimensions = serde_json::from_str(&text)
                .map_err(|source| StoreError::Damaged { kind: "cloudwatch.series", source })?;
            Ok(Metric { namespace, name, dimensions })
        })
        .collect()
    }

    /// The unit in which most recent datapoints of a metric came.
    pub fn unit(&self, metric: &Metric) -> Result<Option<String>, StoreError> {
        let inner = self.lock();
        let mut statement = inner.connection.prepare_cached(
            "SELECT unit FROM series WHERE namespace = ?1 AND name = ?2 AND dimensions = ?3 ORDER BY last_s DESC",
        )?;
        let dimensions = dimensions_text(&metric.dimensions);
        Ok(statement.query_row(params![metric.namespace, metric.name, dimensions], |row| row.get(0)).optional()?)
    }

    /// Deletes what is kept long enough.
    pub fn expire(&self, now_s: i64) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let Inner { connection, ids } = &mut *inner;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let all: Vec<i64> = transaction
                .prepare_cached("SELECT id FROM series")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut delete =
                transaction.prepare_cached("DELETE FROM point WHERE series = ?1 AND resolution = ?2 AND at_s < ?3")?;
            for series in all {
                for (resolution, kept) in RESOLUTIONS {
                    delete.execute(params![series, resolution, now_s - kept])?;
                }
            }
            let oldest = now_s - RESOLUTIONS[3].1;
            if transaction.execute("DELETE FROM series WHERE last_s < ?1", params![oldest])? > 0 {
                ids.clear();
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Metric {
    pub fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Self {
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { namespace: namespace.to_owned(), name: name.to_owned(), dimensions }
    }
}

/// The coarsest kept resolution that makes up the period, or a finer one while it is kept.
fn resolution(period_s: i64, start_s: i64, now_s: i64) -> i64 {
    // By the second only what needs it: the rest is kept by the minute as well.
    let by_second = period_s % 60 != 0;
    let mut fitting =
        RESOLUTIONS.iter().filter(|(resolution, _)| period_s % resolution == 0 && by_second == (*resolution == 1));
    let kept = fitting.clone().find(|(_, kept)| start_s >= now_s - kept);
    kept.or(fitting.next_back()).map_or(60, |(resolution, _)| *resolution)
}

fn dimensions_text(dimensions: &BTreeMap<String, String>) -> String {
    serde_json::to_string(dimensions).expect("texts are plain data")
}

fn series_id(connection: &Connection, metric: &Metric, unit: &str) -> Result<Option<i64>, StoreError> {
    let dimensions = dimensions_text(&metric.dimensions);
    let arguments = params![metric.namespace, metric.name, dimensions, unit];
    let known: Option<i64> = connection
        .prepare_cached("SELECT id FROM series WHERE namespace = ?1 AND name = ?2 AND dimensions = ?3 AND unit = ?4")?
        .query_row(arguments, |row| row.get(0))
        .optional()?;
    if known.is_some() {
        return Ok(known);
    }
    let count: i64 = connection.prepare_cached("SELECT count(*) FROM series")?.query_row([], |row| row.get(0))?;
    if count as usize >= MAX_SERIES {
        return Ok(None);
    }
    connection
        .prepare_cached("INSERT INTO series (namespace, name, dimensions, unit, last_s) VALUES (?1, ?2, ?3, ?4, 0)")?
        .execute(arguments)?;
    Ok(Some(connection.last_insert_rowid()))
}

fn add(connection: &Connection, series: i64, point: &Datapoint) -> Result<(), StoreError> {
    let at_s = point.at_ms.div_euclid(1000);
    let mut select = connection.prepare_cached(
        "SELECT sum, n, min, max, spread FROM point WHERE series = ?1 AND resolution = ?2 AND at_s = ?3",
    )?;
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO point VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for (resolution, _) in RESOLUTIONS.iter().filter(|(resolution, _)| point.fine || *resolution > 1) {
        let start = at_s.div_euclid(*resolution) * resolution;
        let kept = select
            .query_row(params![series, resolution, start], |row| {
                let spread: Option<String> = row.get(4)?;
                let spread = spread.and_then(|text| Spread::from_text(&text));
                Ok(Statistics { sum: row.get(0)?, count: row.get(1)?, min: row.get(2)?, max: row.get(3)?, spread })
            })
            .optional()?;
        let mut all = kept.unwrap_or_default();
        all.add(&point.statistics);
        let spread = all.spread.as_ref().map(Spread::to_text);
        insert.execute(params![series, resolution, start, all.sum, all.count, all.min, all.max, spread])?;
    }
    connection
        .prepare_cached("UPDATE series SET last_s = max(last_s, ?2) WHERE id = ?1")?
        .execute(params![series, at_s])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_domain::metric::Statistic;

    const NOW: i64 = 1_700_000_040; // a whole minute

    fn point(value: f64, at_s: i64, fine: bool) -> Datapoint {
        let metric = Metric::new("Test", "Load", &[("Service", "posts")]);
        Datapoint { metric, unit: "Count", at_ms: at_s * 1000, fine, statistics: Statistics::of(value, 1.0) }
    }

    fn open() -> (MetricStore, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (MetricStore::open(&dir.path().join("metrics.db")).unwrap(), dir)
    }

    #[test]
    fn periods_add_up_and_survive_reopening() {
        let (store, dir) = open();
        let points: Vec<_> = (0..120).map(|n| point(f64::from(n), NOW + i64::from(n), true)).collect();
        assert!(store.record(&points).unwrap());
        let metric = points[0].metric.clone();
        drop(store);
        let store = MetricStore::open(&dir.path().join("metrics.db")).unwrap();
        let sums = |period, from, to| -> Vec<(i64, f64)> {
            let found = store.read(&metric, None, period, (from, to), NOW + 120).unwrap();
            found.into_iter().map(|(at, s)| (at - NOW, s.get(Statistic::Sum).unwrap())).collect()
        };
        assert_eq!(sums(60, NOW, NOW + 120), [(0, 1770.0), (60, 5370.0)]);
        assert_eq!(sums(120, NOW, NOW + 120), [(0, 7140.0)]);
        assert_eq!(sums(10, NOW, NOW + 20), [(0, 45.0), (10, 145.0)]);
        assert_eq!(store.list(NOW).unwrap(), std::slice::from_ref(&metric));
        assert_eq!(store.unit(&metric).unwrap().as_deref(), Some("Count"));
        assert!(store.read(&metric, Some("Bytes"), 60, (NOW, NOW + 120), NOW).unwrap().is_empty());
    }

    #[test]
    fn what_is_old_goes_by_resolution() {
        let (store, _dir) = open();
        store.record(&[point(1.0, NOW, true)]).unwrap();
        let metric = point(0.0, 0, true).metric;
        let left = |period, now| store.read(&metric, None, period, (NOW - 7200, NOW + 7200), now).unwrap().len();
        store.expire(NOW + 4 * 3600).unwrap();
        assert_eq!((left(1, NOW), left(60, NOW)), (0, 1));
        store.expire(NOW + 16 * 86_400).unwrap();
        assert_eq!((left(60, NOW), left(300, NOW + 16 * 86_400)), (0, 1));
        store.expire(NOW + 500 * 86_400).unwrap();
        assert_eq!(left(3600, NOW), 0);
        assert!(store.list(0).unwrap().is_empty());
        assert!(store.record(&[point(1.0, NOW, false)]).unwrap(), "it may come again");
        assert_eq!(left(60, NOW), 1);
    }
}
