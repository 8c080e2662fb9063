//! `POST /hooks/{webhook_id}/{secret}`: a delivery from outside becomes a trigger.
//!
//! The caller proves itself by the secret in the URL. An unknown webhook, an inactive one and a wrong secret get the
//! same answer after the same work, and before the body is read. A delivery that names itself in `webhook-id` is taken
//! once, however often it is sent.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderMap, PROXY_AUTHORIZATION};
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ingress::{IdempotencyRequest, Target, Trigger, Triggered, WhyNot};
use core314_actors::ports::store::{Webhook, WebhookTarget};
use core314_domain::Json;
use core314_domain::ids::{RunId, WebhookId};
use core314_domain::json::without_nul;
use core314_domain::words::TriggerType;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::openapi::{Access, Doc};
use super::operations::HttpMetrics;
use super::problem::Problem;
use super::settings::KeyDigest;
use super::{Shared, State, body, idempotency};

const DELIVERY_HEADER: &str = "webhook-id";

/// What became of a delivery.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivered")]
struct View {
    run_ids: Vec<RunId>,
    /// For each flow that was asked, the clause that does not hold; absent where a run was started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    why_not: Vec<WhyNot>,
}

pub fn doc() -> Doc {
    Doc::new("Takes a webhook's delivery.", Access::Open)
        .body::<Value>()
        .problem(StatusCode::UNAUTHORIZED)
        .problem(StatusCode::CONFLICT)
        .answer::<View>(StatusCode::ACCEPTED, "The run is durable, and goes on.")
        .ok::<View>("No flow's conditions hold: nothing was started.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    path: web::Path<(String, String)>,
    state: Shared,
    metrics: web::Data<HttpMetrics>,
) -> Result<HttpResponse, Problem> {
    let (id, secret) = path.into_inner();
    let Some(webhook) = verified(&state, &id, &secret).await? else {
        metrics.webhook_refused();
        return Err(Problem::Unauthenticated {
            detail: "the webhook or its secret is not known".to_owned(),
            invalid: true,
        });
    };
    state.limit.take(webhook.owner.tenant)?;
    let (bytes, context) = body::read_json(&req, payload, &state.settings).await?;
    let idempotency = delivery(&req, webhook.id, &bytes)?;
    match state.engine.trigger(trigger(&webhook, context, rest(&req)?, idempotency)).await? {
        Triggered::Accepted(run) | Triggered::Repeated(run) => {
            Ok(HttpResponse::Accepted().json(View { run_ids: vec![run.run], why_not: Vec::new() }))
        }
        Triggered::NoMatch(why_not) => Ok(HttpResponse::Ok().json(View { run_ids: Vec::new(), why_not })),
    }
}

/// The webhook, if the secret is its own. The comparison takes place even where there is nothing to compare with.
async fn verified(state: &State, id: &str, secret: &str) -> Result<Option<std::sync::Arc<Webhook>>, Problem> {
    let found = match id.parse::<WebhookId>() {
        Ok(id) => state.engine.webhook(id).await?,
        Err(_) => None,
    };
    let given = KeyDigest::of(secret);
    let expected = found.as_ref().map_or([0; 32], |webhook| webhook.secret_hash);
    let is_equal = bool::from(expected.ct_eq(&given.0));
    Ok(found.filter(|webhook| is_equal && webhook.is_active))
}

/// The delivery's own name, within its webhook: the provider's, or the caller's `Idempotency-Key`.
fn delivery(req: &HttpRequest, webhook: WebhookId, body: &[u8]) -> Result<Option<IdempotencyRequest>, Problem> {
    let named = match idempotency::header(req, DELIVERY_HEADER)? {
        Some(name) => Some(name),
        None => idempotency::header(req, "Idempotency-Key")?,
    };
    // A client's own key cannot hold a space, so it cannot take a delivery's place. The digest leaves the secret in the path out.
    let body_hash = idempotency::digest("POST", &format!("/hooks/{webhook}"), body);
    Ok(named.map(|name| IdempotencyRequest { key: format!("webhook {webhook} {name}"), body_hash }))
}

fn trigger(webhook: &Webhook, context: Value, rest: Json, idempotency: Option<IdempotencyRequest>) -> Trigger {
    let (target, trigger_type) = match webhook.target {
        WebhookTarget::Flow(flow) => (Target::Flow(flow), TriggerType::Webhook),
        WebhookTarget::Trigger(trigger) => (Target::Matching, trigger),
    };
    let source: Arc<str> = format!("webhook:{}", webhook.id).into();
    Trigger {
        owner: webhook.owner,
        target,
        trigger_type,
        source: source.clone(),
        context: Arc::new(context),
        webhook: rest,
        triggered_by: source,
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        run_key: None,
        idempotency,
    }
}

/// What flows see as `webhook`: headers by their names in lower case, and the query.
fn rest(req: &HttpRequest) -> Result<Json, Problem> {
    let query = web::Query::<Vec<(String, String)>>::from_query(req.query_string())
        .map_err(|error| Problem::MalformedRequest(format!("the query cannot be read: {error}")))?;
    let query: Map<String, Value> = query.into_inner().into_iter().map(|(name, value)| (name, value.into())).collect();
    Ok(Arc::new(without_nul(json!({"headers": headers(req.headers()), "query": query}))))
}

/// Without those that prove who somebody is. A header that is given more than once is joined by commas.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in headers {
        if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) {
            continue;
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        match map.get_mut(name.as_str()) {
            Some(Value::String(before)) => before.extend([", ", &*text]),
            _ => drop(map.insert(name.as_str().to_owned(), text.into())),
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn flows_see_headers_and_query_but_no_credentials() {
        let req = TestRequest::post()
            .uri("/hooks/x/y?a=1&b=%00&a=2")
            .insert_header(("Authorization", "Bearer hush"))
            .insert_header(("Cookie", "hush"))
            .append_header(("X-Kind", "order"))
            .append_header(("X-Kind", "paid"))
            .to_http_request();
        let rest = rest(&req).expect("readable");
        assert_eq!(*rest, json!({"headers": {"x-kind": "order, paid"}, "query": {"a": "2", "b": "\u{fffd}"}}));
    }

    #[test]
    fn a_delivery_is_named_within_its_webhook() {
        let (one, two) = (WebhookId(uuid::Uuid::from_u128(1)), WebhookId(uuid::Uuid::from_u128(2)));
        let req = TestRequest::post()
            .insert_header((DELIVERY_HEADER, "msg_1"))
            .insert_header(("Idempotency-Key", "other"))
            .to_http_request();
        let key = |webhook| delivery(&req, webhook, b"{}").expect("valid").expect("named").key;
        assert_eq!(key(one), format!("webhook {one} msg_1"));
        assert_ne!(key(one), key(two));
        assert!(delivery(&TestRequest::post().to_http_request(), one, b"{}").expect("valid").is_none());
    }
}
