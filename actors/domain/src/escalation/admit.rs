//! Whether a failure under a rule becomes an event of its own, joins one, or is held back.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::document::RuleDocument;
use super::minutes_ms;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Why a failure tells nobody. It is recorded and counted all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum HeldBack {
    Silence {
        name: String,
        until_ms: i64,
    },
    /// An open event of a rule that this one depends on.
    Dependency {
        rule_name: String,
    },
    Cooldown {
        until_ms: i64,
    },
    Throttle {
        max: u32,
        minutes: String,
    },
}

/// What is decided of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// A new event.
    Open,
    /// An open event on the same subject takes it.
    Join,
    HeldBack(HeldBack),
}

/// When the rule has escalated of late, by subject: what its windows are counted from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent(VecDeque<(i64, String)>);

/// What bounds a rule, compiled from its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// At most so many in so many ms, and the minutes as they were written.
    limits: Vec<(u32, i64, String)>,
    cooldown_ms: i64,
}

impl Windows {
    /// The windows of a rule.
    pub fn of(document: &RuleDocument) -> Self {
        let mut limits: Vec<(u32, i64, String)> = Vec::new();
        limits.extend(document.max_escalations_per_hour.map(|max| (max, HOUR_MS, "60".to_owned())));
        limits.extend(document.max_escalations_per_day.map(|max| (max, DAY_MS, "1440".to_owned())));
        let more = document.throttles.iter().map(|t| (t.max, minutes_ms(t.minutes), t.minutes.to_string()));
        limits.extend(more);
        Self { limits, cooldown_ms: document.cooldown_period_minutes.map_or(0, minutes_ms) }
    }

    /// For how long back what was escalated matters.
    pub fn longest_ms(&self) -> i64 {
        self.limits.iter().map(|(_, ms, _)| *ms).chain([self.cooldown_ms]).max().unwrap_or(0)
    }

    /// How many escalations matter at most.
    pub fn most(&self) -> usize {
        let limits = self.limits.iter().map(|(max, ..)| *max as usize).max().unwrap_or(0);
        // A subject's cooldown is looked for among as many.
        limits.max(if self.cooldown_ms > 0 { MOST_SUBJECTS } else { 0 })
    }
}

/// Subjects whose cooldown is remembered.
const MOST_SUBJECTS: usize = 10_000;

impl Recent {
    /// What the store says, the oldest first.
    pub fn new(escalated: impl IntoIterator<Item = (i64, String)>) -> Self {
        Self(escalated.into_iter().collect())
    }

    /// An escalation.
    pub fn add(&mut self, at_ms: i64, subject: &str) {
        self.0.push_back((at_ms, subject.to_owned()));
    }

    /// Forgets what matters no more.
    pub fn forget(&mut self, windows: &Windows, now_ms: i64) {
        let oldest = now_ms - windows.longest_ms();
        while self.0.len() > windows.most() || self.0.front().is_some_and(|(at_ms, _)| *at_ms <= oldest) {
            self.0.pop_front();
        }
    }

    /// Until when a window is full, as far as nothing else is escalated meanwhile; `None`: none is.
    pub fn full_until_ms(&self, windows: &Windows, now_ms: i64) -> Option<i64> {
        let full = windows.limits.iter().filter_map(|(max, ms, _)| {
            // Of as many as fill it the oldest leaves it first.
            let oldest = self.0.iter().rev().nth((*max as usize).saturating_sub(1));
            oldest.map(|(at_ms, _)| at_ms + ms).filter(|until_ms| *until_ms > now_ms)
        });
        full.max()
    }

    /// What holds a new event on a subject back: its cooldown first, then any window that is full.
    pub fn holds_back(&self, windows: &Windows, subject: &str, now_ms: i64) -> Option<HeldBack> {
        if windows.cooldown_ms > 0 {
            let last = self.0.iter().rev().find(|(_, other)| other == subject).map(|(at_ms, _)| *at_ms);
            let until_ms = last.map(|at_ms| at_ms + windows.cooldown_ms).filter(|until_ms| *until_ms > now_ms);
            if let Some(until_ms) = until_ms {
                return Some(HeldBack::Cooldown { until_ms });
            }
        }
        let full = windows.limits.iter().find(|(max, ms, _)| {
            let within = self.0.iter().rev().take_while(|(at_ms, _)| *at_ms > now_ms - ms).count();
            within >= *max as usize
        });
        full.map(|(max, _, minutes)| HeldBack::Throttle { max: *max, minutes: minutes.clone() })
    }
}

impl std::fmt::Display for HeldBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silence { name, .. } => write!(f, "the silence '{name}' covers it"),
            Self::Dependency { rule_name } => {
                write!(f, "an event of '{rule_name}', on which the rule depends, is open")
            }
            Self::Cooldown { .. } => f.write_str("the subject's cooldown has not passed"),
            Self::Throttle { max, minutes } => write!(f, "the rule has escalated {max} times in {minutes} minutes"),
        }
    }
}
