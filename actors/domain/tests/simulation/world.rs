//! The world of one run: a partition, its store, its executors and people, driven by a seed.
//!
//! Memory (the run's actor, decided writes, queue, attempts) is kept apart from what survives ([`Store`]) and from what
//! happened outside and cannot be undone (`started`). Decisions are applied to memory at once, committed later, and
//! acted on after their commit, as the partition does it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use core314_domain::dispatch::Credits;
use core314_domain::ids::{StepNo, UserId};
use core314_domain::run::step::StepStatus;
use core314_domain::run::{AttemptReport, Closing, Command, Grant, Run, Timing, Voter};
use core314_domain::words::{Role, RunStatus};
use uuid::Uuid;

use super::checks::{self, Check, ensure};
use super::rng::Rng;
use super::script::{Crash, Fate, Mistake, Moment, People, Script, Victim};
use super::shapes::{START_MS, Shape};
use super::store::{LEAN, Store, Write, results};

/// More steps than any run of the simulation takes.
const MOST_TICKS: u32 = 3_000;

/// A run's actor.
pub struct Actor {
    pub run: Run,
    pub timing: Timing,
}

/// An attempt under way, or its report.
pub struct Attempt {
    pub number: u32,
    pub started_at_ms: i64,
    pub told_to_end: bool,
    pub report: Option<AttemptReport>,
    pub delivered: bool,
}

pub struct World<'a> {
    pub shape: &'a Shape,
    /// Whether the run keeps no result in memory: what it looks at is brought from the store.
    is_lean: bool,
    pub script: Script,
    pub rng: Rng,
    pub now_ms: i64,
    /// The latest time that the run was told: the clock may be set back.
    latest_ms: i64,
    pub store: Store,
    pub actor: Option<Actor>,
    pub outbox: Vec<Write>,
    pub ready: BTreeSet<(i64, StepNo)>,
    pub attempts: BTreeMap<StepNo, Attempt>,
    /// Effects that took place.
    pub started: BTreeSet<(StepNo, u32)>,
    /// The first report of the step that is repeated.
    first_report: Option<(u32, AttemptReport)>,
    pub commits: u64,
    pub ticks: u32,
    pub credits: Credits,
    /// What happened, when somebody wants to know.
    pub trace: Option<Vec<String>>,
}

/// One thing that could happen next.
#[derive(Debug, Clone, Copy)]
enum Op {
    Accept,
    Commit,
    Load,
    End(StepNo),
    Report(StepNo),
    Dispatch,
    Wake,
}

impl<'a> World<'a> {
    pub fn new(shape: &'a Shape, script: Script, seed: u64) -> Self {
        Self {
            shape,
            is_lean: seed % 2 == 1,
            script,
            rng: Rng(seed),
            now_ms: START_MS,
            latest_ms: START_MS,
            store: Store::default(),
            actor: None,
            outbox: Vec::new(),
            ready: BTreeSet::new(),
            attempts: BTreeMap::new(),
            started: BTreeSet::new(),
            first_report: None,
            commits: 0,
            ticks: 0,
            credits: Credits::default(),
            trace: None,
        }
    }

    /// Drives the run to its end, or to where it waits for people who do not answer.
    pub fn run(&mut self) -> Check {
        while !self.has_ended() {
            self.ticks += 1;
            ensure(self.ticks < MOST_TICKS, || format!("the run has not ended after {MOST_TICKS} steps"))?;
            if self.script.disturbances > 0 && self.rng.chance(350) {
                self.script.disturbances -= 1;
                self.disturb()?;
                if self.has_ended() {
                    // What was to take it up again was lost.
                    continue;
                }
            }
            if self.script.cancel_after.is_some_and(|n| n <= self.commits) && self.store.version > 0 && self.can_tell()
            {
                self.script.cancel_after = None;
                self.tell(&Command::Cancel { reason: "enough".into() })?;
            }
            let ops = self.ops();
            if ops.is_empty() {
                if !self.wait()? {
                    return Ok(());
                }
            } else {
                let op = self.rng.pick(&ops);
                self.note(|| format!("{op:?}"));
                self.perform(op)?;
            }
            self.watch()?;
            if self.has_ended() && self.script.retries > 0 {
                self.script.retries -= 1;
                self.take_up_again()?;
            }
        }
        self.after_the_end()
    }

