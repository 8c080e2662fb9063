//! Flows: written by people, so one at a time.
//!
//! Names are looked up before they are written: somebody who tries a taken name again and again would otherwise make
//! every batch abort and be halved.

use core314_actors::ports::store::{FlowWrite, Outcome, RejectCode, Write};
use core314_domain::document::FlowDocument;
use core314_domain::plan;

use super::batch::Batch;
use super::{events, rollouts, schedules};
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::json;

const FLOW_NAMED: &str = "SELECT id FROM flows WHERE tenant_id = $1 AND flow_name = $2";
const NEW_FLOW: Bulk = Bulk {
    before: "INSERT INTO flows (id, tenant_id, user_id, organization_id, flow_name, flow_version, is_active, \
             is_template, trigger_type, document, created_by, updated_by, created_at_ms, updated_at_ms) ",
    after: "",
};
/// The owner and who created it stay.
pub(in crate::store) const NEXT_FLOW: Bulk = Bulk {
    before: "WITH u (id, tenant_id, user_id, organization_id, flow_name, flow_version, is_active, is_template, \
             trigger_type, document, created_by, updated_by, created_at_ms, updated_at_ms) AS (",
    after: ") UPDATE flows SET flow_name = u.flow_name, flow_version = u.flow_version, is_active = u.is_active, \
            is_template = u.is_template, trigger_type = u.trigger_type, document = u.document, \
            updated_by = u.updated_by, updated_at_ms = u.updated_at_ms FROM u \
            WHERE flows.id = u.id AND flows.tenant_id = u.tenant_id AND flows.flow_version = u.flow_version - 1 \
            RETURNING flows.id",
};
pub(super) const FLOW_VERSION: Bulk = Bulk {
    before: "INSERT INTO flow_versions (flow_id, flow_version, tenant_id, document, created_by, created_at_ms, steps) ",
    after: "",
};

/// Writes flows and their versions.
pub(super) async fn flows(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let writes = batch.survivors().filter_map(|(i, write)| match write {
        Write::Flow(flow) => Some((i, &**flow)),
        _ => None,
    });
    for (i, write) in writes.collect::<Vec<_>>() {
        batch.outcomes[i] = flow(batch.connection, write).await?;
    }
    Ok(())
}

/// Writes one flow, or says why not.
async fn flow(connection: &mut Connection, write: &FlowWrite) -> Result<Option<Outcome>, Failure> {
    let tenant = write.owner.tenant.0;
    let named = connection.fetch(FLOW_NAMED, &[tenant.into(), write.document.flow_name.as_str().into()]).await?;
    if let Some(row) = named.first() {
        let message = format!("the tenant has a flow named '{}' already", write.document.flow_name);
        if row.fields().uuid()? != write.id.0 {
            return Ok(Some(Outcome::Rejected { code: RejectCode::NameTaken, message }));
        }
    }
    if let Some(rollout) = &write.rollout
        && !rollouts::is_possible(connection, rollout).await?
    {
        return Ok(Some(Outcome::Conflict));
    }
    let document = json::text_of(&write.document.to_stored());
    let mut rows = Rows::new(14);
    rows.push(flow_row(write, &document));
    if write.expected_version == 0 {
        if !named.is_empty() {
            return Ok(Some(Outcome::Conflict));
        }
        connection.bulk(NEW_FLOW, &rows).await?;
    } else if connection.bulk(NEXT_FLOW, &rows).await?.is_empty() {
        return Ok(Some(Outcome::Conflict));
    }
    let mut version = Rows::new(7);
    version.push([
        write.id.0.into(),
        (write.expected_version + 1).into(),
        tenant.into(),
        Cell::Json(Some(document.as_str().into())),
        write.by.0.into(),
        write.at_ms.into(),
        listed(&write.document),
    ]);
    connection.bulk(FLOW_VERSION, &version).await?;
    if let Some(rollout) = &write.rollout {
        rollouts::change(connection, rollout).await?;
    }
    schedules::plan(connection, write).await?;
    events::kinds(connection, write).await?;
    Ok(None)
}

/// The steps of a flow that has some in others; null for any other.
pub(super) fn listed(document: &FlowDocument) -> Cell<'static> {
    Cell::Json(plan::listed(document).map(|steps| json::text_of(&steps.into()).into()))
}

fn flow_row<'a>(write: &'a FlowWrite, document: &'a str) -> [Cell<'a>; 14] {
    [
        write.id.0.into(),
        write.owner.tenant.0.into(),
        write.owner.user.0.into(),
        write.owner.organization.map(|o| o.0).into(),
        write.document.flow_name.as_str().into(),
        (write.expected_version + 1).into(),
        write.document.is_active.into(),
        write.document.is_template.into(),
        write.document.trigger_type.as_str().into(),
        Cell::Json(Some(document.into())),
        write.by.0.into(),
        write.by.0.into(),
        write.at_ms.into(),
        write.at_ms.into(),
    ]
}
