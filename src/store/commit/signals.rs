//! Decisions, recommendations and metrics, and the occurrences that come of them and of runs that end.
//!
//! Invariant: an occurrence is written in the transaction that makes it so, and removed by the one that settles it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use core314_actors::ports::signal::{
    Exceeded, NewDecision, NewMetrics, NewRecommendation, Occurrence, SignalWrite, Verdict, Watched,
};
use core314_actors::ports::store::{Idempotency, Outcome, RunEnd, RunWrite, Write};
use core314_domain::ids::{FlowId, RowId, TenantId};
use core314_domain::words::{DecisionStatus, OccurrenceKind, RecommendationStatus, RunStatus, Severity};
use serde_json::{Value, json};

use super::batch::Batch;
use super::events;
use super::runs::{FREED_KEY, NEW_KEYS};
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::json;

const DECISION: Bulk = Bulk {
    before: "INSERT INTO decisions (id, tenant_id, user_id, organization_id, source, title, summary, confidence_score, \
             risk_level, payload, status, created_at_ms, updated_at_ms) ",
    after: "",
};
const RECOMMENDATION: Bulk = Bulk {
    before: "INSERT INTO recommendations (id, tenant_id, user_id, organization_id, decision_event_id, title, \
             action_type, action_target, action_payload, priority, status, created_at_ms, updated_at_ms) ",
    after: "",
};
const DECISION_JUDGED: &str = "UPDATE decisions SET status = $1, decided_by = $2, decided_at_ms = $3, notes = $4, \
    updated_at_ms = $3 WHERE id = $5 AND tenant_id = $6 AND status = 'pending' RETURNING id";
const RECOMMENDATION_JUDGED: &str = "UPDATE recommendations SET status = $1, decided_by = $2, decided_at_ms = $3, \
    notes = $4, updated_at_ms = $3 WHERE id = $5 AND tenant_id = $6 AND status = 'new' RETURNING id";
const KNOWN_DECISION: &str = "SELECT id FROM decisions WHERE id = $1 AND tenant_id = $2";
const KNOWN_RECOMMENDATION: &str = "SELECT id FROM recommendations WHERE id = $1 AND tenant_id = $2";
pub(super) const OCCURRENCE: Bulk = Bulk {
    before: "INSERT INTO occurrences (id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
             created_at_ms) ",
    after: "",
};
/// By an array of ids, so that PostgreSQL walks no young table for them; each only with its own tenant.
pub(in crate::store) const SETTLED: Bulk = Bulk {
    before: "WITH u (id, tenant_id) AS (",
    after: ") DELETE FROM occurrences WHERE id = ANY (ARRAY(SELECT u.id FROM u)) \
            AND (id, tenant_id) IN (SELECT u.id, u.tenant_id FROM u)",
};
/// SQLite has no arrays.
pub(in crate::store) const SETTLED_SQLITE: Bulk = Bulk {
    before: SETTLED.before,
    after: ") DELETE FROM occurrences WHERE id IN (SELECT o.id FROM u CROSS JOIN occurrences o \
            WHERE o.id = u.id AND o.tenant_id = u.tenant_id)",
};
const METRICS: Bulk = Bulk {
    before: "INSERT INTO metrics (id, tenant_id, user_id, organization_id, metric_name, metric_type, value, labels, \
             recorded_at_ms, created_at_ms) ",
    after: "",
};
/// A series that is there already stays as it is; of too many the newest are not taken.
const EXCEEDS: &str = "INSERT INTO threshold_states (tenant_id, flow_id, series, since_ms) \
    SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM threshold_states WHERE flow_id = $2) < $5 \
    ON CONFLICT (flow_id, series) DO NOTHING";
const FIRES: &str = "UPDATE threshold_states SET fired_at_ms = $1 WHERE flow_id = $2 AND series = $3 \
    AND tenant_id = $4 AND fired_at_ms IS NULL AND since_ms <= $5 RETURNING flow_id";
