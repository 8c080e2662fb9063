//! `POST /api/v1/webhooks/{id}/test`: a delivery as if from outside, without its proof, marked as a test. It works on a
//! webhook that is not active, so that one can be tried before it is.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::webhooks::ReadyWebhook;
use core314_domain::ids::UserId;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{find, missing};
use crate::http::auth::Role;
use crate::http::hooks::signature::Proof;
use crate::http::hooks::taking::{self, Incoming, Origin, View};
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem};
use crate::http::{Shared, body, idempotency, input};

const MAX_HEADERS: usize = 100;

/// The delivery.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TestDelivery")]
struct Input {
    /// For whom a service key acts, where no header says so.
    user_id: Option<UserId>,
    /// The body: any JSON, sent as JSON; a text with a `content-type` of another kind is sent as it is. An empty object
    /// where nothing is said.
    body: Option<Value>,
    /// Its headers.
    headers: Option<BTreeMap<String, String>>,
}

pub fn doc() -> Doc {
    Doc::role("Delivers something to a webhook as if from outside, marked as a test.", Role::Operator)
        .optional_body::<Input>()
        .idempotent()
        .answer::<View>(StatusCode::ACCEPTED, "The run is durable, and goes on.")
        .ok::<Value>("No flow's conditions hold, and nothing was started; or the flow's own answer.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let (bytes, value) = body::read_json_or_nothing(&req, payload, &state.settings).await?;
    let input: Input = input::read(value)?;
    let caller = credential.act(req.headers(), input.user_id)?;
    let user = caller.owner()?.user;
    let webhook = find(&state, caller.scope, &id).await?;
    let idempotency = idempotency::of_request(&req, &bytes)?;
    let ready = ReadyWebhook::compile(webhook).map_err(|error| {
        tracing::error!(%error, "a stored webhook cannot be read");
        missing()
    })?;
    let headers = headers(input.headers.unwrap_or_default())?;
    let sent = sent(&headers, input.body)?;
    let incoming = Incoming {
        ready: &ready,
        headers: &headers,
        query: "",
        body: &sent,
        proof: Proof { id: None, replay: None },
        origin: Origin::Test { user, named: idempotency },
    };
    taking::take(&state, incoming).await
}

fn headers(given: BTreeMap<String, String>) -> Result<HeaderMap, Problem> {
    if given.len() > MAX_HEADERS {
        return Err(Problem::field("headers", format!("must be {MAX_HEADERS} at most")));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let pointer = format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
        let wrong = |message: &str| Problem::InvalidRequest(vec![FieldError::at(&pointer, message)]);
        let known = name.parse::<HeaderName>().map_err(|_| wrong("is no name of a header"))?;
        headers.append(known, HeaderValue::from_str(&value).map_err(|_| wrong("is no value of a header"))?);
    }
    Ok(headers)
}

/// The body's bytes.
fn sent(headers: &HeaderMap, given: Option<Value>) -> Result<Vec<u8>, Problem> {
    let is_json = body::media_type_of(headers)?.is_none_or(|found| found.ends_with("json"));
    match given {
        Some(Value::String(text)) if !is_json => Ok(text.into_bytes()),
        given => Ok(given.unwrap_or_else(|| json!({})).to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_another_kind_is_sent_as_it_is() {
        let of = |media_type: &str| headers(BTreeMap::from([("Content-Type".to_owned(), media_type.to_owned())]));
        let sent = |media_type: &str, given| sent(&of(media_type).expect("sound"), given).expect("sent");
        assert_eq!(sent("text/plain", Some(json!("hi"))), b"hi");
        assert_eq!(sent("application/json", Some(json!("hi"))), b"\"hi\"");
        assert_eq!(sent("application/json", None), b"{}");
        let problem = headers(BTreeMap::from([("a b".to_owned(), String::new())])).expect_err("no name");
        assert!(problem.to_string().starts_with("/headers/a b: "), "{problem}");
    }
}
