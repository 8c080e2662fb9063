//! A store in memory that can lose connections: the fake behind tests of the actors.
//!
//! It keeps what a database would keep and nothing else, so dropping an engine and starting another on the same store
//! is a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use core314_domain::Json;
use core314_domain::audit::AuditEntry;
use core314_domain::bulk::{BulkItem, BulkJob};
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, RowId, RunId, StepNo, TenantId, WebhookId};
use core314_domain::limits::{Brought, Bucket};
use core314_domain::log::LogEntry;
use core314_domain::run::{CacheKey, Cached, Timing};
use core314_domain::stats::{Stat, StatKey};
use core314_domain::words::TriggerType;
use serde_json::Value;

use super::memory_events::Events;
use super::memory_nodes::{LeaseClock, Members};
use super::memory_schedules::MemorySchedules;
use super::memory_signals::Signals;
use crate::clock::Clock;
use crate::ports::catalog::{RolloutState, ServiceKey, StoredFlow};
use crate::ports::event::{DeliveryPlace, EventDelivery};
use crate::ports::integration::{Integration, KeptBreakers, Secret};
use crate::ports::schedule::{ScheduleWrite, StoredSchedule};
use crate::ports::signal::Occurrence;
use crate::ports::store::{
    CachedWrite, DeadLetter, Delivery, FlowWrite, IdleRun, LimitedRun, Outcome, RejectCode, RunWrite, Store,
    StoredBucket, StoredRun, TailRow, Webhook, Write,
};
use crate::ports::{BoxFuture, Scope, StoreError};

/// The store.
#[derive(Default)]
pub struct MemoryStore {
    rows: Mutex<Rows>,
    /// Commits that are to fail before they write anything.
    lose_before: AtomicU32,
    /// Commits that are to be written and then reported as lost.
    lose_after: AtomicU32,
    pub(super) lease_clock: LeaseClock,
    /// While the writing half is held, the schedules that are due are found but not told.
    pub slow_schedules: tokio::sync::RwLock<()>,
}

/// What it holds.
#[derive(Default, Clone)]
pub struct Rows {
    pub epoch: i64,
    pub(super) members: Members,
    pub runs: BTreeMap<RunId, StoredRun>,
    /// In the order of their commits, with the position in the partition's log.
    pub log: Vec<(RunId, TenantId, u16, i64, LogEntry)>,
    pub audit: Vec<AuditEntry>,
    pub dead_letters: Vec<DeadLetter>,
    pub deliveries: Vec<Delivery>,
    pub statistics: BTreeMap<StatKey, Stat>,
    pub signals: Signals,
    pub events: Events,
    pub schedules: MemorySchedules,
    /// Results that may be used again.
    pub(super) cached: BTreeMap<(FlowId, CacheKey), CachedWrite>,
    covered: BTreeMap<u16, i64>,
    pub(super) flows: BTreeMap<FlowId, Vec<StoredFlow>>,
    pub(super) webhooks: BTreeMap<WebhookId, Webhook>,
    pub(super) keys: BTreeMap<(TenantId, String), ([u8; 32], Value)>,
    live_keys: BTreeMap<(TenantId, FlowId, Arc<str>), RunId>,
    /// Live runs that are subject to limits: their partition and what is stored of them.
    pub limited: BTreeMap<RunId, (u16, LimitedRun)>,
    /// What triggers have brought to runs that gather, by their run and number.
    pub brought: BTreeMap<(RunId, u32), (RunId, Brought)>,
    pub(super) buckets: BTreeMap<(FlowId, Arc<str>), (u16, Bucket)>,
    /// Bulk jobs, with their runs and whether the end of each is noted.
    pub bulk: BTreeMap<RowId, (BulkJob, Vec<(BulkItem, bool)>)>,
    pub(super) service_keys: BTreeMap<RowId, (ServiceKey, [u8; 32])>,
    pub(super) rollouts: BTreeMap<RowId, RolloutState>,
    pub integrations: BTreeMap<RowId, Integration>,
    pub breakers: BTreeMap<RowId, KeptBreakers>,
    pub secrets: BTreeMap<RowId, Secret>,
}

