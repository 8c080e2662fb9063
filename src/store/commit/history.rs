//! The append-only rows of a batch: log and audit under their chains, and the reviews that some attempts need.

use std::collections::BTreeSet;

use core314_actors::ports::schedule::ScheduleWrite;
use core314_actors::ports::store::Write;
use core314_domain::audit::AuditEntry;
use core314_domain::ids::RowId;

use super::batch::Batch;
use crate::store::blobs::Parking;
use crate::store::cell::Rows;
use crate::store::connection::Bulk;
use crate::store::failure::Failure;
use crate::store::heads::{Appender, Chain, Heads, Key};
use crate::store::rows::{AUDIT_WIDTH, AuditRow, LOG_WIDTH, LogRow, audit_columns, log_columns};

const LOG: Bulk = Bulk { before: concat!("INSERT INTO log (", log_columns!(), ") "), after: "" };
const AUDIT: Bulk = Bulk { before: concat!("INSERT INTO audit (", audit_columns!(), ") "), after: "" };
const REVIEWS: Bulk =
    Bulk { before: "INSERT INTO execution_reviews (id, tenant_id, execution_log_id, created_at_ms) ", after: "" };

/// Writes the survivors' rows. Returns the chains' new ends, and for each write the number of its last log row.
pub(super) async fn append(
    batch: &mut Batch<'_, '_>,
    heads: &Heads,
    fresh: bool,
    inline_bytes: usize,
) -> Result<(Appender, Vec<Option<i64>>), Failure> {
    let survivors: Vec<(usize, &Write)> = batch.survivors().collect();
    let mut appender = heads.take(&keys(&survivors), fresh, batch.connection).await?;
    let (mut log, mut audit, mut reviews) = (Rows::new(LOG_WIDTH), Rows::new(AUDIT_WIDTH), Rows::new(4));
    let mut parking = Parking::new(inline_bytes);
    let mut last_seqs = vec![None; batch.writes.len()];
    let mut latest_ms = 0;
    for (i, write) in survivors {
        if let Write::Run(run) = write {
            for entry in &run.log {
                let key = (Chain::Log, run.partition);
                let texts = parking.texts(run, entry);
                let make = |place| LogRow::new(place, run.tenant, run.id, entry, texts);
                let (row, hash) = appender.append(key, entry.completed_at_ms, make, LogRow::content);
                last_seqs[i] = Some(row.place.seq);
                latest_ms = latest_ms.max(entry.completed_at_ms);
                if entry.requires_review() {
                    let id = RowId::new(entry.completed_at_ms, rand::random()).0;
                    reviews.push([id.into(), run.tenant.0.into(), row.place.id.into(), entry.completed_at_ms.into()]);
                }
                log.push(row.cells(hash));
            }
        }
        for entry in audits(write) {
            let make = |place| AuditRow::new(place, entry);
            let (row, hash) = appender.append((Chain::Audit, entry.partition), entry.at_ms, make, AuditRow::content);
            latest_ms = latest_ms.max(entry.at_ms);
            audit.push(row.cells(hash));
        }
    }
    batch.granted.extend(appender.moves());
    batch.deferred.push(parking.rows());
    batch.deferred.extend([(LOG, log), (AUDIT, audit), (REVIEWS, reviews), appender.checkpoints(heads, latest_ms)]);
    Ok((appender, last_seqs))
}

/// The chains to which the writes append.
fn keys(survivors: &[(usize, &Write)]) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    for (_, write) in survivors {
        if let Write::Run(run) = write
            && !run.log.is_empty()
        {
            keys.insert((Chain::Log, run.partition));
        }
        keys.extend(audits(write).iter().map(|entry| (Chain::Audit, entry.partition)));
    }
    keys
}

fn audits(write: &Write) -> &[AuditEntry] {
    match write {
        Write::Run(run) => &run.audit,
        Write::Flow(flow) => std::slice::from_ref(&flow.audit),
        Write::Webhook(_, audit) | Write::ServiceKey(_, audit) => std::slice::from_ref(audit),
        Write::Connection(write) => std::slice::from_ref(write.audit()),
        Write::Audit(audit) => std::slice::from_ref(audit),
        Write::DeleteFlow(deletion) => std::slice::from_ref(&deletion.audit),
        Write::Rollout(rollout) => std::slice::from_ref(&rollout.audit),
        Write::Review(review) => std::slice::from_ref(&review.audit),
        Write::SettleDeadLetter(settlement) => std::slice::from_ref(&settlement.audit),
        Write::WebhookRemoval(removal) => std::slice::from_ref(&removal.audit),
        Write::Signal(signal) => signal.audit(),
        Write::Escalation(write) => write.audit(),
        Write::People(write) => write.audit.as_slice(),
        Write::Schedule(write) => match &**write {
            ScheduleWrite::Pause { audit, .. } | ScheduleWrite::Resume { audit, .. } => std::slice::from_ref(audit),
            ScheduleWrite::Move(_) | ScheduleWrite::Adopt { .. } => &[],
        },
        Write::Gather(_) | Write::Delivery(_) | Write::DeadLetter(_) | Write::Statistics(_) => &[],
    }
}
