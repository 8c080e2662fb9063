//! Failures of the past, as the rules were asked about them: what is tried out again must be what it was, or the verdict is
//! another one than there was.

use std::sync::Arc;

use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_domain::escalation::{EscalationReason, Failure, about_run};
use core314_domain::ids::{ExecutionId, RowId, RunId};
use serde_json::{Value, json};

use crate::http::State;
use crate::http::problem::Problem;

/// What rules would have been asked about an execution.
pub async fn of_execution(state: &State, scope: Scope, id: ExecutionId) -> Result<Failure, Problem> {
    let missing = || Problem::no_row("execution");
    let row = state.views.one(scope, Resource::Executions, id.0).await?.ok_or_else(missing)?;
    let (run, _) = id.parts().ok_or_else(missing)?;
    let run = state.views.one(scope, Resource::Runs, run.0).await?.ok_or_else(missing)?;
    let mut noted = json!({
        "step_id": row["step_id"], "execution_id": id, "action_type": row["action_type"],
        "action_target": row["action_target"], "integration": row["action_target"], "urgency": row["urgency"],
        "priority": row["priority"],
    });
    let reason = if row["execution_status"] == "expired" {
        EscalationReason::ExecutionExpired
    } else {
        how_it_failed(&mut noted, &row, &last_attempt(state, scope, id).await?);
        EscalationReason::ExecutionFailed
    };
    Ok(Failure::described(reason, Arc::new(about_run(noted, &run)), time(state, &row["completed_at"])))
}

/// The row of an execution's last attempt; null where none is kept.
async fn last_attempt(state: &State, scope: Scope, id: ExecutionId) -> Result<Value, Problem> {
    let Some(log) = state.engine.escalations()?.book().last_attempt(scope, id).await? else { return Ok(Value::Null) };
    Ok(state.views.one(scope, Resource::Log, log.0).await?.unwrap_or_default())
}

/// What only the last attempt knows stands beside what the execution says, as it does when the rules are asked at once: there
/// is no status where no answer came.
fn how_it_failed(noted: &mut Value, row: &Value, attempt: &Value) {
    let attempts = attempt["retry_attempt"].as_i64().or_else(|| row["current_retry_attempt"].as_i64());
    noted["attempts"] = json!(attempts.unwrap_or(0) + 1);
    noted["error"] = row["execution_error"].clone();
    noted["error_code"] = row["execution_error_code"].clone();
    if !attempt["http_status_code"].is_null() {
        noted["http_status_code"] = attempt["http_status_code"].clone();
    }
}

/// What rules were asked about the end of a run.
pub async fn of_run(state: &State, scope: Scope, id: RunId) -> Result<Failure, Problem> {
    let row = state.views.one(scope, Resource::Runs, id.0).await?.ok_or_else(|| Problem::no_row("run"))?;
    let status = row["run_status"].as_str().unwrap_or_default();
    let reason = match status {
        "failed" | "timed_out" => EscalationReason::RunFailed,
        "rolled_back" => EscalationReason::RunRolledBack,
        other => {
            let message = format!("the run has not ended badly: it is {other}, and no rule was asked about its end");
            return Err(Problem::field("run_id", message));
        }
    };
    let noted = json!({"run_status": status, "error": row["error"]});
    Ok(Failure::described(reason, Arc::new(about_run(noted, &row)), time(state, &row["completed_at"])))
}

/// What rules were asked about when an event opened, or was held back: it is kept with the event.
pub async fn of_event(state: &State, scope: Scope, id: RowId) -> Result<Failure, Problem> {
    let missing = || Problem::no_row("escalation event");
    let row = state.views.one(scope, Resource::EscalationEvents, id.0).await?.ok_or_else(missing)?;
    let reason = row["escalation_reason"].as_str().and_then(|word| word.parse::<EscalationReason>().ok());
    // The view gives its own words alone.
    let reason = reason.ok_or(Problem::Internal)?;
    Ok(Failure::described(reason, Arc::new(row["context_data"].clone()), time(state, &row["triggered_at"])))
}

/// When it was; now where it has no time.
fn time(state: &State, at: &Value) -> i64 {
    let at = at.as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    at.map_or_else(|| state.engine.now_ms(), |time| time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_last_attempt_knows_is_asked_about() {
        let row =
            json!({"current_retry_attempt": 1, "execution_error": "HTTP 503", "execution_error_code": "http_503"});
        let mut noted = json!({"step_id": "charge"});
        how_it_failed(&mut noted, &row, &json!({"retry_attempt": 2, "http_status_code": 503}));
        let expected = json!({"step_id": "charge", "attempts": 3, "error": "HTTP 503", "error_code": "http_503",
            "http_status_code": 503});
        assert_eq!(noted, expected);
        let mut silent = json!({});
        how_it_failed(&mut silent, &row, &Value::Null);
        assert_eq!((&silent["attempts"], silent.get("http_status_code")), (&json!(2), None));
    }
}
