//! A flow run's actor: a thin shell around its state machine.
//!
//! It lives on its partition's arbiter, talks to that partition alone, and exists while the run does something. It
//! decides, applies what it decided to its own state, and hands the partition what is to be stored and done. It knows
//! nothing that the store cannot give back: when in doubt it is dropped and the run is loaded again.

mod asking;
mod failures;
mod outcome;
mod rows;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use core314_domain::Json;
use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::document::FlowDocument;
use core314_domain::expr::size;
use core314_domain::ids::StepNo;
use core314_domain::run::{CacheKey, Cached, Change, Command, Decision, Effect, Grant, Refusal, Reuse, Run, Timing};
use core314_domain::words::{ExecutionStatus, RunStatus};
use serde_json::json;

use crate::failpoint;
use crate::ports::schedule::ScheduleMove;
use crate::ports::store::{Accept, Idempotency, RunEnd, RunWrite};
use crate::queue_partition::{News, PartitionMsg, QueuePartition};
use crate::runtime::Runtime;
use crate::supervision::{Behaviour, Ctx, Ref};

/// Messages of a flow run.
pub enum RunMsg {
    Decide(Decide),
    /// Results that it wanted.
    Brought(Brought),
}

/// What a flow run cannot decide without.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    /// Results of its own steps.
    pub steps: Vec<StepNo>,
    /// Results of earlier runs.
    pub keys: Vec<CacheKey>,
}

/// What was read of that.
#[derive(Debug, Default)]
pub struct Brought {
    pub results: Vec<(StepNo, Json)>,
    /// Every key that was wanted, whether anything was found or not.
    pub cached: BTreeMap<CacheKey, Option<Cached>>,
}

/// What a flow run is told.
pub struct Decide {
    pub command: Arc<Command>,
    /// Slots that it may use at once.
    pub slots: usize,
    pub remark: Remark,
}

/// Who told a run something, and what they said with it.
#[derive(Debug, Clone, Default)]
pub struct Remark {
    /// `user:ID` or `service:KEY`; absent: the engine itself.
    pub by: Option<Arc<str>>,
    pub notes: Option<Arc<str>>,
}

/// Who did what nobody told a run to do.
const ENGINE: &str = "engine";

/// What a flow run answers its partition.
pub struct Decided {
    pub generation: u32,
    /// It sets the run aside.
    pub is_quarantine: bool,
    /// What to store; `None` when nothing changed.
    pub write: Option<Box<RunWrite>>,
    pub effects: Vec<Effect>,
    /// Steps that have ended by it, for metrics.
    pub ends: Vec<StepEnd>,
    /// What to tell once it is stored.
    pub news: News,
    pub unused_slots: usize,
    pub refusal: Option<Refusal>,
    /// The run has ended.
    pub ended: bool,
    /// Nothing is under way or queued: it may leave memory.
    pub idle: bool,
    /// How many of its steps are queued, where its tenant has integrations at whose gates they may wait.
    pub queued: Option<u32>,
}

/// What a flow run is made of.
#[derive(Clone)]
pub struct FlowRunArgs {
    pub runtime: Arc<Runtime>,
    pub partition: Ref<QueuePartition>,
    /// Which actor of its run this is: a late word of an earlier one is not heard.
    pub generation: u32,
    pub run: Arc<Run>,
    /// As stored.
    pub timing: Timing,
    /// Present until the accept is decided.
    pub accept: Option<Arc<Accepting>>,
}

/// A step's end, for metrics and for those who wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    pub step: StepNo,
    pub action_type: Arc<str>,
    pub status: ExecutionStatus,
}

/// Whether people are told of such an end. What a person stopped, they know of.
const fn is_bad(status: RunStatus) -> bool {
    matches!(status, RunStatus::Failed | RunStatus::TimedOut | RunStatus::RolledBack)
}

fn ends(run: &Run, changes: &[Change]) -> Vec<StepEnd> {
    let end = |change: &Change| match change {
        Change::StepEnded { step, status } => {
            let action_type = run.step_plan(*step).action_type.clone();
            Some(StepEnd { step: *step, action_type, status: status.execution_status() })
        }
        _ => None,
    };
    changes.iter().filter_map(end).collect()
}

/// What the accept of a run writes beside its header.
#[derive(Debug, Clone, Default)]
pub struct Accepting {
    pub idempotency: Option<Idempotency>,
    pub definition: Option<Arc<FlowDocument>>,
    /// How the schedule goes on that starts the run.
    pub schedule: Option<Box<ScheduleMove>>,
    /// What it takes over from the run that it repeats.
    pub reuse: Option<Arc<Reuse>>,
}

