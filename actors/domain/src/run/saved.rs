//! How a run's state is stored: one small JSON text a run, whatever the number of its steps.
//!
//! A letter per step, and a record for each that is released and not over. A thousand steps cost a kilobyte; outputs
//! stay in the log. `v` is the version of this form; a newer one is refused rather than guessed at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::step::{Live, Step, StepStatus, is_zero};
use super::{Closing, Frame, IdempotencyKey, PhaseState, Place, Ranges, RequestName, RollbackState, Run, RunState};
use crate::Json;
use crate::ids::{StepNo, UserId};
use crate::words::RunStatus;

#[derive(Serialize, Deserialize)]
struct Saved {
    v: u32,
    /// A letter per step.
    s: String,
    /// What the live steps carry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    l: BTreeMap<StepNo, Live>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<Closing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    /// Who paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<Arc<str>>,
    /// How often it was taken up again.
    #[serde(default, skip_serializing_if = "is_zero")]
    o: u32,
    // What only some flows need, written by version 2 of the form.
    /// A letter for each execution past the end of the plan.
    #[serde(rename = "d", default, skip_serializing_if = "BTreeMap::is_empty")]
    loose: BTreeMap<StepNo, Loose>,
    #[serde(rename = "f", default, skip_serializing_if = "BTreeMap::is_empty")]
    frames: BTreeMap<StepNo, Frame>,
    #[serde(rename = "w", default, skip_serializing_if = "is_null")]
    vars: Json,
    #[serde(rename = "y", default, skip_serializing_if = "BTreeMap::is_empty")]
    votes: BTreeMap<StepNo, Vec<UserId>>,
    #[serde(rename = "i", default, skip_serializing_if = "BTreeMap::is_empty")]
    forms: BTreeMap<StepNo, BTreeMap<UserId, Json>>,
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    signals: Vec<(Arc<str>, Json)>,
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    named: Vec<RequestName>,
    #[serde(rename = "k", default, skip_serializing_if = "BTreeMap::is_empty")]
    event_keys: BTreeMap<StepNo, String>,
    #[serde(rename = "u", default, skip_serializing_if = "BTreeSet::is_empty")]
    unknown: BTreeSet<StepNo>,
    #[serde(rename = "h", default, skip_serializing_if = "is_none")]
    phase: PhaseState,
    /// Absent in what earlier releases wrote: there such a step is taken back only by whoever goes back to the start.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    joined: BTreeMap<u32, Ranges>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    rollback: Option<RollbackState>,
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    output: Option<Json>,
    #[serde(rename = "j", default, skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<StepNo, IdempotencyKey>,
    #[serde(rename = "b", default, skip_serializing_if = "BTreeMap::is_empty")]
    taken_back: BTreeMap<StepNo, u32>,
    /// Written by version 3 of the form: the steps whose outcomes it took over.
    #[serde(rename = "x", default, skip_serializing_if = "Ranges::is_empty")]
    reused: Ranges,
    /// Written by version 4 of the form: it gathers triggers.
    #[serde(rename = "t", default, skip_serializing_if = "std::ops::Not::not")]
    is_gathering: bool,
    /// Written by version 5 of the form: it was paused before it began.
    #[serde(rename = "q", default, skip_serializing_if = "std::ops::Not::not")]
    is_aside: bool,
}

fn is_null(value: &Json) -> bool {
    value.is_null()
}

fn is_none(phase: &PhaseState) -> bool {
    *phase == PhaseState::default()
}

/// An execution past the end of the plan. All but its letter is for those who read the tables.
#[derive(Serialize, Deserialize)]
pub struct Loose {
    #[serde(rename = "l")]
    letter: char,
    /// The step of the plan that it is a copy of, or takes back.
    #[serde(rename = "p")]
    plan: StepNo,
    /// The execution that it belongs to: its loop, or what it takes back.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    owner: Option<StepNo>,
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    is_undo: bool,
}

impl Run {
    /// The columns to store.
    pub fn save(&self) -> SavedState {
        self.state.save(|no, step| {
            let place = self.place(no);
            let owner = match place {
                Place::Undo { target, .. } => Some(target),
                _ => self.container(no),
            };
            Loose {
                letter: step.status.letter(),
                plan: self.state.plan_no(&self.plan, no).unwrap_or_default(),
                owner,
                is_undo: matches!(place, Place::Undo { .. }),
            }
        })
    }
}

/// The one field that every version of the form has.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// A stored state that this release cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the run's state has version {0}, this release reads versions 1 to 5: start the newer release again")]
    Newer(u32),
    #[error("the run's state cannot be read: {0}")]
    Damaged(String),
}

/// The columns of a stored state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    pub status: RunStatus,
    pub state: String,
    pub started_at_ms: Option<i64>,
    pub completed_at_ms: Option<i64>,
}

