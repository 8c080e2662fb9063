//! Who holds and who waits, of the keys that live on one partition.
//!
//! ```text
//! arrive ─► waits for a place ─► waits for the rate ─► admitted ─► leave
//!   └─► skipped                  (holds its place)
//! ```
//!
//! A run is counted from before it starts until its end is durable, so that what is counted is never less than what
//! runs. Nothing here is stored: the rows of live runs are, and the book is written anew from them.
//!
//! How someone could get this wrong: to let a run go whose end is decided and not committed; to admit before all rows
//! have been read; to look through those that wait instead of at the first one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Bucket, Claim, Rate, Terms};
use crate::document::LimitStrategy;
use crate::ids::{FlowId, RunId};

/// How many holders a reason names.
const SHOWN_HOLDERS: usize = 20;

type Key = (FlowId, Arc<str>);
/// In the order of their arrival.
type Place = (i64, RunId);

/// The claims of a partition's runs.
#[derive(Debug, Default)]
pub struct Book {
    runs: BTreeMap<RunId, Entry>,
    places: BTreeMap<Key, Places>,
    rates: BTreeMap<Key, Line>,
    /// The next moment of each key whose first in line waits for the rate.
    due: BTreeSet<(i64, Key)>,
    /// Keys at which somebody may have become able to go on.
    touched: BTreeSet<Key>,
    hurried: BTreeSet<Key>,
    waiting: usize,
    /// The newest turn that was given.
    last_ms: i64,
}

#[derive(Debug)]
struct Entry {
    claim: Arc<Claim>,
    since_ms: i64,
    stage: Stage,
    /// It was told to end.
    leaving: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Place,
    Rate,
    Admitted,
}

#[derive(Debug, Default)]
struct Places {
    holders: BTreeSet<Place>,
    waiting: BTreeSet<Place>,
}

#[derive(Debug, Default)]
struct Line {
    bucket: Bucket,
    waiting: BTreeSet<Place>,
    due_us: Option<i64>,
}

/// What becomes of a run that asks to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// It was admitted before, and still is; or it asks for nothing.
    Admitted,
    /// It is in line, and [`Book::admit`] may let it go on at once; these older runs of its key are to be cancelled for it.
    Waits { cancel: Vec<RunId> },
    /// It is not taken: the limit is full, and its strategy is `skip`.
    Skipped { holders: Vec<RunId> },
}

/// A run that may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub run: RunId,
    /// What the bucket of its rate holds afterwards: to be stored with its start.
    pub bucket: Option<Bucket>,
}

/// What holds a run back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// All places of the key are taken.
    Concurrency {
        key: Arc<str>,
        max: u32,
        /// The longest-serving, at most twenty.
        holders: Vec<RunId>,
        /// How many runs go before it.
        ahead: usize,
    },
    /// The rate of the key lets it start at this time at the earliest.
    Rate { key: Arc<str>, at_ms: Option<i64>, ahead: usize },
    /// It gathers triggers of the key, so many so far, and begins then at the latest if none comes any more.
    Gathers { key: Arc<str>, terms: Terms, count: u32, at_ms: i64 },
}

impl Book {
    /// A run asks to start. Whether it may is said by the [`Self::admit`] that must follow. Its turn is its time, or the
    /// next one that nobody has: two that come within a millisecond keep their order.
    pub fn arrive(&mut self, run: RunId, claim: &Arc<Claim>, since_ms: i64) -> Arrival {
        if claim.is_free() {
            return Arrival::Admitted;
        }
        if let Some(known) = self.runs.get(&run) {
            return match known.stage {
                Stage::Admitted => Arrival::Admitted,
                Stage::Place | Stage::Rate => Arrival::Waits { cancel: Vec::new() },
            };
        }
        if let Some(wanted) = claim.concurrency.as_ref().filter(|c| c.strategy == LimitStrategy::Skip)
            && let Some(places) = self.places.get(&(claim.flow, wanted.key.clone()))
            && (places.holders.len() >= wanted.max as usize || !places.waiting.is_empty())
        {
            return Arrival::Skipped { holders: shown(&places.holders) };
        }
        self.last_ms = since_ms.max(self.last_ms + 1);
        self.enter(run, claim.clone(), self.last_ms, false);
        Arrival::Waits { cancel: self.overtaken(claim) }
    }

    /// A live run as it was stored: one that has started holds its place, whatever the limit says now.
    pub fn restore(&mut self, run: RunId, claim: Arc<Claim>, since_ms: i64, holds: bool) {
        if !self.runs.contains_key(&run) && !claim.is_free() {
            self.last_ms = self.last_ms.max(since_ms);
            self.enter(run, claim, since_ms, holds);
        }
    }

