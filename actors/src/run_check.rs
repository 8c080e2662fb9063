//! The numbered promises about runs, asked of every run of a store that has not ended.
//!
//! Such a run stands in a partition's queue, waits for a time, or is moved by others alone: the three lists that the
//! partitions load and the check of waiting runs are made of lead to all of them. For a store that stands still, or
//! nearly: a run that moves while it is looked at is read as it is then.

use std::sync::Arc;

use core314_domain::ids::RunId;
use core314_domain::invariants::{self, Violation};
use core314_domain::plan::FlowPlan;
use core314_domain::run::{Run, RunState, Timing};
use uuid::Uuid;

use crate::plans::Plans;
use crate::ports::StoreError;
use crate::ports::catalog::Catalog;
use crate::ports::store::{Store, StoredRun};

/// Runs that are read at once.
const PAGE: usize = 100;
/// Broken promises that are listed.
pub const MOST_BROKEN: usize = 100;

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many runs were looked at.
    pub runs: u64,
    /// At most [`MOST_BROKEN`], each with its run.
    pub broken: Vec<(RunId, Violation)>,
}

/// What is looked at, and with what.
pub struct RunCheck<'a> {
    pub store: &'a dyn Store,
    pub catalog: &'a dyn Catalog,
    pub plans: &'a Plans,
    pub partitions: u16,
    pub now_ms: i64,
}

impl RunCheck<'_> {
    /// Looks at every run that has not ended.
    pub async fn perform(&self) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        for partition in 0..self.partitions {
            self.queue(partition, &mut checked).await?;
            self.wake_ups(partition, &mut checked).await?;
        }
        self.idle(&mut checked).await?;
        Ok(checked)
    }

    async fn queue(&self, partition: u16, checked: &mut Checked) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.queue_page(partition, after, PAGE).await?;
            let runs: Vec<_> = page.iter().map(|(_, run)| (*run, false)).collect();
            self.judge(&runs, |_| true, checked).await?;
            after = page.last().copied();
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Those that wait for a time and do not stand in the queue as well.
    async fn wake_ups(&self, partition: u16, checked: &mut Checked) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.wake_page(partition, i64::MAX, after, PAGE).await?;
            let runs: Vec<_> = page.iter().map(|(_, run)| (*run, false)).collect();
            self.judge(&runs, |timing| timing.queue_key.is_none(), checked).await?;
            after = page.last().copied();
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    async fn idle(&self, checked: &mut Checked) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.idle_runs(after, PAGE).await?;
            after = page.last().map(|idle| idle.id);
            let is_last = page.len() < PAGE;
            let mut readable = Vec::with_capacity(page.len());
            for idle in page {
                match idle.run {
                    Ok(_) => readable.push((idle.id, idle.is_held)),
                    Err(message) => checked.note(idle.id, Violation { number: 8, message }),
                }
            }
            self.judge(&readable, |timing| *timing == Timing::default(), checked).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Judges those of these runs that are to be judged; of each it is known whether a limit of its flow holds it.
    async fn judge(
        &self,
        runs: &[(RunId, bool)],
        is_meant: impl Fn(&Timing) -> bool,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        let loaded = self.load(runs, checked).await?;
        for stored in loaded.iter().filter(|stored| is_meant(&stored.timing)) {
            let id = stored.header.id;
            checked.runs += 1;
            let is_held = runs.iter().any(|(run, is_held)| *run == id && *is_held);
            if self.judge_one(stored, is_held).await?.is_ok() || checked.is_full() {
                continue;
            }
            if let Err(violation) = self.judge_again(id).await? {
                checked.note(id, violation);
            }
        }
        Ok(())
    }

    /// One that cannot be read is named, and keeps no other from being looked at.
    async fn load(&self, runs: &[(RunId, bool)], checked: &mut Checked) -> Result<Vec<StoredRun>, StoreError> {
        match self.store.load_runs(runs.iter().map(|(run, _)| *run).collect()).await {
            Err(StoreError::Corrupt(_)) => {}
            answer => return answer,
        }
        let mut loaded = Vec::with_capacity(runs.len());
        for (run, _) in runs {
            match self.store.load_runs(vec![*run]).await {
                Ok(found) => loaded.extend(found),
                Err(StoreError::Corrupt(message)) => checked.note(*run, Violation { number: 8, message }),
                Err(error) => return Err(error),
            }
        }
        Ok(loaded)
    }

    /// Beside a server a run may have moved since its list was read, such as from the queue to where a limit holds it.
    async fn judge_again(&self, run: RunId) -> Result<Result<(), Violation>, StoreError> {
        let before = RunId(Uuid::from_u128(run.0.as_u128().saturating_sub(1)));
        let idle = self.store.idle_runs(Some(before), 1).await?;
        let is_held = idle.first().is_some_and(|idle| idle.id == run && idle.is_held);
        match self.store.load_runs(vec![run]).await {
            Ok(found) => match found.first() {
                Some(stored) => self.judge_one(stored, is_held).await,
                None => Ok(Ok(())),
            },
            Err(StoreError::Corrupt(message)) => Ok(Err(Violation { number: 8, message })),
            Err(error) => Err(error),
        }
    }

    async fn judge_one(&self, stored: &StoredRun, is_held: bool) -> Result<Result<(), Violation>, StoreError> {
        let (plan, state) = match readable(self.plans, self.catalog, stored).await? {
            Ok(read) => read,
            Err(violation) => return Ok(Err(violation)),
        };
        let run = Run::rehydrate(Arc::new(stored.header.clone()), plan, state, &stored.attempts);
        Ok(invariants::steps_wait_for_their_inputs(&run, self.now_ms)
            .and_then(|()| invariants::steps_wait_for_their_place(&run))
            .and_then(|()| invariants::ends_with_its_steps(&run))
            .and_then(|()| invariants::nothing_waits_in_vain(&run, stored.timing, is_held))
            .and_then(|()| invariants::every_step_names_its_reason(&run, self.now_ms)))
    }
}

