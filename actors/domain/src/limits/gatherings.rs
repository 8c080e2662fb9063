//! The runs of a partition that gather triggers: which trigger joins which, and which run begins when.
//!
//! ```text
//! arrive ─► opens ─► durable ─┬─► joins … ─► closed ─► ripe ─► leaves, to be gathered
//!             └─ others wait ─┘      └─ each is counted once it is durable
//! ```
//! A run that is closed takes no more triggers: the next of its key makes another run. What it has gathered is read only
//! when nothing of it is under way any more, so that what was answered is in it. Nothing here is stored: the rows are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::gather::{Gathers, Terms};
use super::{Claim, Hold};
use crate::ids::{FlowId, RunId};

/// The triggers of one key, for one version of a flow.
type Place = (FlowId, i64, Arc<str>);

/// The runs that gather.
#[derive(Debug, Default)]
pub struct Gatherings {
    runs: BTreeMap<RunId, Gathering>,
    /// Those that take more.
    open: BTreeMap<Place, RunId>,
    due: BTreeSet<(i64, RunId)>,
    /// Closed, and nothing of them is under way.
    ripe: BTreeSet<RunId>,
}

#[derive(Debug)]
struct Gathering {
    place: Place,
    terms: Terms,
    first_ms: i64,
    last_ms: i64,
    /// Triggers that are durable, and their bytes.
    count: u32,
    bytes: usize,
    /// Triggers on their way, and their bytes.
    under_way: u32,
    bytes_under_way: usize,
    /// The last number that was given out.
    last_no: u32,
    is_durable: bool,
    is_closed: bool,
    is_being_read: bool,
}

/// What is stored of a run that gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many triggers it has gathered; its first one counts.
    pub count: u32,
    pub bytes: usize,
    /// The number of the last of them, and when it came.
    pub last_no: u32,
    pub last_ms: i64,
}

/// What becomes of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// It makes a run of its own, which gathers.
    Opens,
    /// It joins this run, as the trigger of this number.
    Joins { run: RunId, no: u32 },
    /// It is not known yet: something of this run is under way.
    Waits { run: RunId },
}

impl Gatherings {
    /// A trigger has come. One that joins is under way until [`Self::settled`] says what became of it.
    pub fn arrive(&mut self, flow: FlowId, gathers: &Gathers, bytes: usize, most: usize, now_ms: i64) -> Joining {
        self.close_due(now_ms);
        let place = (flow, gathers.version, gathers.key.clone());
        let Some(run) = self.open.get(&place).copied() else { return Joining::Opens };
        let Some(gathering) = self.runs.get_mut(&run) else { return Joining::Opens };
        if !gathering.is_durable {
            return Joining::Waits { run };
        }
        if let Terms::Batch { max, .. } = gathering.terms {
            if gathering.count + gathering.under_way >= max {
                return Joining::Waits { run };
            }
            if gathering.bytes + gathering.bytes_under_way + bytes > most {
                self.close(run);
                return Joining::Opens;
            }
        }
        gathering.under_way += 1;
        gathering.bytes_under_way += bytes;
        gathering.last_no += 1;
        Joining::Joins { run, no: gathering.last_no }
    }

    /// A trigger makes a run, which is not durable yet.
    pub fn open(&mut self, run: RunId, flow: FlowId, gathers: &Gathers, bytes: usize, now_ms: i64) {
        let progress = Progress { count: 1, bytes, last_no: 1, last_ms: now_ms };
        self.enter(run, flow, gathers, now_ms, progress, false);
    }

    /// A run as it was stored.
    pub fn restore(&mut self, run: RunId, flow: FlowId, gathers: &Gathers, first_ms: i64, progress: Progress) {
        if self.runs.contains_key(&run) {
            return;
        }
        self.enter(run, flow, gathers, first_ms, progress, true);
        self.close_if_full(run);
    }

    fn enter(
        &mut self,
        run: RunId,
        flow: FlowId,
        gathers: &Gathers,
        first_ms: i64,
        progress: Progress,
        is_durable: bool,
    ) {
        let place: Place = (flow, gathers.version, gathers.key.clone());
        let gathering = Gathering {
            place: place.clone(),
            terms: gathers.terms,
            first_ms,
            last_ms: progress.last_ms,
            count: progress.count,
            bytes: progress.bytes,
            under_way: 0,
            bytes_under_way: 0,
            last_no: progress.last_no,
            is_durable,
            is_closed: false,
            is_being_read: false,
        };
        self.due.insert((gathering.due_ms(), run));
        // Of two of one key, which only a crash leaves, the older one takes no more.
        if let Some(older) = self.open.insert(place, run) {
            self.close(older);
        }
        self.runs.insert(run, gathering);
    }

