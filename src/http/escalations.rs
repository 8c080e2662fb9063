//! Escalations: rules, events, on-call schedules and silences.

pub mod ack;
pub mod analytics;
pub mod events;
pub mod on_call;
pub mod past;
pub mod rules;
pub mod silences;
pub mod try_out;
mod written;

use core314_actors::engine::RuleError;
use core314_actors::escalations::{AskError, EscalationError};
use core314_domain::ids::RowId;
use core314_domain::plan::Problem as DocumentProblem;
use serde_json::Value;

use super::problem::{FieldError, Problem};

/// Why something was not saved; `noun` is what the path names.
fn refused(error: RuleError, noun: &str) -> Problem {
    match error {
        RuleError::Invalid(problems) => Problem::InvalidRequest(problems.iter().map(field).collect()),
        RuleError::NameTaken => Problem::NameTaken,
        RuleError::Conflict => Problem::PreconditionFailed,
        RuleError::NotFound => Problem::no_row(noun),
        RuleError::Store(error) => error.into(),
    }
}

/// What is wrong at a place, with its line where that is known.
fn field(problem: &DocumentProblem) -> FieldError {
    let place = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
        _ => String::new(),
    };
    FieldError::at(&problem.pointer, format!("{}{place}", problem.message))
}

/// Why an event was not told something.
fn not_told(error: EscalationError) -> Problem {
    match error {
        EscalationError::NotFound => Problem::no_row("escalation event"),
        EscalationError::Refused(refusal) => Problem::Conflict(refusal.to_string()),
        EscalationError::Busy => Problem::Busy { retry_after_seconds: 1 },
        EscalationError::Store(error) => error.into(),
    }
}

/// The name of what has happened, as the first request of that name gave it: told again, it opens one event under
/// a rule, and counts once in an open one. What was held back is counted again where the first was cut off before its answer
/// was kept.
pub fn cause_of(made: &Value) -> Result<RowId, Problem> {
    made.as_str().and_then(|id| id.parse().ok()).ok_or(Problem::IdempotencyKeyReused)
}

/// Why the rules could not be asked.
pub fn not_asked(error: AskError) -> Problem {
    match error {
        AskError::Busy => Problem::Busy { retry_after_seconds: 1 },
        AskError::Store(error) => error.into(),
    }
}
