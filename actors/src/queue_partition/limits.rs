//! The limits of the flows whose runs live here: who may start, who waits, and who is next.
//!
//! The partition is the one writer of its runs, so its book of claims needs no agreement with anybody. A place is held from
//! before the start is committed until the end is; a run that waits sleeps in the store. The book is read back from the
//! rows of live runs before anything else is read, so that no start or end can pass it by.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use core314_domain::ids::RunId;
use core314_domain::limits::{Admission, Arrival, Book, Bucket, Claim, Gatherings, Hold, Progress};
use core314_domain::plan::FlowPlan;
use core314_domain::run::{Command, RunHeader, RunState};
use core314_domain::words::RunStatus;
use tokio::sync::oneshot;

use super::runs::{Ask, Resident};
use super::{Answer, NewRun, PartitionMsg, QueuePartition};
use crate::flow_run::Remark;
use crate::ports::StoreError;
use crate::ports::store::{LimitStage, LimitWrite, RunWrite, Store, StoredLimits};
use crate::supervision::Ctx;

/// How often buckets that are full again are forgotten.
const SWEEP_MS: i64 = 60_000;

/// The book, and what waits until it has been read.
#[derive(Default)]
pub struct Desk {
    pub book: Book,
    pub gatherings: Gatherings,
    is_read: bool,
    reading: bool,
    /// New runs that are subject to limits, and questions, that came before.
    early: Vec<PartitionMsg>,
    swept_at_ms: i64,
}

impl Desk {
    /// When somebody may be able to start by the passing of time alone.
    pub fn next_due_ms(&self) -> Option<i64> {
        [self.book.next_due_ms(), self.gatherings.next_due_ms()].into_iter().flatten().min()
    }

    /// Whether runs may be read: those that end before the book is there would stay in it.
    pub const fn is_read(&self) -> bool {
        self.is_read
    }
}

/// What a run of this flow claims, as its header says. `None` where the flow has no limits.
pub fn claim_of(plan: &FlowPlan, header: &RunHeader) -> Result<Option<Claim>, String> {
    let Some(limits) = &plan.limits else { return Ok(None) };
    limits.claim_of(header).map(Some).map_err(|e| e.to_string())
}

impl QueuePartition {
    /// Reads the claims of live runs, once in a life.
    pub(super) fn read_limits(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.limits.is_read || self.limits.reading || self.outbox.awaits_earlier() || self.paging.is_paused() {
            return;
        }
        self.limits.reading = true;
        let (store, number, page) = (self.runtime.store.clone(), self.number, self.runtime.settings.page_size);
        let now_us = self.runtime.now_ms() * 1_000;
        let all = async move { stored_limits(store.as_ref(), number, now_us, page).await };
        self.read(ctx, all, PartitionMsg::Limits);
    }

