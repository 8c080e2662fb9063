//! Random histories: the same seeded batches, applied to two stores, must have the same outcomes and leave the same
//! rows behind.
//!
//! The batches hold what goes right most of the time, and all that may go wrong: stale versions, repeated keys, lost
//! partitions, taken names, attempts that were logged before, two changes of one run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use core314_domain::ids::{FlowId, Owner};
use core314_domain::log::LogEntry;
use core314_domain::run::Timing;
use core314_domain::stats::{Stat, StatKey};
use rand::Rng;

use super::samples::{NOW_MS, Samples};
use super::{PARTITIONS, take};
use crate::ports::Scope;
use crate::ports::catalog::Catalog;
use crate::ports::store::{FlowWrite, Idempotency, Outcome, RunWrite, StatisticsWrite, Store, Write};

/// Applies a history to two stores, batch by batch. Panics, naming the seed, where they differ.
pub async fn compare(seed: u64, batches: usize, left: &(impl Store + Catalog), right: &(impl Store + Catalog)) {
    let mut history = History::new(seed, take(left).await);
    assert_eq!(take(right).await, history.epoch, "both stores are empty");
    for number in 0..batches {
        let batch = history.batch();
        let outcomes = left.commit(batch.clone()).await.expect("the left store answers");
        let others = right.commit(batch.clone()).await.expect("the right store answers");
        for (i, (mine, theirs)) in outcomes.iter().zip(&others).enumerate() {
            assert_eq!(told(mine), told(theirs), "seed {seed}, batch {number}, write {i}: {:?}", batch[i]);
        }
        history.learn(&batch, &outcomes);
    }
    let (left, right) = (history.read_back(left).await, history.read_back(right).await);
    for (mine, theirs) in left.lines().zip(right.lines()) {
        assert_eq!(mine, theirs, "seed {seed}");
    }
    assert_eq!(left.len(), right.len(), "seed {seed}");
}

/// An outcome without the database's own words.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Rejected { code, .. } => format!("Rejected {code:?}"),
        other => format!("{other:?}"),
    }
}

/// What the drawer of batches knows of the store.
struct History {
    samples: Samples,
    epoch: i64,
    owners: Vec<Owner>,
    /// Each run as it was accepted, and its version.
    runs: Vec<(RunWrite, i64)>,
    flows: BTreeMap<FlowId, FlowWrite>,
    keys: Vec<(Owner, Idempotency)>,
}

impl History {
    fn new(seed: u64, epoch: i64) -> Self {
        let mut samples = Samples::new(seed);
        let owners = (0..3).map(|_| samples.owner()).collect();
        Self { samples, epoch, owners, runs: Vec::new(), flows: BTreeMap::new(), keys: Vec::new() }
    }

    fn below(&mut self, end: usize) -> usize {
        self.samples.rng.random_range(0..end)
    }

    fn owner(&mut self) -> Owner {
        let place = self.below(self.owners.len());
        self.owners[place]
    }

    fn batch(&mut self) -> Vec<Write> {
        (0..=self.below(40)).map(|_| self.write()).collect()
    }

    fn write(&mut self) -> Write {
        match self.below(20) {
            0 => Write::Flow(Box::new(self.flow())),
            1 => Write::Statistics(Box::new(self.statistics())),
            2 => {
                let owner = self.owner();
                let partition = self.below(PARTITIONS.into()) as u16;
                Write::Audit(Box::new(self.samples.audit(owner, partition)))
            }
            3..=8 => Write::Run(Arc::new(self.accept())),
            _ if self.runs.is_empty() => Write::Run(Arc::new(self.accept())),
            _ => Write::Run(Arc::new(self.advance())),
        }
    }

    fn epoch(&mut self) -> i64 {
        if self.below(25) == 0 { self.epoch - 1 } else { self.epoch }
    }

    fn accept(&mut self) -> RunWrite {
        let (partition, epoch) = (self.below(PARTITIONS.into()) as u16, self.epoch());
        let mut owner = self.owner();
        let mut key = None;
        if !self.keys.is_empty() && self.below(4) == 0 {
            let known = self.below(self.keys.len());
            let (of, mut repeated) = self.keys[known].clone();
            repeated.body_hash[0] ^= u8::from(self.below(3) == 0);
            owner = of;
            key = Some(repeated);
        }
        let mut run = self.samples.accept_as(partition, epoch, owner);
        if key.is_some() {
            self.samples.set_key(&mut run, key);
        } else if self.below(2) == 0 {
            self.samples.strip(&mut run);
        }
        let json = Arc::new(self.samples.json(3));
        let accept = run.accept.as_mut().expect("a new run");
        Arc::make_mut(&mut accept.header).input = json;
        if self.below(8) == 0 {
            self.samples.accept_at(&mut run, NOW_MS + 1_000);
        }
        run
    }

