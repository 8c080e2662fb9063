//! Escalations: rules, the steps of their events, and what is sent for them.
//!
//! Invariants:
//! - An event, its tasks, the failure that it takes and the figures of its rule are one transaction: a failure is taken once.
//! - An event is changed from the version that the change was decided on, or not at all; a rule has one open event a subject.
//! - A task has one row, by its key, however often it is decided.

pub(in crate::store) mod at_once;
pub(in crate::store) mod outbox;
mod rows;
pub(in crate::store) mod steps;

use core314_actors::ports::escalation::{EscalationWrite, StoredOnCall, StoredRule, StoredSilence};
use core314_actors::ports::store::{FailureNote, Outcome, RejectCode, Write};
use core314_domain::ids::{RowId, RunId, TenantId};
use serde_json::json;

use super::batch::Batch;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use at_once::AtOnce;
use rows::{override_row, owned, silence_row, text};
use steps::Steps;

/// The failures among these whose tenant has a rule that may act. `LIMIT 1`, not `EXISTS`: the plan that is kept then looks into
/// each tenant's rules, and never through those of all.
pub(in crate::store) const FAILURES: Bulk = Bulk {
    before: "WITH u (id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, created_at_ms) AS (",
    after: ") INSERT INTO occurrences (id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms) SELECT id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms FROM u WHERE (SELECT true FROM rules r WHERE r.tenant_id = u.tenant_id \
            AND r.is_active LIMIT 1)",
};
/// SQLite uses a partial index for its own words alone.
pub(in crate::store) const FAILURES_SQLITE: Bulk = Bulk {
    before: FAILURES.before,
    after: ") INSERT INTO occurrences (id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms) SELECT id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms FROM u WHERE EXISTS (SELECT 1 FROM rules r WHERE r.tenant_id = u.tenant_id AND r.is_active = 1)",
};
const NAMED: &str = "SELECT id FROM rules WHERE tenant_id = $1 AND rule_name = $2 AND id <> $3";
const RULE: Bulk = Bulk {
    before: "INSERT INTO rules (id, tenant_id, user_id, organization_id, rule_name, is_active, priority, document, version, \
             total_escalations, successful_resolutions, failed_resolutions, resolution_sum_ms, acknowledged, \
             acknowledge_sum_ms, suppressed, breaches, heartbeat_due_ms, created_by, updated_by, created_at_ms, \
             updated_at_ms) ",
    after: "",
};
pub(in crate::store) const RULE_NEXT: Bulk = Bulk {
    before: "WITH u (id, tenant_id, version, rule_name, is_active, priority, document, heartbeat_due_ms, updated_by, at_ms) AS (",
    after: ") UPDATE rules SET version = u.version + 1, rule_name = u.rule_name, is_active = u.is_active, \
            priority = u.priority, document = u.document, heartbeat_due_ms = u.heartbeat_due_ms, \
            updated_by = u.updated_by, updated_at_ms = u.at_ms FROM u WHERE rules.id = u.id \
            AND rules.tenant_id = u.tenant_id AND rules.version = u.version RETURNING rules.id",
};
const VERSION: Bulk =
    Bulk { before: "INSERT INTO rule_versions (rule_id, version, tenant_id, document, at_ms) ", after: "" };
const RULE_GONE: &str = "DELETE FROM rules WHERE id = $1 AND tenant_id = $2 AND version = $3 RETURNING id";
const KNOWN_RULE: &str = "SELECT id FROM rules WHERE id = $1 AND tenant_id = $2";
const HEARTBEAT: &str = "UPDATE rules SET heartbeat_due_ms = $3, heartbeat_at_ms = coalesce($4, heartbeat_at_ms) \
    WHERE id = $1 AND tenant_id = $2 AND heartbeat_due_ms IS NOT NULL AND ($5 IS NULL OR heartbeat_due_ms = $5) RETURNING id";
