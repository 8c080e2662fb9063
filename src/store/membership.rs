//! The nodes of an installation, and which of them has its partitions.
//!
//! Time is the database's own. What a node asks most often, its renewal, changes one row that no commit locks, and goes over
//! the session that also has the claim on the database, so that busy connections never hold it up.
//!
//! A takeover is one transaction: one taker at a time; the taker's own lease; dead nodes are crossed out, which waits for a
//! renewal under way and lets no later one through; then the partitions, which waits for the commits that hold them. What a
//! stopped process holds PostgreSQL frees after `store.idle_limit_ms`.

use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use core314_actors::ports::membership::{Membership, NewNode, StoredLease, StoredNode, Taking};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::ids::RowId;

use super::cell::{Cell, Fields, Rows};
use super::connection::{Bulk, Connection};
use super::failure::Failure;
use super::{SqlStore, postgres};

/// Only one node takes partitions at a time, also when there are none yet. The number is arbitrary and ours.
const TAKING_TURN: &str = "SELECT pg_advisory_xact_lock(3140001)::text";
/// Not the transaction's beginning: it may have waited since.
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const LAST_EPOCH: &str = "SELECT coalesce(max(epoch), 0) FROM partition_leases";
const LAST_PARTITION: &str = "SELECT coalesce(max(partition), -1) FROM partition_leases";
const TAKE: Bulk = Bulk {
    before: "INSERT INTO partition_leases (partition, node_id, epoch, taken_at_ms) ",
    after: " ON CONFLICT (partition) DO UPDATE SET node_id = excluded.node_id, epoch = excluded.epoch, \
            taken_at_ms = excluded.taken_at_ms",
};
const JOIN: &str = "INSERT INTO nodes (id, name, version, environment, started_at_ms, seen_at_ms, expires_at_ms) \
    VALUES ($1, $2, $3, $4, $5, $5, $6)";
const LEAVE: &str = "UPDATE nodes SET left_at_ms = $1 WHERE id = $2 AND left_at_ms IS NULL";
const CROSS_OUT_OTHERS: &str = "UPDATE nodes SET left_at_ms = $1 WHERE id <> $2 AND left_at_ms IS NULL";
/// Without an end was who had the database to itself: whoever shares it knows that no such process lives.
const CROSS_OUT_DEAD: &str = "UPDATE nodes SET left_at_ms = $1 WHERE left_at_ms IS NULL \
    AND (expires_at_ms IS NULL OR expires_at_ms <= $1)";
const LIVING: &str = "SELECT id FROM nodes WHERE left_at_ms IS NULL AND expires_at_ms > $1";
const FORGET: &str = "DELETE FROM nodes WHERE coalesce(left_at_ms, expires_at_ms) < $1";
const RENEW: &str =
    "UPDATE nodes SET seen_at_ms = $2, expires_at_ms = $3 WHERE id = $1 AND left_at_ms IS NULL RETURNING id";
/// In one round trip. The clock is read again where the row was changed while its lock was waited for: a lease counts from when
/// it was renewed, and not from when that was asked for.
const RENEW_POSTGRES: &str = "UPDATE nodes SET seen_at_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint, \
    expires_at_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $2 \
    WHERE id = $1 AND left_at_ms IS NULL RETURNING id";
const STAYS: &str = "SELECT id FROM nodes WHERE id = $1 AND left_at_ms IS NULL";
const HOLDER: &str = "SELECT n.id FROM partition_leases l JOIN nodes n ON n.id = l.node_id WHERE n.id <> $1 \
    AND n.left_at_ms IS NULL AND n.expires_at_ms > $2 ORDER BY l.partition LIMIT 1";
/// Of a node that has them all.
const OWN_EPOCH: &str = "SELECT max(epoch) FROM partition_leases WHERE node_id = $1 HAVING count(*) >= $2 \
    AND count(*) = (SELECT count(*) FROM partition_leases)";
const LIVE: &str = "SELECT n.id, n.name, n.version, n.environment, n.started_at_ms, n.seen_at_ms, \
    (SELECT count(*) FROM partition_leases l WHERE l.node_id = n.id), \
    (SELECT max(l.epoch) FROM partition_leases l WHERE l.node_id = n.id) FROM nodes n \
    WHERE n.left_at_ms IS NULL AND (n.expires_at_ms IS NULL OR n.expires_at_ms > $1) ORDER BY n.started_at_ms, n.id";
const LEASES: &str = "SELECT l.partition, l.node_id, l.epoch, l.taken_at_ms, n.expires_at_ms FROM partition_leases l \
    LEFT JOIN nodes n ON n.id = l.node_id AND n.left_at_ms IS NULL ORDER BY l.partition";

/// How long a node's row is kept after its end, for whoever looks into the table.
const KEPT: Duration = Duration::from_hours(7 * 24);

