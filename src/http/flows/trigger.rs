//! `POST /api/v1/flows/{id or flow_name}/trigger`: starts a run of this flow, whatever its conditions say.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ingress::{Trigger, Triggered};
use core314_domain::ids::{FlowId, RowId, TenantId, UserId};
use core314_domain::words::TriggerType;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::runs::AcceptedView;
use crate::http::{Shared, State, body, idempotency, input};

/// What starts the run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Trigger")]
struct Input {
    /// For whom a service key acts, where no header says so.
    user_id: Option<UserId>,
    /// What the flow's expressions see as `trigger`.
    trigger_context: Option<Map<String, Value>>,
    decision_event_id: Option<RowId>,
    recommendation_id: Option<RowId>,
}

pub fn doc() -> Doc {
    Doc::role("Starts a run of a flow, named by its id or name, whatever its conditions say.", Role::Operator)
        .optional_body::<Input>()
        .idempotent()
        .answer::<AcceptedView>(StatusCode::ACCEPTED, "The run is durable, and goes on.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    flow: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let (bytes, value) = body::read_json_or_nothing(&req, payload, &state.settings).await?;
    let input: Input = input::read(value)?;
    let caller = credential.act(req.headers(), input.user_id)?;
    let owner = caller.owner()?;
    let idempotency = idempotency::of_request(&req, &bytes)?;
    let trigger = Trigger {
        owner,
        flow: Some(flow_id(&state, owner.tenant, flow.into_inner()).await?),
        trigger_type: TriggerType::Manual,
        source: TriggerType::Manual.as_str().into(),
        context: Arc::new(Value::Object(input.trigger_context.unwrap_or_default())),
        webhook: Arc::new(Value::Null),
        triggered_by: caller.by.into(),
        decision_event_id: input.decision_event_id,
        recommendation_id: input.recommendation_id,
        idempotency,
    };
    match state.engine.trigger(trigger).await? {
        Triggered::Accepted(run) | Triggered::Repeated(run) => Ok(HttpResponse::Accepted()
            .insert_header((LOCATION, format!("/api/v1/runs/{}", run.run)))
            .json(AcceptedView::of(run))),
        Triggered::NoMatch(why_not) => Err(Problem::NoMatchingFlow(why_not)),
    }
}

/// The flow's id: the path has it, or the flow's name.
async fn flow_id(state: &State, tenant: TenantId, named: String) -> Result<FlowId, Problem> {
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    if named.contains('\0') {
        return Err(Problem::no_row("flow"));
    }
    let found = state.engine.runtime().catalog.flow_by_name(tenant, named).await?;
    found.map(|flow| flow.id).ok_or_else(|| Problem::no_row("flow"))
}
