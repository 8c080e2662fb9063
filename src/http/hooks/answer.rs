//! The answer of a delivery that started a run: its id at once, or the flow's own answer once the run is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use core314_actors::engine::Engine;
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page};
use core314_actors::webhooks::ReadyWebhook;
use core314_domain::expr::{self, StepView};
use core314_domain::ids::RunId;
use core314_domain::run::matching_scope;
use core314_domain::words::{ExecutionStatus, RunStatus};
use serde_json::{Value, json};

use super::taking::View;
use crate::http::State;
use crate::http::problem::Problem;

/// Steps are read in pages of so many.
const PAGE_STEPS: usize = 500;

/// Waits for the run's end, for this long at most; whether it has come. The run goes on either way.
///
/// To be connected to `Engine::wait_for_end`: until then no run ends within the wait, and every answer is `202`.
async fn has_ended(_engine: &Engine, _run: RunId, _wait: Duration) -> bool {
    std::future::ready(false).await
}

/// The answer to whoever sent the delivery.
pub async fn of_run(state: &State, ready: &ReadyWebhook, run: RunId) -> Result<HttpResponse, Problem> {
    let accepted = || HttpResponse::Accepted().json(View { run_ids: vec![run], why_not: Vec::new() });
    let Some(respond) = &ready.webhook.respond else { return Ok(accepted()) };
    if !has_ended(&state.engine, run, Duration::from_secs(respond.wait_seconds.into())).await {
        return Ok(accepted());
    }
    let scope = Scope::Tenant(ready.webhook.owner.tenant);
    let Some(row) = state.views.one(scope, Resource::Runs, run.0).await? else { return Ok(accepted()) };
    let body = if ready.webhook.respond.as_ref().is_some_and(|respond| respond.body.is_some()) {
        let steps = steps(state, scope, run).await?;
        rendered(ready, &row, steps, state.engine.now_ms())
    } else {
        Ok(own(&row))
    };
    match body {
        Ok(body) => Ok(HttpResponse::Ok().json(body)),
        // The run is done: an error would make the sender deliver it again.
        Err(message) => Ok(HttpResponse::Accepted().json(json!({"run_ids": [run], "respond_error": message}))),
    }
}

/// The run's output; of a run that has none to give, how it ended.
fn own(row: &Value) -> Value {
    if row["run_status"] == RunStatus::Completed.as_str() {
        return row["output"].clone();
    }
    json!({"run_ids": [row["id"]], "run_status": row["run_status"], "error": row["error"]})
}

/// What the webhook's template makes of the run.
fn rendered(
    ready: &ReadyWebhook,
    row: &Value,
    steps: BTreeMap<Arc<str>, StepView>,
    now_ms: i64,
) -> Result<Value, String> {
    let member = |name: &str| Arc::new(row[name].clone());
    let matching = matching_scope(member("trigger_context"), Arc::default(), &ready.webhook.owner, now_ms);
    let scope = expr::Scope {
        input: member("input"),
        steps: Arc::new(steps),
        flow: Arc::new(json!({
            "id": row["orchestration_flow_id"], "name": row["flow_name"], "version": row["flow_version"],
        })),
        run: Arc::new(json!({
            "id": row["id"], "status": row["run_status"], "output": row["output"], "error": row["error"],
        })),
        ..matching
    };
    let answer = ready.answer(&scope).map_err(|error| error.to_string())?;
    Ok(answer.unwrap_or_default())
}

/// What the run's steps have come to.
async fn steps(state: &State, scope: Scope, run: RunId) -> Result<BTreeMap<Arc<str>, StepView>, Problem> {
    let mut steps = BTreeMap::new();
    let mut after = None;
    loop {
        let filter = Filter::of([("flow_run_id", json!(run))]);
        let page = Page { limit: PAGE_STEPS, after };
        let page = state.views.list(scope, Resource::Executions, filter, page).await?;
        for row in &page.items {
            let status = row["execution_status"].as_str().and_then(|word| word.parse::<ExecutionStatus>().ok());
            if let (Some(id), Some(status)) = (row["step_id"].as_str(), status) {
                let error = row["execution_error"].as_str().map(Arc::from);
                let output = Arc::new(row["execution_result"].clone());
                steps.insert(Arc::from(id), StepView { status: status.as_str(), output, error });
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(steps);
        }
    }
}

#[cfg(test)]
mod tests {
    use core314_actors::ports::webhook::{Kept, Respond, Webhook, WebhookSecret, WebhookTarget};
    use core314_domain::ids::{Owner, UserId, WebhookId};
    use core314_domain::words::TriggerType;
    use uuid::Uuid;

    use super::*;

    fn ready(body: Value) -> ReadyWebhook {
        let webhook = Webhook {
            id: WebhookId(Uuid::from_u128(1)),
            owner: Owner::new(UserId(Uuid::from_u128(2)), None),
            name: "w".to_owned(),
            verification: "url_secret".to_owned(),
            options: json!({}),
            secrets: vec![WebhookSecret { kept: Kept::Digest([0; 32]), ends_at_ms: None }],
            target: WebhookTarget::Trigger(TriggerType::Webhook),
            dedup_key: None,
            respond: Some(Respond { wait_seconds: 1, body: Some(body) }),
            is_active: true,
            version: 1,
            created_at_ms: 1,
            updated_at_ms: 1,
        };
        ReadyWebhook::compile(webhook).expect("compiles")
    }

    #[test]
    fn a_template_answers_with_steps_and_output() {
        let row = json!({"id": "r", "run_status": "completed", "output": {"n": 2}, "trigger_context": {"who": "me"}});
        let step = StepView { status: "completed", output: Arc::new(json!({"body": 7})), error: None };
        let steps = BTreeMap::from([(Arc::from("ask"), step)]);
        let body = json!({"a": "{{ steps.ask.output.body }}", "b": "{{ run.output.n }}", "c": "for {{ trigger.who }}"});
        let answer = rendered(&ready(body), &row, steps.clone(), 1);
        assert_eq!(answer, Ok(json!({"a": 7, "b": 2, "c": "for me"})));
        let missing = rendered(&ready(json!("{{ steps.other.output }}")), &row, steps, 1);
        assert!(missing.expect_err("there is no such step").contains("other"));
    }

    #[test]
    fn without_a_template_the_output_or_the_end_is_the_answer() {
        assert_eq!(own(&json!({"run_status": "completed", "output": [1]})), json!([1]));
        let failed = own(&json!({"id": "r", "run_status": "failed", "output": null, "error": "no"}));
        assert_eq!(failed, json!({"run_ids": ["r"], "run_status": "failed", "error": "no"}));
    }
}
