//! What of a run survives: one row of state, its timing, the log, the approvals and the events that it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use core314_domain::ids::{RowId, RunId, StepNo};
use core314_domain::log::LogEntry;
use core314_domain::run::{
    Bounds, CacheKey, Cached, Change, Effect, Kept, LastAttempt, Run, RunState, SavedState, Timing,
};

use serde_json::Value;

use super::account::Account;
use super::checks::{Check, ensure};
use super::rng::Rng;
use super::script::Mistake;
use super::shapes::Shape;

/// What one decision stores, and what happens then.
#[derive(Debug, Clone)]
pub struct Write {
    pub expected_version: u64,
    pub state: SavedState,
    pub timing: Timing,
    pub changes: Vec<Change>,
    pub effects: Vec<Effect>,
    /// The report that was told, which its table may forget now.
    pub settles: Option<(StepNo, u32)>,
}

impl Write {
    /// How many slots its effects will use.
    pub fn starts(&self) -> usize {
        self.effects.iter().filter(|e| matches!(e, Effect::StartAttempt { .. })).count()
    }
}

/// Every result is a large one, and none stays.
pub const LEAN: Bounds = Bounds { small_bytes: 0, at_hand_bytes: 0, result_bytes: 1 << 20, decision_bytes: 1 << 20 };

/// The rows.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// 0: the run does not exist.
    pub version: u64,
    pub state: Option<SavedState>,
    pub timing: Timing,
    pub log: Vec<LogEntry>,
    /// What is asked, and what was answered.
    pub approvals: Vec<(Option<StepNo>, Option<bool>)>,
    /// Steps that wait for an event.
    pub waits: BTreeSet<StepNo>,
    /// Events that a step has taken.
    pub taken: BTreeSet<RowId>,
    /// What cached steps have left, and until when it is good.
    pub cache: BTreeMap<CacheKey, (Cached, i64)>,
    /// A limit of the flow holds the run, and will let it begin.
    pub is_held: bool,
    /// What took effect, by the log.
    pub account: Account,
    /// The run as it was read after the last commit.
    read: Option<Run>,
}

impl Store {
    /// Stores a write whole, or refuses it because another one came first.
    pub fn commit(&mut self, write: &Write, shape: &Shape, mistake: Option<Mistake>, rng: &mut Rng) -> Check {
        ensure(write.expected_version == self.version, || "two writers".into())?;
        let before = match self.version {
            0 => Run::new(Arc::clone(&shape.header), Arc::clone(&shape.plan)),
            _ => self.load(shape)?,
        };
        self.read = None;
        if mistake != Some(Mistake::ForgetRows) {
            self.rows(write, mistake, rng)?;
        }
        self.version += 1;
        self.state = Some(write.state.clone());
        self.timing = write.timing;
        match mistake {
            Some(Mistake::ForgetWakeUp) => self.timing.wake_at_ms = None,
            Some(Mistake::ForgetQueueKey) => self.timing.queue_key = None,
            _ => {}
        }
        let after = self.load(shape)?;
        self.read = Some(after.clone());
        write.changes.iter().try_for_each(|change| self.account.note(change, &before, &after))
    }

    /// The rows beside the state.
    pub fn rows(&mut self, write: &Write, mistake: Option<Mistake>, rng: &mut Rng) -> Check {
        self.read = None;
        for change in &write.changes {
            match change {
                Change::ResultCached { step, key, result, expires_at_ms } => {
                    let execution = RunId::new(super::shapes::START_MS, 1).execution(*step);
                    let cached = Cached { result: result.clone(), execution, stored_at_ms: expires_at_ms - 1 };
                    self.cache.insert(*key, (cached, *expires_at_ms));
                }
                Change::AttemptLogged(_) if mistake == Some(Mistake::LoseLogRow) && rng.chance(200) => {}
                Change::AttemptLogged(entry) => self.log.push(LogEntry::clone(entry)),
                Change::ApprovalRequested { step } => self.approvals.push((*step, None)),
                Change::ApprovalDecided { step, approved, .. } => {
                    let open = self.approvals.iter_mut().find(|(s, answer)| s == step && answer.is_none());
                    open.ok_or_else(|| format!("{step:?} was answered and not asked"))?.1 = Some(*approved);
                }
                Change::WaitOpened { step, .. } => drop(self.waits.insert(*step)),
                // An ended step waits for none; an event that one has taken is not for another.
                Change::StepEnded { step, .. } | Change::StepReset { step } => drop(self.waits.remove(step)),
                Change::WaitClosed { step, taken } => {
                    let taken = taken.ok_or_else(|| format!("step {step} took an event that is none"))?;
                    ensure(self.taken.insert(taken), || format!("step {step} took an event that was taken before"))?;
                }
                Change::RunStarted { .. }
                | Change::RunAwaitsApproval
                | Change::RunResumed
                | Change::RunStepsAside
                | Change::RunEnded { .. } => self.is_held = false,
                Change::RunHeld | Change::RunLinesUp => self.is_held = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// The run as whoever loads it sees it, with all results in memory.
    pub fn load(&self, shape: &Shape) -> Result<Run, String> {
        if let Some(run) = &self.read {
            return Ok(run.clone());
        }
        self.load_as(shape, false)
    }

    /// The same; a lean one has no result in memory, and keeps none.
    pub fn load_as(&self, shape: &Shape, is_lean: bool) -> Result<Run, String> {
        let kept = |result: &Arc<Value>| if is_lean { Kept::Away { bytes: 1 } } else { Kept::Here(result.clone()) };
        let state = RunState::load(self.state.as_ref().expect("it was accepted")).map_err(|e| e.to_string())?;
        let finals: Vec<LastAttempt> = self
            .log
            .iter()
            .map(|e| LastAttempt {
                reused_from: None,
                attempt: e.attempt,
                is_final: e.is_final,
                step: e.step,
                result: e.result.as_ref().map(kept),
                error: e.failure.as_ref().map(|f| f.message.clone()),
            })
            .collect();
        let mut run = Run::rehydrate(Arc::clone(&shape.header), Arc::clone(&shape.plan), state, &finals);
        run.use_cache();
        if is_lean {
            run.bound(LEAN);
        }
        Ok(run)
    }

    /// What is kept under the keys of cached steps.
    pub fn cached(&self, keys: &BTreeSet<CacheKey>, now_ms: i64) -> BTreeMap<CacheKey, Option<Cached>> {
        let found = |key: &CacheKey| self.cache.get(key).filter(|(_, expires_at_ms)| *expires_at_ms > now_ms);
        keys.iter().map(|key| (*key, found(key).map(|(cached, _)| cached.clone()))).collect()
    }
}

/// The results of steps' last attempts. What is decided and not yet stored counts: whoever reads waits for its commit.
pub fn results(
    outbox: &[Write],
    store: &Store,
    wanted: &BTreeSet<StepNo>,
) -> Result<Vec<(StepNo, Arc<Value>)>, String> {
    let coming = outbox.iter().flat_map(|write| &write.changes).filter_map(|change| match change {
        Change::AttemptLogged(entry) => Some(&**entry),
        _ => None,
    });
    let log: Vec<&LogEntry> = store.log.iter().chain(coming).collect();
    let result = |no: &StepNo| {
        let last = log.iter().rev().find(|entry| entry.step == *no && entry.is_final);
        let result = last.and_then(|entry| entry.result.clone());
        result.map(|result| (*no, result)).ok_or_else(|| format!("step {no} has no result, and one is looked for"))
    };
    wanted.iter().map(result).collect()
}