    fn advance(&mut self) -> RunWrite {
        let place = self.below(self.runs.len());
        let (accepted, version) = self.runs[place].clone();
        let ends = self.below(3) == 0;
        let mut run = self.samples.finish(&accepted, 0);
        run.epoch = self.epoch();
        run.expected_version = if self.below(10) == 0 { version + 1 } else { version.max(1) };
        run.log = self.attempts(version);
        if !ends {
            run.state = accepted.state;
            run.timing = Timing { queue_key: Some(self.below(50) as i64), wake_at_ms: Some(self.below(50) as i64) };
            run.ended = None;
            run.audit.clear();
        }
        run
    }

    /// Attempts with the run's version for a number, or sometimes an older one, which was logged before.
    fn attempts(&mut self, version: i64) -> Vec<LogEntry> {
        let count = self.below(3) as u32;
        let number = if self.below(15) == 0 { version.max(2) - 1 } else { version } as u32;
        (0..count)
            .map(|step| {
                let completed = self.below(4) != 0;
                let mut entry = self.samples.attempt(step, number, completed);
                entry.payload = Arc::new(self.samples.json(3));
                entry.is_final = completed;
                entry.completed_at_ms += self.below(10_000) as i64 - 5_000;
                entry
            })
            .collect()
    }

    fn flow(&mut self) -> FlowWrite {
        let known: Vec<FlowId> = self.flows.keys().copied().collect();
        if !known.is_empty() && self.below(2) == 0 {
            let place = self.below(known.len());
            let mut flow = self.flows[&known[place]].clone();
            flow.expected_version += i64::from(self.below(6) != 0);
            flow.document.flow_name = format!("flow {}", self.below(6));
            flow.schedule = (self.below(3) != 0).then(|| super::schedules::plan(self.below(2) as i64, true));
            return flow;
        }
        let (owner, name) = (self.owner(), format!("flow {}", self.below(6)));
        self.samples.flow(owner, &name)
    }

    fn statistics(&mut self) -> StatisticsWrite {
        let (partition, epoch) = (self.below(PARTITIONS.into()) as u16, self.epoch());
        let start = self.below(3) as i64;
        let key = StatKey {
            tenant: self.owner().tenant,
            action_type: "http_request".to_owned(),
            bucket_width_ms: 300_000,
            bucket_start_ms: start * 300_000,
        };
        let mut counted = Stat::default();
        counted.record_attempt(true, true, Some(start * 3));
        StatisticsWrite { partition, epoch, rows: vec![(key, counted)], covered_seq: start }
    }

    /// Remembers what was committed.
    fn learn(&mut self, batch: &[Write], outcomes: &[Outcome]) {
        for (write, outcome) in batch.iter().zip(outcomes) {
            if !matches!(outcome, Outcome::Committed { .. }) {
                continue;
            }
            match write {
                Write::Run(run) => {
                    if let Some(accept) = &run.accept {
                        let key = accept.idempotency.clone();
                        self.keys.extend(key.map(|key| (accept.header.owner, key)));
                        self.runs.push(((**run).clone(), 1));
                    } else {
                        let known = self.runs.iter_mut().find(|(known, _)| known.id == run.id);
                        known.expect("only known runs move on").1 += 1;
                    }
                }
                Write::Flow(flow) => drop(self.flows.insert(flow.id, (**flow).clone())),
                Write::Gather(_)
                | Write::Webhook(..)
                | Write::WebhookRemoval(_)
                | Write::Delivery(_)
                | Write::ServiceKey(..)
                | Write::Audit(_)
                | Write::DeadLetter(_)
                | Write::Statistics(_)
                | Write::DeleteFlow(_)
                | Write::Rollout(_)
                | Write::Review(_)
                | Write::SettleDeadLetter(_)
                | Write::Schedule(_)
                | Write::Connection(_)
                | Write::Escalation(_)
                | Write::People(_)
                | Write::Signal(_) => {}
            }
        }
    }

    /// Everything that the ports read, as text, a line for each thing.
    async fn read_back(&self, store: &(impl Store + Catalog)) -> String {
        let mut text = String::new();
        let mut line = |what: &dyn std::fmt::Debug| writeln!(text, "{what:?}").expect("a string takes all");
        let ids = self.runs.iter().map(|(run, _)| run.id).collect();
        store.load_runs(ids).await.expect("loads").iter().for_each(|run| line(run));
        for partition in 0..PARTITIONS {
            line(&store.queue_page(partition, None, 10_000).await.expect("reads"));
            line(&store.wake_page(partition, i64::MAX, None, 10_000).await.expect("reads"));
            line(&store.log_tail(partition, 0, 100_000).await.expect("reads"));
            line(&store.statistics_position(partition).await.expect("reads"));
        }
        for id in self.flows.keys() {
            line(&store.flow(Scope::Platform, *id).await.expect("reads"));
            line(&store.schedule(Scope::Platform, *id).await.expect("reads"));
        }
        text
    }
}