const ON_CALL_NAMED: &str = "SELECT id FROM rotations WHERE tenant_id = $1 AND name = $2 AND id <> $3";
const ON_CALL: Bulk = Bulk {
    before: "INSERT INTO rotations (id, tenant_id, user_id, organization_id, name, document, version, created_at_ms, \
             updated_at_ms) ",
    after: "",
};
pub(in crate::store) const ON_CALL_NEXT: Bulk = Bulk {
    before: "WITH u (id, tenant_id, version, name, document, at_ms) AS (",
    after: ") UPDATE rotations SET version = u.version + 1, name = u.name, document = u.document, updated_at_ms = u.at_ms \
            FROM u WHERE rotations.id = u.id AND rotations.tenant_id = u.tenant_id AND rotations.version = u.version \
            RETURNING rotations.id",
};
const ON_CALL_GONE: &str = "DELETE FROM rotations WHERE id = $1 AND tenant_id = $2 RETURNING id";
const ITS_OVERRIDES_GONE: &str = "DELETE FROM stand_ins WHERE schedule_id = $1 AND tenant_id = $2";
const KNOWN_ON_CALL: &str = "SELECT id FROM rotations WHERE id = $1 AND tenant_id = $2";
const OVERRIDE: Bulk = Bulk {
    before: "INSERT INTO stand_ins (id, tenant_id, user_id, organization_id, schedule_id, on_call_user_id, reason, \
             starts_at_ms, ends_at_ms, created_at_ms) ",
    after: "",
};
const OVERRIDE_GONE: &str = "DELETE FROM stand_ins WHERE id = $1 AND tenant_id = $2 RETURNING id";
const SILENCE: Bulk = Bulk {
    before: "INSERT INTO quiet_times (id, tenant_id, user_id, organization_id, name, document, starts_at_ms, ends_at_ms, \
             created_at_ms, version) ",
    after: "",
};
pub(in crate::store) const SILENCE_NEXT: Bulk = Bulk {
    before: "WITH u (id, tenant_id, name, document, starts_at_ms, ends_at_ms, version) AS (",
    after: ") UPDATE quiet_times SET name = u.name, document = u.document, starts_at_ms = u.starts_at_ms, \
            ends_at_ms = u.ends_at_ms, version = u.version + 1 FROM u WHERE quiet_times.id = u.id \
            AND quiet_times.tenant_id = u.tenant_id AND quiet_times.version = u.version RETURNING quiet_times.id",
};
const KNOWN_SILENCE: &str = "SELECT id FROM quiet_times WHERE id = $1 AND tenant_id = $2";
const SILENCE_GONE: &str = "DELETE FROM quiet_times WHERE id = $1 AND tenant_id = $2 RETURNING id";

/// Notes what has failed for good, where the tenant has a rule that may act.
pub(super) fn failures(batch: &mut Batch<'_, '_>) {
    let mut rows = Rows::new(9);
    for (_, run) in batch.surviving_runs() {
        if let [first, ..] = &*run.failures {
            rows.push(failure_row(run.id, first, &run.failures));
        }
    }
    if !rows.is_empty() {
        let statement = if batch.connection.is_postgres() { FAILURES } else { FAILURES_SQLITE };
        batch.deferred.push((statement, rows));
    }
}

/// What fails in one commit of a run is asked about in its order: a step, and the end of the run that it brings about.
fn failure_row<'a>(run: RunId, first: &FailureNote, all: &[FailureNote]) -> [Cell<'a>; 9] {
    let FailureNote { id, owner, at_ms, .. } = first;
    let all = all.iter().map(|failure| json!({"reason": failure.reason, "context": failure.context}));
    let context = json!({"failures": all.collect::<Vec<_>>()});
    [
        id.0.into(),
        owner.tenant.0.into(),
        owner.user.0.into(),
        owner.organization.map(|o| o.0).into(),
        "failure".into(),
        run.0.into(),
        text(&context),
        format!("run:{run}").into(),
        (*at_ms).into(),
    ]
}

/// Writes changes of escalations in their order; steps of events that follow on each other, and are of different ones, at
/// once. Without care all are written at once where their order does not count.
pub(super) async fn escalations(batch: &mut Batch<'_, '_>, careful: bool) -> Result<(), Failure> {
    if !careful && let Some(at_once) = AtOnce::of(batch) {
        at_once.write(batch);
        return Ok(());
    }
    let mut steps = Steps::default();
    for (i, write) in batch.survivors().collect::<Vec<_>>() {
        let Write::Escalation(write) = write else { continue };
        match &**write {
            EscalationWrite::Step(step) if step.before.is_some() => {
                if !steps.takes(step) {
                    steps.write(batch.connection, &mut batch.outcomes).await?;
                }
                steps.gather(i, step);
            }
            other => {
                steps.write(batch.connection, &mut batch.outcomes).await?;
                batch.outcomes[i] = take(batch.connection, other).await?;
            }
        }
    }
    steps.write(batch.connection, &mut batch.outcomes).await
}

