//! Steps of events: what begins one, what moves those on that there are, and what is held back.
//!
//! A flood of failures is mostly steps of events that are open already: they are written together, whatever comes with them too,
//! so that a step costs its rows and no statements of its own.
//!
//! Invariants:
//! - Of the steps that are gathered no two are of one event: each is decided on what the one before it has left.
//! - What comes with a step is written where its event was at the version that it was decided on, and else nothing of it.
//! - A rule has one row among the figures of a statement, whatever many events it gains by: another would be lost.

use std::collections::{BTreeMap, HashSet};

use core314_actors::ports::escalation::{EventBefore, EventStep, HeldBackNote, PutOff, StoredEscalation};
use core314_actors::ports::signal::Occurrence;
use core314_actors::ports::store::Outcome;
use core314_domain::escalation::{EscalationStatus, RuleId};
use core314_domain::ids::{RowId, TenantId};
use core314_domain::words::OccurrenceKind;
use serde_json::json;

use super::outbox;
use super::rows::{held_row, new_event_row, next_event_row};
use crate::store::cell::{Cell, Rows};
use crate::store::commit::signals::{cross_out, occurrence_row};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;

/// The events among these whose tenant has a flow that an escalation starts. `LIMIT 1` as in [`super::FAILURES`].
pub(in crate::store) const OPENED: Bulk = Bulk {
    before: super::FAILURES.before,
    after: ") INSERT INTO occurrences (id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms) SELECT id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms FROM u WHERE (SELECT true FROM flows f WHERE f.tenant_id = u.tenant_id \
            AND f.trigger_type = 'escalation' AND f.is_active LIMIT 1)",
};
/// SQLite uses a partial index for its own words alone.
pub(in crate::store) const OPENED_SQLITE: Bulk = Bulk {
    before: super::FAILURES.before,
    after: ") INSERT INTO occurrences (id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms) SELECT id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms FROM u WHERE EXISTS (SELECT 1 FROM flows f WHERE f.tenant_id = u.tenant_id \
            AND f.trigger_type = 'escalation' AND f.is_active = 1)",
};
pub(in crate::store) const FIGURES: Bulk = Bulk {
    before: "WITH u (id, total, resolved, failed, resolution_ms, acknowledged, acknowledge_ms, suppressed, breaches, \
             triggered_at_ms) AS (",
    after: ") UPDATE rules SET total_escalations = rules.total_escalations + u.total, \
            successful_resolutions = rules.successful_resolutions + u.resolved, \
            failed_resolutions = rules.failed_resolutions + u.failed, \
            resolution_sum_ms = rules.resolution_sum_ms + u.resolution_ms, acknowledged = rules.acknowledged + u.acknowledged, \
            acknowledge_sum_ms = rules.acknowledge_sum_ms + u.acknowledge_ms, suppressed = rules.suppressed + u.suppressed, \
            breaches = rules.breaches + u.breaches, \
            last_triggered_at_ms = coalesce(u.triggered_at_ms, rules.last_triggered_at_ms) FROM u WHERE rules.id = u.id",
};
pub(super) const EVENT: Bulk = Bulk {
    before: "INSERT INTO escalations (id, tenant_id, user_id, organization_id, rule_id, rule_version, execution_id, log_id, \
             flow_id, run_id, status, level, reason, subject, urgency, count, held_back, held_by, state, context, asked, \
             conditions_met, acknowledged_by, acknowledged_at_ms, resolved_by, resolved_at_ms, resolution_notes, \
             remediation_attempted, remediation_succeeded, response_deadline_ms, resolution_deadline_ms, response_breached, \
             resolution_breached, tags, open_subject, version, wake_at_ms, triggered_at_ms, created_at_ms, updated_at_ms) ",
    after: "",
};
/// Columns: what of an event changes. `IS TRUE`: a plan that is made of a young table would else read all events of a tenant.
pub(in crate::store) const EVENT_NEXT: Bulk = Bulk {
    before: "WITH u (id, tenant_id, version, status, level, urgency, count, held_back, state, acknowledged_by, acknowledged_at_ms, \
             resolved_by, resolved_at_ms, resolution_notes, remediation_attempted, remediation_succeeded, \
             response_deadline_ms, resolution_deadline_ms, response_breached, resolution_breached, open_subject, wake_at_ms, \
             at_ms) AS (",
    after: ") UPDATE escalations SET version = u.version + 1, status = u.status, level = u.level, urgency = u.urgency, \
            count = u.count, held_back = u.held_back, state = u.state, acknowledged_by = u.acknowledged_by, \
            acknowledged_at_ms = u.acknowledged_at_ms, resolved_by = u.resolved_by, resolved_at_ms = u.resolved_at_ms, \
            resolution_notes = u.resolution_notes, remediation_attempted = u.remediation_attempted, \
            remediation_succeeded = u.remediation_succeeded, response_deadline_ms = u.response_deadline_ms, \
            resolution_deadline_ms = u.resolution_deadline_ms, response_breached = u.response_breached, \
            resolution_breached = u.resolution_breached, open_subject = u.open_subject, wake_at_ms = u.wake_at_ms, \
            updated_at_ms = u.at_ms FROM u WHERE escalations.id = u.id AND (escalations.tenant_id = u.tenant_id) IS TRUE \
            AND escalations.version = u.version RETURNING escalations.id",
};
const OPEN_ALREADY: &str = "SELECT id FROM escalations WHERE id = $1 OR (rule_id = $2 AND open_subject = $3)";
/// What is told needs no time of its own any more. `IS TRUE`: SQLite would else take the index of all that the rule has ever had,
/// and not that of what is held back.
pub(in crate::store) const BUNDLED: &str = "UPDATE escalations SET bundled_into = $1, updated_at_ms = $2, wake_at_ms = NULL \
    WHERE rule_id = $3 AND (tenant_id = $4) IS TRUE AND status = 'suppressed' AND bundled_into IS NULL RETURNING id";
