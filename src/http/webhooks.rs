//! Webhook endpoints: who may call in, what that starts, and what has come in.

pub mod create;
pub mod delete;
pub mod deliveries;
pub mod delivery;
pub mod patch;
pub mod rotate;
mod secret;
pub mod test;
pub mod why_not;

use std::net::SocketAddr;

use actix_web::HttpRequest;
use core314_actors::engine::SaveError;
use core314_actors::ports::Scope;
use core314_actors::ports::webhook::{Respond, Webhook, WebhookTarget};
use core314_actors::webhooks::ReadyWebhook;
use core314_domain::ids::{FlowId, WebhookId};
use core314_domain::webhook::Verification;
use core314_domain::words::TriggerType;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::State;
use super::auth::is_local_socket;
use super::flows::rfc3339;
use super::problem::{FieldError, Problem};
use crate::http::client::Client;

const MAX_NAME_CHARS: usize = 200;

/// The endpoint as whoever made its secret sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewWebhook")]
struct View {
    id: WebhookId,
    name: String,
    verification: String,
    options: Value,
    trigger_type: Option<TriggerType>,
    flow_id: Option<FlowId>,
    dedup_key: Option<String>,
    respond: Option<Respond>,
    is_active: bool,
    version: i64,
    /// Where callers post to. For `url_secret` it ends with the secret.
    url: String,
    /// Shown this once.
    secret: String,
    created_at: Option<String>,
    updated_at: Option<String>,
}

impl View {
    fn new(webhook: Webhook, base_url: &str, secret: String) -> Self {
        let (trigger_type, flow_id) = match webhook.target {
            WebhookTarget::Trigger(trigger) => (Some(trigger), None),
            WebhookTarget::Flow(flow) => (None, Some(flow)),
        };
        let is_in_url = webhook.verification == Verification::UrlSecret.as_str();
        let end = if is_in_url { format!("/{secret}") } else { String::new() };
        Self {
            id: webhook.id,
            name: webhook.name,
            verification: webhook.verification,
            options: webhook.options,
            trigger_type,
            flow_id,
            dedup_key: webhook.dedup_key,
            respond: webhook.respond,
            is_active: webhook.is_active,
            version: webhook.version,
            url: format!("{base_url}/hooks/{}{end}", webhook.id),
            secret,
            created_at: rfc3339(webhook.created_at_ms),
            updated_at: rfc3339(webhook.updated_at_ms),
        }
    }
}

/// The webhook as it is stored, if it is within the scope.
async fn find(state: &State, scope: Scope, id: &str) -> Result<Webhook, Problem> {
    let id: WebhookId = id.parse().map_err(|_| missing())?;
    let found = state.engine.runtime().catalog.webhook(id).await?;
    let within = |webhook: &Webhook| scope == Scope::Platform || scope == Scope::Tenant(webhook.owner.tenant);
    found.filter(within).ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::no_row("webhook")
}

/// What a webhook starts, out of the two fields that say it.
fn target(trigger_type: Option<TriggerType>, flow_id: Option<FlowId>) -> Result<WebhookTarget, Problem> {
    match (trigger_type, flow_id) {
        (Some(trigger), None) => Ok(WebhookTarget::Trigger(trigger)),
        (None, Some(flow)) => Ok(WebhookTarget::Flow(flow)),
        (Some(_), Some(_)) | (None, None) => {
            Err(Problem::field("trigger_type", "exactly one of trigger_type and flow_id is required"))
        }
    }
}

/// Checks what can be checked without the store: the name and the expressions.
fn check(webhook: &Webhook) -> Result<(), Problem> {
    if webhook.name.trim().is_empty() || webhook.name.chars().count() > MAX_NAME_CHARS {
        return Err(Problem::field("name", format!("must have 1 to {MAX_NAME_CHARS} characters")));
    }
    let compiled = ReadyWebhook::check(webhook.clone()).map(drop);
    compiled.map_err(|error| Problem::InvalidRequest(vec![FieldError::at(&error.pointer, error.message)]))
}

/// Why a webhook was not saved.
fn not_saved(error: SaveError) -> Problem {
    match error {
        SaveError::NotFound => Problem::field("flow_id", "there is no such flow"),
        error => error.into(),
    }
}

/// How callers reach this server: as it is configured, else as this request did. What comes by the socket names a host that
/// nobody resolves: then it is the address that is listened on.
pub fn base_url(req: &HttpRequest, state: &State) -> String {
    match state.settings.public_url.trim_end_matches('/') {
        "" if is_local_socket(req) => state.own_url.clone(),
        "" => {
            let client = Client::of(req);
            let scheme = if client.as_ref().is_some_and(|client| client.is_secure) { "https" } else { "http" };
            let host = client.and_then(|client| client.host);
            format!("{scheme}://{}", host.as_deref().unwrap_or(req.app_config().host()))
        }
        configured => configured.to_owned(),
    }
}

/// The URL of an address that is listened on; of one that stands for every address, as this machine reaches it.
pub fn own_url(address: SocketAddr, is_tls: bool) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    if address.ip().is_unspecified() {
        return format!("{scheme}://localhost:{}", address.port());
    }
    format!("{scheme}://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_is_listened_on_is_named_with_its_port() {
        for (address, is_tls, url) in [
            ("127.0.0.1:3141", false, "http://127.0.0.1:3141"),
            ("0.0.0.0:3141", true, "https://localhost:3141"),
            ("[::]:80", false, "http://localhost:80"),
            ("[::1]:3141", false, "http://[::1]:3141"),
        ] {
            assert_eq!(own_url(address.parse().expect("an address"), is_tls), url);
        }
    }
}
