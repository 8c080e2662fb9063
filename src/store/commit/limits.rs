//! What runs claim of the limits of their flows, in the very commits that start and end them.

use std::collections::{BTreeMap, BTreeSet};

use core314_actors::ports::store::{LimitStage, LimitWrite, RunWrite};

use super::batch::Batch;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::Bulk;
use crate::store::failure::Failure;
use crate::store::json;

const CLAIMS: Bulk = Bulk {
    before: "INSERT INTO run_limits (run_id, tenant_id, partition, flow_id, holds, since_ms, claim, gathered, \
             gathered_bytes, gathered_no, gathered_at_ms) ",
    after: " ON CONFLICT (run_id) DO UPDATE SET holds = excluded.holds, since_ms = excluded.since_ms, \
            claim = excluded.claim, gathered = excluded.gathered, gathered_bytes = excluded.gathered_bytes, \
            gathered_no = excluded.gathered_no, gathered_at_ms = excluded.gathered_at_ms",
};
pub(in crate::store) const LEFT: Bulk =
    Bulk { before: "WITH u (run_id) AS (", after: ") DELETE FROM run_limits WHERE run_id IN (SELECT run_id FROM u)" };
const BUCKETS: Bulk = Bulk {
    before: "INSERT INTO limit_buckets (flow_id, limit_key, tenant_id, partition, full_at_us) ",
    after: " ON CONFLICT (flow_id, limit_key) DO UPDATE SET partition = excluded.partition, \
            full_at_us = excluded.full_at_us",
};
/// Buckets that are full again are as good as none.
const FULL: &str = "DELETE FROM limit_buckets WHERE partition = $1 AND full_at_us < $2";

/// Writes what changed about claims and buckets.
pub(super) async fn claims(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let (mut claims, mut left) = (Rows::new(11), Rows::new(1));
    let mut buckets: BTreeMap<_, [Cell<'_>; 5]> = BTreeMap::new();
    let mut swept: BTreeMap<u16, i64> = BTreeMap::new();
    let mut ended = BTreeSet::new();
    for (_, run) in batch.surviving_runs() {
        let Some(limit) = run.limit.as_deref() else { continue };
        if limit.stage == LimitStage::Left {
            ended.insert(run.id);
        } else {
            claims.push(claim_row(run, limit));
        }
        if let (Some((key, _)), Some(bucket)) = (&limit.claim.rate, limit.bucket) {
            let flow = limit.claim.flow;
            let row =
                [flow.0.into(), (&**key).into(), run.tenant.0.into(), run.partition.into(), bucket.full_at_us.into()];
            // Of several starts in one commit the last one's bucket counts: it is the emptiest.
            let known = buckets.get(&(flow, key)).is_none_or(|known| full_at(known) < bucket.full_at_us);
            if known {
                buckets.insert((flow, key), row);
            }
            swept.insert(run.partition, limit.at_ms * 1_000);
        }
    }
    ended.into_iter().for_each(|run| left.push([run.0.into()]));
    for (partition, before_us) in swept {
        batch.connection.fetch(FULL, &[partition.into(), before_us.into()]).await?;
    }
    let mut rows = Rows::new(5);
    buckets.into_values().for_each(|row| rows.push(row));
    batch.deferred.extend([(CLAIMS, claims), (LEFT, left), (BUCKETS, rows)]);
    Ok(())
}

fn full_at(row: &[Cell<'_>; 5]) -> i64 {
    match row[4] {
        Cell::Int(Some(full_at_us)) => full_at_us,
        _ => i64::MIN,
    }
}

fn claim_row<'a>(run: &RunWrite, limit: &LimitWrite) -> [Cell<'a>; 11] {
    let progress = match limit.stage {
        LimitStage::Gathers(progress) => Some(progress),
        _ => None,
    };
    let claim = serde_json::to_value(&*limit.claim).expect("a claim has text keys");
    [
        run.id.0.into(),
        run.tenant.0.into(),
        run.partition.into(),
        limit.claim.flow.0.into(),
        (limit.stage == LimitStage::Holds).into(),
        limit.since_ms.into(),
        Cell::Json(Some(json::text_of(&claim).into())),
        progress.map(|p| i64::from(p.count)).into(),
        progress.map(|p| p.bytes as i64).into(),
        progress.map(|p| i64::from(p.last_no)).into(),
        progress.map(|p| p.last_ms).into(),
    ]
}