    /// The claims of live runs were read.
    pub(super) fn limits_read(&mut self, found: Result<StoredLimits, StoreError>, ctx: &mut Ctx<'_, Self>) {
        self.limits.reading = false;
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.store_away(&error, ctx),
        };
        let Desk { book, gatherings, .. } = &mut self.limits;
        let mut begins = Vec::new();
        for run in found.runs {
            match (run.gathers, &run.claim.gathers) {
                (Some(progress), Some(gathers)) => {
                    gatherings.restore(run.run, run.claim.flow, gathers, run.since_ms, progress);
                }
                // It gathers no more, nothing else holds it, and whoever was to tell it so has died.
                (None, Some(_)) if run.claim.is_free() && !run.holds => begins.push(run.run),
                _ => book.restore(run.run, Arc::new(run.claim), run.since_ms, run.holds),
            }
        }
        for (flow, key, bucket) in found.buckets {
            book.restore_bucket(flow, key, bucket);
        }
        self.limits.is_read = true;
        begins.into_iter().for_each(|run| self.deliver(run, Ask::quiet(Command::Begin)));
        for run in self.limits.book.all_overtaken() {
            self.replace(run);
        }
        self.start_admitted();
        for msg in std::mem::take(&mut self.limits.early) {
            match msg {
                PartitionMsg::Accept(new) => self.accept(*new, ctx),
                PartitionMsg::AcceptAll(all) => self.accept_all(all, ctx),
                PartitionMsg::Hold { run, answer } => self.tell_hold(run, answer),
                _ => {}
            }
        }
    }

    /// Keeps new runs that are subject to limits until the book is there. True if they are kept.
    pub(super) fn is_too_early(&self, new: &[NewRun]) -> bool {
        !self.limits.is_read && new.iter().any(|new| new.claim.is_some())
    }

    pub(super) fn keep_for_later(&mut self, msg: PartitionMsg) {
        self.limits.early.push(msg);
    }

    /// What a new run is told first: to begin, or to wait. `Err`: it is not taken.
    pub(super) fn first_command(&mut self, new: &NewRun) -> Result<Ask, Answer> {
        let Some(claim) = &new.claim else { return Ok(Ask::quiet(Command::Begin)) };
        if let Some(gathers) = &claim.gathers {
            if self.limits.gatherings.len() >= self.runtime.settings.gathering_runs_per_partition {
                return Err(Answer::Crowded);
            }
            let (run, now_ms) = (new.header.id, self.runtime.now_ms());
            self.limits.gatherings.open(run, claim.flow, gathers, new.bytes, now_ms);
            return Ok(Ask::quiet(Command::Gather));
        }
        if self.limits.book.waiting() >= self.runtime.settings.limited_runs_per_partition {
            return Err(Answer::Crowded);
        }
        self.enter(new.header.id, claim, new.header.accepted_at_ms, Command::Begin, Command::Hold)
    }

    /// What a run is told that is taken up again after its end: it needs a place like any other.
    pub(super) fn retried(&mut self, run: RunId, ask: Ask) -> Result<Ask, Box<(Ask, Answer)>> {
        let Command::Retry { step } = &*ask.command else { return Ok(ask) };
        let Some(resident) = self.runs.get(&run).filter(|resident| resident.ended) else { return Ok(ask) };
        let Some(claim) = resident.claim.clone() else { return Ok(ask) };
        let step = *step;
        let entered =
            self.enter(run, &claim, self.runtime.now_ms(), Command::Retry { step }, Command::RetryHeld { step });
        match entered {
            Ok(entered) => {
                let bucket = entered.bucket.or(ask.bucket);
                Ok(Ask { command: entered.command, bucket, ..ask })
            }
            Err(answer) => Err(Box::new((ask, answer))),
        }
    }

    fn enter(
        &mut self,
        run: RunId,
        claim: &Arc<Claim>,
        since_ms: i64,
        free: Command,
        held: Command,
    ) -> Result<Ask, Answer> {
        let cancel = match self.limits.book.arrive(run, claim, since_ms) {
            Arrival::Admitted => return Ok(Ask::quiet(free)),
            Arrival::Skipped { holders } => return Err(Answer::Skipped { holders }),
            Arrival::Waits { cancel } => cancel,
        };
        cancel.into_iter().for_each(|other| self.replace(other));
        let mut own = None;
        for admission in self.limits.book.admit(self.runtime.now_ms()) {
            if admission.run == run {
                own = Some(admission.bucket);
            } else {
                self.begin_admitted(&admission);
            }
        }
        Ok(own.map_or_else(|| Ask::quiet(held), |bucket| Ask { bucket, ..Ask::quiet(free) }))
    }

    /// A run that lives, and has no place, asks for one.
    pub(super) fn line_up(&mut self, run: RunId) {
        if self.limits.gatherings.knows(run) {
            // It asks once it has gathered.
            return;
        }
        let claim = self.runs.get(&run).and_then(|resident| resident.claim.clone());
        let now_ms = self.runtime.now_ms();
        let arrival = claim.map_or(Arrival::Admitted, |claim| self.limits.book.arrive(run, &claim, now_ms));
        match arrival {
            Arrival::Admitted => self.deliver(run, Ask::quiet(Command::Begin)),
            Arrival::Waits { cancel } => {
                cancel.into_iter().for_each(|other| self.replace(other));
                self.start_admitted();
            }
            Arrival::Skipped { .. } => {
                self.tell_end(run, "the limit of its flow is full, and its strategy is to skip".to_owned());
            }
        }
    }

    /// A run is paused that has yet to begin: its place in line is another's.
    pub(super) fn step_aside(&mut self, run: RunId) {
        // It may be resumed before it hears that it was admitted, and begin by that: then the place must be its own.
        let is_begin = |ask: &Ask| matches!(&*ask.command, Command::Begin);
        let is_admitted = |resident: &Resident| resident.waiting.iter().chain(&resident.asked).any(is_begin);
        if !self.runs.get(&run).is_some_and(is_admitted) {
            self.leave_line(run);
        }
    }

    fn leave_line(&mut self, run: RunId) {
        if self.limits.book.knows(run) {
            self.limits.book.leave(run);
            self.start_admitted();
        }
    }

    /// A newer run of its key takes its place.
    pub(super) fn replace(&mut self, run: RunId) {
        let reason = "a newer run of its limit's key takes its place".to_owned();
        let remark = Remark { by: Some("engine".into()), ..Remark::default() };
        self.tell(run, Box::new(Command::Cancel { reason }), remark, None);
    }

    /// A run has ended for good, or was not taken: whoever waits for its place may have it.
    pub(super) fn give_place_back(&mut self, run: RunId) {
        self.stop_gathering(run);
        self.leave_line(run);
    }

    /// Starts whoever may start by now.
    pub(super) fn start_admitted(&mut self) {
        if !self.limits.is_read || self.draining {
            return;
        }
        let now_ms = self.runtime.now_ms();
        for admission in self.limits.book.admit(now_ms) {
            self.begin_admitted(&admission);
        }
        if now_ms - self.limits.swept_at_ms >= SWEEP_MS {
            self.limits.swept_at_ms = now_ms;
            self.limits.book.forget_full(now_ms);
        }
    }

    fn begin_admitted(&mut self, admission: &Admission) {
        self.deliver(admission.run, Ask { bucket: admission.bucket, ..Ask::quiet(Command::Begin) });
    }

    /// A run that was read and is alive is in the book, whatever its row said.
    pub(super) fn keep_place(&mut self, run: RunId, claim: &Arc<Claim>, header: &RunHeader, state: &RunState) {
        let since_ms = header.accepted_at_ms;
        match &claim.gathers {
            _ if state.status.is_terminal() => {}
            // Its accept was stored, unseen.
            Some(_) if state.is_gathering && self.limits.gatherings.knows(run) => self.opened(run),
            Some(gathers) if state.is_gathering => {
                // An end that was decided and not stored has closed it.
                let progress = Progress { count: 1, bytes: 0, last_no: u32::MAX, last_ms: since_ms };
                self.limits.gatherings.restore(run, claim.flow, gathers, since_ms, progress);
                self.limits.gatherings.close(run);
            }
            // Its resume asks for a place.
            _ if state.is_aside => {}
            _ => self.limits.book.restore(run, claim.clone(), since_ms, state.status != RunStatus::Pending),
        }
    }

    /// Puts into a write what it changes about the run's claim.
    pub(super) fn note_claim(
        &mut self,
        write: &mut RunWrite,
        command: &Command,
        bucket: Option<Bucket>,
        gathered: Option<Arc<RunHeader>>,
    ) {
        let may_step_aside = matches!(command, Command::Pause { .. } | Command::Resume);
        let changes = write.accept.is_some()
            || write.ended.is_some()
            || write.reopened.is_some()
            || gathered.is_some()
            || matches!(command, Command::Begin)
            || (may_step_aside && !self.limits.gatherings.knows(write.id));
        let Some(resident) = self.runs.get(&write.id).filter(|_| changes) else { return };
        let Some(claim) = resident.claim.clone() else { return };
        let gathers = self.limits.gatherings.progress(write.id);
        // Of one that nothing holds, and that has never gathered, nothing is kept.
        if claim.is_free() && claim.gathers.is_none() {
            return;
        }
        let (stage, since_ms) = match (write.state.status, gathers) {
            (status, _) if status.is_terminal() => (LimitStage::Left, None),
            (_, Some((since_ms, progress))) => (LimitStage::Gathers(progress), Some(since_ms)),
            // Where nothing holds it, it waits to be told so: by the row, if whoever was to tell it dies.
            (RunStatus::Pending, None) => (LimitStage::Waits, None),
            _ if claim.is_free() => (LimitStage::Left, None),
            // Paused before it began, and not admitted.
            (RunStatus::Paused, None) if !self.limits.book.knows(write.id) => (LimitStage::Left, None),
            _ => (LimitStage::Holds, None),
        };
        if stage == LimitStage::Left {
            self.stop_gathering(write.id);
        }
        let since_ms =
            since_ms.or_else(|| self.limits.book.since_ms(write.id)).unwrap_or_else(|| self.runtime.now_ms());
        let at_ms = self.runtime.now_ms();
        write.limit = Some(Box::new(LimitWrite { claim, since_ms, stage, bucket, gathered, at_ms }));
    }

    /// What holds a run back.
    pub(super) fn tell_hold(&mut self, run: RunId, answer: oneshot::Sender<Option<Hold>>) {
        if !self.limits.is_read {
            return self.keep_for_later(PartitionMsg::Hold { run, answer });
        }
        // A caller that has gone away does not want to know.
        drop(answer.send(self.limits.gatherings.hold(run).or_else(|| self.limits.book.hold(run))));
    }

    /// Says how many wait and how many hold, for metrics.
    pub(super) fn publish_limits(&self) {
        self.shared.limit_waiting.store(self.limits.book.waiting() as u32, Ordering::Relaxed);
        self.shared.limit_holding.store(self.limits.book.admitted() as u32, Ordering::Relaxed);
        self.shared.limit_gathering.store(self.limits.gatherings.len() as u32, Ordering::Relaxed);
    }
}

