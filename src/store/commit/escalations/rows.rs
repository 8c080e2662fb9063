//! Rows of escalations, in the order of the statements' columns.

use core314_actors::ports::escalation::{HeldBackNote, OutboxRow, StoredEscalation, StoredSilence, person};
use core314_domain::escalation::{EscalationStatus, Event, Override, ServiceClock};
use core314_domain::ids::{Owner, RowId};
use serde_json::{Value, json};

use crate::store::cell::Cell;
use crate::store::json;

pub(super) fn owned<'a>(owner: &Owner) -> [Cell<'a>; 3] {
    [owner.tenant.0.into(), owner.user.0.into(), owner.organization.map(|o| o.0).into()]
}

pub(super) fn text<'a>(value: &Value) -> Cell<'a> {
    Cell::Json(Some(json::text_of(value).into()))
}

/// The columns that both an event's first row and its later ones have, in the order of [`EVENT_NEXT`] from `acknowledged_by`
/// to `resolution_breached`.
fn course(escalation: &StoredEscalation) -> [Cell<'_>; 11] {
    let event = &escalation.event;
    let breached = |clock: &Option<ServiceClock>| clock.as_ref().is_some_and(|clock| clock.breached_ms.is_some());
    [
        event.acknowledged.as_ref().and_then(|deed| person(&deed.by)).into(),
        event.acknowledged.as_ref().map(|deed| deed.at_ms).into(),
        event.ended.as_ref().and_then(|deed| person(&deed.by)).into(),
        event.ended.as_ref().map(|deed| deed.at_ms).into(),
        event.notes.as_deref().into(),
        event.remediation_attempted.into(),
        event.remediation_successful.map(i64::from).into(),
        escalation.deadlines.0.into(),
        escalation.deadlines.1.into(),
        breached(&event.response).into(),
        breached(&event.resolution).into(),
    ]
}

fn state<'a>(event: &Event) -> Cell<'a> {
    text(&serde_json::to_value(event).unwrap_or_default())
}

pub(super) fn new_event_row(escalation: &StoredEscalation, at_ms: i64) -> [Cell<'_>; 40] {
    let (event, verdicts) = (&escalation.event, escalation.verdicts.as_deref());
    let [tenant, user, organization] = owned(&escalation.owner);
    let [ack_by, ack_at, end_by, end_at, notes, tried, mended, response, resolution, late, too_late] =
        course(escalation);
    [
        escalation.id.0.into(),
        tenant,
        user,
        organization,
        escalation.rule.0.into(),
        escalation.rule_version.into(),
        escalation.execution.map(|id| id.0).into(),
        escalation.log.map(|id| id.0).into(),
        escalation.flow.map(|id| id.0).into(),
        escalation.run.map(|id| id.0).into(),
        event.status.as_str().into(),
        i64::from(event.level).into(),
        event.reason.as_str().into(),
        event.subject.as_str().into(),
        event.urgency.as_str().into(),
        (event.count as i64).into(),
        (event.held_back as i64).into(),
        Cell::Json(None),
        state(event),
        text(&escalation.context),
        verdicts.map_or(Cell::Json(None), |verdicts| text(&verdicts.asked)),
        verdicts.map_or(Cell::Json(None), |verdicts| text(&verdicts.conditions_met)),
        ack_by,
        ack_at,
        end_by,
        end_at,
        notes,
        tried,
        mended,
        response,
        resolution,
        late,
        too_late,
        text(&json!(escalation.tags)),
        (!event.status.is_closed()).then_some(event.subject.as_str()).into(),
        1_i64.into(),
        escalation.wake_ms.into(),
        event.triggered_ms.into(),
        at_ms.into(),
        at_ms.into(),
    ]
}