const HELD_AGAIN: &str = "UPDATE escalations SET count = count + 1, updated_at_ms = $1, wake_at_ms = coalesce(wake_at_ms, $5) \
    WHERE rule_id = $2 AND subject = $3 AND tenant_id = $4 AND status = 'suppressed' AND bundled_into IS NULL RETURNING id";
/// What has a later time keeps it; what has none waits for a message. `IS TRUE` as above.
pub(in crate::store) const PUT_OFF: &str = "UPDATE escalations SET wake_at_ms = $1 WHERE rule_id = $2 AND (tenant_id = $3) IS TRUE \
    AND status = 'suppressed' AND bundled_into IS NULL AND wake_at_ms IS NOT NULL AND ($1 IS NULL OR wake_at_ms < $1)";

/// Steps of events that there are, until they are written.
#[derive(Default)]
pub(super) struct Steps<'a> {
    /// With their places in the batch.
    gathered: Vec<(usize, &'a EventStep)>,
    events: HashSet<RowId>,
}

impl<'a> Steps<'a> {
    /// Whether a step can be written together with those that are gathered.
    pub fn takes(&self, step: &EventStep) -> bool {
        !self.events.contains(&step.escalation.id)
    }

    pub fn gather(&mut self, place: usize, step: &'a EventStep) {
        self.events.insert(step.escalation.id);
        self.gathered.push((place, step));
    }

    /// Writes what was gathered.
    pub async fn write(
        &mut self,
        connection: &mut Connection,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), Failure> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        // Whoever writes the same events at the same time, on another node, comes to their rows in the same order.
        gathered.sort_unstable_by_key(|(_, step)| step.escalation.id);
        self.events.clear();
        let moved = move_on(connection, &gathered).await?;
        let mut taken = Vec::with_capacity(moved.len());
        for (place, step) in gathered {
            if moved.contains(&step.escalation.id) {
                taken.push(step);
            } else {
                outcomes[place] = Some(Outcome::Conflict);
            }
        }
        follow(connection, &taken).await
    }
}

