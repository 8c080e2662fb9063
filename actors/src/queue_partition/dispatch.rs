//! Slots and attempts: what may start does, in order; what has ended is told to its run.

use std::sync::Arc;
use std::time::Duration;

use core314_domain::Json;
use core314_domain::ids::{RunId, StepNo};
use core314_domain::log::Failure;
use core314_domain::plan::StepKind;
use core314_domain::run::{AttemptReport, Command, Effect, IdempotencyKey, Outcome, PlanRef};
use core314_domain::secret::Marked;

use super::ready::Entry;
use super::runs::Ask;
use super::{PartitionMsg, QueuePartition};
use crate::gates::Passes;
use crate::ports::executor::Attempt;
use crate::runtime::{Counters, Order, perform, report_now};
use crate::sub_runs::{StartRun, StopRun, SubRunMsg};
use crate::supervision::Ctx;

impl QueuePartition {
    /// Gives free slots to the entries of the queue.
    pub(super) fn dispatch(&mut self, ctx: &mut Ctx<'_, Self>) {
        // What a slow commit does not take yet stays in the queue, where it is small.
        while !self.draining && self.free() > 0 && !self.outbox.is_heavy(self.runtime.settings.decision_bytes) {
            // In turn: a crowd whose gate has opened is in nobody's way.
            self.held.has_turn = !self.held.has_turn;
            if self.held.has_turn && self.start_held() {
                continue;
            }
            match self.ready.pop() {
                // An entry whose run has left memory comes back when the run is read again.
                Some(entry) if !self.runs.contains_key(&entry.run) => {}
                Some(entry) => self.start_or_hold(entry, ctx),
                None if self.start_held() => {}
                None => return,
            }
        }
    }

    /// Does what a durable decision asks for.
    pub(super) fn act(&mut self, run: RunId, effects: Vec<Effect>, ctx: &mut Ctx<'_, Self>) {
        for effect in effects {
            match effect {
                Effect::StartAttempt { step, attempt, payload, marked, part, key } => {
                    self.start_attempt(run, (step, part), (attempt, key), (payload, marked), ctx);
                }
                Effect::StartRun { step, attempt, known, input, part } => {
                    self.start_run(run, (step, attempt), known, input, part);
                }
                Effect::StopRun { step, attempt, known } => self.stop_run(run, step, attempt, known),
                Effect::CancelAttempt { step, attempt } => self.cut_off(run, step, attempt),
                Effect::Enqueue { step, order, gate } => self.enqueue((run, step), order, gate),
            }
        }
    }

    /// Puts an execution into the queue.
    fn enqueue(&mut self, (run, step): (RunId, StepNo), order: i64, gate: Option<Arc<str>>) {
        let Some(resident) = self.runs.get_mut(&run) else { return };
        let Some(header) = &resident.header else { return };
        let turn = resident.plan.as_ref().map_or(Ok(None), |plan| plan.turn_of(header));
        let turn = turn.unwrap_or_else(|error| {
            // It could be computed when the run was taken, and nothing of it has changed.
            tracing::error!(%run, %error, "an execution waits in the order of its tenant: its turn cannot be computed");
            None
        });
        let turn = turn.map(|key| (header.flow.id, key));
        let entry = Entry { tenant: header.owner.tenant, order, run, step, gate, turn: turn.clone() };
        resident.turn = turn;
        self.ready.push(entry, self.runtime.now_ms());
    }

    /// A step wants a run of another flow.
    fn start_run(&self, run: RunId, (step, attempt): (StepNo, u32), known: Option<RunId>, input: Json, part: PlanRef) {
        let Some(resident) = self.runs.get(&run) else { return };
        let (Some(header), Some(plan)) = (&resident.header, &resident.plan) else { return };
        let StepKind::SubFlow(sub) = &plan.part(part).kind else { return };
        let (flow, version) = (sub.flow.clone(), sub.version);
        let start = StartRun { parent: header.clone(), step, attempt, known, flow, version, input };
        self.runtime.sub_runs.ask(SubRunMsg::Start(Box::new(start)));
    }