/// The actor.
pub struct FlowRun {
    runtime: Arc<Runtime>,
    partition: Ref<QueuePartition>,
    generation: u32,
    run: Run,
    timing: Timing,
    accept: Option<Arc<Accepting>>,
    /// What it was told and cannot decide yet: the first of it looks at results that are being read.
    held: VecDeque<Decide>,
    /// Whether results are being read.
    awaits: bool,
    /// Bytes that were read for the decision that is being made.
    brought_bytes: usize,
    /// Transitions of phases that it has written: their rows' ids keep this order within a millisecond.
    moves: Cell<u32>,
}

impl Behaviour for FlowRun {
    const KIND: &'static str = "flow_run";
    type Msg = RunMsg;
    type Args = FlowRunArgs;

    fn start(args: &FlowRunArgs, _ctx: &mut Ctx<'_, Self>) -> Self {
        let mut run = Run::clone(&args.run);
        run.bound(args.runtime.settings.run_bounds());
        run.use_cache();
        Self {
            runtime: args.runtime.clone(),
            partition: args.partition.clone(),
            generation: args.generation,
            run,
            timing: args.timing,
            accept: args.accept.clone(),
            held: VecDeque::new(),
            awaits: false,
            brought_bytes: 0,
            moves: Cell::new(0),
        }
    }

    fn handle(&mut self, msg: RunMsg, ctx: &mut Ctx<'_, Self>) {
        match msg {
            RunMsg::Decide(decide) => self.held.push_back(decide),
            RunMsg::Brought(found) => {
                self.awaits = false;
                self.brought_bytes += found.results.iter().map(|(_, value)| size(value)).sum::<usize>();
                self.run.bring(found.results);
                self.run.bring_cached(found.cached);
                self.run.set_full(self.brought_bytes >= self.runtime.settings.results_at_once_bytes);
            }
        }
        while !self.awaits
            && let Some(decide) = self.held.pop_front()
        {
            self.decide(decide, ctx);
        }
    }

    fn state(&self) -> &'static str {
        self.run.state.status.as_str()
    }
}

impl FlowRun {
    /// Decides, or asks for the results that it must look at first.
    fn decide(&mut self, msg: Decide, ctx: &mut Ctx<'_, Self>) {
        let is_quarantine = matches!(*msg.command, Command::Quarantine { .. });
        if !is_quarantine {
            failpoint::hit_named(|| format!("flow_run.{}", self.run.header.flow.name));
        }
        let now_ms = self.runtime.now_ms();
        let credits = &self.runtime.settings.dispatch;
        let gates = self.runtime.gates.names(self.run.header.owner.tenant);
        let grant = Grant { slots: msg.slots, epoch: self.runtime.epoch, credits, gates: gates.as_deref() };
        let decided = match self.run.decide(&msg.command, grant, now_ms) {
            Ok(decision) if decision.wants_more() => {
                let steps = decision.wanted.into_iter().collect();
                let keys = decision.looks_up.into_iter().collect();
                self.held.push_front(msg);
                self.awaits = true;
                let wanted = PartitionMsg::Wanted {
                    run: self.run.header.id,
                    generation: self.generation,
                    wants: Wants { steps, keys },
                };
                if self.partition.tell_urgent(wanted).is_err() {
                    ctx.stop();
                }
                return;
            }
            Ok(decision) => {
                let decided = self.decided(&decision, &msg, now_ms);
                let queued = gates.is_some().then(|| self.run.state.queued());
                Decided { queued, ..decided }
            }
            Err(refusal) => Decided {
                generation: self.generation,
                is_quarantine,
                write: None,
                effects: Vec::new(),
                ends: Vec::new(),
                news: self.news(Vec::new()),
                unused_slots: msg.slots,
                refusal: Some(refusal),
                ended: self.run.state.status.is_terminal(),
                idle: self.is_idle(),
                queued: None,
            },
        };
        self.brought_bytes = 0;
        self.run.set_full(false);
        self.run.forget_cached();
        self.run.let_go();
        let answer = PartitionMsg::Decided { run: self.run.header.id, decided: Box::new(decided) };
        if self.partition.tell_urgent(answer).is_err() {
            ctx.stop();
        }
    }

