//! A run that is played, and does not happen: the very state machine that real runs are, in simulated time, in a world that
//! somebody makes up.
//!
//! What a [`World`] answers to the run's effects is told to it at once, in order; when nothing is left to tell, the world
//! says what comes next. Nothing is sent, nothing waits, and how much is told is bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Json;
use crate::dispatch::Credits;
use crate::ids::{StepNo, UserId};
use crate::plan::{Approver, StepKind};
use crate::run::step::StepStatus;
use crate::run::{AttemptReport, Command, Decision, Effect, Ending, Grant, OnDuty, Outcome, Run, SubRunNews, Voter};
use crate::words::Role;
use uuid::Uuid;

/// A run that is told more than this does not end.
const MOST_MOVES: usize = 100_000;
/// Whoever decides, where nobody is named.
pub(crate) const PERSON: UserId = UserId(Uuid::from_u128(0x0314));

/// What moves a run on.
#[derive(Debug)]
pub(crate) enum Move {
    Tell(Command),
    /// A step ends so, whatever it waits for.
    End(StepNo, Ending),
    /// A time comes.
    Until(i64),
}

/// Whatever is around a run.
pub(crate) trait World {
    /// What it does about what the run wants.
    fn answer(&mut self, run: &Run, effect: Effect, now_ms: i64) -> Vec<Move>;
    /// What comes next for a run that waits; an error says why nothing does.
    fn next(&mut self, run: &Run, now_ms: i64) -> Result<Move, String>;
}

/// A run that is played.
pub(crate) struct Stage {
    pub run: Run,
    now_ms: i64,
    moves: VecDeque<Move>,
    /// What it could not be told, or why it stands still.
    pub stuck: Option<String>,
}

impl Stage {
    /// A run that begins at this time, and what it is told first.
    pub fn new(run: Run, now_ms: i64, first: impl IntoIterator<Item = Command>) -> Self {
        let moves = std::iter::once(Command::Begin).chain(first).map(Move::Tell).collect();
        Self { run, now_ms, moves, stuck: None }
    }

    /// Lets the run go on until it has ended, or nothing made up can move it.
    pub fn play(&mut self, world: &mut impl World) {
        for _ in 0..MOST_MOVES {
            if self.run.state.status.is_terminal() || self.stuck.is_some() {
                return;
            }
            let next = self.moves.pop_front().map_or_else(|| world.next(&self.run, self.now_ms), Ok);
            match next {
                Ok(next) => self.perform(next, world),
                Err(why) => self.stuck = Some(why),
            }
        }
        self.stuck = Some(format!("the run has not ended after {MOST_MOVES} steps of it"));
    }

    fn perform(&mut self, next: Move, world: &mut impl World) {
        let credits = Credits::default();
        let grant = Grant { slots: usize::from(u16::MAX), epoch: 1, credits: &credits, gates: None };
        let decided = match next {
            Move::Tell(command) => self.run.decide(&command, grant, self.now_ms),
            Move::End(step, ending) => Ok(self.run.end_as(step, &ending, grant, self.now_ms)),
            Move::Until(at_ms) => {
                self.now_ms = self.now_ms.max(at_ms);
                self.run.decide(&Command::Wake, grant, self.now_ms)
            }
        };
        match decided {
            Ok(decision) => self.put(decision, world),
            Err(refusal) => self.stuck = Some(refusal.to_string()),
        }
    }

    fn put(&mut self, decision: Decision, world: &mut impl World) {
        self.run.apply(&decision);
        for effect in decision.effects {
            self.moves.extend(world.answer(&self.run, effect, self.now_ms));
        }
    }
}

/// The end of an attempt, at once.
pub(crate) fn ended(step: StepNo, attempt: u32, payload: Json, outcome: Outcome, now_ms: i64) -> Move {
    let report =
        AttemptReport { outcome, payload, started_at_ms: now_ms, completed_at_ms: now_ms, duration_ms: 1, http: None };
    Move::Tell(Command::AttemptEnded { step, attempt, report })
}

/// The run that a step waits for ends as it is told to, at once.
pub(crate) fn stopped(step: StepNo, attempt: u32) -> Move {
    let news = SubRunNews::Refused { attempt, message: "it was told to end".to_owned() };
    Move::Tell(Command::SubRun { step, news })
}

/// What the `transform` action gives: it computes, and needs no executor.
pub(crate) fn transformed(payload: &Json) -> Json {
    payload.get("values").map_or_else(|| payload.clone(), |values| Json::new(values.clone()))
}

/// What a person says to the run, or to a step of it: somebody who may.
pub(crate) fn verdict(run: &Run, step: Option<StepNo>, agrees: bool) -> Move {
    let named = step.and_then(|no| match &run.step_plan(no).kind {
        StepKind::Approval(approval) => {
            let voted = run.state.votes.get(&no).map(Vec::as_slice).unwrap_or_default();
            let users = approval.approvers.iter().filter_map(|approver| match approver {
                Approver::User(user) => Some(*user),
                Approver::Role(_) | Approver::OnCall(_) => None,
            });
            let mut open = users.filter(|user| !voted.contains(user));
            // Where several must agree, another admin does each time.
            let another = UserId(Uuid::from_u128(PERSON.0.as_u128() + voted.len() as u128));
            Some(open.next().unwrap_or(another))
        }
        _ => None,
    });
    let user = named.unwrap_or(PERSON);
    let on_duty = step.map(|no| on_duty(run, no, user)).unwrap_or_default();
    let by = Voter { user, role: Role::Admin, notes: None, form: Json::default(), on_duty };
    Move::Tell(if agrees { Command::Approve { step, by } } else { Command::Reject { step, by } })
}

/// Whoever decides is on call, wherever that is asked.
fn on_duty(run: &Run, step: StepNo, user: UserId) -> Arc<[OnDuty]> {
    let StepKind::Approval(approval) = &run.step_plan(step).kind else { return Arc::default() };
    let names = approval.approvers.iter().filter_map(Approver::schedule);
    names.map(|name| OnDuty { schedule: name.to_owned(), who: Ok(user) }).collect()
}

/// A step that waits for a person.
pub(crate) fn asked(run: &Run) -> impl Iterator<Item = StepNo> + '_ {
    run.state.all().filter(|(_, step)| step.status == StepStatus::AwaitingApproval).map(|(no, _)| no)
}
