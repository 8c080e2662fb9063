//! Service keys: made, renamed, revoked. By people, so one at a time.

use core314_actors::ports::catalog::ServiceKey;
use core314_actors::ports::store::{KeyWrite, Outcome, RejectCode, Write};

use super::batch::Batch;
use crate::store::cell::Rows;
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;

const LIVE: &str = "SELECT count(*) FROM keys WHERE tenant_id = $1 AND revoked_at_ms IS NULL";
const NEW: Bulk = Bulk {
    before: "INSERT INTO keys (id, tenant_id, user_id, organization_id, name, key_hash, scope, roles, created_at_ms, \
             updated_at_ms, expires_at_ms) ",
    after: "",
};
/// Only a live key of the tenant changes.
const RENAME: Bulk = Bulk {
    before: "WITH u (id, tenant_id, name, at_ms) AS (",
    after: ") UPDATE keys SET name = u.name, updated_at_ms = u.at_ms FROM u \
            WHERE keys.id = u.id AND keys.tenant_id = u.tenant_id AND keys.revoked_at_ms IS NULL RETURNING keys.id",
};
const REVOKE: Bulk = Bulk {
    before: "WITH u (id, tenant_id, at_ms) AS (",
    after: ") UPDATE keys SET revoked_at_ms = u.at_ms, updated_at_ms = u.at_ms FROM u \
            WHERE keys.id = u.id AND keys.tenant_id = u.tenant_id AND keys.revoked_at_ms IS NULL RETURNING keys.id",
};

/// Writes the changes of keys.
pub(super) async fn keys(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let writes = batch.survivors().filter_map(|(i, write)| match write {
        Write::ServiceKey(key, _) => Some((i, &**key)),
        _ => None,
    });
    for (i, write) in writes.collect::<Vec<_>>() {
        batch.outcomes[i] = change(batch.connection, write).await?;
    }
    Ok(())
}

/// Writes one change, or says why not.
async fn change(connection: &mut Connection, write: &KeyWrite) -> Result<Option<Outcome>, Failure> {
    let changed = match write {
        KeyWrite::Create { key, key_hash, limit } => return create(connection, key, *key_hash, *limit).await,
        KeyWrite::Rename { tenant, id, name, at_ms } => {
            let mut rows = Rows::new(4);
            rows.push([id.0.into(), tenant.0.into(), name.as_str().into(), (*at_ms).into()]);
            connection.bulk(RENAME, &rows).await?
        }
        KeyWrite::Revoke { tenant, id, at_ms } => {
            let mut rows = Rows::new(3);
            rows.push([id.0.into(), tenant.0.into(), (*at_ms).into()]);
            connection.bulk(REVOKE, &rows).await?
        }
    };
    Ok(changed.is_empty().then_some(Outcome::Conflict))
}

async fn create(
    connection: &mut Connection,
    key: &ServiceKey,
    key_hash: [u8; 32],
    limit: usize,
) -> Result<Option<Outcome>, Failure> {
    let tenant = key.owner.tenant.0;
    let live = connection.fetch(LIVE, &[tenant.into()]).await?;
    let live = live.first().map_or(Ok(0), |row| row.fields().int())?;
    if live >= limit as i64 {
        let message = format!("the tenant has {live} live keys already");
        return Ok(Some(Outcome::Rejected { code: RejectCode::LimitReached, message }));
    }
    let roles = serde_json::to_string(&key.roles).expect("words can be written as JSON");
    let mut rows = Rows::new(11);
    rows.push([
        key.id.0.into(),
        tenant.into(),
        key.owner.user.0.into(),
        key.owner.organization.map(|o| o.0).into(),
        key.name.as_str().into(),
        key_hash.into(),
        key.scope.as_str().into(),
        roles.into(),
        key.created_at_ms.into(),
        key.created_at_ms.into(),
        key.expires_at_ms.into(),
    ]);
    connection.bulk(NEW, &rows).await?;
    Ok(None)
}