pub(super) fn next_event_row(escalation: &StoredEscalation, at_ms: i64) -> [Cell<'_>; 23] {
    let event = &escalation.event;
    let [ack_by, ack_at, end_by, end_at, notes, tried, mended, response, resolution, late, too_late] =
        course(escalation);
    [
        escalation.id.0.into(),
        escalation.owner.tenant.0.into(),
        escalation.version.into(),
        event.status.as_str().into(),
        i64::from(event.level).into(),
        event.urgency.as_str().into(),
        (event.count as i64).into(),
        (event.held_back as i64).into(),
        state(event),
        ack_by,
        ack_at,
        end_by,
        end_at,
        notes,
        tried,
        mended,
        response,
        resolution,
        late,
        too_late,
        (!event.status.is_closed()).then_some(event.subject.as_str()).into(),
        escalation.wake_ms.into(),
        at_ms.into(),
    ]
}

pub(super) fn held_row(note: &HeldBackNote) -> [Cell<'_>; 40] {
    let [tenant, user, organization] = owned(&note.owner);
    let by = json!({"by": note.by, "words": note.by.to_string()});
    [
        note.id.0.into(),
        tenant,
        user,
        organization,
        note.rule.0.into(),
        note.rule_version.into(),
        note.execution.map(|id| id.0).into(),
        note.log.map(|id| id.0).into(),
        note.flow.map(|id| id.0).into(),
        note.run.map(|id| id.0).into(),
        EscalationStatus::Suppressed.as_str().into(),
        0_i64.into(),
        note.reason.as_str().into(),
        note.subject.as_str().into(),
        note.urgency.as_str().into(),
        1_i64.into(),
        0_i64.into(),
        text(&by),
        Cell::Json(None),
        text(&note.context),
        text(&note.asked),
        text(&note.conditions_met),
        Cell::Uuid(None),
        Cell::Int(None),
        Cell::Uuid(None),
        Cell::Int(None),
        Cell::Text(None),
        false.into(),
        Cell::Int(None),
        Cell::Int(None),
        Cell::Int(None),
        false.into(),
        false.into(),
        text(&json!([])),
        Cell::Text(None),
        1_i64.into(),
        note.tell_ms.into(),
        note.at_ms.into(),
        note.at_ms.into(),
        note.at_ms.into(),
    ]
}

pub(super) fn task_row<'a>(row: &'a OutboxRow, owner: &Owner, at_ms: i64) -> [Cell<'a>; 21] {
    let [tenant, user, organization] = owned(owner);
    [
        row.id.0.into(),
        tenant,
        user,
        organization,
        row.escalation.0.into(),
        i64::from(row.level).into(),
        i64::from(row.round).into(),
        row.purpose.as_str().into(),
        row.kind.as_str().into(),
        row.channel.as_str().into(),
        row.target.as_deref().into(),
        text(&row.payload),
        row.found_by.as_ref().map_or(Cell::Json(None), text),
        row.key.as_str().into(),
        row.status.as_str().into(),
        row.is_unknown.into(),
        row.error.as_deref().into(),
        i64::from(row.tries).into(),
        row.not_before_ms.into(),
        at_ms.into(),
        at_ms.into(),
    ]
}

pub(super) fn override_row<'a>(
    (id, schedule): (RowId, RowId),
    owner: &Owner,
    over: &Override,
    reason: Option<&'a str>,
    at_ms: i64,
) -> [Cell<'a>; 10] {
    let [tenant, user, organization] = owned(owner);
    let (starts, ends) = (over.starts_ms.into(), over.ends_ms.into());
    let (schedule, on_call) = (schedule.0.into(), over.user.0.into());
    [id.0.into(), tenant, user, organization, schedule, on_call, reason.into(), starts, ends, at_ms.into()]
}

pub(super) fn silence_row(silence: &StoredSilence, starts_ms: i64, ends_ms: Option<i64>) -> [Cell<'_>; 9] {
    let [tenant, user, organization] = owned(&silence.owner);
    let document = serde_json::to_value(&silence.document).unwrap_or_default();
    let (name, created) = (silence.document.name.as_str().into(), silence.created_ms.into());
    let (id, starts, ends) = (silence.id.0.into(), starts_ms.into(), ends_ms.into());
    [id, tenant, user, organization, name, text(&document), starts, ends, created]
}
