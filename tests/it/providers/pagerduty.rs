//! PagerDuty's Events API, version 2. What is kept are its alerts, one for each key.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const KEY: &str = "0123456789abcdefplanted000000001";

pub fn start() -> Arc<Provider> {
    Provider::keep(keeper)
}

fn invalid(errors: &[&str]) -> Reply {
    Reply::json(400, &json!({"status": "invalid event", "message": "Event object is invalid", "errors": errors}))
}

fn keeper(posted: &Posted, alerts: &mut Vec<Value>) -> Reply {
    let is_change = posted.path == "/v2/change/enqueue";
    if posted.method != "POST" || !is_change && posted.path != "/v2/enqueue" {
        return Reply::text(404, "Not Found");
    }
    let Some(event) = posted.json() else { return invalid(&["JSON is malformed"]) };
    if event["routing_key"] != KEY {
        return invalid(&["Invalid routing key"]);
    }
    if is_change {
        // It opens no alert and tells nobody.
        let is_said = event["payload"]["summary"].as_str().is_some_and(|said| !said.is_empty());
        let done = json!({"status": "success", "message": "Change event processed"});
        return if is_said { Reply::json(202, &done) } else { invalid(&["'payload.summary' is missing or blank"]) };
    }
    let key = event["dedup_key"].as_str().unwrap_or_default();
    if key.is_empty() || key.len() > 255 {
        return invalid(&["Length of 'dedup_key' is incorrect (should be from 1 to 255)"]);
    }
    let (action, payload) = (event["event_action"].as_str().unwrap_or_default(), &event["payload"]);
    match action {
        "trigger" => {
            let summary = payload["summary"].as_str().unwrap_or_default();
            if summary.is_empty() || summary.chars().count() > 1_024 {
                return invalid(&["'payload.summary' is missing or blank"]);
            }
            if payload["source"].as_str().is_none_or(str::is_empty) {
                return invalid(&["'payload.source' is missing or blank"]);
            }
            if !["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap_or_default()) {
                return invalid(&[
                    "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')",
                ]);
            }
            match alerts.iter_mut().find(|alert| alert["dedup_key"] == key && alert["state"] != "resolved") {
                Some(alert) => alert["events"] = (alert["events"].as_u64().unwrap_or_default() + 1).into(),
                None => alerts.push(json!({"dedup_key": key, "state": "triggered", "events": 1, "event": event})),
            }
        }
        "acknowledge" | "resolve" => {
            for alert in alerts.iter_mut().filter(|alert| alert["dedup_key"] == key) {
                alert["state"] = format!("{}d", action.trim_end_matches('e').to_owned() + "e").into();
            }
        }
        _ => return invalid(&["'event_action' is invalid"]),
    }
    Reply::json(202, &json!({"status": "success", "message": "Event processed", "dedup_key": key}))
}
