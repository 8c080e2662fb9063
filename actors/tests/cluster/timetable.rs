//! A flow that starts by itself: each of its instants has one run, whatever becomes of the nodes.

use chrono::DateTime;
use core314_actors::testkit::memory_store::Rows;
use core314_domain::ids::FlowId;
use serde_json::{Value, json};

use super::witness::{Check, ensure};
use super::workshop::ACTION;

const EVERY_MS: i64 = 10_000;

/// The flow.
pub fn flow() -> Value {
    let step = json!({"id": "a", "config": {"action_type": ACTION, "action_payload": {"ms": 50}}});
    json!({
        "flow_name": "by the clock", "trigger_type": "schedule", "flow_steps": [step],
        "trigger_config": {"cron": "*/10 * * * * *", "missed": "all"},
        "retry_policy": {"max_attempts": 9, "backoff_seconds": 0.1},
    })
}

/// None of its instants is left out, and none has two runs.
pub fn check(rows: &Rows, flow: FlowId) -> Check {
    let own = rows.runs.values().filter(|run| run.header.flow.id == flow);
    let instants: Result<Vec<i64>, String> = own
        .map(|run| {
            let text = run.header.trigger_context["scheduled_for"].as_str().unwrap_or_default();
            DateTime::parse_from_rfc3339(text).map(|at| at.timestamp_millis()).map_err(|error| error.to_string())
        })
        .collect();
    let mut instants = instants?;
    instants.sort_unstable();
    let gap = instants.windows(2).find(|pair| pair[1] - pair[0] != EVERY_MS);
    ensure(gap.is_none(), || format!("a schedule has fired at {gap:?}, and every {EVERY_MS} ms is asked for"))?;
    let fired = rows.schedules.0.get(&flow).map_or(0, |row| row.fired);
    ensure(fired == instants.len() as i64, || {
        format!("{} runs, and a schedule has fired {fired} times", instants.len())
    })
}
