//! Dropping rows that were kept for as long as they are to be kept: a little at a time, the oldest first.
//!
//! Each statement finds its rows by an index, so that a stretch costs its rows and no more. An id says when its row was
//! written, so that those of metrics need no index beside their key.

use core314_actors::ports::aging::{Aged, Aging};
use core314_actors::ports::{BoxFuture, StoreError};
use core314_domain::ids::RowId;

use super::SqlStore;
use super::cell::Cell;

const METRICS: &str = "DELETE FROM metrics WHERE id IN (SELECT id FROM metrics WHERE id < $1 ORDER BY id LIMIT $2) \
    RETURNING id";
const NOTIFICATIONS: &str = "DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE archived_at_ms < $1 \
    ORDER BY archived_at_ms LIMIT $2) RETURNING id";
const KEYS: &str = "DELETE FROM idempotency_keys WHERE (tenant_id, key) IN (SELECT tenant_id, key \
    FROM idempotency_keys WHERE expires_at_ms < $1 ORDER BY expires_at_ms LIMIT $2) RETURNING key";

impl Aging for SqlStore {
    fn drop_old(&self, what: Aged, before_ms: i64, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            let (sql, before): (_, Cell<'static>) = match what {
                Aged::Metrics => (METRICS, RowId::new(before_ms, 0).0.into()),
                Aged::ArchivedNotifications => (NOTIFICATIONS, before_ms.into()),
                Aged::IdempotencyKeys => (KEYS, before_ms.into()),
            };
            let mut connection = self.writers()?.lend().await?;
            connection.begin_write().await?;
            let dropped = connection.fetch(sql, &[before, (limit as i64).into()]).await?.len();
            connection.commit().await?;
            connection.give_back();
            Ok(dropped)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    /// The oldest go, no more than may, and those that are to be kept stay.
    #[tokio::test]
    async fn what_is_old_goes_a_little_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("core314.db").display());
        let store = SqlStore::open(&url, StoreOptions::default()).await.expect("it opens");
        let mut connection = store.writers().expect("it writes").lend().await.expect("a connection");
        connection.begin_write().await.expect("begins");
        for at_ms in 1..=5_i64 {
            let id = RowId::new(at_ms, u128::MAX).0;
            for sql in [
                "INSERT INTO metrics (id, tenant_id, user_id, metric_name, metric_type, value, labels, recorded_at_ms, \
                 created_at_ms) VALUES ($1, $1, $1, 'm', 'gauge', 1.0, '{}', $2, $2)",
                "INSERT INTO notices (id, tenant_id, user_id, type, title, message, severity, status, metadata, \
                 created_at_ms, updated_at_ms, archived_at_ms) \
                 VALUES ($1, $1, $1, 'info', 't', 'm', 'low', 'archived', '{}', 0, 0, $2)",
                "INSERT INTO idempotency_keys (tenant_id, key, body_hash, answer, expires_at_ms) \
                 VALUES ($1, 'k', $1, '{}', $2)",
            ] {
                connection.fetch(sql, &[id.into(), at_ms.into()]).await.expect("a row");
            }
        }
        connection
            .run(
                "INSERT INTO notices (id, tenant_id, user_id, type, title, message, severity, status, metadata, \
                 created_at_ms, updated_at_ms) VALUES (x'00', x'00', x'00', 'info', 't', 'm', 'low', 'read', '{}', 0, 0)",
            )
            .await
            .expect("one that is not archived");
        connection.commit().await.expect("commits");
        connection.give_back();
        for what in [Aged::Metrics, Aged::ArchivedNotifications, Aged::IdempotencyKeys] {
            for expected in [2, 1, 0] {
                assert_eq!(store.drop_old(what, 4, 2).await.expect("it drops"), expected, "{what:?}");
            }
        }
        let mut connection = store.connector.connect().await.expect("a connection");
        for (table, left) in [("metrics", 2), ("notices", 3), ("idempotency_keys", 2)] {
            let rows = connection.fetch_made(format!("SELECT 1 FROM {table}"), &[]).await.expect("it reads");
            assert_eq!(rows.len(), left, "{table}");
        }
    }

    #[tokio::test]
    async fn old_rows_are_found_by_their_indexes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("core314.db").display());
        let store = SqlStore::open(&url, StoreOptions::default()).await.expect("it opens");
        let mut connection = store.connector.connect().await.expect("a connection");
        for (sql, index) in [
            (METRICS, "sqlite_autoindex_metrics_1"),
            (NOTIFICATIONS, "notices_archived"),
            (KEYS, "idempotency_keys_expiry"),
        ] {
            let plan = format!("EXPLAIN QUERY PLAN {sql}");
            let rows = connection.fetch_made(plan, &[Cell::Int(Some(1)), 1_i64.into()]).await.expect("it explains");
            let mut details = Vec::new();
            for row in &rows {
                let mut fields = row.fields();
                for _ in 0..3 {
                    fields.int().expect("a number");
                }
                details.push(fields.text().expect("a text"));
            }
            assert!(details.iter().any(|line| line.contains(index)), "{sql}: {details:?}");
            assert!(!details.iter().any(|line| line.starts_with("SCAN")), "{sql}: {details:?}");
        }
    }
}
