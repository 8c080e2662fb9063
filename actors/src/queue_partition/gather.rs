//! Runs that gather triggers before they begin (ADR 015).
//!
//! The first trigger of a key makes a run, as any trigger does; it waits. One that comes after it is a write of its own, which
//! the store counts with its run or refuses, and is answered once that is durable. A run that is due takes no more; when
//! nothing of it is under way what it has gathered is read, becomes its trigger, and the run asks for its place like any
//! other.
//!
//! How someone could get this wrong: to read what was gathered while a trigger is on its way to it; to let one join a run
//! whose own accept the store may still refuse. So such triggers wait here until that is known.

use std::collections::HashMap;
use std::sync::Arc;

use core314_domain::ids::RunId;
use core314_domain::limits::{Brought, Joining};
use core314_domain::run::{Command, RunHeader};

use super::runs::Ask;
use super::{Answer, NewRun, PartitionMsg, QueuePartition, claim_of};
use crate::flow_run::Remark;
use crate::ingress::Accepted;
use crate::ports::StoreError;
use crate::ports::store::{GatherWrite, Outcome};
use crate::supervision::Ctx;

/// Runs whose gathered triggers are read at once.
const READ_AT_ONCE: usize = 16;

/// Triggers on their way.
#[derive(Default)]
pub struct Gathering {
    /// Those that wait until something of this run is known.
    waiting: HashMap<RunId, Vec<NewRun>>,
    /// Those that are to be looked at again.
    again: Vec<NewRun>,
    /// What is due is being read.
    is_reading: bool,
}

/// A trigger that is to join a run, until its write is settled.
pub struct Join {
    pub write: Arc<GatherWrite>,
    /// For the case that its run is gone.
    new: NewRun,
}

impl QueuePartition {
    /// Lets a trigger join the run that gathers its key. What comes back makes a run of its own.
    pub(super) fn join(&mut self, new: NewRun) -> Option<NewRun> {
        let Some(claim) = new.claim.clone() else { return Some(new) };
        let Some(gathers) = &claim.gathers else { return Some(new) };
        let (most, now_ms) = (self.runtime.settings.max_trigger_bytes, self.runtime.now_ms());
        match self.limits.gatherings.arrive(claim.flow, gathers, new.bytes, most, now_ms) {
            Joining::Opens => return Some(new),
            Joining::Waits { run } => self.gathering_triggers.waiting.entry(run).or_default().push(new),
            Joining::Joins { run, no } => {
                let header = &new.header;
                let idempotency = new.accepting.idempotency.clone().map(|mut named| {
                    if let Ok(own) = serde_json::from_value::<Accepted>(named.answer.take()) {
                        named.answer = serde_json::to_value(own.joining(run)).expect("an answer has text keys");
                    }
                    named
                });
                let schedule = new.accepting.schedule.clone().map(|mut step| {
                    step.run = Some(run);
                    step
                });
                let write = GatherWrite {
                    id: header.id,
                    no,
                    run,
                    tenant: header.owner.tenant,
                    partition: self.number,
                    epoch: self.runtime.epoch,
                    brought: Brought::of(header, gathers.terms),
                    bytes: new.bytes,
                    is_last_alone: !gathers.terms.is_batch(),
                    idempotency,
                    schedule,
                    at_ms: now_ms,
                };
                self.outbox.push_join(Join { write: Arc::new(write), new });
            }
        }
        None
    }

    /// What became of a trigger that was to join.
    pub(super) fn joined(&mut self, join: Join, outcome: Outcome) {
        let GatherWrite { run, bytes, at_ms, .. } = *join.write;
        let is_durable = matches!(outcome, Outcome::Committed { .. });
        self.limits.gatherings.settled(run, bytes, is_durable.then_some(at_ms));
        let answer = match outcome {
            Outcome::Committed { .. } => Answer::Gathered { run },
            Outcome::Duplicate { answer, same_request } => Answer::Duplicate { answer, same_request },
            // The run was cancelled meanwhile: the trigger makes another one.
            Outcome::NotFound => {
                self.limits.gatherings.leave(run);
                self.gathering_triggers.again.push(join.new);
                return self.let_on(run);
            }
            Outcome::Stale => Answer::Failed("the schedule has moved on".to_owned()),
            Outcome::Fenced => Answer::Failed("this node no longer owns the partition".to_owned()),
            Outcome::Rejected { message, .. } => Answer::Failed(format!("the store refuses the trigger: {message}")),
            Outcome::Conflict | Outcome::RunKeyTaken { .. } => {
                Answer::Failed("the store gives an answer that it cannot give".to_owned())
            }
        };
        // A caller that has gone away does not want to know.
        drop(join.new.answer.send(answer));
        self.let_on(run);
    }