impl MemoryStore {
    pub(super) fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A store whose leases run out by this clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { lease_clock: LeaseClock(clock), ..Self::default() }
    }

    /// A copy of everything, to look at.
    pub fn snapshot(&self) -> Rows {
        self.rows().clone()
    }

    /// The next commits fail and write nothing.
    pub fn lose_before(&self, commits: u32) {
        self.lose_before.store(commits, Ordering::SeqCst);
    }

    /// The next commits are written, and their outcome is lost.
    pub fn lose_after(&self, commits: u32) {
        self.lose_after.store(commits, Ordering::SeqCst);
    }

    /// Puts a flow in without an engine.
    pub fn add_flow(&self, id: FlowId, owner: Owner, document: FlowDocument) {
        let flow = StoredFlow { id, owner, version: 1, document, created_at_ms: 0 };
        self.rows().flows.entry(id).or_default().push(flow);
    }
}

fn take(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

pub(super) fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl Rows {
    fn apply(&mut self, write: Write) -> Outcome {
        match write {
            Write::Run(write) => self.run(Arc::unwrap_or_clone(write)),
            Write::Gather(write) => self.gather(&write),
            Write::Flow(write) => self.flow(*write),
            Write::Webhook(webhook, audit) => {
                if self.webhooks.get(&webhook.id).map_or(0, |w| w.version) + 1 != webhook.version {
                    return Outcome::Conflict;
                }
                self.webhooks.insert(webhook.id, *webhook);
                self.audit.push(audit);
                Outcome::Committed { log_seq: None }
            }
            Write::ServiceKey(write, audit) => {
                let outcome = self.service_key(*write);
                if matches!(outcome, Outcome::Committed { .. }) {
                    self.audit.push(audit);
                }
                outcome
            }
            Write::WebhookRemoval(removal) => {
                if self.webhooks.remove(&removal.id).is_none() {
                    return Outcome::Conflict;
                }
                self.deliveries.retain(|delivery| delivery.webhook != removal.id);
                self.audit.push(removal.audit);
                Outcome::Committed { log_seq: None }
            }
            Write::Delivery(delivery) => {
                self.deliveries.push(*delivery);
                Outcome::Committed { log_seq: None }
            }
            Write::Connection(write) => self.connection(*write),
            Write::Signal(signal) => self.signal(&signal),
            Write::Audit(entry) => {
                self.audit.push(*entry);
                Outcome::Committed { log_seq: None }
            }
            Write::DeadLetter(letter) => {
                self.dead_letters.push(*letter);
                Outcome::Committed { log_seq: None }
            }
            Write::DeleteFlow(deletion) => self.delete_flow(*deletion),
            Write::Rollout(write) => {
                if !self.is_possible(&write.change) {
                    return Outcome::Conflict;
                }
                self.rollout(write.change);
                self.audit.push(write.audit);
                Outcome::Committed { log_seq: None }
            }
            Write::Review(review) => {
                self.audit.push(review.audit);
                Outcome::Committed { log_seq: None }
            }
            Write::SettleDeadLetter(settlement) => self.settle(*settlement),
            Write::Schedule(write) => self.schedule(*write),
            Write::Escalation(_) | Write::People(_) => {
                let message = "a store in memory keeps neither escalations nor people".to_owned();
                Outcome::Rejected { code: RejectCode::Constraint, message }
            }
            Write::Statistics(write) if write.epoch != self.epoch => Outcome::Fenced,
            Write::Statistics(write) => {
                write.rows.iter().for_each(|(key, stat)| self.statistics.entry(key.clone()).or_default().merge(stat));
                self.covered.insert(write.partition, write.covered_seq);
                Outcome::Committed { log_seq: None }
            }
        }
    }

    fn schedule(&mut self, write: ScheduleWrite) -> Outcome {
        let audit = match &write {
            ScheduleWrite::Pause { audit, .. } | ScheduleWrite::Resume { audit, .. } => Some(audit.clone()),
            ScheduleWrite::Move(_) | ScheduleWrite::Adopt { .. } => None,
        };
        let outcome = self.schedules.change(write);
        self.audit.extend(audit.filter(|_| matches!(outcome, Outcome::Committed { .. })));
        outcome
    }

    fn flow(&mut self, write: FlowWrite) -> Outcome {
        let taken = self.flows.values().filter_map(|v| v.last()).any(|f| {
            f.id != write.id && f.owner.tenant == write.owner.tenant && f.document.flow_name == write.document.flow_name
        });
        if taken {
            return Outcome::Rejected { code: RejectCode::NameTaken, message: "the name is taken".to_owned() };
        }
        let versions = self.flows.entry(write.id).or_default();
        if versions.len() as i64 != write.expected_version {
            return Outcome::Conflict;
        }
        if write.rollout.as_ref().is_some_and(|change| !self.is_possible(change)) {
            return Outcome::Conflict;
        }
        let versions = self.flows.entry(write.id).or_default();
        versions.push(StoredFlow {
            id: write.id,
            owner: write.owner,
            version: write.expected_version + 1,
            document: write.document,
            created_at_ms: write.at_ms,
        });
        if let Some(change) = write.rollout {
            self.rollout(change);
        }
        self.schedules.plan(write.id, write.owner, write.schedule, write.at_ms);
        self.audit.push(write.audit);
        Outcome::Committed { log_seq: None }
    }

    fn run(&mut self, mut write: RunWrite) -> Outcome {
        if write.epoch != self.epoch {
            return Outcome::Fenced;
        }
        let stored = self.runs.get(&write.id).map_or(0, |r| r.version);
        if stored != write.expected_version || (stored == 0) != write.accept.is_some() {
            return Outcome::Conflict;
        }
        if let Some(accept) = write.accept.take() {
            let wanted = accept.idempotency.map(|wanted| ((write.tenant, wanted.key.clone()), wanted));
            if let Some((key, wanted)) = &wanted
                && let Some((hash, answer)) = self.keys.get(key)
            {
                return Outcome::Duplicate { answer: answer.clone(), same_request: *hash == wanted.body_hash };
            }
            let named = accept.header.run_key.clone().map(|key| (write.tenant, accept.header.flow.id, key));
            if let Some(run) = named.as_ref().and_then(|name| self.live_keys.get(name)) {
                return Outcome::RunKeyTaken { run: *run };
            }
            if let Some(step) = accept.schedule
                && self.schedules.go_on(*step) == Outcome::Stale
            {
                return Outcome::Stale;
            }
            self.keys.extend(wanted.map(|(key, wanted)| (key, (wanted.body_hash, wanted.answer))));
            self.live_keys.extend(named.map(|name| (name, write.id)));
            let header = (*accept.header).clone();
            let attempts = accept.reuse.iter().flat_map(|reuse| reuse.outcomes()).collect();
            let run = StoredRun { header, version: 0, state: write.state.clone(), timing: write.timing, attempts };
            self.runs.insert(write.id, run);
        }
        if let Some((flow, key)) = write.reopened.as_ref().and_then(|end| end.key.clone()) {
            let holder = *self.live_keys.entry((write.tenant, flow, key)).or_insert(write.id);
            if holder != write.id {
                return Outcome::RunKeyTaken { run: holder };
            }
        }
        if let Some((flow, key)) = write.ended.as_ref().and_then(|end| end.key.clone()) {
            self.live_keys.remove(&(write.tenant, flow, key));
        }
        self.note_end(&write);
        self.note_phases(&write);
        self.note_asked(&write);
        self.wait_for_events(&write);
        write.ended.iter().for_each(|end| self.count(end, 1));
        write.reopened.iter().for_each(|end| self.count(end, -1));
        self.limit(write.id, write.partition, write.limit);
        let run = self.runs.get_mut(&write.id).expect("it was there, or has just been put there");
        run.version += 1;
        run.state = write.state;
        run.timing = write.timing;
        self.cached.extend(write.cached.into_iter().map(|cached| ((cached.flow, cached.key), cached)));
        let log_seq = self.append(write.id, write.tenant, write.partition, write.log);
        self.audit.extend(write.audit);
        Outcome::Committed { log_seq }
    }

    fn page(
        &self,
        partition: u16,
        key: impl Fn(&StoredRun) -> Option<i64>,
        after: Option<(i64, RunId)>,
        limit: usize,
    ) -> Vec<(i64, RunId)> {
        let of_partition = self.runs.values().filter(|r| r.header.partition == partition);
        let mut found: Vec<(i64, RunId)> = of_partition.filter_map(|r| Some((key(r)?, r.header.id))).collect();
        found.sort_unstable();
        found.retain(|place| after.is_none_or(|a| *place > a));
        found.truncate(limit);
        found
    }
}

impl Store for MemoryStore {
    fn lanes(&self) -> usize {
        1
    }

    /// As SQLite, so that tests wait for commits in both ways.
    fn answers_from_its_own_thread(&self) -> bool {
        true
    }

    fn commit(&self, batch: Vec<Write>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        let lost = || ready(Err(StoreError::Unavailable("the connection was lost".to_owned())));
        if take(&self.lose_before) {
            return lost();
        }
        let mut rows = self.rows();
        let outcomes = batch.into_iter().map(|write| rows.apply(write)).collect();
        if take(&self.lose_after) { lost() } else { ready(Ok(outcomes)) }
    }

    fn queue_page(
        &self,
        partition: u16,
        after: Option<(i64, RunId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, RunId)>, StoreError>> {
        ready(Ok(self.rows().page(partition, |r| r.timing.queue_key, after, limit)))
    }

    fn wake_page(
        &self,
        partition: u16,
        until_ms: i64,
        after: Option<(i64, RunId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, RunId)>, StoreError>> {
        let due = move |r: &StoredRun| r.timing.wake_at_ms.filter(|at| *at < until_ms);
        ready(Ok(self.rows().page(partition, due, after, limit)))
    }

    fn load_runs(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<Vec<StoredRun>, StoreError>> {
        let rows = self.rows();
        ready(Ok(runs.iter().filter_map(|run| rows.runs.get(run).cloned()).collect()))
    }

    fn results(&self, run: RunId, steps: Vec<StepNo>) -> BoxFuture<'_, Result<Vec<(StepNo, Json)>, StoreError>> {
        ready(self.rows().results(run, &steps))
    }

    fn cached(
        &self,
        _tenant: TenantId,
        flow: FlowId,
        keys: Vec<CacheKey>,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(CacheKey, Cached)>, StoreError>> {
        ready(Ok(self.rows().found(flow, keys, now_ms)))
    }

    fn collect_cached(&self, now_ms: i64, _limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        ready(Ok(self.rows().forget_expired(now_ms)))
    }

    fn collect_blobs(&self, _after: Option<RowId>, _limit: usize) -> BoxFuture<'_, Result<Option<RowId>, StoreError>> {
        ready(Ok(None))
    }

    fn statistics_position(&self, partition: u16) -> BoxFuture<'_, Result<i64, StoreError>> {
        ready(Ok(self.rows().covered.get(&partition).copied().unwrap_or(0)))
    }

    fn log_tail(
        &self,
        partition: u16,
        after_seq: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TailRow>, StoreError>> {
        let rows = self.rows();
        let tail = rows.log.iter().filter(|(_, _, p, seq, _)| *p == partition && *seq > after_seq).take(limit);
        let tail = tail.map(|(_, tenant, _, seq, entry)| TailRow {
            seq: *seq,
            tenant: *tenant,
            action_type: entry.action_type.to_string(),
            is_final: entry.is_final,
            success: entry.success(),
            duration_ms: entry.duration_ms,
            completed_at_ms: entry.completed_at_ms,
        });
        ready(Ok(tail.collect()))
    }

    fn occurrences(&self, after: Option<RowId>, limit: usize) -> BoxFuture<'_, Result<Vec<Occurrence>, StoreError>> {
        let rows = self.rows();
        let found = rows.signals.occurrences.values().filter(|found| after.is_none_or(|after| found.id > after));
        ready(Ok(found.take(limit).cloned().collect()))
    }

    fn subject<'a>(&'a self, of: &'a Occurrence) -> BoxFuture<'a, Result<Option<Value>, StoreError>> {
        ready(Ok(self.rows().subject(of)))
    }

    fn event_deliveries(
        &self,
        after: Option<DeliveryPlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<EventDelivery>, StoreError>> {
        ready(Ok(self.rows().event_deliveries(after, limit)))
    }

    fn limited_runs(
        &self,
        partition: u16,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LimitedRun>, StoreError>> {
        let rows = self.rows();
        let behind = rows.limited.iter().filter(|(run, row)| row.0 == partition && after.is_none_or(|a| **run > a));
        ready(Ok(behind.take(limit).map(|(_, row)| row.1.clone()).collect()))
    }

    fn idle_runs(&self, after: Option<RunId>, limit: usize) -> BoxFuture<'_, Result<Vec<IdleRun>, StoreError>> {
        let rows = self.rows();
        let is_idle = |run: &StoredRun| run.timing == Timing::default() && run.state.completed_at_ms.is_none();
        let behind = rows.runs.iter().filter(|(id, run)| after.is_none_or(|a| **id > a) && is_idle(run));
        let found = behind.take(limit).map(|(id, run)| IdleRun {
            id: *id,
            run: Ok(StoredRun { attempts: Vec::new(), ..run.clone() }),
            is_held: rows.limited.get(id).is_some_and(|row| !row.1.holds),
        });
        ready(Ok(found.collect()))
    }

    fn gathered(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<Vec<(RunId, Brought)>, StoreError>> {
        let rows = self.rows();
        let own = rows.brought.iter().filter(|((run, _), _)| runs.contains(run));
        ready(Ok(own.map(|((run, _), (_, brought))| (*run, brought.clone())).collect()))
    }

    fn limit_buckets(&self, partition: u16, now_us: i64) -> BoxFuture<'_, Result<Vec<StoredBucket>, StoreError>> {
        let rows = self.rows();
        let own = rows.buckets.iter().filter(|(_, row)| row.0 == partition && !row.1.is_full(now_us));
        ready(Ok(own.map(|((flow, key), row)| (*flow, key.clone(), row.1)).collect()))
    }

    fn due_schedules(
        &self,
        until_ms: i64,
        after: Option<(i64, FlowId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredSchedule>, StoreError>> {
        let due = self.rows().schedules.due(until_ms, after, limit);
        Box::pin(async move {
            let _told = self.slow_schedules.read().await;
            Ok(due)
        })
    }

    fn schedule(&self, scope: Scope, flow: FlowId) -> BoxFuture<'_, Result<Option<StoredSchedule>, StoreError>> {
        let found = self.rows().schedules.0.get(&flow).cloned();
        ready(Ok(found.filter(|row| scope == Scope::Platform || scope == Scope::Tenant(row.owner.tenant))))
    }

    fn flows_without_schedule(&self, limit: usize) -> BoxFuture<'_, Result<Vec<StoredFlow>, StoreError>> {
        let rows = self.rows();
        let current = rows.flows.values().filter_map(|versions| versions.last());
        let wanted = |flow: &&StoredFlow| {
            flow.document.trigger_type == TriggerType::Schedule && !rows.schedules.0.contains_key(&flow.id)
        };
        ready(Ok(current.filter(wanted).take(limit).cloned().collect()))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(()))
    }
}
