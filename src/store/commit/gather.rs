//! Triggers that join runs that gather, and what these runs have for their trigger in the end.
//!
//! Invariant: a trigger is counted with its run by the transaction that keeps it, once, whatever is tried again.

use std::collections::{BTreeMap, HashMap, HashSet};

use core314_actors::ports::store::{GatherWrite, LimitStage, LimitWrite, Outcome, RunWrite, Write};
use core314_domain::ids::{RunId, TenantId};
use core314_domain::run::RunHeader;
use uuid::Uuid;

use super::batch::Batch;
use super::runs::FORGOTTEN_KEY;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::Bulk;
use crate::store::failure::Failure;
use crate::store::json;

pub(in crate::store) const GATHER: Bulk = Bulk {
    before: "WITH u (run_id, tenant_id) AS (",
    after: ") SELECT l.run_id FROM u CROSS JOIN run_limits l WHERE l.run_id = u.run_id \
            AND l.tenant_id = u.tenant_id AND l.gathered IS NOT NULL",
};
const KEPT: Bulk = Bulk {
    before: "INSERT INTO gathered_triggers (id, tenant_id, run_id, no, brought) ",
    after: " ON CONFLICT (id) DO NOTHING RETURNING id",
};
pub(in crate::store) const COUNTED: Bulk = Bulk {
    before: "WITH u (run_id, tenant_id, gathered, bytes, no, at_ms) AS (",
    after: ") UPDATE run_limits SET gathered = run_limits.gathered + u.gathered, \
            gathered_bytes = run_limits.gathered_bytes + u.bytes, gathered_no = u.no, gathered_at_ms = u.at_ms FROM u \
            WHERE run_limits.run_id = u.run_id AND run_limits.tenant_id = u.tenant_id",
};
/// Of a run that has the last trigger alone, those before it.
pub(in crate::store) const OVERTAKEN: Bulk = Bulk {
    before: "WITH u (run_id, no) AS (",
    after: ") DELETE FROM gathered_triggers WHERE id IN (SELECT g.id FROM u CROSS JOIN gathered_triggers g \
            WHERE g.run_id = u.run_id AND g.no < u.no)",
};
const BECAME: Bulk = Bulk {
    before: "WITH u (id, tenant_id, trigger_type, trigger_source, trigger_context, webhook, input, triggered_by, \
             decision_event_id, recommendation_id, parent_run_id, deadline_at_ms) AS (",
    after: ") UPDATE runs SET trigger_type = u.trigger_type, trigger_source = u.trigger_source, \
            trigger_context = u.trigger_context, webhook = u.webhook, input = u.input, triggered_by = u.triggered_by, \
            decision_event_id = u.decision_event_id, recommendation_id = u.recommendation_id, \
            parent_run_id = u.parent_run_id, deadline_at_ms = u.deadline_at_ms FROM u \
            WHERE runs.id = u.id AND runs.tenant_id = u.tenant_id",
};
pub(in crate::store) const EMPTIED: Bulk = Bulk {
    before: "WITH u (run_id) AS (",
    after: ") DELETE FROM gathered_triggers WHERE run_id IN (SELECT run_id FROM u)",
};

/// What a run gains by the triggers of a batch.
#[derive(Default)]
struct Gain {
    count: i64,
    bytes: i64,
    no: i64,
    at_ms: i64,
    is_last_alone: bool,
}

