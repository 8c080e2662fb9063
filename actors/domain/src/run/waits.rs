//! Steps that wait: for a time, a signal, an event, or a run of another flow.

use std::sync::Arc;

use serde_json::json;

use super::decide::Decider;
use super::step::{Live, StepStatus};
use super::{Change, Effect, Refusal, RequestName, SubRunNews};
use crate::Json;
use crate::event;
use crate::ids::{RowId, StepNo};
use crate::log::{Failure, LogEntry};
use crate::plan::{StepKind, SubFlowPlan, WaitFor, WaitPlan};
use crate::words::{ExecutionStatus, OnWaitTimeout, RunStatus};

/// Signals that a run keeps until something waits for them.
const MAX_SIGNALS: usize = 100;
/// A year: nothing waits longer by a computed number.
const MAX_WAIT_MS: f64 = 31_536_000_000.0;
/// How long after the last look a step asks again how the run that it started stands, where nothing was heard of it.
const FIRST_LOOK_MS: i64 = 30_000;
const LAST_LOOK_MS: i64 = 900_000;

impl Decider<'_> {
    pub(super) fn begin_wait(&mut self, no: StepNo, wait: &WaitPlan) {
        let scope = self.draft.scope(no, self.live(no).released_at_ms);
        let wrong = |message: String| Failure::fatal("invalid_wait", message);
        let until = match &wait.what {
            WaitFor::Seconds(seconds) => seconds.render(&scope).map_err(|e| wrong(e.to_string())).and_then(|value| {
                let seconds = value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
                let ms = seconds.map(|s: f64| s * 1_000.0).filter(|ms| (0.0..=MAX_WAIT_MS).contains(ms));
                ms.map(|ms| Some(self.now_ms + ms as i64))
                    .ok_or_else(|| wrong(format!("seconds must be a number from 0 to a year, is {value}")))
            }),
            WaitFor::Until(until) => until.render(&scope).map_err(|e| wrong(e.to_string())).and_then(|value| {
                let time = value.as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
                time.map(|time| Some(time.timestamp_millis()))
                    .ok_or_else(|| wrong(format!("until must be an RFC 3339 time, is {value}")))
            }),
            WaitFor::Signal(_) | WaitFor::Event { .. } => Ok(None),
        };
        let key = match &wait.what {
            WaitFor::Event { kind, key, .. } => {
                key.evaluate(&scope).map_err(|e| wrong(e.to_string())).and_then(|key| {
                    let found = event::key_text(&key).map(|key| Some((kind.clone(), key)));
                    found.ok_or_else(|| wrong(format!("the event's key must be a text, a number or a bool, is {key}")))
                })
            }
            _ => Ok(None),
        };
        let (until, key) = match (until, key) {
            (Ok(until), Ok(key)) => (until, key),
            (Err(failure), _) | (_, Err(failure)) => return self.fails(no, failure),
        };
        self.waits(no, self.live(no));
        if let WaitFor::Signal(name) = &wait.what
            && let Some((_, payload)) = self.state().signals.iter().find(|(kept, _)| kept == name).cloned()
        {
            self.emit(Change::SignalTaken { name: name.clone() });
            return self.heard(no, &payload, None);
        }
        let expires_at_ms = wait.timeout_ms.map(|ms| self.now_ms + ms);
        let live = Live { due_at_ms: until, expires_at_ms, ..self.live(no) };
        self.emit(Change::StepAdjusted { step: no, live });
        if let Some((kind, key)) = key {
            self.emit(Change::WaitOpened { step: no, kind, key });
        }
        self.wake_waiting(no);
    }

    /// What it waited for has come.
    fn heard(&mut self, no: StepNo, payload: &Json, taken: Option<RowId>) {
        if taken.is_some() {
            self.emit(Change::WaitClosed { step: no, taken });
        }
        self.completes(no, json!({"timed_out": false, "payload": payload}));
    }

    /// Looks whether the time of a waiting step has come.
    pub(super) fn wake_waiting(&mut self, no: StepNo) {
        let live = self.live(no);
        let is_due = live.due_at_ms.is_some_and(|at| at <= self.now_ms);
        let is_over = live.expires_at_ms.is_some_and(|at| at <= self.now_ms);
        match &self.draft.plan.clone().part(self.draft.plan_ref(no)).kind {
            StepKind::Wait(_) if is_due => {
                self.completes(no, json!({"timed_out": false, "payload": null}));
            }
            StepKind::Wait(wait) if is_over => match wait.on_timeout {
                OnWaitTimeout::Fail => {
                    self.fails(no, Failure::fatal("timeout", "what it waits for did not come in time"));
                }
                OnWaitTimeout::Continue => self.completes(no, json!({"timed_out": true, "payload": null})),
            },
            StepKind::ForEach(_) | StepKind::While(_) if is_due => {
                self.emit(Change::StepAdjusted { step: no, live: Live { due_at_ms: None, ..live } });
                self.open_rounds(no);
            }
            StepKind::SubFlow(_) if is_due && live.cancelled => self.stop_run(no),
            StepKind::SubFlow(_) if is_due => self.ask_for_run(no),
            _ => {}
        }
    }

    /// A signal goes to the first step that waits for its name; otherwise it is kept. One that was told before, under the
    /// same name of the caller's, is only noted again: so its answer, too, waits until the first is stored.
    pub(super) fn signal(
        &mut self,
        name: &Arc<str>,
        payload: &Json,
        request: Option<&RequestName>,
    ) -> Result<(), Refusal> {
        if let Some(request) = request
            && self.state().has_heard(request)?
        {
            self.emit(Change::SignalNamed(request.clone()));
            return Ok(());
        }
        let waits = |no: &StepNo| {
            self.status(*no) == StepStatus::Waiting
                && matches!(&self.plan(*no).kind, StepKind::Wait(WaitPlan { what: WaitFor::Signal(own), .. }) if own == name)
        };
        let waiting = self.state().numbers().into_iter().find(waits);
        if waiting.is_none() && self.state().signals.len() >= MAX_SIGNALS {
            return Err(Refusal::TooManySignals(MAX_SIGNALS));
        }
        if let Some(request) = request {
            self.emit(Change::SignalNamed(request.clone()));
        }
        match waiting {
            Some(no) => self.heard(no, payload, None),
            None => self.emit(Change::SignalKept { name: name.clone(), payload: payload.clone() }),
        }
        Ok(())
    }

    /// An event of the key that a step waits for; its match may still refuse it.
    pub(super) fn event(&mut self, no: StepNo, id: RowId, event: &Json) {
        if self.status(no) != StepStatus::Waiting {
            return;
        }
        let plan = self.draft.plan.clone();
        let StepKind::Wait(WaitPlan { what: WaitFor::Event { matches, .. }, .. }) =
            &plan.part(self.draft.plan_ref(no)).kind
        else {
            return;
        };
        let mut scope = self.draft.scope(no, self.now_ms);
        scope.event = event.clone();
        match matches.as_ref().map_or(Ok(true), |matches| matches.holds(&scope)) {
            Ok(true) => self.heard(no, event, Some(id)),
            Ok(false) => {}
            Err(e) => self.fails(no, Failure::fatal("expression_error", e.to_string())),
        }
    }

    pub(super) fn begin_sub_flow(&mut self, no: StepNo) {
        let live = self.live(no);
        let scope = self.draft.scope(no, live.released_at_ms);
        if let Err(e) = self.plan(no).payload.render(&scope) {
            return self.fails(no, Failure::fatal("template_error", e.to_string()));
        }
        self.waits(no, live);
        self.ask_for_run(no);
    }

    /// Starts the step's run, or finds it: its key is the execution's id and the attempt, so that a step whose run ended
    /// badly gets another when it is done again. Asked again after a while, so that no word of its end can be lost.
    pub(super) fn ask_for_run(&mut self, no: StepNo) {
        let live = self.live(no);
        let scope = self.draft.scope(no, live.released_at_ms);
        let Ok(input) = self.plan(no).payload.render(&scope) else { return };
        let waited_ms = self.now_ms - live.started_at_ms.unwrap_or(self.now_ms);
        let next_ms = self.now_ms + waited_ms.clamp(FIRST_LOOK_MS, LAST_LOOK_MS);
        self.emit(Change::StepAdjusted { step: no, live: Live { due_at_ms: Some(next_ms), ..live } });
        let part = self.draft.plan_ref(no);
        let (attempt, known, input) = (live.attempt, live.child, input.into());
        self.decision.effects.push(Effect::StartRun { step: no, attempt, known, input, part });
    }

    /// Whether the step waits for the end of a run that it has started.
    pub(super) fn waits_for_run(&self, no: StepNo) -> bool {
        let waits = matches!(&self.plan(no).kind, StepKind::SubFlow(SubFlowPlan { waits: true, .. }));
        waits && self.status(no) == StepStatus::Waiting
    }

    /// Whether the step waits for the end of a run that was told to end.
    pub(super) fn is_told_to_stop(&self, no: StepNo) -> bool {
        self.waits_for_run(no) && self.live(no).cancelled
    }

    /// Tells the step's run to end. The step ends once it hears that this has, as an attempt does that is told to end: until
    /// then it tells it again, so that neither a lost word nor a death in between leaves the run alone.
    pub(super) fn stop_run(&mut self, no: StepNo) {
        let live = Live { cancelled: true, due_at_ms: Some(self.now_ms + FIRST_LOOK_MS), ..self.live(no) };
        self.emit(Change::StepAdjusted { step: no, live });
        self.decision.effects.push(Effect::StopRun { step: no, attempt: live.attempt, known: live.child });
    }

    /// News of a run that was told to end, or is to be.
    fn stopped_run(&mut self, no: StepNo, news: &SubRunNews) {
        match news {
            SubRunNews::Accepted { run, .. } => {
                self.emit(Change::StepAdjusted { step: no, live: Live { child: Some(*run), ..self.live(no) } });
                self.stop_run(no);
            }
            // It was too late to hear it.
            SubRunNews::Ended { run, status: status @ RunStatus::Completed, output, .. } => {
                self.completes(no, json!({"run_id": run, "run_status": status, "output": output}));
            }
            SubRunNews::Ended { .. } | SubRunNews::Gone { .. } | SubRunNews::Refused { .. } => {
                self.ends_as_told(no);
            }
        }
    }

    /// Ends a step whose run was told to end. It counts as an attempt: whoever does the step again starts another run.
    fn ends_as_told(&mut self, no: StepNo) {
        self.starts_now(no);
        let payload = self.plan(no).payload.source().clone().into();
        let failure = Failure::fatal("cancelled", "the run that it started was told to end");
        let entry = self.log_entry(no, ExecutionStatus::Cancelled, payload);
        self.emit(Change::AttemptLogged(Box::new(LogEntry { failure: Some(failure), ..entry })));
        self.end(no, StepStatus::Cancelled);
    }

    /// The same without waiting for the run's end, which is told a last time to come.
    pub(super) fn leave_stopped_run(&mut self, no: StepNo) {
        let live = self.live(no);
        self.decision.effects.push(Effect::StopRun { step: no, attempt: live.attempt, known: live.child });
        self.ends_as_told(no);
    }

    /// News of the run that a step started. Of one that an earlier attempt of it started it hears nothing.
    pub(super) fn sub_run(&mut self, no: StepNo, news: &SubRunNews) {
        let is_waiting = self.state().get(no).is_some_and(|step| step.status == StepStatus::Waiting);
        if !is_waiting || !matches!(self.plan(no).kind, StepKind::SubFlow(_)) {
            return;
        }
        let waits = matches!(&self.plan(no).kind, StepKind::SubFlow(SubFlowPlan { waits: true, .. }));
        let live = self.live(no);
        let is_old = match news {
            SubRunNews::Accepted { attempt, .. } | SubRunNews::Refused { attempt, .. } => *attempt != live.attempt,
            SubRunNews::Ended { run, .. } | SubRunNews::Gone { run } => live.child != Some(*run),
        };
        if is_old {
            return;
        }
        if waits && live.cancelled {
            return self.stopped_run(no, news);
        }
        match news {
            SubRunNews::Accepted { run, .. } if waits => {
                self.emit(Change::StepAdjusted { step: no, live: Live { child: Some(*run), ..live } });
            }
            SubRunNews::Accepted { run, .. } => self.completes(no, json!({"run_id": run})),
            SubRunNews::Refused { message, .. } => self.fails(no, Failure::fatal("not_started", message.clone())),
            SubRunNews::Gone { run } => self.fails(no, Failure::fatal("run_gone", format!("run {run} is gone"))),
            SubRunNews::Ended { run, status, output, error } => {
                let result = json!({"run_id": run, "run_status": status, "output": output});
                if *status == RunStatus::Completed {
                    return self.completes(no, result);
                }
                let error = error.as_deref().unwrap_or("it says no more");
                let mut failure = Failure::fatal("sub_flow_failed", format!("run {run} is {status}: {error}"));
                failure.details = Some(result);
                self.fails(no, failure);
            }
        }
    }
}