    /// The run is durable.
    pub fn opened(&mut self, run: RunId) {
        if let Some(gathering) = self.runs.get_mut(&run) {
            gathering.is_durable = true;
            self.ripen(run);
        }
    }

    /// What became of a trigger that was to join: durable, at that time, or not.
    pub fn settled(&mut self, run: RunId, bytes: usize, at_ms: Option<i64>) {
        let Some(gathering) = self.runs.get_mut(&run) else { return };
        gathering.under_way = gathering.under_way.saturating_sub(1);
        gathering.bytes_under_way = gathering.bytes_under_way.saturating_sub(bytes);
        if let Some(at_ms) = at_ms {
            let before_ms = gathering.due_ms();
            gathering.count += 1;
            gathering.bytes += bytes;
            gathering.last_ms = gathering.last_ms.max(at_ms);
            if self.due.remove(&(before_ms, run)) {
                self.due.insert((gathering.due_ms(), run));
            }
        }
        self.close_if_full(run);
        self.ripen(run);
    }

    fn close_if_full(&mut self, run: RunId) {
        let is_full = |g: &Gathering| matches!(g.terms, Terms::Batch { max, .. } if g.count >= max);
        if self.runs.get(&run).is_some_and(is_full) {
            self.close(run);
        }
    }

    /// The run takes no more triggers, and begins as soon as nothing of it is under way.
    pub fn close(&mut self, run: RunId) {
        let Some(gathering) = self.runs.get_mut(&run) else { return };
        gathering.is_closed = true;
        self.due.remove(&(gathering.due_ms(), run));
        if self.open.get(&gathering.place) == Some(&run) {
            self.open.remove(&gathering.place);
        }
        self.ripen(run);
    }

    /// Closes those whose time has come.
    pub fn close_due(&mut self, now_ms: i64) {
        while let Some((at_ms, run)) = self.due.first().copied()
            && at_ms <= now_ms
        {
            self.due.pop_first();
            self.close(run);
        }
    }

    fn ripen(&mut self, run: RunId) {
        let is_ripe = |g: &Gathering| g.is_durable && g.is_closed && g.under_way == 0 && !g.is_being_read;
        if self.runs.get(&run).is_some_and(is_ripe) {
            self.ripe.insert(run);
        }
    }

    /// The next runs, at most so many, that are to begin: what they have gathered can be read.
    pub fn ripe(&mut self, now_ms: i64, most: usize) -> Vec<RunId> {
        self.close_due(now_ms);
        let runs: Vec<RunId> = self.ripe.iter().copied().take(most).collect();
        for run in &runs {
            self.ripe.remove(run);
            if let Some(gathering) = self.runs.get_mut(run) {
                gathering.is_being_read = true;
            }
        }
        runs
    }

    /// It could not be read: it is ripe still.
    pub fn unread(&mut self, run: RunId) {
        if let Some(gathering) = self.runs.get_mut(&run) {
            gathering.is_being_read = false;
            self.ripen(run);
        }
    }

    /// The run has begun, has ended, or was never taken.
    pub fn leave(&mut self, run: RunId) -> bool {
        self.close(run);
        self.ripe.remove(&run);
        self.runs.remove(&run).is_some()
    }

    /// When [`Self::ripe`] should be asked again, in milliseconds since the epoch.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    pub fn knows(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    /// How many runs gather.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Since when the run gathers, and what it has gathered.
    pub fn progress(&self, run: RunId) -> Option<(i64, Progress)> {
        let Gathering { first_ms, last_ms, count, bytes, last_no, .. } = self.runs.get(&run)?;
        Some((*first_ms, Progress { count: *count, bytes: *bytes, last_no: *last_no, last_ms: *last_ms }))
    }

    /// What the run waits for.
    pub fn hold(&self, run: RunId) -> Option<Hold> {
        let gathering = self.runs.get(&run)?;
        let (key, terms, count) = (gathering.place.2.clone(), gathering.terms, gathering.count);
        Some(Hold::Gathers { key, terms, count, at_ms: gathering.due_ms() })
    }
}

impl Gathering {
    fn due_ms(&self) -> i64 {
        self.terms.due_ms(self.first_ms, self.last_ms)
    }
}

impl Claim {
    /// Whether nothing but gathering keeps a run of it from starting.
    pub fn is_free(&self) -> bool {
        self.concurrency.is_none() && self.rate.is_none()
    }
}
