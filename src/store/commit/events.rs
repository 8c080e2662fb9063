//! Events that are kept for runs, and the waits of runs for them.
//!
//! Invariant: an event and the opening of a wait for its type and key never miss each other. On SQLite one transaction
//! follows the other. On PostgreSQL both take a lock of that type and key before anything else, so that the second sees
//! what the first has committed, and no two transactions wait for each other in a circle.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use core314_actors::ports::event::{DeliveryPlace, NewEvent};
use core314_actors::ports::signal::SignalWrite;
use core314_actors::ports::store::{FlowWrite, WaitWrite, Write};
use core314_domain::document::waited_events;
use core314_domain::ids::TenantId;

use super::batch::Batch;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::json;

/// Types and keys share so many locks: a commit never holds more.
const LOCKS: u64 = 256;
/// The first half of their names. The number is arbitrary and ours.
const LOCK_SPACE: i64 = 3_140_002;
/// Expired events that are removed with each that is kept.
const REMOVED_AT_ONCE: i64 = 10;

/// In the order of their numbers: a function that changes something is called after the rows are sorted.
const HELD: Bulk = Bulk {
    before: "WITH u (space, number) AS (",
    after: ") SELECT pg_advisory_xact_lock(u.space::int4, u.number::int4)::text FROM u ORDER BY u.number",
};
const KIND: &str = "INSERT INTO event_kinds (tenant_id, kind) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const KEPT: Bulk = Bulk {
    before: "INSERT INTO kept_events (id, tenant_id, kind, wait_key, name, event, received_at_ms) ",
    after: " ON CONFLICT (tenant_id, name) DO NOTHING RETURNING id",
};
const TOLD: &str = "INSERT INTO event_deliveries (tenant_id, event_id, run_id, step_no) \
    SELECT w.tenant_id, $1, w.run_id, w.step_no FROM event_waits w \
    WHERE w.tenant_id = $2 AND w.kind = $3 AND w.wait_key = $4";
/// One that somebody has yet to be told of stays.
const EXPIRED: &str = "DELETE FROM kept_events WHERE id IN (SELECT k.id FROM kept_events k WHERE k.received_at_ms < $1 \
    AND NOT EXISTS (SELECT 1 FROM event_deliveries d WHERE d.event_id = k.id) ORDER BY k.received_at_ms LIMIT $2)";
const TOO_MANY: &str = "DELETE FROM kept_events WHERE id IN (SELECT k.id FROM kept_events k WHERE k.tenant_id = $1 \
    AND k.kind = $2 AND k.wait_key = $3 ORDER BY k.id DESC LIMIT $4 OFFSET $5) \
    AND NOT EXISTS (SELECT 1 FROM event_deliveries d WHERE d.event_id = kept_events.id)";
const HEARD: &str = "DELETE FROM event_deliveries WHERE event_id = $1 AND run_id = $2 AND step_no = $3";

pub(in crate::store) const CLOSED: Bulk = Bulk {
    before: "WITH u (run_id, step_no) AS (",
    after: ") DELETE FROM event_waits WHERE (run_id, step_no) IN (SELECT run_id, step_no FROM u)",
};
pub(in crate::store) const NOT_TOLD: Bulk = Bulk {
    before: "WITH u (run_id, step_no) AS (",
    after: ") DELETE FROM event_deliveries WHERE (run_id, step_no) IN (SELECT run_id, step_no FROM u)",
};
const TAKEN: Bulk = Bulk {
    before: "INSERT INTO event_takes (tenant_id, run_id, event_id) ",
    after: " ON CONFLICT (run_id, event_id) DO NOTHING",
};
const OPENED: Bulk = Bulk {
    before: "INSERT INTO event_waits (tenant_id, kind, wait_key, run_id, step_no) ",
    after: " ON CONFLICT (run_id, step_no) DO UPDATE SET kind = excluded.kind, wait_key = excluded.wait_key",
};
/// What came since the run began, and it has not taken yet.
pub(in crate::store) const LOOKED_BACK: Bulk = Bulk {
    before: "WITH u (tenant_id, kind, wait_key, run_id, step_no, since_ms, but) AS (",
    after: ") INSERT INTO event_deliveries (tenant_id, event_id, run_id, step_no) \
            SELECT u.tenant_id, k.id, u.run_id, u.step_no FROM u CROSS JOIN kept_events k \
            WHERE k.tenant_id = u.tenant_id AND k.kind = u.kind AND k.wait_key = u.wait_key \
            AND k.received_at_ms >= u.since_ms AND (u.but IS NULL OR k.name <> u.but) \
            AND NOT EXISTS (SELECT 1 FROM event_takes t WHERE t.run_id = u.run_id AND t.event_id = k.id) \
            ON CONFLICT (event_id, run_id, step_no) DO NOTHING",
};
/// Whatever a run waited for, it does not after its end.
const OVER: [Bulk; 3] = [
    Bulk { before: "WITH u (run_id) AS (", after: ") DELETE FROM event_waits WHERE run_id IN (SELECT run_id FROM u)" },
    Bulk {
        before: "WITH u (run_id) AS (",
        after: ") DELETE FROM event_deliveries WHERE run_id IN (SELECT run_id FROM u)",
    },
    Bulk { before: "WITH u (run_id) AS (", after: ") DELETE FROM event_takes WHERE run_id IN (SELECT run_id FROM u)" },
];