    /// A bucket as it was stored.
    pub fn restore_bucket(&mut self, flow: FlowId, key: Arc<str>, bucket: Bucket) {
        self.rates.entry((flow, key)).or_default().bucket = bucket;
    }

    /// A run has ended, durably, or was never taken.
    pub fn leave(&mut self, run: RunId) {
        let Some(entry) = self.runs.remove(&run) else { return };
        let place = (entry.since_ms, run);
        if entry.stage != Stage::Admitted {
            self.waiting -= 1;
        }
        if let Some(wanted) = &entry.claim.concurrency {
            let key = (entry.claim.flow, wanted.key.clone());
            if let Some(places) = self.places.get_mut(&key) {
                places.holders.remove(&place);
                places.waiting.remove(&place);
                if places.holders.is_empty() && places.waiting.is_empty() {
                    self.places.remove(&key);
                } else {
                    self.touched.insert(key);
                }
            }
        }
        if let Some((key, _)) = &entry.claim.rate {
            let key = (entry.claim.flow, key.clone());
            if let Some(line) = self.rates.get_mut(&key)
                && line.waiting.remove(&place)
            {
                self.hurried.insert(key);
            }
        }
    }

    /// Everybody who may start now. Those that are named are admitted: they hold their places.
    pub fn admit(&mut self, now_ms: i64) -> Vec<Admission> {
        let instant_us = now_ms * 1_000;
        let mut admitted = Vec::new();
        while let Some(key) = self.touched.pop_first() {
            let free = self.fill(&key);
            admitted.extend(free.into_iter().map(|run| Admission { run, bucket: None }));
        }
        while let Some((at_us, key)) = self.due.first().cloned() {
            if at_us > instant_us {
                break;
            }
            self.due.pop_first();
            self.hurried.insert(key);
        }
        while let Some(key) = self.hurried.pop_first() {
            while let Some(line) = self.rates.get(&key)
                && let Some((_, run)) = line.waiting.first().copied()
                && let Some(bucket) = self.start_if_first(&key, run, instant_us)
            {
                admitted.push(Admission { run, bucket: Some(bucket) });
            }
        }
        admitted
    }