/// The plan and the state of a stored run; one that this release cannot read breaks the promise that it goes on.
pub(crate) async fn readable(
    plans: &Plans,
    catalog: &dyn Catalog,
    stored: &StoredRun,
) -> Result<Result<(Arc<FlowPlan>, RunState), Violation>, StoreError> {
    let unreadable = |message: String| Ok(Err(Violation { number: 8, message }));
    let flow = &stored.header.flow;
    let plan = match plans.version(catalog, flow.id, flow.version).await {
        Ok(ready) => ready.plan,
        Err(StoreError::Corrupt(message)) => return unreadable(message),
        Err(error) => return Err(error),
    };
    match RunState::load(&stored.state) {
        Ok(state) => Ok(Ok((plan, state))),
        Err(error) => unreadable(error.to_string()),
    }
}

impl Checked {
    fn is_full(&self) -> bool {
        self.broken.len() >= MOST_BROKEN
    }

    /// Each run is named once: one that cannot be read may stand in two lists.
    fn note(&mut self, run: RunId, violation: Violation) {
        if !self.is_full() && self.broken.iter().all(|(noted, _)| *noted != run) {
            self.broken.push((run, violation));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::EngineSettings;
    use crate::testkit::memory_store::MemoryStore;
    use crate::testkit::store_suite::samples::{NOW_MS, Samples};
    use crate::testkit::store_suite::{commit_run, take};

    #[tokio::test]
    async fn every_run_is_looked_at_once_and_one_that_cannot_be_judged_is_named() {
        let store = MemoryStore::default();
        let epoch = take(&store).await;
        let mut samples = Samples::new(50);
        // It stands in the queue and waits for a time, and its flow has no such version.
        let queued = samples.accept(1, epoch);
        let mut waiting = samples.accept(2, epoch);
        waiting.timing.queue_key = None;
        let mut idle = samples.accept(3, epoch);
        idle.timing = Timing::default();
        for run in [&queued, &waiting, &idle] {
            commit_run(&store, run).await;
        }
        let settings = EngineSettings::default();
        let plans = Plans::new(Vec::new(), settings.plan_limits(), settings.cached_plans);
        let check = RunCheck { store: &store, catalog: &store, plans: &plans, partitions: 4, now_ms: NOW_MS };
        let checked = check.perform().await.expect("the store answers");
        assert_eq!(checked.runs, 3);
        let broken: Vec<RunId> = checked.broken.iter().map(|(run, _)| *run).collect();
        assert_eq!(broken, [queued.id, waiting.id, idle.id]);
        assert!(checked.broken[0].1.message.contains("has no version"), "{:?}", checked.broken[0].1);
    }

    #[test]
    fn a_run_that_stands_in_two_lists_is_named_once() {
        let (mut checked, run) = (Checked::default(), Samples::new(51).run_id());
        for message in ["first", "again"] {
            checked.note(run, Violation { number: 8, message: message.to_owned() });
        }
        assert_eq!(checked.broken.len(), 1);
        assert_eq!(checked.broken[0].1.message, "first");
    }
}
