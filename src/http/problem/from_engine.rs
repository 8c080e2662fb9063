//! What the engine's refusals mean to a client. No catch-all arm: a new refusal must be given its status here.

use core314_actors::engine::{ConnectError, KeyError, SaveError, TellError};
use core314_actors::ingress::TriggerError;
use core314_actors::ports::StoreError;
use core314_actors::supervision::RestartError;
use core314_domain::run::Refusal;

use super::{FieldError, Problem};

/// When to come back to a store that does not answer.
const STORE_RETRY_SECONDS: u64 = 2;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(message) => {
                tracing::warn!(%message, "the store is not available");
                Self::StoreUnavailable { retry_after_seconds: STORE_RETRY_SECONDS }
            }
            // The message may quote the database.
            StoreError::Refused(message) => {
                tracing::warn!(%message, "the store refused a request");
                Self::Conflict("the store refuses this request, now and later".to_owned())
            }
            StoreError::Corrupt(message) => {
                tracing::error!(%message, "the store holds something unreadable");
                Self::Internal
            }
        }
    }
}

impl From<SaveError> for Problem {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Invalid(problems) => Self::InvalidFlow(problems),
            SaveError::NameTaken => Self::NameTaken,
            SaveError::Conflict => Self::PreconditionFailed,
            SaveError::NotFound => Self::no_row("flow"),
            SaveError::RolloutRunning(_) => Self::Conflict(error.to_string()),
            SaveError::Store(error) => error.into(),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::NotFound => Self::no_row("service key"),
            KeyError::TooMany { limit } => {
                Self::Conflict(format!("there are {limit} live keys already: revoke some that nobody uses"))
            }
            KeyError::Store(error) => error.into(),
        }
    }
}

impl From<ConnectError> for Problem {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Invalid(problems) => {
                let placed = |problem: core314_domain::plan::Problem| FieldError::at(&problem.pointer, problem.message);
                Self::InvalidRequest(problems.into_iter().map(placed).collect())
            }
            ConnectError::NameTaken => Self::NameTaken,
            ConnectError::Conflict
            | ConnectError::InUse(_)
            | ConnectError::Locked(_)
            | ConnectError::TooMany { .. } => Self::Conflict(error.to_string()),
            ConnectError::Store(error) => error.into(),
        }
    }
}

impl From<TriggerError> for Problem {
    fn from(error: TriggerError) -> Self {
        match error {
            TriggerError::Busy { retry_after_seconds } => Self::Busy { retry_after_seconds },
            TriggerError::NoSuchFlow => Self::no_row("flow"),
            TriggerError::Inactive(flow) => Self::FlowInactive(flow),
            TriggerError::Condition { flow, message, .. } | TriggerError::LimitKey { flow, message } => {
                Self::ConditionError { flow, message }
            }
            TriggerError::Skipped { .. } => Self::LimitReached(error.to_string()),
            TriggerError::TooLarge { limit, .. } => Self::PayloadTooLarge { limit_bytes: limit },
            TriggerError::InvalidInput(problems) => {
                Self::InvalidRequest(problems.into_iter().map(|problem| placed("/trigger_context", problem)).collect())
            }
            TriggerError::Invalid(problems) => Self::InvalidFlow(problems),
            TriggerError::RunKeyTaken(run) => Self::Conflict(format!("run {run} has this run_key and has not ended")),
            TriggerError::KeyReused => Self::IdempotencyKeyReused,
            // Nothing was taken, and the cause is on this side: a repetition is right.
            TriggerError::Failed(message) => {
                tracing::warn!(%message, "a trigger was not taken");
                Self::Busy { retry_after_seconds: 1 }
            }
            TriggerError::Store(error) => error.into(),
        }
    }
}

/// What is wrong with a part of a request's body.
fn placed(at: &str, problem: core314_domain::plan::Problem) -> FieldError {
    FieldError::at(&format!("{at}{}", problem.pointer), problem.message)
}

impl From<TellError> for Problem {
    fn from(error: TellError) -> Self {
        match error {
            TellError::NotFound => Self::no_row("run"),
            TellError::Refused(Refusal::BadForm(_, problems)) => {
                Self::InvalidRequest(problems.into_iter().map(|problem| placed("/form", problem)).collect())
            }
            TellError::Refused(Refusal::KeyReused) => Self::IdempotencyKeyReused,
            TellError::Refused(refusal) => Self::Conflict(refusal.to_string()),
            TellError::RunKeyTaken(_) => Self::Conflict(error.to_string()),
            TellError::Skipped { .. } => Self::LimitReached(error.to_string()),
            TellError::Busy => Self::Busy { retry_after_seconds: 1 },
            TellError::Failed(message) => {
                tracing::warn!(%message, "a run could not be told something");
                Self::Conflict("the run cannot take this just now; its log says why".to_owned())
            }
            TellError::Store(error) => error.into(),
        }
    }
}

impl From<RestartError> for Problem {
    fn from(error: RestartError) -> Self {
        match error {
            RestartError::UnknownActor => Self::no_row("actor"),
            RestartError::Root => Self::Conflict(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_runtime_and_an_absent_store_ask_to_come_back() {
        assert_eq!(
            Problem::from(TriggerError::Busy { retry_after_seconds: 5 }),
            Problem::Busy { retry_after_seconds: 5 }
        );
        let absent = StoreError::Unavailable("connection to 10.0.0.3 refused".to_owned());
        let problem = Problem::from(SaveError::Store(absent));
        assert_eq!(problem, Problem::StoreUnavailable { retry_after_seconds: STORE_RETRY_SECONDS });
        assert!(!problem.to_string().contains("10.0.0.3"));
    }

    #[test]
    fn what_the_database_says_stays_inside() {
        for error in [StoreError::Refused, StoreError::Corrupt] {
            let problem = Problem::from(error("duplicate key value violates flows_pkey".to_owned()));
            assert!(!problem.to_string().contains("flows_pkey"), "{problem}");
        }
    }
}