const CLEARS: &str = "DELETE FROM threshold_states WHERE flow_id = $1 AND series = $2 AND tenant_id = $3";
const FORGETS: &str = "DELETE FROM threshold_states WHERE flow_id = $1 AND tenant_id = $2";
const KNOWN_KEY: &str = "SELECT body_hash, answer FROM idempotency_keys WHERE tenant_id = $1 AND key = $2";
pub(in crate::store) const NAMED: Bulk = Bulk {
    before: "WITH u (tenant_id, key, body_hash, answer) AS (",
    after: ") UPDATE idempotency_keys SET answer = u.answer FROM u WHERE idempotency_keys.tenant_id = u.tenant_id \
            AND idempotency_keys.key = u.key AND idempotency_keys.body_hash = u.body_hash",
};
/// The runs among these whose tenant has somebody that waits for ends. `LIMIT 1`, not `EXISTS`: the plan that is kept
/// then looks into each tenant's flows, and never through those of all.
pub(in crate::store) const ENDS: Bulk = Bulk {
    before: "WITH u (id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, created_at_ms) AS (",
    after: ") INSERT INTO occurrences (id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms) SELECT id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms FROM u WHERE (SELECT true FROM flows f WHERE f.tenant_id = u.tenant_id \
            AND f.trigger_type = 'flow_finished' AND f.is_active LIMIT 1)",
};
/// SQLite uses a partial index for its own words alone.
pub(in crate::store) const ENDS_SQLITE: Bulk = Bulk {
    before: ENDS.before,
    after: ") INSERT INTO occurrences (id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms) SELECT id, tenant_id, user_id, organization_id, kind, subject_id, context, triggered_by, \
            created_at_ms FROM u WHERE EXISTS (SELECT 1 FROM flows f WHERE f.tenant_id = u.tenant_id \
            AND f.trigger_type = 'flow_finished' AND f.is_active = 1)",
};
/// A run that was taken up again and completed makes good what it failed before.
/// `IS TRUE`: by the id alone. A plan that is made of a young table would else read all of a tenant's.
pub(in crate::store) const DECISIONS_TRIED: Bulk = Bulk {
    before: "WITH u (id, tenant_id, outcome, executed_at_ms, at_ms) AS (",
    after: ") UPDATE decisions SET outcome = u.outcome, updated_at_ms = u.at_ms, \
            executed_at_ms = coalesce(u.executed_at_ms, decisions.executed_at_ms), \
            status = CASE WHEN u.executed_at_ms IS NULL THEN decisions.status ELSE 'executed' END FROM u \
            WHERE decisions.id = u.id AND (decisions.tenant_id = u.tenant_id) IS TRUE \
            AND (decisions.status IN ('approved', 'executed')) IS TRUE",
};
pub(in crate::store) const RECOMMENDATIONS_TRIED: Bulk = Bulk {
    before: "WITH u (id, tenant_id, outcome, executed_at_ms, at_ms) AS (",
    after: ") UPDATE recommendations SET outcome = u.outcome, updated_at_ms = u.at_ms, \
            executed_at_ms = coalesce(u.executed_at_ms, recommendations.executed_at_ms), \
            status = CASE WHEN u.executed_at_ms IS NULL THEN recommendations.status ELSE 'executed' END FROM u \
            WHERE recommendations.id = u.id AND (recommendations.tenant_id = u.tenant_id) IS TRUE \
            AND (recommendations.status IN ('accepted', 'executed')) IS TRUE",
};
const MEMORIES: Bulk = Bulk {
    before: "INSERT INTO memories (id, tenant_id, user_id, organization_id, subject_type, subject_id, outcome, features, \
             success, recorded_at_ms) ",
    after: "",
};

/// Writes signals, one after the other: each is a person's or an engine's. Occurrences that are settled are crossed out
/// together: nothing else here asks for them.
pub(super) async fn signals(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let mut settled = Vec::new();
    for (i, write) in batch.survivors().collect::<Vec<_>>() {
        match write {
            Write::Signal(signal) => batch.outcomes[i] = take(batch.connection, signal, &mut settled).await?,
            // A flow that was changed watches anew.
            Write::Flow(flow) if flow.expected_version > 0 => {
                forget(batch.connection, flow.id, flow.owner.tenant).await?;
            }
            Write::DeleteFlow(deletion) => forget(batch.connection, deletion.id, deletion.tenant).await?,
            _ => {}
        }
    }
    batch.deferred.push(crossed_out(batch.connection, &settled));
    Ok(())
}

/// What crosses out occurrences that are settled.
pub(super) fn crossed_out(connection: &Connection, settled: &[(RowId, TenantId)]) -> (Bulk, Rows<'static>) {
    let mut rows = Rows::new(2);
    settled.iter().for_each(|(id, tenant)| rows.push([id.0.into(), tenant.0.into()]));
    (if connection.is_postgres() { SETTLED } else { SETTLED_SQLITE }, rows)
}

