//! Reading runs back: at the start, when one is told something, and when memory has room for more of the queue.

use std::sync::Arc;

use core314_domain::ids::RunId;
use core314_domain::run::step::StepStatus;
use core314_domain::run::{Command, Effect, Run, RunState};

use super::runs::Ask;
use super::{Answer, LoadedRun, PartitionMsg, QueuePartition, claim_of};
use crate::plans::ReadyFlow;
use crate::ports::StoreError;
use crate::ports::store::StoredRun;
use crate::runtime::Runtime;
use crate::supervision::Ctx;

/// Whether a page is being read.
#[derive(Debug, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    No,
    Yes,
    /// A run left memory meanwhile, which the page may not have.
    Stale,
}

/// How far the stored queue has been read.
#[derive(Debug, Default)]
pub struct Paging {
    after: Option<(i64, RunId)>,
    reading: Reading,
    done: bool,
    /// The store was away: not before the next tick.
    paused: bool,
}

impl Paging {
    /// A run that is only queued left memory: the queue must be read again.
    pub fn again_from_start(&mut self) {
        self.after = None;
        self.done = false;
        if self.reading == Reading::Yes {
            self.reading = Reading::Stale;
        }
    }

    /// Whether the store is to be left alone until the next tick.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Time has passed.
    pub fn resume(&mut self) {
        self.paused = false;
    }
}

/// Loads under way at once, each of a page of runs.
const PARALLEL_LOADS: usize = 2;

impl QueuePartition {
    /// Wants a run read.
    pub(super) fn want(&mut self, run: RunId) {
        let resident = self.runs.entry(run).or_default();
        if !resident.loading {
            resident.loading = true;
            self.to_load.push_back(run);
        }
    }

    /// Reads what is wanted, and more of the queue while memory has room.
    pub(super) fn load(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.outbox.awaits_earlier() || self.paging.paused || !self.limits.is_read() {
            return;
        }
        self.read_queue(ctx);
        if self.loads_under_way >= PARALLEL_LOADS || self.to_load.is_empty() {
            return;
        }
        // A run with a write under way is read after its commit.
        let limit = self.runtime.settings.page_size;
        let (mut now, mut later) = (Vec::new(), Vec::new());
        while let Some(run) = self.to_load.pop_front() {
            let writes = self.runs.get(&run).map_or(0, |r| r.writes);
            if writes > 0 {
                later.push(run);
            } else {
                now.push(run);
            }
            if now.len() == limit {
                break;
            }
        }
        self.to_load.extend(later);
        if now.is_empty() {
            return;
        }
        self.spawn_load(now, ctx);
    }

    fn spawn_load(&mut self, wanted: Vec<RunId>, ctx: &mut Ctx<'_, Self>) {
        self.loads_under_way += 1;
        let (runtime, runs) = (self.runtime.clone(), wanted.clone());
        self.read(ctx, async move { load_runs(&runtime, runs).await }, move |found| PartitionMsg::Loaded {
            wanted,
            found,
        });
    }

    fn read_queue(&mut self, ctx: &mut Ctx<'_, Self>) {
        let room = self.runs.len() < self.runtime.settings.resident_runs_per_partition / 2;
        if self.paging.done || self.paging.reading != Reading::No || self.draining || !room {
            return;
        }
        self.paging.reading = Reading::Yes;
        let (store, number, after) = (self.runtime.store.clone(), self.number, self.paging.after);
        let limit = self.runtime.settings.page_size;
        self.read(ctx, async move { store.queue_page(number, after, limit).await }, PartitionMsg::QueuePage);
    }

    /// Runs with work, in their order.
    pub(super) fn queue_page(&mut self, result: Result<Vec<(i64, RunId)>, StoreError>, ctx: &mut Ctx<'_, Self>) {
        let reading = std::mem::take(&mut self.paging.reading);
        let page = match result {
            Ok(page) => page,
            Err(error) => return self.store_away(&error, ctx),
        };
        self.paging.done = page.len() < self.runtime.settings.page_size;
        self.paging.after = page.last().copied().or(self.paging.after);
        if reading == Reading::Stale {
            self.paging.again_from_start();
        }
        for (_, run) in page {
            if !self.runs.contains_key(&run) && !self.held.is_parked(run) {
                self.want(run);
            }
        }
    }

    /// Runs were read: their actors start, and hear what waited for them.
    pub(super) fn loaded(
        &mut self,
        wanted: &[RunId],
        found: Result<Vec<LoadedRun>, StoreError>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.loads_under_way -= 1;
        let found = match found {
            Ok(found) => found,
            Err(error @ StoreError::Unavailable(_)) => {
                self.to_load.extend(wanted);
                return self.store_away(&error, ctx);
            }
            Err(error) if wanted.len() == 1 => return self.unreadable(wanted[0], &error.to_string()),
            // One of them cannot be read: each is read alone, so that the others are.
            Err(_) => return wanted.iter().for_each(|run| self.spawn_load(vec![*run], ctx)),
        };
        for (stored, flow) in found {
            let run = stored.header.id;
            if let Some(resident) = self.runs.get_mut(&run) {
                resident.loading = false;
                self.revive(run, stored, flow, ctx);
            }
        }
        for run in wanted {
            if self.runs.get(run).is_some_and(|r| r.loading) {
                self.give_up(*run, |ask| ask.answer(Answer::NotFound));
                self.give_place_back(*run);
            }
        }
    }

