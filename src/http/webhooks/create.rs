//! `POST /api/v1/webhooks`: makes an endpoint and shows its secret, this once.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use core314_actors::engine::SaveError;
use core314_actors::ports::store::{Webhook, WebhookTarget};
use core314_domain::ids::{FlowId, UserId, WebhookId};
use core314_domain::words::TriggerType;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::http::auth::Role;
use crate::http::client::Client;
use crate::http::flows::rfc3339;
use crate::http::input::Fields;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::settings::KeyDigest;
use crate::http::{Shared, State, body};

/// How callers can be verified.
const VERIFICATIONS: &[&str] = &["url_secret"];
const MAX_NAME_CHARS: usize = 200;

/// What is taken; exactly one of `trigger_type` and `flow_id` is required. The handler reads it field by field, to say at
/// once all that is wrong.
#[derive(JsonSchema)]
#[schemars(rename = "Webhook", deny_unknown_fields)]
#[expect(dead_code, reason = "it is only described, never made")]
struct Wanted {
    #[schemars(length(min = 1, max = 200))]
    name: String,
    #[schemars(extend("enum" = VERIFICATIONS))]
    verification: Option<String>,
    /// Matching flows are asked as for this trigger.
    trigger_type: Option<TriggerType>,
    /// The flow that every delivery starts.
    flow_id: Option<FlowId>,
}

/// What a client may say.
struct Input {
    user_id: Option<UserId>,
    name: String,
    verification: String,
    target: WebhookTarget,
}

impl Input {
    fn read(body: Value) -> Result<Self, Problem> {
        let mut fields = Fields::of(body)?;
        let user_id = fields.optional("user_id");
        let name: Option<String> = fields.required("name");
        if name.as_ref().is_some_and(|name| name.trim().is_empty() || name.chars().count() > MAX_NAME_CHARS) {
            fields.wrong("name", format!("must have 1 to {MAX_NAME_CHARS} characters"));
        }
        let verification: String = fields.optional("verification").unwrap_or_else(|| VERIFICATIONS[0].to_owned());
        if !VERIFICATIONS.contains(&verification.as_str()) {
            fields.wrong("verification", format!("must be one of: {}", VERIFICATIONS.join(", ")));
        }
        let target = match (fields.optional::<TriggerType>("trigger_type"), fields.optional::<FlowId>("flow_id")) {
            (Some(trigger), None) => Some(WebhookTarget::Trigger(trigger)),
            (None, Some(flow)) => Some(WebhookTarget::Flow(flow)),
            (Some(_), Some(_)) | (None, None) => None,
        };
        if target.is_none() {
            fields.wrong("trigger_type", "exactly one of trigger_type and flow_id is required");
        }
        fields.finish()?;
        let refused = "the end of the reading refuses what is missing";
        Ok(Self { user_id, name: name.expect(refused), verification, target: target.expect(refused) })
    }
}

/// The endpoint as its maker sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewWebhook")]
struct View {
    id: WebhookId,
    name: String,
    verification: String,
    trigger_type: Option<TriggerType>,
    flow_id: Option<FlowId>,
    /// Where callers post to. It ends with the secret.
    url: String,
    /// Shown this once; only its digest is kept.
    secret: String,
    created_at: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Makes a webhook, and shows its secret this once.", Role::Admin)
        .body::<Wanted>()
        .problem(StatusCode::CONFLICT)
        .answer::<View>(StatusCode::CREATED, "The webhook with its secret.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(req.headers())?;
    credential.allows(Role::Admin)?;
    let (_, value) = body::read_json(&req, payload, &state.settings).await?;
    let input = Input::read(value)?;
    let caller = credential.act(req.headers(), input.user_id)?;
    let secret = BASE64.encode(rand::random::<[u8; 32]>());
    let webhook = Webhook {
        id: state.engine.webhook_id(),
        owner: caller.owner()?,
        name: input.name,
        verification: input.verification,
        secret_hash: KeyDigest::of(&secret).0,
        target: input.target,
        is_active: true,
        created_at_ms: state.engine.now_ms(),
    };
    let view = view(&webhook, &base_url(&req, &state), secret);
    match state.engine.create_webhook(webhook, caller.by).await {
        Ok(()) => Ok(HttpResponse::Created().json(view)),
        Err(SaveError::NotFound) => Err(Problem::field("flow_id", "there is no such flow")),
        Err(error) => Err(error.into()),
    }
}

fn view(webhook: &Webhook, base_url: &str, secret: String) -> View {
    let (trigger_type, flow_id) = match webhook.target {
        WebhookTarget::Trigger(trigger) => (Some(trigger), None),
        WebhookTarget::Flow(flow) => (None, Some(flow)),
    };
    View {
        id: webhook.id,
        name: webhook.name.clone(),
        verification: webhook.verification.clone(),
        trigger_type,
        flow_id,
        url: format!("{base_url}/hooks/{}/{secret}", webhook.id),
        secret,
        created_at: rfc3339(webhook.created_at_ms),
    }
}

/// How callers reach this server: as it is configured, else as this request did.
fn base_url(req: &HttpRequest, state: &State) -> String {
    match state.settings.public_url.trim_end_matches('/') {
        "" => {
            let client = Client::of(req);
            let scheme = if client.as_ref().is_some_and(|client| client.is_secure) { "https" } else { "http" };
            let host = client.and_then(|client| client.host);
            format!("{scheme}://{}", host.as_deref().unwrap_or(req.app_config().host()))
        }
        configured => configured.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_webhook_names_what_it_starts() {
        let input = Input::read(json!({"name": "orders", "trigger_type": "webhook"})).expect("valid");
        assert_eq!(input.target, WebhookTarget::Trigger(TriggerType::Webhook));
        assert_eq!(input.verification, "url_secret");
        let flow = uuid::Uuid::from_u128(1);
        let input = Input::read(json!({"name": "orders", "flow_id": flow})).expect("valid");
        assert_eq!(input.target, WebhookTarget::Flow(FlowId(flow)));
    }

    #[test]
    fn what_is_wrong_names_the_field_and_what_is_known() {
        for (body, words) in [
            (json!({"name": "a"}), "/trigger_type: exactly one of"),
            (
                json!({"name": "a", "trigger_type": "webhook", "flow_id": uuid::Uuid::nil()}),
                "/trigger_type: exactly one",
            ),
            (json!({"trigger_type": "webhook"}), "/name: is required"),
            (json!({"name": " ", "trigger_type": "webhook"}), "/name: must have 1 to 200"),
            (json!({"name": "x".repeat(201), "trigger_type": "webhook"}), "/name: must have 1 to 200"),
            (
                json!({"name": "a", "trigger_type": "webhook", "verification": "none"}),
                "/verification: must be one of: url_secret",
            ),
            (json!({"name": "a", "trigger_type": "webhook", "secret": "x"}), "/secret: is not known here; known are"),
        ] {
            let problem = Input::read(body).err().expect(words);
            assert!(problem.to_string().starts_with(words), "{problem}");
        }
    }
}