/// Keeps the triggers that join runs, and counts them. One whose run gathers no more is not found.
pub(super) async fn join(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let joins: Vec<(usize, &GatherWrite)> = batch.surviving_joins().collect();
    if joins.is_empty() {
        return Ok(());
    }
    let known = gathering(batch, &joins).await?;
    let mut rows = Rows::new(5);
    for (_, join) in joins.iter().filter(|(_, join)| known.contains(&join.run.0)) {
        let brought = serde_json::to_value(&join.brought).expect("a trigger has text keys");
        rows.push([
            join.id.0.into(),
            join.tenant.0.into(),
            join.run.0.into(),
            i64::from(join.no).into(),
            Cell::Json(Some(json::text_of(&brought).into())),
        ]);
    }
    let mut kept = HashSet::new();
    for row in batch.connection.bulk(KEPT, &rows).await? {
        kept.insert(row.fields().uuid()?);
    }
    let mut gains: BTreeMap<(RunId, TenantId), Gain> = BTreeMap::new();
    for (i, join) in joins {
        if kept.contains(&join.id.0) {
            let gain = gains.entry((join.run, join.tenant)).or_default();
            gain.count += 1;
            gain.bytes += join.bytes as i64;
            gain.no = gain.no.max(join.no.into());
            gain.at_ms = gain.at_ms.max(join.at_ms);
            gain.is_last_alone = join.is_last_alone;
        } else if !known.contains(&join.run.0) {
            batch.outcomes[i] = Some(Outcome::NotFound);
            if let Some(key) = &join.idempotency {
                batch.connection.fetch(FORGOTTEN_KEY, &[join.tenant.0.into(), key.key.as_str().into()]).await?;
            }
        }
    }
    count(batch, gains).await
}

/// Which of the runs gather.
async fn gathering(batch: &mut Batch<'_, '_>, joins: &[(usize, &GatherWrite)]) -> Result<HashSet<Uuid>, Failure> {
    let wanted: HashMap<RunId, TenantId> = joins.iter().map(|(_, join)| (join.run, join.tenant)).collect();
    let mut rows = Rows::new(2);
    wanted.into_iter().for_each(|(run, tenant)| rows.push([run.0.into(), tenant.0.into()]));
    batch.connection.bulk(GATHER, &rows).await?.iter().map(|row| row.fields().uuid()).collect()
}

async fn count(batch: &mut Batch<'_, '_>, gains: BTreeMap<(RunId, TenantId), Gain>) -> Result<(), Failure> {
    let (mut counted, mut overtaken) = (Rows::new(6), Rows::new(2));
    for ((run, tenant), gain) in gains {
        let Gain { count, bytes, no, at_ms, is_last_alone } = gain;
        counted.push([run.0.into(), tenant.0.into(), count.into(), bytes.into(), no.into(), at_ms.into()]);
        if is_last_alone {
            overtaken.push([run.0.into(), no.into()]);
        }
    }
    batch.connection.bulk(COUNTED, &counted).await?;
    batch.connection.bulk(OVERTAKEN, &overtaken).await.map(drop)
}

/// What runs become that gather no more; what was kept for them goes.
pub(super) fn end(batch: &mut Batch<'_, '_>) {
    let (mut became, mut emptied) = (Rows::new(12), Rows::new(1));
    for (_, run) in batch.surviving_runs() {
        let Some(limit) = run.limit.as_deref() else { continue };
        if let Some(header) = limit.gathered.as_deref() {
            became.push(row(run, header));
        }
        if ends(limit) {
            emptied.push([run.id.0.into()]);
        }
    }
    if !emptied.is_empty() {
        batch.deferred.extend([(BECAME, became), (EMPTIED, emptied)]);
    }
}

/// Whether something may be kept for the run, and is not needed any more.
fn ends(limit: &LimitWrite) -> bool {
    limit.gathered.is_some() || (limit.stage == LimitStage::Left && limit.claim.gathers.is_some())
}

fn row<'a>(run: &RunWrite, header: &RunHeader) -> [Cell<'a>; 12] {
    let json = |value: &serde_json::Value| Cell::Json((!value.is_null()).then(|| json::text_of(value).into()));
    [
        run.id.0.into(),
        run.tenant.0.into(),
        header.trigger_type.as_str().into(),
        header.trigger_source.to_string().into(),
        json(&header.trigger_context),
        json(&header.webhook),
        json(&header.input),
        header.triggered_by.to_string().into(),
        header.decision_event_id.map(|id| id.0).into(),
        header.recommendation_id.map(|id| id.0).into(),
        header.parent_run_id.map(|id| id.0).into(),
        header.deadline_at_ms.into(),
    ]
}

impl<'a> Batch<'a, '_> {
    /// The triggers among the survivors that join runs.
    pub fn surviving_joins(&self) -> impl Iterator<Item = (usize, &'a GatherWrite)> {
        self.survivors().filter_map(|(i, write)| match write {
            Write::Gather(join) => Some((i, &**join)),
            _ => None,
        })
    }
}
