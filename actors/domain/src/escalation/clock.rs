//! A service clock: how long is left until somebody should have responded, or resolved.
//!
//! It counts the working time of a calendar, stands still while it is paused, and is breached once.

use serde::{Deserialize, Serialize};

use super::calendar::WorkingCalendar;

/// Why a clock stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub since_ms: i64,
    pub reason: String,
    pub by: String,
}

/// A clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceClock {
    pub started_ms: i64,
    /// Working time that it allows.
    pub target_ms: i64,
    /// Working time for which it stood still.
    #[serde(default)]
    pub paused_ms: i64,
    #[serde(default)]
    pub paused: Option<Pause>,
    /// When what it waits for came.
    #[serde(default)]
    pub met_ms: Option<i64>,
    /// When its deadline passed.
    #[serde(default)]
    pub breached_ms: Option<i64>,
    #[serde(default)]
    pub is_announced: bool,
}

/// What a look at a clock finds, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// The breach comes near.
    Near {
        left_ms: i64,
    },
    Breached,
}

impl ServiceClock {
    /// A clock that begins now.
    pub fn new(started_ms: i64, target_ms: i64) -> Self {
        Self { started_ms, target_ms, paused_ms: 0, paused: None, met_ms: None, breached_ms: None, is_announced: false }
    }

    /// A clock that has begun with another one of the same event and stood still with it: as long, and as it does now.
    pub fn beside(other: &Self, target_ms: i64) -> Self {
        let (paused_ms, paused) = (other.paused_ms, other.paused.clone());
        Self { paused_ms, paused, ..Self::new(other.started_ms, target_ms) }
    }

    /// When it is breached; for one that stands still, if it went on now.
    pub fn deadline_ms(&self, calendar: &WorkingCalendar) -> i64 {
        calendar.add(self.started_ms, self.target_ms.saturating_add(self.paused_ms))
    }

    /// Whether it still counts.
    pub fn runs(&self) -> bool {
        self.met_ms.is_none() && self.breached_ms.is_none() && self.paused.is_none()
    }

    /// Looks at the time. `warn_ms` before the deadline a breach is announced.
    pub fn look(&mut self, calendar: &WorkingCalendar, warn_ms: Option<i64>, now_ms: i64) -> Found {
        if !self.runs() {
            return Found::Nothing;
        }
        let deadline_ms = self.deadline_ms(calendar);
        if now_ms >= deadline_ms {
            // As it was, however late the look is.
            self.breached_ms = Some(deadline_ms);
            return Found::Breached;
        }
        if !self.is_announced && warn_ms.is_some_and(|warn_ms| now_ms >= deadline_ms - warn_ms) {
            self.is_announced = true;
            return Found::Near { left_ms: deadline_ms - now_ms };
        }
        Found::Nothing
    }

    /// When to look again.
    pub fn next_ms(&self, calendar: &WorkingCalendar, warn_ms: Option<i64>) -> Option<i64> {
        if !self.runs() {
            return None;
        }
        let deadline_ms = self.deadline_ms(calendar);
        let warning = warn_ms.filter(|_| !self.is_announced).map(|warn_ms| deadline_ms - warn_ms);
        Some(warning.unwrap_or(deadline_ms))
    }

    /// What it waits for has come.
    pub fn meet(&mut self, now_ms: i64) {
        self.met_ms = self.met_ms.or(Some(now_ms));
    }

    /// Stands still from now on. False where it does already, or counts no more.
    pub fn pause(&mut self, pause: Pause) -> bool {
        let runs = self.runs();
        if runs {
            self.paused = Some(pause);
        }
        runs
    }

    /// Goes on. False where it does.
    pub fn go_on(&mut self, calendar: &WorkingCalendar, now_ms: i64) -> bool {
        let Some(pause) = self.paused.take() else { return false };
        self.paused_ms += calendar.between(pause.since_ms, now_ms);
        true
    }

    /// Allows another time from its start on: what has passed has passed, what stood still stood still.
    pub fn retarget(&mut self, target_ms: i64) {
        if self.met_ms.is_none() && self.breached_ms.is_none() {
            self.target_ms = target_ms;
            self.is_announced = false;
        }
    }
}
