//! Silences: times in which failures that match are recorded and tell nobody, once or again and again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::check::ROOTS;
use super::matching::scope;
use super::minutes_ms;
use super::rule::{Failure, RuleId};
use crate::expr::{Condition, Names};
use crate::ids::{Owner, RowId};
use crate::plan::Problem;
use crate::schedule::Schedule;

/// The longest recurring window, in minutes: a week.
const MOST_MINUTES: f64 = 7.0 * 24.0 * 60.0;

/// A silence as people write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceDocument {
    pub name: String,
    /// CEL or a matcher over `trigger`, `tenant` and `now`; null: everything.
    #[serde(default)]
    pub matcher: Value,
    /// Only failures under these rules, by id; empty: any.
    #[serde(default)]
    pub rules: Vec<RuleId>,
    /// RFC 3339; absent: at once.
    #[serde(default)]
    pub starts_at: Option<String>,
    /// RFC 3339; absent: only with `cron`, and then for ever.
    #[serde(default)]
    pub ends_at: Option<String>,
    /// When it begins, again and again; then `duration_minutes` says how long each time.
    #[serde(default)]
    pub cron: Option<String>,
    #[serde(default)]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub duration_minutes: Option<f64>,
    #[serde(default)]
    pub reason: Option<String>,
}

/// A silence, compiled.
#[derive(Debug, Clone)]
pub struct Silence {
    pub id: RowId,
    pub document: SilenceDocument,
    condition: Condition,
    start_ms: i64,
    end_ms: Option<i64>,
    recurring: Option<(Schedule, i64)>,
}

impl Silence {
    /// Checks a silence and compiles it; it begins at `now_ms` where it says no time.
    pub fn compile(id: RowId, document: SilenceDocument, now_ms: i64) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |pointer: &str, message: String| problems.push(Problem::new(pointer, message));
        if document.name.trim().is_empty() || document.name.chars().count() > 200 {
            wrong("/name", "must have 1 to 200 characters".to_owned());
        }
        let condition = Condition::parse(&document.matcher, &Names::new(ROOTS, &[])).map_err(|error| {
            wrong(&format!("/matcher{}", error.pointer), error.to_string());
        });
        let time = |text: &Option<String>| match text.as_deref().map(chrono::DateTime::parse_from_rfc3339) {
            None => Ok(None),
            Some(Ok(time)) => Ok(Some(time.timestamp_millis())),
            Some(Err(error)) => Err(format!("is not an RFC 3339 time: {error}")),
        };
        let start_ms = time(&document.starts_at).unwrap_or_else(|message| {
            wrong("/starts_at", message);
            None
        });
        let end_ms = time(&document.ends_at).unwrap_or_else(|message| {
            wrong("/ends_at", message);
            None
        });
        let start_ms = start_ms.unwrap_or(now_ms);
        if end_ms.is_some_and(|end_ms| end_ms <= start_ms) {
            wrong("/ends_at", "must lie after starts_at".to_owned());
        }
        let recurring = match (&document.cron, document.duration_minutes) {
            (Some(cron), Some(minutes)) if minutes > 0.0 && minutes <= MOST_MINUTES => {
                let config = json!({"cron": cron, "timezone": document.time_zone.as_deref().unwrap_or("UTC")});
                let config: Map<String, Value> = config.as_object().cloned().unwrap_or_default();
                match Schedule::read(&config) {
                    Ok(schedule) => Some((schedule, minutes_ms(minutes))),
                    Err(found) => {
                        for problem in found {
                            let field = if problem.pointer.ends_with("timezone") { "/time_zone" } else { "/cron" };
                            wrong(field, problem.message);
                        }
                        None
                    }
                }
            }
            (Some(_), _) => {
                wrong("/duration_minutes", format!("must be more than 0 and at most {MOST_MINUTES} minutes"));
                None
            }
            (None, _) => {
                if end_ms.is_none() {
                    wrong("/ends_at", "is required where there is no cron: a silence must end".to_owned());
                }
                None
            }
        };
        match condition {
            Ok(condition) if problems.is_empty() => Ok(Self { id, document, condition, start_ms, end_ms, recurring }),
            _ => Err(problems),
        }
    }

    /// When it begins, and when it ends for good.
    pub fn span(&self) -> (i64, Option<i64>) {
        (self.start_ms, self.end_ms)
    }

    /// Until when it silences at an instant; `None` where it does not.
    pub fn until(&self, at_ms: i64) -> Option<i64> {
        let is_within = at_ms >= self.start_ms && self.end_ms.is_none_or(|end_ms| at_ms < end_ms);
        if !is_within {
            return None;
        }
        match &self.recurring {
            None => self.end_ms,
            Some((schedule, length_ms)) => {
                let started = schedule.next_after(at_ms - length_ms).filter(|started| *started <= at_ms)?;
                let until = started + length_ms;
                Some(self.end_ms.map_or(until, |end_ms| until.min(end_ms)))
            }
        }
    }

    /// When it begins next, at or after an instant.
    pub fn next_start(&self, at_ms: i64) -> Option<i64> {
        if self.end_ms.is_some_and(|end_ms| at_ms >= end_ms) {
            return None;
        }
        let from = at_ms.max(self.start_ms);
        match &self.recurring {
            None => (self.start_ms >= at_ms).then_some(self.start_ms),
            Some((schedule, _)) => {
                schedule.next_after(from - 1).filter(|next| self.end_ms.is_none_or(|end_ms| *next < end_ms))
            }
        }
    }

    /// Whether it is about a failure under a rule. One that cannot be evaluated covers nothing: silence is no default.
    pub fn covers(&self, rule: RuleId, failure: &Failure, owner: &Owner) -> bool {
        let is_asked = self.document.rules.is_empty() || self.document.rules.contains(&rule);
        is_asked && self.condition.holds(&scope(failure, owner)).unwrap_or(false)
    }
}