impl SavedState {
    /// Whether the run may have taken something over: the text says so, or happens to contain the words.
    pub fn may_reuse(&self) -> bool {
        self.state.contains("\"x\":[[")
    }
}

impl RunState {
    /// Whether a release that knows version 1 alone could not run it.
    fn needs_more(&self) -> bool {
        let waits = self.steps.iter().any(|step| step.status == StepStatus::Waiting);
        let is_plain = self.loose.is_empty()
            && self.frames.is_empty()
            && self.vars.is_null()
            && self.votes.is_empty()
            && self.signals.is_empty()
            && self.named.is_empty()
            && self.unknown.is_empty()
            && self.phase == PhaseState::default()
            && self.rollback.is_none()
            && self.output.is_none()
            && self.keys.is_empty()
            && self.taken_back.is_empty();
        waits || !is_plain
    }

    /// The columns to store, with what stands beside the letters of executions past the end of the plan.
    pub fn save(&self, loose: impl Fn(StepNo, &Step) -> Loose) -> SavedState {
        let saved = Saved {
            v: match (self.needs_more(), self.reused.is_empty()) {
                _ if self.is_aside => 5,
                _ if self.is_gathering => 4,
                (_, false) => 3,
                (true, true) => 2,
                (false, true) => 1,
            },
            s: self.steps.iter().map(|s| s.status.letter()).collect(),
            l: self.all().filter_map(|(no, s)| Some((no, *s.live.as_deref()?))).collect(),
            c: self.closing,
            e: self.error.clone(),
            p: self.paused_by.clone(),
            o: self.reopened,
            loose: self.loose.iter().map(|(no, step)| (*no, loose(*no, step))).collect(),
            frames: self.frames.clone(),
            vars: self.vars.clone(),
            votes: self.votes.clone(),
            forms: self.forms.clone(),
            signals: self.signals.clone(),
            named: self.named.clone(),
            event_keys: self.event_keys.clone(),
            unknown: self.unknown.clone(),
            phase: self.phase,
            joined: self.joined.clone(),
            rollback: self.rollback.clone(),
            output: self.output.clone(),
            keys: self.keys.clone(),
            taken_back: self.taken_back.clone(),
            reused: self.reused.clone(),
            is_gathering: self.is_gathering,
            is_aside: self.is_aside,
        };
        SavedState {
            status: self.status,
            state: serde_json::to_string(&saved).expect("a state has text keys and integers"),
            started_at_ms: self.started_at_ms,
            completed_at_ms: self.completed_at_ms,
        }
    }

    /// The state that was stored.
    pub fn load(columns: &SavedState) -> Result<Self, StateError> {
        let damaged = |e: serde_json::Error| StateError::Damaged(e.to_string());
        // First of all, and alone: of a newer form nothing else is known.
        let Version { v } = serde_json::from_str(&columns.state).map_err(damaged)?;
        if !(1..=5).contains(&v) {
            return Err(StateError::Newer(v));
        }
        let saved: Saved = serde_json::from_str(&columns.state).map_err(damaged)?;
        let mut live = saved.l;
        let mut steps = Vec::with_capacity(saved.s.len());
        for (no, letter) in (0..).zip(saved.s.chars()) {
            steps.push(step(no, letter, &mut live)?);
        }
        let mut loose = BTreeMap::new();
        for (no, saved) in saved.loose {
            loose.insert(no, step(no, saved.letter, &mut live)?);
        }
        if let Some(no) = live.keys().next() {
            return Err(StateError::Damaged(format!("there is no step {no} that its live state could belong to")));
        }
        Ok(Self {
            status: columns.status,
            steps,
            loose,
            frames: saved.frames,
            vars: saved.vars,
            votes: saved.votes,
            forms: saved.forms,
            signals: saved.signals,
            named: saved.named,
            event_keys: saved.event_keys,
            unknown: saved.unknown,
            phase: saved.phase,
            joined: saved.joined,
            rollback: saved.rollback,
            output: saved.output,
            keys: saved.keys,
            taken_back: saved.taken_back,
            reused: saved.reused,
            closing: saved.c,
            error: saved.e,
            started_at_ms: columns.started_at_ms,
            completed_at_ms: columns.completed_at_ms,
            paused_by: saved.p,
            reopened: saved.o,
            is_gathering: saved.is_gathering,
            is_aside: saved.is_aside,
        })
    }
}

/// A step by its letter, with what it carries while it is live.
fn step(no: StepNo, letter: char, live: &mut BTreeMap<StepNo, Live>) -> Result<Step, StateError> {
    let status = StepStatus::from_letter(letter)
        .ok_or_else(|| StateError::Damaged(format!("step {no} has the unknown state '{letter}'")))?;
    let live = live.remove(&no).map(Box::new);
    if live.is_some() == (status.is_terminal() || status == StepStatus::Blocked) {
        return Err(StateError::Damaged(format!("step {no} is {status:?}, with its live state {live:?}")));
    }
    Ok(Step { status, live })
}