    fn revive(&mut self, run: RunId, stored: StoredRun, flow: Result<ReadyFlow, StoreError>, ctx: &mut Ctx<'_, Self>) {
        let state = RunState::load(&stored.state).map_err(|e| e.to_string());
        let (state, flow) = match (state, flow) {
            (Ok(state), Ok(flow)) => (state, flow),
            (Err(message), _) => return self.unreadable(run, &message),
            (_, Err(error)) => return self.unreadable(run, &error.to_string()),
        };
        if state.steps.len() != flow.plan.fixed {
            return self.unreadable(run, "its state and its flow's version have different numbers of steps");
        }
        let claim = match claim_of(&flow.plan, &stored.header) {
            Ok(claim) => claim.map(Arc::new),
            Err(message) => return self.unreadable(run, &message),
        };
        self.set_timer(run, stored.timing.wake_at_ms, ctx);
        let header = Arc::new(stored.header);
        if let Some(claim) = &claim {
            self.keep_place(run, claim, &header, &state);
        }
        let Some(resident) = self.runs.get_mut(&run) else { return };
        resident.header = Some(header.clone());
        resident.plan = Some(flow.plan.clone());
        resident.claim = claim;
        resident.version = stored.version;
        resident.ended = state.status.is_terminal();
        let held = resident.held.take();
        let passes = std::mem::take(&mut resident.held_passes);
        let is_untold = held.is_some();
        let held: Vec<Effect> = held.into_iter().flatten().filter(|e| was_stored(&state, e)).collect();
        let state = Run::rehydrate(header, flow.plan, state, &stored.attempts);
        if is_untold {
            self.tell_all(&state);
        }
        if !self.start_actor(run, state, stored.timing, None, ctx) {
            return self
                .give_up(run, |ask| ask.answer(Answer::Failed("the run's actor could not be started".to_owned())));
        }
        let mut waiting = self.runs.get_mut(&run).map(|r| std::mem::take(&mut r.waiting)).unwrap_or_default();
        // A run that is to be set aside hears nothing that could kill its actor once more.
        if !waiting.iter().any(|ask| matches!(&*ask.command, Command::Quarantine { .. })) {
            self.return_passes(run, passes, &held, &mut waiting);
            self.catch_up(run, held, ctx);
        }
        // What was known of its attempts when it was loaded before is not so any more: it has heard what is known now.
        waiting.retain(|ask| !matches!(&*ask.command, Command::Recover { .. }));
        waiting.into_iter().for_each(|ask| self.ask(run, ask));
    }

    /// Tells a run that was loaded what has become of its attempts.
    fn catch_up(&mut self, run: RunId, held: Vec<Effect>, ctx: &mut Ctx<'_, Self>) {
        // A start that was stored after all, and not acted upon, is acted upon now.
        self.act(run, held, ctx);
        let known = self.shared.attempts.known(run);
        self.ask(run, Ask::quiet(Command::Recover { under_way: known.under_way }));
        for (step, attempt, report) in known.reports {
            self.running.remove(&(run, step));
            self.report(run, step, attempt, report);
        }
    }

    /// A run that makes no sense stops, loudly, and only that run.
    pub(super) fn unreadable(&mut self, run: RunId, message: &str) {
        tracing::error!(%run, message, "a stored run cannot be read; it stays as it is until it is looked at");
        self.give_up(run, |ask| ask.answer(Answer::Failed(format!("the stored run cannot be read: {message}"))));
    }

    fn give_up(&mut self, run: RunId, tell: impl Fn(Ask)) {
        if let Some(resident) = self.runs.remove(&run) {
            resident.waiting.into_iter().chain(resident.asked).for_each(tell);
        }
    }

    /// The store did not answer: again with the next tick.
    pub(super) fn store_away(&mut self, error: &StoreError, ctx: &mut Ctx<'_, Self>) {
        tracing::warn!(partition = self.number, %error, "the store could not be read; it is tried again in a second");
        self.paging.paused = true;
        ctx.after(std::time::Duration::from_secs(1), PartitionMsg::Tick);
    }
}

/// Whether the stored state has this very attempt under way.
fn was_stored(state: &RunState, effect: &Effect) -> bool {
    let Effect::StartAttempt { step, attempt, .. } = effect else { return false };
    let stored = state.get(*step);
    stored.is_some_and(|s| {
        s.status == StepStatus::InProgress && s.live.as_deref().is_some_and(|live| live.attempt == *attempt)
    })
}

async fn load_runs(runtime: &Runtime, runs: Vec<RunId>) -> Result<Vec<LoadedRun>, StoreError> {
    let stored = runtime.store.load_runs(runs).await?;
    let mut found = Vec::with_capacity(stored.len());
    for run in stored {
        let flow = &run.header.flow;
        let ready = runtime.plans.version(runtime.catalog.as_ref(), flow.id, flow.version).await;
        if let Err(StoreError::Unavailable(_)) = ready {
            return Err(ready.expect_err("it is one"));
        }
        found.push((run, ready));
    }
    Ok(found)
}