/// Crosses them out at once.
pub(super) async fn cross_out(connection: &mut Connection, settled: &[(RowId, TenantId)]) -> Result<(), Failure> {
    let (statement, rows) = crossed_out(connection, settled);
    connection.bulk(statement, &rows).await.map(drop)
}

async fn forget(connection: &mut Connection, flow: FlowId, tenant: TenantId) -> Result<(), Failure> {
    connection.fetch(FORGETS, &[flow.0.into(), tenant.0.into()]).await.map(drop)
}

async fn take(
    connection: &mut Connection,
    signal: &SignalWrite,
    settled: &mut Vec<(RowId, TenantId)>,
) -> Result<Option<Outcome>, Failure> {
    match signal {
        SignalWrite::Decision(new) => decision(connection, new).await,
        SignalWrite::Recommendation(new) => recommendation(connection, new).await,
        SignalWrite::DecisionVerdict(verdict) => {
            let status = if verdict.is_yes { DecisionStatus::Approved } else { DecisionStatus::Rejected };
            judge(connection, verdict, status.as_str(), DECISION_JUDGED, KNOWN_DECISION).await
        }
        SignalWrite::RecommendationVerdict(verdict) => {
            let status = if verdict.is_yes { RecommendationStatus::Accepted } else { RecommendationStatus::Dismissed };
            judge(connection, verdict, status.as_str(), RECOMMENDATION_JUDGED, KNOWN_RECOMMENDATION).await
        }
        SignalWrite::Metrics(new) => metrics(connection, new).await.map(|()| None),
        SignalWrite::Event(new) => events::keep(connection, new).await.map(|()| None),
        SignalWrite::EventTold(place) => events::heard(connection, place).await.map(|()| None),
        SignalWrite::Name(new) => claim(connection, new.tenant, Some(&new.name), new.at_ms).await,
        SignalWrite::Named(new) => {
            let (key, hash) = (new.name.key.as_str().into(), new.name.body_hash.into());
            let mut rows = Rows::new(4);
            rows.push([new.tenant.0.into(), key, hash, text(&new.name.answer)]);
            connection.bulk(NAMED, &rows).await?;
            Ok(None)
        }
        SignalWrite::Settled { id, tenant, .. } => {
            settled.push((*id, *tenant));
            Ok(None)
        }
    }
}

async fn decision(connection: &mut Connection, new: &NewDecision) -> Result<Option<Outcome>, Failure> {
    if let Some(known) = claim(connection, new.owner.tenant, new.idempotency.as_ref(), new.at_ms).await? {
        return Ok(Some(known));
    }
    let mut rows = Rows::new(13);
    rows.push([
        new.id.0.into(),
        new.owner.tenant.0.into(),
        new.owner.user.0.into(),
        new.owner.organization.map(|o| o.0).into(),
        new.source.as_str().into(),
        new.title.as_str().into(),
        new.summary.as_deref().into(),
        new.confidence.into(),
        new.risk.map(Severity::as_str).into(),
        text(&new.payload),
        DecisionStatus::Pending.as_str().into(),
        new.at_ms.into(),
        new.at_ms.into(),
    ]);
    connection.bulk(DECISION, &rows).await?;
    Ok(None)
}

async fn recommendation(connection: &mut Connection, new: &NewRecommendation) -> Result<Option<Outcome>, Failure> {
    let tenant = new.owner.tenant;
    if let Some(known) = claim(connection, tenant, new.idempotency.as_ref(), new.at_ms).await? {
        return Ok(Some(known));
    }
    if let Some(decision) = new.decision
        && connection.fetch(KNOWN_DECISION, &[decision.0.into(), tenant.0.into()]).await?.is_empty()
    {
        return Ok(Some(Outcome::NotFound));
    }
    let mut rows = Rows::new(13);
    rows.push([
        new.id.0.into(),
        tenant.0.into(),
        new.owner.user.0.into(),
        new.owner.organization.map(|o| o.0).into(),
        new.decision.map(|id| id.0).into(),
        new.title.as_str().into(),
        new.action_type.as_str().into(),
        new.action_target.as_str().into(),
        text(&new.action_payload),
        i64::from(new.priority).into(),
        RecommendationStatus::New.as_str().into(),
        new.at_ms.into(),
        new.at_ms.into(),
    ]);
    connection.bulk(RECOMMENDATION, &rows).await?;
    occur(connection, &new.occurrence).await?;
    Ok(None)
}

