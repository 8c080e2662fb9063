//! The answer of a delivery that started runs: their ids at once, or the flow's own answer once its run is over. Where
//! several flows started, it is the newest one's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use core314_actors::ingress::Accepted;
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page};
use core314_actors::webhooks::ReadyWebhook;
use core314_domain::Json;
use core314_domain::expr::{self, Output, StepView, StepViews};
use core314_domain::ids::RunId;
use core314_domain::run::matching_scope;
use core314_domain::words::{ExecutionStatus, RunStatus};
use serde_json::{Value, json};

use super::taking::View;
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::runs::ended;

/// Steps are read in pages of so many.
const PAGE_STEPS: usize = 500;

/// The answer to whoever sent the delivery. The run is durable: whatever goes wrong from here on, the sender is told so,
/// because an error would make it deliver again.
pub async fn of_run(state: &State, ready: &ReadyWebhook, accepted: &Accepted, request: &Json) -> HttpResponse {
    let (run, run_ids) = (accepted.run, accepted.runs().collect());
    match own_answer(state, ready, run, request).await {
        Ok(Some(answer)) => HttpResponse::Ok().json(answer),
        Ok(None) => HttpResponse::Accepted().json(View { run_ids, why_not: Vec::new() }),
        Err(message) => {
            tracing::warn!(%run, webhook = %ready.webhook.id, message, "a flow's own answer could not be given");
            HttpResponse::Accepted().json(json!({"run_ids": run_ids, "respond_error": message}))
        }
    }
}

/// The flow's own answer; `None` where the webhook asks for none, or the run has not ended in time.
async fn own_answer(state: &State, ready: &ReadyWebhook, run: RunId, request: &Json) -> Result<Option<Value>, String> {
    let Some(respond) = &ready.webhook.respond else { return Ok(None) };
    let scope = Scope::Tenant(ready.webhook.owner.tenant);
    let wait = Duration::from_secs(respond.wait_seconds.into());
    let told = |problem: Problem| problem.to_string();
    let Some(row) = ended(state, scope, run, wait).await.map_err(told)? else { return Ok(None) };
    if respond.body.is_none() {
        return Ok(Some(own(&row)));
    }
    let steps = steps(state, scope, run).await.map_err(told)?;
    rendered(ready, &row, request, steps, state.engine.now_ms()).map(Some)
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
    request: &Json,
    steps: BTreeMap<Arc<str>, StepView>,
    now_ms: i64,
) -> Result<Value, String> {
    let member = |name: &str| Arc::new(row[name].clone());
    let matching = matching_scope(member("trigger_context"), request.clone(), &ready.webhook.owner, now_ms);
    let scope = expr::Scope {
        input: member("input"),
        steps: StepViews::of_flow(Arc::new(steps)),
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
        for row in page.items {
            let row = whole(state, scope, row).await?;
            let status = row["execution_status"].as_str().and_then(|word| word.parse::<ExecutionStatus>().ok());
            if let (Some(id), Some(status)) = (row["step_id"].as_str(), status) {
                let error = row["execution_error"].as_str().map(Arc::from);
                let output = Output::from(row["execution_result"].clone());
                steps.insert(Arc::from(id), StepView { status: status.as_str(), output, error });
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(steps);
        }
    }
}

/// A row of the list with its result, where the list only refers to that.
async fn whole(state: &State, scope: Scope, row: Value) -> Result<Value, Problem> {
    let id = row["id"].as_str().and_then(|id| id.parse().ok());
    match id.filter(|_| row["execution_result"].get("$blob").is_some()) {
        Some(id) => Ok(state.views.one(scope, Resource::Executions, id).await?.unwrap_or(row)),
        None => Ok(row),
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
        let step = StepView { status: "completed", output: json!({"body": 7}).into(), error: None };
        let steps = BTreeMap::from([(Arc::from("ask"), step)]);
        let body = json!({
            "a": "{{ steps.ask.output.body }}", "b": "{{ run.output.n }}", "c": "for {{ trigger.who }}",
            "d": "{{ webhook.query.q }}",
        });
        let request: Json = Arc::new(json!({"query": {"q": "1"}}));
        let answer = rendered(&ready(body), &row, &request, steps.clone(), 1);
        assert_eq!(answer, Ok(json!({"a": 7, "b": 2, "c": "for me", "d": "1"})));
        let missing = rendered(&ready(json!("{{ steps.other.output }}")), &row, &request, steps, 1);
        assert!(missing.expect_err("there is no such step").contains("other"));
    }

    #[test]
    fn without_a_template_the_output_or_the_end_is_the_answer() {
        assert_eq!(own(&json!({"run_status": "completed", "output": [1]})), json!([1]));
        let failed = own(&json!({"id": "r", "run_status": "failed", "output": null, "error": "no"}));
        assert_eq!(failed, json!({"run_ids": ["r"], "run_status": "failed", "error": "no"}));
    }
}