impl Membership for SqlStore {
    fn take_partitions(&self, node: RowId, partitions: u16, now_ms: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move { Ok(take_partitions(self, node, partitions, now_ms).await?) })
    }

    fn join(&self, node: NewNode) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(join(self, &node).await?) })
    }

    fn renew(&self, node: RowId, lease_ms: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(renew(self, node, lease_ms).await?) })
    }

    fn take_free(&self, node: RowId, partitions: u16, lease_ms: i64) -> BoxFuture<'_, Result<Taking, StoreError>> {
        Box::pin(async move { Ok(take_free(self, node, partitions, lease_ms).await?) })
    }

    fn leave(&self, node: RowId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(leave(self, node).await?) })
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<StoredNode>, StoreError>> {
        Box::pin(async move { Ok(nodes(self).await?) })
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<StoredLease>, StoreError>> {
        Box::pin(async move { Ok(leases(self).await?) })
    }
}

/// The database's clock. SQLite has that of this machine, which is the only one that has the file.
async fn now_ms(connection: &mut Connection) -> Result<i64, Failure> {
    if !connection.is_postgres() {
        return Ok(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64));
    }
    let rows = connection.fetch(NOW, &[]).await?;
    rows.first().ok_or_else(|| Failure::Corrupt("the database has no clock".to_owned()))?.fields().int()
}

async fn take_partitions(store: &SqlStore, node: RowId, partitions: u16, now_ms: i64) -> Result<i64, Failure> {
    let mut connection = store.writers()?.lend().await?;
    connection.begin_write().await?;
    if connection.is_postgres() {
        connection.fetch(TAKING_TURN, &[]).await?;
    }
    connection.fetch(CROSS_OUT_OTHERS, &[now_ms.into(), node.0.into()]).await?;
    let epoch = next_epoch(&mut connection).await?;
    give(&mut connection, (node, epoch), partitions, now_ms).await?;
    connection.commit().await?;
    connection.give_back();
    store.heads().forget();
    // Nobody else can have it: what no partition fences needs no proof.
    store.epoch.store(0, Ordering::Release);
    Ok(epoch)
}

/// The epoch after the last one.
async fn next_epoch(connection: &mut Connection) -> Result<i64, Failure> {
    let last = connection.fetch(LAST_EPOCH, &[]).await?.first().map_or(Ok(0), |row| row.fields().int())?;
    Ok(last + 1)
}

/// Refuses a number that leaves partitions without an owner. Nodes that were told different numbers find it here.
async fn refuse_fewer(connection: &mut Connection, partitions: u16) -> Result<(), Failure> {
    let rows = connection.fetch(LAST_PARTITION, &[]).await?;
    let there = 1 + rows.first().map_or(Ok(-1), |row| row.fields().int())?;
    if there <= i64::from(partitions) {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "the installation has {there} partitions and `engine.partitions` is {partitions}: what is in the others would stand \
         still, so set it to {there}, on every node"
    )))
}

/// Gives the partitions to a node: all that there are. Waits for the commits that hold them.
async fn give(
    connection: &mut Connection,
    (node, epoch): (RowId, i64),
    partitions: u16,
    now_ms: i64,
) -> Result<(), Failure> {
    refuse_fewer(connection, partitions).await?;
    let mut rows = Rows::new(4);
    for partition in 0..partitions {
        rows.push([partition.into(), node.0.into(), epoch.into(), now_ms.into()]);
    }
    connection.bulk(TAKE, &rows).await.map(drop)
}

async fn join(store: &SqlStore, node: &NewNode) -> Result<(), Failure> {
    let mut connection = store.writers()?.lend().await?;
    connection.begin_write().await?;
    let now_ms = now_ms(&mut connection).await?;
    connection.fetch(FORGET, &[(now_ms - KEPT.as_millis() as i64).into()]).await?;
    let live = connection.fetch(LIVING, &[now_ms.into()]).await?;
    let live: Vec<RowId> = live.iter().map(|row| row.fields().uuid().map(RowId)).collect::<Result<_, _>>()?;
    if live.iter().all(|id| node.predecessors.contains(id)) {
        for predecessor in &node.predecessors {
            connection.fetch(LEAVE, &[now_ms.into(), predecessor.0.into()]).await?;
        }
    }
    let cells = [
        node.id.0.into(),
        node.name.as_str().into(),
        node.version.as_str().into(),
        node.environment.as_str().into(),
        now_ms.into(),
        Cell::Int(node.lease_ms.map(|lease_ms| now_ms + lease_ms)),
    ];
    connection.fetch(JOIN, &cells).await?;
    connection.commit().await?;
    connection.give_back();
    Ok(())
}

async fn renew(store: &SqlStore, node: RowId, lease_ms: i64) -> Result<bool, Failure> {
    let Some(session) = &store.claim else {
        let mut connection = store.writers()?.lend().await?;
        connection.begin_write().await?;
        let is_renewed = lengthen(&mut connection, node, lease_ms).await?.is_some();
        connection.commit().await?;
        connection.give_back();
        return Ok(is_renewed);
    };
    let mut place = session.lock().await;
    // Taken out: a session on which something went wrong, or whose answer nobody waited for, is not used again.
    let known = place.take();
    let claimed = match known {
        Some(_) => known,
        None => postgres::try_claim(&store.connector, store.claims).await?,
    };
    let Some(mut connection) = claimed else {
        tracing::error!("somebody has the database alone since this node lost its claim on it");
        return Ok(false);
    };
    let rows = connection.fetch(RENEW_POSTGRES, &[node.0.into(), lease_ms.into()]).await?;
    *place = Some(connection);
    Ok(!rows.is_empty())
}

