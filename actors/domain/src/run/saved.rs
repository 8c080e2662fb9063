//! How a run's state is stored: one small JSON text a run, whatever the number of its steps.
//!
//! A letter per step, and a record for each that is released and not over. A thousand steps cost a kilobyte; outputs
//! stay in the log. `v` is the version of this form; a newer one is refused rather than guessed at.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::step::{Live, Step, StepStatus, is_zero};
use super::{Closing, RunState};
use crate::ids::StepNo;
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
}

/// The one field that every version of the form has.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// A stored state that this release cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the run's state has version {0}, this release reads version 1: start the newer release again")]
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

impl RunState {
    /// The columns to store.
    pub fn save(&self) -> SavedState {
        let saved = Saved {
            v: 1,
            s: self.steps.iter().map(|s| s.status.letter()).collect(),
            l: (0..).zip(&self.steps).filter_map(|(no, s)| Some((no, *s.live.as_deref()?))).collect(),
            c: self.closing,
            e: self.error.clone(),
            p: self.paused_by.clone(),
            o: self.reopened,
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
        if v != 1 {
            return Err(StateError::Newer(v));
        }
        let saved: Saved = serde_json::from_str(&columns.state).map_err(damaged)?;
        let mut live = saved.l;
        let mut steps = Vec::with_capacity(saved.s.len());
        for (no, letter) in saved.s.chars().enumerate() {
            let status = StepStatus::from_letter(letter)
                .ok_or_else(|| StateError::Damaged(format!("step {no} has the unknown state '{letter}'")))?;
            let live = live.remove(&(no as StepNo)).map(Box::new);
            if live.is_some() == (status.is_terminal() || status == StepStatus::Blocked) {
                return Err(StateError::Damaged(format!("step {no} is {status:?}, with its live state {live:?}")));
            }
            steps.push(Step { status, live });
        }
        if let Some(no) = live.keys().next() {
            return Err(StateError::Damaged(format!("there is no step {no} that its live state could belong to")));
        }
        Ok(Self {
            status: columns.status,
            steps,
            closing: saved.c,
            error: saved.e,
            started_at_ms: columns.started_at_ms,
            completed_at_ms: columns.completed_at_ms,
            paused_by: saved.p,
            reopened: saved.o,
        })
    }
}
