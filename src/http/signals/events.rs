//! `POST /api/v1/events`: takes CloudEvents 1.0 in, one or many, and starts the flows that wait for them.
//!
//! Structured, batched or binary, as the HTTP binding of [CloudEvents](https://github.com/cloudevents/spec) has it; plain
//! JSON without its attributes in headers is taken for the structured form, or, where it is a list, for a batch. Of events with the same `source` and `id` the first alone starts something, whatever else they say: so the specification
//! tells them apart.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ingress::{IdempotencyRequest, Target, Trigger, Triggered, WhyNot};
use core314_domain::event;
use core314_domain::ids::{Owner, RunId};
use core314_domain::words::TriggerType;
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::http::auth::Role;
use crate::http::hooks::content::{self, Content};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, body};

const BATCH: &str = "application/cloudevents-batch+json";
const FORMS: &[&str] = &["application/cloudevents+json", "application/json"];
const MOST_EVENTS: usize = 1_000;
/// Events of a batch that are taken at once.
const AT_ONCE: usize = 16;
/// How much of an event's source a run shows as its own.
const MAX_SOURCE_CHARS: usize = 200;

/// What became of an event.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventTaken")]
struct View {
    run_ids: Vec<RunId>,
    /// Whether flows wait for events of its type: runs that wait for its subject are told of it, now or when they begin to.
    is_kept: bool,
    /// For each flow that was asked, the clause that does not hold; absent where a run was started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    why_not: Vec<WhyNot>,
    /// Why nothing could be started; of events in a batch alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What became of each event of a batch, in their order.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventsTaken")]
struct BatchView {
    items: Vec<View>,
}

/// An event in the structured form. A batch is a list of these; in the binary form the attributes stand in headers, and
/// the body is the data.
#[derive(JsonSchema)]
#[schemars(rename = "CloudEvent")]
#[expect(dead_code, reason = "it describes what is taken; other attributes may stand beside")]
struct Event {
    #[schemars(extend("enum" = ["1.0"]))]
    specversion: String,
    #[schemars(length(min = 1))]
    id: String,
    #[schemars(length(min = 1))]
    source: String,
    #[serde(rename = "type")]
    #[schemars(length(min = 1))]
    kind: String,
    #[serde(default)]
    data: Value,
}

pub fn doc() -> Doc {
    Doc::role("Takes CloudEvents in, and starts the flows that wait for them.", Role::Operator)
        .body_in::<Event>(FORMS)
        .problem(StatusCode::CONFLICT)
        .answer::<View>(StatusCode::ACCEPTED, "Its runs are durable, and go on; runs that wait for it are told of it.")
        .ok::<View>("No flow's trigger and conditions hold; of a batch, what became of each event.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let bytes = body::read(&req, payload, &state.settings).await?;
    let depth = state.settings.max_json_depth;
    let media_type = body::media_type(&req)?;
    let is_plain = matches!(media_type.as_deref(), None | Some("application/json"));
    let is_structured = is_plain && !req.headers().contains_key("ce-specversion");
    let is_list = is_structured && bytes.trim_ascii_start().starts_with(b"[");
    if is_list || media_type.as_deref() == Some(BATCH) {
        let events = batch(&bytes, depth)?;
        let taken = events.into_iter().map(|event| take(&state, owner, &caller.by, event));
        let taken: Vec<_> = futures_util::stream::iter(taken).buffered(AT_ONCE).collect().await;
        let items = taken.into_iter().map(of_batch).collect::<Result<_, _>>()?;
        return Ok(HttpResponse::Ok().json(BatchView { items }));
    }
    // What is plain JSON and has no attributes beside it can only be an event in the structured form.
    let content = if is_structured {
        content::structured(body::json(&bytes, depth)?, depth)?
    } else {
        content::read(req.headers(), &bytes, depth)?
    };
    let event = whole(content)?;
    let view = take(&state, owner, &caller.by, event).await?;
    let mut answer =
        if view.run_ids.is_empty() && !view.is_kept { HttpResponse::Ok() } else { HttpResponse::Accepted() };
    Ok(answer.json(view))
}

/// The events of a batch, each in the structured form.
fn batch(bytes: &[u8], depth: usize) -> Result<Vec<Map<String, Value>>, Problem> {
    // The list is one level more than what is in it.
    let Value::Array(events) = body::json(bytes, depth.saturating_add(1))? else {
        return Err(Problem::MalformedBody("a batch of CloudEvents must be a JSON array".to_owned()));
    };
    if events.is_empty() || events.len() > MOST_EVENTS {
        return Err(Problem::MalformedBody(format!("a batch must have 1 to {MOST_EVENTS} events")));
    }
    let read = |(no, event): (usize, Value)| {
        content::structured(event, depth).and_then(whole).map_err(|problem| match problem {
            Problem::MalformedBody(message) => Problem::MalformedBody(format!("event {no}: {message}")),
            problem => problem,
        })
    };
    events.into_iter().enumerate().map(read).collect()
}

/// The event as flows see it in `trigger`: its attributes, and its data under `data`.
pub fn whole(content: Content) -> Result<Map<String, Value>, Problem> {
    let expected = "a CloudEvent is expected: application/cloudevents+json, or its attributes in ce- headers";
    let mut event = content.event.ok_or_else(|| Problem::MalformedBody(expected.to_owned()))?;
    event.insert("data".to_owned(), content.trigger);
    Ok(event)
}

async fn take(state: &State, owner: Owner, by: &str, event: Map<String, Value>) -> Result<View, Problem> {
    let event = Value::Object(event);
    let key = event::name(&event);
    let source = event.get("source").and_then(Value::as_str).unwrap_or_default();
    let source: String = source.chars().filter(|c| !c.is_control()).take(MAX_SOURCE_CHARS).collect();
    let trigger = Trigger {
        owner,
        target: Target::Matching,
        trigger_type: TriggerType::Event,
        source: format!("event:{source}").into(),
        context: Arc::new(event),
        webhook: Arc::default(),
        triggered_by: by.into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        run_key: None,
        // A client's own key cannot hold a space.
        idempotency: Some(IdempotencyRequest { body_hash: Sha256::digest(key.as_bytes()).into(), key }),
    };
    let (triggered, is_kept) = state.engine.take_event(trigger).await?;
    let (run_ids, why_not) = match triggered {
        Triggered::Accepted(run) | Triggered::Repeated(run) => (run.runs().collect(), Vec::new()),
        Triggered::NoMatch(why_not) => (Vec::new(), why_not),
    };
    Ok(View { run_ids, is_kept, why_not, error: None })
}

/// One event that can never be taken does not hold up the others; when the runtime is busy the sender comes back with the
/// whole batch, which starts nothing twice.
fn of_batch(taken: Result<View, Problem>) -> Result<View, Problem> {
    match taken {
        Err(problem @ (Problem::Busy { .. } | Problem::StoreUnavailable { .. } | Problem::Internal)) => Err(problem),
        Err(problem) => {
            Ok(View { run_ids: Vec::new(), is_kept: false, why_not: Vec::new(), error: Some(problem.to_string()) })
        }
        Ok(view) => Ok(view),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_names_the_event_that_is_none() {
        let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"n": 1}});
        let read = |value: &Value| batch(value.to_string().as_bytes(), 8);
        let events = read(&json!([event, event])).expect("two events");
        assert_eq!((events.len(), &events[0]["data"], &events[0]["type"]), (2, &json!({"n": 1}), &json!("t")));
        let problem = read(&json!([event, {"specversion": "1.0"}])).expect_err("no event");
        assert!(problem.to_string().contains("event 1: "), "{problem}");
        for wrong in [json!({}), json!([]), json!(vec![event; MOST_EVENTS + 1])] {
            assert!(matches!(read(&wrong), Err(Problem::MalformedBody(_))));
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let plain = Content { trigger: json!({"a": 1}), event: None };
        assert!(whole(plain).expect_err("no event").to_string().contains("ce- headers"));
    }

    #[test]
    fn only_what_passes_holds_up_a_batch() {
        assert!(of_batch(Err(Problem::Busy { retry_after_seconds: 1 })).is_err());
        let view = of_batch(Err(Problem::FlowInactive("f".to_owned()))).expect("it is told");
        assert!(view.error.is_some());
    }
}
