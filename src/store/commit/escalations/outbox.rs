//! What events want done: written down, stopped, and what has become of it.

use core314_actors::ports::escalation::{EventStep, OutboxStep, Stop};
use core314_domain::ids::{RowId, TenantId};

use super::rows::task_row;
use crate::store::cell::Rows;
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;

pub(super) const TASKS: Bulk = Bulk {
    before: "INSERT INTO outbox (id, tenant_id, user_id, organization_id, escalation_id, level, round, purpose, kind, \
             channel, target, payload, found_by, idempotency_key, status, is_unknown, error, tries, not_before_ms, \
             created_at_ms, updated_at_ms) ",
    after: " ON CONFLICT (idempotency_key) DO NOTHING",
};
/// What waits is not done any more; what is under way is marked, and whoever looks next cuts it off.
macro_rules! stopped {
    ($which:literal) => {
        concat!(
            "UPDATE outbox SET status = CASE WHEN status = 'pending' THEN 'cancelled' ELSE status END, is_stopped = $4, \
             updated_at_ms = $1 WHERE escalation_id = $2 AND tenant_id = $3 \
             AND status IN ('pending', 'sending', 'maybe_sent') AND purpose ",
            $which,
            " RETURNING status"
        )
    };
}
const STOPPED_CLIMB: &str = stopped!("IN ('level', 'repeat')");
const STOPPED_ALL: &str = stopped!("NOT IN ('sla_warning', 'sla_breach', 'held_back')");
/// What is cut off is looked at soon, whatever dies in between.
const WAKES_FOR_IT: &str = "UPDATE escalations SET wake_at_ms = $1 WHERE id = $2 AND tenant_id = $3 \
    AND (wake_at_ms IS NULL OR wake_at_ms > $1) RETURNING id";
pub(in crate::store) const TASKS_NEXT: Bulk = Bulk {
    before: "WITH u (id, tenant_id, status, is_unknown, run_id, error, tries, sent_at_ms, at_ms) AS (",
    after: ") UPDATE outbox SET status = u.status, is_unknown = u.is_unknown, run_id = u.run_id, error = u.error, \
            tries = u.tries, sent_at_ms = u.sent_at_ms, updated_at_ms = u.at_ms FROM u \
            WHERE outbox.id = u.id AND outbox.tenant_id = u.tenant_id",
};
const WAKES: &str =
    "UPDATE escalations SET wake_at_ms = $1 WHERE id = $2 AND tenant_id = $3 AND version = $4 RETURNING id";

/// What steps want done: what has its key already is left as it is.
pub(super) fn tasks<'a>(steps: &[&'a EventStep]) -> Rows<'a> {
    let mut rows = Rows::new(21);
    for &step in steps {
        step.outbox.iter().for_each(|row| rows.push(task_row(row, &step.escalation.owner, step.at_ms)));
    }
    rows
}

/// What an event wanted done is not done any more.
pub(super) async fn stop(
    connection: &mut Connection,
    stop: Stop,
    (id, tenant): (RowId, TenantId),
    at_ms: i64,
) -> Result<(), Failure> {
    let statement = if stop == Stop::All { STOPPED_ALL } else { STOPPED_CLIMB };
    let mut is_under_way = false;
    for row in connection.fetch(statement, &[at_ms.into(), id.0.into(), tenant.0.into(), true.into()]).await? {
        is_under_way |= row.fields().text()? != "cancelled";
    }
    if is_under_way {
        connection.fetch(WAKES_FOR_IT, &[at_ms.into(), id.0.into(), tenant.0.into()]).await?;
    }
    Ok(())
}

/// Notes what has become of it, and when the event is looked at again.
pub(super) async fn note(connection: &mut Connection, step: &OutboxStep) -> Result<(), Failure> {
    let mut rows = Rows::new(9);
    noted(step, &mut rows);
    connection.bulk(TASKS_NEXT, &rows).await?;
    let cells = [step.wake_ms.into(), step.escalation.0.into(), step.tenant.0.into(), step.version.into()];
    // An event that has moved on knows better when to wake.
    connection.fetch(WAKES, &cells).await.map(drop)
}

/// The rows of [`TASKS_NEXT`].
pub(super) fn noted<'a>(step: &'a OutboxStep, rows: &mut Rows<'a>) {
    for row in &step.rows {
        rows.push([
            row.id.0.into(),
            step.tenant.0.into(),
            row.status.as_str().into(),
            row.is_unknown.into(),
            row.run.map(|run| run.0).into(),
            row.error.as_deref().into(),
            i64::from(row.tries).into(),
            row.sent_ms.into(),
            step.at_ms.into(),
        ]);
    }
}