async fn take(connection: &mut Connection, write: &EscalationWrite) -> Result<Option<Outcome>, Failure> {
    match write {
        EscalationWrite::Rule { rule, expected_version, at_ms, audit: _ } => {
            self::rule(connection, rule, *expected_version, *at_ms).await
        }
        EscalationWrite::DeleteRule { id, tenant, version, at_ms, audit: _ } => {
            let cells = [id.0.into(), tenant.0.into(), (*version).into()];
            if connection.fetch(RULE_GONE, &cells).await?.is_empty() {
                return missing(connection, KNOWN_RULE, *id, *tenant).await;
            }
            let mut rows = Rows::new(5);
            rows.push([id.0.into(), (version + 1).into(), tenant.0.into(), Cell::Json(None), (*at_ms).into()]);
            connection.bulk(VERSION, &rows).await?;
            Ok(None)
        }
        EscalationWrite::Heartbeat { rule, tenant, expected_due_ms, due_ms, came_ms } => {
            let cells =
                [rule.0.into(), tenant.0.into(), (*due_ms).into(), (*came_ms).into(), (*expected_due_ms).into()];
            found(connection, HEARTBEAT, &cells, Outcome::Stale).await
        }
        EscalationWrite::Step(step) => steps::begin(connection, step).await,
        EscalationWrite::HeldBack(note) => steps::held_back(connection, note).await.map(|()| None),
        EscalationWrite::PutOff(put_off) => steps::put_off(connection, put_off).await.map(|()| None),
        EscalationWrite::Outbox(step) => outbox::note(connection, step).await.map(|()| None),
        EscalationWrite::OnCall { schedule, expected_version, at_ms, audit: _ } => {
            on_call(connection, schedule, *expected_version, *at_ms).await
        }
        EscalationWrite::DeleteOnCall { id, tenant, audit: _ } => {
            let cells = [id.0.into(), tenant.0.into()];
            connection.fetch(ITS_OVERRIDES_GONE, &cells).await?;
            found(connection, ON_CALL_GONE, &cells, Outcome::NotFound).await
        }
        EscalationWrite::Override { id, schedule, owner, over, reason, at_ms, audit: _ } => {
            let known = connection.fetch(KNOWN_ON_CALL, &[schedule.0.into(), owner.tenant.0.into()]).await?;
            if known.is_empty() {
                return Ok(Some(Outcome::NotFound));
            }
            let mut rows = Rows::new(10);
            rows.push(override_row((*id, *schedule), owner, over, reason.as_deref(), *at_ms));
            connection.bulk(OVERRIDE, &rows).await?;
            Ok(None)
        }
        EscalationWrite::DeleteOverride { id, tenant, audit: _ } => {
            found(connection, OVERRIDE_GONE, &[id.0.into(), tenant.0.into()], Outcome::NotFound).await
        }
        EscalationWrite::Silence { silence, starts_ms, ends_ms, audit: _ } => {
            self::silence(connection, silence, (*starts_ms, *ends_ms)).await
        }
        EscalationWrite::DeleteSilence { id, tenant, audit: _ } => {
            found(connection, SILENCE_GONE, &[id.0.into(), tenant.0.into()], Outcome::NotFound).await
        }
    }
}

