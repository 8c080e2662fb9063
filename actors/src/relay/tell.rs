//! Telling people of a run that has ended badly, or of a phase: an action for each channel that its flow names.

use std::sync::{Arc, Weak};

use core314_domain::document::{FlowDocument, channels};
use core314_domain::ids::{FlowId, RunId};
use core314_domain::words::{OccurrenceKind, Severity, TriggerType};
use serde_json::{Value, json};

use super::Starter;
use crate::channels::{Message, Tellings};
use crate::ingress::{IdempotencyRequest, Target, Trigger, TriggerError};
use crate::ports::signal::Occurrence;

/// Channels take titles and messages of some length.
const MAX_TITLE_CHARS: usize = 200;
const MAX_MESSAGE_CHARS: usize = 2_000;

impl Starter {
    /// What tells the channels of a run's flow. `None`: there is nobody to tell any more. The outer error is one that
    /// passes.
    pub(super) async fn telling(
        &self,
        occurrence: &Occurrence,
        run: &Value,
    ) -> Result<Result<Option<Trigger>, TriggerError>, TriggerError> {
        let flow = run["orchestration_flow_id"].as_str().and_then(|id| id.parse().ok()).map(FlowId);
        let Some((flow, version)) = flow.zip(run["flow_version"].as_i64()) else { return Ok(Ok(None)) };
        let Some(stored) = self.runtime.catalog.flow_version(flow, version).await? else { return Ok(Ok(None)) };
        let (name, told) = match occurrence.kind {
            OccurrenceKind::PhaseMoved => ("phase alert", alert_channels(&stored.document, &occurrence.context)),
            _ => ("bad end", stored.document.error_notification_channels.as_slice()),
        };
        let context = match occurrence.kind {
            OccurrenceKind::PhaseMoved => of_phase(&occurrence.context, run),
            _ => of_end(occurrence, run),
        };
        let document = match self.message(occurrence, name, told, &context).await? {
            Ok(Some(document)) => document,
            Ok(None) => return Ok(Ok(None)),
            Err(why) => return Ok(Err(TriggerError::Failed(why))),
        };
        Ok(Ok(Some(Trigger {
            owner: occurrence.owner,
            target: Target::Action(Arc::new(document)),
            trigger_type: TriggerType::Manual,
            source: occurrence.kind.as_str().into(),
            context: Arc::new(context),
            webhook: Arc::default(),
            triggered_by: occurrence.by.as_str().into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: Some(RunId(occurrence.subject)),
            run_key: None,
            // A client's own key cannot hold a space.
            idempotency: Some(IdempotencyRequest { key: format!("occurrence {}", occurrence.id), body_hash: [0; 32] }),
        })))
    }

    /// The flow that tells these channels; `None` where none is named. The inner error is why all of them tell nobody.
    async fn message(
        &self,
        occurrence: &Occurrence,
        name: &str,
        words: &[String],
        context: &Value,
    ) -> Result<Result<Option<FlowDocument>, String>, TriggerError> {
        if !channels::tell(words) {
            return Ok(Ok(None));
        }
        let desk = self.runtime.escalation.get().and_then(Weak::upgrade);
        let desk = desk.ok_or(TriggerError::Busy { retry_after_seconds: 1 })?;
        let message = Message { owner: occurrence.owner, context };
        let Tellings { actions, untold } = Tellings::of(&self.runtime, &desk, words, &message).await?;
        for why in &untold {
            tracing::warn!(run = %occurrence.subject, why, "a channel tells nobody");
        }
        Ok(match channels::telling(name, &actions) {
            Ok(None) => Err(untold.join("; ")),
            Ok(document) => Ok(document),
            Err(error) => Err(error.to_string()),
        })
    }
}

/// Whom a phase tells.
fn alert_channels<'d>(document: &'d FlowDocument, moved: &Value) -> &'d [String] {
    let number = moved["phase"].as_u64().unwrap_or_default();
    let found = document.phases.iter().find(|phase| u64::from(phase.number) == number);
    found.map(|phase| phase.alert_channels.as_slice()).unwrap_or_default()
}

