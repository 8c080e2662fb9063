//! `PATCH /api/v1/webhooks/{id}`: changes what is named. `If-Match` guards against a lost update. How callers are verified
//! stays: that would be another webhook, and its secret is changed by a rotation.

use actix_web::http::StatusCode;
use actix_web::http::header::IF_MATCH;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::SaveError;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::webhook::{Respond, Webhook};
use core314_domain::audit::AuditEvent;
use core314_domain::ids::FlowId;
use core314_domain::words::TriggerType;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::{check, find, missing, not_saved, target};
use crate::http::auth::{Caller, Role};
use crate::http::flows::etag;
use crate::http::flows::patch::check_version;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, body, input, resources};

/// What is to change. Null takes `dedup_key` and `respond` away.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookChange")]
struct Input {
    name: Option<String>,
    is_active: Option<bool>,
    /// What a delivery triggers from now on; or give `flow_id`.
    trigger_type: Option<TriggerType>,
    flow_id: Option<FlowId>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    dedup_key: Change<String>,
    #[serde(default)]
    #[schemars(with = "Option<Respond>")]
    respond: Change<Respond>,
}

/// A field that null takes away and absence leaves.
#[derive(Debug, Default, PartialEq)]
enum Change<T> {
    #[default]
    Leave,
    To(Option<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::To)
    }
}

impl Input {
    fn apply(&self, mut webhook: Webhook) -> Result<Webhook, Problem> {
        if let Some(name) = &self.name {
            name.clone_into(&mut webhook.name);
        }
        if self.trigger_type.is_some() || self.flow_id.is_some() {
            webhook.target = target(self.trigger_type, self.flow_id)?;
        }
        if let Change::To(dedup_key) = &self.dedup_key {
            dedup_key.clone_into(&mut webhook.dedup_key);
        }
        if let Change::To(respond) = &self.respond {
            respond.clone_into(&mut webhook.respond);
        }
        webhook.is_active = self.is_active.unwrap_or(webhook.is_active);
        Ok(webhook)
    }
}

pub fn doc() -> Doc {
    Doc::role("Changes a webhook.", Role::Admin)
        .body_in::<Input>(&["application/json", "application/merge-patch+json"])
        .if_match()
        .problem(StatusCode::CONFLICT)
        .ok_as("The webhook as it is now.", resources::row_schema(Resource::Webhooks))
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    caller.owner()?;
    let (_, value) = body::read_json(&req, payload, &state.settings).await?;
    let input: Input = input::read(value)?;
    for _ in 1..TRIES {
        match change(&state, &req, &id, &caller, &input).await {
            // Somebody was faster. Without If-Match the change is meant for whatever is there.
            Err(Problem::PreconditionFailed) if !req.headers().contains_key(IF_MATCH) => {}
            done => return done,
        }
    }
    change(&state, &req, &id, &caller, &input).await
}

/// How often a change is tried on what others have made of the webhook meanwhile.
const TRIES: usize = 5;

async fn change(
    state: &State,
    req: &HttpRequest,
    id: &str,
    caller: &Caller,
    input: &Input,
) -> Result<HttpResponse, Problem> {
    let stored = find(state, caller.scope, id).await?;
    check_version(req.headers(), stored.version)?;
    let changed = input.apply(stored.clone())?;
    if changed != stored {
        check(&changed)?;
        let next = Webhook { version: stored.version + 1, updated_at_ms: state.engine.now_ms(), ..changed };
        let saved = state.engine.save_webhook(next, caller.by.clone(), AuditEvent::WebhookUpdated).await;
        saved.map_err(|error| match error {
            SaveError::Conflict => Problem::PreconditionFailed,
            error => not_saved(error),
        })?;
    }
    let row = state.views.one(caller.scope, Resource::Webhooks, stored.id.0).await?.ok_or_else(missing)?;
    let version = row["version"].as_i64().unwrap_or(stored.version);
    Ok(HttpResponse::Ok().insert_header(etag(version)).json(row))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_takes_away_and_absence_leaves() {
        let read = |body| input::read::<Input>(body).expect("sound");
        assert_eq!(read(json!({})).dedup_key, Change::Leave);
        assert_eq!(read(json!({"dedup_key": null})).dedup_key, Change::To(None));
        assert_eq!(read(json!({"dedup_key": "trigger.id"})).dedup_key, Change::To(Some("trigger.id".to_owned())));
        assert!(input::read::<Input>(json!({"secret": "x"})).is_err(), "a secret is changed by a rotation");
    }
}