/// What a statement that changes one row gives: `otherwise` where there was none.
async fn found(
    connection: &mut Connection,
    statement: &'static str,
    cells: &[Cell<'_>],
    otherwise: Outcome,
) -> Result<Option<Outcome>, Failure> {
    Ok(connection.fetch(statement, cells).await?.is_empty().then_some(otherwise))
}

/// Why a row was not changed: it is not there, or has another version.
async fn missing(
    connection: &mut Connection,
    known: &'static str,
    id: RowId,
    tenant: TenantId,
) -> Result<Option<Outcome>, Failure> {
    let found = connection.fetch(known, &[id.0.into(), tenant.0.into()]).await?;
    Ok(Some(if found.is_empty() { Outcome::NotFound } else { Outcome::Conflict }))
}

fn taken(what: &str) -> Outcome {
    Outcome::Rejected { code: RejectCode::NameTaken, message: format!("there is {what} of this name already") }
}

async fn rule(
    connection: &mut Connection,
    rule: &StoredRule,
    expected_version: i64,
    at_ms: i64,
) -> Result<Option<Outcome>, Failure> {
    let (document, tenant) = (&rule.document, rule.owner.tenant);
    let cells = [tenant.0.into(), document.rule_name.as_str().into(), rule.id.0.into()];
    if !connection.fetch(NAMED, &cells).await?.is_empty() {
        return Ok(Some(taken("a rule")));
    }
    let stored = document.to_value();
    if expected_version == 0 {
        let mut rows = Rows::new(22);
        let [own, user, organization] = owned(&rule.owner);
        let zero = || Cell::from(0_i64);
        rows.push([
            rule.id.0.into(),
            own,
            user,
            organization,
            document.rule_name.as_str().into(),
            document.is_active.into(),
            i64::from(document.priority).into(),
            text(&stored),
            1_i64.into(),
            zero(),
            zero(),
            zero(),
            zero(),
            zero(),
            zero(),
            zero(),
            zero(),
            rule.heartbeat_due_ms.into(),
            rule.created_by.0.into(),
            rule.updated_by.0.into(),
            at_ms.into(),
            at_ms.into(),
        ]);
        connection.bulk(RULE, &rows).await?;
    } else {
        let mut rows = Rows::new(10);
        rows.push([
            rule.id.0.into(),
            tenant.0.into(),
            expected_version.into(),
            document.rule_name.as_str().into(),
            document.is_active.into(),
            i64::from(document.priority).into(),
            text(&stored),
            rule.heartbeat_due_ms.into(),
            rule.updated_by.0.into(),
            at_ms.into(),
        ]);
        if connection.bulk(RULE_NEXT, &rows).await?.is_empty() {
            return missing(connection, KNOWN_RULE, rule.id, tenant).await;
        }
    }
    let mut rows = Rows::new(5);
    rows.push([rule.id.0.into(), (expected_version + 1).into(), tenant.0.into(), text(&stored), at_ms.into()]);
    connection.bulk(VERSION, &rows).await?;
    Ok(None)
}

async fn silence(
    connection: &mut Connection,
    silence: &StoredSilence,
    (starts_ms, ends_ms): (i64, Option<i64>),
) -> Result<Option<Outcome>, Failure> {
    let [id, tenant, user, organization, name, document, starts, ends, created] =
        silence_row(silence, starts_ms, ends_ms);
    if silence.version == 0 {
        let mut rows = Rows::new(10);
        let version = 1_i64.into();
        rows.push([id, tenant, user, organization, name, document, starts, ends, created, version]);
        connection.bulk(SILENCE, &rows).await?;
        return Ok(None);
    }
    let mut rows = Rows::new(7);
    rows.push([id, tenant, name, document, starts, ends, silence.version.into()]);
    if connection.bulk(SILENCE_NEXT, &rows).await?.is_empty() {
        return missing(connection, KNOWN_SILENCE, silence.id, silence.owner.tenant).await;
    }
    Ok(None)
}

async fn on_call(
    connection: &mut Connection,
    schedule: &StoredOnCall,
    expected_version: i64,
    at_ms: i64,
) -> Result<Option<Outcome>, Failure> {
    let tenant = schedule.owner.tenant;
    let name = schedule.document.name.as_str();
    let cells = [tenant.0.into(), name.into(), schedule.id.0.into()];
    if !connection.fetch(ON_CALL_NAMED, &cells).await?.is_empty() {
        return Ok(Some(taken("a schedule")));
    }
    let document = serde_json::to_value(&schedule.document).unwrap_or_default();
    if expected_version == 0 {
        let mut rows = Rows::new(9);
        let [own, user, organization] = owned(&schedule.owner);
        let (id, version) = (schedule.id.0.into(), 1_i64.into());
        rows.push([id, own, user, organization, name.into(), text(&document), version, at_ms.into(), at_ms.into()]);
        connection.bulk(ON_CALL, &rows).await?;
        return Ok(None);
    }
    let mut rows = Rows::new(6);
    let version = expected_version.into();
    rows.push([schedule.id.0.into(), tenant.0.into(), version, name.into(), text(&document), at_ms.into()]);
    if connection.bulk(ON_CALL_NEXT, &rows).await?.is_empty() {
        return missing(connection, KNOWN_ON_CALL, schedule.id, tenant).await;
    }
    Ok(None)
}
