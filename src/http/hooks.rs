//! Deliveries from outside become triggers.
//!
//! ```text
//! by_secret ─┐  sender: whose delivery     taking: content ─► name ─► trigger ─► answer
//! signed ────┴────────────────────────────►
//! ```
//! Nothing of a delivery is kept, and nothing is told of the webhook, before its sender is proven.

mod answer;
pub mod by_secret;
pub mod content;
pub mod redact;
pub mod scheme;
pub mod sender;
pub mod signature;
pub mod signed;
pub mod taking;

use actix_web::http::StatusCode;
use serde_json::Value;

use super::openapi::Doc;
use taking::View;

/// What every endpoint that takes deliveries says of itself.
fn described(doc: Doc) -> Doc {
    const FORMS: &[&str] =
        &["application/json", "application/x-www-form-urlencoded", "text/plain", "application/cloudevents+json"];
    doc.body_in::<Value>(FORMS)
        .problem(StatusCode::CONFLICT)
        .answer::<View>(StatusCode::ACCEPTED, "The run is durable, and goes on.")
        .ok::<Value>("No flow's conditions hold, and nothing was started; or the flow's own answer.")
}
