//! The threads that actors live on: one arbiter for the supervisors, and a fixed number of workers.
//!
//! A worker may die (its event loop stops) or be *lost* (a handler blocks it for ever; a thread cannot be killed). Either way
//! its number gets a new thread the next time an actor is placed there. The old thread of a lost arbiter may wake up later, so it
//! is fenced: what it does through this module's users has no effect. Invariants:
//! - once `Arbiter::is_lost` is true it stays true, and every `tell` made on that thread is refused;
//! - the supervisors' arbiter is never replaced: losing it is a failure of the root.

use std::{
    cell::RefCell,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use actix_rt::ArbiterHandle;

use super::spec::Placement;

thread_local! {
    static FENCE: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// True on a thread that was given up as stuck. Its actors have been started again elsewhere, so ports with effects of their
/// own may ask this before they act.
pub fn fenced() -> bool {
    FENCE.try_with(|fence| fence.borrow().as_ref().is_some_and(|lost| lost.load(Ordering::Acquire))).unwrap_or(false)
}

/// One thread, under its number.
#[derive(Debug)]
pub(super) struct Arbiter {
    pub(super) index: u32,
    handle: ArbiterHandle,
    lost: Arc<AtomicBool>,
}

impl Arbiter {
    fn open(index: u32, factory: RuntimeFactory) -> io::Result<Arc<Self>> {
        let lost = Arc::new(AtomicBool::new(false));
        let fence = Arc::clone(&lost);
        let arbiter = actix_rt::Arbiter::try_with_tokio_rt(move || {
            FENCE.set(Some(fence));
            factory()
        })?;
        Ok(Arc::new(Self { index, handle: arbiter.handle(), lost }))
    }

    /// Runs `launch` on the thread. If the thread is dead, `launch` is dropped.
    pub(super) fn run(&self, launch: impl FnOnce() + Send + 'static) {
        self.handle.spawn_fn(launch);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    fn is_usable(&self) -> bool {
        !self.is_lost() && self.handle.alive()
    }
}

/// Makes the tokio runtime of one arbiter; called on the arbiter's own thread.
pub type RuntimeFactory = fn() -> io::Result<tokio::runtime::Runtime>;

fn default_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A fixed number of arbiters, each replaced when it is dead or lost.
#[derive(Debug)]
pub struct ArbiterPool {
    control: Arc<Arbiter>,
    /// Empty when every actor lives on the supervisors' arbiter.
    workers: Vec<Mutex<Arc<Arbiter>>>,
    factory: RuntimeFactory,
    turn: AtomicUsize,
    abandoned: AtomicU32,
}

impl ArbiterPool {
    /// Opens the supervisors' arbiter and `workers` others. Must be called on a thread of an actix `System`, which must outlive
    /// the pool.
    pub fn open(workers: usize) -> io::Result<Arc<Self>> {
        Self::open_with(workers, default_runtime)
    }

    /// As `open`, with runtimes of the caller's making.
    pub fn open_with(workers: usize, factory: RuntimeFactory) -> io::Result<Arc<Self>> {
        let control = Arbiter::open(0, factory)?;
        let workers = (1..=u32::try_from(workers).unwrap_or(u32::MAX))
            .map(|index| Arbiter::open(index, factory).map(Mutex::new))
            .collect::<io::Result<_>>()?;
        Ok(Self::of(control, workers, factory))
    }

    /// A pool whose only arbiter is the current thread's, for tests and tools on one thread.
    ///
    /// # Panics
    /// Panics outside an arbiter.
    pub fn current() -> Arc<Self> {
        let lost = Arc::new(AtomicBool::new(false));
        FENCE.set(Some(Arc::clone(&lost)));
        let control = Arc::new(Arbiter { index: 0, handle: actix_rt::Arbiter::current(), lost });
        Self::of(control, Vec::new(), default_runtime)
    }

    fn of(control: Arc<Arbiter>, workers: Vec<Mutex<Arc<Arbiter>>>, factory: RuntimeFactory) -> Arc<Self> {
        Arc::new(Self { control, workers, factory, turn: AtomicUsize::new(0), abandoned: AtomicU32::new(0) })
    }

    /// How many workers there are, at least 1.
    pub fn workers(&self) -> usize {
        self.workers.len().max(1)
    }

    /// Threads given up as stuck since the start. They end only if their handler ever returns.
    pub fn abandoned(&self) -> u32 {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Stops one worker's event loop, as if its thread had died: for drills and tests.
    pub fn stop_worker(&self, worker: usize) {
        if let Some(slot) = self.workers.get(worker) {
            slot.lock().unwrap_or_else(PoisonError::into_inner).handle.stop();
        }
    }

    /// The arbiter for a new actor. An unusable one is replaced; where that fails too, it is returned as it is, the launch on it
    /// comes to nothing, and the supervisor tries again later.
    pub(super) fn assign(&self, placement: Placement) -> Arc<Arbiter> {
        let number = match placement {
            _ if self.workers.is_empty() => return Arc::clone(&self.control),
            Placement::Control => return Arc::clone(&self.control),
            Placement::Any => self.turn.fetch_add(1, Ordering::Relaxed),
            Placement::Worker(number) => number,
        };
        let mut slot = self.workers[number % self.workers.len()].lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.is_usable() {
            match Arbiter::open(slot.index, self.factory) {
                Ok(fresh) => *slot = fresh,
                Err(error) => {
                    tracing::error!(arbiter = slot.index, %error, "an arbiter could not be replaced");
                }
            }
        }
        Arc::clone(&slot)
    }

    /// Gives up a blocked thread. False if that had been done before.
    pub(super) fn abandon(&self, arbiter: &Arbiter) -> bool {
        if arbiter.lost.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.abandoned.fetch_add(1, Ordering::Relaxed);
        arbiter.handle.stop();
        true
    }
}

impl Drop for ArbiterPool {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.lock().unwrap_or_else(PoisonError::into_inner).handle.stop();
        }
        if !self.workers.is_empty() {
            self.control.handle.stop();
        }
    }
}
