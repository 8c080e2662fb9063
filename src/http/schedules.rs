//! Schedules: what flows start by themselves, why they did not, and what people do about it.

pub mod backfill;
pub mod control;
pub mod preview;
pub mod show;

use chrono::DateTime;
use core314_actors::engine::ScheduleError;
use core314_domain::plan::Problem as DocumentProblem;
use core314_domain::schedule::Schedule;
use schemars::JsonSchema;
use serde::Serialize;

use super::flows::rfc3339;
use super::problem::{FieldError, Problem};

/// An instant at which a flow starts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Instant")]
struct InstantView {
    /// RFC 3339 in UTC.
    scheduled_for: Option<String>,
    /// The same as the wall clock of the schedule's time zone shows it.
    local: String,
}

impl InstantView {
    fn of(schedule: &Schedule, instant_ms: i64) -> Self {
        Self { scheduled_for: rfc3339(instant_ms), local: schedule.local(instant_ms) }
    }
}

/// A time in a field of the body, in ms since the epoch.
fn time(name: &str, text: &str) -> Result<i64, Problem> {
    let time = DateTime::parse_from_rfc3339(text);
    let time =
        time.map_err(|_| Problem::field(name, "must be a time as RFC 3339 writes it, such as 2030-01-31T08:00:00Z"));
    Ok(time?.timestamp_millis())
}

/// What is wrong with a `trigger_config` in the body.
fn misread(problems: Vec<DocumentProblem>) -> Problem {
    Problem::InvalidRequest(problems.into_iter().map(|p| FieldError::at(&p.pointer, p.message)).collect())
}

/// There is no such flow, or its trigger is another one.
fn missing() -> Problem {
    Problem::no_row("schedule")
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::NotFound => missing(),
            ScheduleError::Invalid(problems) => Self::InvalidFlow(problems),
            ScheduleError::PausedByDocument => Self::Conflict(error.to_string()),
            ScheduleError::TooMany { max } => {
                let message = format!("the range holds more than {max} instants: narrow it, or raise max");
                Self::field("max", message)
            }
            ScheduleError::Busy => Self::Busy { retry_after_seconds: 1 },
            ScheduleError::Trigger(error) => error.into(),
            ScheduleError::Store(error) => error.into(),
        }
    }
}
