//! Results of steps that may be used again, by tenant, flow and key.
//!
//! A row is written in the commit that completes its step, so that a result that is found was reached. One that has expired is
//! not used, and goes when the collector comes by.

use std::collections::BTreeMap;
use std::sync::Arc;

use core314_actors::ports::store::CachedWrite;
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::ids::{ExecutionId, FlowId, TenantId};
use core314_domain::run::{CacheKey, Cached};

use super::SqlStore;
use super::cell::{Cell, Rows};
use super::connection::Bulk;
use super::json::text_of;

/// A result under a key that is there already takes its place; of a flow that has as many as it may, a new key is not taken. Counted,
/// where it is asked whether there is one: else PostgreSQL might read all that there is to look it up in.
pub(super) const KEEP: Bulk = Bulk {
    before: "WITH u (tenant_id, flow_id, key, execution_id, result, created_at_ms, expires_at_ms, most) AS (",
    after: ") INSERT INTO step_cache (tenant_id, flow_id, key, execution_id, result, created_at_ms, expires_at_ms) \
            SELECT tenant_id, flow_id, key, execution_id, result, created_at_ms, expires_at_ms FROM u \
            WHERE (SELECT count(*) FROM step_cache c WHERE c.tenant_id = u.tenant_id AND c.flow_id = u.flow_id) < u.most \
            OR (SELECT count(*) FROM step_cache c WHERE c.tenant_id = u.tenant_id AND c.flow_id = u.flow_id \
            AND c.key = u.key) > 0 \
            ON CONFLICT (tenant_id, flow_id, key) DO UPDATE SET execution_id = excluded.execution_id, \
            result = excluded.result, created_at_ms = excluded.created_at_ms, expires_at_ms = excluded.expires_at_ms",
};
/// Results under keys that have not expired.
pub(super) const FIND: Bulk = Bulk {
    before: "WITH u (tenant_id, flow_id, key, now_ms) AS (",
    after: ") SELECT c.key, c.execution_id, c.result, c.created_at_ms FROM u CROSS JOIN step_cache c \
            WHERE c.tenant_id = u.tenant_id AND c.flow_id = u.flow_id AND c.key = u.key AND c.expires_at_ms > u.now_ms",
};
const EXPIRED: &str = "DELETE FROM step_cache WHERE (tenant_id, flow_id, key) IN (SELECT tenant_id, flow_id, key \
    FROM step_cache WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2) RETURNING key";

/// The rows of a batch, in the order of their keys, so that two lanes never wait for each other in a circle.
pub(super) fn rows<'a>(writes: impl Iterator<Item = (TenantId, &'a CachedWrite)>) -> Rows<'a> {
    let mut last: BTreeMap<(TenantId, FlowId, CacheKey), &CachedWrite> = BTreeMap::new();
    for (tenant, write) in writes {
        last.insert((tenant, write.flow, write.key), write);
    }
    let mut rows = Rows::new(8);
    for ((tenant, flow, key), write) in last {
        rows.push([
            tenant.0.into(),
            flow.0.into(),
            key.0.into(),
            write.execution.0.into(),
            Cell::Json(Some(text_of(&write.result).into())),
            write.at_ms.into(),
            write.expires_at_ms.into(),
            i64::from(write.most).into(),
        ]);
    }
    rows
}

/// What there is under these keys.
pub(super) fn find(
    store: &SqlStore,
    tenant: TenantId,
    flow: FlowId,
    keys: Vec<CacheKey>,
    now_ms: i64,
) -> BoxFuture<'_, Result<Vec<(CacheKey, Cached)>, StoreError>> {
    Box::pin(async move {
        let mut wanted = Rows::new(4);
        keys.iter().for_each(|key| wanted.push([tenant.0.into(), flow.0.into(), key.0.into(), now_ms.into()]));
        let mut connection = store.read(Scope::Platform).await?;
        let mut found = Vec::with_capacity(keys.len());
        for row in connection.bulk(FIND, &wanted).await? {
            let mut fields = row.fields();
            let key = CacheKey(fields.uuid()?);
            let execution = ExecutionId(fields.uuid()?);
            found.push((key, Cached { execution, result: Arc::new(fields.json()?), stored_at_ms: fields.int()? }));
        }
        Ok(found)
    })
}

/// Drops at most so many that have expired; says how many.
pub(super) fn collect(store: &SqlStore, now_ms: i64, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
    Box::pin(async move {
        let mut connection = store.begin().await?;
        let dropped = connection.fetch(EXPIRED, &[now_ms.into(), (limit as i64).into()]).await?.len();
        connection.commit().await?;
        connection.give_back();
        Ok(dropped)
    })
}
