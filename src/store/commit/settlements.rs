//! What people settle: flows deleted, attempts reviewed, dead letters dealt with. Each names its tenant, and what is not the
//! tenant's is not found.

use core314_actors::ports::store::{FlowDeletion, Outcome, Review, Settlement, Write};

use super::batch::Batch;
use super::schedules;
use crate::store::connection::Connection;
use crate::store::failure::Failure;

const DELETE_FLOW: &str = "DELETE FROM flows WHERE id = $1 AND tenant_id = $2 RETURNING id";
/// The attempt must be the tenant's. One that asked for no review gets one all the same.
const REVIEW: &str = "INSERT INTO execution_reviews (id, tenant_id, execution_log_id, reviewer, verdict, notes, \
    created_at_ms, reviewed_at_ms) SELECT $1, l.tenant_id, l.id, $4, $5, $6, $7, $7 FROM log l \
    WHERE l.id = $2 AND l.tenant_id = $3 \
    ON CONFLICT (execution_log_id) DO UPDATE SET reviewer = excluded.reviewer, verdict = excluded.verdict, \
    notes = excluded.notes, reviewed_at_ms = excluded.reviewed_at_ms RETURNING id";
const SETTLE: &str = "UPDATE dead_letters SET settled_at_ms = $1, settlement = $2 \
    WHERE id = $3 AND tenant_id = $4 AND settled_at_ms IS NULL RETURNING id";

pub(super) async fn settle(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    for (i, write) in batch.survivors().collect::<Vec<_>>() {
        let found = match write {
            Write::DeleteFlow(deletion) => delete(batch.connection, deletion).await?,
            Write::Review(review) => self::review(batch.connection, review).await?,
            Write::SettleDeadLetter(settlement) => letter(batch.connection, settlement).await?,
            _ => continue,
        };
        if !found {
            batch.outcomes[i] = Some(Outcome::NotFound);
        }
    }
    Ok(())
}

async fn delete(connection: &mut Connection, deletion: &FlowDeletion) -> Result<bool, Failure> {
    let flow = [deletion.id.0.into(), deletion.tenant.0.into()];
    let found = connection.fetch(DELETE_FLOW, &flow).await?;
    connection.fetch(schedules::REMOVED, &flow).await?;
    Ok(!found.is_empty())
}

async fn review(connection: &mut Connection, review: &Review) -> Result<bool, Failure> {
    let cells = [
        review.id.0.into(),
        review.log.0.into(),
        review.tenant.0.into(),
        review.reviewer.0.into(),
        review.verdict.as_str().into(),
        review.notes.as_deref().into(),
        review.at_ms.into(),
    ];
    Ok(!connection.fetch(REVIEW, &cells).await?.is_empty())
}

async fn letter(connection: &mut Connection, settlement: &Settlement) -> Result<bool, Failure> {
    let cells = [settlement.at_ms.into(), settlement.how.into(), settlement.id.0.into(), settlement.tenant.0.into()];
    Ok(!connection.fetch(SETTLE, &cells).await?.is_empty())
}
