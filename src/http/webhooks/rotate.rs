//! `POST /api/v1/webhooks/{id}/rotate`: makes a second valid secret; the others end after a time of grace.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::webhook::{Webhook, WebhookSecret};
use core314_domain::audit::AuditEvent;
use core314_domain::ids::UserId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{View, base_url, find, not_saved, secret};
use crate::http::auth::Role;
use crate::http::flows::etag;
use crate::http::hooks::sender;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, body, input};

/// How long the secrets before stay valid, where nothing is said.
const GRACE_SECONDS: u32 = 86_400;
const MOST_GRACE_SECONDS: u32 = 30 * 86_400;
/// Each valid secret is tried on every delivery.
const MOST_SECRETS: usize = 5;

/// How to rotate.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookRotation")]
struct Input {
    /// For whom a service key acts, where no header says so.
    user_id: Option<UserId>,
    /// How long the secrets before stay valid: 0 to 2592000 seconds; a day where nothing is said.
    grace_seconds: Option<u32>,
    /// The new secret, where the provider hands out its own.
    secret: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role(
        "Makes a new secret of a webhook, shown this once; the one before ends after a time of grace.",
        Role::Admin,
    )
    .optional_body::<Input>()
    .problem(StatusCode::CONFLICT)
    .problem(StatusCode::PRECONDITION_FAILED)
    .ok::<View>("The webhook with its new secret.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let (_, value) = body::read_json_or_nothing(&req, payload, &state.settings).await?;
    let input: Input = input::read(value)?;
    let caller = credential.act(req.headers(), input.user_id)?;
    caller.owner()?;
    let grace_seconds = input.grace_seconds.unwrap_or(GRACE_SECONDS);
    if grace_seconds > MOST_GRACE_SECONDS {
        return Err(Problem::field("grace_seconds", format!("must be 0 to {MOST_GRACE_SECONDS}")));
    }
    let stored = find(&state, caller.scope, &id).await?;
    let verification = sender::verification(&stored).ok_or(Problem::Internal)?;
    let (text, new) = secret::kept(&state.vault, stored.id, verification, input.secret)?;
    let now_ms = state.engine.now_ms();
    let secrets = rotated(&stored.secrets, new, now_ms, now_ms + i64::from(grace_seconds) * 1_000);
    let webhook = Webhook { secrets, version: stored.version + 1, updated_at_ms: now_ms, ..stored };
    state.engine.save_webhook(webhook.clone(), caller.by, AuditEvent::WebhookRotated).await.map_err(not_saved)?;
    Ok(HttpResponse::Ok().insert_header(etag(webhook.version)).json(View::new(webhook, &base_url(&req, &state), text)))
}

/// The new secret, and those before that are still valid, which now have an end. What has an end keeps it, if it is
/// sooner.
fn rotated(before: &[WebhookSecret], new: WebhookSecret, now_ms: i64, ends_at_ms: i64) -> Vec<WebhookSecret> {
    let ending = before.iter().map(|secret| {
        let ends_at_ms = secret.ends_at_ms.map_or(ends_at_ms, |at| at.min(ends_at_ms));
        WebhookSecret { ends_at_ms: Some(ends_at_ms), kept: secret.kept.clone() }
    });
    let valid = ending.filter(|secret| secret.ends_at_ms > Some(now_ms));
    std::iter::once(new).chain(valid).take(MOST_SECRETS).collect()
}

#[cfg(test)]
mod tests {
    use core314_actors::ports::webhook::Kept;

    use super::*;

    #[test]
    fn the_secrets_before_end_and_ended_ones_go() {
        let secret = |n: u8, ends_at_ms| WebhookSecret { kept: Kept::Digest([n; 32]), ends_at_ms };
        let before = [secret(3, None), secret(2, Some(150)), secret(1, Some(90))];
        let ends = |secrets: Vec<WebhookSecret>| secrets.into_iter().map(|s| s.ends_at_ms).collect::<Vec<_>>();
        assert_eq!(ends(rotated(&before, secret(4, None), 100, 200)), [None, Some(200), Some(150)]);
        assert_eq!(ends(rotated(&before, secret(4, None), 100, 120)), [None, Some(120), Some(120)]);
        assert_eq!(ends(rotated(&before, secret(4, None), 100, 100)), [None], "without grace they end at once");
        let many: Vec<WebhookSecret> = (0..9).map(|n| secret(n, None)).collect();
        assert_eq!(rotated(&many, secret(10, None), 100, 200).len(), MOST_SECRETS);
    }
}
