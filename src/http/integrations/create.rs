//! `POST /api/v1/integrations`: makes a named connection to a service.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::IntegrationDraft;
use core314_actors::ports::resource::Resource;
use core314_domain::breaker::BreakerPolicy;
use core314_domain::ids::UserId;
use core314_domain::integration::{CallLimits, Definition};
use core314_domain::retry::RetryPolicy;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::missing;
use crate::http::auth::Role;
use crate::http::flows::etag;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, body, input, resources};

/// The integration to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IntegrationToMake")]
struct Input {
    /// For whom a service key acts, where no header says so.
    user_id: Option<UserId>,
    /// A letter or digit, then letters, digits, `_`, `-` and `.`; at most 64. Unique in the tenant: `action_target` names it.
    name: String,
    /// What it connects to; `GET /api/v1/integrations/kinds` lists them.
    kind: String,
    /// Where the service is, without credentials. Absent: the kind's own.
    endpoint: Option<String>,
    /// Where else the same service is: it takes over while the breaker of the endpoint is open.
    backup_endpoint: Option<String>,
    /// By what the kind calls it the secret that holds it, as `secrets.NAME`.
    #[serde(default)]
    credentials: BTreeMap<String, String>,
    /// What else the kind wants to know; nothing secret.
    #[serde(default)]
    settings: Map<String, Value>,
    /// How many calls go at once, how fast they start, and how long one may take.
    #[serde(default)]
    limits: CallLimits,
    /// When the service is left alone because it is ill; absent: as the defaults say.
    breaker: Option<BreakerPolicy>,
    /// How a failed action is tried again where neither its step nor its flow says; absent: as the defaults say.
    retry: Option<RetryPolicy>,
    /// Whether actions may use it: true where nothing is said.
    is_active: Option<bool>,
}

pub fn doc() -> Doc {
    Doc::role("Makes a named connection to a service outside.", Role::Admin)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .answer_as(StatusCode::CREATED, "The integration.", resources::row_schema(Resource::Integrations))
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let (_, value) = body::read_json(&req, payload, &state.settings).await?;
    let input: Input = input::read(value)?;
    let caller = credential.act(req.headers(), input.user_id)?;
    let owner = caller.owner()?;
    let Input { endpoint, backup_endpoint, credentials, settings, limits, breaker, retry, .. } = input;
    let draft = IntegrationDraft {
        name: input.name,
        kind: input.kind,
        definition: Definition { endpoint, backup_endpoint, credentials, settings, limits, breaker, retry },
        is_active: input.is_active.unwrap_or(true),
    };
    let made = state.engine.create_integration(owner, draft, caller.by).await?;
    let row = state.views.one(caller.scope, Resource::Integrations, made.id.0).await?.ok_or_else(missing)?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/integrations/{}", made.name)))
        .insert_header(etag(made.version))
        .json(row))
}
