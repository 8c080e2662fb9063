//! Integrations and secrets: written by people, so one at a time.
//!
//! Invariant: one that was removed does not come back by a late change: a new one is inserted, a known one updated in the
//! version after the one that was read.

use std::borrow::Cow;

use core314_actors::ports::integration::{ConnectionWrite, Integration, PreviousValue, Secret};
use core314_actors::ports::store::{Outcome, RejectCode, Write};
use core314_domain::ids::{RowId, TenantId};
use serde_json::json;
use uuid::Uuid;

use super::batch::Batch;
use super::webhooks::stored_secrets as webhook_secrets;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::json;

/// How one of the two tables is written.
struct Table {
    /// What a row is called.
    noun: &'static str,
    named: &'static str,
    count: &'static str,
    /// One that exists already, in whatever tenant, is left alone, and nothing is returned.
    new: Bulk,
    next: Bulk,
    remove: &'static str,
}

const INTEGRATIONS: Table = Table {
    noun: "integration",
    named: "SELECT id FROM connections WHERE tenant_id = $1 AND name = $2",
    count: "SELECT count(*) FROM connections WHERE tenant_id = $1",
    new: Bulk {
        before: "INSERT INTO connections (id, tenant_id, user_id, organization_id, name, kind, definition, is_active, \
                 version, created_at_ms, updated_at_ms) ",
        after: " ON CONFLICT (id) DO NOTHING RETURNING id",
    },
    next: NEXT_INTEGRATION,
    remove: "DELETE FROM connections WHERE id = $1 AND tenant_id = $2 RETURNING id",
};
/// The owner, name and kind, and when it was made, stay.
pub(in crate::store) const NEXT_INTEGRATION: Bulk = Bulk {
    before: "WITH u (id, tenant_id, user_id, organization_id, name, kind, definition, is_active, version, \
             created_at_ms, updated_at_ms) AS (",
    after: ") UPDATE connections SET definition = u.definition, is_active = u.is_active, version = u.version, \
            updated_at_ms = u.updated_at_ms FROM u \
            WHERE connections.id = u.id AND connections.tenant_id = u.tenant_id \
            AND connections.version = u.version - 1 RETURNING connections.id",
};
const SECRETS: Table = Table {
    noun: "secret",
    named: "SELECT id FROM sealed_secrets WHERE tenant_id = $1 AND name = $2",
    count: "SELECT count(*) FROM sealed_secrets WHERE tenant_id = $1",
    new: Bulk {
        before: "INSERT INTO sealed_secrets (id, tenant_id, user_id, organization_id, name, description, sealed, \
                 version, created_at_ms, updated_at_ms, previous, previous_until_ms) ",
        after: " ON CONFLICT (id) DO NOTHING RETURNING id",
    },
    next: NEXT_SECRET,
    remove: "DELETE FROM sealed_secrets WHERE id = $1 AND tenant_id = $2 RETURNING id",
};
/// The owner and name, and when it was made, stay.
pub(in crate::store) const NEXT_SECRET: Bulk = Bulk {
    before: "WITH u (id, tenant_id, user_id, organization_id, name, description, sealed, version, created_at_ms, \
             updated_at_ms, previous, previous_until_ms) AS (",
    after: ") UPDATE sealed_secrets SET description = u.description, sealed = u.sealed, version = u.version, \
            updated_at_ms = u.updated_at_ms, previous = u.previous, previous_until_ms = u.previous_until_ms FROM u \
            WHERE sealed_secrets.id = u.id AND sealed_secrets.tenant_id = u.tenant_id \
            AND sealed_secrets.version = u.version - 1 RETURNING sealed_secrets.id",
};

/// What a person has replaced meanwhile stays.
pub(in crate::store) const RESEALED: Bulk = Bulk {
    before: "WITH u (id, before, after, previous, previous_until_ms) AS (",
    after: ") UPDATE sealed_secrets SET sealed = u.after, previous = u.previous, \
            previous_until_ms = u.previous_until_ms FROM u \
            WHERE sealed_secrets.id = u.id AND sealed_secrets.sealed = u.before RETURNING sealed_secrets.id",
};
pub(in crate::store) const RESEALED_WEBHOOKS: Bulk = Bulk {
    before: "WITH u (id, version, secrets) AS (",
    after: ") UPDATE webhooks SET secrets = u.secrets FROM u \
            WHERE webhooks.id = u.id AND webhooks.version = u.version RETURNING webhooks.id",
};

/// What is not the integration's definition makes no version of it.
pub(in crate::store) const BREAKERS: Bulk = Bulk {
    before: "WITH u (id, tenant_id, breakers) AS (",
    after: ") UPDATE connections SET breakers = u.breakers FROM u \
            WHERE connections.id = u.id AND connections.tenant_id = u.tenant_id RETURNING connections.id",
};

/// Writes the changes of integrations and secrets.
pub(super) async fn connections(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let writes = batch.survivors().filter_map(|(i, write)| match write {
        Write::Connection(write) => Some((i, &**write)),
        _ => None,
    });
    for (i, write) in writes.collect::<Vec<_>>() {
        batch.outcomes[i] = change(batch.connection, write).await?;
    }
    Ok(())
}