    /// A step wants the run that it has started to end.
    fn stop_run(&self, run: RunId, step: StepNo, attempt: u32, known: Option<RunId>) {
        let Some(parent) = self.runs.get(&run).and_then(|resident| resident.header.clone()) else { return };
        self.runtime.sub_runs.ask(SubRunMsg::Stop(Box::new(StopRun { parent, step, attempt, known })));
    }

    fn start_attempt(
        &mut self,
        run: RunId,
        (step, part): (StepNo, PlanRef),
        (attempt, key): (u32, Option<IdempotencyKey>),
        (payload, marked): (Json, Option<Marked>),
        ctx: &mut Ctx<'_, Self>,
    ) {
        Counters::add(&self.runtime.counters.attempts_started, 1);
        let Passes { call, share } = self.passes.remove(&(run, step)).unwrap_or_default();
        let Some(resident) = self.runs.get(&run) else { return };
        let (Some(header), Some(plan)) = (&resident.header, &resident.plan) else { return };
        let plan = plan.part(part);
        let Some(executor) = self.runtime.executors.get(&*plan.action_type).cloned() else {
            let failure = Failure::fatal("no_executor", format!("'{}' has no executor here", plan.action_type));
            let report = report_now(&self.runtime, Outcome::Failed(failure), payload);
            return self.report(run, step, attempt, Arc::new(report));
        };
        if marked.is_none()
            && let Some(outcome) = executor.immediate(&payload)
        {
            let report = report_now(&self.runtime, outcome, payload);
            return self.report(run, step, attempt, Arc::new(report));
        }
        let timeout_ms = plan.timeout_ms.unwrap_or(self.runtime.settings.attempt_timeout_ms);
        let tenant = header.owner.tenant;
        let request = Attempt {
            owner: header.owner,
            run,
            step,
            execution: run.execution(step),
            key,
            attempt,
            action_target: plan.action_target.clone(),
            connection: None,
            source: None,
            payload,
            secrets: Arc::default(),
            timeout: Duration::from_millis(timeout_ms),
        };
        self.running.insert((run, step), Some(part));
        self.shared.attempts.begin(run, step, attempt);
        let me = ctx.me();
        let share = share.or_else(|| self.runtime.gates.share_now(tenant));
        let order = Order { attempt: request, marked, pass: call, share, is_probe: false };
        perform(&self.runtime, &self.shared.attempts, executor, order, move || {
            // A partition that is gone finds the report in the table when it starts again.
            let _ = me.tell_urgent(PartitionMsg::AttemptEnded { run, step, attempt });
        });
    }

    /// An attempt's report is in the table.
    pub(super) fn attempt_ended(&mut self, run: RunId, step: StepNo, attempt: u32) {
        self.running.remove(&(run, step));
        if let Some(report) = self.shared.attempts.report(run, step, attempt) {
            self.report(run, step, attempt, report);
        }
    }

    /// Tells a run how its attempt ended.
    pub(super) fn report(&mut self, run: RunId, step: StepNo, attempt: u32, report: Arc<AttemptReport>) {
        let report = Arc::unwrap_or_clone(report);
        self.deliver(run, Ask::quiet(Command::AttemptEnded { step, attempt, report }));
    }

    /// Ends an attempt that its run does not want any more.
    fn cut_off(&mut self, run: RunId, step: StepNo, attempt: u32) {
        if !self.shared.attempts.abort(run, step, attempt) {
            return;
        }
        let part = self.running.get(&(run, step)).copied().flatten();
        let payload = self.payload_source(run, part);
        let report = report_now(&self.runtime, Outcome::Cancelled, payload);
        if self.shared.attempts.end(run, step, attempt, report) {
            self.attempt_ended(run, step, attempt);
        }
    }

    /// The payload of a step before its templates are rendered: all that is known here of what was sent.
    fn payload_source(&self, run: RunId, part: Option<PlanRef>) -> Json {
        let plan = self.runs.get(&run).and_then(|r| r.plan.as_ref());
        let known = plan.zip(part);
        known.map_or_else(Json::default, |(plan, part)| Arc::new(plan.part(part).payload.source().clone()))
    }
}
