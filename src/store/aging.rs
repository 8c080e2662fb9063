//! Dropping rows that were kept for as long as they are to be kept: a little at a time, the oldest first.
//!
//! Each statement finds its rows by an index, so that a stretch costs its rows and no more. An id says when its row was
//! written, so that those of metrics need no index beside their key. What can be renewed is asked once more by the row that
//! goes: PostgreSQL finds it before it waits for whoever renews it.

use core314_actors::ports::aging::{Aged, Aging};
use core314_actors::ports::{BoxFuture, StoreError};
use core314_domain::ids::RowId;

use super::SqlStore;
use super::cell::Cell;

const METRICS: &str = "DELETE FROM metrics WHERE id IN (SELECT id FROM metrics WHERE id < $1 ORDER BY id LIMIT $2) \
    RETURNING id";
const NOTIFICATIONS: &str = "DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE archived_at_ms < $1 \
    ORDER BY archived_at_ms LIMIT $2) AND archived_at_ms < $1 RETURNING id";
/// The key of a run that an escalation begins is asked for again as long as its row is under way (see `escalations`), however
/// old it is.
const KEYS: &str = "DELETE FROM idempotency_keys WHERE (tenant_id, key) IN (SELECT k.tenant_id, k.key \
    FROM idempotency_keys k WHERE k.expires_at_ms < $1 AND NOT (substr(k.key, 1, 11) = 'escalation ' \
    AND EXISTS (SELECT 1 FROM outbox o WHERE o.idempotency_key = substr(k.key, 12) AND o.tenant_id = k.tenant_id \
    AND o.status IN ('pending', 'sending'))) ORDER BY k.expires_at_ms LIMIT $2) AND expires_at_ms < $1 RETURNING key";

impl Aging for SqlStore {
    fn drop_old(&self, what: Aged, before_ms: i64, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            let (sql, before): (_, Cell<'static>) = match what {
                Aged::Metrics => (METRICS, RowId::new(before_ms, 0).0.into()),
                Aged::ArchivedNotifications => (NOTIFICATIONS, before_ms.into()),
                Aged::IdempotencyKeys => (KEYS, before_ms.into()),
            };
            let mut connection = self.begin().await?;
            let dropped = connection.fetch(sql, &[before, (limit as i64).into()]).await?.len();
            connection.commit().await?;
            connection.give_back();
            Ok(dropped)
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::StoreOptions;
    use crate::store::connection::Connection;

    /// The oldest go, no more than may, and those that are to be kept stay.
    async fn what_is_old_goes_a_little_at_a_time(url: &str) {
        let store = SqlStore::open(url, StoreOptions::default()).await.expect("it opens");
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
            ] {
                connection.fetch(sql, &[id.into(), at_ms.into()]).await.expect("a row");
            }
            key(&mut connection, id, "k", at_ms).await;
        }
        let id = RowId::new(0, 0).0;
        let sql = "INSERT INTO notices (id, tenant_id, user_id, type, title, message, severity, status, metadata, \
            created_at_ms, updated_at_ms) VALUES ($1, $1, $1, 'info', 't', 'm', 'low', 'read', '{}', 0, 0)";
        connection.fetch(sql, &[id.into()]).await.expect("one that is not archived");
        for (id, status) in [(RowId::new(1, 1).0, "sending"), (RowId::new(1, 2).0, "sent")] {
            let sql = "INSERT INTO outbox (id, tenant_id, user_id, escalation_id, level, round, purpose, kind, channel, \
                payload, idempotency_key, status, is_unknown, tries, created_at_ms, updated_at_ms) \
                VALUES ($1, $1, $1, $1, 0, 0, 'level', 'act', 'retry', '{}', $2, $2, $3, 0, 0, 0)";
            connection.fetch(sql, &[id.into(), status.into(), false.into()]).await.expect("a row of the outbox");
            key(&mut connection, id, &format!("escalation {status}"), 0).await;
        }
        connection.commit().await.expect("commits");
        connection.give_back();
        for (what, dropped) in
            [(Aged::Metrics, [2, 1, 0]), (Aged::ArchivedNotifications, [2, 1, 0]), (Aged::IdempotencyKeys, [2, 2, 0])]
        {
            for expected in dropped {
                assert_eq!(store.drop_old(what, 4, 2).await.expect("it drops"), expected, "{what:?}");
            }
        }
        let mut connection = store.connector.connect().await.expect("a connection");
        connection.begin_read().await.expect("begins");
        for (table, left) in [("metrics", 2), ("notices", 3), ("idempotency_keys", 3)] {
            let rows = connection.fetch_made(format!("SELECT 1 FROM {table}"), &[]).await.expect("it reads");
            assert_eq!(rows.len(), left, "{table}");
        }
        let held = "SELECT 1 FROM idempotency_keys WHERE key = 'escalation sending'";
        assert_eq!(connection.fetch(held, &[]).await.expect("it reads").len(), 1, "its row is under way");
    }

    async fn key(connection: &mut Connection, tenant: Uuid, key: &str, expires_at_ms: i64) {
        let sql = "INSERT INTO idempotency_keys (tenant_id, key, body_hash, answer, expires_at_ms) \
            VALUES ($1, $2, $3, '{}', $4)";
        let cells = [tenant.into(), key.into(), [0_u8; 32].into(), expires_at_ms.into()];
        connection.fetch(sql, &cells).await.expect("a key");
    }

    #[tokio::test]
    async fn what_is_old_goes_a_little_at_a_time_on_sqlite() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("core314.db").display());
        what_is_old_goes_a_little_at_a_time(&url).await;
    }

    #[tokio::test]
    async fn what_is_old_goes_a_little_at_a_time_on_postgres() {
        let url = std::env::var("CORE314_TEST_POSTGRES_URL")
            .expect("CORE314_TEST_POSTGRES_URL is not set: run the tests under scripts/with-postgres.sh");
        let (server, _) = url.rsplit_once('/').expect("the address names a database");
        let name = format!("aging_{}", std::process::id());
        let base = crate::store::postgres::connector(&url, &StoreOptions::default()).expect("a valid address");
        let mut base = base.connect().await.expect("it connects");
        base.create_database(&name).await.expect("a database can be created");
        what_is_old_goes_a_little_at_a_time(&format!("{server}/{name}")).await;
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
