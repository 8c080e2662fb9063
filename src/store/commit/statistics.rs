//! Statistics: what partitions counted, added to the rows of their tenants.
//!
//! A row per partition would be sixty-four rows for every hour that a reader sums up. So a row takes what many partitions
//! counted: on SQLite all of them, on PostgreSQL one of [`STRIPES`], so that concurrent commits seldom wait for each other.
//! A sketch cannot be added to in SQL: rows are held, read, added to and written. `statistics.partition` is the number of
//! the stripe; rows that an older release wrote have their partition's there, and count like any others.
//!
//! What is asked over all tenants would be a row for every tenant, hour and type of action. So everything is counted twice:
//! for its tenant, and for the platform.
//!
//! How someone could get this wrong: to read a row without holding it, to hold rows in another order than everybody, or to note
//! what is covered before the leases are held.

use std::collections::BTreeMap;

use core314_actors::ports::store::{StatisticsWrite, Write};
use core314_domain::ids::{Owner, TenantId};
use core314_domain::stats::{Sketch, Stat, StatKey};

use super::batch::Batch;
use crate::store::cell::{Fields, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;

/// Into how many rows PostgreSQL spreads what would be one.
const STRIPES: i64 = 4;

/// Rows to add to: of two transactions that make the same one, the second waits for the first.
const EMPTY: Bulk = Bulk {
    before: "INSERT INTO statistics (partition, tenant_id, action_type, bucket_width_ms, bucket_start_ms, executions, \
             successful, failed, attempts, duration_sum_ms, sketch) ",
    after: " ON CONFLICT (tenant_id, bucket_width_ms, bucket_start_ms, action_type, partition) DO NOTHING",
};
macro_rules! stored {
    ($held:literal) => {
        Bulk {
            before: "WITH u (partition, tenant_id, action_type, bucket_width_ms, bucket_start_ms) AS (",
            after: concat!(
                ") SELECT t.partition, t.tenant_id, t.action_type, t.bucket_width_ms, t.bucket_start_ms, \
                 t.executions, t.successful, t.failed, t.attempts, t.duration_sum_ms, t.sketch \
                 FROM u CROSS JOIN statistics t \
                 WHERE t.tenant_id = u.tenant_id AND t.bucket_width_ms = u.bucket_width_ms \
                 AND t.bucket_start_ms = u.bucket_start_ms AND t.action_type = u.action_type \
                 AND t.partition = u.partition",
                $held
            ),
        }
    };
}
/// SQLite has one writer: what it reads stays.
pub(in crate::store) const STORED: Bulk = stored!("");
/// Held until the commit, in the order of the keys.
pub(in crate::store) const HELD: Bulk = stored!(" FOR UPDATE OF t");
const SUMS: Bulk = Bulk {
    before: EMPTY.before,
    after: " ON CONFLICT (tenant_id, bucket_width_ms, bucket_start_ms, action_type, partition) DO UPDATE SET \
            executions = excluded.executions, successful = excluded.successful, failed = excluded.failed, \
            attempts = excluded.attempts, duration_sum_ms = excluded.duration_sum_ms, sketch = excluded.sketch",
};
pub(in crate::store) const COVERED: Bulk = Bulk {
    before: "WITH u (partition, epoch, seq) AS (",
    after: ") UPDATE partition_leases SET covered_seq = u.seq FROM u WHERE partition_leases.partition = u.partition \
            AND partition_leases.epoch = u.epoch RETURNING partition_leases.partition",
};
/// The same on PostgreSQL. The leases are held already, or are by this very statement, and others may hold them, too: their rows
/// are taken for oneself in order of partition, as everybody takes them, and not in the order in which a plan changes
/// them. So no takeover and no other lane waits for it in a circle.
pub(in crate::store) const COVERED_HELD: Bulk = Bulk {
    before: "WITH u (partition, epoch, seq) AS (",
    after: "), held AS MATERIALIZED (SELECT l.partition, u.seq FROM u JOIN partition_leases l ON l.partition = u.partition \
            AND l.epoch = u.epoch ORDER BY l.partition FOR NO KEY UPDATE OF l) \
            UPDATE partition_leases SET covered_seq = held.seq FROM held \
            WHERE partition_leases.partition = held.partition RETURNING partition_leases.partition",
};

/// A row's key and its stripe, in the order in which rows are held.
type Place = (StatKey, i64);

/// Notes the positions that the batch's statistics cover: right after its leases are held, be it in the same statement, and before
/// ends of chains and whatever else comes after them. Another lane that has some of these leases may wait for any of that.
pub(super) async fn cover(batch: &mut Batch<'_, '_>, careful: bool) -> Result<(), Failure> {
    // A partition that counted twice covers what it said last.
    let last: BTreeMap<u16, &StatisticsWrite> = counted(batch).map(|write| (write.partition, write)).collect();
    let mut covered = Rows::new(3);
    for (partition, write) in last {
        covered.push([partition.into(), write.epoch.into(), write.covered_seq.into()]);
    }
    let sql = if batch.connection.is_postgres() { COVERED_HELD } else { COVERED };
    if careful {
        return batch.connection.bulk(sql, &covered).await.map(drop);
    }
    batch.granted.push((sql, covered));
    Ok(())
}

fn counted<'a>(batch: &Batch<'a, '_>) -> impl Iterator<Item = &'a StatisticsWrite> {
    batch.survivors().filter_map(|(_, write)| match write {
        Write::Statistics(statistics) => Some(&**statistics),
        _ => None,
    })
}

/// Adds what the batch counted.
pub(super) async fn add(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let stripes = if batch.connection.is_postgres() { STRIPES } else { 1 };
    let mut sums: BTreeMap<Place, Stat> = BTreeMap::new();
    for write in counted(batch) {
        let stripe = i64::from(write.partition) % stripes;
        for (key, stat) in &write.rows {
            let of_all = StatKey { tenant: Owner::platform().tenant, ..key.clone() };
            sums.entry((of_all, stripe)).or_default().merge(stat);
            if key.tenant != Owner::platform().tenant {
                sums.entry((key.clone(), stripe)).or_default().merge(stat);
            }
        }
    }
    if !sums.is_empty() {
        for (place, stat) in stored(batch.connection, &sums).await? {
            sums.entry(place).or_default().merge(&stat);
        }
        batch.connection.bulk(SUMS, &rows(sums.iter())).await?;
    }
    Ok(())
}

/// What is stored for these keys, held until the commit.
async fn stored(connection: &mut Connection, sums: &BTreeMap<Place, Stat>) -> Result<Vec<(Place, Stat)>, Failure> {
    let mut keys = Rows::new(5);
    for (key, stripe) in sums.keys() {
        keys.push([
            (*stripe).into(),
            key.tenant.0.into(),
            key.action_type.as_str().into(),
            key.bucket_width_ms.into(),
            key.bucket_start_ms.into(),
        ]);
    }
    let found = if connection.is_postgres() {
        let empty = Stat::default();
        connection.bulk(EMPTY, &rows(sums.keys().map(|place| (place, &empty)))).await?;
        connection.bulk(HELD, &keys).await?
    } else {
        connection.bulk(STORED, &keys).await?
    };
    found.iter().map(|row| read(&mut row.fields())).collect()
}

fn rows<'a>(stats: impl Iterator<Item = (&'a Place, &'a Stat)>) -> Rows<'a> {
    let mut rows = Rows::new(11);
    for ((key, stripe), stat) in stats {
        rows.push([
            (*stripe).into(),
            key.tenant.0.into(),
            key.action_type.as_str().into(),
            key.bucket_width_ms.into(),
            key.bucket_start_ms.into(),
            stat.executions.into(),
            stat.successful.into(),
            stat.failed.into(),
            stat.attempts.into(),
            stat.duration_sum_ms.into(),
            stat.sketch.packed().into(),
        ]);
    }
    rows
}

fn read(f: &mut Fields<'_>) -> Result<(Place, Stat), Failure> {
    let stripe = f.int()?;
    let key = StatKey {
        tenant: TenantId(f.uuid()?),
        action_type: f.text()?,
        bucket_width_ms: f.int()?,
        bucket_start_ms: f.int()?,
    };
    let stat = Stat {
        executions: f.int()?,
        successful: f.int()?,
        failed: f.int()?,
        attempts: f.int()?,
        duration_sum_ms: f.int()?,
        sketch: Sketch::stored(&f.text()?)
            .map_err(|e| Failure::Corrupt(format!("a sketch of statistics cannot be read: {e}")))?,
    };
    Ok(((key, stripe), stat))
}
