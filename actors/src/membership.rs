//! This process among the nodes of its installation: it joins, stays, takes over, and leaves.
//!
//! ```text
//! join ──► standby: is a partition free? ──► take all ──► work ──► leave
//!              └────── renewed all the time ──────────────┘
//! ```
//!
//! The task that renews has nothing else to do and runs on the threads for I/O, so that no busy actor holds it up. What
//! nobody else can know it measures itself, in monotonic time from *before* it asked: for half of the lease after that
//! something may be sent. Then attempts wait. A store that is away for longer ends nothing: the lease is renewed when it is
//! back, unless somebody has taken over. Whoever was crossed out ends, and is started again as a newcomer.
//!
//! How someone could get this wrong: to count from the answer instead of the question; to believe in a clock of another
//! machine; to go on after another node has taken over, in the hope that every commit will be refused.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use core314_domain::ids::RowId;
use futures_util::FutureExt;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::ports::membership::{NewNode, Taking};
use crate::ports::store::Store;
use crate::ports::{BoxFuture, StoreError};

/// How a node is one of several.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// How long a node's lease lasts without being renewed. It begins no attempt in the second half of it.
    pub lease_ms: u64,
    /// What people call this node; empty: nothing.
    pub node_name: String,
}

/// Why a node ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeEnd {
    /// A restart of actors would heal nothing.
    #[error("the supervision tree has given up: {0}")]
    GaveUp(String),
    /// It was not heard of for the length of its lease, or somebody has the store alone since it lost its claim on it.
    #[error("another node has taken this one's partitions, or the whole store; it begins again as a newcomer")]
    Replaced,
}

/// Hears why a node ends.
pub type OnEnd = Arc<dyn Fn(NodeEnd) + Send + Sync>;

/// Until when something may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Ever,
    Time(Instant),
    /// It holds nothing yet.
    Unknown,
    /// It has left, or somebody has taken over.
    Over,
}

impl Until {
    fn is_past(self) -> bool {
        match self {
            Self::Ever => false,
            Self::Time(time) => Instant::now() >= time,
            Self::Unknown | Self::Over => true,
        }
    }
}

/// Whether this node may act outside.
#[derive(Debug)]
pub struct Lease {
    until: Mutex<Until>,
    /// Whoever waits to send goes on in the order in which they came.
    renewed: Notify,
}

impl Lease {
    /// That of a process which has the store to itself.
    pub fn endless() -> Self {
        Self::of(Until::Ever)
    }

    fn none_yet() -> Self {
        Self::of(Until::Unknown)
    }

    fn of(until: Until) -> Self {
        Self { until: Mutex::new(until), renewed: Notify::new() }
    }

    fn until(&self) -> MutexGuard<'_, Until> {
        // A single value: a panic cannot leave it half done.
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something may be sent now.
    pub fn may_send(&self) -> bool {
        !self.until().is_past()
    }

    /// Waits until something may be sent: for ever, where another node has taken over.
    pub async fn to_send(&self) {
        loop {
            // Before the look, so that a renewal in between is heard of.
            let renewed = self.renewed.notified();
            if self.may_send() {
                return;
            }
            renewed.await;
        }
    }

    /// It was renewed: the store was asked at this time.
    fn renewed(&self, asked: Instant, lease: Duration) {
        let until = asked + lease / 2;
        let mut known = self.until();
        let is_later = match *known {
            Until::Time(time) => until > time,
            Until::Unknown => true,
            Until::Ever | Until::Over => false,
        };
        if is_later {
            *known = Until::Time(until);
            drop(known);
            self.renewed.notify_waiters();
        }
    }

    /// For good.
    fn end(&self) {
        *self.until() = Until::Over;
    }
}

/// A node's place: what its engine works under.
pub struct Seat {
    pub node: RowId,
    /// Greater than that of every earlier owner of the partitions.
    pub epoch: i64,
    pub lease: Arc<Lease>,
}

impl Seat {
    /// That of a process which has the store to itself: it takes everything, whoever had it.
    pub async fn alone(
        store: &dyn Store,
        node: RowId,
        partitions: u16,
        environment: &str,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        store.join(newcomer(node, "", environment)).await?;
        let epoch = store.take_partitions(node, partitions, now_ms).await?;
        Ok(Self { node, epoch, lease: Arc::new(Lease::endless()) })
    }
}

fn newcomer(id: RowId, name: &str, environment: &str) -> NewNode {
    NewNode {
        id,
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        environment: environment.to_owned(),
        lease_ms: None,
        predecessors: Vec::new(),
    }
}

