//! Who and what a run waits for: people, signals, events, the runs that its steps start, and time.

use std::sync::Arc;

use core314_domain::ids::{RowId, RunId, StepNo, UserId};
use core314_domain::plan::{StepKind, WaitFor};
use core314_domain::run::step::StepStatus;
use core314_domain::run::{Command, Run, SubRunNews, UndoWay, Voter};
use core314_domain::words::{Role, RunStatus};
use serde_json::json;
use uuid::Uuid;

use super::checks::{Check, ensure};
use super::script::{People, Way};
use super::world::World;

/// A run that a step has started.
pub struct Child {
    pub run: RunId,
    pub end: Option<RunStatus>,
    pub told_to_end: bool,
}

/// What a run waits for, beside time.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// A person's word: on the run, or on a step.
    Approval(Option<StepNo>),
    Signal(Arc<str>),
    Event(StepNo),
}

impl World<'_> {
    /// Nothing happens by itself: people answer, or time passes. False when nobody will ever do anything.
    pub fn wait(&mut self) -> Result<bool, String> {
        let wake_at_ms = self.timing().wake_at_ms;
        let wishes = self.wishes();
        let passes = wishes.is_empty() || self.script.people == People::Silent || self.rng.chance(300);
        if let (Some(at), true) = (wake_at_ms, passes) {
            self.now_ms = self.now_ms.max(at);
            self.note(|| "time passes".into());
            return Ok(true);
        }
        if !wishes.is_empty() {
            let answers = self.script.people != People::Silent;
            if answers {
                let wish = self.rng.pick(&wishes);
                self.fulfil(wish)?;
            }
            return Ok(answers);
        }
        if self.run_status() == Some(RunStatus::Paused) {
            let takes_up = self.script.retries > 0 && self.rng.chance(500);
            if takes_up {
                self.script.retries -= 1;
                self.tell(&Command::Retry { step: None })?;
            }
            if self.run_status() == Some(RunStatus::Paused) {
                self.tell(&Command::Resume)?;
            }
            return Ok(true);
        }
        Err(format!("the run is {:?} and nothing will ever happen", self.run_status()))
    }

    pub fn run_status(&self) -> Option<RunStatus> {
        let stored = self.store.state.as_ref().map(|s| s.status);
        self.actor.as_ref().map(|a| a.run.state.status).or(stored)
    }

    /// What the run asks of others, as lists of approvals and waits show it.
    pub fn wishes(&self) -> Vec<Wish> {
        let Some(run) = self.current() else { return Vec::new() };
        let mut wishes: Vec<Wish> = run.state.all().filter_map(|(no, step)| wish(&run, no, step.status)).collect();
        if run.state.status == RunStatus::AwaitingApproval {
            wishes.push(Wish::Approval(None));
        }
        wishes
    }

    pub fn current(&self) -> Option<Run> {
        match &self.actor {
            Some(actor) => Some(actor.run.clone()),
            None => self
                .store
                .state
                .is_some()
                .then(|| self.store.load(self.shape).expect("it was checked when it was stored")),
        }
    }

    fn fulfil(&mut self, wish: Wish) -> Check {
        match wish {
            Wish::Approval(step) => self.answer(step),
            Wish::Signal(name) => self.signal(&name),
            Wish::Event(step) => {
                // Some are not meant.
                let fits = self.rng.chance(700);
                self.events += 1;
                let id = RowId(Uuid::from_u128(self.events));
                self.tell(&Command::Event { step, id, event: Arc::new(json!({"data": {"fits": fits}})) })
            }
        }
    }

    pub fn signal(&mut self, name: &Arc<str>) -> Check {
        let waits = self.wishes().contains(&Wish::Signal(name.clone()));
        let before = self.current().map_or(0, |run| run.state.signals.len());
        self.tell(&Command::Signal {
            name: name.clone(),
            payload: Arc::new(json!({"by": "somebody"})),
            request: None,
        })?;
        // It was heard by a step, kept for one, or refused: never lost.
        let after = self.current().map_or(0, |run| run.state.signals.len());
        let ended = self.run_status().is_some_and(RunStatus::is_terminal);
        ensure(ended || waits || after > before || before >= 100, || format!("signal '{name}' was lost"))
    }

    pub fn answer(&mut self, step: Option<StepNo>) -> Check {
        let rejects = match self.script.people {
            People::Approve | People::Silent => false,
            People::Reject(which) => which == step,
            People::Random => self.rng.chance(200),
        };
        self.voters += 1;
        let user = UserId(Uuid::from_u128(9 + self.voters % 5));
        // Some may only look on.
        let role = if self.rng.chance(150) { Role::Viewer } else { Role::Operator };
        let voter = Voter { user, role, notes: None, form: Arc::default(), on_duty: Arc::default() };
        let command = if rejects { Command::Reject { step, by: voter } } else { Command::Approve { step, by: voter } };
        self.tell(&command)
    }

    /// Whether an undo has failed for good, and a person must settle it.
    pub fn is_stuck(&self) -> bool {
        let run = self.store.state.is_some().then(|| self.store.load(self.shape).ok()).flatten();
        run.and_then(|run| run.state.rollback).is_some_and(|rollback| rollback.is_stuck)
    }

    pub fn settle_undo(&mut self) -> Check {
        let way = match self.script.ways.remove(0) {
            Way::Retry => UndoWay::Retry,
            Way::Skip => UndoWay::Skip { reason: "it is of no use any more".to_owned() },
            Way::Done => UndoWay::Done,
        };
        self.actor = None;
        self.note(|| format!("a person settles the undo: {way:?}"));
        self.tell(&Command::Undo { way })?;
        let is_settled = self.current().is_some_and(|run| run.state.reopened > 0);
        ensure(is_settled, || "a person could not settle an undo that has failed".into())
    }

    /// An attempt of a step asks for a run: it gets one, and always the same.
    pub fn start_child(&mut self, step: StepNo, attempt: u32, known: Option<RunId>) -> Check {
        let run = RunId::new(super::shapes::START_MS, u128::from(step + 1) << 30 | u128::from(attempt));
        ensure(known.is_none_or(|known| known == run), || format!("step {step} knows another run than its own"))?;
        let child = self.children.entry((step, attempt)).or_insert(Child { run, end: None, told_to_end: false });
        let end = child.end;
        if known.is_none() {
            self.news.push((step, SubRunNews::Accepted { run, attempt }));
        }
        if let Some(status) = end {
            self.news.push((step, ended(run, status)));
        }
        Ok(())
    }

    /// A step wants its run to end, which is told so in any case. Where the step has not heard of it yet, it does first; what
    /// was never started never will be.
    pub fn stop_child(&mut self, step: StepNo, attempt: u32, known: Option<RunId>) -> Check {
        let Some(child) = self.children.get_mut(&(step, attempt)) else {
            ensure(known.is_none(), || format!("step {step} knows a run that was not started"))?;
            self.news.push((step, SubRunNews::Refused { attempt, message: "it was not started".to_owned() }));
            return Ok(());
        };
        let (run, end) = (child.run, child.end);
        child.told_to_end = true;
        match (known, end) {
            (None, _) => self.news.push((step, SubRunNews::Accepted { run, attempt })),
            (Some(_), Some(status)) => self.news.push((step, ended(run, status))),
            (Some(_), None) => {}
        }
        Ok(())
    }

    pub fn end_child(&mut self, (step, attempt): (StepNo, u32)) {
        let fails = self.script.other_fates == super::script::Fate::Random && self.rng.chance(200);
        // It may have been too late to cut it off.
        let hears = self.rng.chance(700);
        let child = self.children.get_mut(&(step, attempt)).expect("it was started");
        let end = if fails { RunStatus::Failed } else { RunStatus::Completed };
        let status = if child.told_to_end && hears { RunStatus::Cancelled } else { end };
        child.end = Some(status);
        let run = child.run;
        self.news.push((step, ended(run, status)));
    }
}

fn ended(run: RunId, status: RunStatus) -> SubRunNews {
    let error = (status != RunStatus::Completed).then(|| "it failed".to_owned());
    SubRunNews::Ended { run, status, output: Arc::new(json!({"of": "child"})), error }
}

fn wish(run: &Run, no: StepNo, status: StepStatus) -> Option<Wish> {
    match (status, &run.step_plan(no).kind) {
        (StepStatus::AwaitingApproval, _) => Some(Wish::Approval(Some(no))),
        (StepStatus::Waiting, StepKind::Wait(wait)) => match &wait.what {
            WaitFor::Signal(name) => Some(Wish::Signal(name.clone())),
            WaitFor::Event { .. } => Some(Wish::Event(no)),
            WaitFor::Seconds(_) | WaitFor::Until(_) => None,
        },
        _ => None,
    }
}
