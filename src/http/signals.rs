//! What reaches the runtime beside webhooks and people's triggers: events, decisions, recommendations and metrics.

pub mod decisions;
pub mod events;
pub mod metrics_data;
pub mod recommendations;
mod verdict;

use core314_actors::engine::SignalError;

use super::problem::{FieldError, Problem};

const MAX_TITLE_CHARS: usize = 200;
const MAX_TEXT_CHARS: usize = 2_000;

/// A text of 1 to so many characters.
fn text(name: &'static str, text: String, most: usize) -> Result<String, Problem> {
    if text.trim().is_empty() || text.chars().count() > most {
        return Err(Problem::field(name, format!("must have 1 to {most} characters")));
    }
    Ok(text)
}

/// Why something was not taken; `noun` is what the path names.
pub fn refused(error: SignalError, noun: &str) -> Problem {
    match error {
        SignalError::NotFound => Problem::no_row(noun),
        SignalError::Decided => Problem::Conflict(format!("the {noun} was decided before: look at it")),
        SignalError::KeyReused => Problem::IdempotencyKeyReused,
        // Problems of the flow of one step are problems of the body that it was made from.
        SignalError::Invalid(problems) => {
            let errors = problems.into_iter().map(|problem| {
                let within = problem.pointer.strip_prefix("/flow_steps/0").unwrap_or(&problem.pointer);
                FieldError::at(within.strip_prefix("/config").unwrap_or(within), problem.message)
            });
            Problem::InvalidRequest(errors.collect())
        }
        SignalError::Store(error) => error.into(),
    }
}
