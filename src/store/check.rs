//! Looking through a store for what the promises do not allow: what statements can see of it.
//!
//! Rows that lost what they belong to, that are another tenant's than what they belong to, or whose tenant is not their
//! owner's; attempts that are missing in the log; names that runs hold which have ended. The chains are proven by the
//! ledger, and the runs themselves are judged by the numbered functions of the domain (`core314_actors::run_check`).
//! The tables are read in one snapshot, the chains and the runs each in their own way behind it, beside a running server or
//! without one, and nothing is changed.

use core314_actors::ports::StoreError;
use serde::Serialize;

use super::connection::Connection;
use super::failure::Failure;
use super::{SqlStore, transfer};

/// Rows that one finding names.
const MOST_EXAMPLES: usize = 20;

/// A row that belongs to another: its table and column, and the table and key of what it belongs to.
type Belonging = (&'static str, &'static str, &'static str, &'static str);

const BELONGINGS: [Belonging; 16] = [
    ("runs", "id", "run_state", "run_id"),
    ("run_state", "run_id", "runs", "id"),
    ("approvals", "run_id", "runs", "id"),
    ("blobs", "run_id", "runs", "id"),
    ("phase_moves", "run_id", "runs", "id"),
    ("run_limits", "run_id", "runs", "id"),
    ("live_run_keys", "run_id", "runs", "id"),
    ("gathered_triggers", "run_id", "runs", "id"),
    ("reused_results", "run_id", "runs", "id"),
    ("event_waits", "run_id", "runs", "id"),
    ("event_takes", "run_id", "runs", "id"),
    ("event_deliveries", "run_id", "runs", "id"),
    ("execution_reviews", "execution_log_id", "log", "id"),
    ("bulk_items", "job_id", "bulk_jobs", "id"),
    ("schedules", "flow_id", "flows", "id"),
    ("outbox", "escalation_id", "escalations", "id"),
];

/// Tables whose rows are their owner's, of whom the tenant follows.
const OWNED: [&str; 8] =
    ["flows", "runs", "webhooks", "connections", "sealed_secrets", "rules", "decisions", "bulk_jobs"];

/// Attempts are numbered from 0 without a gap.
const GAPS: &str = "SELECT run_id FROM log GROUP BY run_id, step_no HAVING count(*) <> max(attempt) + 1 LIMIT 20";
const KEYS_OF_ENDED_RUNS: &str = "SELECT k.run_id FROM live_run_keys k WHERE EXISTS (SELECT 1 FROM run_state s \
    WHERE s.run_id = k.run_id AND s.run_status IN ('completed', 'failed', 'rolled_back', 'cancelled', 'timed_out')) LIMIT 20";

/// What is not as it was promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreFinding {
    /// The number of the invariant, where one of them says so.
    pub invariant: Option<u8>,
    pub table: String,
    pub message: String,
    /// The ids of some of the rows: at most twenty.
    pub rows: Vec<String>,
}

impl SqlStore {
    /// Looks through the tables.
    pub async fn look_through(&self) -> Result<Vec<StoreFinding>, StoreError> {
        // A connection of its own: no reader's time limit is meant for this.
        let mut connection = self.connector.connect().await?;
        connection.begin_read().await?;
        let mut found = Vec::new();
        if transfer::installation(&mut connection).await?.unfinished_since_ms.is_some() {
            let message = "a copy into this database was begun and not finished".to_owned();
            found.push(StoreFinding { invariant: None, table: "cluster".to_owned(), message, rows: Vec::new() });
        }
        for belonging in BELONGINGS {
            found.extend(orphans(&mut connection, belonging).await?);
        }
        for table in OWNED {
            let sql = format!(
                "SELECT id FROM {table} WHERE tenant_id <> coalesce(organization_id, user_id) LIMIT {MOST_EXAMPLES}"
            );
            let message = "the tenant is neither the organization nor, without one, the user";
            found.extend(finding(&mut connection, sql, (Some(5), table), message.to_owned()).await?);
        }
        let message = "attempts are missing in the log".to_owned();
        found.extend(finding(&mut connection, GAPS.to_owned(), (Some(2), "log"), message).await?);
        let message = "a run that has ended still holds its name".to_owned();
        let held = finding(&mut connection, KEYS_OF_ENDED_RUNS.to_owned(), (None, "live_run_keys"), message).await?;
        found.extend(held);
        connection.commit().await?;
        Ok(found)
    }
}

/// Rows that lost what they belong to, or are another tenant's.
async fn orphans(connection: &mut Connection, of: Belonging) -> Result<Option<StoreFinding>, Failure> {
    let (table, column, owner, key) = of;
    let sql = format!(
        "SELECT c.{column} FROM {table} c WHERE NOT EXISTS (SELECT 1 FROM {owner} p \
         WHERE p.{key} = c.{column} AND p.tenant_id = c.tenant_id) LIMIT {MOST_EXAMPLES}"
    );
    let message = format!("its {column} leads to no row of {owner} of the same tenant");
    finding(connection, sql, (None, table), message).await
}

async fn finding(
    connection: &mut Connection,
    sql: String,
    (invariant, table): (Option<u8>, &str),
    message: String,
) -> Result<Option<StoreFinding>, Failure> {
    let mut rows = Vec::new();
    for row in connection.fetch_made(sql, &[]).await? {
        rows.push(row.fields().uuid()?.to_string());
    }
    Ok(if rows.is_empty() { None } else { Some(StoreFinding { invariant, table: table.to_owned(), message, rows }) })
}
