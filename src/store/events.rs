//! What waiting runs are to be told of, and which events are waited for at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use core314_actors::ports::Scope;
use core314_actors::ports::event::{DeliveryPlace, EventDelivery};
use core314_domain::Json;
use core314_domain::ids::{RowId, RunId, TenantId};
use uuid::Uuid;

use super::SqlStore;
use super::failure::Failure;

const DELIVERIES: &str = "SELECT d.event_id, d.run_id, d.step_no, r.partition FROM event_deliveries d \
    JOIN kept_events k ON k.id = d.event_id JOIN runs r ON r.id = d.run_id \
    WHERE (d.event_id, d.run_id, d.step_no) > ($1, $2, $3) ORDER BY d.event_id, d.run_id, d.step_no LIMIT $4";
const EVENT: &str = "SELECT event FROM kept_events WHERE id = $1";
const KINDS: &str = "SELECT kind FROM event_kinds WHERE tenant_id = $1";

/// A page of deliveries, those of the oldest events first.
pub(super) async fn deliveries(
    store: &SqlStore,
    after: Option<DeliveryPlace>,
    limit: usize,
) -> Result<Vec<EventDelivery>, Failure> {
    let (event, run, step) = after.map_or((Uuid::nil(), Uuid::nil(), -1), |(e, r, s)| (e.0, r.0, i64::from(s)));
    let cells = [event.into(), run.into(), step.into(), (limit as i64).into()];
    let mut reader = store.read(Scope::Platform).await?;
    let mut contents: BTreeMap<RowId, Json> = BTreeMap::new();
    let mut found = Vec::new();
    for row in reader.fetch(DELIVERIES, &cells).await? {
        let mut f = row.fields();
        let (event, run, step, partition) = (RowId(f.uuid()?), RunId(f.uuid()?), f.small()?, f.small()?);
        let content = if let Some(known) = contents.get(&event) {
            known.clone()
        } else {
            let rows = reader.fetch(EVENT, &[event.0.into()]).await?;
            // Told by somebody else since the page was read.
            let Some(row) = rows.first() else { continue };
            let content: Json = Arc::new(row.fields().json()?);
            contents.insert(event, content.clone());
            content
        };
        found.push(EventDelivery { event, run, step, partition, content });
    }
    Ok(found)
}

/// The types of the events that flows of the tenant wait for.
pub(super) async fn kinds(store: &SqlStore, tenant: TenantId) -> Result<BTreeSet<String>, Failure> {
    let rows = store.read(Scope::Tenant(tenant)).await?.fetch(KINDS, &[tenant.0.into()]).await?;
    rows.iter().map(|row| row.fields().text()).collect()
}