/// One of several nodes. It is renewed until it leaves, or was crossed out.
pub struct Member {
    node: RowId,
    lease_time: Duration,
    lease: Arc<Lease>,
    store: Arc<dyn Store>,
    io: tokio::runtime::Handle,
    renewing: Mutex<Option<AbortHandle>>,
}

impl Member {
    /// Joins. `predecessors` are earlier processes of the same place, which have surely ended.
    pub async fn join(
        store: Arc<dyn Store>,
        io: tokio::runtime::Handle,
        node: RowId,
        settings: &ClusterSettings,
        environment: &str,
        predecessors: Vec<RowId>,
    ) -> Result<Arc<Self>, StoreError> {
        let lease_time = Duration::from_millis(settings.lease_ms);
        let member =
            Self { node, lease_time, lease: Arc::new(Lease::none_yet()), store, io, renewing: Mutex::default() };
        let newcomer = newcomer(node, &settings.node_name, environment);
        let newcomer = NewNode { lease_ms: Some(member.lease_ms()), predecessors, ..newcomer };
        member.ask_in_time(move |store| Box::pin(async move { store.join(newcomer).await })).await?;
        Ok(Arc::new(member))
    }

    pub const fn node(&self) -> RowId {
        self.node
    }

    /// Takes every partition, unless a live node has one. A store that does not answer within the lease is away: then the
    /// partitions may be the node's all the same, and it takes them once more, or leaves.
    pub async fn take(&self, partitions: u16) -> Result<Taking, StoreError> {
        let (node, lease_ms, asked) = (self.node, self.lease_ms(), Instant::now());
        let take = move |store: Arc<dyn Store>| -> BoxFuture<'static, _> {
            Box::pin(async move { store.take_free(node, partitions, lease_ms).await })
        };
        let taking = self.ask_in_time(take).await?;
        if matches!(taking, Taking::Taken { .. }) {
            self.lease.renewed(asked, self.lease_time);
        }
        Ok(taking)
    }

    /// What an engine works under that has these partitions.
    pub fn seat(&self, epoch: i64) -> Seat {
        Seat { node: self.node, epoch, lease: self.lease.clone() }
    }

    /// Renews from now on. `on_end` hears that the node was crossed out.
    pub fn stay(self: &Arc<Self>, on_end: OnEnd) {
        let member = self.clone();
        let task = async move {
            let renewing = AssertUnwindSafe(member.renew_on_and_on()).catch_unwind();
            let end = renewing.await.map_or_else(
                |_| NodeEnd::GaveUp("the renewal of the node's lease has died".to_owned()),
                |()| NodeEnd::Replaced,
            );
            member.lease.end();
            on_end(end);
        };
        let task = self.io.spawn(task).abort_handle();
        *self.renewing.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Returns when the node was crossed out.
    async fn renew_on_and_on(&self) {
        loop {
            let pause = match self.renew().await {
                Ok(true) => self.lease_time / 4,
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "the node's lease could not be renewed; it is tried again");
                    self.lease_time / 40
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn renew(&self) -> Result<bool, StoreError> {
        let asked = Instant::now();
        // A session that hangs must not use up the time in which another one would answer.
        let renewal = tokio::time::timeout(self.lease_time / 5, self.store.renew(self.node, self.lease_ms())).await;
        let is_renewed = renewal.map_err(|_| StoreError::Unavailable("it does not answer in time".to_owned()))??;
        if is_renewed {
            self.lease.renewed(asked, self.lease_time);
        }
        Ok(is_renewed)
    }

    /// Gives up everything at once. Call it when nothing is under way any more.
    pub async fn leave(&self) {
        if let Some(renewing) = self.renewing.lock().unwrap_or_else(PoisonError::into_inner).take() {
            renewing.abort();
        }
        self.lease.end();
        let node = self.node;
        if let Err(error) = self.ask(move |store| Box::pin(async move { store.leave(node).await })).await {
            tracing::warn!(%error, "the node could not hand its leases over; they are free when their time has run out");
        }
    }

    /// The same, and hears of nothing that comes later than a lease lasts.
    async fn ask_in_time<T: Send + 'static>(
        &self,
        what: impl FnOnce(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let answer = tokio::time::timeout(self.lease_time, self.ask(what)).await;
        answer.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer in time".to_owned())))
    }

    /// Asks the store on the threads for I/O: its connections live there.
    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let asked = self.io.spawn(what(self.store.clone()));
        asked
            .await
            .unwrap_or_else(|error| Err(StoreError::Unavailable(format!("asking the store was cut off: {error}"))))
    }

    const fn lease_ms(&self) -> i64 {
        self.lease_time.as_millis() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::memory_store::MemoryStore;

    const LEASE: Duration = Duration::from_hours(1);

    fn settings(lease: Duration) -> ClusterSettings {
        ClusterSettings { lease_ms: lease.as_millis() as u64, node_name: "a".to_owned() }
    }

    async fn joined(store: &Arc<MemoryStore>, no: u128, lease: Duration, predecessor: Option<RowId>) -> Arc<Member> {
        let io = tokio::runtime::Handle::current();
        let joined =
            Member::join(store.clone(), io, node(no), &settings(lease), "test", predecessor.into_iter().collect())
                .await;
        joined.expect("the store answers")
    }

    fn node(no: u128) -> RowId {
        RowId(uuid::Uuid::from_u128(no))
    }

    #[tokio::test]
    async fn nothing_is_sent_past_half_of_the_lease() {
        let lease = Lease::none_yet();
        assert!(!lease.may_send());
        let asked = Instant::now();
        lease.renewed(asked, LEASE);
        assert!(lease.may_send());
        // What was asked before and is heard of afterwards shortens nothing.
        lease.renewed(asked, Duration::ZERO);
        assert!(lease.may_send());
        let spent = Lease::none_yet();
        spent.renewed(asked, Duration::ZERO);
        assert!(!spent.may_send());
        assert!(spent.to_send().now_or_never().is_none(), "it waits");
        spent.renewed(Instant::now(), LEASE);
        spent.to_send().await;
        spent.end();
        spent.renewed(Instant::now(), LEASE);
        assert!(!spent.may_send(), "who was crossed out does not come back");
        assert!(Lease::endless().may_send());
    }

    #[tokio::test]
    async fn who_waits_to_send_goes_on_when_the_lease_is_renewed() {
        let lease = Arc::new(Lease::none_yet());
        let waiting = tokio::spawn({
            let lease = lease.clone();
            async move { lease.to_send().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        lease.renewed(Instant::now(), LEASE);
        waiting.await.expect("it goes on");
    }

    #[tokio::test]
    async fn a_standby_takes_over_when_the_holder_leaves_and_not_before() {
        let store = Arc::new(MemoryStore::default());
        let (first, second) = (joined(&store, 1, LEASE, None).await, joined(&store, 2, LEASE, None).await);
        assert_eq!(first.take(4).await.expect("an answer"), Taking::Taken { epoch: 1 });
        assert!(first.seat(1).lease.may_send());
        assert_eq!(second.take(4).await.expect("an answer"), Taking::Held(node(1)));
        assert!(!second.seat(0).lease.may_send(), "it holds nothing");
        first.leave().await;
        assert!(!first.seat(1).lease.may_send());
        assert_eq!(second.take(4).await.expect("an answer"), Taking::Taken { epoch: 2 });
    }

    #[tokio::test]
    async fn a_process_that_follows_another_at_the_same_place_waits_for_nothing() {
        let store = Arc::new(MemoryStore::default());
        let first = joined(&store, 1, LEASE, None).await;
        first.take(4).await.expect("an answer");
        let next = joined(&store, 2, LEASE, Some(node(1))).await;
        assert_eq!(next.take(4).await.expect("an answer"), Taking::Taken { epoch: 2 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_not_waited_for() {
        let store = Arc::new(MemoryStore::default());
        let standby = joined(&store, 1, LEASE, None).await;
        store.hang();
        assert!(matches!(standby.take(4).await, Err(StoreError::Unavailable(_))));
    }

    #[tokio::test]
    async fn who_was_crossed_out_hears_of_it() {
        let store = Arc::new(MemoryStore::default());
        let first = joined(&store, 1, LEASE, None).await;
        first.take(4).await.expect("an answer");
        joined(&store, 2, LEASE, Some(node(1))).await;
        let (told, mut ends) = tokio::sync::mpsc::unbounded_channel();
        first.stay(Arc::new(move |end| told.send(end).expect("it listens")));
        assert_eq!(ends.recv().await, Some(NodeEnd::Replaced));
        assert!(!first.seat(1).lease.may_send());
        assert_eq!(first.take(4).await.expect("an answer"), Taking::Gone);
    }
}
