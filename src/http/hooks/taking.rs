//! Taking a delivery whose sender is known: its name, the trigger, the answer, and what is kept of it.
//!
//! ```text
//! request ─► body read ─► named ─► trigger ─┬─► accepted   the run's row tells of it; nothing more is written
//!                │                          ├─► duplicate  a row, which nothing waits for
//!                │                          ├─► no match   a row, durable before the answer
//!                └──────────────────────────┴─► failed     a row, which nothing waits for; not when the runtime is busy
//! ```

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use actix_web::{HttpResponse, web};
use core314_actors::ingress::{IdempotencyRequest, Target, Trigger, TriggerError, Triggered, WhyNot};
use core314_actors::ports::store::{Delivery, WebhookTarget};
use core314_actors::webhooks::ReadyWebhook;
use core314_domain::Json;
use core314_domain::event;
use core314_domain::hex::hex;
use core314_domain::ids::{RunId, UserId};
use core314_domain::json::without_nul;
use core314_domain::run::on_behalf;
use core314_domain::webhook::Verification;
use core314_domain::words::{DeliveryStatus, TriggerType};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::answer;
use super::content::{self, Content};
use super::redact;
use super::scheme::{IdAt, Scheme};
use super::sender;
use super::signature::Proof;
use crate::http::problem::{FieldError, Problem};
use crate::http::{State, idempotency};

const ID_HEADER: &str = "webhook-id";
/// A delivery's own name that is longer is known by its digest.
const MAX_NAME_CHARS: usize = 200;

/// What became of a delivery.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivered")]
pub struct View {
    pub run_ids: Vec<RunId>,
    /// For each flow that was asked, the clause that does not hold; absent where a run was started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why_not: Vec<WhyNot>,
}

/// A delivery as it came.
pub struct Incoming<'a> {
    pub ready: &'a ReadyWebhook,
    pub headers: &'a HeaderMap,
    pub query: &'a str,
    pub body: &'a [u8],
    pub proof: Proof,
    pub origin: Origin,
}

/// Where a delivery comes from.
pub enum Origin {
    Outside,
    /// Somebody of the tenant tries the webhook: the delivery has no name but the one that they give it.
    Test {
        user: UserId,
        named: Option<IdempotencyRequest>,
    },
}

impl Origin {
    fn is_test(&self) -> bool {
        matches!(self, Self::Test { .. })
    }
}

/// Takes a delivery, and answers its sender.
pub async fn take(state: &State, incoming: Incoming<'_>) -> Result<HttpResponse, Problem> {
    if !incoming.origin.is_test() {
        state.limit.take(incoming.ready.webhook.owner.tenant)?;
    }
    let mut request = request(&incoming)?;
    let mut content = match content::read(incoming.headers, incoming.body, state.settings.max_json_depth) {
        Ok(content) => content,
        Err(problem) => {
            let kept = Kept { trigger: Value::Null, request: Arc::new(Value::Object(request)), key: None };
            note_failed(state, &incoming, &kept, &problem);
            return Err(problem);
        }
    };
    if let Some(answer) = handshake(&incoming, &content) {
        return Ok(answer);
    }
    let event = content.event.as_ref().map(|event| event::name(&Value::Object(event.clone())));
    let is_for_events = incoming.ready.webhook.target == WebhookTarget::Trigger(TriggerType::Event);
    // Flows that wait for events see one as `POST /api/v1/events` shows it, however it came.
    if let Some(attributes) = content.event.as_ref().filter(|_| is_for_events) {
        let mut whole = attributes.clone();
        whole.insert("data".to_owned(), content.trigger.take());
        content.trigger = Value::Object(whole);
    }
    if let Some(event) = content.event {
        request.insert("event".to_owned(), Value::Object(event));
    }
    let (payload, request): (Json, Json) = (Arc::new(content.trigger), Arc::new(Value::Object(request)));
    let kept = |key| Kept { trigger: (*payload).clone(), request: request.clone(), key };
    let idempotency = match named(state, &incoming, &payload, &request, event) {
        Ok(idempotency) => idempotency,
        Err(problem) => {
            note_failed(state, &incoming, &kept(None), &problem);
            return Err(problem);
        }
    };
    let key = idempotency.as_ref().map(|named| named.key.clone());
    let trigger = trigger(&incoming, payload.clone(), request.clone(), idempotency);
    match state.engine.trigger(trigger).await {
        Ok(Triggered::Accepted(run)) => Ok(answer::of_run(state, incoming.ready, &run, &request).await),
        Ok(Triggered::Repeated(run)) => {
            let delivery =
                Delivery { run: Some(run.run), ..row(state, &incoming, kept(key), DeliveryStatus::Duplicate) };
            state.engine.note_delivery(delivery);
            Ok(answer::of_run(state, incoming.ready, &run, &request).await)
        }
        Ok(Triggered::NoMatch(why_not)) => {
            let row = row(state, &incoming, kept(key), DeliveryStatus::NoMatch);
            let delivery = Delivery { why_not: json!(why_not), ..row };
            state.engine.keep_delivery(delivery).await.ok_or(Problem::Busy { retry_after_seconds: 1 })?;
            Ok(HttpResponse::Ok().json(View { run_ids: Vec::new(), why_not }))
        }
        // Nothing is added to what a busy runtime has to do: the sender comes back with it.
        Err(error @ (TriggerError::Busy { .. } | TriggerError::Store(_) | TriggerError::Failed(_))) => {
            Err(error.into())
        }
        Err(error) => {
            let problem = Problem::from(error);
            note_failed(state, &incoming, &kept(key), &problem);
            Err(problem)
        }
    }
}

