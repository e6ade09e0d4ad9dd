//! Numbered migrations, each applied once, all in one transaction.

use super::{Db, DbError, Tx, Value};

/// The advisory lock that starting processes queue on in PostgreSQL; in SQLite the write
/// transaction itself is the lock.
const LOCK: i64 = 0x626f_6172_645f_6462;

/// One step of a feature's schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The feature whose tables it makes or changes.
    pub feature: &'static str,
    /// Counts from 1 within the feature.
    pub number: i64,
    /// Statements separated by an empty line, with the placeholders of [`super::Dialect::render`].
    pub sql: &'static str,
}

/// Applies what is missing. A database that is ahead of this program is refused, because an older
/// program would write rows the newer schema does not expect.
pub async fn run(db: &Db, migrations: &[Migration]) -> Result<(), DbError> {
    if is_current(db, migrations).await {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    if let Tx::Postgres(tx) = &mut tx {
        tx.query("SELECT pg_advisory_xact_lock($1)::text", vec![LOCK.into()]).await?;
    }
    tx.query(
        "CREATE TABLE IF NOT EXISTS board_migrations (\
         feature TEXT NOT NULL, number BIGINT NOT NULL, PRIMARY KEY (feature, number))",
        vec![],
    )
    .await?;
    for migration in migrations {
        let known = tx
            .query(
                "SELECT number FROM board_migrations WHERE feature = $1 AND number >= $2",
                vec![migration.feature.into(), migration.number.into()],
            )
            .await?;
        let newest = migrations.iter().filter(|m| m.feature == migration.feature).map(|m| m.number).max();
        if let Some(ahead) = known.iter().map(|row| row.int(0)).max()
            && Some(ahead) > newest
        {
            return Err(DbError::Failed(format!(
                "the database is at migration {ahead} of {}, which this version does not know; \
                 start a newer version",
                migration.feature
            )));
        }
        if known.iter().any(|row| row.int(0) == migration.number) {
            continue;
        }
        for statement in migration.sql.split("\n\n").map(str::trim) {
            if !statement.is_empty() {
                tx.query(statement, vec![]).await?;
            }
        }
        tx.query(
            "INSERT INTO board_migrations (feature, number) VALUES ($1, $2)",
            vec![migration.feature.into(), migration.number.into()],
        )
        .await?;
    }
    tx.commit().await
}

/// A start with nothing to do takes no write lock, so it never waits for another task's write.
async fn is_current(db: &Db, migrations: &[Migration]) -> bool {
    let Ok(rows) = db.query("SELECT feature, number FROM board_migrations", vec![]).await else {
        return false;
    };
    let ours: Vec<(Value, Value)> = migrations.iter().map(|m| (m.feature.into(), m.number.into())).collect();
    let newer = rows.iter().any(|row| {
        let feature = migrations.iter().filter(|m| row.text(0) == m.feature);
        feature.map(|m| m.number).max().is_some_and(|max| row.int(1) > max)
    });
    !newer && ours.iter().all(|(f, n)| rows.iter().any(|row| row.0[0] == *f && row.0[1] == *n))
}