/// What the channels are told of a transition.
fn of_phase(moved: &Value, run: &Value) -> Value {
    let (flow, number) = (run["flow_name"].as_str().unwrap_or_default(), &moved["phase"]);
    let status = moved["status"].as_str().unwrap_or_default();
    let name = moved["phase_name"].as_str().filter(|name| *name != format!("phase {number}"));
    let phase = name.map_or_else(|| format!("phase {number}"), |name| format!("phase {number} ({name})"));
    let seconds = |name: &str| moved[name].as_i64().map(|ms| ms as f64 / 1e3);
    let took = seconds("duration_ms");
    let most = seconds("sla_ms").filter(|most| took.is_some_and(|took| took > *most));
    let back = moved["rollback_to_phase"].as_u64().map(|to| match to {
        0 => "The run goes back to its start.".to_owned(),
        to => format!("The run goes back to the end of phase {to}."),
    });
    let error = moved["error"].as_str().map(|error| error.trim().trim_end_matches('.'));
    let error = error.filter(|error| !error.is_empty()).map(|error| format!("{error}."));
    let took = took.map(|took| format!("It took {took} s."));
    let late = most.map(|most| format!("Its threshold is {most} s."));
    let said: Vec<String> = [error, took, late, back].into_iter().flatten().collect();
    let message = if said.is_empty() { format!("It belongs to a run of '{flow}'.") } else { said.join(" ") };
    let severity = match status {
        "failed" | "rolled_back" => Severity::High,
        _ if most.is_some() => Severity::Medium,
        _ => Severity::Low,
    };
    json!({
        "run_id": run["id"], "flow_id": run["orchestration_flow_id"], "flow_name": flow, "phase": moved, "severity": severity,
        "title": cut(&format!("{flow}: {phase} {}", status.replace('_', " ")), MAX_TITLE_CHARS),
        "message": cut(&message, MAX_MESSAGE_CHARS),
    })
}

/// What the channels are told of an end.
fn of_end(occurrence: &Occurrence, run: &Value) -> Value {
    // As it ended then: it may have been taken up again since.
    let status = occurrence.context["run_status"].as_str().unwrap_or("failed");
    let flow = run["flow_name"].as_str().unwrap_or_default();
    let error = run["error"].as_str().filter(|error| !error.trim().is_empty());
    let message =
        error.map_or_else(|| format!("Run {} says no more.", run["id"].as_str().unwrap_or_default()), str::to_owned);
    json!({
        "run_id": run["id"], "flow_id": run["orchestration_flow_id"], "flow_name": flow, "run_status": status,
        "severity": Severity::High,
        "title": cut(&format!("{flow}: {}", status.replace('_', " ")), MAX_TITLE_CHARS),
        "message": cut(&message, MAX_MESSAGE_CHARS),
    })
}

pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_is_told_in_words() {
        let run = json!({"id": "r", "orchestration_flow_id": "f", "flow_name": "release"});
        let said = |moved: &Value| {
            let told = of_phase(moved, &run);
            ["title", "message", "severity"].map(|name| told[name].as_str().unwrap_or_default().to_owned())
        };
        let began = json!({"phase": 1, "phase_name": "phase 1", "status": "started", "sla_ms": 30_000});
        assert_eq!(said(&began), ["release: phase 1 started", "It belongs to a run of 'release'.", "low"]);
        let late =
            json!({"phase": 2, "phase_name": "build", "status": "completed", "duration_ms": 61_500, "sla_ms": 60_000});
        let words = "It took 61.5 s. Its threshold is 60 s.";
        assert_eq!(said(&late), ["release: phase 2 (build) completed", words, "medium"]);
        let failed = json!({"phase": 4, "phase_name": "deploy", "status": "failed", "duration_ms": 10, "error": "step 'p4': no",
            "rollback_to_phase": 3});
        let words = "step 'p4': no. It took 0.01 s. The run goes back to the end of phase 3.";
        assert_eq!(said(&failed), ["release: phase 4 (deploy) failed", words, "high"]);
        let back = json!({"phase": 4, "phase_name": "deploy", "status": "rolled_back", "rollback_to_phase": 0});
        assert_eq!(said(&back)[1], "The run goes back to its start.");
    }

    #[test]
    fn a_long_text_is_cut_where_characters_end() {
        assert_eq!((cut("abc", 3), cut("äöüß", 3)), ("abc".to_owned(), "äö…".to_owned()));
    }
}