/// Holds the locks of what the batch opens and keeps, before it touches anything.
pub(super) async fn hold(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    if !batch.connection.is_postgres() {
        return Ok(());
    }
    let mut numbers = BTreeSet::new();
    for (_, write) in batch.survivors() {
        match write {
            Write::Run(run) => {
                for wait in &run.waits {
                    if let WaitWrite::Opened { kind, key, .. } = wait {
                        numbers.insert(number(run.tenant, kind, key));
                    }
                }
            }
            Write::Signal(signal) => {
                if let SignalWrite::Event(new) = &**signal {
                    numbers.insert(number(new.tenant, &new.kind, &new.key));
                }
            }
            _ => {}
        }
    }
    let mut rows = Rows::new(2);
    for number in numbers {
        rows.push([LOCK_SPACE.into(), number.into()]);
    }
    batch.connection.bulk(HELD, &rows).await.map(drop)
}

fn number(tenant: TenantId, kind: &str, key: &str) -> i64 {
    let mut hasher = DefaultHasher::new();
    (tenant, kind, key).hash(&mut hasher);
    (hasher.finish() % LOCKS) as i64
}

/// Notes the types of the events that a flow waits for.
pub(super) async fn kinds(connection: &mut Connection, write: &FlowWrite) -> Result<(), Failure> {
    for kind in waited_events(&write.document) {
        connection.fetch(KIND, &[write.owner.tenant.0.into(), kind.as_str().into()]).await?;
    }
    Ok(())
}

/// Keeps an event, and notes whom to tell of it.
pub(super) async fn keep(connection: &mut Connection, new: &NewEvent) -> Result<(), Failure> {
    let tenant = new.tenant.0;
    connection.fetch(EXPIRED, &[new.oldest_ms.into(), REMOVED_AT_ONCE.into()]).await?;
    let mut rows = Rows::new(7);
    rows.push([
        new.id.0.into(),
        tenant.into(),
        new.kind.as_str().into(),
        new.key.as_str().into(),
        new.name.as_str().into(),
        Cell::Json(Some(Cow::Owned(json::text_of(&new.event)))),
        new.at_ms.into(),
    ]);
    if connection.bulk(KEPT, &rows).await?.is_empty() {
        return Ok(());
    }
    let (kind, key) = (new.kind.as_str(), new.key.as_str());
    connection.fetch(TOLD, &[new.id.0.into(), tenant.into(), kind.into(), key.into()]).await?;
    let cells = [tenant.into(), kind.into(), key.into(), REMOVED_AT_ONCE.into(), i64::from(new.most).into()];
    connection.fetch(TOO_MANY, &cells).await.map(drop)
}

/// A run has heard of an event.
pub(super) async fn heard(connection: &mut Connection, place: &DeliveryPlace) -> Result<(), Failure> {
    let (event, run, step) = *place;
    connection.fetch(HEARD, &[event.0.into(), run.0.into(), i64::from(step).into()]).await.map(drop)
}

/// Writes what steps wait for, in the order of their changes: one that was opened and closed is closed.
pub(super) async fn waits(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let (mut closed, mut not_told, mut taken) = (Rows::new(2), Rows::new(2), Rows::new(3));
    let (mut opened, mut looked_back) = (Rows::new(5), Rows::new(7));
    let mut over = [Rows::new(1), Rows::new(1), Rows::new(1)];
    for (_, run) in batch.surviving_runs() {
        let (tenant, id) = (run.tenant.0, run.id.0);
        for (no, wait) in run.waits.iter().enumerate() {
            match wait {
                WaitWrite::Opened { step, kind, key, since_ms, but } if is_open(*step, &run.waits[no..]) => {
                    let (kind, key, step) = (&**kind, key.as_str(), i64::from(*step));
                    opened.push([tenant.into(), kind.into(), key.into(), id.into(), step.into()]);
                    let (since_ms, but) = ((*since_ms).into(), but.as_deref().into());
                    looked_back.push([tenant.into(), kind.into(), key.into(), id.into(), step.into(), since_ms, but]);
                }
                WaitWrite::Opened { .. } => {}
                WaitWrite::Closed { step, taken: event } => {
                    closed.push([id.into(), i64::from(*step).into()]);
                    not_told.push([id.into(), i64::from(*step).into()]);
                    if let Some(event) = event {
                        taken.push([tenant.into(), id.into(), event.0.into()]);
                    }
                }
                WaitWrite::Over => over.iter_mut().for_each(|rows| rows.push([id.into()])),
            }
        }
    }
    // Where a run was taken up again in the commit of its end, it waits anew after that.
    let ends = [(CLOSED, closed), (NOT_TOLD, not_told), (TAKEN, taken)].into_iter().chain(OVER.into_iter().zip(over));
    for (bulk, rows) in ends.chain([(OPENED, opened), (LOOKED_BACK, looked_back)]) {
        batch.connection.bulk(bulk, &rows).await?;
    }
    Ok(())
}

/// Whether a step still waits after these.
fn is_open(step: u32, later: &[WaitWrite]) -> bool {
    !later.iter().any(|later| match later {
        WaitWrite::Closed { step: own, .. } => *own == step,
        WaitWrite::Over => true,
        WaitWrite::Opened { .. } => false,
    })
}