fn trigger(incoming: &Incoming<'_>, context: Json, request: Json, idempotency: Option<IdempotencyRequest>) -> Trigger {
    let webhook = &incoming.ready.webhook;
    let (target, trigger_type) = match webhook.target {
        WebhookTarget::Flow(flow) => (Target::Flow(flow), TriggerType::Webhook),
        WebhookTarget::Trigger(TriggerType::Webhook) => {
            (Target::Delivered(webhook.name.as_str().into()), TriggerType::Webhook)
        }
        WebhookTarget::Trigger(trigger) => (Target::Matching, trigger),
    };
    let source = format!("webhook:{}", webhook.id);
    // Whoever tries it has started what comes of it.
    let triggered_by = match &incoming.origin {
        Origin::Outside => source.clone(),
        Origin::Test { user, .. } => on_behalf(&source, *user),
    };
    Trigger {
        owner: webhook.owner,
        target,
        trigger_type,
        source: source.into(),
        context,
        webhook: request,
        triggered_by: triggered_by.into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        run_key: None,
        idempotency,
    }
}

/// What flows see as `webhook`: headers by their names in lower case, and the query; of a parameter given twice the last.
fn request(incoming: &Incoming<'_>) -> Result<Map<String, Value>, Problem> {
    let query = web::Query::<Vec<(String, String)>>::from_query(incoming.query)
        .map_err(|error| Problem::MalformedRequest(format!("the query cannot be read: {error}")))?;
    let query: Map<String, Value> = query.into_inner().into_iter().map(|(name, value)| (name, value.into())).collect();
    let headers = redact::headers(incoming.headers);
    let mut request = Map::new();
    request.insert("headers".to_owned(), without_nul(Value::Object(headers)));
    request.insert("query".to_owned(), without_nul(Value::Object(query)));
    if incoming.origin.is_test() {
        request.insert("test".to_owned(), true.into());
    }
    Ok(request)
}

/// What a provider sends only to see whether somebody answers: it starts nothing and is not kept.
fn handshake(incoming: &Incoming<'_>, content: &Content) -> Option<HttpResponse> {
    match sender::verification(&incoming.ready.webhook)? {
        Verification::Slack if content.trigger["type"] == "url_verification" => {
            Some(HttpResponse::Ok().json(json!({"challenge": content.trigger["challenge"]})))
        }
        Verification::Github if incoming.headers.get("x-github-event").is_some_and(|event| event == "ping") => {
            Some(HttpResponse::Ok().json(View { run_ids: Vec::new(), why_not: Vec::new() }))
        }
        _ => None,
    }
}

