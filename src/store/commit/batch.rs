//! A batch inside its transaction: its writes, and what has become of each so far.

use std::collections::{BTreeMap, BTreeSet};

use core314_actors::ports::store::{Outcome, RunWrite, Write};

use super::{
    connections, definitions, effects, escalations, events, gather, history, keys, limits, people, reuse, rollouts,
    runs, schedules, settlements, signals, statistics, transitions, webhooks,
};
use crate::store::cell::Rows;
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::heads::{Appender, Heads};

/// The writes of one transaction.
pub(super) struct Batch<'a, 'c> {
    pub writes: &'a [&'a Write],
    /// `None` for those that survived every check so far.
    pub outcomes: Vec<Option<Outcome>>,
    pub connection: &'c mut Connection,
    /// What is taken for granted: found or changed row by row in that same statement, or the transaction is given up and tried
    /// again with care. Each answers with its rows.
    pub granted: Vec<(Bulk, Rows<'a>)>,
    /// The epoch by which a batch that concerns no partition proves that its node was not replaced; absent: it need not.
    proof: Option<i64>,
    /// Rows that nothing else in the batch asks for: written last, together.
    pub deferred: Vec<(Bulk, Rows<'a>)>,
}

impl<'a, 'c> Batch<'a, 'c> {
    pub fn new(writes: &'a [&'a Write], connection: &'c mut Connection, proof: Option<i64>) -> Self {
        let (outcomes, granted, deferred) = (vec![None; writes.len()], Vec::new(), Vec::new());
        Self { writes, outcomes, connection, granted, proof, deferred }
    }

    /// Does everything between BEGIN and COMMIT. `fresh` distrusts the chains' ends in memory, and takes nothing else for granted
    /// either; JSON of the log that is longer than `inline_bytes` goes into blobs.
    pub async fn run(
        mut self,
        heads: &Heads,
        fresh: bool,
        inline_bytes: usize,
    ) -> Result<(Vec<Outcome>, Appender), Failure> {
        // On PostgreSQL each look is a round trip, and finds hardly ever what was not expected.
        let careful = fresh || !self.connection.is_postgres();
        events::hold(&mut self).await?;
        self.fence(careful).await?;
        statistics::cover(&mut self, careful).await?;
        runs::claim_keys(&mut self).await?;
        runs::claim_names(&mut self).await?;
        schedules::fire(&mut self).await?;
        gather::join(&mut self).await?;
        runs::accept(&mut self);
        runs::advance(&mut self, careful).await?;
        definitions::flows(&mut self).await?;
        rollouts::rollouts(&mut self).await?;
        webhooks::webhooks(&mut self).await?;
        webhooks::deliveries(&mut self).await?;
        settlements::settle(&mut self).await?;
        schedules::change(&mut self).await?;
        keys::keys(&mut self).await?;
        connections::connections(&mut self).await?;
        signals::signals(&mut self).await?;
        escalations::escalations(&mut self, careful).await?;
        people::people(&mut self).await?;
        statistics::add(&mut self).await?;
        effects::counters(&mut self);
        rollouts::counters(&mut self);
        effects::dead_letters(&mut self);
        runs::free_names(&mut self);
        signals::ends(&mut self);
        escalations::failures(&mut self);
        reuse::outcomes(&mut self);
        transitions::phases(&mut self);
        transitions::cached(&mut self);
        limits::claims(&mut self).await?;
        gather::end(&mut self);
        let (appender, last_seqs) = history::append(&mut self, heads, fresh, inline_bytes).await?;
        let is_last = !self.surviving_runs().any(|(_, run)| !(run.approvals.is_empty() && run.waits.is_empty()));
        self.connection.together(&self.granted, &self.deferred, is_last).await?;
        effects::approvals(&mut self).await?;
        events::waits(&mut self).await?;
        let outcomes = self.outcomes.into_iter().zip(last_seqs);
        let outcomes = outcomes.map(|(fate, log_seq)| fate.unwrap_or(Outcome::Committed { log_seq }));
        Ok((outcomes.collect(), appender))
    }

    /// The writes that survived so far, with their places in the batch.
    pub fn survivors(&self) -> impl Iterator<Item = (usize, &'a Write)> + use<'a, '_, 'c> {
        self.writes
            .iter()
            .zip(&self.outcomes)
            .enumerate()
            .filter(|(_, (_, fate))| fate.is_none())
            .map(|(i, (w, _))| (i, *w))
    }

    /// The changes of runs among them.
    pub fn surviving_runs(&self) -> impl Iterator<Item = (usize, &'a RunWrite)> + use<'a, '_, 'c> {
        self.survivors().filter_map(|(i, write)| match write {
            Write::Run(run) => Some((i, &**run)),
            _ => None,
        })
    }

    /// Drops the writes of partitions that belong to somebody else by now, and holds the others until the commit: on
    /// PostgreSQL a takeover waits for it. Without care it is taken for granted that none does; what holds a partition when
    /// the transaction ends is what counts, not when it began to. A takeover takes all partitions, so that any of them speaks
    /// for its node, and for what concerns none: where no write concerns one, the first does.
    async fn fence(&mut self, careful: bool) -> Result<(), Failure> {
        let claims: Vec<(usize, u16, i64)> = self
            .survivors()
            .filter_map(|(i, write)| match write {
                Write::Run(run) => Some((i, run.partition, run.epoch)),
                Write::Gather(join) => Some((i, join.partition, join.epoch)),
                Write::Statistics(statistics) => Some((i, statistics.partition, statistics.epoch)),
                _ => None,
            })
            .collect();
        if !careful {
            let mut leases: BTreeSet<_> = claims.iter().map(|(_, partition, epoch)| (*partition, *epoch)).collect();
            if let Some(own) = self.proof.filter(|_| leases.is_empty()) {
                leases.insert((FIRST_PARTITION, own));
            }
            let mut rows = Rows::new(2);
            for (partition, epoch) in leases {
                rows.push([partition.into(), epoch.into()]);
            }
            self.granted.push((LEASES_GRANTED, rows));
            return Ok(());
        }
        let mut partitions: BTreeSet<u16> = claims.iter().map(|(_, partition, _)| *partition).collect();
        if self.proof.is_some() && partitions.is_empty() {
            partitions.insert(FIRST_PARTITION);
        }
        let mut rows = Rows::new(1);
        for partition in partitions {
            rows.push([partition.into()]);
        }
        let leases = if self.connection.is_postgres() { LEASES_HELD } else { LEASES };
        let mut epochs: BTreeMap<u16, i64> = BTreeMap::new();
        for row in self.connection.bulk(leases, &rows).await? {
            let mut fields = row.fields();
            epochs.insert(fields.small()?, fields.int()?);
        }
        for (i, partition, epoch) in claims {
            if epochs.get(&partition) != Some(&epoch) {
                self.outcomes[i] = Some(Outcome::Fenced);
            }
        }
        if self.proof.is_some_and(|own| epochs.values().all(|epoch| *epoch != own)) {
            self.outcomes.fill(Some(Outcome::Fenced));
        }
        Ok(())
    }
}

/// Holds the node's partitions until the end of the transaction, for what is written beside batches; fails where another node
/// has them.
pub(in crate::store) async fn prove(connection: &mut Connection, epoch: i64) -> Result<(), Failure> {
    let leases = if connection.is_postgres() { LEASES_HELD } else { LEASES };
    let mut rows = Rows::new(1);
    rows.push([FIRST_PARTITION.into()]);
    let found = connection.bulk(leases, &rows).await?;
    let held = found.first().map(|row| {
        let mut fields = row.fields();
        fields.small::<u16>().and_then(|_| fields.int())
    });
    if held.transpose()? == Some(epoch) {
        return Ok(());
    }
    Err(Failure::Unavailable("another node has taken this one's partitions".to_owned()))
}

/// There always is one.
const FIRST_PARTITION: u16 = 0;

/// In order of partition, so that two batches never wait for each other in a circle.
pub(in crate::store) const LEASES_HELD: Bulk = Bulk {
    before: "WITH u (partition) AS (",
    after: ") SELECT l.partition, l.epoch FROM u JOIN partition_leases l ON l.partition = u.partition \
            ORDER BY l.partition FOR SHARE OF l",
};
/// The same, of those alone that are as they are thought to be.
pub(in crate::store) const LEASES_GRANTED: Bulk = Bulk {
    before: "WITH u (partition, epoch) AS (",
    after: ") SELECT l.partition FROM u JOIN partition_leases l ON l.partition = u.partition AND l.epoch = u.epoch \
            ORDER BY l.partition FOR SHARE OF l",
};
pub(in crate::store) const LEASES: Bulk = Bulk {
    before: "WITH u (partition) AS (",
    after: ") SELECT l.partition, l.epoch FROM u JOIN partition_leases l ON l.partition = u.partition",
};