async fn stored_limits(
    store: &dyn Store,
    partition: u16,
    now_us: i64,
    page: usize,
) -> Result<StoredLimits, StoreError> {
    let mut all = StoredLimits { runs: Vec::new(), buckets: store.limit_buckets(partition, now_us).await? };
    loop {
        let after = all.runs.last().map(|run| run.run);
        let more = store.limited_runs(partition, after, page).await?;
        let is_last = more.len() < page;
        all.runs.extend(more);
        if is_last {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::document::FlowDocument;
    use core314_domain::plan::PlanLimits;
    use serde_json::json;

    use super::*;
    use crate::testkit::store_suite::samples::Samples;

    #[test]
    fn a_stored_run_is_read_though_nobody_can_say_whose_turn_it_waits_for() {
        let limits = json!({"concurrency": {"max": 1}, "fairness": {"key": "trigger.absent"}});
        let document = json!({"flow_name": "f", "trigger_type": "manual", "limits": limits,
            "flow_steps": [{"id": "x", "config": {"action_type": "noop"}}]});
        let document = FlowDocument::from_value(document).unwrap();
        let plan = FlowPlan::compile(&document, &["noop"], &PlanLimits::default()).unwrap();
        let header = Samples::new(1).accept(0, 1).accept.expect("it is an accept").header;
        assert!(plan.turn_of(&header).is_err(), "a trigger would be refused for it");
        assert!(matches!(claim_of(&plan, &header), Ok(Some(_))), "a run that was taken goes on");
    }
}
