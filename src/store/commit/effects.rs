//! What else a batch writes: approvals, counters of flows, statistics, dead letters.

use std::collections::BTreeMap;

use core314_actors::ports::store::{ApprovalWrite, RunEnd, RunWrite, Write};
use core314_domain::ids::{FlowId, TenantId};
use core314_domain::words::RunStatus;

use super::batch::Batch;
use super::signals::{OCCURRENCE, occurrence_row};
use crate::store::cell::{Cell, Rows};
use crate::store::connection::Bulk;
use crate::store::failure::Failure;
use crate::store::json;

const REQUESTED: Bulk = Bulk {
    before: "INSERT INTO approvals (id, tenant_id, run_id, step_no, status, created_at_ms, expires_at_ms) ",
    after: "",
};
pub(in crate::store) const DECIDED: Bulk = Bulk {
    before: "WITH u (tenant_id, run_id, step_no, status, decided_by, decided_at_ms, notes, form) AS (",
    after: ") UPDATE approvals AS a SET status = u.status, decided_by = u.decided_by, \
            decided_at_ms = u.decided_at_ms, notes = u.notes, form = u.form FROM u \
            WHERE a.run_id = u.run_id AND a.step_no IS NOT DISTINCT FROM u.step_no AND a.tenant_id = u.tenant_id \
            AND (a.status = 'pending') IS TRUE",
};
const COUNTERS: Bulk = Bulk {
    before: "INSERT INTO flow_counters (flow_id, partition, tenant_id, runs, successful, failed, duration_sum_ms, \
             last_at_ms) ",
    after: " ON CONFLICT (flow_id, partition) DO UPDATE SET runs = flow_counters.runs + excluded.runs, \
            successful = flow_counters.successful + excluded.successful, \
            failed = flow_counters.failed + excluded.failed, \
            duration_sum_ms = flow_counters.duration_sum_ms + excluded.duration_sum_ms, \
            last_at_ms = CASE WHEN excluded.last_at_ms > flow_counters.last_at_ms THEN excluded.last_at_ms \
            ELSE flow_counters.last_at_ms END",
};
const DEAD_LETTERS: Bulk = Bulk {
    before: "INSERT INTO dead_letters (id, tenant_id, user_id, organization_id, run_id, actor_path, message, failure, \
             created_at_ms) ",
    after: "",
};

/// Writes approvals in their order: a decision settles what was requested before it and nothing later.
pub(super) async fn approvals(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let writes: Vec<(&RunWrite, &ApprovalWrite)> =
        batch.surviving_runs().flat_map(|(_, run)| run.approvals.iter().map(move |approval| (run, approval))).collect();
    let is_request = |approval: &ApprovalWrite| matches!(approval, ApprovalWrite::Requested { .. });
    for group in writes.chunk_by(|(_, a), (_, b)| is_request(a) == is_request(b)) {
        let (mut requested, mut decided) = (Rows::new(7), Rows::new(8));
        let mut told = Rows::new(9);
        for (run, approval) in group {
            match approval {
                ApprovalWrite::Requested { id, step, at_ms, expires_at_ms, told: occurrence } => {
                    if let Some(occurrence) = occurrence {
                        told.push(occurrence_row(occurrence));
                    }
                    requested.push([
                        id.0.into(),
                        run.tenant.0.into(),
                        run.id.0.into(),
                        step.map(i64::from).into(),
                        "pending".into(),
                        (*at_ms).into(),
                        (*expires_at_ms).into(),
                    ]);
                }
                ApprovalWrite::Decided { step, approved, by, notes, form, at_ms } => decided.push([
                    run.tenant.0.into(),
                    run.id.0.into(),
                    step.map(i64::from).into(),
                    if *approved { "approved" } else { "rejected" }.into(),
                    by.0.into(),
                    (*at_ms).into(),
                    notes.as_deref().into(),
                    Cell::Json((!form.is_null()).then(|| json::text_of(form).into())),
                ]),
                ApprovalWrite::Lapsed { step, at_ms } => decided.push([
                    run.tenant.0.into(),
                    run.id.0.into(),
                    step.map(i64::from).into(),
                    "expired".into(),
                    None::<uuid::Uuid>.into(),
                    (*at_ms).into(),
                    None::<&str>.into(),
                    Cell::Json(None),
                ]),
            }
        }
        batch.connection.bulk(REQUESTED, &requested).await?;
        batch.connection.bulk(OCCURRENCE, &told).await?;
        batch.connection.bulk(DECIDED, &decided).await?;
    }
    Ok(())
}

#[derive(Default)]
struct Counter {
    runs: i64,
    successful: i64,
    failed: i64,
    duration_sum_ms: i64,
    last_at_ms: i64,
}

/// Adds ended runs to the counters of their flows: on PostgreSQL to a row for each partition, so that no commit waits for
/// another; SQLite has one writer, and one row is the quickest to read.
pub(super) fn counters(batch: &mut Batch<'_, '_>) {
    let is_postgres = batch.connection.is_postgres();
    let mut counters: BTreeMap<(FlowId, u16, TenantId), Counter> = BTreeMap::new();
    for (_, run) in batch.surviving_runs() {
        // An end that is taken back no longer counts.
        for (end, sign) in run.ended.iter().map(|end| (end, 1)).chain(run.reopened.iter().map(|end| (end, -1))) {
            let Some(flow) = end.flow else { continue };
            let partition = if is_postgres { run.partition } else { 0 };
            let counter = counters.entry((flow, partition, run.tenant)).or_default();
            counter.add(end, sign);
        }
    }
    let mut rows = Rows::new(8);
    for ((flow, partition, tenant), counter) in counters {
        rows.push([
            flow.0.into(),
            partition.into(),
            tenant.0.into(),
            counter.runs.into(),
            counter.successful.into(),
            counter.failed.into(),
            counter.duration_sum_ms.into(),
            counter.last_at_ms.into(),
        ]);
    }
    batch.deferred.push((COUNTERS, rows));
}

impl Counter {
    fn add(&mut self, end: &RunEnd, sign: i64) {
        self.runs += sign;
        match end.status {
            RunStatus::Completed => self.successful += sign,
            RunStatus::Failed | RunStatus::TimedOut | RunStatus::RolledBack => self.failed += sign,
            // Somebody stopped it: neither.
            RunStatus::Cancelled
            | RunStatus::Pending
            | RunStatus::AwaitingApproval
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Compensating => {}
        }
        self.duration_sum_ms += sign * end.duration_ms;
        self.last_at_ms = self.last_at_ms.max(end.at_ms);
    }
}

/// Sets work aside for a person.
pub(super) fn dead_letters(batch: &mut Batch<'_, '_>) {
    let mut rows = Rows::new(9);
    for (_, write) in batch.survivors() {
        if let Write::DeadLetter(letter) = write {
            rows.push([
                letter.id.0.into(),
                letter.owner.tenant.0.into(),
                letter.owner.user.0.into(),
                letter.owner.organization.map(|o| o.0).into(),
                letter.run.map(|run| run.0).into(),
                letter.actor_path.as_str().into(),
                letter.message.as_str().into(),
                letter.failure.as_str().into(),
                letter.at_ms.into(),
            ]);
        }
    }
    batch.deferred.push((DEAD_LETTERS, rows));
}
