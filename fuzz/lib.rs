//! What the fuzz targets share: names and a scope that expressions meet, and the panic hook.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use core314_domain::expr::{Names, Output, ROOTS, Scope, StepView, StepViews, UNTYPED};
use serde_json::json;

/// libFuzzer's own hook ends the process at every panic, also at those of the parsers that the domain catches and
/// reports. One that is not caught still ends it: the harness sees to that.
pub fn let_caught_panics_pass() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Every root and three steps, to be checked by type.
pub fn names() -> Names<'static> {
    Names::new(ROOTS, &["tell", "drain", "later"]).typed(&UNTYPED)
}

/// A scope with something of every kind in it.
pub fn scope() -> Scope {
    let step = |output| StepView { status: "completed", output: Output::Here(Arc::new(output)), error: None };
    Scope {
        trigger: Arc::new(json!({
            "host": "web-1", "severity": "high", "score": 0.9, "count": 3, "big": u64::MAX, "none": null,
            "tags": ["web", "eu"], "labels": {"region": "eu"}, "text": "x".repeat(2_000),
            "items": (0..200).map(|n| json!({"id": n, "name": format!("n{n}")})).collect::<Vec<_>>(),
        })),
        webhook: Arc::new(json!({"headers": {"x-id": "7"}})),
        input: Arc::new(json!({"limit": 2})),
        steps: StepViews::of_flow(Arc::new(BTreeMap::from([
            (Arc::from("tell"), step(json!({"status": 200, "headers": {}, "body": {"a": [1]}}))),
            (Arc::from("drain"), step(json!(["x", 1, 2.5, null]))),
        ]))),
        vars: Arc::new(json!({"seen": [1, 2]})),
        round: Arc::new(json!({"item": {"host": "web-2"}, "index": 1})),
        event: Arc::new(json!({"type": "a", "data": {"x": 1}})),
        secrets: Arc::default(),
        flow: Arc::new(json!({"id": "f", "name": "incident-response", "version": 1})),
        run: Arc::new(json!({"id": "r", "trigger_type": "manual", "trigger_source": "manual"})),
        tenant: Arc::new(json!({"id": "t", "user_id": null, "organization_id": null})),
        now: DateTime::from_timestamp(1_767_323_045, 0).expect("within chrono's range"),
    }
}

/// Action types that documents may use.
pub const ACTION_TYPES: &[&str] = &["api_call", "send_notification", "transform", "trigger_webhook"];
