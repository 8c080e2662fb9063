//! The one database of all nodes: rows in memory, a clock, and what may go wrong on the way to it. Mutants live here.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use core314_actors::clock::Clock;
use core314_actors::ports::StoreError;
use core314_actors::ports::store::{Outcome, Store, Write};
use core314_actors::testkit::memory_store::MemoryStore;

use super::rng::Rng;
use super::witness::{By, Witness};

/// A mistake that a store could make: the simulation must find each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// It takes commits of an epoch that is over.
    BrokenFence,
    /// It takes commits on a version that another one has replaced.
    DroppedVersionCheck,
    /// It never gives a wake-up back that it has stored.
    LostTimer,
}

/// The database's clock: it shows the latest time that anybody has seen who asked it.
#[derive(Default)]
pub struct DatabaseClock(AtomicI64);

impl DatabaseClock {
    pub fn reach(&self, now_ms: i64) {
        self.0.fetch_max(now_ms, Ordering::Relaxed);
    }
}

impl Clock for DatabaseClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Kept,
    /// It is not written.
    LostBefore,
    /// It is written, and its answer is lost.
    LostAfter,
}

/// How often all nodes together may ask in one step of the world.
const MOST_ASKED: usize = 20_000;

/// The database.
pub struct Database {
    pub rows: MemoryStore,
    pub clock: Arc<DatabaseClock>,
    pub mutant: Option<Mutant>,
    /// Whether anything may go wrong at present.
    pub is_rough: AtomicBool,
    /// How many commits of a thousand lose their answer, and as many are not written.
    pub lost_permille: AtomicUsize,
    /// How often it was asked in the present step of the world.
    asked: AtomicUsize,
    dice: Mutex<Rng>,
    witness: Mutex<Witness>,
}

impl Database {
    pub fn new(seed: u64, mutant: Option<Mutant>, witness: Witness) -> Self {
        let clock = Arc::new(DatabaseClock::default());
        Self {
            rows: MemoryStore::with_clock(clock.clone()),
            clock,
            mutant,
            is_rough: AtomicBool::new(true),
            lost_permille: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            dice: Mutex::new(Rng(seed)),
            witness: Mutex::new(witness),
        }
    }

    pub fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens by chance, in the order in which it happens.
    pub fn dice(&self) -> MutexGuard<'_, Rng> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing goes on: something was found. Time stands still for whoever asks again and again without a pause, and
    /// that is found, too.
    pub fn is_stopped(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut witness = self.witness();
        if asked > MOST_ASKED {
            witness.goes_round();
        }
        witness.violation().is_err()
    }

    /// A step of the world is over.
    pub fn begin_step(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }

    /// How long a message takes, one way. Most take no time that could be told.
    pub fn delay_ms(&self) -> u64 {
        let is_rough = self.is_rough.load(Ordering::Relaxed);
        let mut dice = self.dice();
        let delay = match dice.below(1_000) {
            0..=849 => 0,
            850..=959 => 1 + dice.below(20),
            960..=994 => 20 + dice.below(280),
            _ => 300 + dice.below(1_500),
        };
        if is_rough { delay as u64 } else { delay.min(20) as u64 }
    }

    pub fn fate(&self) -> Fate {
        let lost = self.lost_permille.load(Ordering::Relaxed);
        if lost == 0 {
            return Fate::Kept;
        }
        match self.dice().below(1_000) {
            thrown if thrown < lost => Fate::LostBefore,
            thrown if thrown < 2 * lost => Fate::LostAfter,
            _ => Fate::Kept,
        }
    }

    /// One transaction, and a look at all that it has changed.
    pub async fn commit(&self, by: By, mut batch: Vec<Write>) -> Result<Vec<Outcome>, StoreError> {
        let asked = batch.clone();
        batch.iter_mut().for_each(|write| self.tamper(write));
        let outcomes = self.rows.commit(batch).await?;
        for (write, outcome) in asked.iter().zip(&outcomes) {
            let stored = match write {
                Write::Run(run) => self.rows.load_runs(vec![run.id]).await?.pop(),
                _ => None,
            };
            self.witness().committed(by, write, outcome, stored);
        }
        Ok(outcomes)
    }

    fn tamper(&self, write: &mut Write) {
        let witness = self.witness();
        match (self.mutant, write) {
            (Some(Mutant::BrokenFence), Write::Run(run)) => Arc::make_mut(run).epoch = witness.epoch(),
            (Some(Mutant::BrokenFence), Write::Statistics(statistics)) => statistics.epoch = witness.epoch(),
            (Some(Mutant::DroppedVersionCheck), Write::Run(run)) if run.accept.is_none() => {
                let version = witness.version(run.id);
                Arc::make_mut(run).expected_version = version;
            }
            _ => {}
        }
    }
}