/// Writes one change, or says why not.
async fn change(connection: &mut Connection, write: &ConnectionWrite) -> Result<Option<Outcome>, Failure> {
    match write {
        ConnectionWrite::Integration { integration: of, limit, .. } => {
            let mut rows = Rows::new(11);
            rows.push(integration_row(of));
            let row = Saved { tenant: of.owner.tenant, id: of.id, name: &of.name, version: of.version, limit: *limit };
            row.save(connection, &INTEGRATIONS, &rows).await
        }
        ConnectionWrite::Secret { secret: of, limit, .. } => {
            let mut rows = Rows::new(12);
            rows.push(secret_row(of));
            let row = Saved { tenant: of.owner.tenant, id: of.id, name: &of.name, version: of.version, limit: *limit };
            row.save(connection, &SECRETS, &rows).await
        }
        ConnectionWrite::RemoveIntegration { tenant, id, .. } => {
            remove(connection, &INTEGRATIONS, id.0, tenant.0).await
        }
        ConnectionWrite::RemoveSecret { tenant, id, .. } => remove(connection, &SECRETS, id.0, tenant.0).await,
        ConnectionWrite::Reseal { secrets, webhooks, .. } => {
            let mut rows = Rows::new(5);
            for new in secrets {
                let [previous, until_ms] = previous_cells(new.previous.as_ref());
                rows.push([new.id.0.into(), new.before.as_str().into(), new.after.as_str().into(), previous, until_ms]);
            }
            connection.bulk(RESEALED, &rows).await?;
            let mut rows = Rows::new(3);
            for new in webhooks {
                rows.push([new.id.0.into(), new.version.into(), webhook_secrets(&new.secrets)]);
            }
            connection.bulk(RESEALED_WEBHOOKS, &rows).await?;
            Ok(None)
        }
        ConnectionWrite::Breakers { tenant, id, kept, .. } => {
            let mut rows = Rows::new(3);
            rows.push([id.0.into(), tenant.0.into(), Cell::Json(Some(Cow::Owned(json::text_of(&json!(kept)))))]);
            let written = connection.bulk(BREAKERS, &rows).await?;
            Ok(written.is_empty().then_some(Outcome::Conflict))
        }
    }
}

/// What the checks need of a row.
struct Saved<'a> {
    tenant: TenantId,
    id: RowId,
    name: &'a str,
    version: i64,
    limit: usize,
}

impl Saved<'_> {
    async fn save(
        &self,
        connection: &mut Connection,
        table: &Table,
        rows: &Rows<'_>,
    ) -> Result<Option<Outcome>, Failure> {
        let rejected = |code, message| Ok(Some(Outcome::Rejected { code, message }));
        let named = connection.fetch(table.named, &[self.tenant.0.into(), self.name.into()]).await?;
        if let Some(row) = named.first()
            && row.fields().uuid()? != self.id.0
        {
            let message = format!("the tenant has a {} named '{}' already", table.noun, self.name);
            return rejected(RejectCode::NameTaken, message);
        }
        if self.version == 1 {
            let count = connection.fetch(table.count, &[self.tenant.0.into()]).await?;
            let count = count.first().map_or(Ok(0), |row| row.fields().int())?;
            if count >= self.limit as i64 {
                return rejected(RejectCode::LimitReached, format!("the tenant has {count} {}s already", table.noun));
            }
        }
        let statement = if self.version == 1 { table.new } else { table.next };
        let written = !connection.bulk(statement, rows).await?.is_empty();
        Ok((!written).then_some(Outcome::Conflict))
    }
}

async fn remove(
    connection: &mut Connection,
    table: &Table,
    id: Uuid,
    tenant: Uuid,
) -> Result<Option<Outcome>, Failure> {
    let gone = connection.fetch(table.remove, &[id.into(), tenant.into()]).await?;
    Ok(gone.is_empty().then_some(Outcome::Conflict))
}

fn integration_row(of: &Integration) -> [Cell<'_>; 11] {
    [
        of.id.0.into(),
        of.owner.tenant.0.into(),
        of.owner.user.0.into(),
        of.owner.organization.map(|o| o.0).into(),
        of.name.as_str().into(),
        of.kind.as_str().into(),
        Cell::Json(Some(Cow::Owned(json::text_of(&json!(of.definition))))),
        of.is_active.into(),
        of.version.into(),
        of.created_at_ms.into(),
        of.updated_at_ms.into(),
    ]
}

fn previous_cells(of: Option<&PreviousValue>) -> [Cell<'_>; 2] {
    [of.map(|previous| previous.sealed.as_str()).into(), of.map(|previous| previous.until_ms).into()]
}

fn secret_row(of: &Secret) -> [Cell<'_>; 12] {
    let [previous, until_ms] = previous_cells(of.previous.as_ref());
    [
        of.id.0.into(),
        of.owner.tenant.0.into(),
        of.owner.user.0.into(),
        of.owner.organization.map(|o| o.0).into(),
        of.name.as_str().into(),
        of.description.as_str().into(),
        of.sealed.as_str().into(),
        of.version.into(),
        of.created_at_ms.into(),
        of.updated_at_ms.into(),
        previous,
        until_ms,
    ]
}
