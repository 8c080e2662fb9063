//! The slowest attempts of a window.
//!
//! Attempts that took a tenth of a second or more have an index by their duration, of each tenant, and those of a second or
//! more one of all tenants. It is walked from the slowest on, past those that are older than the window. Where it holds too
//! few, the newest attempts make up the rest. Both looks are bounded, and docs/api.md says so.

use core314_actors::ports::StoreError;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Filter;
use core314_domain::ids::LogId;
use serde_json::Value;
use uuid::Uuid;

use super::reader::{Reader, SCAN_ROWS};
use super::statement::Arg;

/// The most entries of the index that are walked. Each holds all that is asked, so that no row is read for it.
const WALK_ENTRIES: usize = 5_000;

/// An attempt: its id and how long it took.
type Found = (Uuid, Option<i64>);

/// The slowest attempts since a time, the slowest first.
pub(super) async fn since(reader: &mut Reader, since_ms: i64, limit: usize) -> Result<Vec<Value>, StoreError> {
    // The smallest id of that millisecond.
    let from = LogId::new(since_ms, 0).0;
    let mut found = slow(reader, from, limit).await?;
    if found.len() < limit {
        for attempt in newest(reader, from).await? {
            if !found.iter().any(|(id, _)| *id == attempt.0) {
                found.push(attempt);
            }
        }
    }
    found.sort_by_key(|(id, duration_ms)| (std::cmp::Reverse(*duration_ms), *id));
    found.truncate(limit);
    let ids: Vec<Uuid> = found.into_iter().map(|(id, _)| id).collect();
    reader.by_keys(Resource::Log, &ids, &Filter::default()).await
}

async fn slow(reader: &mut Reader, from: Uuid, limit: usize) -> Result<Vec<Found>, StoreError> {
    let mut statement = reader.statement("SELECT id, duration_ms FROM (SELECT id, duration_ms FROM log WHERE ");
    // As the index of the scope says it.
    statement.push(if reader.is_tenant() { "duration_ms >= 100" } else { "duration_ms >= 1000" });
    reader.push_tenant(&mut statement, "tenant_id");
    statement.push(&format!(" ORDER BY duration_ms DESC, id DESC LIMIT {WALK_ENTRIES}) slow WHERE id >= "));
    statement.bind(Arg::Id(from)).push(&format!(" LIMIT {limit}"));
    reader.rows(statement).await
}

async fn newest(reader: &mut Reader, from: Uuid) -> Result<Vec<Found>, StoreError> {
    let keyset = reader.keyset("tenant_id", Vec::new(), "id", None);
    let mut statement = reader.statement("SELECT id, duration_ms FROM (SELECT id, duration_ms FROM log WHERE ");
    statement.push_keyset(&keyset).push_order(&keyset, SCAN_ROWS).push(") newest WHERE id >= ").bind(Arg::Id(from));
    reader.rows(statement).await
}
