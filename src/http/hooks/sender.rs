//! Who sent a delivery: whether it is one of the webhook's own.
//!
//! Invariant: a webhook that does not exist, one that is not active, one that verifies in another way, and a bad proof
//! get the same answer, after the same work.

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use core314_actors::ports::webhook::purpose;
use core314_actors::ports::webhook::{Kept, Webhook};
use core314_actors::webhooks::ReadyWebhook;
use core314_domain::ids::WebhookId;
use core314_domain::webhook::Verification;
use subtle::{Choice, ConstantTimeEq};

use super::scheme::Scheme;
use super::signature::{self, Proof};
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::settings::KeyDigest;

/// Why nobody is let in, to be told to whoever asks.
pub fn refusal() -> Problem {
    Problem::Unauthenticated { detail: "the webhook or its secret is not known".to_owned(), invalid: true }
}

/// The active webhook of this id, if there is one.
pub async fn find(state: &State, id: &str) -> Result<Option<Arc<ReadyWebhook>>, Problem> {
    let found = match id.parse::<WebhookId>() {
        Ok(id) => state.engine.webhook(id).await?,
        Err(_) => None,
    };
    Ok(found.filter(|ready| ready.webhook.is_active))
}

/// How it verifies. What is stored was checked when it was made.
pub fn verification(webhook: &Webhook) -> Option<Verification> {
    webhook.verification.parse().ok()
}

/// Whether the URL's secret opens the webhook.
pub fn by_url(webhook: Option<&Webhook>, secret: &str, now_ms: i64) -> bool {
    by_digest(webhook, Verification::UrlSecret, secret, now_ms)
}

/// The comparison takes place even where there is nothing to compare with.
fn by_digest(webhook: Option<&Webhook>, way: Verification, secret: &str, now_ms: i64) -> bool {
    let given = KeyDigest::of(secret);
    let webhook = webhook.filter(|webhook| verification(webhook) == Some(way));
    let mut is_equal = given.0.ct_eq(&[0; 32]) & Choice::from(0);
    for kept in webhook.iter().flat_map(|webhook| live(webhook, now_ms)) {
        if let Kept::Digest(digest) = kept {
            is_equal |= given.0.ct_eq(digest);
        }
    }
    bool::from(is_equal)
}

/// What proves a delivery that has no secret in its URL; `None` if nothing does.
pub fn by_request(
    state: &State,
    webhook: Option<&Webhook>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Option<Proof>, Problem> {
    let now_ms = state.engine.now_ms();
    let known = webhook.and_then(|webhook| Some((webhook, verification(webhook)?)));
    let scheme = known.and_then(|(webhook, way)| Some((webhook, Scheme::of(way, &webhook.options)?)));
    if let Some((webhook, scheme)) = scheme {
        let secrets = opened(state, webhook, now_ms)?;
        return Ok(signature::check(&scheme, &secrets, headers, body, now_ms / 1_000));
    }
    signature::pretend(body);
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.split_once(' ')).filter(|(word, _)| word.eq_ignore_ascii_case("bearer"));
    let is_known = by_digest(webhook, Verification::Bearer, token.map_or("", |(_, token)| token.trim()), now_ms);
    Ok(is_known.then_some(Proof { id: None, replay: None }))
}

/// The secrets that are valid now.
fn live(webhook: &Webhook, now_ms: i64) -> impl Iterator<Item = &Kept> {
    webhook.secrets.iter().filter(move |secret| secret.ends_at_ms.is_none_or(|at| at > now_ms)).map(|s| &s.kept)
}

/// The secrets that sign. One that cannot be opened is the server's fault: the sender is asked to come back.
fn opened(state: &State, webhook: &Webhook, now_ms: i64) -> Result<Vec<Vec<u8>>, Problem> {
    let sealed = live(webhook, now_ms).filter_map(|kept| match kept {
        Kept::Sealed(text) => Some(text),
        Kept::Digest(_) => None,
    });
    let opened = sealed.map(|text| state.vault.open(text, &purpose(webhook.id)));
    opened.collect::<Result<_, _>>().map_err(|error| {
        tracing::error!(webhook = %webhook.id, %error, "a webhook's secret cannot be read: deliveries to it are put off");
        Problem::Busy { retry_after_seconds: 60 }
    })
}