/// Moves events on, and says which were at the versions that their steps were decided on.
async fn move_on(connection: &mut Connection, steps: &[(usize, &EventStep)]) -> Result<HashSet<RowId>, Failure> {
    let mut rows = Rows::new(23);
    for (_, step) in steps {
        rows.push(next_event_row(&step.escalation, step.at_ms));
    }
    let mut moved = HashSet::with_capacity(steps.len());
    for row in connection.bulk(EVENT_NEXT, &rows).await? {
        moved.insert(RowId(row.fields().uuid()?));
    }
    Ok(moved)
}

/// Writes a step that begins an event.
pub(super) async fn begin(connection: &mut Connection, step: &EventStep) -> Result<Option<Outcome>, Failure> {
    let (escalation, at_ms) = (&step.escalation, step.at_ms);
    let cells = [escalation.id.0.into(), escalation.rule.0.into(), escalation.event.subject.as_str().into()];
    if !connection.fetch(OPEN_ALREADY, &cells).await?.is_empty() {
        return Ok(Some(Outcome::Conflict));
    }
    let mut rows = Rows::new(40);
    rows.push(new_event_row(escalation, at_ms));
    connection.bulk(EVENT, &rows).await?;
    bundle(connection, step).await?;
    opened(connection, escalation, at_ms).await?;
    follow(connection, &[step]).await?;
    Ok(None)
}

/// What the rule has held back is told by this event.
async fn bundle(connection: &mut Connection, step: &EventStep) -> Result<(), Failure> {
    let escalation = &step.escalation;
    let (id, tenant) = (escalation.id.0.into(), escalation.owner.tenant.0.into());
    let cells = [id, step.at_ms.into(), escalation.rule.0.into(), tenant];
    connection.fetch(BUNDLED, &cells).await.map(drop)
}

/// Writes what comes with steps, whose events are written.
async fn follow(connection: &mut Connection, steps: &[&EventStep]) -> Result<(), Failure> {
    for step in steps {
        if let Some(stop) = step.stops {
            let event = (step.escalation.id, step.escalation.owner.tenant);
            outbox::stop(connection, stop, event, step.at_ms).await?;
        }
    }
    for step in steps.iter().filter(|step| step.bundles) {
        bundle(connection, step).await?;
    }
    connection.bulk(outbox::TASKS, &outbox::tasks(steps)).await?;
    connection.bulk(FIGURES, &figures(&gains(steps))).await?;
    cross_out(connection, &settled(steps)).await
}

/// The failures that steps cross out.
pub(super) fn settled(steps: &[&EventStep]) -> Vec<(RowId, TenantId)> {
    let settled = |step: &&EventStep| step.settles.map(|failure| (failure, step.escalation.owner.tenant));
    steps.iter().filter_map(settled).collect()
}

/// Notes that an event has opened, for the flows that start then.
async fn opened(connection: &mut Connection, escalation: &StoredEscalation, at_ms: i64) -> Result<(), Failure> {
    let mut rows = Rows::new(9);
    rows.push(opened_row(escalation, at_ms));
    let statement = if connection.is_postgres() { OPENED } else { OPENED_SQLITE };
    connection.bulk(statement, &rows).await.map(drop)
}

pub(super) fn opened_row<'a>(escalation: &StoredEscalation, at_ms: i64) -> [Cell<'a>; 9] {
    occurrence_row(&Occurrence {
        id: RowId::new(at_ms, rand::random()),
        owner: escalation.owner,
        kind: OccurrenceKind::EscalationOpened,
        subject: escalation.id.0,
        context: json!({}),
        by: format!("escalation:{}", escalation.id),
        at_ms,
    })
}

/// What the figures of a rule gain.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Gain {
    total: i64,
    resolved: i64,
    failed: i64,
    resolution_ms: i64,
    acknowledged: i64,
    acknowledge_ms: i64,
    suppressed: i64,
    breaches: i64,
    triggered_ms: Option<i64>,
}