async fn judge(
    connection: &mut Connection,
    verdict: &Verdict,
    status: &'static str,
    statement: &'static str,
    known: &'static str,
) -> Result<Option<Outcome>, Failure> {
    let cells = [
        status.into(),
        verdict.by.0.into(),
        verdict.at_ms.into(),
        verdict.notes.as_deref().into(),
        verdict.id.0.into(),
        verdict.tenant.0.into(),
    ];
    if connection.fetch(statement, &cells).await?.is_empty() {
        let found = connection.fetch(known, &[verdict.id.0.into(), verdict.tenant.0.into()]).await?;
        return Ok(Some(if found.is_empty() { Outcome::NotFound } else { Outcome::Conflict }));
    }
    if let Some(occurrence) = &verdict.occurrence {
        occur(connection, occurrence).await?;
    }
    Ok(None)
}

/// Takes a request's key; where it is taken, what was answered then.
pub(in crate::store) async fn claim(
    connection: &mut Connection,
    tenant: TenantId,
    wanted: Option<&Idempotency>,
    now_ms: i64,
) -> Result<Option<Outcome>, Failure> {
    let Some(wanted) = wanted else { return Ok(None) };
    let cells = || -> [Cell<'_>; 5] {
        let (key, hash) = (wanted.key.as_str().into(), wanted.body_hash.into());
        [tenant.0.into(), key, hash, text(&wanted.answer), wanted.expires_at_ms.into()]
    };
    let mut rows = Rows::new(5);
    rows.push(cells());
    if !connection.bulk(NEW_KEYS, &rows).await?.is_empty() {
        return Ok(None);
    }
    let mut rows = Rows::new(6);
    let [own, key, hash, answer, expires] = cells();
    rows.push([own, key, hash, answer, expires, now_ms.into()]);
    if !connection.bulk(FREED_KEY, &rows).await?.is_empty() {
        return Ok(None);
    }
    let found = connection.fetch(KNOWN_KEY, &[tenant.0.into(), wanted.key.as_str().into()]).await?;
    let row = found.first().ok_or_else(|| Failure::Unavailable("an idempotency key was just removed".to_owned()))?;
    let mut fields = row.fields();
    let same_request = fields.hash()? == wanted.body_hash;
    Ok(Some(Outcome::Duplicate { answer: fields.json()?, same_request }))
}

async fn metrics(connection: &mut Connection, new: &NewMetrics) -> Result<(), Failure> {
    let owner = new.owner;
    let mut rows = Rows::new(10);
    for point in &new.points {
        rows.push([
            point.id.0.into(),
            owner.tenant.0.into(),
            owner.user.0.into(),
            owner.organization.map(|o| o.0).into(),
            point.name.as_str().into(),
            point.metric_type.as_str().into(),
            point.value.into(),
            text(&point.labels),
            point.recorded_at_ms.into(),
            created_at_ms(point.id).into(),
        ]);
    }
    connection.bulk(METRICS, &rows).await?;
    for watched in &new.watched {
        watch(connection, owner.tenant, watched).await?;
    }
    Ok(())
}

/// An id begins with the time at which it was made, in milliseconds (RFC 9562, UUIDv7).
fn created_at_ms(id: RowId) -> i64 {
    (id.0.as_u128() >> 80) as i64
}

async fn watch(connection: &mut Connection, tenant: TenantId, watched: &Watched) -> Result<(), Failure> {
    let Watched { flow, series, at_ms, exceeded } = watched;
    let Some(Exceeded { for_ms, occurrence, most_series }) = exceeded else {
        connection.fetch(CLEARS, &[flow.0.into(), (*series).into(), tenant.0.into()]).await?;
        return Ok(());
    };
    let cells = [tenant.0.into(), flow.0.into(), (*series).into(), (*at_ms).into(), (*most_series).into()];
    connection.fetch(EXCEEDS, &cells).await?;
    let cells = [(*at_ms).into(), flow.0.into(), (*series).into(), tenant.0.into(), (at_ms - for_ms).into()];
    if !connection.fetch(FIRES, &cells).await?.is_empty() {
        occur(connection, occurrence).await?;
    }
    Ok(())
}