    pub fn has_ended(&self) -> bool {
        self.outbox.is_empty() && self.store.state.as_ref().is_some_and(|s| s.status.is_terminal())
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>8} {}", self.now_ms - START_MS, what()));
        }
    }

    fn timing(&self) -> Timing {
        self.actor.as_ref().map_or(self.store.timing, |a| a.timing)
    }

    fn free(&self) -> usize {
        let running = self.attempts.values().filter(|a| a.report.is_none()).count();
        let starting: usize = self.outbox.iter().map(Write::starts).sum();
        self.script.slots.saturating_sub(running + starting)
    }

    fn ops(&self) -> Vec<Op> {
        if self.store.version == 0 && self.can_tell() && self.actor.is_none() {
            return vec![Op::Accept];
        }
        let mut ops = Vec::new();
        if !self.outbox.is_empty() {
            ops.push(Op::Commit);
        }
        if self.store.version == 0 {
            return ops;
        }
        if self.actor.is_none() && self.outbox.is_empty() && self.store.timing.queue_key.is_some() {
            ops.push(Op::Load);
        }
        for (no, attempt) in &self.attempts {
            match attempt.report {
                None if self.script.fate(*no) != Fate::Hang || attempt.told_to_end => ops.push(Op::End(*no)),
                Some(_) if !attempt.delivered && self.can_tell() => ops.push(Op::Report(*no)),
                _ => {}
            }
        }
        if !self.ready.is_empty() && self.can_tell() && self.free() > 0 {
            ops.push(Op::Dispatch);
        }
        if self.can_tell() && self.timing().wake_at_ms.is_some_and(|at| at <= self.now_ms) {
            ops.push(Op::Wake);
        }
        ops
    }

    /// A run that is not in memory is loaded first, which must wait for its writes.
    pub fn can_tell(&self) -> bool {
        self.actor.is_some() || self.outbox.is_empty()
    }

    fn perform(&mut self, op: Op) -> Check {
        match op {
            Op::Accept => {
                let mut run = Run::new(self.shape.header.clone(), self.shape.plan.clone());
                if self.is_lean {
                    run.bound(LEAN);
                }
                self.actor = Some(Actor { run, timing: Timing::default() });
                self.tell(&Command::Begin)
            }
            Op::Commit => self.commit(),
            Op::Load => self.load(),
            Op::End(no) => {
                self.end_attempt(no);
                Ok(())
            }
            Op::Report(no) => self.report(no),
            Op::Dispatch => self.dispatch(),
            Op::Wake => {
                self.tell(&Command::Wake)?;
                let again = self.timing().wake_at_ms.is_some_and(|at| at <= self.now_ms);
                ensure(!again, || "what is due stays due: the timer would never rest".into())
            }
        }
    }

    /// Nothing happens by itself: people answer, or time passes. False when nobody will ever do anything.
    fn wait(&mut self) -> Result<bool, String> {
        let wake_at_ms = self.timing().wake_at_ms;
        let asked = self.asked();
        let passes = asked.is_empty() || self.script.people == People::Silent || self.rng.chance(300);
        if let (Some(at), true) = (wake_at_ms, passes) {
            self.now_ms = self.now_ms.max(at);
            self.note(|| "time passes".into());
            return Ok(true);
        }
        if !asked.is_empty() {
            let answers = self.script.people != People::Silent;
            if answers {
                let step = self.rng.pick(&asked);
                self.answer(step)?;
            }
            return Ok(answers);
        }
        if self.run_status() == Some(RunStatus::Paused) {
            self.tell(&Command::Resume)?;
            return Ok(true);
        }
        Err(format!("the run is {:?} and nothing will ever happen", self.run_status()))
    }

    pub fn run_status(&self) -> Option<RunStatus> {
        let stored = self.store.state.as_ref().map(|s| s.status);
        self.actor.as_ref().map(|a| a.run.state.status).or(stored)
    }

    /// What waits for a person, as the approvals show it.
    pub fn asked(&self) -> Vec<Option<StepNo>> {
        let Some(run) = self.current() else { return Vec::new() };
        let steps = run.state.steps.iter().enumerate().filter(|(_, s)| s.status == StepStatus::AwaitingApproval);
        let mut asked: Vec<Option<StepNo>> = steps.map(|(no, _)| Some(no as StepNo)).collect();
        if run.state.status == RunStatus::AwaitingApproval {
            asked.push(None);
        }
        asked
    }

    fn current(&self) -> Option<Run> {
        match &self.actor {
            Some(actor) => Some(actor.run.clone()),
            None => self
                .store
                .state
                .is_some()
                .then(|| self.store.load(self.shape).expect("it was checked when it was stored")),
        }
    }

    pub fn answer(&mut self, step: Option<StepNo>) -> Check {
        let rejects = match self.script.people {
            People::Approve | People::Silent => false,
            People::Reject(which) => which == step,
            People::Random => self.rng.chance(300),
        };
        let user = UserId(Uuid::from_u128(9));
        let voter = Voter { user, role: Role::Operator, notes: None, form: Arc::default() };
        let command = if rejects { Command::Reject { step, by: voter } } else { Command::Approve { step, by: voter } };
        self.tell(&command)
    }

    /// Tells the run, which is loaded first if it is not in memory.
    pub fn tell(&mut self, command: &Command) -> Check {
        if self.actor.is_none() {
            self.load()?;
        }
        self.decide(command, None)
    }

    /// Reads the run, settles what nobody knows of, and forgets that reports were delivered.
    fn load(&mut self) -> Check {
        assert!(self.outbox.is_empty(), "a run is not loaded while its writes are under way");
        self.ready.clear();
        self.actor = Some(Actor { run: self.store.load_as(self.shape, self.is_lean)?, timing: self.store.timing });
        self.attempts.values_mut().for_each(|a| a.delivered = false);
        let mut under_way: Vec<StepNo> = self.attempts.keys().copied().collect();
        if self.script.mistake == Some(Mistake::RecoverNothing) {
            under_way = (0..self.shape.plan.steps.len() as StepNo).collect();
        }
        self.decide(&Command::Recover { under_way }, None)
    }

    pub fn decide(&mut self, command: &Command, settles: Option<(StepNo, u32)>) -> Check {
        let over = usize::from(self.script.mistake == Some(Mistake::OverGrant));
        let slots = match command {
            Command::Start { steps } => steps.len().min(self.free() + over),
            _ if !self.ready.is_empty() => 0,
            _ => (self.free() + over).min(self.shape.plan.width.max(1)),
        };
        let (now_ms, free) = (self.now_ms, self.free());
        self.latest_ms = self.latest_ms.max(now_ms);
        let grant = Grant { slots, epoch: 1, credits: &self.credits, gates: None };
        let actor = self.actor.as_mut().expect("it was loaded");
        while let Ok(decision) = actor.run.decide(command, grant, now_ms)
            && decision.wants_more()
        {
            ensure(self.is_lean, || "a run looks for what it has".into())?;
            actor.run.bring(results(&self.outbox, &self.store, &decision.wanted)?);
        }
        let decision = match actor.run.decide(command, grant, now_ms) {
            Ok(decision) => decision,
            Err(refusal) => {
                self.note(|| format!("{command:?} refused: {refusal}"));
                return Ok(());
            }
        };
        ensure(actor.run.decide(command, grant, now_ms).as_ref() == Ok(&decision), || {
            "a decision differs when repeated".into()
        })?;
        checks::decision(&decision, slots)?;
        ensure(slots - decision.unused_slots <= free, || "more slots are used than there are".into())?;
        actor.run.apply(&decision);
        actor.run.let_go();
        let timing = actor.run.timing(&self.credits, actor.timing.queue_key, now_ms);
        let changed = !decision.changes.is_empty() || timing != actor.timing;
        actor.timing = timing;
        let state = actor.run.save();
        self.note(|| format!("{command:?} with {slots} slots: {:?} {:?}", decision.changes, decision.effects));
        if !changed {
            return self.act(decision.effects);
        }
        let mut effects = decision.effects;
        if self.script.mistake == Some(Mistake::ActBeforeCommit) {
            self.act(std::mem::take(&mut effects))?;
        }
        let expected_version = self.store.version + self.outbox.len() as u64;
        self.outbox.push(Write { expected_version, state, timing, changes: decision.changes, effects, settles });
        Ok(())
    }

    /// One transaction: whatever has been decided until now, or the first of it.
    fn commit(&mut self) -> Check {
        let crash = self.script.crash.filter(|c| c.commit == self.commits);
        self.commits += 1;
        if let Some(Crash { victim, moment: Moment::Before, .. }) = crash {
            self.die(victim);
            return Ok(());
        }
        let many = 1 + self.rng.below(self.outbox.len());
        let writes: Vec<Write> = self.outbox.drain(..many).collect();
        if self.script.mistake == Some(Mistake::TwoCommits) && self.rng.chance(100) {
            self.store.rows(&writes[0], None, &mut self.rng)?;
            self.die(Victim::Process);
            return Ok(());
        }
        let mut effects = Vec::new();
        for write in writes {
            let before = self.store.clone();
            self.store.commit(&write, self.script.mistake, &mut self.rng)?;
            checks::stored(&self.store, &before, self.shape, self.latest_ms)?;
            if let Some((no, number)) = write.settles
                && self.attempts.get(&no).is_some_and(|a| a.number == number)
            {
                self.attempts.remove(&no);
            }
            effects.push(write.effects);
        }
        self.compare()?;
        if let Some(Crash { victim, .. }) = crash
            && victim != Victim::Actor
        {
            self.die(victim);
            return Ok(());
        }
        for effects in effects {
            if self.script.mistake == Some(Mistake::ActTwice) {
                self.act(effects.clone())?;
            }
            self.act(effects)?;
        }
        if crash.is_some() {
            self.die(Victim::Actor);
        }
        Ok(())
    }

    fn compare(&self) -> Check {
        match &self.actor {
            Some(actor) if self.outbox.is_empty() => {
                checks::same(&actor.run, &self.store.load(self.shape)?, self.is_lean)
            }
            _ => Ok(()),
        }
    }

    pub fn die(&mut self, victim: Victim) {
        self.note(|| format!("{victim:?} dies"));
        self.actor = None;
        self.ready.clear();
        match victim {
            Victim::Actor => {}
            Victim::Partition => self.outbox.clear(),
            Victim::Process => {
                self.outbox.clear();
                self.attempts.clear();
            }
        }
    }

    /// The run leaves memory, as it does when it only waits.
    pub fn leave(&mut self) {
        let idle = self.actor.as_ref().is_some_and(|a| a.timing.queue_key.is_none());
        if idle && self.outbox.is_empty() && self.attempts.is_empty() {
            self.note(|| "leaves memory".into());
            self.actor = None;
        }
    }

    fn report(&mut self, no: StepNo) -> Check {
        if self.actor.is_none() {
            self.load()?;
        }
        let Some(attempt) = self.attempts.get_mut(&no) else { return Ok(()) };
        attempt.delivered = true;
        let (number, report) = (attempt.number, attempt.report.clone().expect("it has ended"));
        let command = Command::AttemptEnded { step: no, attempt: number, report: report.clone() };
        self.decide(&command, Some((no, number)))?;
        if self.outbox.last().is_none_or(|w| w.settles != Some((no, number))) {
            // Old news: nothing was stored, and nobody waits for it any more.
            self.attempts.remove(&no);
        }
        if self.script.repeat == Some(no) {
            self.first_report.get_or_insert((number, report));
            self.decide(&command, None)?;
        }
        Ok(())
    }

    fn dispatch(&mut self) -> Check {
        let many = 1 + self.rng.below(self.free().min(self.ready.len()));
        let steps: Vec<StepNo> = (0..many).filter_map(|_| self.ready.pop_first()).map(|(_, no)| no).collect();
        self.tell(&Command::Start { steps })
    }

    /// What must hold at every moment.
    fn watch(&mut self) -> Check {
        let Some(actor) = &self.actor else { return Ok(()) };
        let cut = matches!(actor.run.state.closing, Some(Closing::Cancelled | Closing::TimedOut));
        if cut && self.outbox.is_empty() {
            let deaf = self.attempts.values().any(|a| a.report.is_none() && !a.told_to_end);
            ensure(!deaf, || "an attempt of a run that was cut off was not told to end".into())?;
        }
        Ok(())
    }

    /// Late words change nothing, and the log knows of every attempt that took place.
    fn after_the_end(&mut self) -> Check {
        let run = self.store.load(self.shape)?;
        checks::end(&run)?;
        for (no, number) in &self.started {
            let rows = self.store.log.iter().filter(|e| e.step == *no && e.attempt == *number).count();
            ensure(rows == 1, || format!("attempt {number} of step {no} has {rows} rows in the log"))?;
        }
        let grant = Grant { slots: 3, epoch: 2, credits: &self.credits, gates: None };
        let all = (0..run.state.steps.len() as StepNo).collect::<Vec<_>>();
        let mut late = vec![
            Command::Begin,
            Command::Wake,
            Command::Recover { under_way: Vec::new() },
            Command::Start { steps: all },
        ];
        late.extend(
            self.script.repeat.zip(self.first_report.clone()).map(|(step, (attempt, report))| Command::AttemptEnded {
                step,
                attempt,
                report,
            }),
        );
        for command in late {
            let decision = run.decide(&command, grant, self.now_ms).map_err(|e| format!("{command:?}: {e}"))?;
            ensure(decision.changes.is_empty() && decision.effects.is_empty() && decision.unused_slots == 3, || {
                format!("{command:?} changes an ended run")
            })?;
        }
        let cancelled = run.decide(&Command::Cancel { reason: "late".into() }, grant, self.now_ms);
        ensure(cancelled.is_err(), || "an ended run can be cancelled".into())
    }
}
