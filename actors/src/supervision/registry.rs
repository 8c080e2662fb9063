//! Every live actor of a tree, by path: to look at, to find, to restart on demand.
//!
//! One map entry per actor, and no copy of anything that changes: a snapshot reads the actor's own counters.

use std::{any::Any, sync::Arc};

use dashmap::{DashMap, Entry as Place};
use thiserror::Error;

use super::{
    actor_ref::{Ref, Shared},
    arbiters::Arbiter,
    behaviour::Behaviour,
    control::Order,
    exit::Exit,
};

/// What `GET /actors` shows of one actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub path: Arc<str>,
    pub kind: &'static str,
    /// `Behaviour::state`, or `down` between two lives.
    pub state: &'static str,
    /// Messages waiting.
    pub mailbox: u32,
    /// Messages handled since the process began.
    pub handled: u64,
    pub restarts: u32,
    /// The last abnormal exit.
    pub last_failure: Option<String>,
    /// When that was, in milliseconds since the Unix epoch.
    pub last_failure_at_ms: Option<u64>,
    /// Time since its present life began.
    pub age_ms: u64,
    /// Number of the arbiter it lives on; 0 is the supervisors'.
    pub arbiter: u32,
}

/// An actor was not started.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    /// A live actor has this path already: the caller should use it, or wait for its end.
    #[error("an actor already lives at {0}")]
    PathTaken(Arc<str>),
    /// The supervisor has ended for good: the caller is late, and should end too.
    #[error("the supervisor {0} has ended")]
    SupervisorGone(Arc<str>),
}

/// A restart on demand is not possible; the caller should tell its user so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RestartError {
    #[error("no actor lives at this path")]
    UnknownActor,
    /// Nobody could start it again: restart the process instead.
    #[error("the root of the tree cannot be restarted")]
    Root,
}

/// What the watchdog reads of an actor.
pub(super) struct Pulse {
    pub(super) id: u64,
    pub(super) live: bool,
    pub(super) queued: u32,
    pub(super) handled: u64,
    /// The tick in which the message in hand was begun; 0 when idle.
    pub(super) busy_since: u32,
}

/// An actor, whatever its type.
pub(super) trait Entry: Send + Sync + 'static {
    fn id(&self) -> u64;
    fn path(&self) -> &Arc<str>;
    fn kind(&self) -> &'static str;
    fn snapshot(&self) -> Snapshot;
    fn pulse(&self) -> Pulse;
    fn arbiter(&self) -> Arc<Arbiter>;
    /// Its thread was given up: if it lives there, it has ended, though it cannot say so itself.
    fn lost(&self, arbiter: &Arc<Arbiter>, reason: Exit);
    /// True when it is ending for good, so that another may take its path.
    fn is_leaving(&self) -> bool;
    fn order(&self, order: Order);
    fn unregister(&self);
    fn request_restart(&self) -> Result<(), RestartError>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// All actors of a tree.
#[derive(Default)]
pub struct Registry {
    actors: DashMap<Arc<str>, Arc<dyn Entry>>,
}

impl Registry {
    pub fn len(&self) -> usize {
        self.actors.len()
    }

    pub fn is_empty(&self) -> bool {
        self.actors.is_empty()
    }

    pub fn snapshot(&self, path: &str) -> Option<Snapshot> {
        self.get(path).map(|actor| actor.snapshot())
    }

    /// Every actor, ordered by path.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let mut all: Vec<_> = self.entries().iter().map(|a| a.snapshot()).collect();
        all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// The actor at a path, if it is of this type.
    pub fn find<B: Behaviour>(&self, path: &str) -> Option<Ref<B>> {
        let shared = self.get(path)?.into_any().downcast::<Shared<B>>().ok()?;
        Some(Ref::of(shared))
    }

    /// Has the actor stopped in an orderly way and started again by its supervisor, not counted as a failure. A child of a plain
    /// actor ends as failed instead, and its parent decides.
    pub fn restart(&self, path: &str) -> Result<(), RestartError> {
        let actor = self.get(path).ok_or(RestartError::UnknownActor)?;
        actor.request_restart()
    }

    pub(super) fn insert(&self, actor: Arc<dyn Entry>) -> Result<(), StartError> {
        let path = Arc::clone(actor.path());
        match self.actors.entry(Arc::clone(&path)) {
            Place::Vacant(place) => {
                place.insert(actor);
            }
            Place::Occupied(mut place) if place.get().is_leaving() => {
                place.insert(actor);
            }
            Place::Occupied(_) => return Err(StartError::PathTaken(path)),
        }
        Ok(())
    }

    /// Removes the actor, but not another that has taken its path since.
    pub(super) fn remove(&self, actor: &dyn Entry) {
        self.actors.remove_if(actor.path(), |_, there| there.id() == actor.id());
    }

    /// A copy of the list, so that no lock is held while actors are called.
    pub(super) fn entries(&self) -> Vec<Arc<dyn Entry>> {
        self.actors.iter().map(|e| Arc::clone(e.value())).collect()
    }

    fn get(&self, path: &str) -> Option<Arc<dyn Entry>> {
        self.actors.get(path).map(|e| Arc::clone(e.value()))
    }
}