/// The delivery's own name, within its webhook. The webhook's expression goes before the provider's id, this before the
/// caller's `Idempotency-Key`, and a signature with its time names what nothing else does.
fn named(
    state: &State,
    incoming: &Incoming<'_>,
    context: &Json,
    request: &Json,
    event: Option<String>,
) -> Result<Option<IdempotencyRequest>, Problem> {
    if let Origin::Test { named, .. } = &incoming.origin {
        return Ok(named.clone());
    }
    let webhook = &incoming.ready.webhook;
    let computed = incoming.ready.key_of(context.clone(), request.clone(), state.engine.now_ms());
    let computed = computed.map_err(|error| {
        let message = format!("the webhook's dedup_key cannot be evaluated on this delivery: {error}");
        Problem::InvalidRequest(vec![FieldError::whole_body(message)])
    })?;
    // What the expression calls the same delivery is the same, whatever else it says.
    if let Some(name) = computed {
        let key = format!("webhook {} key {}", webhook.id, short(&name));
        let body_hash = Sha256::digest(key.as_bytes()).into();
        return Ok(Some(IdempotencyRequest { key, body_hash }));
    }
    let member = match sender::verification(webhook).and_then(|way| Scheme::of(way, &webhook.options)?.id) {
        Some(IdAt::Member(name)) => context.get(name).and_then(Value::as_str).map(short),
        Some(IdAt::Header(_)) | None => None,
    };
    let name = match (incoming.proof.id.as_deref().map(short), member) {
        (Some(id), _) | (None, Some(id)) => Some(id),
        (None, None) => match idempotency::header_of(incoming.headers, ID_HEADER)? {
            Some(name) => Some(name),
            None => event.or(idempotency::header_of(incoming.headers, "Idempotency-Key")?),
        },
    };
    let name = name.or(incoming.proof.replay.as_ref().map(|digest| format!("signature {digest}")));
    // A client's own key cannot hold a space, so it cannot take a delivery's place. The digest leaves the secret in the path out.
    let body_hash = idempotency::digest("POST", &format!("/hooks/{}", webhook.id), incoming.body);
    Ok(name.map(|name| IdempotencyRequest { key: format!("webhook {} {name}", webhook.id), body_hash }))
}

/// A name as it is stored.
fn short(name: &str) -> String {
    let is_short = name.chars().count() <= MAX_NAME_CHARS && !name.chars().any(char::is_control);
    if is_short { name.to_owned() } else { format!("sha256:{}", hex(&Sha256::digest(name.as_bytes()))) }
}

/// What of a delivery goes into its row.
struct Kept {
    trigger: Value,
    request: Json,
    key: Option<String>,
}

fn row(state: &State, incoming: &Incoming<'_>, kept: Kept, status: DeliveryStatus) -> Delivery {
    let webhook = &incoming.ready.webhook;
    let (body, is_body_cut) = redact::kept(kept.trigger);
    let keep = incoming.ready.is_time_to_trim().then(|| state.engine.runtime().settings.kept_deliveries);
    Delivery {
        id: state.engine.row_id(),
        webhook: webhook.id,
        owner: webhook.owner,
        status,
        is_test: incoming.origin.is_test(),
        key: kept.key,
        run: None,
        why_not: json!([]),
        error: None,
        request: kept.request,
        body,
        is_body_cut,
        received_at_ms: state.engine.now_ms(),
        keep,
    }
}

fn note_failed(state: &State, incoming: &Incoming<'_>, kept: &Kept, problem: &Problem) {
    let kept = Kept { trigger: kept.trigger.clone(), request: kept.request.clone(), key: kept.key.clone() };
    let row = row(state, incoming, kept, DeliveryStatus::Failed);
    let error = problem.to_string().replace('\0', "\u{fffd}");
    state.engine.note_delivery(Delivery { error: Some(error), ..row });
}

#[cfg(test)]
mod tests {
    use core314_actors::ports::webhook::Webhook;
    use core314_domain::ids::{Owner, WebhookId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn flows_are_looked_for_by_the_name_of_the_webhook_too() {
        let target_of = |target: WebhookTarget| {
            let webhook = Webhook {
                id: WebhookId(Uuid::from_u128(1)),
                owner: Owner::new(UserId(Uuid::from_u128(2)), None),
                name: "alerts".to_owned(),
                verification: Verification::UrlSecret.as_str().to_owned(),
                options: json!({}),
                secrets: Vec::new(),
                target,
                dedup_key: None,
                respond: None,
                is_active: true,
                version: 1,
                created_at_ms: 1,
                updated_at_ms: 1,
            };
            let ready = ReadyWebhook::compile(webhook).expect("compiles");
            let incoming = Incoming {
                ready: &ready,
                headers: &HeaderMap::new(),
                query: "",
                body: &[],
                proof: Proof { id: None, replay: None },
                origin: Origin::Outside,
            };
            trigger(&incoming, Arc::default(), Arc::default(), None).target
        };
        let found = target_of(WebhookTarget::Trigger(TriggerType::Webhook));
        assert!(matches!(&found, Target::Delivered(name) if &**name == "alerts"), "{found:?}");
        // Only flows of this type have webhooks of their own; events are kept for runs that wait for them.
        assert!(matches!(target_of(WebhookTarget::Trigger(TriggerType::Event)), Target::Matching));
    }

    #[test]
    fn a_long_name_is_known_by_its_digest() {
        assert_eq!(short("evt_1"), "evt_1");
        assert_eq!(short(&"x".repeat(201)).len(), "sha256:".len() + 64);
        assert!(short("a\nb").starts_with("sha256:"));
    }
}
