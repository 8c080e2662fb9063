//! Proving the append-only tables: every row, every chain, every checkpoint.
//!
//! Two walks in one snapshot, each in pages. The first goes through a table in the order of ids, which is that of every
//! chain in it, and recomputes each row's hash from its columns and the hash before it. The second goes through the
//! checkpoints, whose ranges must tile the chains from the first row to the end, and recomputes their trees. Memory
//! holds one end a chain and one page, whatever the size of the history.
//!
//! After a finding the walk goes on from what is stored, so that one altered row is one finding and not a million.

mod chain;
mod checkpoints;

use std::collections::{BTreeMap, BTreeSet};

use core314_actors::ports::ledger::{Finding, Ledger, LedgerReport};
use core314_actors::ports::{BoxFuture, StoreError};
use core314_domain::chain::Head;
use uuid::Uuid;

use super::SqlStore;
use super::connection::Connection;
use super::failure::Failure;
use super::heads::{self, Chain, Key};

/// More findings than this are counted by nobody.
const MOST_FINDINGS: usize = 100;

impl Ledger for SqlStore {
    fn verify(&self) -> BoxFuture<'_, Result<LedgerReport, StoreError>> {
        Box::pin(async move {
            // A connection of its own: no reader's time limit is meant for this.
            let mut connection = self.connector.connect().await?;
            connection.begin_read().await?;
            let report = verify(&mut connection).await?;
            connection.commit().await?;
            Ok(report)
        })
    }
}

/// A verification under way.
struct Proof<'c> {
    connection: &'c mut Connection,
    report: LedgerReport,
    /// How far each chain was followed.
    ends: BTreeMap<Key, Head>,
}

/// Verifies what the transaction sees that the connection is in.
pub(super) async fn verify(connection: &mut Connection) -> Result<LedgerReport, Failure> {
    let stored = heads::stored(connection).await?;
    let mut proof = Proof { connection, report: LedgerReport::default(), ends: BTreeMap::new() };
    for chain in Chain::ALL {
        chain::walk(&mut proof, chain).await?;
    }
    for (key, tip) in &stored {
        let end = proof.ends.get(key).copied().unwrap_or(Head::EMPTY);
        if end.seq < tip.head.seq {
            let message = format!("rows {} to {} are missing at the end: removed", end.seq + 1, tip.head.seq);
            proof.find(*key, end.seq + 1, None, message);
        } else if end != tip.head {
            proof.find(*key, tip.head.seq, None, "the chain does not end where chain_heads says".to_owned());
        }
    }
    for key in proof.ends.clone().keys().filter(|key| !stored.contains_key(key)) {
        proof.find(*key, 1, None, "the chain has rows and no entry in chain_heads".to_owned());
    }
    let ends = stored.iter().map(|(key, tip)| (*key, tip.head.seq)).collect();
    checkpoints::walk(&mut proof, ends).await?;
    let partitions: BTreeSet<u16> = proof.ends.keys().map(|(_, partition)| *partition).collect();
    let mut report = proof.report;
    report.partitions = partitions.len() as u64;
    Ok(report)
}

impl Proof<'_> {
    fn find(&mut self, (chain, partition): Key, seq: i64, id: Option<Uuid>, message: String) {
        self.find_in(chain.as_str(), partition, seq, id, message);
    }

    fn find_in(&mut self, table: &'static str, partition: u16, seq: i64, id: Option<Uuid>, message: String) {
        if self.report.findings.len() < MOST_FINDINGS {
            self.report.findings.push(Finding { table, partition, seq, id: id.map(|id| id.to_string()), message });
        }
    }
}
