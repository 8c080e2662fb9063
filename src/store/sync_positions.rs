//! How far syncs have come. Each position is a transaction of its own: it is kept after what it stands for is durable elsewhere.
//!
//! Invariant: every statement names the tenant, because the role that writes sees all rows.

use core314_actors::ports::sync::{Saved, SyncPosition, SyncPositions};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::ids::{ExecutionId, TenantId};

use super::SqlStore;
use super::cell::{Cell, Row};
use super::failure::Failure;
use super::json::text_of;

const ONE: &str = "SELECT name, version, execution_id, cursor, state, updated_at_ms FROM sync_positions \
    WHERE tenant_id = $1 AND name = $2";
const LIST: &str = "SELECT name, version, execution_id, cursor, state, updated_at_ms FROM sync_positions \
    WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3";
/// JSON is bound as text; SQLite keeps it so.
const NEW: [&str; 2] = [
    "INSERT INTO sync_positions (tenant_id, name, version, execution_id, cursor, state, created_at_ms, updated_at_ms) \
     SELECT $1, $2, $3, $4, $5, $6, $7, $7 WHERE (SELECT count(*) FROM sync_positions WHERE tenant_id = $1) < $8 \
     ON CONFLICT (tenant_id, name) DO NOTHING RETURNING version",
    "INSERT INTO sync_positions (tenant_id, name, version, execution_id, cursor, state, created_at_ms, updated_at_ms) \
     SELECT $1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $7 \
     WHERE (SELECT count(*) FROM sync_positions WHERE tenant_id = $1) < $8 \
     ON CONFLICT (tenant_id, name) DO NOTHING RETURNING version",
];
const NEXT: [&str; 2] = [
    "UPDATE sync_positions SET version = $3, execution_id = $4, cursor = $5, state = $6, updated_at_ms = $7 \
     WHERE tenant_id = $1 AND name = $2 AND version = $3 - 1 RETURNING version",
    "UPDATE sync_positions SET version = $3, execution_id = $4, cursor = $5::jsonb, state = $6::jsonb, updated_at_ms = $7 \
     WHERE tenant_id = $1 AND name = $2 AND version = $3 - 1 RETURNING version",
];
const FORGET: &str = "DELETE FROM sync_positions WHERE tenant_id = $1 AND name = $2 RETURNING version";

impl SyncPositions for SqlStore {
    fn load<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, Result<Option<SyncPosition>, StoreError>> {
        Box::pin(async move {
            let mut connection = self.read(Scope::Tenant(tenant)).await?;
            let rows = connection.fetch(ONE, &[tenant.0.into(), name.into()]).await?;
            Ok(rows.first().map(position).transpose()?.map(|(_, position)| position))
        })
    }

    fn save<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
        position: &'a SyncPosition,
        most: usize,
    ) -> BoxFuture<'a, Result<Saved, StoreError>> {
        Box::pin(async move { Ok(save(self, tenant, name, position, most).await?) })
    }

    fn list<'a>(
        &'a self,
        tenant: TenantId,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, SyncPosition)>, StoreError>> {
        Box::pin(async move {
            let mut connection = self.read(Scope::Tenant(tenant)).await?;
            let cells = [tenant.0.into(), after.unwrap_or_default().into(), (limit as i64).into()];
            let rows = connection.fetch(LIST, &cells).await?;
            Ok(rows.iter().map(position).collect::<Result<_, Failure>>()?)
        })
    }

    fn forget<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut connection = self.begin().await?;
            let gone = connection.fetch(FORGET, &[tenant.0.into(), name.into()]).await?;
            connection.commit().await?;
            connection.give_back();
            Ok(!gone.is_empty())
        })
    }
}

async fn save(
    store: &SqlStore,
    tenant: TenantId,
    name: &str,
    position: &SyncPosition,
    most: usize,
) -> Result<Saved, Failure> {
    let cursor = position.cursor.as_ref().map(text_of);
    let state = text_of(&position.state);
    let is_new = position.version == 1;
    let mut cells: Vec<Cell<'_>> = vec![
        tenant.0.into(),
        name.into(),
        position.version.into(),
        position.execution.0.into(),
        cursor.as_deref().into(),
        state.as_str().into(),
        position.at_ms.into(),
    ];
    if is_new {
        cells.push((most as i64).into());
    }
    // A connection that saw an error is not given back: its transaction ends with it.
    let mut connection = store.begin().await?;
    let dialect = usize::from(connection.is_postgres());
    let statements = if is_new { NEW } else { NEXT };
    let is_kept = !connection.fetch(statements[dialect], &cells).await?.is_empty();
    let is_there = is_kept || !connection.fetch(ONE, &[tenant.0.into(), name.into()]).await?.is_empty();
    connection.commit().await?;
    connection.give_back();
    Ok(match (is_kept, is_new && !is_there) {
        (true, _) => Saved::Kept,
        (false, true) => Saved::LimitReached,
        (false, false) => Saved::Moved,
    })
}

fn position(row: &Row) -> Result<(String, SyncPosition), Failure> {
    let mut fields = row.fields();
    let name = fields.text()?;
    let position = SyncPosition {
        version: fields.int()?,
        execution: ExecutionId(fields.uuid()?),
        cursor: fields.maybe_json()?,
        state: fields.json()?,
        at_ms: fields.int()?,
    };
    Ok((name, position))
}