async fn occur(connection: &mut Connection, occurrence: &Occurrence) -> Result<(), Failure> {
    let mut rows = Rows::new(9);
    rows.push(occurrence_row(occurrence));
    connection.bulk(OCCURRENCE, &rows).await.map(drop)
}

pub(super) fn occurrence_row<'a>(occurrence: &Occurrence) -> [Cell<'a>; 9] {
    let Occurrence { id, owner, kind, subject, context, by, at_ms } = occurrence;
    [
        id.0.into(),
        owner.tenant.0.into(),
        owner.user.0.into(),
        owner.organization.map(|o| o.0).into(),
        kind.as_str().into(),
        (*subject).into(),
        text(context),
        by.clone().into(),
        (*at_ms).into(),
    ]
}

/// Notes the ends of runs for the flows that wait for them, and what they mean to decisions and recommendations.
pub(super) fn ends(batch: &mut Batch<'_, '_>) {
    let (mut rows, mut told) = (Rows::new(9), Rows::new(9));
    let (mut fallbacks, mut memories) = (Rows::new(9), Rows::new(10));
    let (mut decisions, mut recommendations) = (BTreeMap::new(), BTreeMap::new());
    for (_, run) in batch.surviving_runs() {
        let Some(end) = &run.ended else { continue };
        if end.flow.is_some() {
            let context = json!({"run_status": end.status});
            rows.push(occurrence_row(&end_of(run, end, OccurrenceKind::FlowFinished, context)));
        }
        if end.is_told {
            let context = json!({"run_status": end.status});
            told.push(occurrence_row(&end_of(run, end, OccurrenceKind::BadEnd, context)));
        }
        if let Some(fallback) = end.fallback {
            let context = json!({"run_status": end.status, "fallback_flow_id": fallback});
            fallbacks.push(occurrence_row(&end_of(run, end, OccurrenceKind::Fallback, context)));
        }
        let Some(outcome) = &end.outcome else { continue };
        let subjects = [
            ("decision", outcome.decision, &mut decisions),
            ("recommendation", outcome.recommendation, &mut recommendations),
        ];
        for (subject_type, subject, tried) in subjects {
            let Some(subject) = subject else { continue };
            memories.push(memory_row(subject_type, subject, end, &outcome.features));
            // Of several runs one that completed counts.
            let kept = tried.entry((subject, run.tenant)).or_insert((end.status, end.at_ms));
            if end.status == RunStatus::Completed {
                *kept = (end.status, end.at_ms);
            }
        }
    }
    let statement = if batch.connection.is_postgres() { ENDS } else { ENDS_SQLITE };
    batch.deferred.extend([
        (statement, rows),
        (OCCURRENCE, fallbacks),
        (OCCURRENCE, told),
        (DECISIONS_TRIED, tried_rows(decisions)),
        (RECOMMENDATIONS_TRIED, tried_rows(recommendations)),
        (MEMORIES, memories),
    ]);
}

fn end_of(run: &RunWrite, end: &RunEnd, kind: OccurrenceKind, context: Value) -> Occurrence {
    Occurrence {
        id: RowId::new(end.at_ms, rand::random()),
        owner: end.owner,
        kind,
        subject: run.id.0,
        context,
        by: format!("run:{}", run.id),
        at_ms: end.at_ms,
    }
}

fn tried_rows(tried: BTreeMap<(RowId, TenantId), (RunStatus, i64)>) -> Rows<'static> {
    let mut rows = Rows::new(5);
    for ((id, tenant), (status, at_ms)) in tried {
        let executed_at_ms = (status == RunStatus::Completed).then_some(at_ms);
        rows.push([id.0.into(), tenant.0.into(), status.as_str().into(), executed_at_ms.into(), at_ms.into()]);
    }
    rows
}

fn memory_row<'a>(subject_type: &'static str, subject: RowId, end: &RunEnd, features: &Value) -> [Cell<'a>; 10] {
    [
        RowId::new(end.at_ms, rand::random()).0.into(),
        end.owner.tenant.0.into(),
        end.owner.user.0.into(),
        end.owner.organization.map(|o| o.0).into(),
        subject_type.into(),
        subject.0.into(),
        end.status.as_str().into(),
        text(features),
        (end.status == RunStatus::Completed).into(),
        end.at_ms.into(),
    ]
}

fn text<'a>(value: &Value) -> Cell<'a> {
    Cell::Json(Some(Cow::Owned(json::text_of(value))))
}