/// Lengthens a node's lease, and gives the time from which on. `None`: it was crossed out.
async fn lengthen(connection: &mut Connection, node: RowId, lease_ms: i64) -> Result<Option<i64>, Failure> {
    let now_ms = now_ms(connection).await?;
    let cells = [node.0.into(), now_ms.into(), (now_ms + lease_ms).into()];
    let found = connection.fetch(RENEW, &cells).await?;
    Ok((!found.is_empty()).then_some(now_ms))
}

async fn take_free(store: &SqlStore, node: RowId, partitions: u16, lease_ms: i64) -> Result<Taking, Failure> {
    let mut reader = store.read(Scope::Platform).await?;
    let now_ms = now_ms(&mut reader).await?;
    // Not only when it is this node's turn: a person is to hear of it at the start.
    refuse_fewer(&mut reader, partitions).await?;
    // Looking costs nobody anything: a standby does it all the time.
    if reader.fetch(STAYS, &[node.0.into()]).await?.is_empty() {
        return Ok(Taking::Gone);
    }
    if let Some(holder) = holder(&mut reader, node, now_ms).await? {
        return Ok(Taking::Held(holder));
    }
    drop(reader);
    let mut connection = store.writers()?.lend().await?;
    connection.begin_write().await?;
    if connection.is_postgres() {
        connection.fetch(TAKING_TURN, &[]).await?;
    }
    let Some(now_ms) = lengthen(&mut connection, node, lease_ms).await? else {
        connection.rollback().await?;
        connection.give_back();
        return Ok(Taking::Gone);
    };
    connection.fetch(CROSS_OUT_DEAD, &[now_ms.into()]).await?;
    let own = connection.fetch(OWN_EPOCH, &[node.0.into(), partitions.into()]).await?;
    let taking = if let Some(row) = own.first() {
        // Its answer was late, and was asked for again: nobody was there in between, as nobody comes back who was crossed out.
        Taking::Taken { epoch: row.fields().int()? }
    } else if let Some(holder) = holder(&mut connection, node, now_ms).await? {
        Taking::Held(holder)
    } else {
        // The time in it keeps apart what a replica that became the primary had not heard of.
        let epoch = next_epoch(&mut connection).await?.max(now_ms);
        give(&mut connection, (node, epoch), partitions, now_ms).await?;
        Taking::Taken { epoch }
    };
    connection.commit().await?;
    connection.give_back();
    if let Taking::Taken { epoch } = taking {
        store.heads().forget();
        // One that nobody waited for any more may come after a later one.
        store.epoch.fetch_max(epoch, Ordering::AcqRel);
    }
    Ok(taking)
}

/// Another live node that has a partition.
async fn holder(connection: &mut Connection, node: RowId, now_ms: i64) -> Result<Option<RowId>, Failure> {
    let found = connection.fetch(HOLDER, &[node.0.into(), now_ms.into()]).await?;
    found.first().map(|row| row.fields().uuid().map(RowId)).transpose()
}

async fn leave(store: &SqlStore, node: RowId) -> Result<(), Failure> {
    let mut connection = store.writers()?.lend().await?;
    connection.begin_write().await?;
    let now_ms = now_ms(&mut connection).await?;
    connection.fetch(LEAVE, &[now_ms.into(), node.0.into()]).await?;
    connection.commit().await?;
    connection.give_back();
    Ok(())
}

async fn nodes(store: &SqlStore) -> Result<Vec<StoredNode>, Failure> {
    let mut connection = store.read(Scope::Platform).await?;
    let now_ms = now_ms(&mut connection).await?;
    let rows = connection.fetch(LIVE, &[now_ms.into()]).await?;
    rows.iter().map(|row| node(row.fields())).collect()
}

fn node(mut fields: Fields<'_>) -> Result<StoredNode, Failure> {
    Ok(StoredNode {
        id: RowId(fields.uuid()?),
        name: fields.text()?,
        version: fields.text()?,
        environment: fields.text()?,
        started_at_ms: fields.int()?,
        seen_at_ms: fields.int()?,
        partitions: fields.int()?,
        epoch: fields.maybe_int()?,
    })
}

async fn leases(store: &SqlStore) -> Result<Vec<StoredLease>, Failure> {
    let rows = store.read(Scope::Platform).await?.fetch(LEASES, &[]).await?;
    rows.iter().map(|row| lease(row.fields())).collect()
}

fn lease(mut fields: Fields<'_>) -> Result<StoredLease, Failure> {
    Ok(StoredLease {
        partition: fields.small()?,
        node: RowId(fields.uuid()?),
        epoch: fields.int()?,
        taken_at_ms: fields.int()?,
        expires_at_ms: fields.maybe_int()?,
    })
}
