//! `POST /functions/v1/orchestrator-engine`: starts the flow that a trigger asks for.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ingress::{Accepted, Target, Trigger, Triggered};
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_domain::ids::{ExecutionId, FlowId, RowId, RunId, UserId};
use core314_domain::words::{ExecutionMode, TriggerType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::auth::Role;
use crate::http::input::Fields;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, body, idempotency};

/// What may be said to have caused the trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Source {
    DecisionApproved,
    RecommendationCreated,
    ThresholdExceeded,
    Manual,
}

impl Source {
    /// The trigger type of the same name.
    const fn trigger_type(self) -> TriggerType {
        match self {
            Self::DecisionApproved => TriggerType::DecisionApproved,
            Self::RecommendationCreated => TriggerType::RecommendationCreated,
            Self::ThresholdExceeded => TriggerType::ThresholdExceeded,
            Self::Manual => TriggerType::Manual,
        }
    }
}

/// What a client may say.
#[derive(Debug)]
struct Input {
    user_id: Option<UserId>,
    trigger_type: TriggerType,
    trigger_source: &'static str,
    trigger_context: Map<String, Value>,
    decision_event_id: Option<RowId>,
    recommendation_id: Option<RowId>,
    flow_id: Option<FlowId>,
}

impl Input {
    fn read(body: Value) -> Result<Self, Problem> {
        let mut fields = Fields::of(body)?;
        let user_id = fields.optional("user_id");
        let source: Option<Source> = fields.optional("trigger_source");
        let trigger_type = match source {
            Some(source) => fields.optional("trigger_type").or(Some(source.trigger_type())),
            None => fields.required("trigger_type"),
        };
        let trigger_context = fields.optional("trigger_context").unwrap_or_default();
        let decision_event_id = fields.optional("decision_event_id");
        let recommendation_id = fields.optional("recommendation_id");
        let flow_id = fields.optional("flow_id");
        fields.ignore_others()?;
        let trigger_type = trigger_type.expect("the end of the reading refuses what is missing");
        let trigger_source = source.map_or(trigger_type, Source::trigger_type).as_str();
        Ok(Self {
            user_id,
            trigger_type,
            trigger_source,
            trigger_context,
            decision_event_id,
            recommendation_id,
            flow_id,
        })
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OrchestratorAnswer")]
struct View {
    success: bool,
    orchestration_id: RunId,
    flow_id: FlowId,
    flow_name: String,
    execution_mode: ExecutionMode,
    steps_created: usize,
    execution_queue_ids: Vec<ExecutionId>,
    /// The flow's average so far; 0 for one that has not run yet.
    estimated_duration_ms: u64,
    error: Option<String>,
}

/// What is taken; the handler reads it leniently, because the platform's clients send more than this.
#[derive(JsonSchema)]
#[schemars(rename = "OrchestratorRequest")]
#[expect(dead_code, reason = "only its schema is used")]
struct Request {
    user_id: Option<UserId>,
    /// Required where `trigger_source` is absent.
    trigger_type: Option<TriggerType>,
    trigger_source: Option<Source>,
    trigger_context: Option<Map<String, Value>>,
    decision_event_id: Option<RowId>,
    recommendation_id: Option<RowId>,
    flow_id: Option<FlowId>,
}

pub fn doc() -> Doc {
    Doc::role("Starts the flow that a trigger asks for.", Role::Operator)
        .body::<Request>()
        .idempotent()
        .problem(StatusCode::NOT_FOUND)
        .ok::<View>("The run is durable, and goes on.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let (bytes, value) = body::read_json(&req, payload, &state.settings).await?;
    let input = Input::read(value)?;
    let caller = credential.act(req.headers(), input.user_id)?;
    let trigger = Trigger {
        owner: caller.owner()?,
        target: input.flow_id.map_or(Target::Matching, Target::Flow),
        trigger_type: input.trigger_type,
        source: input.trigger_source.into(),
        context: Arc::new(Value::Object(input.trigger_context)),
        webhook: Arc::new(Value::Null),
        triggered_by: caller.by.into(),
        decision_event_id: input.decision_event_id,
        recommendation_id: input.recommendation_id,
        parent_run_id: None,
        run_key: None,
        idempotency: idempotency::of_request(&req, &bytes)?,
    };
    match state.engine.trigger(trigger).await? {
        Triggered::Accepted(run) | Triggered::Repeated(run) => {
            let estimate = estimate_ms(&state, caller.scope, run.flow_id).await;
            Ok(HttpResponse::Ok().json(view(run, estimate)))
        }
        Triggered::NoMatch(why_not) => Err(Problem::NoMatchingFlow(why_not)),
    }
}

fn view(run: Accepted, estimated_duration_ms: u64) -> View {
    View {
        success: true,
        orchestration_id: run.run,
        flow_id: run.flow_id,
        flow_name: run.flow_name,
        execution_mode: run.mode,
        steps_created: run.executions.len(),
        execution_queue_ids: run.executions,
        estimated_duration_ms,
        error: None,
    }
}

/// How long the flow took on average. The run is durable by now, so a missing estimate is no reason to fail.
async fn estimate_ms(state: &State, scope: Scope, flow: FlowId) -> u64 {
    match state.views.one(scope, Resource::Flows, flow.0).await {
        Ok(row) => row.as_ref().and_then(|row| row["avg_execution_time_ms"].as_f64()).map_or(0, |ms| ms.round() as u64),
        Err(error) => {
            tracing::warn!(%error, %flow, "the flow's average duration could not be read");
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_trigger_type_defaults_to_the_source_and_others_are_ignored() {
        let input = Input::read(json!({"trigger_source": "decision_approved", "user_email": "a@b.c"})).expect("valid");
        assert_eq!(input.trigger_type, TriggerType::DecisionApproved);
        let input = Input::read(json!({"trigger_source": "manual", "trigger_type": "webhook"})).expect("valid");
        assert_eq!((input.trigger_type, input.trigger_source), (TriggerType::Webhook, "manual"));
        let input = Input::read(json!({"trigger_type": "event", "trigger_source": null})).expect("valid");
        assert_eq!((input.trigger_type, input.trigger_source), (TriggerType::Event, "event"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, words) in [
            (json!({}), "/trigger_type: is required"),
            (
                json!({"trigger_type": "telepathy"}),
                "/trigger_type: unknown variant `telepathy`, expected one of `webhook`",
            ),
            (json!({"trigger_source": "cron"}), "/trigger_source: unknown variant `cron`"),
            (json!({"trigger_type": "manual", "flow_id": "1"}), "/flow_id: "),
            (json!({"trigger_type": "manual", "user_id": 7}), "/user_id: "),
            (json!({"trigger_type": "manual", "trigger_context": []}), "/trigger_context: "),
        ] {
            let problem = Input::read(body).expect_err(words);
            assert!(problem.to_string().starts_with(words), "{problem}");
        }
    }
}
