//! One process: a runtime of its own whose time stands still unless the world lets it pass, and on it all that the server
//! has of the reactive core. Dropping it is its death.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_rt::SystemRunner;
use core314_actors::clock::Clock;
use core314_actors::engine::{Engine, Parts, Place};
use core314_actors::feed::Feed;
use core314_actors::membership::{ClusterSettings, Member, OnEnd};
use core314_actors::ports::membership::Taking;
use core314_actors::settings::EngineSettings;
use core314_actors::supervision::ArbiterPool;
use core314_actors::testkit::memory_vault::MemoryVault;
use core314_domain::ids::RowId;
use tokio::time::Instant;

use super::database::Database;
use super::wire::{Way, Wire};
use super::workshop::Workshop;

pub const PARTITIONS: u16 = 2;
pub const LEASE_MS: u64 = 4_000;
/// Between two looks of a node that stands by.
const LOOK: Duration = Duration::from_secs(1);

/// The time of a process.
pub struct NodeTime {
    /// When it began, by the world's time, and by its own.
    base_ms: i64,
    origin: Instant,
    /// By how much its clock is wrong.
    skew_ms: i64,
}

impl NodeTime {
    /// The world's time, as far as this process has come.
    pub fn true_ms(&self) -> i64 {
        self.base_ms + self.origin.elapsed().as_millis() as i64
    }

    /// What its clock shows.
    pub fn told_ms(&self) -> i64 {
        self.true_ms() + self.skew_ms
    }
}

impl Clock for NodeTime {
    fn now_ms(&self) -> i64 {
        self.told_ms()
    }
}

/// What the process has come to.
#[derive(Default)]
struct Life {
    engine: Option<Engine>,
    member: Option<Arc<Member>>,
}

/// The process.
pub struct Node {
    runner: SystemRunner,
    life: Rc<RefCell<Life>>,
    has_ended: Arc<AtomicBool>,
    pub id: RowId,
    pub wire: Arc<Wire>,
}

/// How a process begins.
pub struct Begin {
    pub place: usize,
    pub skew_ms: i64,
    pub way: Way,
    pub now_ms: i64,
    /// The process that was here before.
    pub former: Option<RowId>,
}

impl Node {
    /// Starts a process, which joins, and works or stands by.
    pub fn start(db: &Arc<Database>, begin: &Begin) -> Self {
        let Begin { place, skew_ms, way, now_ms, former } = *begin;
        let runner = actix_rt::System::with_tokio_rt(|| {
            let builder = &mut tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().expect("a runtime")
        });
        // Before another process begins on this thread.
        let pool = ArbiterPool::current();
        let origin = runner.block_on(async { Instant::now() });
        let time = Arc::new(NodeTime { base_ms: now_ms, origin, skew_ms });
        let wire = Arc::new(Wire::new(db.clone(), place, time, way));
        let id = RowId::new(now_ms, core314_actors::random::random());
        let node = Self { runner, life: Rc::default(), has_ended: Arc::default(), id, wire };
        let (has_ended, ends) = (node.has_ended.clone(), node.has_ended.clone());
        let on_end: OnEnd = Arc::new(move |_| ends.store(true, Ordering::Relaxed));
        let (life, wire) = (node.life.clone(), node.wire.clone());
        node.runner.runtime().spawn(async move {
            if live(&life, &wire, (id, former), pool, on_end).await.is_none() {
                has_ended.store(true, Ordering::Relaxed);
            }
        });
        node
    }

    /// Lets its time pass until then. `was_stopped`: it finds out at once that it has passed.
    pub fn run_until(&self, now_ms: i64, was_stopped: bool) {
        let time = &self.wire.time;
        let until = time.origin + Duration::from_millis((now_ms - time.base_ms) as u64);
        self.runner.block_on(async move {
            if was_stopped {
                tokio::time::advance(until.saturating_duration_since(Instant::now())).await;
            }
            tokio::time::sleep_until(until).await;
        });
    }

    /// It was crossed out, could not begin, or has stopped in order.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    pub fn engine(&self) -> Option<Engine> {
        self.life.borrow().engine.clone()
    }

    /// Does something on the process's own thread, as soon as it has time.
    pub fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.runner.runtime().spawn(work);
    }

    /// Tells it to stop in order: what is under way may end, and its partitions are handed over.
    pub fn stop(&self) {
        let (life, has_ended) = (self.life.clone(), self.has_ended.clone());
        self.spawn(async move {
            let engine = life.borrow_mut().engine.take();
            if let Some(engine) = engine {
                engine.stop().await;
            }
            let member = life.borrow_mut().member.take();
            if let Some(member) = member {
                member.leave().await;
            }
            has_ended.store(true, Ordering::Relaxed);
        });
    }
}

/// What a server does until its engine works. `None`: it ends.
async fn live(
    life: &RefCell<Life>,
    wire: &Arc<Wire>,
    (id, former): (RowId, Option<RowId>),
    pool: Arc<ArbiterPool>,
    on_end: OnEnd,
) -> Option<()> {
    let io = tokio::runtime::Handle::current();
    let cluster = ClusterSettings { lease_ms: LEASE_MS, node_name: format!("node-{}", wire.node) };
    let former = former.into_iter().collect();
    let member = Member::join(wire.clone(), io.clone(), id, &cluster, "test", former).await.ok()?;
    member.stay(on_end.clone());
    life.borrow_mut().member = Some(member.clone());
    let seat = loop {
        match member.take(PARTITIONS).await {
            Ok(Taking::Taken { epoch }) => break member.seat(epoch),
            Ok(Taking::Gone) => return None,
            Ok(Taking::Held(_)) | Err(_) => tokio::time::sleep(LOOK).await,
        }
    };
    let parts = Parts {
        settings: settings(),
        clock: wire.time.clone(),
        store: wire.clone(),
        catalog: wire.clone(),
        executors: vec![Arc::new(Workshop(wire.clone()))],
        vault: Arc::new(MemoryVault),
        feed: Feed::new(io.clone()),
        inbox: None,
        io,
        place: Place::Taken(seat),
        on_end,
    };
    let engine = Engine::start_on(parts, pool).await;
    if engine.is_err() {
        // Whoever has the partitions and cannot work hands them over.
        member.leave().await;
    }
    life.borrow_mut().engine = Some(engine.ok()?);
    Some(())
}

/// Small enough that everything is crossed: pages, horizons, slots.
fn settings() -> EngineSettings {
    EngineSettings {
        partitions: PARTITIONS,
        arbiters: 1,
        accept_timeout_ms: 3_000,
        slots_per_partition: 3,
        resident_runs_per_partition: 4,
        page_size: 3,
        timer_horizon_ms: 20_000,
        attempt_timeout_ms: 5_000,
        sweep_interval_ms: 3_000,
        waiting_check_interval_ms: 10_000,
        drain_ms: 2_000,
        // By the machine's clock, which is not that of the simulation.
        stuck_after_ms: 86_400_000,
        stalled_after_ms: 86_400_000,
        ..EngineSettings::default()
    }
}
