//! What has happened and has not yet started what it starts, and what it is about.

use core314_actors::ports::resource::Resource;
use core314_actors::ports::signal::Occurrence;
use core314_actors::ports::{Scope, StoreError};
use core314_domain::ids::RowId;
use core314_domain::words::OccurrenceKind;
use serde_json::Value;
use uuid::Uuid;

use super::SqlStore;
use super::cell::Fields;
use super::engine::owner;
use super::escalations::{one, rows};
use super::failure::Failure;
use super::views::row;

const OCCURRENCES: &str = "SELECT id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
    created_at_ms FROM occurrences WHERE id > $1 ORDER BY id LIMIT $2";

/// Decisions that a run waits for, and how many of them are about this step.
const WANTED: &str = "SELECT COUNT(*), COUNT(CASE WHEN step_no IS NOT DISTINCT FROM $3 THEN 1 END) FROM approvals \
    WHERE tenant_id = $1 AND run_id = $2 AND status = 'pending'";

/// A page of occurrences, the oldest first.
pub(super) async fn page(store: &SqlStore, after: Option<RowId>, limit: usize) -> Result<Vec<Occurrence>, Failure> {
    let cells = [after.map_or(Uuid::nil(), |id| id.0).into(), (limit as i64).into()];
    let found = store.read(Scope::Platform).await?.fetch(OCCURRENCES, &cells).await?;
    found.iter().map(|row| occurrence(row.fields())).collect()
}

fn occurrence(mut fields: Fields<'_>) -> Result<Occurrence, Failure> {
    let f = &mut fields;
    Ok(Occurrence {
        id: RowId(f.uuid()?),
        owner: owner(f)?,
        kind: f.word()?,
        subject: f.uuid()?,
        context: f.json()?,
        by: f.text()?,
        at_ms: f.int()?,
    })
}

/// What an occurrence is about, as answers show it; of a request for approval also how many its run waits for, and
/// whether it is one of them.
pub(super) async fn subject(store: &SqlStore, of: &Occurrence) -> Result<Option<Value>, StoreError> {
    let resource = match of.kind {
        OccurrenceKind::FlowFinished
        | OccurrenceKind::Failure
        | OccurrenceKind::Fallback
        | OccurrenceKind::BadEnd
        | OccurrenceKind::PhaseMoved
        | OccurrenceKind::ApprovalRequested => Resource::Runs,
        OccurrenceKind::DecisionApproved => Resource::Decisions,
        OccurrenceKind::RecommendationCreated | OccurrenceKind::RecommendationAccepted => Resource::Recommendations,
        OccurrenceKind::ThresholdExceeded => Resource::Flows,
        OccurrenceKind::EscalationOpened => Resource::EscalationEvents,
    };
    let tenant = of.owner.tenant;
    let mut subject = row(store, Scope::Tenant(tenant), resource, of.subject).await?;
    if of.kind == OccurrenceKind::ApprovalRequested
        && let Some(run) = subject.as_mut()
    {
        let cells = [tenant.0.into(), of.subject.into(), of.asked_step().map(i64::from).into()];
        let counted = rows(store, Scope::Tenant(tenant), WANTED, &cells).await?;
        let (wanted, own) = one(&counted, |mut f| Ok((f.int()?, f.int()?)))?.unwrap_or((0, 0));
        run["approvals_wanted"] = wanted.into();
        run["own_waits"] = (own > 0).into();
    }
    Ok(subject)
}
