//! A node's way to the database: slow, cut, or with answers that are lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use core314_actors::ports::aging::{Aged, Aging};
use core314_actors::ports::answers::Answers;
use core314_actors::ports::catalog::{Catalog, RolloutState, ServiceKey, StoredFlow};
use core314_actors::ports::event::{DeliveryPlace, EventDelivery};
use core314_actors::ports::executor::Attempt;
use core314_actors::ports::integration::{Integration, KeptBreakers, Secret, TenantConnections};
use core314_actors::ports::membership::{Membership, NewNode, StoredLease, StoredNode, Taking};
use core314_actors::ports::run_states::RunStates;
use core314_actors::ports::schedule::StoredSchedule;
use core314_actors::ports::signal::Occurrence;
use core314_actors::ports::store::{
    IdleRun, LimitedRun, Outcome, Store, StoredBucket, StoredRun, TailRow, Webhook, Write,
};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_actors::testkit::memory_store::MemoryStore;
use core314_domain::Json;
use core314_domain::ids::{FlowId, RowId, RunId, StepNo, TenantId, WebhookId};
use core314_domain::limits::Brought;
use core314_domain::run::{CacheKey, Cached};
use core314_domain::words::TriggerType;
use serde_json::Value;
use tokio::sync::Notify;

use super::database::{Database, Fate, Mutant};
use super::node::NodeTime;
use super::witness::By;

/// Whether the way is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Whoever asks hears so at once.
    Refused,
    /// Whoever asks hears nothing until the way is another.
    Silent,
}

/// The way of one process.
pub struct Wire {
    pub db: Arc<Database>,
    pub node: usize,
    pub time: Arc<NodeTime>,
    way: Mutex<Way>,
    /// Whoever waits for another way, first come, first served.
    changed: Notify,
}

impl Wire {
    pub fn new(db: Arc<Database>, node: usize, time: Arc<NodeTime>, way: Way) -> Self {
        Self { db, node, time, way: Mutex::new(way), changed: Notify::new() }
    }

    fn by(&self) -> By {
        By { node: self.node, at_ms: self.time.true_ms(), told_ms: self.time.told_ms() }
    }

    /// An effect begins in the outside world.
    pub fn begins(&self, attempt: &Attempt) {
        self.db.witness().began(self.by(), attempt);
    }

    /// A client is told of its run.
    pub fn promises(&self, client: usize, run: RunId) {
        self.db.witness().promised(self.by(), client, run);
    }

    fn way(&self) -> Way {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the way is this one.
    pub fn turn(&self, way: Way) {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = way;
        self.changed.notify_waiters();
    }

    /// Something that is told in the history.
    pub fn note(&self, what: &str) {
        self.db.witness().note_by(self.by(), what);
    }

    /// One way: it takes its time, and may lead nowhere.
    async fn pass(&self) -> Result<(), StoreError> {
        if self.db.is_stopped() {
            // Something was found: whatever goes round in circles because of it must not go on for ever.
            std::future::pending::<()>().await;
        }
        let delay_ms = self.db.delay_ms();
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        match self.way() {
            Way::Open => {
                self.db.clock.reach(self.time.true_ms());
                return Ok(());
            }
            Way::Refused => tokio::time::sleep(Duration::from_millis(30)).await,
            Way::Silent => self.changed.notified().await,
        }
        Err(lost())
    }

    /// There and back: what was asked may have been done although nobody hears of it.
    async fn ask<T: Send>(
        &self,
        what: impl for<'s> FnOnce(&'s MemoryStore) -> BoxFuture<'s, Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.pass().await?;
        let answer = what(&self.db.rows).await?;
        self.pass().await?;
        Ok(answer)
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("the connection was lost".to_owned())
}

/// Passes questions on as they are.
macro_rules! asked {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($arg: $type),*) -> BoxFuture<'_, Result<$answer, StoreError>> {
            Box::pin(self.ask(move |store| store.$name($($arg),*)))
        })*
    };
}

impl Store for Wire {
    fn lanes(&self) -> usize {
        1
    }

    fn answers_from_its_own_thread(&self) -> bool {
        false
    }

    fn commit(&self, batch: Vec<Write>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        Box::pin(async move {
            self.pass().await?;
            let fate = self.db.fate();
            if fate == Fate::LostBefore {
                return Err(lost());
            }
            let outcomes = self.db.commit(self.by(), batch).await?;
            self.pass().await?;
            if fate == Fate::LostAfter { Err(lost()) } else { Ok(outcomes) }
        })
    }

