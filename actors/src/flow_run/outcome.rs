//! What a run means to the decision or the recommendation that it stems from: written back when it ends, and to the audit
//! log with every action.

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::log::LogEntry;
use core314_domain::run::Run;
use core314_domain::words::RunStatus;
use serde_json::{Map, Value, json};

use crate::ports::signal::Outcome;

/// What of its context is remembered with what was tried.
const FEATURES: &[&str] = &["source", "confidence_score", "risk_level", "action_type", "action_target", "priority"];

/// What the run leaves behind; `None` where it stems from nothing of the kind.
pub(super) fn of(run: &Run) -> Option<Outcome> {
    let header = &run.header;
    if header.decision_event_id.is_none() && header.recommendation_id.is_none() {
        return None;
    }
    let mut features = Map::from_iter([
        ("flow_id".to_owned(), json!(header.flow.id)),
        ("flow_name".to_owned(), json!(*header.flow.name)),
        ("run_id".to_owned(), json!(header.id)),
        ("trigger_type".to_owned(), json!(header.trigger_type)),
    ]);
    for name in FEATURES {
        // A short text or a number: what is longer tells cases apart, and does not make them alike.
        let found = header.trigger_context.get(name).filter(|value| match value {
            Value::String(text) => text.len() <= 200,
            Value::Number(_) => true,
            _ => false,
        });
        features.extend(found.map(|value| ((*name).to_owned(), value.clone())));
    }
    Some(Outcome {
        decision: header.decision_event_id,
        recommendation: header.recommendation_id,
        features: Value::Object(features),
    })
}

/// What the audit log says when the run has ended.
pub(super) fn audit(run: &Run, now_ms: i64) -> Vec<AuditEntry> {
    let (header, status) = (&run.header, run.state.status);
    let is_done = status == RunStatus::Completed;
    let entry = |event: AuditEvent, subject_type, subject| AuditEntry {
        owner: header.owner,
        partition: header.partition,
        event,
        actor: super::ENGINE.to_owned(),
        subject_type,
        subject_id: Some(subject),
        decision_event_id: header.decision_event_id,
        summary: format!("{}: run {} {status}", event.as_str().replace('_', " "), header.id),
        details: json!({"run_id": header.id, "run_status": status, "error": run.state.error}),
        at_ms: now_ms,
    };
    let decision = header.decision_event_id.map(|id| {
        let event = if is_done { AuditEvent::DecisionExecuted } else { AuditEvent::DecisionFailed };
        entry(event, "decision_event", id.0)
    });
    let recommendation = header.recommendation_id.map(|id| {
        let event = if is_done { AuditEvent::RecommendationExecuted } else { AuditEvent::RecommendationFailed };
        entry(event, "recommendation", id.0)
    });
    decision.into_iter().chain(recommendation).collect()
}

/// What the audit log says of a step's last attempt.
pub(super) fn audit_of_attempt(run: &Run, entry: &LogEntry, by: &str, now_ms: i64) -> Option<AuditEntry> {
    let header = &run.header;
    let is_theirs = header.decision_event_id.is_some() || header.recommendation_id.is_some();
    if !is_theirs || !entry.is_final {
        return None;
    }
    let event = if entry.success() { AuditEvent::ActionExecuted } else { AuditEvent::ActionFailed };
    Some(AuditEntry {
        owner: header.owner,
        partition: header.partition,
        event,
        actor: by.to_owned(),
        subject_type: "execution",
        subject_id: Some(header.id.execution(entry.step).0),
        decision_event_id: header.decision_event_id,
        summary: format!("{}: {} {}", event.as_str().replace('_', " "), entry.action_type, entry.action_target),
        details: json!({"run_id": header.id, "recommendation_id": header.recommendation_id, "attempt": entry.attempt}),
        at_ms: now_ms,
    })
}