    fn decided(&mut self, decision: &Decision, msg: &Decide, now_ms: i64) -> Decided {
        let ended_before = self.end();
        self.run.apply(decision);
        let timing = self.run.timing(&self.runtime.settings.dispatch, self.timing.queue_key, now_ms);
        // An accept is stored even where nothing else is decided: the run waits for a limit.
        let changed = !decision.changes.is_empty() || timing != self.timing || self.accept.is_some();
        self.timing = timing;
        Decided {
            generation: self.generation,
            is_quarantine: matches!(*msg.command, Command::Quarantine { .. }),
            write: changed.then(|| Box::new(self.write(decision, msg, ended_before.as_ref(), now_ms))),
            unused_slots: decision.unused_slots,
            ends: ends(&self.run, &decision.changes),
            effects: decision.effects.clone(),
            news: self.news(decision.changes.clone()),
            refusal: None,
            ended: self.run.state.status.is_terminal(),
            idle: self.is_idle(),
            queued: None,
        }
    }

    fn news(&self, changes: Vec<Change>) -> News {
        let ended = |change: &Change| match change {
            Change::StepReleased { step, .. } | Change::StepEnded { step, .. } => Some(*step),
            _ => None,
        };
        let fixed = self.run.plan.fixed as StepNo;
        let touched = changes.iter().filter_map(ended).filter(|step| *step >= fixed);
        let loose = touched.map(|step| (step, self.run.step_plan(step).id.clone())).collect();
        News { header: self.run.header.clone(), plan: self.run.plan.clone(), changes, loose }
    }

    fn is_idle(&self) -> bool {
        self.timing.queue_key.is_none()
    }

    /// What of the decision is stored.
    fn write(&mut self, decision: &Decision, msg: &Decide, ended_before: Option<&RunEnd>, now_ms: i64) -> RunWrite {
        let header = &self.run.header;
        let mut write = RunWrite {
            id: header.id,
            tenant: header.owner.tenant,
            partition: header.partition,
            epoch: self.runtime.epoch,
            // The partition knows the version when it sends the write.
            expected_version: 0,
            accept: None,
            state: self.run.save(),
            timing: self.timing,
            log: Vec::new(),
            audit: Vec::new(),
            approvals: Vec::new(),
            waits: Vec::new(),
            phases: Vec::new(),
            cached: Vec::new(),
            bytes: decision.bytes,
            ended: None,
            reopened: None,
            // The partition keeps the claims.
            limit: None,
            failures: Vec::new(),
        };
        if let Some(accepting) = self.accept.take() {
            let Accepting { idempotency, definition, schedule, reuse } = Accepting::clone(&accepting);
            let accept = Accept { header: header.clone(), idempotency, definition, schedule, reuse };
            write.accept = Some(Box::new(accept));
            write.audit.push(self.audit(AuditEvent::OrchestrationStarted, &header.triggered_by, now_ms));
        }
        for change in &decision.changes {
            if matches!(change, Change::RunReopened { .. }) {
                write.reopened = ended_before.cloned();
            }
            self.store(change, &msg.remark, ended_before, &mut write, now_ms);
            write.failures.extend(self.failure(change, now_ms));
        }
        if let Command::CancelStep { step } = &*msg.command {
            let by = msg.remark.by.as_deref().unwrap_or(ENGINE);
            let execution = self.run.header.id.execution(*step);
            let entry = self.audit(AuditEvent::ExecutionCancelled, by, now_ms);
            write.audit.push(AuditEntry { subject_type: "execution", subject_id: Some(execution.0), ..entry });
        }
        write
    }

    /// How the run ended, as its flow counts it.
    pub(super) fn end(&self) -> Option<RunEnd> {
        let (state, header) = (&self.run.state, &self.run.header);
        let at_ms = state.completed_at_ms.filter(|_| state.status.is_terminal())?;
        let started_at_ms = state.started_at_ms.unwrap_or(header.accepted_at_ms);
        Some(RunEnd {
            flow: (!header.flow.is_single_action()).then_some(header.flow.id),
            flow_version: header.flow.version,
            key: header.run_key.clone().map(|key| (header.flow.id, key)),
            status: state.status,
            duration_ms: (at_ms - started_at_ms).max(0),
            at_ms,
            owner: header.owner,
            fallback: self.run.fallback(),
            is_told: self.run.plan.tells_of_bad_ends && is_bad(state.status),
            outcome: outcome::of(&self.run).map(Box::new),
        })
    }

    pub(super) fn audit(&self, event: AuditEvent, actor: &str, now_ms: i64) -> AuditEntry {
        let header = &self.run.header;
        AuditEntry {
            owner: header.owner,
            partition: header.partition,
            event,
            actor: actor.to_owned(),
            subject_type: "flow_run",
            subject_id: Some(header.id.0),
            decision_event_id: header.decision_event_id,
            summary: format!("{} of flow '{}'", event.as_str().replace('_', " "), header.flow.name),
            details: json!({"flow_id": header.flow.id, "flow_version": header.flow.version}),
            at_ms: now_ms,
        }
    }
}
