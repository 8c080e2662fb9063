//! `POST /api/v1/webhooks`: makes an endpoint and shows its secret, this once.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::webhook::{Respond, Webhook};
use core314_domain::audit::AuditEvent;
use core314_domain::ids::{FlowId, UserId};
use core314_domain::webhook::{HmacForm, Verification, check_proof};
use core314_domain::words::TriggerType;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{View, base_url, check, not_saved, secret, target};
use crate::http::auth::Role;
use crate::http::flows::etag;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem};
use crate::http::{Shared, body, input};

/// The endpoint to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookToMake")]
struct Input {
    /// For whom a service key acts, where no header says so.
    user_id: Option<UserId>,
    /// 1 to 200 characters, unique in the tenant.
    name: String,
    /// How callers prove themselves; `url_secret` where nothing is said.
    verification: Option<Verification>,
    /// For `hmac`: the form of its signatures.
    hmac: Option<HmacForm>,
    /// The secret, where the provider hands out its own; a fresh one is made where nothing is said.
    secret: Option<String>,
    /// What a delivery triggers: the newest active flow of this type whose conditions hold. Or give `flow_id`.
    trigger_type: Option<TriggerType>,
    /// The flow that every delivery starts, whatever its conditions say.
    flow_id: Option<FlowId>,
    /// CEL over `trigger` and `webhook`: deliveries for which it gives the same value are one.
    dedup_key: Option<String>,
    /// Makes callers wait for the flow's own answer.
    respond: Option<Respond>,
    /// Whether deliveries are taken: true where nothing is said.
    is_active: Option<bool>,
}

pub fn doc() -> Doc {
    Doc::role("Makes a webhook, and shows its secret this once.", Role::Admin)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .answer::<View>(StatusCode::CREATED, "The webhook with its secret.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let (_, value) = body::read_json(&req, payload, &state.settings).await?;
    let input: Input = input::read(value)?;
    let caller = credential.act(req.headers(), input.user_id)?;
    let owner = caller.owner()?;
    let verification = input.verification.unwrap_or(Verification::UrlSecret);
    let options = options(verification, input.hmac)?;
    let target = target(input.trigger_type, input.flow_id)?;
    let (id, now_ms) = (state.engine.webhook_id(), state.engine.now_ms());
    let (text, secret) = secret::kept(&state.vault, id, verification, input.secret)?;
    let webhook = Webhook {
        id,
        owner,
        name: input.name,
        verification: verification.as_str().to_owned(),
        options,
        secrets: vec![secret],
        target,
        dedup_key: input.dedup_key,
        respond: input.respond,
        is_active: input.is_active.unwrap_or(true),
        version: 1,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
    };
    check(&webhook)?;
    state.engine.save_webhook(webhook.clone(), caller.by, AuditEvent::WebhookCreated).await.map_err(not_saved)?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/webhooks/{id}")))
        .insert_header(etag(webhook.version))
        .json(View::new(webhook, &base_url(&req, &state), text)))
}

/// The form of signatures as it is stored: as the client gave it, once it is known to be sound.
fn options(verification: Verification, form: Option<HmacForm>) -> Result<Value, Problem> {
    check_proof(verification, form.as_ref())
        .map_err(|(pointer, message)| Problem::InvalidRequest(vec![FieldError::at(&pointer, message)]))?;
    Ok(form.map_or_else(|| json!({}), |form| json!(form)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hmac_has_a_form_and_it_must_be_sound() {
        let stripe = || serde_json::from_value::<HmacForm>(json!({"preset": "stripe"})).expect("a form");
        assert_eq!(options(Verification::Hmac, Some(stripe())), Ok(json!({"preset": "stripe"})));
        assert_eq!(options(Verification::Github, None), Ok(json!({})));
        for (way, form, words) in [
            (Verification::Hmac, None, "/hmac: is required"),
            (Verification::Github, Some(stripe()), "/hmac: is for"),
            (Verification::Hmac, Some(HmacForm::default()), "/hmac/header: is required"),
        ] {
            let problem = options(way, form).expect_err(words);
            assert!(problem.to_string().starts_with(words), "{problem}");
        }
    }

    #[test]
    fn what_is_wrong_names_the_field_and_what_is_known() {
        for (body, words) in [
            (json!({"name": "a", "verification": "none"}), "standard_webhooks"),
            (json!({"trigger_type": "webhook"}), "name"),
            (json!({"name": "a", "speed": 1}), "dedup_key"),
            (json!({"name": "a", "hmac": {"algorithm": "md5"}}), "/hmac/algorithm"),
        ] {
            let problem = input::read::<Input>(body).err().expect(words);
            assert!(problem.to_string().contains(words), "{problem}");
        }
    }
}