    /// When [`Self::admit`] should be asked again, in milliseconds since the epoch.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(at_us, _)| to_ms(*at_us))
    }

    /// The runs that the newest of their keys replace. Asked once after all have been restored.
    pub fn all_overtaken(&mut self) -> Vec<RunId> {
        let newest: Vec<Arc<Claim>> = self
            .places
            .values()
            .filter_map(|places| places.waiting.last().or(places.holders.last()))
            .filter_map(|(_, run)| self.runs.get(run).map(|entry| entry.claim.clone()))
            .collect();
        newest.iter().flat_map(|claim| self.overtaken(claim)).collect()
    }

    /// Whether the run is known here.
    pub fn knows(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.places.is_empty() && self.rates.is_empty()
    }

    /// Since when a run is in line, or was.
    pub fn since_ms(&self, run: RunId) -> Option<i64> {
        self.runs.get(&run).map(|entry| entry.since_ms)
    }

    /// How many runs wait.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many runs hold a place or have started within their rate.
    pub fn admitted(&self) -> usize {
        self.runs.len() - self.waiting
    }

    /// What holds a run back; `None` for one that does not wait here.
    pub fn hold(&self, run: RunId) -> Option<Hold> {
        let entry = self.runs.get(&run)?;
        let place = (entry.since_ms, run);
        match entry.stage {
            Stage::Admitted => None,
            Stage::Place => {
                let wanted = entry.claim.concurrency.as_ref()?;
                let places = self.places.get(&(entry.claim.flow, wanted.key.clone()))?;
                let ahead = places.waiting.range(..place).count();
                let (key, holders) = (wanted.key.clone(), shown(&places.holders));
                Some(Hold::Concurrency { key, max: wanted.max, holders, ahead })
            }
            Stage::Rate => {
                let (key, rate) = entry.claim.rate.as_ref()?;
                let line = self.rates.get(&(entry.claim.flow, key.clone()))?;
                let ahead = line.waiting.range(..place).count();
                let at_ms = line.due_us.map(|at| to_ms(at + rate.interval_us * ahead as i64));
                Some(Hold::Rate { key: key.clone(), at_ms, ahead })
            }
        }
    }

    /// Forgets buckets that are full again: as good as none. The rows of those that were full before then may go.
    pub fn forget_full(&mut self, now_ms: i64) {
        self.rates.retain(|_, line| !line.waiting.is_empty() || !line.bucket.is_full(now_ms * 1_000));
    }

    fn enter(&mut self, run: RunId, claim: Arc<Claim>, since_ms: i64, holds: bool) {
        let place = (since_ms, run);
        let of_concurrency = claim.concurrency.as_ref().map(|c| (claim.flow, c.key.clone()));
        let of_rate = claim.rate.as_ref().map(|(key, _)| (claim.flow, key.clone()));
        let stage = match (holds, &of_concurrency) {
            (true, _) => Stage::Admitted,
            (false, Some(_)) => Stage::Place,
            (false, None) => Stage::Rate,
        };
        if let Some(key) = of_concurrency {
            let places = self.places.entry(key.clone()).or_default();
            if holds { &mut places.holders } else { &mut places.waiting }.insert(place);
            self.touched.insert(key);
        } else if let Some(key) = of_rate.filter(|_| !holds) {
            self.rates.entry(key.clone()).or_default().waiting.insert(place);
            self.hurried.insert(key);
        }
        self.waiting += usize::from(!holds);
        self.runs.insert(run, Entry { claim, since_ms, stage, leaving: false });
    }

    /// Gives the free places of a key to the first of those that wait. Says who may start by that; others wait for their
    /// rate from then on.
    fn fill(&mut self, key: &Key) -> Vec<RunId> {
        let mut admitted = Vec::new();
        let Some(places) = self.places.get_mut(key) else { return admitted };
        while let Some(place) = places.waiting.first().copied() {
            let Some(entry) = self.runs.get_mut(&place.1) else { break };
            let most = entry.claim.concurrency.as_ref().map_or(0, |c| c.max as usize);
            if places.holders.len() >= most {
                break;
            }
            places.waiting.remove(&place);
            places.holders.insert(place);
            if let Some((key, _)) = &entry.claim.rate {
                entry.stage = Stage::Rate;
                let key = (entry.claim.flow, key.clone());
                self.rates.entry(key.clone()).or_default().waiting.insert(place);
                self.hurried.insert(key);
            } else {
                entry.stage = Stage::Admitted;
                self.waiting -= 1;
                admitted.push(place.1);
            }
        }
        admitted
    }

    /// Admits a run that is first in its line, if the rate allows it; otherwise notes when it will.
    fn start_if_first(&mut self, key: &Key, run: RunId, now_us: i64) -> Option<Bucket> {
        let line = self.rates.get_mut(key)?;
        let first = line.waiting.first().copied().filter(|(_, first)| *first == run)?;
        let entry = self.runs.get_mut(&run)?;
        let rate: Rate = entry.claim.rate.as_ref()?.1;
        if let Some(due_us) = line.due_us.take() {
            self.due.remove(&(due_us, key.clone()));
        }
        match line.bucket.take(rate, now_us) {
            Ok(()) => {
                line.waiting.remove(&first);
                entry.stage = Stage::Admitted;
                self.waiting -= 1;
                if !line.waiting.is_empty() {
                    self.hurried.insert(key.clone());
                }
                Some(line.bucket)
            }
            Err(at_us) => {
                line.due_us = Some(at_us);
                self.due.insert((at_us, key.clone()));
                None
            }
        }
    }

    /// The oldest runs of a key that are more than it lets be, where newer ones replace older ones.
    fn overtaken(&mut self, claim: &Claim) -> Vec<RunId> {
        let Some(wanted) = claim.concurrency.as_ref().filter(|c| c.strategy == LimitStrategy::CancelRunning) else {
            return Vec::new();
        };
        let Some(places) = self.places.get(&(claim.flow, wanted.key.clone())) else { return Vec::new() };
        let mut alive: Vec<Place> = places
            .holders
            .iter()
            .chain(&places.waiting)
            .filter(|(_, run)| self.runs.get(run).is_some_and(|entry| !entry.leaving))
            .copied()
            .collect();
        alive.sort_unstable();
        let surplus = alive.len().saturating_sub(wanted.max as usize);
        alive.truncate(surplus);
        for (_, run) in &alive {
            if let Some(entry) = self.runs.get_mut(run) {
                entry.leaving = true;
            }
        }
        alive.into_iter().map(|(_, run)| run).collect()
    }
}

/// The first millisecond that is not before.
fn to_ms(at_us: i64) -> i64 {
    (at_us + 999).div_euclid(1_000)
}

fn shown(holders: &BTreeSet<Place>) -> Vec<RunId> {
    holders.iter().take(SHOWN_HOLDERS).map(|(_, run)| *run).collect()
}