    fn wake_page(
        &self,
        partition: u16,
        until_ms: i64,
        after: Option<(i64, RunId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, RunId)>, StoreError>> {
        Box::pin(async move {
            let page = self.ask(move |store| store.wake_page(partition, until_ms, after, limit)).await?;
            Ok(if self.db.mutant == Some(Mutant::LostTimer) { Vec::new() } else { page })
        })
    }

    fn subject<'a>(&'a self, of: &'a Occurrence) -> BoxFuture<'a, Result<Option<Value>, StoreError>> {
        Box::pin(async move {
            self.pass().await?;
            let found = self.db.rows.subject(of).await?;
            self.pass().await?;
            Ok(found)
        })
    }

    asked! {
        queue_page(partition: u16, after: Option<(i64, RunId)>, limit: usize) -> Vec<(i64, RunId)>;
        load_runs(runs: Vec<RunId>) -> Vec<StoredRun>;
        results(run: RunId, steps: Vec<StepNo>) -> Vec<(StepNo, Json)>;
        cached(tenant: TenantId, flow: FlowId, keys: Vec<CacheKey>, now_ms: i64) -> Vec<(CacheKey, Cached)>;
        collect_cached(now_ms: i64, limit: usize) -> usize;
        collect_blobs(after: Option<RowId>, limit: usize) -> Option<RowId>;
        statistics_position(partition: u16) -> i64;
        log_tail(partition: u16, after_seq: i64, limit: usize) -> Vec<TailRow>;
        occurrences(after: Option<RowId>, limit: usize) -> Vec<Occurrence>;
        event_deliveries(after: Option<DeliveryPlace>, limit: usize) -> Vec<EventDelivery>;
        limited_runs(partition: u16, after: Option<RunId>, limit: usize) -> Vec<LimitedRun>;
        idle_runs(after: Option<RunId>, limit: usize) -> Vec<IdleRun>;
        gathered(runs: Vec<RunId>) -> Vec<(RunId, Brought)>;
        limit_buckets(partition: u16, now_us: i64) -> Vec<StoredBucket>;
        due_schedules(until_ms: i64, after: Option<(i64, FlowId)>, limit: usize) -> Vec<StoredSchedule>;
        schedule(scope: Scope, flow: FlowId) -> Option<StoredSchedule>;
        flows_without_schedule(limit: usize) -> Vec<StoredFlow>;
        ping() -> ();
    }
}

impl Aging for Wire {
    asked! {
        drop_old(what: Aged, before_ms: i64, limit: usize) -> usize;
    }
}

impl Answers for Wire {
    asked! {
        answer_of(tenant: TenantId, key: String) -> Option<Value>;
    }
}

impl RunStates for Wire {
    asked! {
        run_states(runs: Vec<RunId>) -> Vec<StoredRun>;
    }
}

impl Membership for Wire {
    asked! {
        take_partitions(node: RowId, partitions: u16, now_ms: i64) -> i64;
        join(node: NewNode) -> ();
        renew(node: RowId, lease_ms: i64) -> bool;
        leave(node: RowId) -> ();
        nodes() -> Vec<StoredNode>;
        leases() -> Vec<StoredLease>;
    }

    fn take_free(&self, node: RowId, partitions: u16, lease_ms: i64) -> BoxFuture<'_, Result<Taking, StoreError>> {
        Box::pin(async move {
            self.pass().await?;
            let taking = self.db.rows.take_free(node, partitions, lease_ms).await?;
            if let Taking::Taken { epoch } = taking {
                self.db.witness().taken(self.by(), epoch);
            }
            self.pass().await?;
            Ok(taking)
        })
    }
}

impl Catalog for Wire {
    asked! {
        active_flows(tenant: TenantId, trigger: TriggerType) -> Vec<StoredFlow>;
        waited_events(tenant: TenantId) -> BTreeSet<String>;
        flow(scope: Scope, id: FlowId) -> Option<StoredFlow>;
        flow_by_name(tenant: TenantId, name: String) -> Option<StoredFlow>;
        flow_version(id: FlowId, version: i64) -> Option<StoredFlow>;
        rollout(scope: Scope, flow: FlowId) -> Option<RolloutState>;
        running_rollouts(scope: Scope) -> Vec<RolloutState>;
        webhook(id: WebhookId) -> Option<Webhook>;
        secrets_page(after: Option<RowId>, limit: usize) -> Vec<Secret>;
        webhooks_page(after: Option<WebhookId>, limit: usize) -> Vec<Webhook>;
        connections(tenant: TenantId) -> TenantConnections;
        integrations(after: Option<RowId>, limit: usize) -> Vec<(Integration, KeptBreakers)>;
        service_key(key_hash: [u8; 32]) -> Option<ServiceKey>;
        service_key_by_id(scope: Scope, id: RowId) -> Option<ServiceKey>;
    }
}
