//! `POST /api/v1/metrics-data`: takes values of metrics in, and starts the flows whose thresholds they exceed.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::DateTime;
use core314_actors::engine::MetricDraft;
use core314_domain::words::MetricType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refused;
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem};

const MOST_VALUES: usize = 1_000;
const MOST_LABELS: usize = 20;
const MAX_NAME_CHARS: usize = 200;
/// How far ahead of this server's clock a value's time may be, in milliseconds.
const MOST_AHEAD_MS: i64 = 300_000;

/// Values to take in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MetricsToTake")]
struct Input {
    #[schemars(length(min = 1, max = 1_000))]
    metrics: Vec<Point>,
}

/// One value of a metric.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MetricValue")]
struct Point {
    /// 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    metric_name: String,
    /// `gauge` where nothing is said.
    metric_type: Option<MetricType>,
    value: f64,
    /// At most 20 names with their texts, each of 1 to 200 characters.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// RFC 3339; now where nothing is said.
    recorded_at: Option<String>,
}

/// What was taken.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MetricsTaken")]
struct View {
    accepted: usize,
}

pub fn doc() -> Doc {
    Doc::role("Takes values of metrics in, and starts the flows whose thresholds they exceed.", Role::Operator)
        .body::<Input>()
        .answer::<View>(StatusCode::ACCEPTED, "The values are durable.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let values = asked.input.metrics;
    if values.is_empty() || values.len() > MOST_VALUES {
        return Err(Problem::field("metrics", format!("must have 1 to {MOST_VALUES} items")));
    }
    let now_ms = state.engine.now_ms();
    let (mut drafts, mut errors) = (Vec::with_capacity(values.len()), Vec::new());
    for (no, value) in values.into_iter().enumerate() {
        match draft(value, now_ms) {
            Ok(draft) => drafts.push(draft),
            Err((field, message)) => errors.push(FieldError::at(&format!("/metrics/{no}/{field}"), message)),
        }
    }
    if !errors.is_empty() {
        errors.truncate(20);
        return Err(Problem::InvalidRequest(errors));
    }
    let accepted = drafts.len();
    let taken = state.engine.take_metrics(asked.owner, drafts, &asked.caller.by).await;
    taken.map_err(|error| refused(error, "metric"))?;
    Ok(HttpResponse::Accepted().json(View { accepted }))
}

/// The value, or the field that is wrong and why.
fn draft(value: Point, now_ms: i64) -> Result<MetricDraft, (&'static str, String)> {
    let is_name =
        |text: &str| (1..=MAX_NAME_CHARS).contains(&text.trim().chars().count()) && !text.chars().any(char::is_control);
    if !is_name(&value.metric_name) || value.metric_name.chars().count() > MAX_NAME_CHARS {
        return Err(("metric_name", format!("must have 1 to {MAX_NAME_CHARS} characters, none of them a control one")));
    }
    if value.labels.len() > MOST_LABELS {
        return Err(("labels", format!("must have at most {MOST_LABELS} labels")));
    }
    if !value.labels.iter().all(|(name, text)| is_name(name) && is_name(text)) {
        return Err(("labels", format!("names and values must have 1 to {MAX_NAME_CHARS} characters")));
    }
    let recorded_at = value.recorded_at.as_deref().map(DateTime::parse_from_rfc3339).transpose();
    let recorded_at = recorded_at.map_err(|_| ("recorded_at", "must be a time as RFC 3339 writes it".to_owned()))?;
    let recorded_at_ms = recorded_at.map_or(now_ms, |at| at.timestamp_millis());
    if recorded_at_ms < 0 || recorded_at_ms > now_ms + MOST_AHEAD_MS {
        return Err(("recorded_at", "must be after 1970, and at most five minutes ahead of this server".to_owned()));
    }
    Ok(MetricDraft {
        name: value.metric_name,
        metric_type: value.metric_type.unwrap_or(MetricType::Gauge),
        value: value.value,
        labels: value.labels,
        recorded_at_ms,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(value: serde_json::Value) -> Option<&'static str> {
        draft(serde_json::from_value(value).expect("a value"), 1_000).err().map(|(field, _)| field)
    }

    #[test]
    fn a_value_is_bounded() {
        let labels =
            |count: usize| (0..count).map(|n| (format!("l{n}"), json!("x"))).collect::<serde_json::Map<_, _>>();
        assert_eq!(field(json!({"metric_name": "cpu", "value": 1.5, "labels": labels(20)})), None);
        assert_eq!(field(json!({"metric_name": "cpu", "value": 1, "labels": labels(21)})), Some("labels"));
        assert_eq!(field(json!({"metric_name": "cpu", "value": 1, "labels": {"a": ""}})), Some("labels"));
        assert_eq!(field(json!({"metric_name": " ", "value": 1})), Some("metric_name"));
        assert_eq!(field(json!({"metric_name": "x".repeat(201), "value": 1})), Some("metric_name"));
        let ahead = json!({"metric_name": "cpu", "value": 1, "recorded_at": "1970-01-01T00:06:00Z"});
        assert_eq!(field(ahead), Some("recorded_at"));
        assert_eq!(field(json!({"metric_name": "cpu", "value": 1, "recorded_at": "now"})), Some("recorded_at"));
    }

    #[test]
    fn a_value_without_a_time_is_of_now_and_a_gauge() {
        let value = serde_json::from_value(json!({"metric_name": "cpu", "value": 1})).expect("a value");
        let draft = draft(value, 7).expect("it is right");
        assert_eq!((draft.recorded_at_ms, draft.metric_type), (7, MetricType::Gauge));
    }
}