impl Gain {
    /// By a step; nothing by most: the rule's row is left alone.
    fn of(step: &EventStep) -> Option<Self> {
        let event = &step.escalation.event;
        let now = EventBefore::of(event);
        let before = step.before;
        let ends = now.status.is_closed() && before.is_none_or(|before| !before.status.is_closed());
        let resolves = ends && now.status == EscalationStatus::Resolved;
        let acknowledges = now.is_acknowledged && before.is_none_or(|before| !before.is_acknowledged);
        let breaches = now.breaches.saturating_sub(before.map_or(0, |before| before.breaches));
        if before.is_some() && !ends && !acknowledges && breaches == 0 {
            return None;
        }
        let since = |at_ms: Option<i64>| at_ms.map_or(0, |at_ms| (at_ms - event.triggered_ms).max(0));
        let ended_ms = since(event.ended.as_ref().map(|deed| deed.at_ms));
        let acknowledged_ms = since(event.acknowledged.as_ref().map(|deed| deed.at_ms));
        Some(Self {
            total: before.is_none().into(),
            resolved: resolves.into(),
            failed: (ends && !resolves).into(),
            resolution_ms: if resolves { ended_ms } else { 0 },
            acknowledged: acknowledges.into(),
            acknowledge_ms: if acknowledges { acknowledged_ms } else { 0 },
            suppressed: 0,
            breaches: breaches.into(),
            triggered_ms: before.is_none().then_some(event.triggered_ms),
        })
    }

    fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.resolved += other.resolved;
        self.failed += other.failed;
        self.resolution_ms += other.resolution_ms;
        self.acknowledged += other.acknowledged;
        self.acknowledge_ms += other.acknowledge_ms;
        self.suppressed += other.suppressed;
        self.breaches += other.breaches;
        self.triggered_ms = self.triggered_ms.max(other.triggered_ms);
    }
}

/// What the figures of rules gain by steps.
pub(super) fn gains(steps: &[&EventStep]) -> BTreeMap<RuleId, Gain> {
    let mut gains: BTreeMap<RuleId, Gain> = BTreeMap::new();
    for step in steps {
        if let Some(gain) = Gain::of(step) {
            gains.entry(step.escalation.rule).or_default().add(&gain);
        }
    }
    gains
}

/// In the order of the rules, so that two such statements do not wait for each other in a circle; where several of them make
/// up batches that do, the database breaks the circle and the batch is tried again.
pub(super) fn figures(gains: &BTreeMap<RuleId, Gain>) -> Rows<'static> {
    let mut rows = Rows::new(10);
    for (rule, gain) in gains {
        rows.push([
            rule.0.into(),
            gain.total.into(),
            gain.resolved.into(),
            gain.failed.into(),
            gain.resolution_ms.into(),
            gain.acknowledged.into(),
            gain.acknowledge_ms.into(),
            gain.suppressed.into(),
            gain.breaches.into(),
            gain.triggered_ms.into(),
        ]);
    }
    rows
}

/// Counts a failure that told nobody.
pub(super) async fn held_back(connection: &mut Connection, note: &HeldBackNote) -> Result<(), Failure> {
    let (tenant, at_ms) = (note.owner.tenant, note.at_ms);
    let subject = note.subject.as_str().into();
    let cells = [at_ms.into(), note.rule.0.into(), subject, tenant.0.into(), note.tell_ms.into()];
    if connection.fetch(HELD_AGAIN, &cells).await?.is_empty() {
        let mut rows = Rows::new(40);
        rows.push(held_row(note));
        connection.bulk(EVENT, &rows).await?;
    }
    let gain = Gain { suppressed: 1, ..Gain::default() };
    connection.bulk(FIGURES, &figures(&BTreeMap::from([(note.rule, gain)]))).await?;
    let settled: Vec<(RowId, TenantId)> = note.settles.into_iter().map(|failure| (failure, tenant)).collect();
    cross_out(connection, &settled).await
}

/// Moves the time of all that a rule has held back and nothing has told.
pub(super) async fn put_off(connection: &mut Connection, put_off: &PutOff) -> Result<(), Failure> {
    let cells = [put_off.tell_ms.into(), put_off.rule.0.into(), put_off.tenant.0.into()];
    connection.fetch(PUT_OFF, &cells).await.map(drop)
}
