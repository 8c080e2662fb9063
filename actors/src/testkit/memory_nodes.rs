//! Nodes in memory, by the store's own clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use core314_domain::ids::RowId;

use super::memory_store::{MemoryStore, Rows, ready};
use crate::clock::{Clock, SystemClock};
use crate::ports::membership::{Membership, NewNode, StoredLease, StoredNode, Taking};
use crate::ports::{BoxFuture, StoreError};

/// The nodes that were not crossed out, and who has the partitions.
#[derive(Default, Clone)]
pub(super) struct Members {
    /// With the end of its lease; absent: it needs no renewal.
    nodes: BTreeMap<RowId, (NewNode, Option<i64>)>,
    holder: Option<RowId>,
    partitions: u16,
    hangs: bool,
}

/// By which leases run out.
pub(super) struct LeaseClock(pub Arc<dyn Clock>);

impl Default for LeaseClock {
    fn default() -> Self {
        Self(Arc::new(SystemClock::default()))
    }
}

impl MemoryStore {
    fn lease_now_ms(&self) -> i64 {
        self.lease_clock.0.now_ms()
    }

    /// From now on nobody who asks for partitions gets an answer.
    pub fn hang(&self) {
        self.rows().members.hangs = true;
    }
}

impl Members {
    fn lives(&self, node: RowId, now_ms: i64) -> bool {
        self.nodes.get(&node).is_some_and(|(_, until)| until.is_none_or(|until| until > now_ms))
    }

    fn renew(&mut self, node: RowId, until_ms: i64) -> bool {
        let found = self.nodes.get_mut(&node);
        found.map(|(_, until)| *until = Some(until_ms)).is_some()
    }
}

impl Rows {
    fn refuse_fewer(&self, partitions: u16) -> Result<(), StoreError> {
        let is_refused = partitions < self.members.partitions;
        if is_refused { Err(StoreError::Refused("there are more partitions".to_owned())) } else { Ok(()) }
    }

    fn give(&mut self, node: RowId, partitions: u16) -> i64 {
        self.epoch += 1;
        self.members.holder = Some(node);
        self.members.partitions = self.members.partitions.max(partitions);
        self.epoch
    }
}

impl Membership for MemoryStore {
    fn take_partitions(&self, node: RowId, partitions: u16, _: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        let mut rows = self.rows();
        if let Err(refused) = rows.refuse_fewer(partitions) {
            return ready(Err(refused));
        }
        rows.members.nodes.retain(|id, _| *id == node);
        ready(Ok(rows.give(node, partitions)))
    }

    fn join(&self, node: NewNode) -> BoxFuture<'_, Result<(), StoreError>> {
        let now_ms = self.lease_now_ms();
        let members = &mut self.rows().members;
        let is_other = |id: &RowId| members.lives(*id, now_ms) && !node.predecessors.contains(id);
        if !members.nodes.keys().any(is_other) {
            members.nodes.retain(|id, _| !node.predecessors.contains(id));
        }
        let until = node.lease_ms.map(|lease_ms| now_ms + lease_ms);
        members.nodes.insert(node.id, (node, until));
        ready(Ok(()))
    }

    fn renew(&self, node: RowId, lease_ms: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        let until_ms = self.lease_now_ms() + lease_ms;
        ready(Ok(self.rows().members.renew(node, until_ms)))
    }

    fn take_free(&self, node: RowId, partitions: u16, lease_ms: i64) -> BoxFuture<'_, Result<Taking, StoreError>> {
        let now_ms = self.lease_now_ms();
        let rows = &mut *self.rows();
        if rows.members.hangs {
            return Box::pin(std::future::pending());
        }
        if let Err(refused) = rows.refuse_fewer(partitions) {
            return ready(Err(refused));
        }
        if !rows.members.renew(node, now_ms + lease_ms) {
            return ready(Ok(Taking::Gone));
        }
        rows.members.nodes.retain(|_, (_, until)| until.is_some_and(|until| until > now_ms));
        if rows.members.holder == Some(node) && rows.members.partitions >= partitions {
            return ready(Ok(Taking::Taken { epoch: rows.epoch }));
        }
        let other = rows.members.holder.filter(|holder| *holder != node && rows.members.lives(*holder, now_ms));
        ready(Ok(other.map_or_else(|| Taking::Taken { epoch: rows.give(node, partitions) }, Taking::Held)))
    }

    fn leave(&self, node: RowId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.rows().members.nodes.remove(&node);
        ready(Ok(()))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<StoredNode>, StoreError>> {
        let now_ms = self.lease_now_ms();
        let rows = self.rows();
        let (members, epoch) = (&rows.members, rows.epoch);
        let live = members.nodes.values().filter(|(node, _)| members.lives(node.id, now_ms));
        let stored = live.map(|(node, _)| {
            let holds = members.holder == Some(node.id);
            StoredNode {
                id: node.id,
                name: node.name.clone(),
                version: node.version.clone(),
                environment: node.environment.clone(),
                started_at_ms: 0,
                seen_at_ms: 0,
                partitions: if holds { members.partitions.into() } else { 0 },
                epoch: holds.then_some(epoch),
            }
        });
        ready(Ok(stored.collect()))
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<StoredLease>, StoreError>> {
        let rows = self.rows();
        let lease =
            |node, partition| StoredLease { partition, node, epoch: rows.epoch, taken_at_ms: 0, expires_at_ms: None };
        let held = rows.members.holder.map(|node| (0..rows.members.partitions).map(move |n| (node, n)));
        ready(Ok(held.into_iter().flatten().map(|(node, n)| lease(node, n)).collect()))
    }
}
