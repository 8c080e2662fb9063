//! The world of one run: a partition, its store, its executors and people, driven by a seed.
//!
//! Memory (the run's actor, decided writes, queue, attempts) is kept apart from what survives ([`Store`]) and from what
//! happened outside and cannot be undone (`started`). Decisions are applied to memory at once, committed later, and
//! acted on after their commit, as the partition does it.

use std::collections::{BTreeMap, BTreeSet};

use core314_domain::dispatch::Credits;
use core314_domain::ids::StepNo;
use core314_domain::run::{AttemptReport, Command, Effect, Grant, Run, SubRunNews, Timing};
use serde_json::Value;

use super::checks::{self, Check, ensure};
use super::mutants;
use super::outside::Child;
use super::rng::Rng;
use super::script::{Crash, Fate, Mistake, Moment, Script, Victim};
use super::shapes::{START_MS, Shape};
use super::store::{LEAN, Store, Write, results};

/// More steps than any run of the simulation takes.
const MOST_TICKS: u32 = 6_000;

/// A run's actor.
pub struct Actor {
    pub run: Run,
    pub timing: Timing,
}

/// An attempt under way, or its report.
pub struct Attempt {
    pub number: u32,
    /// It looks whether the attempt before took effect.
    pub is_probe: bool,
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
    pub latest_ms: i64,
    pub store: Store,
    pub actor: Option<Actor>,
    pub outbox: Vec<Write>,
    /// Committed, and nothing was done about it yet.
    pub unanswered: Vec<Write>,
    pub ready: BTreeSet<(i64, StepNo)>,
    pub attempts: BTreeMap<StepNo, Attempt>,
    /// Effects that took place.
    pub started: BTreeSet<(StepNo, u32)>,
    /// What the attempts of a step were given, by when it was released.
    pub payloads: BTreeMap<(StepNo, u32, i64), Value>,
    /// Runs that attempts of steps have started: others' runs, which do not die with this one's process.
    pub children: BTreeMap<(StepNo, u32), Child>,
    /// What is on its way to steps from the runs that they started.
    pub news: Vec<(StepNo, SubRunNews)>,
    /// How often people have voted: each time it is another person.
    pub voters: u128,
    /// How many events have come: each is another one.
    pub events: u128,
    /// The first report of the step that is repeated.
    pub first_report: Option<(u32, AttemptReport)>,
    /// Whether the run was to be set aside: it waits for no other then.
    pub is_set_aside: bool,
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
    /// What was committed is done.
    Answer,
    /// The limit lets the run begin.
    Admit,
    /// A run that a step started ends.
    EndChild((StepNo, u32)),
    /// The oldest news of such a run arrives.
    News,
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
            unanswered: Vec::new(),
            ready: BTreeSet::new(),
            attempts: BTreeMap::new(),
            started: BTreeSet::new(),
            payloads: BTreeMap::new(),
            children: BTreeMap::new(),
            news: Vec::new(),
            voters: 0,
            events: 0,
            first_report: None,
            is_set_aside: false,
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
            if self.has_ended() && self.is_stuck() && !self.script.ways.is_empty() {
                self.settle_undo()?;
            } else if self.has_ended() && self.script.retries > 0 {
                self.script.retries -= 1;
                self.take_up_again()?;
            }
        }
        self.after_the_end()
    }

    pub fn has_ended(&self) -> bool {
        self.can_load() && self.store.state.as_ref().is_some_and(|s| s.status.is_terminal())
    }

    /// A run that is not in memory is loaded when nothing of it is on its way.
    pub fn can_load(&self) -> bool {
        self.outbox.is_empty() && self.unanswered.is_empty()
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>8} {}", self.now_ms - START_MS, what()));
        }
    }

    pub fn timing(&self) -> Timing {
        self.actor.as_ref().map_or(self.store.timing, |a| a.timing)
    }

    fn free(&self) -> usize {
        let running = self.attempts.values().filter(|a| a.report.is_none()).count();
        let starting: usize = self.outbox.iter().chain(&self.unanswered).map(Write::starts).sum();
        self.script.slots.saturating_sub(running + starting)
    }

    fn ops(&self) -> Vec<Op> {
        if self.store.version == 0 && self.can_tell() && self.actor.is_none() {
            return vec![Op::Accept];
        }
        let mut ops = Vec::new();
        if !self.unanswered.is_empty() {
            ops.push(Op::Answer);
        } else if !self.outbox.is_empty() {
            ops.push(Op::Commit);
        }
        if self.store.version == 0 {
            return ops;
        }
        if self.actor.is_none() && self.can_load() && self.store.timing.queue_key.is_some() {
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
        if self.can_load() && self.store.is_held {
            ops.push(Op::Admit);
        }
        if self.can_tell() && !self.news.is_empty() {
            ops.push(Op::News);
        }
        ops.extend(self.children.iter().filter(|(_, child)| child.end.is_none()).map(|(of, _)| Op::EndChild(*of)));
        ops
    }

    /// A run that is not in memory is loaded first, which must wait for its writes.
    pub fn can_tell(&self) -> bool {
        self.actor.is_some() || self.can_load()
    }

    fn perform(&mut self, op: Op) -> Check {
        match op {
            Op::Accept => {
                let mut run = Run::new(self.shape.header.clone(), self.shape.plan.clone());
                run.use_cache();
                if self.is_lean {
                    run.bound(LEAN);
                }
                self.actor = Some(Actor { run, timing: Timing::default() });
                self.store.is_held = self.script.is_held;
                self.tell(if self.script.is_held { &Command::Hold } else { &Command::Begin })
            }
            Op::Commit => self.commit(),
            Op::Answer => {
                let effects = std::mem::take(&mut self.unanswered).into_iter().map(|write| write.effects).collect();
                self.answered(effects)
            }
            Op::Admit => self.tell(&Command::Begin),
            Op::EndChild(of) => {
                self.end_child(of);
                Ok(())
            }
            Op::News => {
                let (step, news) = self.news.remove(0);
                self.tell(&Command::SubRun { step, news })
            }
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

    /// Tells the run, which is loaded first if it is not in memory.
    pub fn tell(&mut self, command: &Command) -> Check {
        if self.actor.is_none() {
            self.load()?;
        }
        self.decide(command, None)
    }

    /// Reads the run, settles what nobody knows of, and forgets that reports were delivered.
    fn load(&mut self) -> Check {
        assert!(self.can_load(), "a run is not loaded while its writes are under way");
        self.ready.clear();
        self.actor = Some(Actor { run: self.store.load_as(self.shape, self.is_lean)?, timing: self.store.timing });
        self.attempts.values_mut().for_each(|a| a.delivered = false);
        let mut under_way: Vec<StepNo> = self.attempts.keys().copied().collect();
        if self.script.mistake == Some(Mistake::RecoverNothing) {
            under_way = (0..1_000).collect();
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
            ensure(self.is_lean || decision.wanted.is_empty(), || "a run looks for what it has".into())?;
            actor.run.bring(results(&self.outbox, &self.store, &decision.wanted)?);
            actor.run.bring_cached(self.store.cached(&decision.looks_up, now_ms));
        }
        let mut decision = match actor.run.decide(command, grant, now_ms) {
            Ok(decision) => decision,
            Err(refusal) => {
                self.note(|| format!("{command:?} refused: {refusal}"));
                return Ok(());
            }
        };
        let repeats = self.ticks.is_multiple_of(4);
        ensure(!repeats || actor.run.decide(command, grant, now_ms).as_ref() == Ok(&decision), || {
            "a decision differs when repeated".into()
        })?;
        checks::decision(&decision, slots)?;
        ensure(slots - decision.unused_slots <= free, || "more slots are used than there are".into())?;
        if let Some(mistake) = self.script.mistake {
            mutants::tamper(&mut decision, &actor.run, mistake, now_ms);
        }
        actor.run.apply(&decision);
        actor.run.let_go();
        actor.run.forget_cached();
        let timing = actor.run.timing(&self.credits, actor.timing.queue_key, now_ms);
        let is_new = self.store.version == 0 && self.outbox.is_empty() && self.unanswered.is_empty();
        let changed = is_new || !decision.changes.is_empty() || timing != actor.timing;
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
        for write in &writes {
            let before = self.store.clone();
            self.store.commit(write, self.shape, self.script.mistake, &mut self.rng)?;
            checks::stored(&self.store, &before, self.shape, self.latest_ms)?;
            if let Some((no, number)) = write.settles
                && self.attempts.get(&no).is_some_and(|a| a.number == number)
            {
                self.attempts.remove(&no);
            }
        }
        self.compare()?;
        if let Some(Crash { victim, .. }) = crash
            && victim != Victim::Actor
        {
            self.die(victim);
            return Ok(());
        }
        if crash.is_none() && self.script.answers_late && self.rng.chance(600) {
            self.unanswered = writes;
            return Ok(());
        }
        self.answered(writes.into_iter().map(|write| write.effects).collect())?;
        if crash.is_some() {
            self.die(Victim::Actor);
        }
        Ok(())
    }

    /// What was committed is done.
    fn answered(&mut self, effects: Vec<Vec<Effect>>) -> Check {
        for effects in effects {
            if self.script.mistake == Some(Mistake::ActTwice) {
                self.act(effects.clone())?;
            }
            self.act(effects)?;
        }
        Ok(())
    }

    fn compare(&self) -> Check {
        match &self.actor {
            Some(actor) if self.outbox.is_empty() => {
                let grant = Grant { slots: 2, epoch: 1, credits: &self.credits, gates: None };
                let stored = self.store.load(self.shape)?;
                checks::same(&actor.run, &stored, &self.store, self.is_lean, grant, self.now_ms)
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
            Victim::Partition => {
                self.outbox.clear();
                self.unanswered.clear();
            }
            Victim::Process => {
                self.outbox.clear();
                self.unanswered.clear();
                self.attempts.clear();
                self.news.clear();
            }
        }
    }

    /// The run leaves memory, as it does when it only waits.
    pub fn leave(&mut self) {
        let idle = self.actor.as_ref().is_some_and(|a| a.timing.queue_key.is_none());
        if idle && self.can_load() && self.attempts.is_empty() {
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
}