    /// It is not known whether these were stored: stored again, they are counted once.
    pub(super) fn join_again(&mut self, joins: Vec<Join>) {
        joins.into_iter().for_each(|join| self.outbox.push_join(join));
    }

    /// A run that gathers is durable: others may join it.
    pub(super) fn opened(&mut self, run: RunId) {
        if self.limits.gatherings.knows(run) {
            self.limits.gatherings.opened(run);
            self.let_on(run);
        }
    }

    /// A run gathers no more: it has begun, has ended, or was not taken.
    pub(super) fn stop_gathering(&mut self, run: RunId) {
        if self.limits.gatherings.leave(run) {
            self.let_on(run);
        }
    }

    /// Those that wait for news of a run are looked at again.
    fn let_on(&mut self, run: RunId) {
        self.gathering_triggers.again.extend(self.gathering_triggers.waiting.remove(&run).into_iter().flatten());
    }

    /// Takes up the triggers that have waited, and reads what the runs have gathered that are due.
    pub(super) fn gather(&mut self, ctx: &mut Ctx<'_, Self>) {
        for new in std::mem::take(&mut self.gathering_triggers.again) {
            self.accept(new, ctx);
        }
        let is_quiet = self.limits.gatherings.is_empty() || !self.limits.is_read() || self.draining;
        if is_quiet {
            return;
        }
        // Also while nothing is read: a time that has passed would be armed for again and again.
        self.limits.gatherings.close_due(self.runtime.now_ms());
        if self.gathering_triggers.is_reading || self.paging.is_paused() {
            return;
        }
        let runs = self.limits.gatherings.ripe(self.runtime.now_ms(), READ_AT_ONCE);
        if !runs.is_empty() {
            self.read_gathered(runs, ctx);
        }
    }

    fn read_gathered(&mut self, runs: Vec<RunId>, ctx: &mut Ctx<'_, Self>) {
        self.gathering_triggers.is_reading = true;
        let (store, wanted) = (self.runtime.store.clone(), runs.clone());
        let read = async move { store.gathered(wanted).await };
        self.read(ctx, read, move |found| PartitionMsg::Gathered { runs, found });
    }

    /// What these runs have gathered was read: it becomes their trigger.
    pub(super) fn gathered_read(
        &mut self,
        runs: Vec<RunId>,
        found: Result<Vec<(RunId, Brought)>, StoreError>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        self.gathering_triggers.is_reading = false;
        let found = match found {
            Ok(found) => found,
            Err(error @ StoreError::Unavailable(_)) => {
                runs.iter().for_each(|run| self.limits.gatherings.unread(*run));
                return self.store_away(&error, ctx);
            }
            // One of them cannot be read: each is read alone, so that the others begin.
            Err(_) if runs.len() > 1 => return runs.into_iter().for_each(|run| self.read_gathered(vec![run], ctx)),
            Err(error) => {
                let run = runs.first().map(ToString::to_string);
                tracing::error!(?run, %error, "what a run has gathered cannot be read; it stays as it is");
                return;
            }
        };
        let mut all: HashMap<RunId, Vec<Brought>> = HashMap::new();
        for (run, brought) in found {
            all.entry(run).or_default().push(brought);
        }
        for run in runs {
            let brought = Arc::new(all.remove(&run).unwrap_or_default());
            self.deliver(run, Ask::quiet(Command::Gathered { brought }));
        }
    }

    /// A run has decided that it gathers no more: it asks for its place, by what its trigger is now.
    /// One that is paused (`is_aside`) asks once it is resumed.
    pub(super) fn has_gathered(&mut self, run: RunId, header: &Arc<RunHeader>, is_aside: bool) {
        self.stop_gathering(run);
        let Some(resident) = self.runs.get_mut(&run) else { return };
        resident.header = Some(header.clone());
        match resident.plan.as_ref().map(|plan| claim_of(plan, header)) {
            Some(Ok(Some(claim))) => resident.claim = Some(Arc::new(claim)),
            Some(Ok(None)) | None => {}
            // At an accept the trigger is refused for this; here it was taken, one by one.
            Some(Err(error)) => {
                let reason = format!("its flow's limits cannot be evaluated on what it has gathered: {error}");
                return self.tell_end(run, reason);
            }
        }
        if resident.claim.is_some() && !is_aside {
            self.line_up(run);
        }
    }

    pub(super) fn tell_end(&mut self, run: RunId, reason: String) {
        let remark = Remark { by: Some("engine".into()), ..Remark::default() };
        self.tell(run, Box::new(Command::Cancel { reason }), remark, None);
    }
}
