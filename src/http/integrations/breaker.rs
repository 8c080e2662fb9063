//! `/api/v1/integrations/{name}/breaker`: whether the service is well, and a hand on the switch.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::gates::Seen;
use core314_actors::ports::Scope;
use core314_actors::ports::integration::Integration;
use core314_actors::ports::resource::Resource;
use core314_domain::breaker::{BreakerHold, BreakerState, Counts, Kept};
use core314_domain::ids::TenantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{find, missing};
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::flows::rfc3339;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State};

/// What a hand may do to a breaker.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum BreakerOrder {
    Open,
    Closed,
    Auto,
}

/// What is to become of the breaker.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BreakerChange")]
struct Input {
    /// `open` or `closed` hold it there, whatever the calls say; `auto` lets it go: it begins closed.
    state: BreakerOrder,
}

/// How the way out to a service stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Breaker")]
struct View {
    integration: String,
    /// Of the endpoint.
    primary: One,
    /// Of the backup endpoint, where there is one.
    backup: Option<One>,
    /// Whether calls go to the backup endpoint just now.
    uses_backup: bool,
    /// Calls under way.
    under_way: u32,
    /// Until when the service has asked to be left alone (429 with `Retry-After`); null: it has not.
    patience_until: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BreakerOfEndpoint")]
struct One {
    state: BreakerState,
    /// Since when it is in this state; null: since it was made.
    since: Option<String>,
    /// While it is open: when it is asked again.
    until: Option<String>,
    /// What holds it, whatever the calls say.
    held: Option<BreakerHold>,
    /// Why it is in this state; empty where it has never turned.
    reason: String,
    /// Calls of the window that ends now.
    counts: Counts,
}

impl From<(Kept, Counts)> for One {
    fn from((kept, counts): (Kept, Counts)) -> Self {
        Self {
            state: kept.state,
            since: Some(kept.since_ms).filter(|ms| *ms > 0).and_then(rfc3339),
            until: kept.until_ms.and_then(rfc3339),
            held: kept.held,
            reason: kept.reason,
            counts,
        }
    }
}

fn answer(found: &Integration, seen: Option<Seen>) -> Result<HttpResponse, Problem> {
    let seen = seen.ok_or_else(missing)?;
    Ok(HttpResponse::Ok().json(View {
        integration: found.name.clone(),
        primary: seen.primary.into(),
        backup: seen.backup.map(One::from),
        uses_backup: seen.uses_backup,
        under_way: seen.under_way,
        patience_until: seen.patience_until_ms.and_then(rfc3339),
    }))
}

pub fn show_doc() -> Doc {
    Doc::role("Says whether the service behind an integration is well.", Role::Viewer).ok::<View>("Its breakers.")
}

pub async fn show(req: HttpRequest, named: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let found = match scope {
        Scope::Tenant(_) => find(&state, scope, &named).await?,
        Scope::Platform => of_any_tenant(&state, &named).await?,
    };
    answer(&found, state.engine.gate(&found))
}

/// For the platform, which sees the integrations of all tenants, by their ids.
async fn of_any_tenant(state: &State, id: &str) -> Result<Integration, Problem> {
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let row = state.views.one(Scope::Platform, Resource::Integrations, id).await?.ok_or_else(missing)?;
    let tenant = row["tenant_id"].as_str().and_then(|text| text.parse::<Uuid>().ok()).ok_or_else(missing)?;
    find(state, Scope::Tenant(TenantId(tenant)), &id.to_string()).await
}

pub fn hold_doc() -> Doc {
    Doc::role("Holds the breaker of an integration open or closed, or lets it go.", Role::Operator)
        .body::<Input>()
        .ok::<View>("Its breakers as they are now.")
}

pub async fn hold(
    req: HttpRequest,
    payload: web::Payload,
    named: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let found = find(&state, asked.caller.scope, &named).await?;
    let hold = match asked.input.state {
        BreakerOrder::Open => Some(BreakerHold::Open),
        BreakerOrder::Closed => Some(BreakerHold::Closed),
        BreakerOrder::Auto => None,
    };
    answer(&found, state.engine.hold_breaker(&found, hold, &asked.caller.by).await?)
}
