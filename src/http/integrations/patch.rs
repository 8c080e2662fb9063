//! `PATCH /api/v1/integrations/{name}`: a merge patch of what an integration is made of. Its name and kind stay: flows and
//! executors know it by them. `If-Match` guards against a lost update.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::integration::Integration;
use core314_actors::ports::resource::Resource;
use core314_domain::integration::Definition;
use core314_domain::json::merge_patch;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{find, missing, not_changed};
use crate::http::auth::Role;
use crate::http::flows::etag;
use crate::http::flows::patch::check_version;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, body, input, resources};

/// What is to change; null takes away.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IntegrationChange")]
#[expect(dead_code, reason = "what is not read is checked here, and applied as the patch that it is")]
struct Input {
    endpoint: Option<String>,
    backup_endpoint: Option<String>,
    limits: Option<Map<String, Value>>,
    breaker: Option<Map<String, Value>>,
    retry: Option<Map<String, Value>>,
    credentials: Option<Map<String, Value>>,
    settings: Option<Map<String, Value>>,
    is_active: Option<bool>,
}

pub fn doc() -> Doc {
    Doc::role("Changes an integration by a merge patch (RFC 7396).", Role::Admin)
        .body_in::<Input>(&["application/json", "application/merge-patch+json"])
        .if_match()
        .problem(StatusCode::CONFLICT)
        .ok_as("The integration as it is now.", resources::row_schema(Resource::Integrations))
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    named: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    caller.owner()?;
    let (_, patch) = body::read_json(&req, payload, &state.settings).await?;
    let stored = find(&state, caller.scope, &named).await?;
    check_version(req.headers(), stored.version)?;
    let changed = apply(&stored, patch)?;
    if changed != stored {
        state.engine.update_integration(changed, caller.by).await.map_err(not_changed)?;
    }
    let row = state.views.one(caller.scope, Resource::Integrations, stored.id.0).await?.ok_or_else(missing)?;
    let version = row["version"].as_i64().unwrap_or(stored.version);
    Ok(HttpResponse::Ok().insert_header(etag(version)).json(row))
}

fn apply(stored: &Integration, patch: Value) -> Result<Integration, Problem> {
    let input: Input = input::read(patch.clone())?;
    let Value::Object(mut patch) = patch else { return Ok(stored.clone()) };
    patch.remove("is_active");
    let mut definition = json!(stored.definition);
    merge_patch(&mut definition, &Value::Object(patch));
    let definition: Definition = input::read(definition)?;
    Ok(Integration { definition, is_active: input.is_active.unwrap_or(stored.is_active), ..stored.clone() })
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::{Owner, RowId, UserId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_patch_changes_what_it_names() {
        let stored = Integration {
            id: RowId(Uuid::from_u128(1)),
            owner: Owner::new(UserId(Uuid::from_u128(2)), None),
            name: "crm".to_owned(),
            kind: "http".to_owned(),
            definition: serde_json::from_value(json!({
                "endpoint": "https://a", "credentials": {"token": "secrets.A"}, "settings": {"auth": "bearer"}
            }))
            .expect("a definition"),
            is_active: true,
            version: 3,
            created_at_ms: 1,
            updated_at_ms: 1,
        };
        let patch = json!({"endpoint": "https://b", "settings": {"auth": null}, "is_active": false});
        let changed = apply(&stored, patch).expect("sound");
        assert_eq!(changed.definition.endpoint.as_deref(), Some("https://b"));
        assert_eq!(changed.definition.credentials["token"], "secrets.A");
        assert!(changed.definition.settings.is_empty() && !changed.is_active);
        assert_eq!(apply(&stored, json!({})), Ok(stored.clone()));
        for wrong in [
            json!({"name": "x"}),
            json!({"kind": "x"}),
            json!({"settings": 1}),
            json!({"credentials": {"token": 1}}),
            json!([]),
        ] {
            assert!(apply(&stored, wrong.clone()).is_err(), "{wrong}");
        }
    }
}
