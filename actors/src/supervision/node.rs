//! What all actors of one tree share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    arbiters::{Arbiter, ArbiterPool},
    exit::{ChildExit, Exit},
    hooks::Hooks,
    registry::Registry,
};

pub(super) struct Node {
    pub(super) registry: Registry,
    pub(super) pool: Arc<ArbiterPool>,
    pub(super) hooks: Hooks,
    /// The watchdog's count of its rounds, from 1. Actors write it down when they begin a message, which spares them a clock.
    pub(super) tick: AtomicU32,
    ids: AtomicU64,
    origin: Instant,
}

impl Node {
    pub(super) fn new(pool: Arc<ArbiterPool>, hooks: Hooks) -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::default(),
            pool,
            hooks,
            tick: AtomicU32::new(1),
            ids: AtomicU64::new(0),
            origin: Instant::now(),
        })
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Monotonic time since the tree began.
    pub(super) fn uptime_ms(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }

    /// Gives up a blocked thread: its actors have ended, `stuck` for the named reason, the others because they lived with it.
    pub(super) fn abandon(&self, arbiter: &Arc<Arbiter>, stuck: Option<u64>) {
        if !self.pool.abandon(arbiter) {
            return;
        }
        tracing::error!(arbiter = arbiter.index, "an arbiter is blocked and was given up");
        for actor in self.registry.entries() {
            let is_stuck = stuck == Some(actor.id());
            actor.lost(arbiter, if is_stuck { Exit::Stuck } else { Exit::ArbiterLost });
        }
    }
}

/// Whoever is told of an actor's lives: its supervisor, its parent, or the owner of the tree.
pub(super) trait Parent: Send + Sync + 'static {
    fn child_started(&self, id: u64, life: u32);
    fn child_exited(&self, child: ChildExit);
    /// A restart of the child is wanted.
    fn restart_child(&self, id: u64) -> OnDemand;
}

/// What becomes of a restart on demand.
pub(super) enum OnDemand {
    /// The parent sees to it.
    Done,
    /// The child must end as failed, and its parent decides.
    Recycle,
    /// Nobody could start it again.
    Never,
}

pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
